//! The way of a delivery from the platform to the application.

use super::stage::Stage;

const BASIC: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: unico}
spec:
  preset: idunico
  verification: {basic: {secretKeyRefs: [{name: unico, key: login}]}}
  forward: {url: APPLICATION/unico, retry: {interval: 100ms}}
";

/// `user:canary-password`.
const AUTHORIZATION: (&str, &str) = ("Authorization", "Basic dXNlcjpjYW5hcnktcGFzc3dvcmQ=");

async fn stage() -> Stage {
    let stage = Stage::with(BASIC).await;
    stage.secret("unico", "login", "user:canary-password\n");
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_proven_stored_answered_and_handed_on() {
    let stage = stage().await;
    let gate = stage.gate();
    let body = br#"{"id": "1", "status": 3}"#;
    let answer = gate.post("/default/unico", &[AUTHORIZATION, ("Content-Type", "application/json")], body);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    let took = stage.until_took(&gate, 1).await;
    let handed = &took[0];
    assert_eq!((handed.target.as_str(), &handed.body[..]), ("/unico", &body[..]));
    assert_eq!(handed.header("content-type"), Some("application/json"));
    assert_eq!(handed.header("hookkeeper-receiver"), Some("default/unico"));
    assert_eq!(handed.header("hookkeeper-attempt"), Some("1"));
    assert_eq!(handed.header("authorization"), None, "the platform's credential goes nowhere");
    assert_eq!(handed.delivery().len(), 36);
    gate.until("nothing is left", || gate.deliveries(&["list"]).stdout == "nothing waits\n").await;
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_application_refuses_is_tried_again_and_what_is_not_proven_never_arrives() {
    let stage = stage().await;
    let gate = stage.gate();
    stage.application.answers_next(500, &[]);
    stage.application.answers_next(404, &[]);
    for (headers, status) in [
        (&[][..], 401),
        (&[("Authorization", "Basic dXNlcjp3cm9uZy1wYXNzd29yZA==")][..], 401),
        (&[AUTHORIZATION, AUTHORIZATION][..], 401),
        (&[AUTHORIZATION][..], 200),
    ] {
        let answer = gate.post("/default/unico", headers, br#"{"id": "1", "status": 3}"#);
        assert_eq!(answer.status, status, "{headers:?}");
    }
    let took = stage.until_took(&gate, 1).await;
    let handed = stage.application.handed();
    assert_eq!(handed.iter().map(|handed| handed.answered).collect::<Vec<_>>(), [500, 404, 200]);
    assert!(handed.iter().all(|handed| handed.delivery() == took[0].delivery()));
    assert_eq!(took[0].header("hookkeeper-attempt"), Some("3"));
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_handed_on_after_the_process_was_killed() {
    let stage = stage().await;
    stage.application.answers(503);
    let gate = stage.gate();
    let answer = gate.post("/default/unico", &[AUTHORIZATION], br#"{"id": "1", "status": 3}"#);
    assert_eq!(answer.status, 200);
    gate.process.kill();
    stage.application.answers(200);
    let gate = stage.gate();
    let took = stage.until_took(&gate, 1).await;
    assert_eq!(&took[0].body[..], br#"{"id": "1", "status": 3}"#);
    gate.stop();
}

/// Two receivers that differ in how they pass on; what they want handed on is written in the body.
const ENCODED: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: stored}
spec:
  verification: {basic: {secretKeyRefs: [{name: unico, key: login}]}}
  handOn: {path: /status, values: [\"3\"]}
  forward: {url: APPLICATION/stored}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: direct}
spec:
  mode: Direct
  verification: {basic: {secretKeyRefs: [{name: unico, key: login}]}}
  handOn: {path: /status, values: [\"3\"]}
  forward: {url: APPLICATION/direct}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_delivery_says_how_to_read_it_whether_it_is_stored_or_not() {
    let stage = stage().await;
    stage.declare("encoded.yaml", ENCODED);
    let gate = stage.gate();
    let body = b"\x1f\x8b\x08\x00 what nobody here looks into";
    let lines = [AUTHORIZATION, ("Content-Encoding", "gzip"), ("Content-Encoding", "br")];
    for (number, path) in [(1, "/default/stored"), (2, "/default/direct")] {
        assert_eq!(gate.post(path, &lines, body).status, 200);
        // Where nothing says so, what cannot be read is none of those that are wanted.
        assert_eq!(gate.post(path, &[AUTHORIZATION], body).status, 200);
        let took = stage.until_took(&gate, number).await;
        let handed = &took[number - 1];
        assert_eq!((handed.header("content-encoding"), &handed.body[..]), (Some("gzip, br"), &body[..]));
        assert_eq!(handed.headers.get_all("content-encoding").iter().count(), 1);
    }
    assert_eq!(stage.application.took().len(), 2);
    gate.stop();
}
