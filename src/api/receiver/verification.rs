//! How deliveries prove where they come from.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::provider::Empty;
use crate::api::reference::{LocalReference, SecretKeyReference};
use crate::api::schema;

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
