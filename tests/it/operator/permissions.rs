//! The controller under exactly the permissions that `deploy/base/rbac.yaml` grants: every rule is
//! needed, and nothing more is. The API server's own audit log says what was asked for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use hookkeeper::sandbox::{Fault, Target};
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::in_repository;
use super::super::process::Process;
use super::super::trial::publish;
use super::gates::receiver;
use super::rights;
use super::trial::Trial;

const USER: &str = "system:serviceaccount:hookkeeper-system:hookkeeper";

/// Every request of the controller's account is noted when it is answered.
const AUDIT_POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: ["system:serviceaccount:hookkeeper-system:hookkeeper"]
  - level: None
"#;

/// Group, resource with its subresource, and verb.
type Right = (String, String, String);

#[tokio::test(flavor = "multi_thread")]
async fn every_permission_is_needed_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    fs::write(&policy, AUDIT_POLICY).unwrap();
    let (cluster, account) = tokio::task::block_in_place(|| {
        let cluster = Cluster::start(&[
            &format!("--audit-policy-file={}", policy.display()),
            &format!("--audit-log-path={}", log.display()),
        ]);
        cluster.install_definitions();
        let account = rights::in_the_whole_cluster(&cluster);
        (cluster, account)
    });
    let trial = Trial::start_in(&cluster, Duration::from_secs(12), 2, |_| ()).await;

    // One with a finalizer, so that there is something to patch, and a token that is published.
    let subscriptions = trial.manifests().join("30-subscriptions.yaml");
    let text = fs::read_to_string(&subscriptions).unwrap();
    fs::write(&subscriptions, text.replacen("\nspec:\n", "\nspec:\n  deletionPolicy: Delete\n", 1)).unwrap();
    publish(&trial.manifests());
    trial.apply();
    // A receiver without a gate, and with what a gate that is gone has left.
    trial.apply_text(&receiver("unserved", &[]));
    trial.share("unserved", "gone", "{}");
    let controller = controller(&trial, &account, &[]);
    let condition = |source: &str, holds: &str| {
        let path = format!("jsonpath={{.items[*].status.conditions[?(@.type==\"{source}\")].reason}}");
        trial.kubectl(&["get", "whs,tsrc", "-o", &path]).contains(holds)
    };

    // Nobody has granted the right to publish yet: that is said, with what to grant.
    trial
        .until(&[&controller], "a refusal to publish", |_| {
            controller.log().contains("grant get, create and patch on Secrets in this namespace")
        })
        .await;
    trial.kubectl(&["apply", "-f", in_repository("deploy/examples/published-token.yaml").to_str().unwrap()]);
    // The role binding is what was needed of it.
    trial.kubectl(&["delete", "tokensource", "published"]);
    let refused = forbidden(&log);
    assert!(
        !refused.is_empty() && refused.iter().all(|(_, resource, _)| resource == "secrets"),
        "{refused:?}"
    );
    trial.until(&[&controller], "a rotation of each", |trial| trial.sandbox.ledger().rotations >= 2).await;
    let allowed_after = fs::read_to_string(&log).unwrap().lines().count();

    // The same thing told twice of one object is a second note on the first event.
    for _ in 0..2 {
        trial.sandbox.faults().add(Fault::status(Target::Token, 503).times(2)).unwrap();
        trial
            .until(&[&controller], "a mint that fails", |trial| {
                condition("RotationHealthy", "TokenSourceUnavailable") && trial.sandbox.ledger().mints > 0
            })
            .await;
        trial
            .until(&[&controller], "recovery", |_| !condition("RotationHealthy", "TokenSourceUnavailable"))
            .await;
    }
    trial.until_says(&[&controller], "whr/unserved", "Ready", "False NoGate: ").await;
    let shares = |trial: &Trial<'_>| trial.field("whr/unserved", ".status.gates");
    trial.until(&[&controller], "a share is removed", |trial| shares(trial).is_empty()).await;
    trial.kubectl(&["delete", "whs", "--all", "--timeout=60s"]);
    assert_eq!(trial.sandbox.webhooks().len(), 1, "the other one is orphaned");
    assert_eq!(controller.stop(), Some(0));
    let granted = rules("deploy/base/rbac.yaml");
    let (used, refused) = (used(&log), forbidden_after(&log, allowed_after));
    assert_eq!(refused, BTreeSet::new(), "rules are missing");
    let unused: BTreeSet<_> = granted.difference(&used).collect();
    assert_eq!(unused, BTreeSet::new(), "rules are not used");
    let beyond: BTreeSet<_> = used.difference(&granted).collect();
    assert_eq!(beyond, BTreeSet::new(), "asked for and granted elsewhere");

    // The same with rights in one namespace only.
    trial.kubectl(&["delete", "clusterrolebinding", "hookkeeper.hookkeeper-system"]);
    trial.kubectl(&["delete", "rolebinding", "hookkeeper-publishing"]);
    tokio::task::block_in_place(|| rights::grant(&cluster, "hookkeeper-system", &trial.namespace));
    let before = (trial.sandbox.ledger().rotations, fs::read_to_string(&log).unwrap().lines().count());
    trial.apply();
    let controller = self::controller(&trial, &account, &["--namespace", &trial.namespace]);
    trial
        .until(&[&controller], "rotations in one namespace", |trial| {
            trial.sandbox.ledger().rotations >= before.0 + 2
        })
        .await;
    assert_eq!(controller.stop(), Some(0));
    assert_eq!(forbidden_after(&log, before.1), BTreeSet::new());
    trial.assert_no_secrets();
}

/// As when a namespace that is looked after is deleted, and its Role with it: the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_without_rights_holds_up_no_other() {
    let trial = Trial::start(Duration::from_secs(60), 1).await;
    let other = tokio::task::block_in_place(|| trial.cluster.namespace("operator"));
    trial.apply();
    let in_other = |arguments: &[&str]| {
        let arguments = [&["-n", &other], arguments].concat();
        tokio::task::block_in_place(|| trial.cluster.succeed(&arguments))
    };
    let controller = trial.program("one").args(["--namespace", &other]).spawn();
    trial.until_says(&[&controller], "whs/application-completed", "Ready", "True ").await;
    let ready = controller.get("/readyz").unwrap();
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains(&format!("\"{other}\"")), "{ready}");

    // The same webhook, which the first namespace's owns, so that it must be seen to say so.
    in_other(&["apply", "-f", trial.manifests().to_str().unwrap()]);
    tokio::task::block_in_place(|| rights::grant(trial.cluster, &trial.namespace, &other));
    let conflict = r#"--for=jsonpath={.status.conditions[?(@.type=="Ready")].reason}=Conflict"#;
    in_other(&["wait", conflict, "whs/application-completed", "--timeout=150s"]);
    let is_ready = |_: &Trial<'_>| controller.get("/readyz").is_some_and(|said| said.contains(" 200 "));
    trial.until(&[&controller], "ready", is_ready).await;
    assert_eq!(controller.stop(), Some(0));
    trial.assert_well();
}

fn controller(trial: &Trial<'_>, account: &Path, arguments: &[&str]) -> Process {
    trial.program_as(account, "hookkeeper-0", "5s").args(arguments).spawn()
}

/// What the file grants: one line for each group, resource and verb.
fn rules(file: &str) -> BTreeSet<Right> {
    let text = fs::read_to_string(in_repository(file)).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut rights = BTreeSet::new();
    let empty = json!([]);
    for rule in
        documents.iter().flat_map(|document| document["rules"].as_array().cloned().unwrap_or_default())
    {
        let words = |name: &str| {
            let list = rule.get(name).unwrap_or(&empty).as_array().unwrap().clone();
            list.into_iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for group in words("apiGroups") {
            for resource in words("resources") {
                for verb in words("verbs") {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

fn audited(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    // The last line may still be being written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn right(event: &Value) -> Option<Right> {
    assert_eq!(event["user"]["username"], USER);
    let object = event["objectRef"].as_object()?;
    let word = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let resource = match word("subresource") {
        none if none.is_empty() => word("resource"),
        sub => format!("{}/{sub}", word("resource")),
    };
    Some((word("apiGroup"), resource, event["verb"].as_str()?.to_owned()))
}

fn is_forbidden(event: &Value) -> bool {
    event["responseStatus"]["code"] == 403
}

fn used(log: &Path) -> BTreeSet<Right> {
    let mut used: BTreeSet<Right> =
        audited(log).iter().filter(|event| !is_forbidden(event)).filter_map(right).collect();
    // Server-side apply is one request with the verb `patch`; that it creates is allowed by the verb
    // `create`, which the log does not show.
    if used.contains(&(String::new(), "secrets".to_owned(), "patch".to_owned())) {
        used.insert((String::new(), "secrets".to_owned(), "create".to_owned()));
    }
    used
}

fn forbidden(log: &Path) -> BTreeSet<Right> {
    forbidden_after(log, 0)
}

fn forbidden_after(log: &Path, lines: usize) -> BTreeSet<Right> {
    audited(log).iter().skip(lines).filter(|event| is_forbidden(event)).filter_map(right).collect()
}
