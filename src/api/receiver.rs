//! `WebhookReceiver`: where the gate takes a platform's deliveries in, how it proves them, and where it
//! hands them on.

mod deliveries;
mod fallback;
mod status;
mod verification;

use chrono::{DateTime, Utc};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use deliveries::{
    Allowance, DuplicateAction, Duplicates, Forward, ForwardService, HandOn, Mode, ReceiverLimits, Retry,
    TestEvent, TestEventAction,
};
pub use fallback::{Fallback, FallbackFields, FallbackRequest};
pub use status::{GateReport, SeenToken, WebhookReceiverStatus};
pub use verification::{
    ApiKeyVerification, HmacAlgorithm, HmacEncoding, HmacVerification, SecretsVerification,
    TokenVerification, Verification,
};

use super::duration::Duration;
use super::schema;
use super::subscription::TokenPlace;

/// Where a platform's deliveries are taken in, proven and handed on.
// Columns of one type are no duplicates.
#[allow(clippy::duplicated_attributes)]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "hookkeeper.dev",
    version = "v1alpha1",
    kind = "WebhookReceiver",
    plural = "webhookreceivers",
    singular = "webhookreceiver",
    shortname = "whr",
    namespaced,
    status = "WebhookReceiverStatus",
    doc = "Takes a platform's deliveries in, proves them, keeps them safe and hands them on.",
    category = "hookkeeper",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Waiting", type_ = "integer", json_path = ".status.waiting"),
    printcolumn(name = "Last Delivery", type_ = "date", json_path = ".status.lastAcceptedTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    selectable = ".spec.preset"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(schema::DIRECT_RULE).message(schema::DIRECT_MESSAGE))]
#[x_kube(validation = Rule::new(schema::REVOKED_RULE).message(schema::REVOKED_MESSAGE))]
pub struct WebhookReceiverSpec {
    /// A built-in description of a platform's deliveries, which gives what is not set below: `gupy`,
    /// `idunico`, `pulpo`, `qualp` or `standardWebhooks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::RECEIVER_PRESET))]
    pub preset: Option<String>,
    /// The public path, matched exactly and as it is written. Default: `/NAMESPACE/NAME`. It begins with
    /// `/NAMESPACE/`, unless the process allows the namespace another beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = schema::RECEIVER_PATH))]
    #[x_kube(validation = Rule::new(schema::PATH_PARTS_RULE).message(schema::PATH_PARTS_MESSAGE))]
    pub path: Option<String>,
    /// How a delivery proves where it comes from.
    pub verification: Verification,
    /// Networks that deliveries must come from, besides their credential. Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 43)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new(schema::RANGES_RULE).message(schema::RANGES_MESSAGE))]
    pub source_ranges: Vec<String>,
    /// Largest body in bytes; a larger one is answered 413. Default: 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub max_body_bytes: Option<u32>,
    /// How much may wait to be handed on; over it this receiver answers 503. Default: 100,000 deliveries
    /// and 1 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending: Option<Allowance>,
    /// How much may be parked; over it this receiver answers 503. Default: 100,000 deliveries and 1 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parked: Option<Allowance>,
    /// Which deliveries are handed on; others are answered 200 and counted. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_on: Option<HandOn>,
    /// How the platform's test event is known, and what is done with it. Default: the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_event: Option<TestEvent>,
    /// How a repeated delivery is known, and what is done with it. Default: the preset's; without one the
    /// same body within 10 minutes is marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<Duplicates>,
    /// Whether deliveries are kept before they are acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Stored"))]
    pub mode: Option<Mode>,
    /// Where deliveries are handed on to.
    pub forward: Forward,
    /// How long a delivery is tried before it is parked. The time stands still under `suspend`. Default: 72h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::POSITIVE_RULE).message(schema::POSITIVE_MESSAGE))]
    pub retention: Option<Duration>,
    /// What is done when the platform's deliveries fail: the platform is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Take deliveries in and keep them, but hand nothing on. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub suspend: Option<bool>,
    /// What is taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ReceiverLimits>,
    /// Tokens of the source that were minted before this time are no longer accepted, whatever is left of
    /// their overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_before: Option<DateTime<Utc>>,
}

impl WebhookReceiverSpec {
    /// Lets it read tokens where a subscription sends them, whatever header it names itself. Without effect
    /// on a receiver that accepts no tokens of a `TokenSource`.
    pub fn reads_token_at(&mut self, place: TokenPlace<'_>) {
        if let Some(token) = &mut self.verification.token
            && token.token_source_ref.is_some()
        {
            token.header = Some(place.header.to_owned());
            token.prefix = Some(place.prefix.to_owned());
        }
    }

    /// The source whose tokens prove its deliveries, where one's do.
    #[must_use]
    pub fn token_source(&self) -> Option<&str> {
        let token = self.verification.token.as_ref()?;
        token.token_source_ref.as_ref().map(|source| source.name.as_str())
    }

    /// Whether nothing is handed on.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspend.unwrap_or(false)
    }

    /// The mode, with its default.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or_default()
    }
}
