//! What is recorded of each object.
//!
//! No status holds a token, a header value, an answer's body or a URL's query. Fields that a later
//! release adds are ignored here, and a field that is absent always means what it meant in the
//! release before, so that releases can be rolled back.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::{self, Condition, Reason};
use super::schema;

/// What is recorded of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionStatus {
    /// The generation that was seen and judged last; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,
    /// Id of the remote subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub webhook_id: Option<String>,
    /// Scheme, host and port where that id lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub webhook_origin: Option<String>,
    /// How the remote subscription came to be ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// Random, drawn at the mint: equal means the same token, and nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub token_fingerprint: Option<String>,
    /// When the applied token was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_minted_time: Option<DateTime<Utc>>,
    /// When the applied token expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expiration_time: Option<DateTime<Utc>>,
    /// When a token was applied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotated_time: Option<DateTime<Utc>>,
    /// When the next rotation is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<DateTime<Utc>>,
    /// Digest of the applied document without token and secret bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub applied_digest: Option<String>,
    /// Digest of uid and resourceVersion of the Secrets in the applied document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub applied_secrets: Option<String>,
    /// The manual request that was satisfied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub last_handled_rotate_request: Option<String>,
    /// Attempts that failed since the last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Failures>,
    /// Present while the outcome of a create is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<CreationRecord>,
    /// Since when listings lack the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<DateTime<Utc>>,
    /// The state in the standard form.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "condition::known")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// How a remote subscription came to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ownership {
    /// We created it.
    Created,
    /// It was there before us.
    Adopted,
}

/// Attempts that failed since the last success. Written on the first, on a change of reason and at
/// powers of two, so that an outage does not flood the API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failures {
    /// How many in a row.
    #[schemars(range(min = 0))]
    pub count: i32,
    /// Why the last one failed.
    #[schemars(schema_with = "schema::camel_word")]
    pub reason: Reason,
    /// When the first of them failed.
    pub since: DateTime<Utc>,
    /// When the next attempt is due.
    pub next_attempt_time: DateTime<Utc>,
    /// Digest of what the failed attempt was made with; other inputs do not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub inputs: Option<String>,
}

/// A create whose outcome is open: durable before the request is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreationRecord {
    /// Digest of action and URL.
    #[schemars(length(max = 512))]
    pub target: String,
    /// When the create was begun.
    pub started_time: DateTime<Utc>,
}

/// What is recorded of a `TokenSource`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenSourceStatus {
    /// The generation that was seen and judged last; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,
    /// Random, drawn at the mint: equal means the same token, and nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub token_fingerprint: Option<String>,
    /// When the newest token was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_minted_time: Option<DateTime<Utc>>,
    /// When the newest token expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expiration_time: Option<DateTime<Utc>>,
    /// Tokens before the newest that subscriptions still carry, where gates take deliveries with them in: none of
    /// them is over before the last has moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub carried_fingerprints: Vec<String>,
    /// The state in the standard form.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "condition::known")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What is recorded of a `WebhookProvider`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookProviderStatus {
    /// The generation that was seen and judged last; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,
    /// No call is made before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back_until: Option<DateTime<Utc>>,
    /// The state in the standard form.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "condition::known")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ConditionType;

    #[test]
    fn a_status_that_a_later_release_wrote_can_be_read() {
        let of = |kind: &str, status: &str| {
            serde_json::json!({
                "type": kind, "status": status, "reason": "ReasonToCome", "message": "m",
                "lastTransitionTime": "2026-11-21T17:00:00Z", "fieldToCome": {"a": [1]},
            })
        };
        let written = serde_json::json!({
            "observedGeneration": 3,
            "fieldToCome": [1],
            "conditions": [of("Ready", "True"), of("AspectToCome", "True"), of("Stalled", "ValueToCome")],
        });
        let status: SubscriptionStatus = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(status.observed_generation, Some(3));
        let [ready] = &status.conditions[..] else {
            panic!("{:?}", status.conditions);
        };
        assert_eq!((ready.kind, ready.reason), (ConditionType::Ready, Reason::Unknown));
        let status: TokenSourceStatus = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(status.conditions.len(), 1);
        let status: WebhookProviderStatus = serde_json::from_value(written).unwrap();
        assert_eq!(status.conditions.len(), 1);
        let none: SubscriptionStatus = serde_json::from_str("{}").unwrap();
        assert!(none.conditions.is_empty());
    }
}
