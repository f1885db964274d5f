//! What the real binary exports after a rotation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use super::super::gate::stage::{Gate, Stage};
use super::super::process::Process;
use super::super::{operator, trial};

/// The values of each label of each metric.
pub type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

const TOKEN_LIFE: Duration = Duration::from_secs(12);
/// What the platform of a gate proves itself with.
const TOKEN: (&str, &str) = ("x-token", "a-token-that-is-known");

static SERIES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^([a-z_]+)(?:\{(.*)\})? [-+.0-9eE]+$").unwrap());
static LABEL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(\w+)="([^"]*)""#).unwrap());

fn read(answer: &str) -> Exported {
    let mut exported = Exported::new();
    for series in SERIES.captures_iter(answer) {
        let labels = exported.entry(series[1].to_owned()).or_default();
        for label in LABEL.captures_iter(series.get(2).map_or("", |labels| labels.as_str())) {
            labels.entry(label[1].to_owned()).or_default().insert(label[2].to_owned());
        }
    }
    exported
}

fn shows_all(process: &Process, wanted: &BTreeSet<String>) -> bool {
    let exported = read(&process.get("/metrics").unwrap_or_default());
    wanted.iter().all(|name| exported.contains_key(name))
}

fn shown(process: &Process) -> Exported {
    read(&process.get("/metrics").unwrap())
}

/// What a controller exports as soon as it exports all that is wanted.
pub async fn of_controller(wanted: &BTreeSet<String>) -> Exported {
    let trial = operator::trial::Trial::start(TOKEN_LIFE, 1).await;
    trial.apply();
    let controller = trial.controller("one");
    trial.until_rotated(&[&controller], 1).await;
    let what = format!("exported: {wanted:?}");
    trial.until(&[&controller], &what, |_| shows_all(&controller, wanted)).await;
    shown(&controller)
}

/// The same of one with a receiver, a subscription that names it, and a gate.
pub async fn of_controller_with_gates(wanted: &BTreeSet<String>) -> Exported {
    let trial = operator::trial::Trial::start(TOKEN_LIFE, 1).await;
    trial.apply();
    trial.lease("gate-a", "shared", &[]);
    trial.apply_text(&operator::gates::published(&trial));
    let controller = trial.controller("one");
    let what = format!("exported: {wanted:?}");
    trial.until_with(&["gate-a"], &[&controller], &what, |_| shows_all(&controller, wanted)).await;
    shown(&controller)
}

/// What a sidecar exports as soon as it exports all that is wanted.
pub async fn of_sidecar(wanted: &BTreeSet<String>) -> Exported {
    let trial = trial::Trial::start(TOKEN_LIFE, 1).await;
    let sidecar = trial.sidecar();
    trial.until(&sidecar, &format!("not exported: {wanted:?}"), |_| shows_all(&sidecar, wanted)).await;
    shown(&sidecar)
}

/// A gate that has taken a delivery in, refused one of a known sender, and parked one whose receiver is
/// `default/platform`, and given up something that its application waits for.
pub async fn gate_with_a_parked_delivery() -> (Stage, Gate, String) {
    let stage = Stage::with(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: platform}
spec:
  verification: {token: {header: x-token, secretKeyRefs: [{name: platform, key: token}]}}
  sourceRanges: [127.0.0.0/8]
  testEvent: {path: /kind, equals: test}
  handOn: {path: /kind, values: [order]}
  duplicates: {key: [/id], action: Drop}
  forward: {url: APPLICATION/in, retry: {maxAttempts: 1}}
  fallback:
    secretKeyRefs: [{name: platform, key: expect}]
    after: 1ms
    giveUpAfter: 1ms
    request: {url: 'APPLICATION/processes/{id}'}
    until: [done]
",
    )
    .await;
    stage.secret("platform", "token", TOKEN.1);
    stage.secret("platform", "expect", "a-key-of-the-application");
    stage.application.answers(500);
    let gate = stage.start(stage.program().args(["--expect-listen", "127.0.0.1:0"]));
    assert_eq!(gate.expect("default/platform/p-1", "a-key-of-the-application").status, 204);
    let order = br#"{"kind":"order","id":1}"#;
    let refused = gate.post("/default/platform", &[("x-token", "a-token-that-is-not")], order);
    let accepted = gate.post("/default/platform", &[TOKEN], order);
    assert_eq!((refused.status, accepted.status), (401, 200));
    let parked = || gate.deliveries(&["list", "--state", "parked"]).stdout;
    gate.until("it is parked", || parked().contains("default/platform")).await;
    let given_up = || gate.deliveries(&["expected", "--state", "parked"]).stdout;
    gate.until("it is given up", || given_up().contains("default/platform")).await;
    let id = parked().lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    (stage, gate, id)
}

/// The same gate after more of what there is: one that was handed on, the same again, another under its
/// name, a test event, and one that is none of those that are handed on.
pub async fn gate_with_deliveries_of_all_kinds() -> (Stage, Gate) {
    let (stage, gate, _) = gate_with_a_parked_delivery().await;
    stage.application.answers(200);
    let accepted = |body: &str| {
        let answer = gate.post("/default/platform", &[TOKEN], body.as_bytes());
        assert_eq!(answer.status, 200, "{body}");
    };
    let handed_on = r#"hookkeeper_gate_handed_on_total{receiver="default/platform"}"#;
    accepted(r#"{"kind":"order","id":2}"#);
    gate.until("it was handed on", || gate.metric(handed_on) == 1.0).await;
    accepted(r#"{"kind":"order","id":2}"#);
    accepted(r#"{"kind":"order","id":2,"more":true}"#);
    gate.until("the other one was handed on, too", || gate.metric(handed_on) == 2.0).await;
    accepted(r#"{"kind":"test"}"#);
    accepted(r#"{"kind":"other","id":3}"#);
    (stage, gate)
}

/// What a gate exports as soon as it exports all that is wanted.
pub async fn of_gate(wanted: &BTreeSet<String>) -> Exported {
    let (_stage, gate) = gate_with_deliveries_of_all_kinds().await;
    gate.until(&format!("exported: {wanted:?}"), || shows_all(&gate.process, wanted)).await;
    shown(&gate.process)
}
