//! What becomes of deliveries: which are taken in, known again and handed on, where to, and how often.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::duration::Duration;
use crate::api::schema;

/// How much of something there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Allowance {
    /// How many deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub deliveries: Option<u32>,
    /// How many bytes of bodies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_099_511_627_776_u64))]
    pub bytes: Option<u64>,
}

/// Which deliveries are handed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HandOn {
    /// Where in the body the deciding text or number stands: a JSON Pointer (RFC 6901).
    #[schemars(length(min = 1, max = 256), regex(pattern = schema::JSON_POINTER))]
    pub path: String,
    /// The values that are handed on, as JSON writes them without quotes: `"3"` is both `3` and `"3"`.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub values: Vec<String>,
}

/// How a test event is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(schema::TEST_EVENT_RULE).message(schema::TEST_EVENT_MESSAGE))]
pub struct TestEvent {
    /// Where in the body its name stands: a JSON Pointer (RFC 6901). Default: the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = schema::JSON_POINTER))]
    pub path: Option<String>,
    /// Its name. Default: the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub equals: Option<String>,
    /// What is done with it. Default: `Answer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<TestEventAction>,
}

/// What is done with a test event, which proves the credential. `Answer`: answered 200. `Forward`: handed on
/// as well. Default: the preset's, otherwise `Answer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TestEventAction {
    /// It is answered 200, and that is all. The default.
    #[default]
    Answer,
    /// It is handed on like any other delivery.
    Forward,
}

/// How a repeated delivery is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(schema::DUPLICATES_RULE).message(schema::DUPLICATES_MESSAGE))]
#[x_kube(validation = Rule::new(schema::DROP_RULE).message(schema::DROP_MESSAGE))]
pub struct Duplicates {
    /// JSON Pointers (RFC 6901) to what together names an event. Default: the preset's; without one the
    /// body as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 256), regex(pattern = schema::JSON_POINTER)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub key: Vec<String>,
    /// The header that names an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::HTTP_TOKEN))]
    #[x_kube(validation = Rule::new(schema::RECEIVED_HEADER_RULE).message(schema::RECEIVED_HEADER_MESSAGE))]
    pub header: Option<String>,
    /// How long an event is remembered. Default: 24h, and 10m where only the body names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::WINDOW_RULE).message(schema::WINDOW_MESSAGE))]
    pub window: Option<Duration>,
    /// What is done with a repeated delivery. Default: the preset's where the key is the preset's too,
    /// otherwise `Mark`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<DuplicateAction>,
}

/// What is done with a repeated delivery. `Drop`: answered 200 and not handed on, if its body is the same
/// too. `Mark`: handed on, with the header `Hookkeeper-Duplicate-Of` if the application has taken the first
/// one. Default: the preset's where the key is the preset's too, otherwise `Mark`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DuplicateAction {
    /// It is answered 200 and not handed on, if its body is the same too.
    Drop,
    /// It is handed on with the header `Hookkeeper-Duplicate-Of`. The default.
    #[default]
    Mark,
}

/// Whether deliveries are kept before they are acknowledged. `Stored`: a delivery is acknowledged when it is
/// durable, and handed on from there until the application has taken it. `Direct`: it is passed on at once,
/// and what the application answers is the answer; nothing is kept, repeated or known again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// A delivery is acknowledged when it is stored, and handed on from there. The default.
    #[default]
    Stored,
    /// A delivery is passed on at once, and what the application answers is the answer.
    Direct,
}

/// Where deliveries are handed on to: exactly one of `service` and `url`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.service), has(self.url)].filter(x, x).size() == 1").message("give exactly one of service and url"))]
pub struct Forward {
    /// A Service of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ForwardService>,
    /// An absolute URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(schema::URL_RULE).message(schema::URL_MESSAGE))]
    pub url: Option<String>,
    /// How long the application may take to answer. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::TIMEOUT_RULE).message(schema::TIMEOUT_MESSAGE))]
    pub timeout: Option<Duration>,
    /// How many deliveries may be under way to the application at the same time. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 500))]
    pub max_concurrent: Option<u16>,
    /// What happens after a delivery that the application refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// A Service of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardService {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::SERVICE_NAME))]
    pub name: String,
    /// Number of its port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// Path, and query if there is one. Default: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = schema::OPERATION_PATH))]
    pub path: Option<String>,
}

/// How often and when a delivery that was refused is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(schema::RETRY_RULE).message(schema::RETRY_MESSAGE))]
pub struct Retry {
    /// How many answers other than 2xx, 429 and 503 the application may give before the delivery is
    /// parked. Default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_attempts: Option<u16>,
    /// How long to wait after the first one; each further wait is twice as long. Default: 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::RETRY_INTERVAL_RULE).message(schema::RETRY_INTERVAL_MESSAGE))]
    pub interval: Option<Duration>,
    /// The longest wait. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::RETRY_INTERVAL_RULE).message(schema::RETRY_INTERVAL_MESSAGE))]
    pub max_interval: Option<Duration>,
}

/// What is taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiverLimits {
    /// How many deliveries a second; over it they are answered 429. Default: 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub requests_per_second: Option<u32>,
}
