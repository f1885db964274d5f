//! The sidecar with a real authorisation server, and a receiver that asks this server about the
//! token of each delivery.

mod receiver;
mod server;
mod trial;

use std::path::Path;

use futures::future::{join, join_all};
use hookkeeper::api::Reason;
use serde_json::{Value, json};

use server::Keycloak;
use trial::{Expected, Trial};

const TOKEN_LIFE: &str = "30";
/// Blanks, colons and letters beyond ASCII show whether both sides encode them alike.
const SECRET: &str = "first: +100 %ä&=";
const CHANGED_SECRET: &str = "second: +200 %ö&=";
/// As large as the roles of a user of a large organisation.
const LARGE_CLAIM: usize = 6000;

/// Each is a client of Keycloak, a token source, and two subscriptions. The first two are never
/// touched, of the third the secret is changed, and the fourth is disabled.
const SOURCES: [&str; 4] = ["basic", "post", "changed", "disabled"];
const UNTOUCHED: [&str; 2] = ["basic", "post"];
const PER_SOURCE: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn every_delivery_carries_a_living_token_and_a_failing_server_is_explained() {
    let mut keycloak = Keycloak::start().await;
    keycloak.create_realm(&clients()).await;
    let trial = Trial::start(&keycloak).await;
    let sidecar = trial.sidecar(&keycloak);
    for source in SOURCES {
        trial.until_well(source).await;
    }

    // A changed secret and a disabled client, beside the two that go on.
    keycloak.change_client("changed", json!({"secret": CHANGED_SECRET})).await;
    keycloak.change_client("disabled", json!({"enabled": false})).await;
    let refused = |said| Expected {
        reason: Reason::TokenSourceRefused,
        said: [said, "check the client's id, its secret and whether it is enabled"],
    };
    let (changed, disabled) = (refused("401 (unauthorized_client)"), refused("401 (invalid_client)"));
    join(
        trial.until_failing_and_expired("changed", &changed),
        trial.until_failing_and_expired("disabled", &disabled),
    )
    .await;
    trial.write_secret("changed", CHANGED_SECRET);
    keycloak.change_client("disabled", json!({"enabled": true})).await;
    trial.until_well("changed").await;
    trial.until_well("disabled").await;

    for source in UNTOUCHED {
        trial.until_rotated(source, 3).await;
        trial.until_each_mint_is_applied_once(source, &keycloak).await;
    }
    trial.assert_no_delivery_was_late();

    keycloak.stop();
    let unreachable = Expected {
        reason: Reason::TokenSourceUnavailable,
        said: ["the token source could not be reached", "it is tried again"],
    };
    join_all(SOURCES.map(|source| trial.until_failing_and_expired(source, &unreachable))).await;
    keycloak.go_on().await;
    for source in SOURCES {
        trial.until_well(source).await;
    }

    trial.assert_no_token_leaked(&sidecar);
    assert_eq!(sidecar.stop(), Some(0));
    let ledger = trial.sandbox.ledger();
    let expected = (SOURCES.len() * PER_SOURCE) as u64;
    assert_eq!((ledger.creates, ledger.webhooks, ledger.doubled), (expected, expected, 0), "{ledger:#?}");
}

fn clients() -> Vec<Value> {
    let large_claim = json!({
        "name": "large", "protocol": "openid-connect", "protocolMapper": "oidc-hardcoded-claim-mapper",
        "config": {
            "claim.name": "large", "claim.value": "x".repeat(LARGE_CLAIM), "jsonType.label": "String",
            "access.token.claim": "true",
        },
    });
    let mut clients: Vec<Value> = SOURCES
        .map(|id| {
            json!({
                "clientId": id, "secret": SECRET, "publicClient": false, "serviceAccountsEnabled": true,
                "standardFlowEnabled": false, "attributes": {"access.token.lifespan": TOKEN_LIFE},
                "protocolMappers": if id == "post" { json!([large_claim]) } else { json!([]) },
            })
        })
        .into();
    clients.push(json!({
        "clientId": receiver::CLIENT_ID, "secret": receiver::CLIENT_SECRET, "publicClient": false,
        "standardFlowEnabled": false,
    }));
    clients
}

/// Without the logs a failure of real processes says little.
#[allow(clippy::print_stderr)]
fn show_if_failing(log: &Path) {
    if std::thread::panicking() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        eprintln!("{}:\n{text}", log.display());
    }
}

fn action(source: &str, number: usize) -> String {
    format!("{source}.{number}")
}

fn comes_from(action: &str, source: &str) -> bool {
    action.split('.').next() == Some(source)
}

fn provider(url: &str) -> String {
    format!(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {{name: gupy}}
spec:
  preset: gupy
  baseUrl: {url}
  auth:
    bearer: {{secretKeyRef: {{name: gupy-api, key: token}}}}
"
    )
}

/// A token source and its subscriptions: with the token as it is, and as a bearer token.
fn manifests(source: &str, token_url: &str) -> String {
    let (authentication, overlap) = match source {
        "post" => ("Post", "{overlap: 0s}"),
        _ => ("Basic", "{}"),
    };
    let subscription = |number: usize, header: &str| {
        format!(
            "---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: {source}-{number}}}
spec:
  providerRef: {{name: gupy}}
  action: {action}
  postbackUrl: https://integrations.example.com/gupy
  clientHeaders:
    - {header}
  tokenSourceRef: {{name: {source}}}
  rotation: {overlap}
",
            action = action(source, number),
        )
    };
    format!(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {{name: {source}}}
spec:
  oauth2:
    tokenUrl: {token_url}
    clientId: {{value: {source}}}
    clientSecret: {{secretKeyRef: {{name: {source}, key: secret}}}}
    clientAuthentication: {authentication}
{}{}",
        subscription(0, "{name: token, valueFrom: {token: {}}}"),
        subscription(1, "{name: Authorization, valueFrom: {token: {prefix: \"Bearer \"}}}"),
    )
}
