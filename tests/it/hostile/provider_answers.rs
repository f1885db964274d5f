//! Answers of providers that are no success, to each operation. Every case is a provider of its own
//! at an origin of its own, for an origin that limits or fails is held back as a whole.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use hookkeeper::sandbox::TRIAL_MANAGEMENT_TOKEN;
use serde_json::Value;

use super::server::{Asked, Behaviour, CANARY, Server, answer, json};
use super::stage::{HEALTHY, Stage};

const OPERATIONS: [(&str, &str); 3] = [("list", "GET"), ("create", "POST"), ("update", "PUT")];
/// Names of the cases, and the head of the answer; those without one are made by hand.
const ANSWERS: [(&str, &str); 13] = [
    ("401", "401 Unauthorized"),
    ("403", "403 Forbidden"),
    ("404", "404 Not Found"),
    ("409", "409 Conflict"),
    ("422", "422 Unprocessable Content"),
    ("429", "429 Too Many Requests"),
    ("500", "500 Internal Server Error"),
    ("302", "302 Found\r\nLocation: http://127.0.0.1:9/"),
    ("page", "200 OK\r\nContent-Type: text/html"),
    ("closed", ""),
    ("silent", ""),
    ("wide", ""),
    ("endless", ""),
];

/// What a case must show; `None` where the answer does no harm.
fn expected(operation: &str, name: &str) -> Option<(&'static str, &'static str)> {
    const UNAVAILABLE: &str = "ProviderUnavailable";
    const DOCUMENT: &str = "ProviderRefusedDocument";
    let credential = "ProviderRefusedCredentials";
    let lasting = "check spec.baseUrl of the provider and its server";
    let compare = "compare spec.operations";
    Some(match (operation, name) {
        (_, "401") => (credential, "in the provider's Secret"),
        ("list", "403") => return None,
        (_, "403") => (credential, "has the right to this operation"),
        ("update", "404") => ("TokenExpired", "it is created again when a second listing confirms that"),
        ("list", "404" | "409" | "422") => (UNAVAILABLE, compare),
        ("create", "409") => (DOCUMENT, "give its id as spec.webhookId, or delete it there"),
        (_, "404" | "409" | "422") => {
            (DOCUMENT, "compare the subscription with the provider's documentation")
        }
        (_, "429") => ("RateLimited", "lower spec.limits if it happens often"),
        ("create", "500" | "closed" | "silent") => (UNAVAILABLE, "looked up before another one is sent"),
        (_, "500" | "closed" | "silent") => (UNAVAILABLE, lasting),
        (_, "302") => (UNAVAILABLE, "correct spec.baseUrl of the provider"),
        ("update", "page" | "wide" | "endless") => return None,
        (_, "page" | "wide" | "endless") => (UNAVAILABLE, compare),
        other => panic!("{other:?}"),
    })
}

/// What a provider that works would answer.
fn well(method: &str) -> Behaviour {
    match method {
        "GET" => json(r#"{"results":[],"totalPages":1}"#),
        "POST" => answer("201 Created", r#"{"id":"made"}"#),
        _ => Behaviour::Bytes(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".into()),
    }
}

fn badly(name: &str, head: &str, asked: &Asked) -> Behaviour {
    match name {
        "closed" => Behaviour::Bytes(Vec::new()),
        "silent" => Behaviour::Silent(Vec::new()),
        "wide" => json(format!("[{}0]", r#"{"a":0},"#.repeat(125_000))),
        "endless" => Behaviour::Endless(b"HTTP/1.1 200 OK\r\n\r\n".into(), CANARY.repeat(99).into()),
        // Some repeat what they were sent, credential and token included.
        _ => answer(head, format!("<html>{CANARY}{}</html>", asked.whole)),
    }
}

fn manifests(name: &str, url: &str) -> String {
    format!(
        "---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {{name: {name}}}
spec:
  preset: gupy
  baseUrl: {url}
  auth: {{bearer: {{secretKeyRef: {{name: gupy-api, key: token}}}}}}
  limits: {{requestsPerMinute: 500, maxConcurrent: 8, timeout: 2s}}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: {name}}}
spec:
  providerRef: {{name: {name}}}
  action: application.completed
  postbackUrl: https://integrations.example.com/{name}
  clientHeaders: [{{name: token, valueFrom: {{token: {{}}}}}}]
  tokenSourceRef: {{name: integration}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_success_is_explained_and_delays_nobody_else() {
    let tokens = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&tokens);
    let server = Server::start(move |asked| {
        let body = asked.whole.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let document: Value = serde_json::from_str(body).unwrap_or_default();
        seen.lock().unwrap().extend(document["clientHeaders"]["token"].as_str().map(str::to_owned));
        let IpAddr::V4(at) = asked.at else { panic!() };
        let [_, _, operation, case] = at.octets().map(usize::from);
        let (name, head) = ANSWERS[case];
        match OPERATIONS[operation].1 == asked.method {
            true => badly(name, head, asked),
            false => well(&asked.method),
        }
    })
    .await;
    let mut cases = Vec::new();
    let stage = Stage::start().await;
    let mut text = String::new();
    for (number, (operation, _)) in OPERATIONS.iter().enumerate() {
        for (case, (answer, _)) in ANSWERS.iter().enumerate() {
            let name = format!("{operation}-{answer}");
            text.push_str(&manifests(&name, &format!("http://127.0.{number}.{case}:{}", server.port())));
            cases.push((name, expected(operation, answer)));
        }
    }
    stage.write("40-hostile.yaml", text);
    let mut sidecar = stage.sidecar(&["http://127.0.0.0/8"], |_| {});

    let explained = cases.iter().filter_map(|(name, expected)| Some((name.as_str(), expected.as_ref()?.0)));
    stage.until_explained(explained).await;
    let before = stage.ledger();
    stage.until_rotated(before.rotations / HEALTHY + 2).await;
    let mut wrong = Vec::new();
    for (name, expected) in &cases {
        let said = match expected {
            Some(_) => stage.trouble(name),
            None => stage.condition("WebhookSubscription", name, "Ready"),
        };
        let right = expected.map_or(said.status == "True", |(reason, advice)| {
            said.reason == reason && said.message.contains(advice)
        });
        if !right {
            wrong.push((name, said));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    stage.assert_unseen(CANARY);
    stage.assert_unseen(TRIAL_MANAGEMENT_TOKEN);
    let tokens = std::mem::take(&mut *tokens.lock().unwrap());
    assert!(!tokens.is_empty());
    for token in tokens {
        stage.assert_unseen(&token);
    }
    stage.assert_healthy_undisturbed();
    assert_eq!(stage.ledger().creates, HEALTHY);
    sidecar.assert_runs();
    let peak = sidecar.peak_memory();
    assert!(peak < 128, "{peak} MiB");
}
