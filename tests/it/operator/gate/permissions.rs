//! A gate under exactly the rights that it needs: each is used, none is asked for besides, and whatever is
//! missing is named. The API server's own audit log says what was asked for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::stage::{ACCOUNT, RIGHTS, Stage};
use super::{PUBLISHING, SIGNED, TO_SERVICES, publish, send_signed, send_token, until_took};
use crate::cluster::Cluster;
use crate::gate::stage::Gate;
use crate::process::Process;

/// Every request of a gate's account is noted when it is answered.
const AUDIT_POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ["system:serviceaccounts"]
  - level: None
"#;

/// Group, resource with its subresource, and verb.
type Right = (String, String, String);

/// What the manifest grants.
fn granted() -> BTreeSet<Right> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(RIGHTS).unwrap();
    let rules =
        documents.iter().flat_map(|document| document["rules"].as_array().cloned().unwrap_or_default());
    let mut rights = BTreeSet::new();
    for rule in rules {
        let words = |name: &str| {
            let all = rule[name].as_array().unwrap().clone();
            all.into_iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for (group, resource) in words("apiGroups")
            .iter()
            .flat_map(|group| words("resources").into_iter().map(move |one| (group, one)))
        {
            rights.extend(words("verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
        }
    }
    rights
}

/// What was asked for so far, and whether it was allowed.
fn asked(log: &Path) -> BTreeSet<(bool, Right)> {
    let text = fs::read_to_string(log).unwrap();
    // The last line may still be being written.
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let right = |event: Value| {
        let word = |name: &str| event["objectRef"][name].as_str().unwrap_or_default().to_owned();
        let resource = match word("subresource") {
            none if none.is_empty() => word("resource"),
            sub => format!("{}/{sub}", word("resource")),
        };
        let is_allowed = event["responseStatus"]["code"] != 403;
        // What is no object, such as the version of the server, needs no right.
        (!resource.is_empty())
            .then(|| (is_allowed, (word("apiGroup"), resource, event["verb"].as_str().unwrap().to_owned())))
    };
    events.filter_map(right).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_of_a_gate_is_needed_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    fs::write(&policy, AUDIT_POLICY).unwrap();
    let cluster = tokio::task::block_in_place(|| {
        let cluster = Cluster::start(&[
            &format!("--audit-policy-file={}", policy.display()),
            &format!("--audit-log-path={}", log.display()),
        ]);
        cluster.install_definitions();
        cluster
    });
    let stage = Stage::on(&cluster).await;
    stage.secret("hooks", &[("secret", "canary-first-key")]);
    stage.apply("services.yaml", TO_SERVICES);
    stage.apply("receiver.yaml", SIGNED);
    stage.apply("gupy.yaml", PUBLISHING);
    stage.apply("to-service.yaml", &to_service());
    publish(&stage, "canary-token-a", "fingerprint-a");
    let gate = stage.gate("gate-0");
    assert_eq!(send_signed(&stage, &gate, "canary-first-key"), 200);
    assert_eq!(send_token(&stage, &gate, "canary-token-a", &[]), 200);
    assert_eq!(gate.post(&format!("/{}/to-service", stage.namespace), &[], b"{}").status, 200);
    until_took(&stage, &gate, 2).await;
    publish(&stage, "canary-token-b", "fingerprint-b");
    gate.until("the new token", || stage.held("gate-0").contains("fingerprint-b")).await;
    assert_eq!(send_signed(&stage, &gate, "canary-wrong-key"), 401);
    stage.kubectl(&["delete", "whr", "signed"]);
    stage.kubectl(&["delete", "secret", "gupy-token"]);
    assert_eq!(send_token(&stage, &gate, "canary-nobodys", &[]), 401);
    // Whatever answers at the Service's address here.
    let is_tried = || gate.process.log().contains("an attempt to hand it on failed");
    gate.until("an attempt at the Service", is_tried).await;
    gate.stop();

    let asked = asked(&log);
    let refused: Vec<_> = asked.iter().filter(|(is_allowed, _)| !is_allowed).collect();
    assert!(refused.is_empty(), "rules are missing: {refused:?}");
    let mut used: BTreeSet<Right> = asked.into_iter().map(|(_, right)| right).collect();
    // Server-side apply is one request with the verb `patch`; that it creates is allowed by the verb `create`,
    // which the log does not show.
    let leases = |verb: &str| ("coordination.k8s.io".to_owned(), "leases".to_owned(), verb.to_owned());
    assert!(used.contains(&leases("patch")));
    used.insert(leases("create"));
    assert_eq!(used, granted());
}

fn to_service() -> String {
    "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: to-service}
spec:
  verification: {none: {}}
  forward: {service: {name: app, port: 8080}, timeout: 1s}
"
    .to_owned()
}

/// Each right that is left out is named: where people look first if nothing works without it, else where the
/// receiver's state is shown, or in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named() {
    let stage = Stage::new().await;
    stage.secret("hooks", &[("secret", "canary-first-key")]);
    stage.apply("services.yaml", TO_SERVICES);
    stage.apply("receiver.yaml", SIGNED);
    stage.apply("to-service.yaml", &to_service());
    let without = |rule: &str| {
        let text = RIGHTS.lines().filter(|line| !line.contains(rule)).collect::<Vec<_>>().join("\n");
        assert_ne!(text.lines().count(), RIGHTS.lines().count(), "{rule}");
        let name = format!("without-{}", rule.split('/').next_back().unwrap());
        stage.apply("without.yaml", &text.replace(ACCOUNT, &name));
        tokio::task::block_in_place(|| stage.cluster.kubeconfig_for_service_account(&stage.namespace, &name))
    };
    let ready = |process: &Process| process.get("/readyz").unwrap_or_default();

    // Nothing works without these: it is not ready, and says why.
    for (rule, says) in [
        ("leases", r#"cannot patch resource "leases" in API group "coordination.k8s.io""#),
        (
            "webhookreceivers, tokensources",
            r#"cannot list resource "webhookreceivers" in API group "hookkeeper.dev""#,
        ),
    ] {
        let account = without(rule.split(',').next().unwrap());
        let process = stage.program_as(&account, "gate-0").spawn();
        let begun = std::time::Instant::now();
        while !ready(&process).contains(says) {
            assert!(begun.elapsed() < crate::process::PATIENCE, "{}\n{}", ready(&process), process.log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(ready(&process).starts_with("HTTP/1.1 503"), "{}", ready(&process));
        assert_eq!(process.stop(), Some(0));
    }

    let account = without("secrets");
    let gate = Gate::of(stage.program_as(&account, "gate-1").spawn());
    assert_eq!(send_signed(&stage, &gate, "canary-first-key"), 503);
    let says = r#"cannot get resource "secrets""#;
    gate.until("that Secrets may not be read", || {
        stage.says("signed", "gate-1", "CredentialUnusable").contains(says)
    })
    .await;
    gate.stop();

    let account = without("services");
    let gate = Gate::of(stage.program_as(&account, "gate-2").spawn());
    assert_eq!(gate.post(&format!("/{}/to-service", stage.namespace), &[], b"{}").status, 200);
    let says = r#"cannot get resource "services""#;
    gate.until("that Services may not be read", || {
        stage.says("to-service", "gate-2", "HandingOn").contains(says)
    })
    .await;
    gate.stop();

    let account = without("webhookreceivers/status");
    let gate = Gate::of(stage.program_as(&account, "gate-3").spawn());
    let says = r#"cannot patch resource "webhookreceivers/status""#;
    gate.until("that statuses may not be written", || gate.process.log().contains(says)).await;
    assert_eq!(send_signed(&stage, &gate, "canary-first-key"), 200, "deliveries do not depend on it");
    gate.stop();
}

/// Nobody knows which receivers there are in a namespace that may not be listed: platforms are told to come again,
/// and not that there is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_a_namespace_that_may_not_be_listed_is_answered_503_until_it_may() {
    let stage = Stage::new().await;
    stage.secret("hooks", &[("secret", "canary-first-key")]);
    stage.apply("receiver.yaml", SIGNED);
    let other = format!("{}-other", stage.namespace);
    let gate = Gate::of(stage.program("gate-0").args(["--namespace", &other]).spawn());
    assert_eq!(send_signed(&stage, &gate, "canary-first-key"), 200);
    let status = |path: &str| gate.post(path, &[], b"{}").status;
    assert_eq!(status(&format!("/{}/unknown", stage.namespace)), 404);
    let answered = gate.post(&format!("/{other}/in"), &[], b"{}");
    assert_eq!((answered.status, answered.header("retry-after")), (503, Some("30")));
    let says = r#"cannot list resource "webhookreceivers""#;
    assert!(gate.process.get("/readyz").unwrap().contains(says), "{}", gate.process.log());

    stage.kubectl(&["create", "namespace", &other]);
    stage.kubectl(&["-n", &other, "apply", "-f", stage.path("manifests/rights.yaml").to_str().unwrap()]);
    let subject = format!("{}:{ACCOUNT}", stage.namespace);
    let binding = ["create", "rolebinding", "of-the-gate", "--role", ACCOUNT, "--serviceaccount", &subject];
    stage.kubectl(&[&["-n", other.as_str()][..], &binding].concat());
    gate.until("it is listed", || status(&format!("/{other}/in")) == 404).await;
    gate.until("the gate is ready", || gate.process.get("/readyz").unwrap().starts_with("HTTP/1.1 200"))
        .await;
    gate.stop();
}
