//! Tokens that are published for receivers.

use std::time::Duration;

use super::trial::Trial;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_published_in_a_secret_of_its_source_and_in_no_other() {
    let trial = Trial::start(Duration::from_secs(24), 1).await;
    trial.apply();
    trial.kubectl(&["create", "secret", "generic", "taken", "--from-literal=current=of-somebody-else"]);
    let source = |name: &str, secret: &str| {
        format!(
            "apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {{name: {name}}}
spec:
  oauth2:
    tokenUrl: {}/oauth/token
    clientId: {{value: hr-integration}}
    clientSecret: {{secretKeyRef: {{name: integration-client, key: secret}}}}
  publishTo: {{secretName: {secret}}}
---
",
            trial.sandbox.url()
        )
    };
    let of = |source, action| {
        Trial::subscription(source, action, &[])
            .replace("tokenSourceRef: {name: integration}", &format!("tokenSourceRef: {{name: {source}}}"))
    };
    trial.apply_text(
        &[
            source("published", "shared")
                .replace("spec:", "spec:\n  allowedHosts: [127.0.0.1, integrations.example.com]"),
            of("published", "job.published"),
            source("refused", "taken"),
            of("refused", "job.changed"),
        ]
        .concat(),
    );
    let controller = trial.controller("one");
    let controllers = &[&controller];

    trial.until_says(controllers, "whs/published", "Ready", "True Created: ").await;
    assert_eq!(trial.field("secret/shared", ".type"), "hookkeeper.dev/token");
    let owner = trial.field("secret/shared", ".metadata.ownerReferences[0]['kind','name','uid']");
    let uid = trial.field("tsrc/published", ".metadata.uid");
    assert_eq!(owner, format!("TokenSource published {uid}"));
    let hosts = || trial.field("secret/shared", r".metadata.annotations.hookkeeper\.dev/allowed-hosts");
    assert_eq!(hosts(), "127.0.0.1,integrations.example.com", "the copy is as confined as the token");
    let data = |key: &str| trial.field("secret/shared", &format!(".data.{key}"));
    let (first, fingerprint) = (data("current"), data("fingerprint"));
    assert!(!first.is_empty() && !data("expiresAt").is_empty() && !data("mintedTime").is_empty());
    trial
        .until(controllers, "the next token", |_| data("current") != first && data("previous") == first)
        .await;
    assert_eq!(data("previousFingerprint"), fingerprint);

    // An edit of the hosts reaches the copy at once, and without them nothing is left of it.
    let edit = |hosts: &str| {
        let patch = format!(r#"{{"spec": {{"allowedHosts": {hosts}}}}}"#);
        trial.kubectl(&["patch", "tsrc", "published", "--type=merge", "-p", &patch]);
    };
    edit(r#"["127.0.0.1", "integrations.example.com", "other.example.com"]"#);
    let three = "127.0.0.1,integrations.example.com,other.example.com";
    trial.until(controllers, "the copy's hosts", |_| hosts() == three).await;
    edit("null");
    trial.until(controllers, "a copy without hosts", |_| hosts().is_empty()).await;

    let said = trial.until_says(controllers, "tsrc/refused", "Ready", "False Conflict: ").await;
    assert!(said.contains("Secret taken exists") && said.contains("publishTo.secretName"), "{said}");
    trial.until_says(controllers, "whs/refused", "Ready", "False Conflict: ").await;
    let taken = trial.field("secret/taken", "['type','data']");
    assert_eq!(taken, r#"Opaque {"current":"b2Ytc29tZWJvZHktZWxzZQ=="}"#);
    // Another name, and it works.
    trial.apply_text(&source("refused", "free"));
    trial.until_says(controllers, "whs/refused", "Ready", "True Created: ").await;
    assert_eq!(trial.field("secret/free", ".type"), "hookkeeper.dev/token");
    trial.assert_well();
}
