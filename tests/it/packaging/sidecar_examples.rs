//! The examples of `deploy/sidecar`: what is in them is valid, and the real binary keeps a subscription
//! fresh with exactly their arguments, Secrets where they put them, and the manifests beside them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hookkeeper::sandbox::{TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN};
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::trial::Trial;
use super::super::{hookkeeper, in_repository, run};

const MANIFESTS: &str = "deploy/sidecar/manifests/subscriptions.yaml";

/// All documents of a file of the repository.
pub(super) fn documents(file: &str) -> Vec<Value> {
    super::documents(&in_repository(file))
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Runs the binary as an example does, below a folder that stands for its root, against the sandbox: it
/// must become ready and create the subscription, for which it needs both Secrets.
pub(super) async fn keeps_fresh(arguments: &[String], secrets: &[String], health: &[&str]) {
    let trial = Trial::start(Duration::from_secs(3600), 1).await;
    let root = trial.folder().join("root");
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let url = trial.sandbox.url();

    let words: Vec<&str> = arguments.iter().flat_map(|word| word.splitn(2, '=')).collect();
    let value = |name: &str| words.iter().position(|word| *word == name).map(|at| words[at + 1]);
    let write = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let manifests = fs::read_to_string(in_repository(MANIFESTS)).unwrap();
    let manifests = manifests
        .replace("preset: gupy", &format!("preset: gupy\n  baseUrl: {url}"))
        .replace("https://auth.example.com", &url);
    write(below(value("--manifests").unwrap()).join("subscriptions.yaml"), &manifests);
    for path in secrets {
        let is_management = path.contains("gupy-api");
        write(below(path), if is_management { TRIAL_MANAGEMENT_TOKEN } else { TRIAL_CLIENT_SECRET });
    }
    fs::create_dir_all(below(value("--state").unwrap()).parent().unwrap()).unwrap();

    let mut program = hookkeeper();
    for word in &words {
        match *word {
            // Any port that is free, and the log in the form that says which.
            "json" => program.arg("human"),
            word if Some(word) == value("--admin-listen") => program.arg("127.0.0.1:0"),
            word if word.starts_with('/') => program.arg(below(word)),
            word => program.arg(word),
        };
    }
    if value("--admin-listen").is_none() {
        program.args(["--admin-listen", "127.0.0.1:0"]);
    }
    let sidecar = program.args(["--allow-destination", &url]).spawn();
    trial.until(&sidecar, "a create", |sandbox| sandbox.ledger().creates == 1).await;
    let url = format!("http://{}", sidecar.admin().unwrap());
    let asked = tokio::task::block_in_place(|| run(&[health, &["--url", &url]].concat()));
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(0), "ready\n"), "{}", asked.stderr);
    assert_eq!(sidecar.stop(), Some(0));
}

#[test]
fn the_manifests_of_the_examples_pass_the_check() {
    let ended = run(&["check", in_repository(MANIFESTS).to_str().unwrap()]);
    assert!(ended.stdout.contains(", 0 problems, 0 warnings"), "{}{}", ended.stdout, ended.stderr);
}

fn pod_example() -> Vec<Value> {
    documents("deploy/sidecar/kubernetes/receiver.yaml")
}

fn deployment() -> Value {
    pod_example().into_iter().find(|document| document["kind"] == "Deployment").unwrap()
}

#[test]
fn the_pod_has_one_writer_and_the_manifests_of_the_examples() {
    let documents = pod_example();
    let map = documents.iter().find(|document| document["kind"] == "ConfigMap").unwrap();
    let manifests = fs::read_to_string(in_repository(MANIFESTS)).unwrap();
    assert_eq!(map["data"]["subscriptions.yaml"], manifests);
    let spec = &deployment()["spec"];
    assert_eq!((&spec["replicas"], &spec["strategy"]["type"]), (&json!(1), &json!("Recreate")));
    let sidecar = &spec["template"]["spec"]["initContainers"][0];
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_eq!(sidecar["image"], format!("ghcr.io/hookkeeper/hookkeeper:{}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_pod_is_admitted_where_restricted_is_enforced() {
    let cluster = Cluster::shared();
    let namespace = cluster.restricted_namespace("restricted");
    let namespace = namespace.as_str();
    let file = in_repository("deploy/sidecar/kubernetes/receiver.yaml");
    // The Deployment itself is only warned about.
    let applied =
        cluster.kubectl(&["apply", "--dry-run=server", "-n", namespace, "-f", file.to_str().unwrap()]);
    assert_eq!((applied.code, applied.stderr.as_str()), (Some(0), ""));
    let mut pod = deployment()["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("receiver");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pod.json");
    fs::write(&file, pod.to_string()).unwrap();
    let created =
        cluster.kubectl(&["create", "--dry-run=server", "-n", namespace, "-f", file.to_str().unwrap()]);
    assert_eq!((created.code, created.stderr.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_of_the_pod_keeps_a_subscription_fresh() {
    let pod = deployment()["spec"]["template"]["spec"].clone();
    let sidecar = &pod["initContainers"][0];
    let mounts = sidecar["volumeMounts"].as_array().unwrap();
    let secrets: Vec<_> = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|volume| Some((volume, volume["secret"]["secretName"].as_str()?)))
        .map(|(volume, secret)| {
            let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap();
            format!(
                "{}/{}",
                mount["mountPath"].as_str().unwrap(),
                if secret == "gupy-api" { "token" } else { "secret" }
            )
        })
        .collect();
    let arguments = words(&sidecar["args"]);
    let is_mounted = |path: &str| mounts.iter().any(|mount| mount["mountPath"] == path);
    for argument in ["--manifests=/etc/hookkeeper/manifests", "--state=/var/lib/hookkeeper/state.json"] {
        assert!(arguments.iter().any(|given| given == argument), "{arguments:?}");
    }
    assert!(is_mounted("/etc/hookkeeper/manifests") && is_mounted("/var/lib/hookkeeper"), "{mounts:?}");
    keeps_fresh(&arguments, &secrets, &["health"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compose_service_keeps_a_subscription_fresh() {
    let file = documents("deploy/sidecar/compose/compose.yaml").remove(0);
    let service = &file["services"]["hookkeeper"];
    assert_eq!(service["image"], format!("ghcr.io/hookkeeper/hookkeeper:{}", env!("CARGO_PKG_VERSION")));
    let secrets = words(&service["secrets"]);
    let declared: Vec<_> = file["secrets"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(secrets, declared);
    let folder = in_repository("deploy/sidecar/compose");
    let manifests = folder.join(service["volumes"][0]["source"].as_str().unwrap());
    assert!(manifests.join("subscriptions.yaml").is_file());

    let arguments = words(&service["command"]);
    let targets: Vec<_> = service["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| volume["target"].as_str().unwrap())
        .collect();
    assert!(arguments.contains(&format!("--manifests={}", targets[0])), "{arguments:?}");
    assert!(arguments.contains(&format!("--state={}/state.json", targets[1])), "{arguments:?}");
    let secrets: Vec<_> = secrets.iter().map(|name| format!("/run/secrets/{name}")).collect();
    let health = words(&service["healthcheck"]["test"]);
    let (how, health) = health.split_at(2);
    assert_eq!(how, ["CMD", "/hookkeeper"]);
    let health: Vec<_> = health.iter().map(String::as_str).collect();
    keeps_fresh(&arguments, &secrets, &health).await;
}
