//! What Argo CD shows and offers: the scripts of `deploy/argocd`, run by the interpreter that Argo CD
//! embeds, with the libraries that it opens, over the test data in its own layout.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::in_repository;
use super::super::tools::{ended, installed};
use super::super::trial::Trial;
use super::exported::gate_with_a_parked_delivery;

const ANNOTATION: &str = "/metadata/annotations/hookkeeper.dev~1rotate-requested-at";
/// Argo CD's tests write this for a time of which they only say that there is one.
const SOME_TIME: &str = "0001-01-01T00:00:00Z";
const KINDS: [&str; 4] = ["TokenSource", "WebhookProvider", "WebhookReceiver", "WebhookSubscription"];

fn folder(kind: &str) -> PathBuf {
    in_repository("deploy/argocd/resource_customizations/hookkeeper.dev").join(kind)
}

fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What a script returns for an object, or what it fails with.
fn run(script: &Path, object: &Value) -> Result<Value, String> {
    static LUA: LazyLock<PathBuf> = LazyLock::new(|| installed("lua"));
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input.lua");
    fs::write(&input, format!("return {}", lua(object))).unwrap();
    let harness = in_repository("tests/it/packaging/argocd.lua");
    let ended = ended(Command::new(LUA.join("glua")).arg(harness).arg(script).arg(input));
    match ended.code {
        Some(0) if ended.stderr.is_empty() => Ok(serde_json::from_str(&ended.stdout).unwrap()),
        _ => Err(ended.stdout + &ended.stderr),
    }
}

fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Array(items) => format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("[{name:?}]={}", lua(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        // Plain texts, numbers and booleans are written alike in both languages.
        plain => plain.to_string(),
    }
}

/// Lua knows no whole numbers.
fn as_lua_returns(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(as_lua_returns).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), as_lua_returns(value))).collect()
        }
        plain => plain.clone(),
    }
}

/// The cases of a file, each with the place of its input; test data that no case reads is forgotten.
fn cases(folder: &Path, file: &str, lists: &[&str]) -> Vec<(Value, PathBuf)> {
    let tests = read(&folder.join(file));
    let cases: Vec<_> = lists
        .iter()
        .flat_map(|list| tests[list].as_array().unwrap().clone())
        .map(|case| {
            let input = folder.join(case["inputPath"].as_str().unwrap());
            (case, input)
        })
        .collect();
    let expected = |case: &Value| case["expectedOutputPath"].as_str().map(|path| folder.join(path));
    let used: Vec<_> =
        cases.iter().flat_map(|(case, input)| [Some(input.clone()), expected(case)]).flatten().collect();
    for entry in fs::read_dir(folder.join("testdata")).unwrap() {
        let path = entry.unwrap().path();
        assert!(used.contains(&path), "no case uses {}", path.display());
    }
    cases
}

#[test]
fn health_is_what_the_test_data_says() {
    for kind in KINDS {
        let folder = folder(kind);
        for (case, input) in cases(&folder, "health_test.yaml", &["tests"]) {
            let object = read(&input);
            assert_eq!(object["kind"], kind, "{}", input.display());
            let health = run(&folder.join("health.lua"), &object);
            assert_eq!(health, Ok(case["healthStatus"].clone()), "{}", input.display());
        }
    }
}

/// Test data is written by people; this is what the program writes.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_process_records_is_healthy() {
    let trial = Trial::start(Duration::from_secs(3600), 1).await;
    let sidecar = trial.sidecar();
    let health = || -> Vec<Value> {
        let state: Value = serde_json::from_str(&trial.state()).unwrap_or_default();
        let objects = KINDS.iter().filter_map(|kind| Some((kind, state["objects"][kind].as_object()?)));
        let objects = objects.flat_map(|(kind, objects)| objects.values().map(move |object| (kind, object)));
        let judge = |(kind, object): (&&str, &Value)| {
            let spec = &object["valid"]["spec"];
            let metadata = json!({"generation": object["generation"]});
            let object = json!({"metadata": metadata, "spec": spec, "status": object["status"]});
            run(&folder(kind).join("health.lua"), &object).unwrap()["status"].clone()
        };
        tokio::task::block_in_place(|| objects.map(judge).collect())
    };
    // It takes nothing in, so there is no receiver.
    trial.until(&sidecar, "health", |_| health() == ["Healthy"; 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_gate_records_is_healthy_and_says_what_is_parked() {
    let (stage, gate, _) = gate_with_a_parked_delivery().await;
    let health = || -> Option<Value> {
        let state: Value =
            serde_json::from_str(&fs::read_to_string(stage.path("data/state.json")).ok()?).ok()?;
        let object = state["objects"]["WebhookReceiver"].as_object()?.values().next()?;
        let metadata = json!({"generation": object["generation"]});
        let spec = &object["valid"]["spec"];
        let object = json!({"metadata": metadata, "spec": spec, "status": object["status"]});
        Some(run(&folder("WebhookReceiver").join("health.lua"), &object).unwrap())
    };
    let says = |health: &Value| {
        health["status"] == "Healthy" && health["message"].as_str().unwrap().contains("1 are parked")
    };
    gate.until("healthy, with what is parked", || {
        tokio::task::block_in_place(health).is_some_and(|health| says(&health))
    })
    .await;
    gate.stop();
}

/// Test data is far from now on both sides, so nobody has to write it again.
#[test]
fn an_applied_token_counts_until_the_second_of_its_end() {
    let folder = folder("WebhookSubscription");
    let mut object = read(&folder.join("testdata/ready.yaml"));
    let mut health = |seconds: i64| {
        let expires = Utc::now() + chrono::TimeDelta::seconds(seconds);
        object["status"]["tokenExpirationTime"] = json!(expires.format("%Y-%m-%dT%H:%M:%SZ").to_string());
        run(&folder.join("health.lua"), &object).unwrap()["status"].clone()
    };
    assert_eq!(health(120), "Healthy");
    assert_eq!(health(-2), "Degraded");
}

#[test]
fn actions_do_what_the_test_data_says() {
    let folder = folder("WebhookSubscription").join("actions");
    for (case, input) in cases(&folder, "action_test.yaml", &["discoveryTests", "actionTests"]) {
        let object = read(&input);
        let Some(action) = case["action"].as_str() else {
            let found = run(&folder.join("discovery.lua"), &object).unwrap();
            let found: Vec<_> = found
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, action)| {
                    let mut action = action.clone();
                    action["name"] = json!(name);
                    action
                })
                .collect();
            assert_eq!(json!(found), case["result"], "{}", input.display());
            continue;
        };
        let begun = DateTime::<Utc>::from(SystemTime::now()).timestamp();
        let mut changed = run(&folder.join(action).join("action.lua"), &object).unwrap();
        let asked = changed.pointer_mut(ANNOTATION).unwrap();
        let at: DateTime<Utc> = asked.as_str().unwrap().parse().unwrap();
        assert!((begun..=Utc::now().timestamp()).contains(&at.timestamp()), "{asked}");
        *asked = json!(SOME_TIME);
        let expected = read(&folder.join(case["expectedOutputPath"].as_str().unwrap()));
        assert_eq!(as_lua_returns(&changed), as_lua_returns(&expected), "{}", input.display());
    }
}

/// What the tests above rely on: a script that needs more than Argo CD gives it fails here too.
#[test]
fn scripts_run_with_the_libraries_that_argo_cd_opens() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.lua");
    let result = |text: &str| {
        fs::write(&script, text).unwrap();
        run(&script, &json!({"name": "n"}))
    };
    assert_eq!(
        result("return {obj.name, type(require('os').date), #{1, 2}}"),
        Ok(json!(["n", "function", 2]))
    );
    for refused in [
        "return {string.sub('ab', 1, 1)}",
        "return {('ab'):sub(1, 1)}",
        "return {os.date()}",
        "return {require('os').getenv('HOME')}",
        "return {require('io')}",
        "return {math.floor(1.5)}",
    ] {
        assert!(result(refused).is_err(), "{refused}");
    }
}

#[test]
fn the_config_map_holds_the_scripts_as_they_are() {
    let committed = fs::read_to_string(in_repository("deploy/argocd/argocd-cm.yaml")).unwrap();
    let rendered = ended(Command::new("bash").arg(in_repository("deploy/argocd/render")));
    assert_eq!(rendered.code, Some(0), "{}", rendered.stderr);
    assert!(rendered.stdout == committed, "run: bash deploy/argocd/render > deploy/argocd/argocd-cm.yaml");
    let data = read(&in_repository("deploy/argocd/argocd-cm.yaml"))["data"].clone();
    let script = |path: PathBuf| json!(fs::read_to_string(path).unwrap());
    for kind in KINDS {
        let key = format!("resource.customizations.health.hookkeeper.dev_{kind}");
        assert_eq!(data[&key], script(folder(kind).join("health.lua")));
    }
    let actions =
        data["resource.customizations.actions.hookkeeper.dev_WebhookSubscription"].as_str().unwrap();
    let actions: Value = serde_saphyr::from_str(actions).unwrap();
    let folder = folder("WebhookSubscription").join("actions");
    assert_eq!(
        actions,
        json!({
            "discovery.lua": script(folder.join("discovery.lua")),
            "definitions": [{"name": "rotate", "action.lua": script(folder.join("rotate/action.lua"))}],
        })
    );
    assert_eq!(data.as_object().unwrap().len(), KINDS.len() + 1);
}

#[test]
fn the_config_map_is_added_to_the_one_that_is_there() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("argocd");
    let namespace = namespace.as_str();
    cluster.succeed(&[
        "create",
        "configmap",
        "argocd-cm",
        "-n",
        namespace,
        "--from-literal=url=https://argocd",
    ]);
    let file = in_repository("deploy/argocd/argocd-cm.yaml");
    let apply = ["apply", "-n", namespace, "--server-side", "--field-manager=hookkeeper", "-f"];
    cluster.succeed(&[&apply[..], &[file.to_str().unwrap()]].concat());
    let found = cluster.succeed(&["get", "configmap", "argocd-cm", "-n", namespace, "-o", "json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["data"]["url"], "https://argocd");
    assert_eq!(found["data"].as_object().unwrap().len(), KINDS.len() + 2);
}
