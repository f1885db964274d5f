//! `WebhookSubscription`: one webhook at the provider.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::reference::{LocalReference, SecretKeyReference};
use super::schema;
use super::status::SubscriptionStatus;
use super::token_source::{InlineTokenSource, TokenSourceSpec};

/// One webhook at the provider whose token is kept fresh.
// Columns of one type are no duplicates.
#[allow(clippy::duplicated_attributes)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "hookkeeper.dev",
    version = "v1alpha1",
    kind = "WebhookSubscription",
    plural = "webhooksubscriptions",
    singular = "webhooksubscription",
    shortname = "whs",
    namespaced,
    status = "SubscriptionStatus",
    doc = "One webhook at a provider, whose access token hookkeeper keeps fresh.",
    category = "hookkeeper",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Healthy",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='RotationHealthy')].status"
    ),
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.action"),
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".status.tokenExpirationTime",
        format = "date-time"
    ),
    printcolumn(
        name = "Next",
        type_ = "string",
        json_path = ".status.nextRotationTime",
        format = "date-time"
    ),
    printcolumn(name = "Last Rotated", type_ = "date", json_path = ".status.lastRotatedTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.providerRef.name", priority = 1),
    printcolumn(name = "Webhook ID", type_ = "string", json_path = ".status.webhookId", priority = 1),
    printcolumn(
        name = "Token Observed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='TokenObserved')].status",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    selectable = ".spec.providerRef.name",
    selectable = ".spec.action"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.tokenSource), has(self.tokenSourceRef)].filter(x, x).size() == 1").message("give exactly one of tokenSource and tokenSourceRef"))]
#[x_kube(validation = Rule::new(schema::RECEIVER_RULE).message(schema::RECEIVER_MESSAGE))]
pub struct WebhookSubscriptionSpec {
    /// The `WebhookProvider`, in the same namespace. Cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message("cannot be changed; delete this object and create another one"))]
    pub provider_ref: LocalReference,
    /// The event to subscribe to, such as `application.completed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::ACTION))]
    pub action: Option<String>,
    /// Where deliveries go: an absolute URL without user info, fragment or white space.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(schema::URL_RULE).message(schema::URL_MESSAGE))]
    pub postback_url: String,
    /// Whether the provider delivers. An inactive subscription is still rotated. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub active: Option<bool>,
    /// The headers the provider sends with every delivery, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new(schema::UNIQUE_HEADERS_RULE).message(schema::UNIQUE_HEADERS_MESSAGE))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub client_headers: Vec<ClientHeader>,
    /// What else the provider's document needs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::text_map::<32, 64, 2048>")]
    pub parameters: BTreeMap<String, String>,
    /// Take over this remote subscription; none is ever created or recreated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = schema::VISIBLE_ASCII))]
    pub webhook_id: Option<String>,
    /// What to do with a remote subscription of the same action and URL that is not on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Never"))]
    pub adoption_policy: Option<AdoptionPolicy>,
    /// Where tokens come from, written out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_source: Option<InlineTokenSource>,
    /// Where tokens come from: a `TokenSource` in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_source_ref: Option<LocalReference>,
    /// The `WebhookReceiver` in the same namespace that takes these deliveries in; it must accept tokens of
    /// the same `TokenSource`, and takes the token's header and prefix from here. Deliveries then carry the header `Hookkeeper-Subscription` with the name of
    /// this object, so that the one in which a new token was seen first is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver_ref: Option<LocalReference>,
    /// When to rotate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// What happens at the provider when the object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Orphan"))]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What happens when the remote subscription has vanished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Recreate"))]
    pub when_missing: Option<WhenMissing>,
    /// Make no calls. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub suspend: Option<bool>,
}

/// One header of every delivery: `name` and exactly one of `value` and `valueFrom`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(schema::SOURCED_RULE).message(schema::SOURCED_MESSAGE))]
pub struct ClientHeader {
    /// Name, an HTTP token, unique without regard to case, sent as written.
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::HTTP_TOKEN))]
    pub name: String,
    /// The value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192), regex(pattern = schema::HEADER_VALUE))]
    pub value: Option<String>,
    /// Where the value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<HeaderSource>,
}

/// Where a header's value comes from: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.secretKeyRef), has(self.token)].filter(x, x).size() == 1").message("give exactly one of secretKeyRef and token"))]
#[x_kube(validation = Rule::new("!has(self.prefix) || has(self.secretKeyRef)").message("prefix stands beside secretKeyRef; what stands before the token is token.prefix"))]
pub struct HeaderSource {
    /// What stands before the Secret's value, such as `"token "`; before the token: `token.prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = schema::HEADER_VALUE))]
    pub prefix: Option<String>,
    /// The key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyReference>,
    /// The current token of the subscription's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenPlaceholder>,
}

/// The place of the token in a header's value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenPlaceholder {
    /// What stands before the token, such as `"Bearer "`. A scheme that the token server writes
    /// before the token itself is then taken off; without a scheme here it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = schema::HEADER_VALUE))]
    pub prefix: Option<String>,
}

/// When to rotate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rotation {
    /// How long before its expiry a token is replaced, at least. Default: a third of the token's
    /// lifetime, at most 30 days. A rotation is due earlier where more time is needed: for the overlap,
    /// plus twice the time to bring a new token to all subscriptions of the source at the provider's
    /// rate; or for a failed attempt to be made again, twice the timeouts of a mint and of an update, at
    /// most a quarter of the lifetime. It is due later where that is more than two thirds of the
    /// lifetime. Then up to a tenth of it, at most an hour, is added, so that sources do not rotate all
    /// at once; and no rotation is due in the first 30 s, or in the first half of a shorter lifetime.
    /// `status.nextRotationTime` shows the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::POSITIVE_RULE).message(schema::POSITIVE_MESSAGE))]
    pub renew_before: Option<Duration>,
    /// How long the previous token should still be valid after a rotation, so that retries of
    /// older deliveries pass. Best effort: a rotation uses at most two thirds of a token's lifetime, and
    /// where the source revokes the previous token there is no overlap. Default: the provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Duration>,
}

/// What to do with a remote subscription of the same action and URL that is not on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    /// Stall with `AlreadyExists` and name it. The default.
    #[default]
    Never,
    /// Take it over, replacing all its headers.
    Matching,
}

/// What happens at the provider when the object is deleted. With `Delete`, the object and its
/// `WebhookProvider` have a finalizer: they stay until the remote subscription is deleted, or until
/// the grace that the process has for that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Nothing. The default.
    #[default]
    Orphan,
    /// The remote subscription is deleted.
    Delete,
}

/// What happens when the remote subscription has vanished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenMissing {
    /// It is created again. The default.
    #[default]
    Recreate,
    /// The object stalls with `RemoteMissing`.
    Stall,
}

/// The header in which deliveries name their subscription: those of an object with `receiverRef`.
pub const SUBSCRIPTION_HEADER: &str = "Hookkeeper-Subscription";

/// Where a subscription sends its token.
#[derive(Clone, Copy, Debug)]
pub struct TokenPlace<'a> {
    /// The header.
    pub header: &'a str,
    /// What stands before the token; empty for nothing.
    pub prefix: &'a str,
}

impl TokenPlace<'_> {
    /// Whether a receiver that reads the one reads the other: the case of a header makes no difference.
    #[must_use]
    pub fn is_same(self, other: Self) -> bool {
        self.header.eq_ignore_ascii_case(other.header) && self.prefix == other.prefix
    }
}

impl WebhookSubscriptionSpec {
    /// The first header that holds the token.
    #[must_use]
    pub fn token_place(&self) -> Option<TokenPlace<'_>> {
        self.client_headers.iter().find_map(|header| {
            let token = header.value_from.as_ref()?.token.as_ref()?;
            Some(TokenPlace { header: &header.name, prefix: token.prefix.as_deref().unwrap_or_default() })
        })
    }

    /// What the provider is told of the object of this name: with the header by which its deliveries are
    /// known at its receiver, if it names one.
    #[must_use]
    pub fn as_sent(&self, name: &str) -> Cow<'_, Self> {
        if self.receiver_ref.is_none() {
            return Cow::Borrowed(self);
        }
        let mut sent = self.clone();
        sent.client_headers.retain(|header| !header.name.eq_ignore_ascii_case(SUBSCRIPTION_HEADER));
        sent.client_headers.push(ClientHeader {
            name: SUBSCRIPTION_HEADER.to_owned(),
            value: Some(name.to_owned()),
            value_from: None,
        });
        Cow::Owned(sent)
    }

    /// Whether the provider is to deliver.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active.unwrap_or(true)
    }

    /// Whether no calls may be made.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspend.unwrap_or(false)
    }

    /// The deletion policy, with its default.
    #[must_use]
    pub fn deletion_policy(&self) -> DeletionPolicy {
        self.deletion_policy.unwrap_or_default()
    }

    /// Whether a remote that has vanished is to be created again.
    #[must_use]
    pub fn recreates(&self) -> bool {
        self.webhook_id.is_none() && self.when_missing.unwrap_or_default() == WhenMissing::Recreate
    }

    /// The inline token source in the form that a `TokenSource` object has.
    #[must_use]
    pub fn inline_source(&self) -> Option<TokenSourceSpec> {
        self.token_source.clone().map(TokenSourceSpec::from)
    }
}
