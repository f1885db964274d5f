//! What is recorded of a receiver.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::condition::{self, Condition};
use crate::api::subscription::TokenPlace;

/// What is recorded of a `WebhookReceiver`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookReceiverStatus {
    /// The generation that was seen and judged last; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,
    /// The URL to type into the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// How many deliveries wait to be handed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub waiting: Option<i64>,
    /// When a delivery was accepted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_accepted_time: Option<DateTime<Utc>>,
    /// When a delivery of a known sender was refused last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refused_time: Option<DateTime<Utc>>,
    /// The header in which the subscription that names this receiver sends its token: gates of a cluster see
    /// no subscriptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub token_header: Option<String>,
    /// What stands before the token in that header. Left out where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub token_prefix: Option<String>,
    /// What each gate process of a cluster says: each writes its own entry. The fields beside it are made of
    /// these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["gate"]))]
    pub gates: Vec<GateReport>,
    /// Which token was seen, by which gate, in which event's deliveries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2048), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["gate", "fingerprint", "event"]))]
    pub tokens: Vec<SeenToken>,
    /// The state in the standard form.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "condition::known")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What one gate process says of a receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateReport {
    /// Name of the gate process: its Pod's.
    #[schemars(length(min = 1, max = 253))]
    pub gate: String,
    /// The generation that it works with; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,
    /// Which store it has: gates with the same one count the same deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub store: Option<String>,
    /// The URL to type into the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// How many deliveries wait in its store to be handed on, rounded to two digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub waiting: Option<i64>,
    /// When it accepted a delivery last, to ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_accepted_time: Option<DateTime<Utc>>,
    /// When it refused a delivery of a known sender last, to ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refused_time: Option<DateTime<Utc>>,
    /// The state as it sees it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "condition::known")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A token that was seen in deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeenToken {
    /// Which gate process saw it.
    #[schemars(length(max = 253))]
    pub gate: String,
    /// The token's fingerprint.
    #[schemars(length(max = 64))]
    pub fingerprint: String,
    /// The event, or `other` when there are too many.
    #[schemars(length(max = 128))]
    pub event: String,
    /// When it was seen last.
    pub last_seen: DateTime<Utc>,
    /// The subscriptions that these deliveries named in the header `Hookkeeper-Subscription`, sorted; of more
    /// than 16 those that were seen last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub subscriptions: Vec<String>,
    /// Some of these deliveries named no subscription.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unnamed: bool,
    /// The last of these deliveries was refused: the token is no longer accepted, and only known again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
}

impl WebhookReceiverStatus {
    /// Where the token stands, by the subscription that names the receiver.
    #[must_use]
    pub fn token_place(&self) -> Option<TokenPlace<'_>> {
        let prefix = self.token_prefix.as_deref().unwrap_or_default();
        self.token_header.as_deref().map(|header| TokenPlace { header, prefix })
    }
}
