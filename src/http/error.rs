//! What can go wrong with a request, in words that are safe to show.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use thiserror::Error;

use super::ProxyUrl;
use crate::secret::bounds::{Forbidden, Owner};

/// Why a request has no usable answer, or an answer no usable body.
///
/// `host` is `HOST:PORT`. Nothing here comes from a body, a header, a path or a query; the
/// problems are fixed texts, because the texts of other libraries' errors hold URLs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// No request could be made of what was given.
    #[error("the request cannot be sent: {what}")]
    InvalidRequest {
        /// What is wrong with it.
        what: String,
    },
    /// The destination policy says no.
    #[error(
        "{host} is not allowed as a destination: {problem}; without an exception only https to public \
         addresses is allowed; whoever runs hookkeeper can allow it with {allow}"
    )]
    DestinationNotAllowed {
        /// Where the request was to go.
        host: String,
        /// What is not allowed about it: the address that its name has, or plain http.
        problem: String,
        /// The option to start the process with, such as
        /// `--allow-destination http://127.0.0.1:8080`.
        allow: String,
    },
    /// It is a place that nothing is sent to, whatever else is allowed.
    #[error("{host} is the API server, to which nothing is sent for an object; name another destination")]
    NeverADestination {
        /// Where the request was to go.
        host: String,
    },
    /// A value in the request may not go to a host: the one that is called, or one that is written into
    /// what is sent.
    #[error("{owner} must not be sent to {host}; {}", .owner.remedy())]
    HostNotAllowed {
        /// What says where the value may go.
        owner: Owner,
        /// The host. Written into what is sent, it may be part of a secret.
        host: String,
    },
    /// The name has no address.
    #[error("the name of {host} cannot be resolved; check its spelling and the DNS")]
    Resolve {
        /// Whose name.
        host: String,
    },
    /// Nobody knows yet whether the name has an address.
    #[error("the name of {host} was not resolved within {limit:?}: {problem}")]
    ResolveTimeout {
        /// Whose name.
        host: String,
        /// How long it was waited for.
        limit: Duration,
        /// What it waited for.
        problem: &'static str,
    },
    /// No connection came about.
    #[error("no connection to {host}: {problem}")]
    Connect {
        /// Where to.
        host: String,
        /// What the operating system said.
        problem: &'static str,
    },
    /// No connection came about in time.
    #[error("no connection to {host} in time")]
    ConnectTimeout {
        /// Where to.
        host: String,
    },
    /// The connection could not be encrypted, or its other end not be trusted.
    #[error("no secure connection to {host}: {problem}")]
    Tls {
        /// Where to.
        host: String,
        /// What was wrong.
        problem: &'static str,
    },
    /// The proxy, which opens the connections, has opened none.
    #[error("no connection to {host} through the proxy {proxy}: {problem}")]
    Proxy {
        /// Where to.
        host: String,
        /// The proxy's URL, which holds no credentials.
        proxy: String,
        /// What was wrong.
        problem: &'static str,
    },
    /// The answer was not complete in time.
    #[error("no complete answer from {host} within {timeout:?}")]
    Timeout {
        /// From where.
        host: String,
        /// The time that was given to the whole request.
        timeout: Duration,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to {host} was lost before the answer was complete")]
    Lost {
        /// Where to.
        host: String,
    },
    /// The answer sends the client elsewhere, which it never goes.
    #[error("{host} answered with a redirect (status {status}), which is never followed; use the final URL")]
    Redirect {
        /// From where.
        host: String,
        /// 300 to 399.
        status: u16,
    },
    /// The body is larger than [`MAX_BODY`](super::MAX_BODY).
    #[error("the answer of {host} is larger than 1 MiB")]
    TooLarge {
        /// From where.
        host: String,
    },
    /// The body has a content coding that is not known, although the request asks for none.
    #[error(
        "the answer of {host} has a content encoding although none was asked for; only gzip and deflate are unpacked"
    )]
    UnexpectedEncoding {
        /// From where.
        host: String,
    },
    /// The body is compressed, although the request asks for that not to be done, and what came is
    /// not what its header says.
    #[error("the answer of {host} is compressed although that was not asked for, and cannot be unpacked")]
    BrokenEncoding {
        /// From where.
        host: String,
    },
    /// The answer is no HTTP, or its header is too large.
    #[error("the answer of {host} is no valid HTTP")]
    InvalidAnswer {
        /// From where.
        host: String,
    },
}

impl From<Forbidden> for Error {
    fn from(Forbidden { owner, host }: Forbidden) -> Self {
        Self::HostNotAllowed { owner, host }
    }
}

impl Error {
    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::InvalidRequest { what: what.into() }
    }

    /// Whether the server may have received the request and carried it out.
    ///
    /// False means that it certainly did not, so that a request which must not be carried out
    /// twice can be sent again.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::InvalidRequest { .. }
            | Self::DestinationNotAllowed { .. }
            | Self::NeverADestination { .. }
            | Self::HostNotAllowed { .. }
            | Self::Resolve { .. }
            | Self::ResolveTimeout { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls { .. }
            | Self::Proxy { .. } => false,
            Self::Timeout { .. }
            | Self::Lost { .. }
            | Self::TooLarge { .. }
            | Self::UnexpectedEncoding { .. }
            | Self::BrokenEncoding { .. }
            | Self::InvalidAnswer { .. } => true,
            // 307 and 308 ask for the same request elsewhere, so it was not carried out here
            // (RFC 9110, 15.4.8 and 15.4.9). The others are also answers to one that was.
            Self::Redirect { status, .. } => !matches!(status, 307 | 308),
        }
    }

    /// Says in our words what reqwest says in its own.
    /// `proxy` is the one that was to open the connection to the host.
    pub(super) fn from_reqwest(error: reqwest::Error, host: String, proxy: Option<&ProxyUrl>) -> Self {
        // Belt and braces: its text is never shown, and this takes the URL out of it.
        let error = error.without_url();
        if let Some(own) = find::<Self>(&error) {
            return own.clone();
        }
        if error.is_builder() {
            return Self::invalid("it is no valid HTTP request");
        }
        if error.is_connect() {
            if let Some(proxy) = proxy
                && let Some(problem) = proxy_problem(&error)
            {
                return Self::Proxy { host, proxy: proxy.to_string(), problem };
            }
            if error.is_timeout() {
                return Self::ConnectTimeout { host };
            }
            if error.is_dns() {
                return Self::Resolve { host };
            }
            if let Some(problem) = find::<rustls::Error>(&error).map(tls_problem) {
                return Self::Tls { host, problem };
            }
            let kind = find::<io::Error>(&error).map(innermost_kind);
            return match kind {
                // Only a handshake reads anything before the connection counts as open.
                Some(io::ErrorKind::UnexpectedEof) => {
                    Self::Tls { host, problem: "the other end closed the connection during the handshake" }
                }
                kind => Self::Connect { host, problem: connect_problem(kind) },
            };
        }
        if find::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
            return Self::InvalidAnswer { host };
        }
        Self::Lost { host }
    }
}

/// What hindered the proxy; `None` when the tunnel through it stands and something else failed.
fn proxy_problem(error: &reqwest::Error) -> Option<&'static str> {
    if error.is_timeout() {
        return Some("it did not open the connection in time");
    }
    // The type of this error is not public. A test sees to it that the words stay what they are.
    let tunnel = causes(error).map(ToString::to_string).find_map(|text| {
        let (_, problem) = text.split_once("tunnel error: ")?;
        Some(problem.to_owned())
    })?;
    let problem = match tunnel.as_str() {
        "proxy authorization required" => {
            "it refuses us without a user and a password that it knows; see --proxy-credentials-file"
        }
        "unsuccessful" => "it refuses to connect there; its log may say why",
        "failed to create underlying connection" if error.is_dns() => {
            "its own name cannot be resolved; check its spelling and the DNS"
        }
        "failed to create underlying connection" => match find::<rustls::Error>(error) {
            Some(problem) => tls_problem(problem),
            None => connect_problem(find::<io::Error>(error).map(innermost_kind)),
        },
        _ => "it does not answer as an HTTP proxy does",
    };
    Some(problem)
}

/// The error and all its causes.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        // `source` of an I/O error leaves out the error that it was made of.
        Some(error) => error.get_ref().map(|inner| inner as _),
        None => error.source(),
    })
}

/// The first cause of this type.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The kind of the I/O error that others were wrapped around.
fn innermost_kind(error: &io::Error) -> io::ErrorKind {
    let mut error = error;
    while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()) {
        error = inner;
    }
    error.kind()
}

fn connect_problem(kind: Option<io::ErrorKind>) -> &'static str {
    match kind {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused; nothing listens there",
        Some(io::ErrorKind::ConnectionReset) => "connection reset",
        Some(io::ErrorKind::HostUnreachable) => "host unreachable",
        Some(io::ErrorKind::NetworkUnreachable) => "network unreachable",
        Some(io::ErrorKind::TimedOut) => "no answer on the network",
        Some(io::ErrorKind::PermissionDenied) => "not permitted by the operating system",
        _ => "connecting failed",
    }
}

fn tls_problem(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            Certificate::Expired | Certificate::ExpiredContext { .. } => "its certificate has expired",
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "its certificate is not valid yet; check the clocks"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "its certificate is for another name"
            }
            Certificate::UnknownIssuer => {
                "its certificate comes from an unknown issuer; one of your own is trusted with --ca-file"
            }
            // An issuer that has a new key under its old name.
            Certificate::BadSignature => {
                "its certificate is signed with another key than the one that its issuer is known by; the \
                 issuer's new certificate is trusted with --ca-file"
            }
            Certificate::Revoked => "its certificate has been revoked",
            _ => "its certificate is invalid",
        },
        rustls::Error::InvalidMessage(_) => "the other end does not speak TLS",
        rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol) => {
            "the other end does not speak HTTP/1.1, and nothing else is spoken here"
        }
        rustls::Error::AlertReceived(_) => "the other end refused the handshake",
        rustls::Error::PeerIncompatible(_) => "the other end has no TLS version or cipher in common",
        _ => "the handshake failed",
    }
}
