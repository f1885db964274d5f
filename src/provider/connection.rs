//! One provider and the means to call it: credential, headers, fence, and what was sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use url::Url;

use super::account::{account_of, secret_texts};
use super::buffer::TooLarge;
use super::client_headers::{self, Resolved};
use super::digest;
use super::echo::{self, Sent};
use super::kept::{Headers, Kept, Purpose};
use super::operation::Operation;
use super::render::Scope;
use super::resolved::Provider;
use super::secrets::SecretReader;
use crate::api::WebhookSubscriptionSpec;
use crate::engine::ports::{Account, CallFailure, CallFence, Document, Refusal, Secrets};
use crate::http::{Answer, Client, Error, Request};
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// One provider and the means to call it.
pub(super) struct Connection {
    pub(super) provider: Provider,
    /// Where the provider's credential is.
    namespace: Arc<str>,
    http: Client,
    secrets: Arc<dyn Secrets>,
    pub(super) kept: Kept,
    accounts: Mutex<Accounts>,
    /// What must not come back as an id.
    pub(super) sent: Arc<Sent>,
}

/// Whose credential was read last, and whose webhooks may be written.
#[derive(Clone, Copy, Default)]
pub(super) struct Accounts {
    pub(super) read: Option<Account>,
    pub(super) acted_for: Option<Account>,
}

impl Connection {
    pub(super) fn new(
        provider: Provider,
        namespace: &Arc<str>,
        http: &Client,
        secrets: &Arc<dyn Secrets>,
    ) -> Self {
        Self {
            provider,
            namespace: Arc::clone(namespace),
            http: http.on_behalf_of(Arc::clone(namespace)),
            secrets: Arc::clone(secrets),
            kept: Kept::default(),
            accounts: Mutex::default(),
            sent: Arc::default(),
        }
    }

    pub(super) fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader<'a>(&'a self, namespace: &'a str) -> SecretReader<'a> {
        SecretReader { secrets: self.secrets.as_ref(), namespace, bounds: Bounds::default() }
    }

    /// The client headers with the token in, the digest of their Secrets, and where those may go.
    pub(super) async fn client_headers(
        &self,
        namespace: &str,
        spec: &WebhookSubscriptionSpec,
        token: &SecretText,
    ) -> Result<(Vec<(String, SecretText)>, Option<String>, Bounds), Refusal> {
        if !self.provider.sends_headers() {
            return Ok((Vec::new(), None, Bounds::default()));
        }
        let content_type = self.provider.content_type.as_deref();
        let Resolved { headers, secrets, bounds } =
            client_headers::resolve(spec, content_type, token, self.reader(namespace)).await?;
        Ok((headers, digest::of_secrets(secrets), bounds))
    }

    /// The operation's URL with the values in.
    pub(super) fn url(&self, operation: &Operation, scope: &Scope<'_>) -> Result<Url, CallFailure> {
        let path = operation.path.render(scope);
        let path = path.map_err(|problem| unusable(problem.to_string()))?;
        Url::parse(&format!("{}{path}", self.provider.base_url))
            .map_err(|_| unusable("the URL of the request cannot be read"))
    }

    /// Makes the operation's request of the values and sends it, if the fence still permits.
    pub(super) async fn call(
        &self,
        operation: &Operation,
        purpose: Purpose,
        scope: &Scope<'_>,
        bounds: Bounds,
        fence: &CallFence,
    ) -> Result<Answer, CallFailure> {
        self.send(operation, purpose, self.url(operation, scope)?, scope, bounds, fence).await
    }

    /// Sends a request of a listing to a URL at the provider's origin.
    pub(super) async fn call_at(
        &self,
        operation: &Operation,
        url: Url,
        scope: &Scope<'_>,
        fence: &CallFence,
    ) -> Result<Answer, CallFailure> {
        self.send(operation, Purpose::List, url, scope, Bounds::default(), fence).await
    }

    /// Who we are to the provider, read now. One that must not be sent there is nobody's account, and
    /// whatever was kept of it goes.
    pub(super) async fn read_credential(&self) -> Result<Headers, Refusal> {
        let headers = self.provider.credential.headers(self.reader(&self.namespace)).await?;
        headers.bounds.check_called(&self.provider.host).inspect_err(|_| self.kept.forget())?;
        Ok(headers)
    }

    /// Who we are to the provider: read now, or what is left of it where a deletion needs it.
    async fn credential(&self, purpose: Purpose) -> Result<Headers, Refusal> {
        let headers = match self.read_credential().await {
            Ok(headers) => headers,
            Err(refusal) => {
                // It was this object's when it worked last, and serves what it has made alone.
                let kept = self.kept.instead(purpose, &refusal).ok_or(refusal)?;
                self.note_credential(&kept);
                return Ok(kept);
            }
        };
        let accounts = self.note_account(&headers);
        self.note_credential(&headers);
        if purpose != Purpose::List && accounts.read != accounts.acted_for {
            return Err(Refusal::AccountChanged);
        }
        Ok(headers)
    }

    fn note_credential(&self, headers: &Headers) {
        for text in secret_texts(&self.provider.credential, headers) {
            self.sent.note(&text.into());
            if let Some(password) = echo::password_of(text) {
                self.sent.note(&password);
            }
        }
    }

    /// The token and the values of Secrets that a document holds are about to be sent.
    fn note_document(&self, document: &Document, headers: &[(String, SecretText)]) {
        self.sent.note(&document.token);
        for header in &document.spec.client_headers {
            let from = header.value_from.as_ref().filter(|from| from.secret_key_ref.is_some());
            let value = headers.iter().find(|(name, _)| *name == header.name).map(|(_, value)| value);
            if let Some((from, value)) = from.zip(value) {
                let prefix = from.prefix.as_deref().unwrap_or_default();
                let text = value.expose();
                self.sent.note(&text.strip_prefix(prefix).unwrap_or(text).into());
            }
        }
    }

    /// Whose credential these headers hold.
    pub(super) fn account_of(&self, headers: &Headers) -> Account {
        account_of(&self.provider.credential, headers, &self.namespace)
    }

    pub(super) fn note_account(&self, headers: &Headers) -> Accounts {
        let account = self.account_of(headers);
        let mut accounts = self.accounts();
        accounts.read = Some(account);
        *accounts
    }

    async fn send(
        &self,
        operation: &Operation,
        purpose: Purpose,
        url: Url,
        scope: &Scope<'_>,
        bounds: Bounds,
        fence: &CallFence,
    ) -> Result<Answer, CallFailure> {
        let provider = &self.provider;
        let too_large = |TooLarge| unusable("the document or a header of the request is larger than 1 MiB");
        let credential = self.credential(purpose).await?;
        let mut headers = credential.headers.clone();
        let bounds = bounds.and(credential.bounds.clone());
        let credential = self.kept.keeps().then_some(credential);
        for (name, value) in &operation.headers {
            // As a member of a document: left out where something it needs is absent.
            let Some(value) = value.text(scope).map_err(too_large)? else {
                continue;
            };
            headers.push((name.clone(), value));
        }
        let document = operation.document.as_ref();
        let document = document.map(|document| document.render(scope));
        let document = document.transpose().map_err(too_large)?;
        let request = Request {
            method: operation.method.clone(),
            url,
            headers,
            body: document.map(|document| (operation.content_type.clone(), document.into())),
            bounds,
            // Last, so that the least time lies between asking and sending.
            timeout: fence.cut(provider.profile.timeout)?,
        };
        let answer = self.http.send(request).await.map_err(failure)?;
        if operation.is_success(answer.status) {
            if let Some(credential) = credential {
                self.kept.worked(credential);
            }
            return Ok(answer);
        }
        if !(400..600).contains(&answer.status) {
            // The provider may well have done it, so this must not count as a refusal: a create
            // would be sent again.
            return Err(CallFailure::Unreadable {
                what: format!("status {} is none of the operation's success codes", answer.status),
            });
        }
        Err(CallFailure::Status {
            code: answer.status,
            retry_after: answer.retry_after,
            missing: operation.is_missing(answer.status),
        })
    }

    pub(super) async fn send_document(
        &self,
        operation: &Operation,
        id: Option<&str>,
        document: &Document,
        fence: &CallFence,
    ) -> Result<(Answer, Option<String>), CallFailure> {
        let Document { namespace, spec, token, token_bounds } = document;
        let (headers, secrets, bounds) = self.client_headers(namespace, spec, token).await?;
        self.note_document(document, &headers);
        // Asked of every document: what a provider gets outside the headers it may use for deliveries all
        // the same, and what one request sets up another one may fill.
        let bounds = token_bounds.clone().and(bounds).passed_on_to(&host_of_postback(spec));
        let scope = Scope { headers: Some(&headers), token: Some(token), ..scope_of(spec, id) };
        let answer = self.call(operation, Purpose::Write, &scope, bounds, fence).await;
        Ok((answer.map_err(|failure| self.without_hidden_host(failure, operation, spec))?, secrets))
    }

    /// The failure without a host that stands in the value of a Secret: only those that stand in the
    /// objects are named.
    fn without_hidden_host(
        &self,
        failure: CallFailure,
        operation: &Operation,
        spec: &WebhookSubscriptionSpec,
    ) -> CallFailure {
        let CallFailure::Refused(Refusal::HostNotAllowed { owner, host }) = failure else {
            return failure;
        };
        let shows = |text: serde_json::Result<String>| {
            text.is_ok_and(|text| text.to_ascii_lowercase().contains(&host.to_ascii_lowercase()))
        };
        let is_shown = host == self.provider.host
            || host == host_of_postback(spec)
            || shows(serde_json::to_string(&operation.written))
            || shows(serde_json::to_string(spec));
        let host =
            if is_shown { host } else { "a host that stands encoded or in a Secret's value".to_owned() };
        Refusal::HostNotAllowed { owner, host }.into()
    }
}

/// What a subscription gives to placeholders, but for headers and token.
pub(super) fn scope_of<'a>(spec: &'a WebhookSubscriptionSpec, id: Option<&'a str>) -> Scope<'a> {
    Scope {
        id,
        action: spec.action.as_deref(),
        postback_url: Some(&spec.postback_url),
        active: Some(spec.is_active()),
        parameters: Some(&spec.parameters),
        ..Scope::default()
    }
}

/// The host that the subscription wants deliveries at, whatever the document says.
pub(super) fn host_of_postback(spec: &WebhookSubscriptionSpec) -> String {
    let postback = Url::parse(&spec.postback_url).ok();
    postback.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned()
}

/// What is said of an id that holds something secret, without any of it.
pub(super) fn echoed(pointer: &str, place: &str) -> String {
    format!(
        "what stands as the id at {pointer:?} of {place} holds a token or a Secret's value, and is not taken; have \
         the pointer name the webhook's own id"
    )
}

pub(super) fn without(operation: &str) -> CallFailure {
    CallFailure::Refused(Refusal::Unsupported {
        what: format!("the provider has no operation to {operation}"),
    })
}

fn unusable(what: impl Into<String>) -> CallFailure {
    CallFailure::Refused(Refusal::UnusableValue { what: what.into() })
}

/// The client's errors hold no body, header, path or query, so their texts can be passed on.
pub(super) fn failure(error: Error) -> CallFailure {
    match error {
        Error::DestinationNotAllowed { host, problem, allow } => {
            Refusal::DestinationNotAllowed { host, problem, allow }.into()
        }
        Error::HostNotAllowed { owner, host } => Refusal::HostNotAllowed { owner, host }.into(),
        Error::InvalidRequest { what } => unusable(what),
        Error::NeverADestination { .. } => unusable(error.to_string()),
        Error::Redirect { status, .. } => CallFailure::Redirect { code: status },
        Error::TooLarge { .. }
        | Error::UnexpectedEncoding { .. }
        | Error::BrokenEncoding { .. }
        | Error::InvalidAnswer { .. } => CallFailure::Unreadable { what: error.to_string() },
        error if error.outcome_unknown() => CallFailure::Unanswered { what: error.to_string() },
        error => CallFailure::NotSent { what: error.to_string() },
    }
}
