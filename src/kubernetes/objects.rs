//! An object of the API server in the words the decisions are made in.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::versions::Version;
use crate::api::validation::{self, Problem, Spec};
use crate::api::{
    Declared, FINALIZER, FORCE_ORPHAN_ANNOTATION, Identity, Kind, ObjectKey, ROTATE_ANNOTATION,
    SubscriptionStatus, TokenSourceStatus, WebhookProviderStatus, WebhookReceiverStatus,
};
use crate::engine::change::Change;
use crate::engine::ports::Invalid;
use crate::rotation::target::short_digest;

/// Namespace and name.
pub(super) fn key_of(object: &DynamicObject) -> ObjectKey {
    ObjectKey::new(object.metadata.namespace.as_deref().unwrap_or_default(), &object.name_any())
}

/// The version, with the digest of the status as this release reads it.
pub(super) fn version_of(kind: Kind, object: &DynamicObject) -> Version {
    let recorded = &object.data["status"];
    let status = match kind {
        Kind::WebhookProvider => digest(&status::<WebhookProviderStatus>(recorded)),
        Kind::TokenSource => digest(&status::<TokenSourceStatus>(recorded)),
        Kind::WebhookSubscription => digest(&status::<SubscriptionStatus>(recorded)),
        // What gates write in it is theirs, and no surprise.
        Kind::WebhookReceiver => digest(&without_shares(status(recorded))),
    };
    Version {
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        status,
        finalizers: object.finalizers().to_vec(),
    }
}

/// Digest of a status as this release writes it.
pub(super) fn digest(status: &impl Serialize) -> String {
    // A status is made of strings and numbers: writing it cannot fail.
    let written = serde_json::to_string(status).unwrap_or_default();
    short_digest(&[&written])
}

/// The status of a receiver without what its gates write.
fn without_shares(status: WebhookReceiverStatus) -> WebhookReceiverStatus {
    WebhookReceiverStatus { gates: Vec::new(), tokens: Vec::new(), ..status }
}

/// A status that cannot be read counts as none, as it does for whoever has not written one yet.
pub(super) fn status<Status: DeserializeOwned + Default>(recorded: &Value) -> Status {
    serde_json::from_value(recorded.clone()).unwrap_or_default()
}

/// What the engine is told of an object; nothing of those that are the gate's.
pub(super) fn change_of(kind: Kind, object: &DynamicObject) -> Option<Change> {
    let identity = identity_of(object);
    let recorded = &object.data["status"];
    let whole = json!({ "spec": object.data["spec"] });
    let result = match kind {
        Kind::WebhookProvider => {
            declared(&whole, &identity, recorded).map(|declared| Change::Provider(Box::new(declared)))
        }
        Kind::TokenSource => {
            declared(&whole, &identity, recorded).map(|declared| Change::TokenSource(Box::new(declared)))
        }
        Kind::WebhookSubscription => {
            declared(&whole, &identity, recorded).map(|declared| Change::Subscription(Box::new(declared)))
        }
        Kind::WebhookReceiver => return None,
    };
    let invalid = |problem| Change::Invalid { kind, identity, problem, status: recorded.clone() };
    Some(result.unwrap_or_else(invalid))
}

fn declared<S: Spec, Status: DeserializeOwned + Default>(
    whole: &Value,
    identity: &Identity,
    recorded: &Value,
) -> Result<Declared<S, Status>, Invalid> {
    let spec = validation::decode::<S>(whole, None).map_err(|problems| first(&problems))?;
    Ok(Declared { identity: identity.clone(), spec, status: status(recorded) })
}

/// The first problem, and how many there are besides.
fn first(problems: &[Problem]) -> Invalid {
    let more = match problems.len() {
        0 | 1 => String::new(),
        many => format!(" (and {} more)", many - 1),
    };
    let (field, problem) =
        problems.first().map_or(("spec".to_owned(), "cannot be read".to_owned()), |first| {
            (first.field.clone(), first.problem.clone())
        });
    Invalid { field, problem: problem + &more }
}

/// What matters of an object besides its spec and status.
pub(super) fn identity_of(object: &DynamicObject) -> Identity {
    let annotations: &BTreeMap<String, String> = object.annotations();
    Identity {
        key: key_of(object),
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        created: object.metadata.creation_timestamp.as_ref().and_then(time),
        deleted: object.metadata.deletion_timestamp.as_ref().and_then(time),
        has_finalizer: object.finalizers().iter().any(|finalizer| finalizer == FINALIZER),
        rotate_requested: annotations.get(ROTATE_ANNOTATION).cloned(),
        force_orphan: annotations.get(FORCE_ORPHAN_ANNOTATION).is_some_and(|value| value == "true"),
    }
}

fn time(time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(time.0.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn subscription() -> Value {
        json!({
            "apiVersion": "hookkeeper.dev/v1alpha1",
            "kind": "WebhookSubscription",
            "metadata": {
                "name": "a", "namespace": "team", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-11-21T17:00:02Z",
                "finalizers": [FINALIZER],
                "annotations": { "hookkeeper.dev/rotate-requested-at": "now" },
            },
            "spec": {
                "providerRef": { "name": "gupy" },
                "action": "application.completed",
                "postbackUrl": "https://integrations.example.com/gupy",
                "clientHeaders": [{ "name": "token", "valueFrom": { "token": {} } }],
                "tokenSourceRef": { "name": "integration" },
            },
            "status": { "observedGeneration": -1 },
        })
    }

    #[test]
    fn a_valid_object_is_declared_with_what_matters_of_it() {
        let Some(Change::Subscription(declared)) =
            change_of(Kind::WebhookSubscription, &object(subscription()))
        else {
            panic!("no subscription")
        };
        assert_eq!(declared.identity.key, ObjectKey::new("team", "a"));
        assert_eq!((declared.identity.generation, declared.identity.has_finalizer), (3, true));
        assert_eq!(declared.identity.rotate_requested.as_deref(), Some("now"));
        assert_eq!(declared.identity.created.unwrap().to_rfc3339(), "2026-11-21T17:00:02+00:00");
        assert_eq!(declared.status.observed_generation, Some(-1));
    }

    #[test]
    fn an_object_that_does_not_decode_is_invalid_and_names_the_field() {
        let mut broken = subscription();
        broken["spec"]["postbackUrl"] = json!(17);
        broken["spec"]["action"] = json!("no spaces");
        let Some(Change::Invalid { problem, identity, .. }) =
            change_of(Kind::WebhookSubscription, &object(broken))
        else {
            panic!("valid")
        };
        assert_eq!(identity.key.name.as_ref(), "a");
        assert!(problem.field.starts_with("spec."), "{problem}");
        assert!(problem.problem.ends_with("(and 1 more)"), "{problem}");
    }

    #[test]
    fn a_status_that_this_release_reads_alike_has_the_same_digest() {
        let mut other = subscription();
        other["status"] = json!({ "observedGeneration": -1, "ofALaterRelease": true });
        let version = |value| version_of(Kind::WebhookSubscription, &object(value));
        assert_eq!(version(subscription()).status, version(other).status);
        let mut changed = subscription();
        changed["status"] = json!({ "observedGeneration": 3 });
        assert_ne!(version(subscription()).status, version(changed).status);
    }
}
