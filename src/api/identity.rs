//! What the engine needs to know of an object besides its spec and status.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Namespace and name of an object; its kind is known from where the key stands.
///
/// Cheap to clone: it is passed along with every step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Namespace; `default` for a manifest that names none.
    pub namespace: Arc<str>,
    /// Name, unique within kind and namespace.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// Puts a key together.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// An object of the same namespace.
    #[must_use]
    pub fn sibling(&self, name: &str) -> Self {
        Self { namespace: Arc::clone(&self.namespace), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// The four kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// The platform that sends the webhooks.
    WebhookProvider,
    /// Where fresh tokens come from.
    TokenSource,
    /// One webhook at the provider.
    WebhookSubscription,
    /// Where a platform's deliveries are taken in.
    WebhookReceiver,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::WebhookProvider => "WebhookProvider",
            Self::TokenSource => "TokenSource",
            Self::WebhookSubscription => "WebhookSubscription",
            Self::WebhookReceiver => "WebhookReceiver",
        })
    }
}

/// What of an object's metadata matters to a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Differs between an object and a later one of the same name.
    pub uid: String,
    /// Changes with the spec, and with nothing else.
    pub generation: i64,
    /// When the object was created; of two claimants the older one wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<DateTime<Utc>>,
    /// Since when it is being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<DateTime<Utc>>,
    /// Whether our finalizer is on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_finalizer: bool,
    /// Value of the annotation [`super::ROTATE_ANNOTATION`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_requested: Option<String>,
    /// Whether the annotation [`super::FORCE_ORPHAN_ANNOTATION`] is `"true"`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force_orphan: bool,
}

impl Identity {
    /// An object of which nothing is known but its name.
    #[must_use]
    pub fn of_name(key: ObjectKey) -> Self {
        Self {
            key,
            uid: String::new(),
            generation: 1,
            created: None,
            deleted: None,
            has_finalizer: false,
            rotate_requested: None,
            force_orphan: false,
        }
    }
}

/// An object as a shell hands it to the engine: who it is, what it asks for, what is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared<Spec, Status> {
    /// Who it is.
    pub identity: Identity,
    /// What it asks for.
    pub spec: Spec,
    /// What is recorded of it.
    #[serde(default)]
    pub status: Status,
}

/// A manual request as it is recorded: at most 128 printable characters.
#[must_use]
pub fn recorded_request(request: &str) -> String {
    request.chars().filter(|character| !character.is_control()).take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_recorded_in_few_printable_characters() {
        let long = "x\r\n".repeat(200);
        assert_eq!(recorded_request(&long), "x".repeat(128));
    }
}
