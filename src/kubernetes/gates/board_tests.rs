use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::*;
use crate::api::{Declared, Identity, Kind};
use crate::engine::ports::{Gates, Offered};
use crate::kubernetes::gates::ClusterGates;
use crate::rotation::time::Moment;
use crate::secret::SecretText;

/// A clock that is set by hand, in seconds.
#[derive(Default)]
struct Hands(AtomicU64);

impl Clock for Hands {
    fn now(&self) -> Moment {
        let boot = Duration::from_secs(self.0.load(Ordering::Relaxed));
        let wall = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap() + boot;
        Moment { wall, boot }
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        futures::future::pending().boxed()
    }
}

struct Stage {
    clock: Arc<Hands>,
    board: Board,
    gates: ClusterGates,
}

impl Stage {
    /// A process that has just begun.
    fn new() -> Self {
        let clock = Arc::new(Hands::default());
        let board = Board::new(Arc::clone(&clock) as Arc<dyn Clock>);
        Self { clock, gates: ClusterGates::new(board.clone()), board }
    }

    /// One with a receiver, and with this gate.
    fn with_gate(sources: &[(&str, &[&str])]) -> Self {
        let stage = Self::new();
        stage.board.receiver_there(&receiver("gupy", "shared"));
        stage.says("a", "1", sources, true);
        stage.board.gates_listed(&BTreeSet::from(["a".to_owned()]));
        stage
    }

    fn says(&self, gate: &str, version: &str, sources: &[(&str, &[&str])], is_complete: bool) {
        let serves = sources.iter().map(|(source, held)| {
            (ObjectKey::new("hr", source), held.iter().map(|one| (*one).to_owned()).collect())
        });
        let record = GateRecord { gate: gate.to_owned(), serves: serves.collect(), is_complete };
        assert!(self.board.gate_seen(record, version));
    }

    fn passes(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
        self.board.pass();
    }

    /// Whether the gates serve the source, lack this token, and know it.
    fn of(&self, source: &str, fingerprint: &str) -> (bool, bool, bool) {
        let source = ObjectKey::new("hr", source);
        let gates = &self.gates;
        (gates.serves(&source), gates.lacks(&source, fingerprint), gates.know(&source, fingerprint))
    }

    fn changed_sources(&self) -> Vec<String> {
        let changed = std::mem::take(&mut self.board.known().changed_sources);
        changed.into_iter().map(|source| source.name.to_string()).collect()
    }
}

fn receiver(name: &str, source: &str) -> DynamicObject {
    let object = json!({
        "apiVersion": "hookkeeper.dev/v1alpha1",
        "kind": "WebhookReceiver",
        "metadata": { "namespace": "hr", "name": name, "uid": format!("uid-{name}"), "generation": 1 },
        "spec": { "verification": { "token": { "tokenSourceRef": { "name": source } } } },
        "status": { "gates": [{ "gate": "a" }] },
    });
    serde_json::from_value(object).unwrap()
}

fn subscription(name: &str, receiver: Option<&str>, header: &str) -> Change {
    let mut spec = json!({
        "providerRef": { "name": "gupy" },
        "action": "job.changed",
        "postbackUrl": "https://hooks.example.com/hr/gupy",
        "clientHeaders": [{ "name": header, "valueFrom": { "token": { "prefix": "Bearer " } } }],
        "tokenSourceRef": { "name": "shared" },
    });
    if let Some(receiver) = receiver {
        spec["receiverRef"] = json!({ "name": receiver });
    }
    let spec = serde_json::from_value::<WebhookSubscriptionSpec>(spec).unwrap();
    let identity = Identity::of_name(ObjectKey::new("hr", name));
    Change::Subscription(Box::new(Declared { identity, spec, status: Default::default() }))
}

const NOBODY: (bool, bool, bool) = (false, false, false);
const UNSURE: (bool, bool, bool) = (true, false, false);
const LACKING: (bool, bool, bool) = (true, true, false);
const KNOWN: (bool, bool, bool) = (true, false, true);

#[test]
fn a_source_is_served_where_a_receiver_uses_it_and_a_gate_says_so() {
    let stage = Stage::with_gate(&[("shared", &["1"]), ("unused", &["1"])]);
    assert_eq!(stage.of("shared", "1"), KNOWN);
    assert_eq!(stage.of("shared", "2"), LACKING);
    assert_eq!(stage.of("unused", "1"), NOBODY);
    stage.board.receiver_there(&receiver("other", "unserved"));
    assert_eq!(stage.of("unserved", "1"), NOBODY);
    stage.board.receiver_gone(&ObjectKey::new("hr", "gupy"));
    assert_eq!(stage.of("shared", "1"), NOBODY);
}

#[test]
fn all_that_are_there_have_to_have_it() {
    let stage = Stage::with_gate(&[("shared", &["1", "2"])]);
    stage.says("b", "1", &[("shared", &["1"])], true);
    assert_eq!(stage.of("shared", "2"), LACKING);
    assert_eq!(stage.gates.behind(&ObjectKey::new("hr", "shared"), "2"), ["b"]);
    assert_eq!(stage.of("shared", "1"), KNOWN);
    // One that serves others is not asked.
    stage.says("c", "1", &[], true);
    assert_eq!(stage.of("shared", "1"), KNOWN);
    stage.board.gate_lost("b");
    assert_eq!(stage.of("shared", "2"), KNOWN);
    // Nor is one that is silent.
    stage.says("b", "2", &[("shared", &[])], true);
    stage.passes(20);
    stage.says("a", "2", &[("shared", &["1", "2"])], true);
    assert_eq!(stage.of("shared", "2"), LACKING);
    stage.passes(10);
    assert_eq!(stage.of("shared", "2"), KNOWN);
}

#[test]
fn what_nobody_can_say_holds_nothing_up_and_ends_nothing_early() {
    let stage = Stage::new();
    stage.board.receiver_there(&receiver("gupy", "shared"));
    assert_eq!(stage.of("shared", "1"), UNSURE, "no gate has appeared yet");
    assert_eq!(stage.gates.seen(), None);
    stage.board.gates_listed(&BTreeSet::new());
    assert_eq!(stage.of("shared", "1"), UNSURE);
    stage.passes(30);
    assert_eq!(stage.of("shared", "1"), NOBODY, "and none will");
    assert_eq!(stage.gates.seen().unwrap().live, 0);
    stage.says("a", "1", &[("other", &["1"])], false);
    assert_eq!(stage.of("shared", "1"), UNSURE, "it may serve it");
    stage.says("b", "1", &[("shared", &["1"])], true);
    assert_eq!(stage.of("shared", "1"), UNSURE, "as may the other one");
    assert_eq!(stage.of("shared", "2"), LACKING);
}

#[test]
fn the_engine_hears_of_every_source_whose_gates_have_changed() {
    let stage = Stage::with_gate(&[("shared", &["1"]), ("unused", &["1"])]);
    stage.passes(0);
    assert_eq!(stage.changed_sources(), ["shared"]);
    stage.says("a", "2", &[("shared", &["1"]), ("unused", &["1"])], true);
    assert_eq!(stage.changed_sources(), [""; 0], "a renewal");
    stage.says("a", "3", &[("shared", &["1", "2"]), ("unused", &["1"])], true);
    assert_eq!(stage.changed_sources(), ["shared"]);
    stage.board.receiver_there(&receiver("gupy", "another"));
    assert_eq!(stage.changed_sources(), ["another", "shared"]);
    stage.board.receiver_there(&receiver("gupy", "shared"));
    stage.changed_sources();
    stage.passes(30);
    assert_eq!(stage.changed_sources(), ["shared"], "nobody is there any more");
    // Which sources it serves is not known.
    stage.says("b", "1", &[], false);
    assert_eq!(stage.changed_sources(), ["shared"]);
}

#[test]
fn a_token_that_platforms_are_asked_with_is_wanted_and_not_waited_for() {
    let stage = Stage::new();
    let asked = ObjectKey::new("hr", "asked");
    let mut asking = receiver("gupy", "shared");
    asking.data["spec"]["fallback"] = json!({ "request": { "tokenSourceRef": { "name": "asked" } } });
    stage.board.receiver_there(&asking);
    assert_eq!(stage.changed_sources(), ["asked", "shared"]);
    assert!(stage.gates.asks_with(&asked) && !stage.gates.asks_with(&asked.sibling("shared")));
    assert_eq!(stage.of("asked", "1"), NOBODY);
    stage.board.receiver_gone(&ObjectKey::new("hr", "gupy"));
    assert_eq!(stage.changed_sources(), ["asked", "shared"]);
    assert!(!stage.gates.asks_with(&asked));
}

#[test]
fn an_offer_ends_when_nobody_lacks_the_token_any_more() {
    let stage = Stage::with_gate(&[("shared", &["1"])]);
    let source = ObjectKey::new("hr", "shared");
    let offered = |fingerprint: &str| Offered {
        token: SecretText::from("a token"),
        fingerprint: fingerprint.into(),
        minted: stage.clock.now().wall,
        expires: None,
    };
    assert_eq!(stage.gates.offer(&source, &offered("1")).now_or_never(), Some(Ok(())));
    let token = offered("2");
    let mut offer = stage.gates.offer(&source, &token);
    assert_eq!((&mut offer).now_or_never(), None);
    stage.says("a", "2", &[("shared", &["1"])], true);
    assert_eq!((&mut offer).now_or_never(), None);
    stage.says("a", "3", &[("shared", &["2", "1"])], true);
    assert_eq!((&mut offer).now_or_never(), Some(Ok(())));
    // Whoever lacks it is gone.
    let token = offered("3");
    let mut offer = stage.gates.offer(&source, &token);
    assert_eq!((&mut offer).now_or_never(), None);
    stage.passes(30);
    assert_eq!((&mut offer).now_or_never(), Some(Ok(())));
}

#[test]
fn the_first_subscription_of_a_receiver_says_where_its_token_stands() {
    let stage = Stage::new();
    let gupy = ObjectKey::new("hr", "gupy");
    stage.board.receiver_there(&receiver("gupy", "shared"));
    let place = || stage.board.known().place_of(&gupy).map(|(header, _)| header.clone());
    let changed = || std::mem::take(&mut stage.board.known().changed).len();
    assert_eq!((place(), changed()), (None, 1));
    stage.board.engine_told(&subscription("second", Some("gupy"), "x-second"));
    assert_eq!((place().as_deref(), changed()), (Some("x-second"), 1));
    stage.board.engine_told(&subscription("first", Some("gupy"), "x-first"));
    stage.board.engine_told(&subscription("another", Some("other"), "x-other"));
    assert_eq!((place().as_deref(), changed()), (Some("x-first"), 2));
    stage.board.engine_told(&subscription("first", Some("gupy"), "x-first"));
    assert_eq!(changed(), 0, "nothing new");
    stage.board.engine_told(&subscription("first", None, "x-first"));
    assert_eq!((place().as_deref(), changed()), (Some("x-second"), 1));
    let gone = |name: &str| Change::Gone {
        kind: Kind::WebhookSubscription,
        key: ObjectKey::new("hr", name),
        prune: false,
    };
    stage.board.engine_told(&gone("second"));
    assert_eq!((place(), changed()), (None, 1));
    assert_eq!(stage.board.known().senders.keys().map(|key| &*key.name).collect::<Vec<_>>(), ["another"]);
}

#[test]
fn since_when_a_gate_is_known_outlasts_changes_and_not_the_object() {
    let stage = Stage::new();
    let gupy = ObjectKey::new("hr", "gupy");
    let noticed = || stage.board.known().receivers[&gupy].noticed.clone();
    stage.board.receiver_there(&receiver("gupy", "shared"));
    stage.passes(5);
    let mut changed = receiver("gupy", "shared");
    changed.data["status"]["tokens"] = json!([
        { "gate": "b", "fingerprint": "1", "event": "e", "lastSeen": "2026-11-27T12:00:00Z" },
    ]);
    stage.board.receiver_there(&changed);
    let seconds = |gate: &str| noticed().get(gate).map(Duration::as_secs);
    assert_eq!((seconds("a"), seconds("b")), (Some(0), Some(5)));
    let mut another = receiver("gupy", "shared");
    another.metadata.uid = Some("another".into());
    another.data["status"] = Value::Null;
    stage.board.receiver_there(&another);
    assert_eq!(noticed().len(), 0);
    assert_eq!(stage.board.known().receivers[&gupy].since, Duration::from_secs(5));
}
