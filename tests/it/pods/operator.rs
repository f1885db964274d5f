//! The operator, installed with Helm, while pods go away and releases come and go.

use std::fmt::Write as _;

use super::trial::{NAMESPACE, Trial};

/// Subscriptions with a token source each, so that at any moment some rotation is due soon.
const SOURCES: u64 = 15;
/// So many rotations show that the work goes on.
const SOME: u64 = 8;

/// A provider that asks for hardly any overlap, and sources that want to rotate at different times
/// of a token's life.
fn load() -> String {
    let mut objects = format!(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {{name: load}}
spec:
  preset: gupy
  baseUrl: http://hookkeeper-sandbox.{NAMESPACE}.svc:8480
  overlap: 1s
  auth: {{bearer: {{secretKeyRef: {{name: hookkeeper-sandbox, key: management-token}}}}}}
"
    );
    for number in 0..SOURCES {
        let renew_before = 12 + number;
        write!(
            objects,
            "---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: load-{number}, labels: {{load: 'yes'}}}}
spec:
  providerRef: {{name: load}}
  action: candidate.hired
  postbackUrl: https://integrations.example.com/load/{number}
  clientHeaders:
    - {{name: token, valueFrom: {{token: {{}}}}}}
  tokenSource:
    oauth2:
      tokenUrl: http://hookkeeper-sandbox.{NAMESPACE}.svc:8480/oauth/token
      clientId: {{value: hr-integration}}
      clientSecret: {{secretKeyRef: {{name: hookkeeper-sandbox, key: client-secret}}}}
  rotation: {{renewBefore: {renew_before}s}}
  deletionPolicy: Delete
"
        )
        .unwrap();
    }
    objects
}

pub fn works_while_pods_and_releases_come_and_go(trial: &Trial) {
    // Everything that `helm install --wait` promises holds already.
    let ready = trial.kubectl(&["get", "deployment", "hookkeeper", "-o", "jsonpath={.status.readyReplicas}"]);
    assert_eq!(ready, "2", "{}", trial.node.story());
    let load = trial.file("load.yaml", &load());
    trial.kubectl(&["apply", "--server-side", "-f", &load]);
    trial.kubectl(&["wait", "whs", "--all", "--for=condition=Ready", "--timeout=180s"]);
    trial.until_rotated(SOURCES, "at the start");

    without_leader(trial, "deleted", |pod| {
        trial.kubectl(&["delete", "pod", pod, "--wait=false"]);
    });
    without_leader(trial, "killed", |pod| trial.node.kill(NAMESPACE, pod));
    without_leader(trial, "evicted", |pod| {
        let eviction = format!(
            "{{\"apiVersion\": \"policy/v1\", \"kind\": \"Eviction\", \"metadata\": {{\"name\": \"{pod}\"}}}}"
        );
        let file = trial.file("eviction.json", &eviction);
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction");
        trial.kubectl(&["create", "--raw", &path, "-f", &file]);
    });

    let upgraded = trial.holder();
    trial.helm("upgrade", &["--set=log.level=debug"]);
    assert_ne!(trial.holder(), upgraded, "the pods were not replaced");
    trial.until_rotated(SOME, "after the upgrade");
    trial.node.helm(&["rollback", "hookkeeper", "1", "--namespace", NAMESPACE, "--wait", "--timeout=3m"]);
    trial.until_rotated(SOME, "after the rollback");

    let ledger = trial.ledger();
    assert_eq!(ledger["creates"], SOURCES + 2, "{ledger:#}");
    let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    let restarts = trial.kubectl(&["get", "pods", "-o", restarts]);
    assert!(restarts.split(' ').all(|count| count == "0"), "{restarts}\n{}", trial.node.story());
    // Subscriptions first: without its provider, none could be removed there.
    let selected = ["delete", "whs", "--selector=load=yes", "--timeout=180s"];
    trial.kubectl(&selected);
    let ledger = trial.ledger();
    assert_eq!((&ledger["deletes"], &ledger["webhooks"]), (&SOURCES.into(), &2.into()), "{ledger:#}");
}

/// Takes the pod away that acts; another process acts soon, and the work goes on.
fn without_leader(trial: &Trial, how: &str, remove: impl Fn(&str)) {
    let leader = trial.holder();
    remove(leader.split('_').next().unwrap());
    trial.until(&format!("another leader, the first one {how}"), |trial| {
        let holder = trial.holder();
        !holder.is_empty() && holder != leader
    });
    trial.until_rotated(SOME, &format!("after the leader was {how}"));
    trial.kubectl(&["rollout", "status", "deployment/hookkeeper", "--timeout=180s"]);
}
