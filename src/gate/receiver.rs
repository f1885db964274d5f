//! A receiver with everything in its place: what its object says, laid over its preset.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use crate::api::{DuplicateAction, HmacAlgorithm, HmacEncoding, Mode, SecretKeyReference, TestEventAction};
use crate::http::HeaderName;
use crate::store::{Extent, Owner, Room};

/// A receiver as the gate works with it: no field that is left out, no name of a preset.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Whose rows are its own.
    pub owner: Owner,
    /// The generation of the object that it was made of.
    pub generation: i64,
    /// When the object was created; of two receivers with one path the older one has it.
    pub created: Option<DateTime<Utc>>,
    /// The public path, as it stands in a request's first line.
    pub path: String,
    /// How deliveries are proven.
    pub proof: Proof,
    /// Networks that deliveries must come from; empty for any.
    pub source_ranges: Vec<IpNet>,
    /// Largest body in bytes.
    pub max_body: usize,
    /// What may wait.
    pub max_pending: Extent,
    /// What may be parked.
    pub max_parked: Extent,
    /// Which deliveries are handed on; `None` for all.
    pub hand_on: Option<HandOn>,
    /// How a test event is known.
    pub test_event: Option<TestEvent>,
    /// How a repeated delivery is known.
    pub duplicates: Duplicates,
    /// Where in the body the event's name stands.
    pub event_name: Option<Pointer>,
    /// Where in the body the sender's date stands.
    pub event_time: Option<Pointer>,
    /// Content-Type of deliveries that bring none.
    pub content_type: Option<String>,
    /// Status of the answer to a delivery that was taken.
    pub success: u16,
    /// Kept before the acknowledgement, or passed on at once.
    pub mode: Mode,
    /// Where to, and how.
    pub forward: Forward,
    /// How long a delivery is tried.
    pub retention: Duration,
    /// Whether nothing is handed on.
    pub suspended: bool,
    /// What is taken in each second.
    pub requests_per_second: u32,
    /// Tokens minted before are not accepted.
    pub revoked_before: Option<DateTime<Utc>>,
    /// How long a token is accepted after it stopped being the current one.
    pub overlap: Duration,
    /// Whether bodies hold what must not lie on a disk in clear.
    pub sealed_only: bool,
    /// After how long of nothing but refusals the platform removes the webhook.
    pub removed_after: Option<Duration>,
    /// The platform is asked for what it did not deliver.
    pub fallback: Option<Arc<Fallback>>,
}

impl Receiver {
    /// What it may have in the store, beside the share of its namespace. `leaves_some` says that there are
    /// other namespaces, for which something of the disk is left.
    #[must_use]
    pub fn room(&self, namespace: Extent, leaves_some: bool) -> Room {
        Room { pending: self.max_pending, parked: self.max_parked, namespace, leaves_some }
    }
}

/// A JSON Pointer (RFC 6901), taken apart; an index of a list is a text too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(pub Vec<String>);

/// How deliveries are proven, and where the credentials for it are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A token in a header.
    Token {
        /// The header.
        header: HeaderName,
        /// What stands before the token.
        prefix: String,
        /// Where accepted tokens come from.
        tokens: Tokens,
    },
    /// An API key: in this header, or in the one that the Secret names.
    ApiKey {
        /// The header, if the object names it.
        header: Option<HeaderName>,
        /// Keys of Secrets.
        secrets: Vec<SecretKeyReference>,
    },
    /// HTTP Basic authentication (RFC 7617).
    Basic {
        /// Keys of Secrets, each `user:password`.
        secrets: Vec<SecretKeyReference>,
    },
    /// An HMAC of the raw body.
    Hmac {
        /// The header.
        header: HeaderName,
        /// The hash function.
        algorithm: HmacAlgorithm,
        /// How it is written.
        encoding: HmacEncoding,
        /// What stands before it.
        prefix: String,
        /// Keys of Secrets.
        secrets: Vec<SecretKeyReference>,
    },
    /// Standard Webhooks.
    StandardWebhooks {
        /// Keys of Secrets.
        secrets: Vec<SecretKeyReference>,
    },
    /// Nothing is verified.
    None,
}

impl Proof {
    /// The keys of Secrets that hold its credentials; tokens of a source are in none of them.
    #[must_use]
    pub fn secrets(&self) -> &[SecretKeyReference] {
        match self {
            Self::Token { tokens: Tokens::Secrets(secrets), .. }
            | Self::ApiKey { secrets, .. }
            | Self::Basic { secrets }
            | Self::Hmac { secrets, .. }
            | Self::StandardWebhooks { secrets } => secrets,
            Self::Token { tokens: Tokens::Source(_), .. } | Self::None => &[],
        }
    }
}

/// Where accepted tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// A `TokenSource` of this name, in the namespace of the receiver.
    Source(String),
    /// Keys of Secrets.
    Secrets(Vec<SecretKeyReference>),
}

/// Which deliveries are handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOn {
    /// Where the deciding value stands.
    pub path: Pointer,
    /// The values that are handed on.
    pub values: Vec<String>,
}

/// How a test event is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestEvent {
    /// Where its name stands.
    pub path: Pointer,
    /// Its name.
    pub equals: String,
    /// What is done with it.
    pub action: TestEventAction,
}

/// How a repeated delivery is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicates {
    /// What names an event.
    pub key: EventName,
    /// How long it is known.
    pub window: Duration,
    /// What is done with a repeated one.
    pub action: DuplicateAction,
}

/// What names an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventName {
    /// Nothing but its body.
    Body,
    /// A header.
    Header(HeaderName),
    /// These places in the body together.
    Parts(Vec<Pointer>),
}

/// Where deliveries are handed on to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where to.
    pub to: Destination,
    /// How long the application may take.
    pub timeout: Duration,
    /// How many may be under way at the same time.
    pub max_concurrent: usize,
    /// How many refusals a delivery may meet before it is parked.
    pub max_attempts: u32,
    /// The first wait after a refusal.
    pub interval: Duration,
    /// The longest wait.
    pub max_interval: Duration,
}

/// Where deliveries are handed on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A Service of the receiver's namespace.
    Service {
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
        /// Path and query.
        path: String,
    },
    /// A URL.
    Url(url::Url),
}

/// How the platform is asked for what it did not deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Keys of Secrets of the applications that may say what they wait for.
    pub secrets: Vec<SecretKeyReference>,
    /// How long a delivery may take.
    pub after: Duration,
    /// How often the platform is asked.
    pub every: Duration,
    /// When it is given up.
    pub give_up_after: Duration,
    /// The request as the object has it.
    pub request: crate::api::FallbackRequest,
    /// Where the id stands.
    pub id: Pointer,
    /// Where the status stands.
    pub status: Pointer,
    /// Statuses that end it.
    pub until: Vec<String>,
}
