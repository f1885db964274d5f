//! Conditions: the state of an object in the form that kubectl, Helm, Flux and Argo CD understand.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::schema;
use crate::printable::printable;

/// One aspect of an object's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect.
    #[serde(rename = "type")]
    #[schemars(schema_with = "schema::camel_word")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    #[schemars(schema_with = "schema::camel_word")]
    pub reason: Reason,
    /// What happened and what to do next; never empty, never a body, header value, query or token.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// The generation this was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// When `status` changed last.
    pub last_transition_time: DateTime<Utc>,
}

/// Aspects of an object's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// The remote subscription is known, its token lives, this generation's document is in place.
    Ready,
    /// The last attempt succeeded, or none was due.
    RotationHealthy,
    /// Work for this generation is under way or waits for something that may come.
    Reconciling,
    /// Nothing will happen until a person changes something.
    Stalled,
    /// A delivery has been seen with the token in place.
    TokenObserved,
    /// Some of a receiver's credentials cannot be used.
    CredentialUnusable,
    /// The application takes deliveries.
    HandingOn,
    /// The platform answers when it is asked for what it did not deliver.
    Asking,
    /// The platform will remove the webhook if it goes on being refused.
    RemovalRisk,
    /// Repeated deliveries may not be known as such for the whole window.
    DuplicateWindowShortened,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody has found out.
    Unknown,
}

/// Reads a list of conditions and leaves out those that this release does not know: a status that
/// a later one has written must not be lost, or releases could not be rolled back.
pub(super) fn known<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<Condition>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Read {
        Known(Condition),
        Unknown(IgnoredAny),
    }
    let read = Vec::<Read>::deserialize(reader)?;
    Ok(read
        .into_iter()
        .filter_map(|read| match read {
            Read::Known(condition) => Some(condition),
            Read::Unknown(_) => None,
        })
        .collect())
}

/// Longest message of a condition, in characters; the API server's limit is 32 KiB.
const MESSAGE_LIMIT: usize = 1024;

/// Puts a condition into the list, or takes it out with `None`.
///
/// The time of transition stays when the status does, so that equal lists mean that nothing changed.
pub fn set_condition(conditions: &mut Vec<Condition>, kind: ConditionType, wanted: Option<Condition>) {
    let before = conditions.iter().position(|condition| condition.kind == kind);
    match (before, wanted) {
        (None, None) => {}
        (Some(at), None) => {
            conditions.remove(at);
        }
        (at, Some(mut condition)) => {
            // People read it in a terminal, and names and words of others are in it.
            if let Cow::Owned(shown) = printable(&condition.message) {
                condition.message = shown;
            }
            if condition.message.chars().count() > MESSAGE_LIMIT {
                condition.message = condition.message.chars().take(MESSAGE_LIMIT - 1).chain(['…']).collect();
            }
            match at {
                Some(at) => {
                    if conditions[at].status == condition.status {
                        condition.last_transition_time = conditions[at].last_transition_time;
                    }
                    conditions[at] = condition;
                }
                None => conditions.push(condition),
            }
            conditions.sort_by_key(|condition| condition.kind);
        }
    }
}

/// Why something is as it is: used as a condition's reason, an event's reason and a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// A new token was applied.
    Rotated,
    /// A remote subscription that was there before was taken over.
    Adopted,
    /// A remote subscription was created.
    Created,
    /// A remote subscription that had vanished was created again.
    Recreated,
    /// The remote subscription was deleted.
    Deleted,
    /// A rotation succeeded after failures.
    Recovered,
    /// Nothing had to be done.
    Unchanged,
    /// The last attempt succeeded.
    Succeeded,
    /// The object is valid.
    Valid,
    /// Nobody has asked the provider yet.
    NotVerified,
    /// The applied token has expired.
    TokenExpired,
    /// Work has not come to an end.
    Pending,
    /// The object or its provider is suspended.
    Suspended,
    /// Another object owns the same remote subscription, or the Secret to publish to.
    Conflict,
    /// The object breaks a rule.
    InvalidSpec,
    /// The remote subscription has vanished.
    RemoteMissing,
    /// There is no such `WebhookProvider`.
    ProviderNotFound,
    /// There is no such `TokenSource`.
    TokenSourceNotFound,
    /// There is no such Secret, or it lacks the key.
    SecretNotFound,
    /// Works, but the previous token dies sooner than the overlap asks.
    OverlapShort,
    /// The token source does not answer, or not with a usable token.
    TokenSourceUnavailable,
    /// The token source refuses our credential or request.
    TokenSourceRefused,
    /// The token source keeps returning the same token.
    TokenNotRenewed,
    /// Nobody says how long the token lives.
    LifetimeUnknown,
    /// Tokens live so shortly that none can be replaced before it ends.
    LifetimeTooShort,
    /// The token source returned a token that had expired.
    TokenExpiredOnArrival,
    /// The provider does not answer.
    ProviderUnavailable,
    /// The provider refuses our credential.
    ProviderRefusedCredentials,
    /// The provider refuses the document.
    ProviderRefusedDocument,
    /// The provider or the token source asks for fewer requests.
    RateLimited,
    /// The provider does not let us list.
    ListForbidden,
    /// What the provider shows differs from what was sent, again after that was repeated.
    DriftPersists,
    /// The destination policy forbids the host.
    DestinationNotAllowed,
    /// A fault of our own.
    InternalError,
    /// A remote subscription of the same action and URL exists that is not on record.
    AlreadyExists,
    /// Several remote subscriptions could be meant.
    Ambiguous,
    /// It cannot be found out whether a create took effect.
    CreationOutcomeUnknown,
    /// The recorded ids do not belong to this provider or account.
    ProviderMismatch,
    /// A second remote subscription of the same action and URL was found.
    DuplicateFound,
    /// A deletion went on without the provider.
    RemoteOrphaned,
    /// A token was applied although a gate has not taken it in.
    GateBehind,
    /// No gate takes the receiver's deliveries in.
    NoGate,
    /// A delivery has been seen with the token in place.
    DeliverySeen,
    /// No delivery has been seen with the token in place yet.
    AwaitingDelivery,
    /// Deliveries still come with a token that was replaced.
    OldTokenStillSeen,
    /// Nobody can say whose deliveries come.
    NotAttributable,
    /// Deliveries are taken in and proven.
    Accepting,
    /// A credential cannot be used.
    CredentialUnusable,
    /// Bodies that hold live credentials would be kept in clear.
    BodiesInClear,
    /// The application does not take deliveries.
    ApplicationUnavailable,
    /// The platform does not answer when it is asked for what it did not deliver.
    PlatformUnavailable,
    /// Deliveries are parked.
    Parked,
    /// There are more events than are remembered.
    TooManyEvents,
    /// All deliveries of the platform have been refused for a while.
    RemovalPossible,
    /// All deliveries of the platform have been refused for nearly half the time that it allows.
    RemovalLikely,
    /// All deliveries of the platform have been refused for nearly as long as it allows.
    RemovalNear,
    /// The object is no longer there.
    ManifestGone,
    /// A reason of a later release.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}
