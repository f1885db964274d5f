//! `WebhookProvider`: the platform that sends the webhooks and its API to manage subscriptions.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::reference::{NamedValue, SecretSource, SourcedValue};
use super::schema;
use super::status::WebhookProviderStatus;
use super::token_source::HttpMethod;

/// The platform that sends the webhooks and its API to manage subscriptions.
// Columns of one type are no duplicates.
#[allow(clippy::duplicated_attributes)]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "hookkeeper.dev",
    version = "v1alpha1",
    kind = "WebhookProvider",
    plural = "webhookproviders",
    singular = "webhookprovider",
    shortname = "whp",
    namespaced,
    status = "WebhookProviderStatus",
    doc = "A platform that sends webhooks, and its API to manage subscriptions.",
    category = "hookkeeper",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Preset", type_ = "string", json_path = ".spec.preset"),
    printcolumn(name = "Base URL", type_ = "string", json_path = ".spec.baseUrl"),
    printcolumn(
        name = "Held Back Until",
        type_ = "string",
        json_path = ".status.heldBackUntil",
        format = "date-time",
        priority = 1
    ),
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
#[x_kube(validation = Rule::new("has(self.preset) || (has(self.baseUrl) && has(self.operations))").message("give a preset, or baseUrl and operations"))]
pub struct WebhookProviderSpec {
    /// A built-in description such as `gupy`; it gives every field below that is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::PRESET))]
    pub preset: Option<String>,
    /// Origin and path prefix of the API, https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(schema::URL_RULE).message(schema::URL_MESSAGE))]
    #[x_kube(validation = Rule::new("!self.contains('?')").message("must have no query; a query belongs into the path of an operation"))]
    pub base_url: Option<String>,
    /// Who we are to the API.
    pub auth: ProviderAuth,
    /// The requests of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Operations>,
    /// What subscriptions may set beside the common fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub parameters: Option<Vec<ProviderParameter>>,
    /// Which postback URLs the provider takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postback: Option<Postback>,
    /// Content-Type header of deliveries, added when `clientHeaders` has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = schema::PRINTABLE_ASCII))]
    pub content_type: Option<String>,
    /// How many requests the API takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Default of the subscriptions' `rotation.overlap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Duration>,
    /// How often the provider's listing is compared with what is on record: every minute at most;
    /// `0s` never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::INTERVAL_RULE).message(schema::INTERVAL_MESSAGE))]
    pub verify_interval: Option<Duration>,
    /// Make no calls to this provider. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

impl WebhookProviderSpec {
    /// Whether no calls may be made to this provider.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspend.unwrap_or(false)
    }
}

/// Who we are to the provider's API: exactly one of the four.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.bearer), has(self.basic), has(self.headers), has(self.none)].filter(x, x).size() == 1").message("give exactly one of bearer, basic, headers, none; without a credential write none: {}"))]
pub struct ProviderAuth {
    /// `Authorization: Bearer …` (RFC 6750).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerAuth>,
    /// `Authorization: Basic …` (RFC 7617).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// Headers of any name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new(schema::UNIQUE_HEADERS_RULE).message(schema::UNIQUE_HEADERS_MESSAGE))]
    #[x_kube(validation = Rule::new(schema::HEADERS_RULE).message(schema::HEADERS_MESSAGE))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<NamedValue>,
    /// No credential at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<Empty>,
}

/// A bearer token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BearerAuth {
    /// The key of a Secret.
    pub secret_key_ref: super::reference::SecretKeyReference,
}

/// A user name and a password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// The user name.
    pub username: SourcedValue,
    /// The password.
    pub password: SecretSource,
}

/// A choice that needs nothing more said: written `{}`, so that leaving it out is never taken for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// The requests of the provider's API. An operation that is given replaces the preset's whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operations {
    /// Lists all subscriptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Operation>,
    /// Creates a subscription; never assumed to be idempotent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<Operation>,
    /// Replaces a subscription's document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Operation>,
    /// Deletes a subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<Operation>,
}

/// One request of the provider's API, with placeholders such as `{postbackUrl}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operation {
    /// HTTP method.
    pub method: HttpMethod,
    /// Path and query below `baseUrl`. A placeholder's value never leaves its segment or parameter:
    /// what would lead out of it is percent-encoded.
    #[schemars(length(min = 1, max = 1024), regex(pattern = schema::OPERATION_PATH))]
    pub path: String,
    /// Headers of the request, beside those of `auth`; values may have placeholders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::text_map::<16, 128, 1024>")]
    pub headers: BTreeMap<String, String>,
    /// The JSON document to send, an object or a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_json")]
    pub json: Option<serde_json::Value>,
    /// Content type of the document. Default `application/json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = schema::PRINTABLE_ASCII))]
    pub content_type: Option<String>,
    /// Accepted status codes. Default any 2xx.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = 100, max = 599)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub success: Vec<i32>,
    /// Status codes that mean "no such subscription". Default 404 and 410.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = 100, max = 599)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub missing: Vec<i32>,
    /// JSON Pointer (RFC 6901) to the list of subscriptions in the answer; empty for the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = schema::JSON_POINTER))]
    pub items: Option<String>,
    /// Whether the answer leaves the list out when it is empty. Default false: an answer without it
    /// is not understood. An empty list that is written as `null` always is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_optional: Option<bool>,
    /// How a listing of several pages is read. Every page counts as a request of `limits`; 404 after
    /// the first one is the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pagination: Option<Pagination>,
    /// Where the fields of a listed subscription are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<ListFields>,
    /// What is read from the answer: `id`, a JSON Pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::text_map::<8, 64, 256>")]
    pub capture: BTreeMap<String, String>,
    /// How long the provider may take to show what it did. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Duration>,
}

/// How a listing of several pages is read: exactly one of the four.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.pageNumber), has(self.untilEmpty), has(self.linkHeader), has(self.none)].filter(x, x).size() == 1").message("give exactly one of pageNumber, untilEmpty, linkHeader, none"))]
pub struct Pagination {
    /// Pages are counted from 1 and the answer says how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_number: Option<PageNumber>,
    /// Pages are counted from 1 and the first empty one ends the listing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_empty: Option<Empty>,
    /// The answer's Link header names the next page (RFC 8288).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_header: Option<Empty>,
    /// There is one page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<Empty>,
}

/// Pages are counted from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PageNumber {
    /// JSON Pointer to the number of pages.
    #[schemars(length(max = 256), regex(pattern = schema::JSON_POINTER))]
    pub total_pages: String,
}

/// Where the fields of a listed subscription are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListFields {
    /// JSON Pointer to the id.
    #[schemars(length(max = 256), regex(pattern = schema::JSON_POINTER))]
    pub id: String,
    /// JSON Pointer to the action. Without it the postback URL alone tells webhooks apart, and of
    /// two subscriptions with one URL the second waits (`Conflict`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = schema::JSON_POINTER))]
    pub action: Option<String>,
    /// JSON Pointer to the postback URL; a slash at its end makes no difference. Without it a
    /// webhook is found by its id alone: after a create with an unknown outcome a person has to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = schema::JSON_POINTER))]
    pub postback_url: Option<String>,
    /// Where it stands whether the provider delivers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<FieldWithEquals>,
}

/// A field that is true when it equals a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldWithEquals {
    /// JSON Pointer to the field.
    #[schemars(length(max = 256), regex(pattern = schema::JSON_POINTER))]
    pub path: String,
    /// The text that means true. Without it the field is a boolean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub equals: Option<String>,
}

/// What subscriptions may set beside the common fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderParameter {
    /// Name, as it stands in the subscription's `parameters`.
    #[schemars(length(min = 1, max = 64), regex(pattern = schema::PARAMETER_NAME))]
    pub name: String,
    /// Whether every subscription must set it. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
}

/// Which postback URLs the provider takes. Default: https only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Postback {
    /// Take plain http too, for receivers inside the own network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_http: Option<bool>,
    /// Refuse hosts that are no public DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_host: Option<bool>,
    /// Hosts that draw a warning, such as request catchers; a name covers those below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253), regex(pattern = schema::HOST)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub warn_hosts: Option<Vec<String>>,
}

/// How many requests the API takes. Without a preset 60 a minute, 10 s each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60_000))]
    pub requests_per_minute: Option<i32>,
    /// Requests at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub max_concurrent: Option<i32>,
    /// How long one request may take, at most 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::TIMEOUT_RULE).message(schema::TIMEOUT_MESSAGE))]
    pub timeout: Option<Duration>,
}
