//! Gates as a controller sees them: made up of Leases and of what they write in statuses.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::process::Process;
use super::trial::{POSTBACK_URL, Trial};

/// How often a gate that is there renews its Lease.
const RENEWED: Duration = Duration::from_secs(5);

/// A receiver, with these lines more in its spec.
pub fn receiver(name: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("\n  {line}")).collect();
    let verification = if lines.contains("verification:") { "" } else { "\n  verification: {none: {}}" };
    format!(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {{name: {name}}}
spec:
  forward: {{service: {{name: application, port: 80}}}}{verification}{lines}
---
"
    )
}

impl Trial<'_> {
    /// What a gate writes in the status of a receiver, all of it: members of JSON objects.
    pub fn share(&self, receiver: &str, gate: &str, report: &str) {
        self.share_with_tokens(receiver, gate, report, json!([]));
    }

    fn share_with_tokens(&self, receiver: &str, gate: &str, report: &str, tokens: Value) {
        let mut report: Value = serde_json::from_str(report).unwrap();
        report["gate"] = gate.into();
        let object = json!({
            "apiVersion": "hookkeeper.dev/v1alpha1",
            "kind": "WebhookReceiver",
            "metadata": { "name": receiver },
            "status": { "gates": [report], "tokens": tokens },
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), object.to_string()).unwrap();
        self.kubectl(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--subresource=status",
            &format!("--field-manager=hookkeeper-gate-{gate}"),
            "-f",
            file.path().to_str().unwrap(),
        ]);
    }

    /// The Lease of a gate, which holds these tokens of a source.
    pub fn lease(&self, gate: &str, source: &str, held: &[&str]) {
        let held = json!({ format!("{}/{source}", self.namespace): held });
        self.apply_text(&format!(
            "apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: {gate}
  labels: {{hookkeeper.dev/gate: \"true\"}}
  annotations: {{hookkeeper.dev/held-tokens: '{held}'}}
spec: {{holderIdentity: {gate}, leaseDurationSeconds: 30, renewTime: \"{}\"}}
",
            chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
        ));
    }

    /// Waits for something, while the Leases of these gates are renewed.
    pub async fn until_with(
        &self,
        gates: &[&str],
        controllers: &[&Process],
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) {
        let renewed = std::cell::Cell::new(None::<tokio::time::Instant>);
        let holds = |trial: &Self| {
            if renewed.get().is_none_or(|at| at.elapsed() >= RENEWED) {
                gates.iter().for_each(|gate| trial.renew(gate));
                renewed.set(Some(tokio::time::Instant::now()));
            }
            holds(trial)
        };
        self.until(controllers, what, holds).await;
    }

    fn renew(&self, gate: &str) {
        let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let patch = json!({ "spec": { "renewTime": now } }).to_string();
        self.kubectl(&["patch", "lease", gate, "--type=merge", "-p", &patch]);
    }
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": format!("{reason} it is"),
        "observedGeneration": 1, "lastTransitionTime": "2026-11-27T12:00:00Z",
    })
}

/// What a gate says of a receiver that is well.
fn well(waiting: u32) -> String {
    json!({
        "observedGeneration": 1,
        "store": "0123456789abcdef",
        "url": "https://hooks.example.com/hr/gupy",
        "waiting": waiting,
        "lastAcceptedTime": "2026-11-27T12:10:00Z",
        "conditions": [condition("Ready", "True", "Accepting"), condition("HandingOn", "True", "Succeeded")],
    })
    .to_string()
}

/// A receiver is what its live gates say, and what gates that are gone have left is removed.
#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_receiver_is_made_of_what_its_gates_say() {
    let trial = Trial::start(Duration::from_secs(600), 1).await;
    trial.apply_text(&receiver("gupy", &[]));
    let first = trial.controller("one");
    let controllers = &[&first];
    trial.until_says(controllers, "whr/gupy", "Ready", "False NoGate: no gate serves").await;
    let told = trial.until_told(controllers, "gupy", "Warning NoGate: ").await;
    assert!(told.contains(&trial.namespace), "{told}");
    let says = |trial: &Trial<'_>, begin: &str| trial.says("whr/gupy", "Ready").starts_with(begin);

    // The first gate appears, and is well.
    trial.lease("gate-a", "none", &[]);
    trial.share("gupy", "gate-a", &well(7));
    trial
        .until_with(&["gate-a"], controllers, "ready", |trial| says(trial, "True Accepting: Accepting it is"))
        .await;
    trial.until_told(controllers, "gupy", "Normal Recovered: ").await;
    let row = trial.kubectl(&["get", "whr", "gupy"]);
    let columns: Vec<&str> = row.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(columns[..4], ["gupy", "True", "https://hooks.example.com/hr/gupy", "7"], "{row}");
    assert_eq!(trial.field("whr/gupy", ".status.observedGeneration"), "1");
    assert_eq!(trial.field("whr/gupy", ".status.lastAcceptedTime"), "2026-11-27T12:10:00Z");

    // The second one is not; it has the same store.
    trial.lease("gate-b", "none", &[]);
    let mut ill: Value = serde_json::from_str(&well(9)).unwrap();
    ill["conditions"] = json!([condition("Ready", "False", "CredentialUnusable")]);
    trial.share("gupy", "gate-b", &ill.to_string());
    let both = &["gate-a", "gate-b"];
    let begin = "False CredentialUnusable: at the gate gate-b: CredentialUnusable it is";
    trial.until_with(both, controllers, "the worst counts", |trial| says(trial, begin)).await;
    assert_eq!(trial.field("whr/gupy", ".status.waiting"), "9");
    assert_eq!(trial.says("whr/gupy", "HandingOn"), "True Succeeded: at the gate gate-a: Succeeded it is");

    // It goes: at once it counts no more, and then nothing is left of it.
    trial.kubectl(&["delete", "lease", "gate-b"]);
    trial.until_with(&["gate-a"], controllers, "it is gone", |trial| says(trial, "True Accepting")).await;
    let gates = |trial: &Trial<'_>| trial.field("whr/gupy", ".status.gates[*].gate");
    trial.until_with(&["gate-a"], controllers, "its share is gone", |trial| gates(trial) == "gate-a").await;
    let managers = trial.kubectl(&["get", "whr", "gupy", "-o", "yaml", "--show-managed-fields"]);
    assert!(managers.contains("manager: hookkeeper-gate-gate-a"), "{managers}");
    assert!(!managers.contains("manager: hookkeeper-gate-gate-b"), "{managers}");

    // Whoever leads next sees it the same way, and goes on.
    let version = trial.field("whr/gupy", ".metadata.resourceVersion");
    assert_eq!(first.stop(), Some(0));
    let second = trial.controller("two");
    let controllers = &[&second];
    let listed = |_: &Trial<'_>| second.log().contains("listed") && trial.holder().starts_with("two_");
    trial.until_with(&["gate-a"], controllers, "the other one leads", listed).await;
    assert_eq!(trial.field("whr/gupy", ".metadata.resourceVersion"), version, "nothing to write");
    // The gate is silent from now on.
    trial.until_says(controllers, "whr/gupy", "Ready", "False NoGate: ").await;
    assert_eq!(gates(&trial), "gate-a", "one that is silent for a while may come back");
    assert!(!second.log().contains("everything is read again"), "{}", second.log());
    trial.assert_no_secrets();
}

/// A source that publishes for gates alone, and a subscription whose deliveries a receiver takes in.
pub fn published(trial: &Trial<'_>) -> String {
    let source = format!(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {{name: shared}}
spec:
  oauth2:
    tokenUrl: {}/oauth/token
    clientId: {{value: hr-integration}}
    clientSecret: {{secretKeyRef: {{name: integration-client, key: secret}}}}
  publishTo: {{secretName: shared-token, readers: Gates}}
---
",
        trial.sandbox.url()
    );
    let subscription = Trial::subscription("changed", "job.changed", &["receiverRef: {name: gupy}"])
        .replace("tokenSourceRef: {name: integration}", "tokenSourceRef: {name: shared}");
    let verification = "verification: {token: {tokenSourceRef: {name: shared}}}";
    let receiver = receiver("gupy", &["preset: gupy", verification]);
    assert!(subscription.contains(POSTBACK_URL));
    [source, receiver, subscription].concat()
}

/// The token is brought to the provider when the gates have said that they have it; what they have seen of
/// it is shown, whoever leads.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_waits_for_the_gates_and_is_observed() {
    // The pause after publishing is 2 min: longer than anything is waited for here.
    let trial = Trial::start(Duration::from_secs(24 * 3_600), 1).await;
    trial.lease("gate-a", "shared", &[]);
    trial.apply();
    let manifests = published(&trial);
    trial.apply_text(&manifests);
    let first = trial.controller("one");
    let controllers = &[&first];
    let named = |trial: &Trial<'_>| trial.field("tsrc/shared", ".status.tokenFingerprint");
    let carried = |trial: &Trial<'_>| trial.field("whs/changed", ".status.tokenFingerprint");
    let gate = &["gate-a"];
    trial.until_with(gate, controllers, "a token is named", |trial| !named(trial).is_empty()).await;
    let fingerprint = named(&trial);
    let secret = trial.field("secret/shared-token", ".data.fingerprint");
    assert!(!secret.is_empty(), "it stands published before it is named");
    trial
        .until_with(gate, controllers, "the gate is told where it stands", |trial| {
            trial.field("whr/gupy", ".status.tokenHeader") == "token"
        })
        .await;
    assert_eq!(trial.sandbox.webhooks().len(), 1, "the one of the other source");
    trial.lease("gate-a", "shared", &[&fingerprint]);
    trial.until_with(gate, controllers, "applied", |trial| carried(trial) == fingerprint).await;

    let observed = |trial: &Trial<'_>| trial.says("whs/changed", "TokenObserved");
    assert!(observed(&trial).starts_with("Unknown AwaitingDelivery"), "{}", observed(&trial));
    let seen = |fingerprint: &str| {
        let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let token = json!({
            "gate": "gate-a", "fingerprint": fingerprint, "event": "job.changed", "lastSeen": now,
            "subscriptions": ["changed"],
        });
        trial.share_with_tokens("gupy", "gate-a", &well(0), json!([token]));
    };
    seen(&fingerprint);
    let is_seen = |trial: &Trial<'_>| observed(trial).starts_with("True DeliverySeen");
    trial.until_with(gate, controllers, "it is observed", is_seen).await;
    trial.until_told(controllers, "changed", "Normal DeliverySeen: ").await;
    let wide = trial.kubectl(&["get", "whs", "changed", "-o", "wide"]);
    assert!(wide.lines().next().unwrap().contains("TOKEN OBSERVED"), "{wide}");

    // The next token is awaited anew; the gate is slow, and another process takes over meanwhile.
    trial.kubectl(&["annotate", "whs", "changed", "hookkeeper.dev/rotate-requested-at=now"]);
    trial.until_with(gate, controllers, "another token", |trial| named(trial) != fingerprint).await;
    assert_eq!(first.stop(), Some(0));
    let second = trial.controller("two");
    let controllers = &[&second];
    let leads = |trial: &Trial<'_>| trial.holder().starts_with("two_") && second.log().contains("listed");
    trial.until_with(gate, controllers, "the other one leads", leads).await;
    assert_eq!(carried(&trial), fingerprint, "it waits for the gate, too");
    assert_eq!(observed(&trial).split(':').next(), Some("True DeliverySeen"));
    // Whoever takes over may ask for another one: it has not seen when the rotation was asked for.
    let held = std::cell::RefCell::new(fingerprint.clone());
    let applied = |trial: &Trial<'_>| {
        let newest = named(trial);
        if newest != *held.borrow() {
            trial.lease("gate-a", "shared", &[&fingerprint, &newest]);
            held.replace(newest.clone());
        }
        newest != fingerprint && carried(trial) == newest
    };
    trial.until_with(gate, controllers, "applied", applied).await;
    let newest = held.into_inner();
    let awaits = |trial: &Trial<'_>| observed(trial).starts_with("Unknown AwaitingDelivery");
    trial.until_with(gate, controllers, "it is awaited", awaits).await;
    seen(&newest);
    trial.until_with(gate, controllers, "it is observed", is_seen).await;
    let metrics = second.get("/metrics").unwrap();
    for line in ["hookkeeper_gates_live 1", "hookkeeper_gate_behind_total 0"] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    trial.assert_no_secrets();
}
