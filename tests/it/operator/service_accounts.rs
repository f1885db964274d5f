//! Tokens of the cluster's own service accounts.

use std::fs;
use std::time::Duration;

use super::trial::Trial;

fn source(account: &str, audience: &str) -> String {
    format!(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {{name: integration}}
spec:
  serviceAccount: {{name: {account}, audiences: ['{audience}'], expirationSeconds: 600}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_accounts_token_is_brought_in_unless_the_api_server_would_take_it() {
    let trial = Trial::start_in(
        tokio::task::block_in_place(super::super::cluster::Cluster::shared),
        Duration::from_secs(60),
        1,
        // Its receiver knows only tokens of its own.
        |config| config.delivery_interval = None,
    )
    .await;
    let write = |account: &str, audience: &str| {
        fs::write(trial.manifests().join("20-token-source.yaml"), source(account, audience)).unwrap();
        trial.apply();
    };
    let message = || {
        let path = r#"jsonpath={.items[*].status.conditions[?(@.type=="RotationHealthy")]}"#;
        trial.kubectl(&["get", "whs", "-o", path])
    };
    // The namespace's owner grants it, and nobody else.
    let right = ["--verb=create", "--resource=serviceaccounts/token", "--resource-name=sender"];
    trial.kubectl(&[&["create", "role", "sender-token"], &right[..]].concat());
    let account = format!("--serviceaccount={}:hookkeeper", trial.namespace);
    trial.kubectl(&["create", "rolebinding", "sender-token", "--role=sender-token", &account]);
    write("sender", "https://kubernetes.default.svc");
    let controller = trial.controller("one");
    trial
        .until(&[&controller], "an account that is missing", |_| {
            message().contains("there is no service account sender")
                && message().contains("TokenSourceRefused")
        })
        .await;
    trial.kubectl(&["create", "serviceaccount", "sender"]);
    trial
        .until(&[&controller], "refused", |_| {
            message()
                .contains("the API server takes a token for https://kubernetes.default.svc as one for itself")
        })
        .await;
    assert_eq!(trial.sandbox.ledger().creates, 0, "nothing was sent");

    write("sender", "https://integrations.example.com");
    trial.until(&[&controller], "created", |trial| trial.sandbox.ledger().creates == 1).await;
    trial.kubectl(&["wait", "--for=condition=Ready", "webhooksubscriptions", "--all", "--timeout=60s"]);
    let status = trial.kubectl(&["get", "tsrc", "integration", "-o", "jsonpath={.status}"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let time = |name: &str| status[name].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!((time("tokenExpirationTime") - time("tokenMintedTime")).num_seconds(), 600);
    trial.assert_no_secrets();
}
