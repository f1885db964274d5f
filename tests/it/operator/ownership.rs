//! Who owns a webhook: objects that want the same one, a rename, webhooks that are there already or
//! vanish.

use std::time::Duration;

use serde_json::json;

use super::super::cluster::Cluster;
use super::super::trial::short_settling;
use super::trial::{POSTBACK_URL, Trial};

const DELETE: &[&str] = &["deletionPolicy: Delete"];

async fn trial() -> Trial<'static> {
    let cluster = tokio::task::block_in_place(Cluster::shared);
    let trial = Trial::start_in(cluster, Duration::from_secs(20), 1, |_| ()).await;
    short_settling(&trial.manifests());
    trial.apply();
    trial
}

fn by_hand(trial: &Trial<'_>, action: &str) -> String {
    let webhook = json!({
        "action": action, "postbackUrl": POSTBACK_URL, "status": "active",
        "clientHeaders": { "token": "set-by-hand" },
    });
    trial.sandbox.add_webhook(&webhook).unwrap()
}

/// As GitOps does it: the new object is applied, then the old one is pruned.
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_hands_the_webhook_over() {
    let trial = trial().await;
    let controller = trial.controller("one");
    let controllers = &[&controller];
    trial.apply_text(&Trial::subscription("old", "candidate.hired", DELETE));
    trial.until_says(controllers, "whs/old", "Ready", "True Created: ").await;
    let id = trial.field("whs/old", ".status.webhookId");

    trial.apply_text(&Trial::subscription("new", "candidate.hired", DELETE));
    let said = trial.until_says(controllers, "whs/new", "Ready", "False Conflict: ").await;
    assert!(said.contains("/old") && said.contains("takes over when that one is deleted"), "{said}");
    assert_eq!(trial.says("whs/new", "Reconciling"), said.replacen("False", "True", 1));
    assert_eq!(trial.says("whs/new", "Stalled"), " : ");
    trial.until_told(controllers, "new", "Warning Conflict: ").await;

    trial.kubectl(&["delete", "whs", "old", "--timeout=150s"]);
    trial.until_says(controllers, "whs/new", "Ready", "True ").await;
    assert_eq!(trial.field("whs/new", ".status.webhookId"), id);
    let guarded = |trial: &Trial<'_>| !trial.field("whs/new", ".metadata.finalizers").is_empty();
    trial.until(controllers, "guarded", guarded).await;
    let rotations = trial.sandbox.ledger().rotations;
    trial
        .until(controllers, "a rotation of both", |trial| trial.sandbox.ledger().rotations >= rotations + 2)
        .await;
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.deletes), (2, 0), "{ledger:#?}");
    let told = trial.events("old");
    assert!(!told.contains("RemoteOrphaned") && !told.contains("Deleted"), "{told}");
    trial.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_webhook_is_left_alone_until_somebody_says_that_it_is_meant() {
    let trial = trial().await;
    let ids = [by_hand(&trial, "job.published"), by_hand(&trial, "job.changed")];
    trial.apply_text(&Trial::subscription("by-id", "job.published", &[]));
    trial.apply_text(&Trial::subscription("by-policy", "job.changed", &[]));
    let controller = trial.controller("one");
    let controllers = &[&controller];
    for (name, id) in ["by-id", "by-policy"].into_iter().zip(&ids) {
        let object = format!("whs/{name}");
        let said = trial.until_says(controllers, &object, "Stalled", "True AlreadyExists: ").await;
        for part in [id.as_str(), "spec.webhookId", "spec.adoptionPolicy: Matching"] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(trial.says(&object, "Ready"), said.replacen("True", "False", 1));
        let event = trial.until_told(controllers, name, "Warning AlreadyExists: ").await;
        assert!(event.ends_with(&said["True ".len()..]), "{event}");
    }
    let patch = |name: &str, spec: serde_json::Value| {
        let patch = json!({ "spec": spec }).to_string();
        trial.kubectl(&["patch", "whs", name, "--type=merge", "-p", &patch]);
    };
    patch("by-id", json!({ "webhookId": ids[0] }));
    patch("by-policy", json!({ "adoptionPolicy": "Matching" }));
    for (name, id) in ["by-id", "by-policy"].into_iter().zip(&ids) {
        let object = format!("whs/{name}");
        trial.until_says(controllers, &object, "Ready", "True ").await;
        assert_eq!(trial.field(&object, ".status.ownership"), "Adopted");
        assert_eq!(trial.field(&object, ".status.webhookId"), *id);
        assert_eq!(trial.says(&object, "Stalled"), " : ");
        trial.until_told(controllers, name, "Normal Adopted: ").await;
    }
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.webhooks), (1, 3), "{ledger:#?}");
    assert!(trial.sandbox.webhooks().iter().all(|webhook| webhook.token.is_some()));
    trial.assert_no_secrets();
}

/// The one is created again, of the other a person decides; a third one goes on meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_the_provider_has_removed_is_created_again_if_that_is_wanted() {
    let trial = trial().await;
    trial.apply_text(&Trial::subscription("again", "job.published", &[]));
    trial.apply_text(&Trial::subscription("stalls", "job.changed", &["whenMissing: Stall"]));
    let controller = trial.controller("one");
    let controllers = &[&controller];
    trial.until(controllers, "all created", |trial| trial.sandbox.ledger().creates == 3).await;
    trial.kubectl(&["wait", "--for=condition=Ready", "whs", "--all", "--timeout=150s"]);
    for name in ["again", "stalls"] {
        assert!(trial.sandbox.remove_webhook(&trial.field(&format!("whs/{name}"), ".status.webhookId")));
        // Not waiting for the next rotation: a person asks for one.
        trial.kubectl(&["annotate", "whs", name, "hookkeeper.dev/rotate-requested-at=asked"]);
    }
    let said = trial.until_says(controllers, "whs/stalls", "Stalled", "True RemoteMissing: ").await;
    assert!(said.contains("whenMissing to Recreate"), "{said}");
    trial.until_told(controllers, "stalls", "Warning RemoteMissing: ").await;
    trial.until_told(controllers, "again", "Warning RemoteMissing: ").await;
    trial.until_told(controllers, "again", "Normal Recreated: ").await;
    trial.until_says(controllers, "whs/again", "Ready", "True ").await;
    assert_eq!(trial.field("whs/again", ".status.lastHandledRotateRequest"), "asked");
    trial.kubectl(&[
        "patch",
        "whs",
        "stalls",
        "--type=merge",
        "-p",
        r#"{"spec":{"whenMissing":"Recreate"}}"#,
    ]);
    trial.until_says(controllers, "whs/stalls", "Ready", "True ").await;
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.doubled, ledger.webhooks), (5, 0, 3), "{ledger:#?}");
    trial.assert_no_secrets();
}
