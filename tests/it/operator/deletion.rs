//! What becomes of a webhook when its object, or its whole namespace, is deleted; and objects that a
//! looser definition has let in.

use std::time::Duration;

use hookkeeper::sandbox::{Fault, Target};
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::in_repository;
use super::super::process::Process;
use super::rights;
use super::trial::Trial;

const DELETE: &[&str] = &["deletionPolicy: Delete"];

/// It is there while there is something to delete: from before the create until the policy changes.
#[tokio::test(flavor = "multi_thread")]
async fn the_policy_decides_what_a_deletion_does_at_the_provider() {
    let trial = Trial::start(Duration::from_secs(600), 1).await;
    trial.apply();
    let slow =
        Fault { delay_ms: 3_000, action: Some("job.published".to_owned()), ..Fault::at(Target::Create) };
    trial.sandbox.faults().add(slow).unwrap();
    trial.apply_text(&Trial::subscription("deletes", "job.published", DELETE));
    for name in ["changes", "forced", "suspended"] {
        trial.apply_text(&Trial::subscription(name, &format!("action.{name}"), &[]));
    }
    let (controller, standby) = (trial.controller("one"), trial.controller("two"));
    let controllers: &[&Process] = &[&controller, &standby];
    let guarded = |trial: &Trial<'_>, name: &str| {
        !trial.field(&format!("whs/{name}"), ".metadata.finalizers").is_empty()
    };
    trial
        .until(controllers, "a create that is under way", |trial| {
            !trial.field("whs/deletes", ".status.creation").is_empty()
        })
        .await;
    assert!(guarded(&trial, "deletes"), "before the create");
    trial.kubectl(&["wait", "--for=condition=Ready", "whs", "--all", "--timeout=150s"]);
    assert!(!guarded(&trial, "changes") && !guarded(&trial, "application-completed"));

    // Nothing is sent for a change of the policy, and yet it is in force at once.
    let calls = trial.sandbox.ledger().provider_calls;
    let policy = |name: &str, policy: &str| {
        let patch = json!({ "spec": { "deletionPolicy": policy } }).to_string();
        trial.kubectl(&["patch", "whs", name, "--type=merge", "-p", &patch]);
    };
    for name in ["changes", "forced", "suspended"] {
        policy(name, "Delete");
        trial.until(controllers, "guarded", |trial| guarded(trial, name)).await;
    }
    policy("changes", "Orphan");
    trial.until(controllers, "free again", |trial| !guarded(trial, "changes")).await;
    assert_eq!(trial.sandbox.ledger().provider_calls, calls);

    trial.kubectl(&["delete", "whs", "deletes", "changes", "--timeout=150s"]);
    trial.until_told(controllers, "deletes", "Normal Deleted: webhook ").await;
    assert_eq!(trial.sandbox.ledger().deletes, 1);
    for name in ["deletes", "changes"] {
        assert!(!trial.events(name).contains("RemoteOrphaned"), "{}", trial.events(name));
    }

    trial.sandbox.faults().add(Fault::status(Target::Delete, 500)).unwrap();
    trial.kubectl(&["delete", "whs", "forced", "--wait=false"]);
    let said =
        trial.until_says(controllers, "whs/forced", "RotationHealthy", "False ProviderUnavailable: ").await;
    assert!(said.contains("500"), "{said}");
    trial.kubectl(&["annotate", "whs", "forced", "hookkeeper.dev/force-orphan=true"]);
    trial.kubectl(&["wait", "--for=delete", "whs/forced", "--timeout=150s"]);
    let event = trial.until_told(controllers, "forced", "Warning RemoteOrphaned: webhook ").await;
    assert!(event.contains("stays at the provider") && event.contains("force-orphan"), "{event}");

    let calls = trial.sandbox.ledger().provider_calls;
    trial.kubectl(&["patch", "whs", "suspended", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#]);
    trial.kubectl(&["delete", "whs", "suspended", "--timeout=150s"]);
    trial.until_told(controllers, "suspended", "Warning RemoteOrphaned: webhook ").await;
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.provider_calls, ledger.deletes, ledger.webhooks), (calls, 1, 4), "{ledger:#?}");
    assert_eq!((controller.stop(), standby.stop()), (Some(0), Some(0)));
    trial.assert_well();
}

/// Both in a cluster of their own: the one needs its controllers, the other its definitions.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_can_go_and_an_object_that_does_not_decode_stops_nobody() {
    let cluster = tokio::task::block_in_place(|| Cluster::start(&[]).with_controller_manager());
    tokio::task::block_in_place(|| install_loosened_definitions(&cluster));
    let trial = Trial::start_in(&cluster, Duration::from_secs(20), 1, |_| ()).await;
    let doomed = tokio::task::block_in_place(|| cluster.namespace("doomed"));
    // Rights in a namespace would go with it.
    let account = tokio::task::block_in_place(|| rights::in_the_whole_cluster(&cluster));
    let broken = |kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "hookkeeper.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec,
        })
        .to_string()
            + "\n---\n"
    };
    trial.apply_text(
        &[
            broken("WebhookProvider", "a-broken", json!({ "auth": 17 })),
            broken("TokenSource", "a-broken", json!({ "oauth2": ["x"] })),
            broken("WebhookSubscription", "a-broken", json!({ "providerRef": 17, "postbackUrl": {} })),
            broken("WebhookSubscription", "b-broken", json!("text")),
        ]
        .concat(),
    );
    trial.apply();
    let controller = trial.program_as(&account, "one", "5s").args(["--deletion-grace", "3s"]).spawn();
    let controllers: &[&Process] = &[&controller];
    trial.until_says(controllers, "whs/application-completed", "Ready", "True ").await;
    for object in ["whs/a-broken", "whs/b-broken", "whp/a-broken", "tsrc/a-broken"] {
        let said = trial.until_says(controllers, object, "Stalled", "True InvalidSpec: spec").await;
        assert_eq!(trial.says(object, "Ready"), said.replacen("True", "False", 1));
    }
    // The watch goes on: what comes and changes after them is seen.
    trial.apply_text(&Trial::subscription("later", "job.published", &[]));
    trial.until_says(controllers, "whs/later", "Ready", "True Created: ").await;
    trial.kubectl(&["delete", "whs", "b-broken", "--timeout=150s"]);
    trial.apply_text(&Trial::subscription("a-broken", "job.changed", &[]));
    trial.until_says(controllers, "whs/a-broken", "Ready", "True Created: ").await;

    // A namespace with a provider that works, and one that answers no delete.
    let in_doomed = |arguments: &[&str]| {
        let arguments = [&["-n", doomed.as_str()], arguments].concat();
        tokio::task::block_in_place(|| cluster.succeed(&arguments))
    };
    let file = trial.manifests().join("30-subscriptions.yaml");
    let doomed_ones: String =
        ["works", "fails"].map(|name| Trial::subscription(name, &format!("action.{name}"), DELETE)).concat();
    std::fs::write(&file, doomed_ones).unwrap();
    in_doomed(&["apply", "-f", trial.manifests().to_str().unwrap()]);
    in_doomed(&["wait", "--for=condition=Ready", "whs", "--all", "--timeout=150s"]);
    let id = in_doomed(&["get", "whs", "fails", "-o", "jsonpath={.status.webhookId}"]);
    let forbidden = Fault { webhook: Some(id.clone()), ..Fault::status(Target::Delete, 403) };
    trial.sandbox.faults().add(forbidden).unwrap();
    tokio::task::block_in_place(|| cluster.succeed(&["delete", "namespace", &doomed, "--timeout=150s"]));
    let orphaned = format!("webhook {id} stays at the provider although the policy is Delete");
    trial.until(controllers, "a line of the log", |_| controller.log().contains(&orphaned)).await;
    trial.until_says(controllers, "whs/later", "Ready", "True ").await;
    assert_eq!(trial.sandbox.ledger().doubled, 0);
    trial.assert_no_secrets();
}

/// The definitions as an older release may have had them: anything goes as a spec.
fn install_loosened_definitions(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    for file in ["webhookproviders", "tokensources", "webhooksubscriptions"] {
        let text = std::fs::read_to_string(in_repository(&format!("crds/{file}.yaml"))).unwrap();
        let mut definition: Value = serde_saphyr::from_str(&text).unwrap();
        let version = &mut definition["spec"]["versions"][0];
        version["schema"]["openAPIV3Schema"]["properties"]["spec"] =
            json!({ "x-kubernetes-preserve-unknown-fields": true });
        version.as_object_mut().unwrap().remove("selectableFields");
        std::fs::write(folder.path().join(format!("{file}.json")), definition.to_string()).unwrap();
    }
    cluster.install_definitions_from(folder.path());
}
