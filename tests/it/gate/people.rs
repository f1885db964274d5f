//! What people do: see what waits, replay and drop, suspend, take manifests away, change Secrets.

use std::fs;

use super::stage::{Gate, Stage};
use super::wire;
use crate::process::Ended;

const RECEIVER: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: unico}
spec:
  preset: idunico
  verification: {basic: {secretKeyRefs: [{name: unico, key: login}]}}
  forward: {url: APPLICATION/unico, retry: {maxAttempts: 1, interval: 1s, maxInterval: 1s}}
";

const OTHER: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: other, namespace: shop}
spec:
  verification: {basic: {secretKeyRefs: [{name: unico, key: login}]}}
  forward: {url: APPLICATION/other, retry: {maxAttempts: 1, interval: 1s, maxInterval: 1s}}
";

/// `user:canary-password`, and `user:canary-another`.
const OLD: (&str, &str) = ("Authorization", "Basic dXNlcjpjYW5hcnktcGFzc3dvcmQ=");
const NEW: (&str, &str) = ("Authorization", "Basic dXNlcjpjYW5hcnktYW5vdGhlcg==");

async fn stage() -> Stage {
    let stage = Stage::with(RECEIVER).await;
    stage.declare("other.yaml", OTHER);
    stage.secret("unico", "login", "user:canary-password");
    stage
}

fn status(gate: &Gate, path: &str, header: (&str, &str), body: &str) -> u16 {
    gate.post(path, &[header], body.as_bytes()).status
}

/// A command that has to succeed; what it printed.
fn asked(gate: &Gate, arguments: &[&str]) -> String {
    let Ended { code, stdout, stderr } = gate.deliveries(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    stdout
}

/// A command that has to fail with these words.
fn denied(gate: &Gate, arguments: &[&str], words: &str) {
    let Ended { code, stdout, stderr } = gate.deliveries(arguments);
    assert_eq!(code, Some(1), "{arguments:?}: {stdout}{stderr}");
    assert!(stderr.contains(words), "{arguments:?} does not say {words:?}: {stderr}");
}

/// The ids that a list shows.
fn ids(list: &str) -> Vec<String> {
    list.lines().skip(1).map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_application_never_wanted_is_parked_and_people_decide() {
    let stage = stage().await;
    stage.application.answers(422);
    let gate = stage.gate();
    assert_eq!(asked(&gate, &["list"]), "nothing waits\n");
    for number in 0..3 {
        assert_eq!(status(&gate, "/default/unico", OLD, &format!(r#"{{"id":"{number}","status":3}}"#)), 200);
    }
    assert_eq!(status(&gate, "/shop/other", OLD, "other"), 200);
    gate.until("all are parked", || ids(&asked(&gate, &["list", "--state", "parked"])).len() == 4).await;
    assert_eq!(asked(&gate, &["list", "--state", "pending"]), "nothing waits\n");
    let list = asked(&gate, &["list", "--receiver", "unico"]);
    assert!(list.starts_with("DELIVERY") && list.contains("default/unico") && list.contains("422"), "{list}");
    let ids = ids(&list);
    assert_eq!(ids.len(), 3);
    let json = asked(&gate, &["list", "--receiver", "shop/other", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["state"], &json["receiver"], &json["attempts"]),
        (&"parked".into(), &"other".into(), &1.into())
    );
    assert!(json.get("body").is_none());

    let shown = asked(&gate, &["show", &ids[0]]);
    assert!(shown.contains("parked: replay or drop it") && shown.contains("21 bytes"), "{shown}");
    assert!(!shown.contains("\"status\""), "a body that nobody asked for: {shown}");
    assert_eq!(asked(&gate, &["show", &ids[0], "--body"]), r#"{"id":"0","status":3}"#);
    let nobody = "0192f0c1-0000-7000-8000-000000000000";
    denied(&gate, &["show", nobody], "there is no such delivery");
    denied(&gate, &["show", nobody, "--body"], "there is no such delivery");
    denied(&gate, &["replay", nobody], "there is no such delivery");
    denied(&gate, &["drop", nobody], "there is no such delivery");
    let Ended { code, stderr, .. } = gate.deliveries(&["show", "nonsense"]);
    assert!(code == Some(2) && stderr.contains("hookkeeper deliveries list"), "{stderr}");

    // Dropped is gone; replayed is the same delivery again.
    assert_eq!(asked(&gate, &["drop", &ids[0]]), "1 dropped\n");
    denied(&gate, &["show", &ids[0]], "there is no such delivery");
    stage.application.answers(200);
    assert_eq!(asked(&gate, &["replay", &ids[1]]), "1 replayed\n");
    let took = stage.until_took(&gate, 1).await;
    assert_eq!(took[0].delivery(), ids[1]);
    gate.until("it is gone", || gate.deliveries(&["show", &ids[1]]).code == Some(1)).await;
    // One that cannot be replayed does not keep the others from it.
    denied(&gate, &["replay", &ids[1], &ids[2]], "there is no such delivery");
    stage.until_took(&gate, 2).await;
    assert_eq!(asked(&gate, &["replay", "--all", "--receiver", "unico"]), "0 replayed\n");
    assert_eq!(asked(&gate, &["drop", "--all"]), "1 dropped\n");
    assert_eq!(asked(&gate, &["list"]), "nothing waits\n");
    gate.stop();
}

/// A page in a browser, or a name that was made to lead to this machine, reaches the port as well.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_the_business_of_nobody_but_a_person_on_the_same_host() {
    let stage = stage().await;
    stage.application.answers(422);
    let gate = stage.gate();
    assert_eq!(status(&gate, "/shop/other", OLD, "canary-body"), 200);
    gate.until("it is parked", || ids(&asked(&gate, &["list", "--state", "parked"])).len() == 1).await;
    let id = ids(&asked(&gate, &["list"])).remove(0);
    let admin = gate.process.admin().unwrap();
    for (method, path) in [
        ("GET", "/deliveries".to_owned()),
        ("GET", format!("/deliveries/{id}")),
        ("GET", format!("/deliveries/{id}/body")),
        ("POST", format!("/deliveries/{id}/replay")),
        ("DELETE", format!("/deliveries/{id}")),
    ] {
        let answer =
            wire::raw(admin, &wire::request(method, &path, &[("Connection", "close")], b"")).unwrap();
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.body);
        assert!(!answer.body.contains("canary") && !answer.body.contains(&id), "{}", answer.body);
    }
    assert_eq!(ids(&asked(&gate, &["list", "--state", "parked"])), [id]);
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_waits_is_neither_replayed_nor_dropped_by_hand() {
    let stage = stage().await;
    stage.declare("receivers.yaml", &RECEIVER.replace("spec:", "spec:\n  suspend: true"));
    let gate = stage.gate();
    assert_eq!(status(&gate, "/default/unico", OLD, r#"{"id":"1","status":3}"#), 200);
    let list = asked(&gate, &["list"]);
    let id = &ids(&list)[0];
    assert!(list.contains("pending"), "{list}");
    for command in ["replay", "drop"] {
        denied(&gate, &[command, id], "the delivery is not parked");
    }
    assert_eq!(status(&gate, "/shop/other", OLD, "other"), 200);
    let took = stage.until_took(&gate, 1).await;
    assert_eq!(took[0].target, "/other", "what is suspended is kept, and holds nobody else up");
    // Until it is not suspended any more.
    stage.declare("receivers.yaml", RECEIVER);
    assert_eq!(stage.until_took(&gate, 2).await[1].delivery(), *id);
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_a_manifest_that_disappears_wait_until_it_is_back() {
    let stage = stage().await;
    let mut gate = stage.gate();
    assert_eq!(status(&gate, "/default/unico", OLD, r#"{"id":"1","status":3}"#), 200);
    stage.until_took(&gate, 1).await;
    fs::remove_file(stage.path("manifests").join("receivers.yaml")).unwrap();
    gate.process.until_says("its manifest is gone");
    assert_eq!(status(&gate, "/default/unico", OLD, r#"{"id":"2","status":3}"#), 200);
    assert_eq!(
        status(&gate, "/default/unico", NEW, r#"{"id":"2","status":3}"#),
        401,
        "as strictly as before"
    );
    assert_eq!(status(&gate, "/shop/other", OLD, "other"), 200);
    assert_eq!(stage.until_took(&gate, 2).await[1].target, "/other");
    assert!(asked(&gate, &["list"]).contains("default/unico"));
    stage.declare("receivers.yaml", RECEIVER);
    let took = stage.until_took(&gate, 3).await;
    assert_eq!(&took[2].body[..], br#"{"id":"2","status":3}"#);
    // A manifest that says nonsense leaves the last good one at work.
    stage.declare("receivers.yaml", &RECEIVER.replace("preset: idunico", "preset: nonsense"));
    gate.process.until_says("nonsense");
    assert_eq!(status(&gate, "/default/unico", OLD, r#"{"id":"3","status":3}"#), 200);
    stage.until_took(&gate, 4).await;
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_state_file_a_gate_parks_what_waits_and_hands_it_over_only_when_a_person_says_so() {
    let stage = stage().await;
    stage.declare("receivers.yaml", &RECEIVER.replace("spec:", "spec:\n  suspend: true"));
    let gate = stage.gate();
    for number in 0..3 {
        assert_eq!(status(&gate, "/default/unico", OLD, &format!(r#"{{"id":"{number}","status":3}}"#)), 200);
    }
    let sent = ids(&asked(&gate, &["list"]));
    gate.stop();
    fs::remove_file(stage.path("data").join("state.json")).unwrap();
    fs::remove_file(stage.path("manifests").join("receivers.yaml")).unwrap();

    let gate = stage.gate();
    let parked = |gate: &Gate| ids(&asked(gate, &["list", "--state", "parked"]));
    gate.until("all are parked", || parked(&gate) == sent).await;
    let list = asked(&gate, &["list"]);
    assert!(list.contains("default/unico") && list.contains("the receiver unico is gone"), "{list}");
    let ownerless = || gate.metric("hookkeeper_gate_ownerless");
    gate.until("they are shown", || ownerless() == 3.0).await;
    // Nobody has its name: then one who takes it.
    denied(&gate, &["replay", &sent[0]], "declare one of this namespace and name");
    denied(&gate, &["replay", &sent[0], "--adopt"], "declare one of this namespace and name");
    stage.declare("receivers.yaml", RECEIVER);
    let denial = "the default/unico of today is another one";
    gate.until("it is back", || gate.deliveries(&["replay", &sent[0]]).stderr.contains(denial)).await;
    denied(&gate, &["replay", "--all"], "--adopt");
    assert_eq!(status(&gate, "/default/unico", OLD, r#"{"id":"new","status":3}"#), 200);
    let took = stage.until_took(&gate, 1).await;
    assert_eq!(&took[0].body[..], br#"{"id":"new","status":3}"#, "its own goes on");
    assert_eq!(parked(&gate), sent);

    assert_eq!(asked(&gate, &["replay", &sent[0], "--adopt"]), "1 replayed\n");
    let took = stage.until_took(&gate, 2).await;
    assert_eq!((took[1].delivery(), &took[1].body[..]), (sent[0].clone(), &br#"{"id":"0","status":3}"#[..]));
    denied(&gate, &["replay", &sent[0], "--adopt"], "there is no such delivery");
    let rest = ["replay", "--all", "--receiver", "unico", "--adopt"];
    assert_eq!(asked(&gate, &rest), "2 replayed\n");
    gate.until("nothing is left", || asked(&gate, &["list"]) == "nothing waits\n").await;
    let mut took: Vec<String> =
        stage.application.took()[1..].iter().map(|handed| handed.delivery()).collect();
    took.sort();
    assert_eq!(took, sent, "each once, under the id that it has always had");
    gate.until("none is left without a receiver", || ownerless() == 0.0).await;
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_handed_over_needs_room_at_the_receiver_that_gets_it() {
    let stage = stage().await;
    stage.declare("receivers.yaml", &RECEIVER.replace("spec:", "spec:\n  suspend: true"));
    let gate = stage.gate();
    assert_eq!(status(&gate, "/default/unico", OLD, r#"{"id":"1","status":3}"#), 200);
    let sent = ids(&asked(&gate, &["list"]));
    gate.stop();
    fs::remove_file(stage.path("data").join("state.json")).unwrap();
    let tight = "spec:\n  suspend: true\n  maxPending: {deliveries: 1, bytes: 1048576}";
    stage.declare("receivers.yaml", &RECEIVER.replace("spec:", tight));
    let gate = stage.gate();
    gate.until("it is parked", || asked(&gate, &["list"]).contains("is gone")).await;
    assert_eq!(status(&gate, "/default/unico", OLD, r#"{"id":"2","status":3}"#), 200);
    denied(&gate, &["replay", &sent[0], "--adopt"], "raise maxPending");
    assert!(asked(&gate, &["show", &sent[0]]).contains("parked"));
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_counts_at_its_first_delivery_and_a_removed_one_no_longer() {
    let stage = stage().await;
    stage.declare(
        "receivers.yaml",
        &RECEIVER
            .replace("[{name: unico, key: login}]", "[{name: unico, key: login}, {name: unico, key: next}]"),
    );
    let gate = stage.gate();
    let send = |header| status(&gate, "/default/unico", header, r#"{"id":"1","status":3}"#);
    assert_eq!((send(OLD), send(NEW)), (200, 401));
    // Added: nobody has to wait until the folder is looked at again.
    stage.secret("unico", "next", "user:canary-another\n");
    assert_eq!((send(NEW), send(OLD)), (200, 200));
    // Removed: the others go on.
    fs::remove_file(stage.path("secrets").join("unico/login")).unwrap();
    gate.until("the old one is refused", || send(OLD) == 401).await;
    assert_eq!(send(NEW), 200);
    // Changed in place.
    stage.secret("unico", "next", "user:canary-password");
    assert_eq!(send(OLD), 200);
    gate.until("the one before is refused", || send(NEW) == 401).await;
    // None that could be used is a fault of ours, and never a way in.
    for unusable in ["", "\n", "short", "no-colon-in-it"] {
        stage.secret("unico", "next", unusable);
        gate.until("nobody is let in", || send(OLD) == 503).await;
        let empty = ("Authorization", "Basic Og==");
        assert_eq!((send(NEW), send(empty)), (503, 503), "{unusable:?}");
    }
    stage.secret("unico", "next", "user:canary-another");
    assert_eq!(send(NEW), 200);
    gate.stop();
}
