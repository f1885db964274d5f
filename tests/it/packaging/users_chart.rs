//! A chart of a user's: what `helm install --wait` waits for. The controller runs with the account and the
//! arguments that its own chart gives it.

use std::time::Duration;

use hookkeeper::sandbox::{Fault, Target};
use serde_json::{Value, json};

use super::super::operator::trial::Trial;
use super::super::process::Process;
use super::super::{hookkeeper, in_repository};
use super::helm::{Helm, HelmCommand, RELEASE, arguments, chart};

fn values(trial: &Trial<'_>) -> Value {
    let url = trial.sandbox.url();
    json!({"baseUrl": url, "tokenUrl": format!("{url}/oauth/token")})
}

/// `helm install` of the user's chart; it gives up after a time that only a test that fails waits for.
fn install(helm: Helm, trial: &Trial<'_>, name: &str, values: &Value) -> HelmCommand {
    let users = in_repository("deploy/examples/chart-with-subscriptions");
    let install = ["install", name, users.to_str().unwrap(), "--namespace", &trial.namespace];
    let wait = ["--wait", "--timeout", "150s"];
    helm.command(&[&install[..], &wait].concat()).on(trial.cluster).values(values)
}

/// Installs hookkeeper for the trial's namespace, and starts what its pod would run.
fn controller(trial: &Trial<'_>) -> Process {
    let system = trial.cluster.namespace("system");
    let values = json!({
        "scope": {"namespaces": [trial.namespace]}, "leaseDuration": "5s",
        "egress": {"allow": [trial.sandbox.url()]}, "log": {"format": "human", "level": "trace"},
        "listenAddress": "127.0.0.1", "crds": {"enabled": false}, "rbac": {"aggregateRoles": false},
    });
    let install = ["install", RELEASE, &chart(), "--namespace", &system];
    Helm::Four.command(&install).on(trial.cluster).values(&values).succeed();
    let deployment = trial.cluster.succeed(&["get", "deployment", RELEASE, "-n", &system, "-o", "json"]);
    let account = trial.cluster.kubeconfig_for_service_account(&system, RELEASE);
    let port = |word: String| word.replace("127.0.0.1:8080", "127.0.0.1:0");
    hookkeeper()
        .args(arguments(&serde_json::from_str(&deployment).unwrap()).into_iter().map(port))
        .env("KUBECONFIG", account.to_str().unwrap())
        .env("HOSTNAME", "hookkeeper-0")
        .knows_secrets_in(&trial.manifests())
        .spawn()
}

fn readiness(trial: &Trial<'_>) -> String {
    let path = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}";
    trial.kubectl(&["get", "whs,whp,tsrc", "-o", path])
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_4_waits_until_all_is_ready_and_fails_when_a_person_is_needed() {
    let trial = Trial::start(Duration::from_secs(60), 0).await;
    trial.kubectl(&["apply", "-f", trial.manifests().join("00-secrets.yaml").to_str().unwrap()]);
    trial.sandbox.faults().add(Fault::status(Target::Token, 503)).unwrap();
    let mut helm = install(Helm::Four, &trial, "webhooks", &values(&trial)).spawn();
    let controller = tokio::task::block_in_place(|| controller(&trial));
    let object = "whs/webhooks-application-completed";
    trial.until_says(&[&controller], object, "Ready", "False ").await;
    trial.until_says(&[&controller], "tsrc/webhooks", "Ready", "False ").await;
    assert!(helm.is_running());
    trial.sandbox.faults().clear();
    let ended = tokio::task::block_in_place(|| helm.wait());
    assert_eq!(
        (ended.code, readiness(&trial).as_str()),
        (Some(0), "True True True True"),
        "{}",
        ended.stderr
    );

    let mut broken = values(&trial);
    broken["postbackUrl"] = json!("https://receiver.team.svc");
    let ended = tokio::task::block_in_place(|| install(Helm::Four, &trial, "broken", &broken).run());
    assert_eq!(ended.code, Some(1));
    let why = "spec.postbackUrl: the provider reaches public DNS names only";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
    // It need not wait for the end of its time to know.
    assert!(!ended.stderr.contains("deadline"), "{}", ended.stderr);
    assert_eq!(controller.stop(), Some(0));
    trial.assert_no_secrets();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_helm_3_kubectl_has_to_wait() {
    let trial = Trial::start(Duration::from_secs(60), 0).await;
    trial.kubectl(&["apply", "-f", trial.manifests().join("00-secrets.yaml").to_str().unwrap()]);
    // Nobody is there who could make them ready, and it does not mind.
    tokio::task::block_in_place(|| install(Helm::Three, &trial, "webhooks", &values(&trial)).succeed());
    assert_eq!(readiness(&trial), "");
    let controller = tokio::task::block_in_place(|| controller(&trial));
    trial.kubectl(&["wait", "--for=condition=Ready", "whs", "--all", "--timeout=150s"]);
    assert_eq!(trial.sandbox.ledger().creates, 2);

    // Installed again, the chart takes the webhooks over that it has left.
    tokio::task::block_in_place(|| {
        let uninstall = ["uninstall", "webhooks", "--namespace", &trial.namespace, "--wait"];
        Helm::Three.command(&uninstall).on(trial.cluster).succeed();
        install(Helm::Three, &trial, "webhooks", &values(&trial)).succeed();
    });
    trial.kubectl(&["wait", "--for=condition=Ready", "whs", "--all", "--timeout=150s"]);
    assert_eq!((trial.sandbox.ledger().creates, trial.sandbox.webhooks().len()), (2, 2));
    assert_eq!(controller.stop(), Some(0));
    trial.assert_well();
}
