//! What a call to the outside brought, in the words the rules are written in.
//!
//! The modules that talk to providers and token servers report in these types; what follows from a
//! report is decided here in `rotation` and nowhere else. No type holds a body, a header value or
//! a query, so whatever is made of a failure can be shown.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::inventory::Inventory;
use super::life::Lifetime;
use crate::secret::SecretText;
use crate::secret::bounds::{Bounds, Forbidden, Owner};

/// Why a call to a provider did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The provider answered with a code that is no success.
    #[error("the provider answered {code}")]
    Status {
        /// The HTTP status code.
        code: u16,
        /// How long the answer asks us to wait (RFC 9110, section 10.2.3).
        retry_after: Option<Duration>,
        /// Whether the operation counts this code as "no such subscription".
        missing: bool,
    },
    /// The provider answered with a redirect; none is ever followed.
    #[error("the provider answered with a redirect ({code}), which is never followed")]
    Redirect {
        /// The HTTP status code.
        code: u16,
    },
    /// The request certainly did not reach the provider: no address, no connection, no TLS.
    #[error("the provider could not be reached: {what}")]
    NotSent {
        /// What went wrong, without URL query, header or body.
        what: String,
    },
    /// The request may have reached the provider, and no answer came: a timeout, a lost connection.
    #[error("the provider's answer did not arrive: {what}")]
    Unanswered {
        /// What went wrong, without URL query, header or body.
        what: String,
    },
    /// A success whose content cannot be used: a create without an id, a listing that is no list.
    #[error("the provider's answer cannot be read: {what}")]
    Unreadable {
        /// What was expected and where, never what was found.
        what: String,
    },
    /// Something on our side forbids the call.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why a token source brought no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintFailure {
    /// The token server answered with a code that is no success.
    #[error("the token source answered {code}{}", .oauth_error.as_deref().map(|error| format!(" ({error})")).unwrap_or_default())]
    Status {
        /// The HTTP status code.
        code: u16,
        /// How long the answer asks us to wait (RFC 9110, section 10.2.3).
        retry_after: Option<Duration>,
        /// Whether our credential was refused: 401, 403, or an error code of RFC 6749, section
        /// 5.2, that says so.
        credential_refused: bool,
        /// The error code, where it is one of those listed in RFC 6749, section 5.2.
        oauth_error: Option<String>,
    },
    /// The token server answered with a redirect; none is ever followed.
    #[error("the token source answered with a redirect ({code}), which is never followed")]
    Redirect {
        /// The HTTP status code.
        code: u16,
    },
    /// The request certainly did not reach the token server.
    #[error("the token source could not be reached: {what}")]
    NotSent {
        /// What went wrong, without URL query, header or body.
        what: String,
    },
    /// The request may have reached the token server, and no answer came.
    #[error("the token source's answer did not arrive: {what}")]
    Unanswered {
        /// What went wrong, without URL query, header or body.
        what: String,
    },
    /// A success without a usable token.
    #[error("the token source's answer cannot be used: {what}")]
    Unusable {
        /// What was expected and where, never what was found.
        what: String,
    },
    /// The cluster hands out no token for a service account.
    #[error("the API server grants no token: {what}")]
    NotGranted {
        /// What is missing and how to grant it.
        what: String,
    },
    /// A success that says an error in place of a token, and none of those in RFC 6749.
    #[error("the token source answered with an error in place of a token")]
    Declined,
    /// A token that had expired when it arrived.
    #[error("the token source returned a token that had already expired")]
    ExpiredOnArrival,
    /// A token whose life is stated as nothing or less, as if it were not stated.
    #[error("the token source states a life of 0 s or less at {place}")]
    NoLife {
        /// Where it is stated.
        place: String,
    },
    /// Something on our side forbids the call.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What on our own side forbids a call; nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The destination policy forbids the host.
    #[error(
        "{host} is not an allowed destination: {problem}; whoever runs hookkeeper may allow it with: {allow}"
    )]
    DestinationNotAllowed {
        /// Host and port.
        host: String,
        /// What is not allowed about it, with the address where a name has led to one.
        problem: String,
        /// The argument to add, such as `--allow-destination http://127.0.0.1:8080`.
        allow: String,
    },
    /// A Secret's annotation or a `TokenSource` does not name the host, or there is no annotation where
    /// one is required.
    #[error("{owner} must not be sent to {host}; {}", .owner.remedy())]
    HostNotAllowed {
        /// What says where the value may go.
        owner: Owner,
        /// The host the value would have gone to.
        host: String,
    },
    /// There is no such Secret, or it lacks the key.
    #[error("Secret {name} with key {key} was not found; create it in the same namespace")]
    SecretNotFound {
        /// Name of the Secret.
        name: String,
        /// Key inside the Secret.
        key: String,
    },
    /// The Secret could not be read.
    #[error("Secret {name} could not be read: {what}")]
    SecretUnavailable {
        /// Name of the Secret.
        name: String,
        /// What went wrong.
        what: String,
    },
    /// A value cannot stand where it is to be sent: a line break in a header.
    #[error("{what}")]
    UnusableValue {
        /// Which value, named by its field or Secret, and why.
        what: String,
    },
    /// The provider's credential is another than the one whose webhooks are known; nothing was sent.
    #[error(
        "the provider's credential has just changed; nothing was sent, and who else manages webhooks with it is compared first"
    )]
    AccountChanged,
    /// The claim to act ended before the request was sent; it was not sent.
    #[error("this process may no longer act; nothing was sent")]
    ClaimEnded,
    /// The source's kind does not work in this way of running hookkeeper.
    #[error("{what}")]
    Unsupported {
        /// Which kind, and what it needs.
        what: String,
    },
}

impl From<Forbidden> for Refusal {
    fn from(Forbidden { owner, host }: Forbidden) -> Self {
        Self::HostNotAllowed { owner, host }
    }
}

/// A token as its source handed it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// The token.
    pub token: SecretText,
    /// How long it lives. Never more than 400 days.
    pub lifetime: Lifetime,
    /// For a source that is read: what identifies this version of the token.
    pub version: Option<String>,
    /// For a source that is read: where the token may go.
    pub bounds: Bounds,
}

/// A remote subscription as a page of a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSubscription {
    /// The provider's id.
    pub id: String,
    /// The action, where the listing shows it.
    pub action: Option<String>,
    /// The postback URL; absent where the listing shows none of any.
    pub postback_url: Option<String>,
    /// Whether the provider delivers, where the listing shows it.
    pub active: Option<bool>,
}

/// A complete listing: two passes over all pages saw the same ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Everything the provider holds for this credential.
    pub shown: Inventory,
    /// How many requests it took.
    pub requests: u32,
}

/// What a create or an update brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The id the provider gave, for a create.
    pub id: Option<String>,
    /// Digest of the identity of each Secret in the document.
    pub secrets: Option<String>,
}

/// A token that is published to a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The newest token.
    pub current: SecretText,
    /// The token that was recorded as applied before it, while it may still arrive.
    pub previous: Option<SecretText>,
    /// Fingerprint of `previous`, where it is known: earlier releases did not say it.
    pub previous_fingerprint: Option<String>,
    /// Fingerprint of `current`.
    pub fingerprint: String,
    /// When `current` was asked for, or asked for again and given another life.
    pub minted: DateTime<Utc>,
    /// When `current` ends; `None` when nobody knows.
    pub expires: Option<DateTime<Utc>>,
    /// The hosts that the tokens may be sent to, which go along with the copy; `None` when nothing says.
    pub allowed_hosts: Option<Vec<String>>,
}
