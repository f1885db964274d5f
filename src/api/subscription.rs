//! `WebhookSubscription`: one webhook at the provider.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::reference::{LocalReference, SecretKeyReference};
use super::status::SubscriptionStatus;
use super::token_source::{InlineTokenSource, TokenSourceSpec};

/// One webhook at the provider whose token is kept fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "hookkeeper.dev",
    version = "v1alpha1",
    kind = "WebhookSubscription",
    plural = "webhooksubscriptions",
    singular = "webhooksubscription",
    shortname = "whs",
    namespaced,
    status = "SubscriptionStatus"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookSubscriptionSpec {
    /// The `WebhookProvider`, in the same namespace. Cannot be changed.
    pub provider_ref: LocalReference,
    /// The event to subscribe to, such as `application.completed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Where deliveries go: an absolute URL without user info, fragment or white space.
    pub postback_url: String,
    /// Whether the provider delivers. An inactive subscription is still rotated. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// The headers the provider sends with every delivery, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_headers: Vec<ClientHeader>,
    /// What else the provider's document needs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Take over this remote subscription; none is ever created or recreated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    /// What to do with a remote subscription of the same action and URL that is not on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption_policy: Option<AdoptionPolicy>,
    /// Where tokens come from, written out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_source: Option<InlineTokenSource>,
    /// Where tokens come from: a `TokenSource` in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_source_ref: Option<LocalReference>,
    /// When to rotate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// What happens at the provider when the object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What happens when the remote subscription has vanished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_missing: Option<WhenMissing>,
    /// Make no calls. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// One header of every delivery: `name` and exactly one of `value` and `valueFrom`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientHeader {
    /// Name, an HTTP token, unique without regard to case, sent as written.
    pub name: String,
    /// The value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where the value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<HeaderSource>,
}

/// Where a header's value comes from: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderSource {
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
    /// What stands before the token, such as `"Bearer "`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// When to rotate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rotation {
    /// A rotation is due this long before expiry. Default: a third of the token's lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<Duration>,
    /// How long the previous token should still be valid after a rotation, so that retries of
    /// older deliveries pass; best effort. Default: the provider's.
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

/// What happens at the provider when the object is deleted.
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

impl WebhookSubscriptionSpec {
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

    /// The inline token source in the form that a `TokenSource` object has.
    #[must_use]
    pub fn inline_source(&self) -> Option<TokenSourceSpec> {
        self.token_source.clone().map(TokenSourceSpec::from)
    }
}
