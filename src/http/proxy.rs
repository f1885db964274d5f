//! The proxy that opens connections for the client, where whoever runs the process names one.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::HeaderValue;
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

use crate::secret::SecretText;

/// Where the proxy is: `http://HOST[:PORT]` or `https://HOST[:PORT]`.
///
/// ```
/// use hookkeeper::http::ProxyUrl;
///
/// let proxy: ProxyUrl = "http://proxy.example.com:3128".parse().unwrap();
/// assert_eq!(proxy.to_string(), "http://proxy.example.com:3128");
/// assert!("http://user:password@proxy.example.com:3128".parse::<ProxyUrl>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl(Url);

/// Why the URL of a proxy cannot be used. The URL is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidProxy {
    /// No URL, or one of another kind of proxy.
    #[error("is no URL of an HTTP proxy; write http://HOST:PORT or https://HOST:PORT")]
    Form,
    /// Everybody on the machine can read the arguments of a process.
    #[error(
        "holds a user name or a password, which everybody on this machine can read there; write \
         `user:password` into a file and name it with --proxy-credentials-file"
    )]
    Credentials,
    /// A path, a query or a fragment.
    #[error("holds more than a host and a port; write http://HOST:PORT")]
    Surplus,
}

impl FromStr for ProxyUrl {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| InvalidProxy::Form)?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(InvalidProxy::Form);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidProxy::Credentials);
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidProxy::Surplus);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.origin().ascii_serialization())
    }
}

impl ProxyUrl {
    pub(super) fn url(&self) -> Url {
        self.0.clone()
    }

    /// Whether the proxy has this name.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.0.host_str().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Why a file holds no credentials. Its content is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("holds no credentials; write one line with `user:password`")]
pub struct InvalidCredentials;

/// The `Proxy-Authorization` of `user:password` (RFC 7617), one line break at the end left out.
pub(super) fn authorization(text: &SecretText) -> Result<HeaderValue, InvalidCredentials> {
    let text = text.expose();
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let user = line.split_once(':').map(|(user, _)| user);
    if user.is_none_or(str::is_empty) || line.chars().any(char::is_control) {
        return Err(InvalidCredentials);
    }
    let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(line)));
    let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| InvalidCredentials)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_scheme_a_host_and_a_port() {
        for (text, printed) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://proxy:3128/", "http://proxy:3128"),
            ("HTTPS://Proxy.Example.com", "https://proxy.example.com"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(text.parse::<ProxyUrl>().unwrap().to_string(), printed);
        }
        for (text, problem) in [
            ("", InvalidProxy::Form),
            ("proxy:3128", InvalidProxy::Form),
            ("proxy.example.com", InvalidProxy::Form),
            ("socks5://proxy:1080", InvalidProxy::Form),
            ("http://user@proxy:3128", InvalidProxy::Credentials),
            ("http://user:canary@proxy:3128", InvalidProxy::Credentials),
            ("http://:canary@proxy:3128", InvalidProxy::Credentials),
            ("http://proxy:3128/path", InvalidProxy::Surplus),
            ("http://proxy:3128?a", InvalidProxy::Surplus),
            ("http://proxy:3128#a", InvalidProxy::Surplus),
        ] {
            let error = text.parse::<ProxyUrl>().unwrap_err();
            assert_eq!(error, problem, "{text}");
            assert!(!error.to_string().contains("canary"));
        }
    }

    #[test]
    fn credentials_are_one_line_and_not_printed() {
        for text in ["Aladdin:open sesame", "Aladdin:open sesame\n", "Aladdin:open sesame\r\n"] {
            let value = authorization(&text.into()).unwrap();
            assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "the example of RFC 7617");
            assert_eq!(format!("{value:?}"), "Sensitive");
        }
        assert!(authorization(&"user:with:colons".into()).is_ok());
        assert!(authorization(&"user:".into()).is_ok());
        for text in ["", "\n", "user", ":password", "user:password\nmore", "user:pass\tword"] {
            assert_eq!(authorization(&text.into()), Err(InvalidCredentials), "{text:?}");
        }
    }

    #[test]
    fn a_proxy_is_known_by_its_name() {
        let proxy: ProxyUrl = "http://Proxy.internal:3128".parse().unwrap();
        assert!(proxy.is_named("proxy.INTERNAL"));
        assert!(!proxy.is_named("proxy.internal.example"));
    }
}
