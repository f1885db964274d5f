//! The client itself.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, EXPECT, HOST,
    HeaderMap, HeaderName, HeaderValue, LINK, RETRY_AFTER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use reqwest::{Certificate, Method, Proxy, Response, redirect, retry};
use thiserror::Error as ThisError;
use tokio::time::{Instant, timeout_at};
use url::Position;

use super::date::{parse_http_date, parse_retry_after};
use super::destination::Target;
use super::encoding::{Coding, UnpackError};
use super::files::{Contents, Parts};
use super::guarded_resolver::{GuardedResolver, PURPOSE, Purpose};
use super::lookups::{Author, Lookups};
use super::{
    Answer, Body, Content, DestinationPolicy, Error, FileError, Files, MAX_BODY, ProxyUrl, Request, Resolver,
    SystemResolver, written,
};
use crate::secret::SecretText;

/// How long an idle connection is kept. Servers commonly close theirs after a minute, and a
/// request that meets the closing has an unknown outcome.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Headers that say how the message is framed or where it goes: setting them by hand could make
/// the server see another request, or another host than the one that was checked.
static OWN_HEADERS: [HeaderName; 12] = [
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether a request may set the header. The client sets those that say how the message is framed
/// and where it goes, and refuses them from others.
#[must_use]
pub fn is_free_to_set(name: &HeaderName) -> bool {
    !OWN_HEADERS.contains(name)
}

/// How a [`Client`] is set up.
pub struct Config {
    /// What may be reached.
    pub destinations: DestinationPolicy,
    /// The `User-Agent` of every request that does not bring its own.
    pub user_agent: String,
    /// How long resolving, connecting and the TLS handshake may take together; four fifths of it for
    /// resolving.
    pub connect_timeout: Duration,
    /// Issuers that are trusted besides the system's.
    pub root_certificates: Vec<Certificate>,
    /// Files with more of them, and with credentials for the proxy.
    pub files: Files,
    /// Opens the connections for https; see [`DestinationPolicy`] for what is lost then.
    pub proxy: Option<ProxyUrl>,
    /// How many requests may be under way to one host. So many idle connections are kept to it: with
    /// fewer, every burst of requests would open new ones.
    pub connections_per_host: usize,
    /// Where addresses of names come from.
    pub resolver: Arc<dyn Resolver>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            destinations: DestinationPolicy::default(),
            user_agent: concat!(
                "hookkeeper/",
                env!("CARGO_PKG_VERSION"),
                " (+https://github.com/hookkeeper/hookkeeper)"
            )
            .to_owned(),
            connect_timeout: Duration::from_secs(5),
            root_certificates: Vec::new(),
            files: Files::default(),
            proxy: None,
            connections_per_host: 32,
            resolver: Arc::new(SystemResolver),
        }
    }
}

/// The client could not be set up.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum SetupError {
    /// No issuer can be trusted, or the user agent is no header value.
    #[error(
        "the HTTP client cannot be set up; are the system's root certificates installed (SSL_CERT_FILE)?"
    )]
    Client(#[source] reqwest::Error),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Sends requests to the outside, as described in [the module](super). Cheap to clone; all clones
/// share one connection pool.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    author: Author,
    at: Option<SocketAddr>,
}

/// What all clones have in common.
struct Shared {
    recipe: Recipe,
    policy: Arc<DestinationPolicy>,
    /// Made of the files as they were last. A request keeps the one it began with.
    current: RwLock<reqwest::Client>,
    made_of: Mutex<Contents>,
}

/// Everything that a client is made of but what the files hold.
struct Recipe {
    user_agent: String,
    connect_timeout: Duration,
    root_certificates: Vec<Certificate>,
    resolver: GuardedResolver,
    connections_per_host: usize,
    proxy: Option<ProxyUrl>,
    files: Files,
}

impl Recipe {
    fn make(&self, parts: Parts) -> Result<reqwest::Client, SetupError> {
        let failed = |error: reqwest::Error| SetupError::Client(error.without_url());
        let mut issuers = self.root_certificates.clone();
        issuers.extend(parts.issuers);
        let mut builder = reqwest::Client::builder()
            .user_agent(&self.user_agent)
            .connect_timeout(self.connect_timeout)
            .tls_certs_merge(issuers)
            .dns_resolver(self.resolver.clone())
            // A proxy from the environment would connect for us, past the destination policy.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            // A request that creates something must never be sent twice.
            .retry(retry::never())
            // Frames of HTTP/2 that belong to no request (PING, SETTINGS and others) are free for a
            // server, and would be answered for as long as the connection is kept. Of HTTP/1.1 there
            // is nothing to be read but answers: 100 headers and about 400 KiB of each at most, and
            // a byte that nobody asked for ends the connection.
            .http1_only()
            .pool_max_idle_per_host(self.connections_per_host)
            .pool_idle_timeout(IDLE_TIMEOUT);
        if let Some(proxy) = &self.proxy {
            let mut proxy = Proxy::https(proxy.url()).map_err(failed)?;
            if let Some(value) = parts.proxy_authorization {
                proxy = proxy.custom_http_auth(value);
            }
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(failed)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("policy", &self.shared.policy).finish_non_exhaustive()
    }
}

impl Client {
    /// Sets up the client, and reads its files.
    ///
    /// # Errors
    /// When there are no root certificates, the user agent is no header value, or a file cannot be
    /// used.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let behind_proxy = config.proxy.is_some();
        let policy = config.destinations;
        let policy = Arc::new(if behind_proxy { policy.behind_proxy() } else { policy });
        let resolver = GuardedResolver {
            // Before the time to connect is over, so that it is told what took so long.
            lookups: Lookups::new(config.resolver, config.connect_timeout * 4 / 5),
            policy: Arc::clone(&policy),
            proxy: config.proxy.clone(),
        };
        let recipe = Recipe {
            user_agent: config.user_agent,
            connect_timeout: config.connect_timeout,
            root_certificates: config.root_certificates,
            resolver,
            connections_per_host: config.connections_per_host,
            proxy: config.proxy,
            files: config.files,
        };
        let (contents, parts) = recipe.files.read()?;
        let current = RwLock::new(recipe.make(parts)?);
        let made_of = Mutex::new(contents);
        let shared = Arc::new(Shared { recipe, policy, current, made_of });
        Ok(Self { shared, author: Author::default(), at: None })
    }

    /// The same client, for requests whose URL comes from an object of this namespace.
    #[must_use]
    pub fn on_behalf_of(&self, namespace: impl Into<Arc<str>>) -> Self {
        Self { shared: Arc::clone(&self.shared), author: namespace.into(), at: self.at }
    }

    /// The same client, which connects to this address, whatever host a URL names: a platform's own
    /// directory has said where that is, so neither the policy nor a name server is asked. The host stays
    /// what the server is told. For plain http alone.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { shared: Arc::clone(&self.shared), author: Arc::clone(&self.author), at: Some(address) }
    }

    /// Reads the files again. What has changed counts from the next request on: those under way go
    /// on with what they began with, and no connection that was opened before is used again.
    /// Returns whether anything has changed.
    ///
    /// # Errors
    /// When a file cannot be used; then everything stays as it was.
    pub fn read_files_again(&self) -> Result<bool, SetupError> {
        let shared = &self.shared;
        let (contents, parts) = shared.recipe.files.read()?;
        let mut made_of = shared.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        if *made_of == contents {
            return Ok(false);
        }
        let made = shared.recipe.make(parts)?;
        *shared.current.write().unwrap_or_else(PoisonError::into_inner) = made;
        *made_of = contents;
        Ok(true)
    }

    /// The files, if there is any that may change.
    pub(super) fn files(&self) -> Option<&Files> {
        Some(&self.shared.recipe.files).filter(|files| files.are_given())
    }

    fn current(&self) -> reqwest::Client {
        self.shared.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends the request, at most once, and reads the answer.
    ///
    /// # Errors
    /// Whenever there is no usable answer; see [`Error`]. Every status but a redirect's is an
    /// [`Answer`], even when its body cannot be read: what 404 or 500 mean, and whether a body is
    /// needed, is for the caller to say.
    pub async fn send(&self, request: Request) -> Result<Answer, Error> {
        self.exchange(request, None).await
    }

    /// Like [`Self::send`], for a caller who needs the beginning of the answer's body alone: what goes
    /// beyond so many bytes is left out, and the connection that it would come on is closed.
    ///
    /// # Errors
    /// Like those of [`Self::send`], but for bodies that are too large.
    pub async fn send_for_beginning(&self, request: Request, most: usize) -> Result<Answer, Error> {
        self.exchange(request, Some(most)).await
    }

    async fn exchange(&self, request: Request, most: Option<usize>) -> Result<Answer, Error> {
        let target = Target::of(&request.url)?;
        written::judge(&request)?;
        match self.at {
            None => self.shared.policy.check(&target)?,
            Some(address) => self.shared.policy.check_given(&target, address)?,
        }
        let proxy = self.shared.recipe.proxy.as_ref().filter(|_| self.shared.policy.is_proxied(&target));
        let timeout = request.timeout;
        let deadline = Instant::now() + timeout.min(LONGEST);
        let late = || Error::Timeout { host: target.to_string(), timeout };

        let client = self.current();
        let sending = client.execute(prepare(request, self.at)?);
        let purpose = Purpose { target: target.clone(), author: Arc::clone(&self.author) };
        let response = timeout_at(deadline, PURPOSE.scope(purpose, sending))
            .await
            .map_err(|_| late())?
            .map_err(|error| Error::from_reqwest(error, target.to_string(), proxy))?;

        let mut answer = read_head(&response, &target)?;
        answer.body =
            timeout_at(deadline, read_body(response, &target, most)).await.map_err(|_| late()).flatten();
        Ok(answer)
    }
}

/// Longer than any timeout that makes sense, and short enough to be added to any time.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes reqwest's request of ours, which goes to this address if one is given.
fn prepare(mut request: Request, at: Option<SocketAddr>) -> Result<reqwest::Request, Error> {
    let mut headers = HeaderMap::new();
    if let Some(address) = at {
        let invalid = || Error::invalid("the URL names no host");
        let host = &request.url[Position::BeforeHost..Position::AfterPort];
        headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| invalid())?);
        request.url.set_ip_host(address.ip()).map_err(|()| invalid())?;
        request.url.set_port(Some(address.port())).map_err(|()| invalid())?;
    }
    for (name, value) in request.headers {
        if !is_free_to_set(&name) {
            return Err(Error::invalid(format!("the header {name} is not free to set")));
        }
        let value = secret_value(value).ok_or_else(|| {
            Error::invalid(format!("the value of the header {name} holds a character that no header may"))
        })?;
        headers.append(name, value);
    }
    if !headers.contains_key(ACCEPT) {
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    }
    // Plain text is the least that can go wrong; some servers compress all the same.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));

    // These announce a content, and some servers answer 411 to one without a length (RFC 9110,
    // section 8.6); of an empty body nothing below would say it.
    let announces_content = [Method::POST, Method::PUT, Method::PATCH].contains(&request.method);
    if announces_content && request.body.as_ref().is_none_or(|(_, content)| content.is_empty()) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }

    let mut wire = reqwest::Request::new(request.method, request.url);
    if let Some((content_type, content)) = request.body {
        if !content_type.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            let value = HeaderValue::try_from(content_type)
                .map_err(|_| Error::invalid("the content type holds a character that no header may"))?;
            headers.insert(CONTENT_TYPE, value);
        }
        let bytes = match content {
            Content::Text(text) => secret_bytes(text),
            Content::Bytes(bytes) => bytes,
        };
        *wire.body_mut() = Some(bytes.into());
    }
    *wire.headers_mut() = headers;
    Ok(wire)
}

/// The text as bytes that are still wiped when the last user lets go of them.
fn secret_bytes(text: SecretText) -> Bytes {
    struct Owner(SecretText);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.expose().as_bytes()
        }
    }
    Bytes::from_owner(Owner(text))
}

/// The text as a header value that no log gets to hold.
fn secret_value(text: SecretText) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(secret_bytes(text)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Everything but the body.
fn read_head(response: &Response, target: &Target) -> Result<Answer, Error> {
    let status = response.status().as_u16();
    match status {
        ..200 => {
            return Err(Error::InvalidAnswer { host: target.to_string() });
        }
        300..400 => {
            return Err(Error::Redirect { host: target.to_string(), status });
        }
        _ => {}
    }
    let text = |name| {
        let value = response.headers().get(name)?;
        value.to_str().ok()
    };
    let date = text(DATE).and_then(parse_http_date);
    let links: Vec<&str> =
        response.headers().get_all(LINK).iter().filter_map(|value| value.to_str().ok()).collect();
    Ok(Answer {
        status,
        date,
        retry_after: text(RETRY_AFTER)
            .and_then(|wait| parse_retry_after(wait, date.unwrap_or_else(Utc::now))),
        content_type: text(CONTENT_TYPE).map(str::to_owned),
        link: (!links.is_empty()).then(|| links.join(", ")),
        body: Ok(Body::default()),
    })
}

/// Reads the body to its end, or to the limit, and unpacks it. What goes beyond `most` is left out.
async fn read_body(mut response: Response, target: &Target, most: Option<usize>) -> Result<Body, Error> {
    let host = || target.to_string();
    let codings = response.headers().get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    let coding = Coding::named(codings).ok_or_else(|| Error::UnexpectedEncoding { host: host() })?;
    let announced = response.content_length().unwrap_or(0);
    if most.is_none() && usize::try_from(announced).is_ok_and(|length| length > MAX_BODY) {
        return Err(Error::TooLarge { host: host() });
    }
    let mut body = Body::default();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| Error::from_reqwest(error, host(), None))?
    {
        let wanted = most.map_or(chunk.len(), |most| most.saturating_sub(body.len()).min(chunk.len()));
        body.extend(chunk.get(..wanted).unwrap_or_default()).map_err(|_| Error::TooLarge { host: host() })?;
        if wanted < chunk.len() {
            break;
        }
    }
    coding.unpack(body).map_err(|error| match error {
        UnpackError::TooLarge => Error::TooLarge { host: host() },
        UnpackError::Broken => Error::BrokenEncoding { host: host() },
    })
}
