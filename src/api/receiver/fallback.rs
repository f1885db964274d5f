//! How a platform is asked for what it did not deliver.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::duration::Duration;
use crate::api::reference::{LocalReference, NamedValue, SecretKeyReference};
use crate::api::schema;
use crate::api::token_source::HttpMethod;

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
