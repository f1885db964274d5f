//! The examples of `deploy/sidecar`: what is in them is valid, and the real binary keeps a subscription
//! fresh, and takes its deliveries in, with exactly their arguments, Secrets where they put them, and the
//! manifests beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hookkeeper::sandbox::{TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN};
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::gate::application::Application;
use super::super::gate::stage::Gate;
use super::super::process::Program;
use super::super::trial::Trial;
use super::super::{hookkeeper, in_repository, run};

const MANIFESTS: &str = "deploy/sidecar/manifests/subscriptions.yaml";
const GATE_MANIFESTS: &str = "deploy/sidecar/manifests-with-gate/gupy.yaml";
/// Where the manifests with the gate hand on to, and the destination that is allowed for it.
const APPLICATION: (&str, &str) =
    ("service: {name: application, port: 8000, path: /gupy}", "http://application:8000");

/// All documents of a file of the repository.
pub(super) fn documents(file: &str) -> Vec<Value> {
    super::documents(&in_repository(file))
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The binary as an example starts it, below a folder that stands for its root, against the sandbox.
fn program(root: &Path, trial: &Trial, manifests: &str, arguments: &[String], secrets: &[String]) -> Program {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let url = trial.sandbox.url();
    let words: Vec<&str> = arguments.iter().flat_map(|word| word.splitn(2, '=')).collect();
    let value = |name: &str| words.iter().position(|word| *word == name).map(|at| words[at + 1]);
    let write = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let manifests = manifests
        .replace("preset: gupy\n  auth", &format!("preset: gupy\n  baseUrl: {url}\n  auth"))
        .replace("https://auth.example.com", &url);
    write(below(value("--manifests").unwrap()).join("subscriptions.yaml"), &manifests);
    for path in secrets {
        let text = match path {
            path if path.contains("gupy-api") => TRIAL_MANAGEMENT_TOKEN.to_owned(),
            path if path.contains("data-key") => "0f".repeat(31) + "0e",
            _ => TRIAL_CLIENT_SECRET.to_owned(),
        };
        write(below(path), &text);
    }
    fs::create_dir_all(below(value("--state").unwrap()).parent().unwrap()).unwrap();
    if let Some(data) = value("--data") {
        fs::create_dir_all(below(data)).unwrap();
    }

    let mut program = hookkeeper();
    for word in &words {
        match *word {
            // Any port that is free, and the log in the form that says which.
            "json" => program.arg("human"),
            word if [value("--admin-listen"), value("--gate-listen")].contains(&Some(word)) => {
                program.arg("127.0.0.1:0")
            }
            word if word.starts_with('/') => program.arg(below(word)),
            word => program.arg(word),
        };
    }
    if value("--admin-listen").is_none() {
        program.args(["--admin-listen", "127.0.0.1:0"]);
    }
    program.args(["--allow-destination", &url]);
    program
}

fn root() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("example").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Runs the binary as an example does: it must become ready and create the subscription, for which it
/// needs both Secrets.
pub(super) async fn keeps_fresh(arguments: &[String], secrets: &[String], health: &[&str]) {
    let (trial, root) = (Trial::start(Duration::from_secs(3600), 1).await, root());
    let manifests = fs::read_to_string(in_repository(MANIFESTS)).unwrap();
    let sidecar = program(root.path(), &trial, &manifests, arguments, secrets).spawn();
    trial.until(&sidecar, "a create", |sandbox| sandbox.ledger().creates == 1).await;
    let url = format!("http://{}", sidecar.admin().unwrap());
    let asked = tokio::task::block_in_place(|| run(&[health, &["--url", &url]].concat()));
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(0), "ready\n"), "{}", asked.stderr);
    assert_eq!(sidecar.stop(), Some(0));
}

/// Runs the binary as an example with the gate does: once the provider has a token, a delivery that carries
/// it is handed on, and another one is refused. What is stored is sealed.
pub(super) async fn keeps_fresh_and_takes_in(arguments: &[String], secrets: &[String]) {
    // A published token waits a part of its life before the provider is given it.
    let (trial, root) = (Trial::start(Duration::from_secs(30), 1).await, root());
    let application = Application::start().await;
    let manifests = fs::read_to_string(in_repository(GATE_MANIFESTS)).unwrap();
    let (service, destination) = APPLICATION;
    assert!(manifests.contains(service) && arguments.iter().any(|word| word.ends_with(destination)));
    let manifests = manifests.replace(service, &format!("url: {}", application.url("/gupy")));
    let mut program = program(root.path(), &trial, &manifests, arguments, secrets);
    let application_url = format!("http://{}", application.address);
    program.args(["--allow-destination", &application_url, "--drain", "0s"]);
    let gate = Gate::of(program.spawn());
    assert!(gate.process.log().contains("sealed=true"), "{}", gate.process.log());
    trial.until(&gate.process, "a create", |sandbox| sandbox.ledger().creates == 1).await;
    let token = root.path().join("var/lib/hookkeeper/published/gupy-deliveries/current");
    let token = format!("Bearer {}", fs::read_to_string(token).unwrap());
    let delivery = br#"{"id":"1","event":"application.completed"}"#;
    let accepted = gate.post("/default/gupy", &[("authorization", &token)], delivery);
    assert_eq!(accepted.status, 200);
    gate.until("the application took it", || !application.took().is_empty()).await;
    assert_eq!(&application.took()[0].body[..], delivery);
    let refused = gate.post("/default/gupy", &[("authorization", "Bearer made-up-by-somebody")], delivery);
    assert_eq!(refused.status, 401);
    gate.stop();
}

#[test]
fn the_manifests_of_the_examples_pass_the_check() {
    for manifests in [MANIFESTS, GATE_MANIFESTS] {
        let ended = run(&["check", in_repository(manifests).to_str().unwrap()]);
        assert!(ended.stdout.contains(", 0 problems, 0 warnings"), "{}{}", ended.stdout, ended.stderr);
    }
}

/// The pods: hookkeeper beside the receiver it works for, and with the gate before an application.
const PODS: [(&str, &str); 2] = [("receiver.yaml", MANIFESTS), ("gate.yaml", GATE_MANIFESTS)];

fn pod_example(file: &str) -> Vec<Value> {
    documents(&format!("deploy/sidecar/kubernetes/{file}"))
}

fn of_kind(file: &str, kind: &str) -> Vec<Value> {
    pod_example(file).into_iter().filter(|document| document["kind"] == kind).collect()
}

fn deployment(file: &str) -> Value {
    of_kind(file, "Deployment").remove(0)
}

#[test]
fn the_pods_have_one_writer_and_the_manifests_of_the_examples() {
    for (file, manifests) in PODS {
        let map = of_kind(file, "ConfigMap").remove(0);
        let name = Path::new(manifests).file_name().unwrap().to_str().unwrap();
        let manifests = fs::read_to_string(in_repository(manifests)).unwrap();
        assert_eq!(map["data"][name], manifests, "{file}");
        let spec = &deployment(file)["spec"];
        assert_eq!((&spec["replicas"], &spec["strategy"]["type"]), (&json!(1), &json!("Recreate")));
        let sidecar = &spec["template"]["spec"]["initContainers"][0];
        assert_eq!(sidecar["restartPolicy"], "Always");
        assert_eq!(sidecar["image"], format!("ghcr.io/hookkeeper/hookkeeper:{}", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn the_pods_are_admitted_where_restricted_is_enforced() {
    let cluster = Cluster::shared();
    let namespace = cluster.restricted_namespace("restricted");
    let namespace = namespace.as_str();
    for (example, _) in PODS {
        let file = in_repository(&format!("deploy/sidecar/kubernetes/{example}"));
        // The Deployment itself is only warned about.
        let applied =
            cluster.kubectl(&["apply", "--dry-run=server", "-n", namespace, "-f", file.to_str().unwrap()]);
        assert_eq!((applied.code, applied.stderr.as_str()), (Some(0), ""), "{example}");
        let mut pod = deployment(example)["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("example");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pod.json");
        fs::write(&file, pod.to_string()).unwrap();
        let created =
            cluster.kubectl(&["create", "--dry-run=server", "-n", namespace, "-f", file.to_str().unwrap()]);
        assert_eq!((created.code, created.stderr.as_str()), (Some(0), ""), "{example}");
    }
}

/// Arguments of the sidecar of a pod, the files of its Secrets, and where its volumes are, by their names.
fn sidecar_of(file: &str) -> (Vec<String>, Vec<String>, BTreeMap<String, String>) {
    let pod = deployment(file)["spec"]["template"]["spec"].clone();
    let sidecar = &pod["initContainers"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mounts = sidecar["volumeMounts"].as_array().unwrap().iter();
    let mounts: BTreeMap<String, String> =
        mounts.map(|mount| (text(&mount["name"]), text(&mount["mountPath"]))).collect();
    let volumes = pod["volumes"].as_array().unwrap().iter();
    let secrets = volumes
        .filter_map(|volume| Some((volume, volume["secret"]["secretName"].as_str()?)))
        .map(|(volume, secret)| {
            let key = match secret {
                "gupy-api" => "token",
                "hookkeeper-data-key" => "data-key",
                _ => "secret",
            };
            format!("{}/{key}", mounts[&text(&volume["name"])])
        })
        .collect();
    (words(&sidecar["args"]), secrets, mounts)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_of_the_pod_keeps_a_subscription_fresh() {
    let (arguments, secrets, mounts) = sidecar_of("receiver.yaml");
    for argument in
        [format!("--manifests={}", mounts["manifests"]), format!("--state={}/state.json", mounts["state"])]
    {
        assert!(arguments.contains(&argument), "{arguments:?}");
    }
    keeps_fresh(&arguments, &secrets, &["health"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_of_the_pod_takes_deliveries_in() {
    let (arguments, secrets, mounts) = sidecar_of("gate.yaml");
    for argument in [
        format!("--manifests={}", mounts["manifests"]),
        format!("--state={}/state.json", mounts["state"]),
        format!("--publish-dir={}/published", mounts["state"]),
        format!("--data={}", mounts["deliveries"]),
        format!("--data-key-file={}", secrets[0]),
    ] {
        assert!(arguments.contains(&argument), "{arguments:?}");
    }
    let pod = deployment("gate.yaml")["spec"]["template"]["spec"].clone();
    // What is acknowledged outlives the pod.
    let claims: BTreeSet<String> = of_kind("gate.yaml", "PersistentVolumeClaim")
        .iter()
        .map(|claim| claim["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let volumes = pod["volumes"].as_array().unwrap().iter();
    let claimed: BTreeSet<String> = volumes
        .filter(|volume| ["state", "deliveries"].contains(&volume["name"].as_str().unwrap()))
        .map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((claimed.len(), &claimed), (2, &claims));
    // Ports and probes lead to where the process listens, and the Service to the public listener.
    let sidecar = &pod["initContainers"][0];
    let ports = sidecar["ports"].as_array().unwrap().iter();
    let ports: BTreeMap<&str, u64> =
        ports.map(|port| (port["name"].as_str().unwrap(), port["containerPort"].as_u64().unwrap())).collect();
    for (option, port) in [("--admin-listen", "hookkeeper"), ("--gate-listen", "deliveries")] {
        assert!(arguments.contains(&format!("{option}=0.0.0.0:{}", ports[port])), "{arguments:?}");
    }
    for (probe, path) in
        [("startupProbe", "/readyz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        let asked = &sidecar[probe]["httpGet"];
        assert_eq!((&asked["port"], &asked["path"]), (&json!("hookkeeper"), &json!(path)), "{probe}");
    }
    let service = of_kind("gate.yaml", "Service").remove(0);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "deliveries");
    let labels = &deployment("gate.yaml")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&service["spec"]["selector"], labels);
    // An application that is away must not make the pod unready: deliveries would be refused.
    assert_eq!(pod["containers"][0].get("readinessProbe"), None);
    assert_eq!(pod["hostAliases"], json!([{"ip": "127.0.0.1", "hostnames": ["application"]}]));
    assert_eq!(pod["terminationGracePeriodSeconds"], 60);
    keeps_fresh_and_takes_in(&arguments, &secrets).await;
}

/// Arguments and Secrets of a Compose file, after what must be so in each of them.
fn compose(file: &str, manifests: &str) -> (Vec<String>, Vec<String>, Value) {
    let file = documents(&format!("deploy/sidecar/compose/{file}")).remove(0);
    let service = file["services"]["hookkeeper"].clone();
    assert_eq!(service["image"], format!("ghcr.io/hookkeeper/hookkeeper:{}", env!("CARGO_PKG_VERSION")));
    let secrets = words(&service["secrets"]);
    let mut declared: Vec<_> = file["secrets"].as_object().unwrap().keys().cloned().collect();
    declared.sort_unstable();
    let mut sorted = secrets.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, declared);
    let folder = in_repository("deploy/sidecar/compose");
    let manifests_folder = folder.join(service["volumes"][0]["source"].as_str().unwrap());
    assert!(manifests_folder.join(Path::new(manifests).file_name().unwrap()).is_file());
    let secrets = secrets.iter().map(|name| format!("/run/secrets/{name}")).collect();
    (words(&service["command"]), secrets, service)
}

/// Where the volumes of a service are.
fn targets(service: &Value) -> Vec<&str> {
    let volumes = service["volumes"].as_array().unwrap();
    volumes.iter().map(|volume| volume["target"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compose_service_keeps_a_subscription_fresh() {
    let (arguments, secrets, service) = compose("compose.yaml", MANIFESTS);
    let targets = targets(&service);
    assert!(arguments.contains(&format!("--manifests={}", targets[0])), "{arguments:?}");
    assert!(arguments.contains(&format!("--state={}/state.json", targets[1])), "{arguments:?}");
    let health = words(&service["healthcheck"]["test"]);
    let (how, health) = health.split_at(2);
    assert_eq!(how, ["CMD", "/hookkeeper"]);
    let health: Vec<_> = health.iter().map(String::as_str).collect();
    keeps_fresh(&arguments, &secrets, &health).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compose_service_with_the_gate_takes_deliveries_in() {
    let (arguments, secrets, service) = compose("gate.yaml", GATE_MANIFESTS);
    let targets = targets(&service);
    for argument in [
        format!("--manifests={}", targets[0]),
        format!("--state={}/state.json", targets[1]),
        format!("--publish-dir={}/published", targets[1]),
        format!("--data={}", targets[2]),
        format!("--data-key-file={}", secrets[2]),
    ] {
        assert!(arguments.contains(&argument), "{arguments:?}");
    }
    // A folder that Docker makes up may be a disk that is not there.
    let volumes = service["volumes"].as_array().unwrap();
    assert!(volumes[1..].iter().all(|volume| volume["bind"]["create_host_path"] == false));
    let listen = arguments.iter().find_map(|word| word.strip_prefix("--gate-listen=0.0.0.0:")).unwrap();
    assert!(service["ports"][0].as_str().unwrap().ends_with(&format!(":{listen}")));
    keeps_fresh_and_takes_in(&arguments, &secrets).await;
}
