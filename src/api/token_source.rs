//! `TokenSource`: where fresh tokens come from, as an object and written out in a subscription.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::reference::{NamedValue, SecretSource, SourcedValue};
use super::schema;
use super::status::TokenSourceStatus;

/// Where fresh tokens come from: exactly one of `oauth2`, `http`, `serviceAccount`, `secret`.
// Columns of one type are no duplicates.
#[allow(clippy::duplicated_attributes)]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "hookkeeper.dev",
    version = "v1alpha1",
    kind = "TokenSource",
    plural = "tokensources",
    singular = "tokensource",
    shortname = "tsrc",
    namespaced,
    status = "TokenSourceStatus",
    doc = "Where fresh access tokens come from, for one subscription or several.",
    category = "hookkeeper",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".status.tokenExpirationTime",
        format = "date-time"
    ),
    printcolumn(name = "Minted", type_ = "date", json_path = ".status.tokenMintedTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    selectable = ".spec.publishTo.secretName"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(schema::SOURCE_RULE).message(schema::SOURCE_MESSAGE))]
pub struct TokenSourceSpec {
    /// OAuth 2.0 client credentials (RFC 6749, section 4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2TokenSource>,
    /// Any HTTP endpoint that answers with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTokenSource>,
    /// A token for a service account of the cluster, by the TokenRequest API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountTokenSource>,
    /// A token in a Secret that something else keeps fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretTokenSource>,
    /// How long a token lives when the source does not say, which 0 and less count as. When the
    /// source returns the same token again and still does not say, this life begins again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::POSITIVE_RULE).message(schema::POSITIVE_MESSAGE))]
    pub assumed_lifetime: Option<Duration>,
    /// Whether issuing a token revokes the previous one. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revokes_previous: Option<bool>,
    /// A Secret that receives the current and the previous token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_to: Option<PublishTo>,
    /// The hosts that the tokens may be sent to, as the annotation hookkeeper.dev/allowed-hosts of a
    /// Secret names them: the provider's, that of the postback URL, and every other one that a request
    /// to the provider names. Without it, whoever may name the source in a subscription may send its
    /// tokens to a host of their choice. What `publishTo` writes is annotated with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253), regex(pattern = schema::ALLOWED_HOST)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allowed_hosts: Vec<String>,
}

/// Where fresh tokens come from, written out in a subscription: as in a `TokenSource`, which can
/// also publish its tokens and say where they may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(schema::SOURCE_RULE).message(schema::SOURCE_MESSAGE))]
pub struct InlineTokenSource {
    /// OAuth 2.0 client credentials (RFC 6749, section 4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2TokenSource>,
    /// Any HTTP endpoint that answers with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTokenSource>,
    /// A token for a service account of the cluster, by the TokenRequest API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountTokenSource>,
    /// A token in a Secret that something else keeps fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretTokenSource>,
    /// How long a token lives when the source does not say, which 0 and less count as. When the
    /// source returns the same token again and still does not say, this life begins again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::POSITIVE_RULE).message(schema::POSITIVE_MESSAGE))]
    pub assumed_lifetime: Option<Duration>,
    /// Whether issuing a token revokes the previous one. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revokes_previous: Option<bool>,
}

impl From<InlineTokenSource> for TokenSourceSpec {
    fn from(inline: InlineTokenSource) -> Self {
        let InlineTokenSource { oauth2, http, service_account, secret, assumed_lifetime, revokes_previous } =
            inline;
        Self {
            oauth2,
            http,
            service_account,
            secret,
            assumed_lifetime,
            revokes_previous,
            publish_to: None,
            // Its author is that of the subscription, who may name any host.
            allowed_hosts: Vec::new(),
        }
    }
}

impl TokenSourceSpec {
    /// Whether issuing a token revokes the previous one.
    #[must_use]
    pub fn revokes_previous(&self) -> bool {
        self.revokes_previous.unwrap_or(false)
    }

    /// Whether both ask for the same token: they differ at most in how they wait for it and in what
    /// is made of it.
    #[must_use]
    pub fn asks_like(&self, other: &Self) -> bool {
        let request = |spec: &Self| {
            let (mut oauth2, mut http) = (spec.oauth2.clone(), spec.http.clone());
            if let Some(oauth2) = &mut oauth2 {
                oauth2.timeout = None;
            }
            if let Some(http) = &mut http {
                http.timeout = None;
            }
            (oauth2, http, spec.service_account.clone(), spec.secret.clone())
        };
        request(self) == request(other)
    }

    /// How long one request to the source may take: the spec's `timeout`, or 10 s; 1 min at the most.
    #[must_use]
    pub fn timeout(&self) -> std::time::Duration {
        let of_oauth2 = self.oauth2.as_ref().and_then(|source| source.timeout.as_ref());
        let of_http = self.http.as_ref().and_then(|source| source.timeout.as_ref());
        // An object that is older than the rule may say more.
        of_oauth2.or(of_http).map_or(DEFAULT_TIMEOUT, Duration::to_std).min(LONGEST_TIMEOUT)
    }
}

const DEFAULT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
const LONGEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// OAuth 2.0 client credentials (RFC 6749, section 4.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OAuth2TokenSource {
    /// The authorisation server's token endpoint.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(schema::URL_RULE).message(schema::URL_MESSAGE))]
    pub token_url: String,
    /// The client's identifier.
    pub client_id: SourcedValue,
    /// The client's secret.
    pub client_secret: SecretSource,
    /// Scopes to ask for, sent separated by blanks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256), regex(pattern = schema::SCOPE)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub scopes: Vec<String>,
    /// The `audience` parameter some servers want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub audience: Option<String>,
    /// How the client proves who it is. Try the other way when the right secret is refused: some
    /// servers know one only, and some do not undo the form-encoding that Basic asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_authentication: Option<ClientAuthentication>,
    /// Further form fields of the request; none that is sent anyway, such as `grant_type`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::text_map::<32, 128, 4096>")]
    pub extra_parameters: BTreeMap<String, String>,
    /// How long the request may take, at most 1m. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::TIMEOUT_RULE).message(schema::TIMEOUT_MESSAGE))]
    pub timeout: Option<Duration>,
}

impl OAuth2TokenSource {
    /// Why a parameter of this name cannot be among the extra ones: it is sent anyway, and
    /// "parameters MUST NOT be included more than once" (RFC 6749, section 3.2).
    #[must_use]
    pub fn why_not_extra(&self, parameter: &str) -> Option<&'static str> {
        let by_post = self.client_authentication == Some(ClientAuthentication::Post);
        match parameter {
            "grant_type" => Some(
                "is always client_credentials here; for another grant describe the source as http, with grant_type \
                 among the fields of http.form",
            ),
            "scope" if !self.scopes.is_empty() => {
                Some("is sent already, made of oauth2.scopes; write it in one place only")
            }
            "audience" if self.audience.is_some() => {
                Some("is sent already, from oauth2.audience; write it in one place only")
            }
            "client_id" | "client_secret" if by_post => {
                Some("is sent already, because oauth2.clientAuthentication is Post; remove it")
            }
            _ => None,
        }
    }
}

/// How an OAuth 2.0 client proves who it is (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ClientAuthentication {
    /// HTTP Basic, identifier and secret form-encoded first. The default.
    #[default]
    Basic,
    /// `client_id` and `client_secret` in the form.
    Post,
}

/// Any HTTP endpoint that answers with a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.form), has(self.json), has(self.body)].filter(x, x).size() <= 1").message("give at most one of form, json and body"))]
pub struct HttpTokenSource {
    /// The endpoint.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(schema::URL_RULE).message(schema::URL_MESSAGE))]
    pub url: String,
    /// Method of the request. Default POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// Headers of the request, but for those that say how it is framed or where it goes, such as
    /// `Host` and `Content-Length`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new(schema::UNIQUE_HEADERS_RULE).message(schema::UNIQUE_HEADERS_MESSAGE))]
    #[x_kube(validation = Rule::new(schema::HEADERS_RULE).message(schema::HEADERS_MESSAGE))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<NamedValue>,
    /// Query parameters, added to those of the URL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub query: Vec<NamedValue>,
    /// Fields of a form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub form: Vec<NamedValue>,
    /// Members of a JSON object, all strings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub json: Vec<NamedValue>,
    /// A body of any other kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<HttpBody>,
    /// How to read the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<TokenResponse>,
    /// How long the request may take, at most 1m. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::TIMEOUT_RULE).message(schema::TIMEOUT_MESSAGE))]
    pub timeout: Option<Duration>,
}

/// Method of an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

/// A request body with a content type of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(schema::SOURCED_RULE).message(schema::SOURCED_MESSAGE))]
pub struct HttpBody {
    /// Value of the Content-Type header.
    #[schemars(length(min = 1, max = 256), regex(pattern = schema::PRINTABLE_ASCII))]
    pub content_type: String,
    /// The body itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub value: Option<String>,
    /// Where the body is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<SecretSource>,
}

/// How to read the answer of a token endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.format) || self.format != 'Text' || !(has(self.tokenPath) || has(self.expiresInPath) || has(self.expiresAtPath))").message("paths go with format Json; with Text the whole answer is the token"))]
pub struct TokenResponse {
    /// Json (default), or Text: the whole body is the token, and no document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ResponseFormat>,
    /// JSON Pointer (RFC 6901) to the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = schema::JSON_POINTER))]
    pub token_path: Option<String>,
    /// JSON Pointer to the seconds until expiry; of several ends that are stated, the earliest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = schema::JSON_POINTER))]
    pub expires_in_path: Option<String>,
    /// JSON Pointer to the moment of expiry: RFC 3339, or an epoch in s or ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = schema::JSON_POINTER))]
    pub expires_at_path: Option<String>,
}

/// Form of a token endpoint's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ResponseFormat {
    /// A JSON document. The default.
    #[default]
    Json,
    /// The token and nothing else.
    Text,
}

/// A token for a service account of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccountTokenSource {
    /// Name of the service account.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
    /// Audiences of the token, at least one; the API server's own are refused.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub audiences: Vec<String>,
    /// Life of the token in seconds, as the API server may grant it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 600, max = 4_294_967_296_i64))]
    pub expiration_seconds: Option<i64>,
}

/// A token that something else keeps fresh in a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretTokenSource {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
    /// Key of the token.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY))]
    pub key: String,
    /// Key of the moment of expiry: RFC 3339, or an epoch in s or ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY))]
    pub expires_at_key: Option<String>,
}

/// Where the current and the previous token are published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishTo {
    /// Name of the Secret, created and owned by the `TokenSource`.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub secret_name: String,
    /// Who reads it. With `Gates` a new token is brought to the provider as soon as all gates that serve
    /// the source have it; by default it is left for other readers first, up to 2m. Default `Any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readers: Option<Readers>,
}

/// Who reads published tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Readers {
    /// Anybody may, such as Pods that mount the Secret. The default.
    #[default]
    Any,
    /// Gates alone.
    Gates,
}

impl PublishTo {
    /// Whether nobody but gates reads what is published.
    #[must_use]
    pub fn is_for_gates_alone(&self) -> bool {
        self.readers == Some(Readers::Gates)
    }
}
