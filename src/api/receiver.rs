//! `WebhookReceiver`: where the gate takes a platform's deliveries in, how it proves them, and where it
//! hands them on.

use chrono::{DateTime, Utc};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::{self, Condition};
use super::duration::Duration;
use super::provider::Empty;
use super::reference::{LocalReference, NamedValue, SecretKeyReference};
use super::schema;
use super::subscription::TokenPlace;
use super::token_source::HttpMethod;

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

/// How a delivery proves where it comes from: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(schema::VERIFICATION_RULE).message(schema::VERIFICATION_MESSAGE))]
pub struct Verification {
    /// A token in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenVerification>,
    /// An API key in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeyVerification>,
    /// HTTP Basic authentication (RFC 7617); each Secret holds `user:password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<SecretsVerification>,
    /// An HMAC of the raw body in a header (RFC 2104).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<HmacVerification>,
    /// Standard Webhooks (<https://www.standardwebhooks.com>), symmetric signatures `v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_webhooks: Option<SecretsVerification>,
    /// Nothing is verified: whoever reaches the URL is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<Empty>,
}

/// A token in a header: from a `TokenSource` that publishes, or from Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(schema::TOKENS_RULE).message(schema::TOKENS_MESSAGE))]
pub struct TokenVerification {
    /// Name of the header. Required unless the preset gives it, or a subscription names this receiver with
    /// `receiverRef`: then header and prefix are those in which that subscription sends its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::HTTP_TOKEN))]
    #[x_kube(validation = Rule::new(schema::RECEIVED_HEADER_RULE).message(schema::RECEIVED_HEADER_MESSAGE))]
    pub header: Option<String>,
    /// What stands before the token, such as `"Bearer "`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = schema::HEADER_VALUE))]
    pub prefix: Option<String>,
    /// A `TokenSource` with `publishTo`, in the same namespace: its current token and those before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_source_ref: Option<LocalReference>,
    /// Keys of Secrets, any of which is accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into(), "key".into()]))]
    pub secret_key_refs: Vec<SecretKeyReference>,
}

/// An API key in a header. Each Secret holds `header:value`, or `value` alone for `Authorization`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKeyVerification {
    /// Name of the header; then the whole Secret is the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::HTTP_TOKEN))]
    #[x_kube(validation = Rule::new(schema::RECEIVED_HEADER_RULE).message(schema::RECEIVED_HEADER_MESSAGE))]
    pub header: Option<String>,
    /// Keys of Secrets, any of which is accepted.
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into(), "key".into()]))]
    pub secret_key_refs: Vec<SecretKeyReference>,
}

/// Credentials that say all that there is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretsVerification {
    /// Keys of Secrets, any of which is accepted.
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into(), "key".into()]))]
    pub secret_key_refs: Vec<SecretKeyReference>,
}

/// An HMAC of the raw body in a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HmacVerification {
    /// Name of the header. Required unless the preset gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::HTTP_TOKEN))]
    #[x_kube(validation = Rule::new(schema::RECEIVED_HEADER_RULE).message(schema::RECEIVED_HEADER_MESSAGE))]
    pub header: Option<String>,
    /// The hash function. Default: `Sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<HmacAlgorithm>,
    /// How the bytes are written in the header. Default: `Hex`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<HmacEncoding>,
    /// What stands before them, such as `sha256=`. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = schema::HEADER_VALUE))]
    pub prefix: Option<String>,
    /// Keys of Secrets, any of which is accepted.
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into(), "key".into()]))]
    pub secret_key_refs: Vec<SecretKeyReference>,
}

/// The hash function of an HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HmacAlgorithm {
    /// SHA-1, for platforms that have nothing better.
    Sha1,
    /// SHA-256. The default.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How the bytes of an HMAC are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HmacEncoding {
    /// Hexadecimal digits in either case. The default.
    #[default]
    Hex,
    /// Base64 in either alphabet (RFC 4648), padded or not.
    Base64,
}

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

/// Asking the platform for what it did not deliver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fallback {
    /// Keys of Secrets with which the application says what it waits for, any of which is accepted.
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into(), "key".into()]))]
    pub secret_key_refs: Vec<SecretKeyReference>,
    /// How long a delivery may take before the platform is asked. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::POSITIVE_RULE).message(schema::POSITIVE_MESSAGE))]
    pub after: Option<Duration>,
    /// How often it is asked. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s')").message("must be 1s or longer"))]
    pub every: Option<Duration>,
    /// How it is asked.
    pub request: FallbackRequest,
    /// Where in the answer, and in a delivery, id and status stand. Default: `/id` and `/status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<FallbackFields>,
    /// The statuses that end the waiting, as JSON writes them without quotes.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub until: Vec<String>,
    /// When nobody is asked any more and the expectation is parked. Default: 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::POSITIVE_RULE).message(schema::POSITIVE_MESSAGE))]
    pub give_up_after: Option<Duration>,
}

/// The request that asks a platform for one id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(schema::ASKS_FOR_ID_RULE).message(schema::ASKS_FOR_ID_MESSAGE))]
#[x_kube(validation = Rule::new(schema::ASKING_BODY_RULE).message(schema::ASKING_BODY_MESSAGE))]
#[x_kube(validation = Rule::new(schema::ONE_AUTHORIZATION_RULE).message(schema::ONE_AUTHORIZATION_MESSAGE))]
pub struct FallbackRequest {
    /// The method. Default: `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// The URL; `{id}` in its path or query is the id.
    #[schemars(length(min = 1, max = 2048), regex(pattern = schema::FALLBACK_URL))]
    pub url: String,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = Rule::new(schema::UNIQUE_HEADERS_RULE).message(schema::UNIQUE_HEADERS_MESSAGE))]
    #[x_kube(validation = Rule::new(schema::HEADERS_RULE).message(schema::HEADERS_MESSAGE))]
    pub headers: Vec<NamedValue>,
    /// A token of a `TokenSource` with `publishTo` and `allowedHosts`, sent as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_source_ref: Option<LocalReference>,
    /// A JSON body; `{id}` in it is the id, escaped as JSON asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub body: Option<String>,
    /// How long everything together may take. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::TIMEOUT_RULE).message(schema::TIMEOUT_MESSAGE))]
    pub timeout: Option<Duration>,
}

/// Where id and status stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FallbackFields {
    /// The id: a JSON Pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = schema::JSON_POINTER))]
    pub id: Option<String>,
    /// The status: a JSON Pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = schema::JSON_POINTER))]
    pub status: Option<String>,
}

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
