//! All manifests, from the chart and from `deploy`: valid for the Kubernetes that people run, and clean
//! under a linter that looks for what is unsafe.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::super::tools::{ended, installed};
use super::super::{in_repository, run};
use super::helm::Helm;
use super::{documents, files_below, kubectl};

/// Groups of kinds that Kubernetes' own schemas know nothing of, and who looks at those instead.
const ELSEWHERE: [(&str, &str); 8] = [
    ("hookkeeper.dev", "`hookkeeper check`, below, and the API server in other tests"),
    ("gateway.networking.k8s.io", "the chart's own tests look at the HTTPRoute"),
    ("monitoring.coreos.com", "their rules and the dashboard have tests of their own"),
    ("kustomize.config.k8s.io", "kustomize"),
    ("kustomize.toolkit.fluxcd.io", "an example for Flux"),
    ("source.toolkit.fluxcd.io", "an example for Flux"),
    ("helm.toolkit.fluxcd.io", "an example for Flux"),
    ("argoproj.io", "an example for Argo CD"),
];

/// What checkov says of these objects, and why it stays so.
const ACCEPTED: [(&str, &str, &str); 11] = [
    ("CKV_K8S_11", "", "a limit on CPU delays rotations; requests and a limit on memory are set"),
    (
        "CKV_K8S_15",
        "",
        "a tag is never moved, and a node must be able to start a pod while the registry is away",
    ),
    ("CKV_K8S_43", "", "`image.digest` takes one; a release's own is known after the chart is written"),
    ("CKV_K8S_38", "Deployment.hookkeeper-system.hookkeeper", "operator and gate talk to the API server"),
    ("CKV_K8S_38", "StatefulSet.hookkeeper-system.hookkeeper-gate", "so does a gate with a volume"),
    (
        "CKV_K8S_40",
        "Deployment.hookkeeper-system.hookkeeper",
        "`openshift`: there the platform gives the UID",
    ),
    ("CKV_K8S_8", "sandbox", "for trials, with a readiness probe"),
    ("CKV_K8S_8", "Deployment.default.application", "what asks it on loopback is part of its own image"),
    ("CKV_K8S_9", "Deployment.default.application", "while it is away, its gate is to take deliveries in"),
    ("CKV_K8S_21", ".default.", "an example goes into the namespace of whoever applies it"),
    ("CKV2_K8S_6", "", "`networkPolicy.enabled`: what the operator may reach differs between clusters"),
];

/// What the chart gives with these values.
fn rendered(values: &Value) -> Vec<Value> {
    Helm::Four.template(values).unwrap()
}

/// Values that switch on whatever the chart has. Two monitors would count everything twice.
fn everything(monitor: &str) -> Value {
    json!({
        "replicas": 3,
        "metrics": {
            monitor: {"enabled": true},
            "prometheusRule": {"enabled": true},
            "dashboard": {"enabled": true},
        },
        "networkPolicy": {"enabled": true},
        "admissionPolicy": {"enabled": true},
        "publishing": {"enabled": true},
        "sandbox": {"enabled": true},
        "priorityClassName": "system-cluster-critical",
        "gate": {
            "enabled": true, "namespaces": ["team-a", "team-b"], "expect": {"enabled": true},
            "dataKey": {"secret": "data-key"}, "allowPaths": ["team-a=/hooks"],
            "ingress": {"enabled": true, "host": "hooks.example.com", "tlsSecret": "hooks"},
            "httpRoute": {"enabled": true, "parentRefs": [{"name": "public"}]},
        },
    })
}

fn namespaced() -> Value {
    json!({"scope": {"namespaces": ["team-a", "team-b"]}, "publishing": {"enabled": true}})
}

/// What changes the pods.
fn of_pods() -> Value {
    json!({
        "commonAnnotations": {"team": "a"}, "openshift": true, "dnsPolicy": "None", "runtimeClassName": "a",
        "dnsConfig": {"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "1"}]},
        "ca": {"configMap": "trust"}, "proxy": {"url": "http://proxy:3128", "credentialsSecret": {"name": "a"}},
        "extraVolumes": [{"name": "a", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "a", "mountPath": "/a"}],
        "extraEnvFrom": [{"configMapRef": {"name": "a"}}],
        "gate": {
            "enabled": true, "namespaces": ["team-a"], "store": "PostgreSQL", "tls": {"secret": "tls"},
            "database": {"host": "db", "credentials": {"secret": "db"}, "ca": {"configMap": "db-ca"}},
            "service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
        },
    })
}

/// What kustomize makes of a folder: its files may be no more than parts of objects.
fn built(folder: &Path) -> Vec<Value> {
    if documents(&folder.join("kustomization.yaml"))[0]["kind"] == "Component" {
        return Vec::new();
    }
    let built = ended(kubectl().arg("kustomize").arg(folder));
    assert_eq!(built.code, Some(0), "{}: {}", folder.display(), built.stderr);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, built.stdout).unwrap();
    documents(file.path())
}

/// Everything that is handed to a cluster, each object as often as it differs.
fn manifests() -> Vec<Value> {
    let mut all = Vec::new();
    for values in [json!({}), everything("serviceMonitor"), everything("podMonitor"), namespaced(), of_pods()]
    {
        all.extend(rendered(&values));
    }
    for file in files_below("deploy", ".yaml") {
        let folder = file.parent().unwrap();
        // A chart's templates are no manifests yet; this one holds nothing but hookkeeper's kinds.
        if folder.ends_with("chart-with-subscriptions/templates") {
            continue;
        }
        if file.ends_with("kustomization.yaml") {
            all.extend(built(folder));
        } else if !folder.join("kustomization.yaml").exists() {
            // What is no object of Kubernetes' is a file of another program's.
            all.extend(documents(&file).into_iter().filter(|document| document["kind"].is_string()));
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|document| seen.insert(document.to_string()));
    all
}

fn group(document: &Value) -> String {
    let version = document["apiVersion"].as_str().unwrap_or_default();
    version.split_once('/').map_or("", |(group, _)| group).to_owned()
}

/// One of the linters, which are Python's.
fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new(installed("python").join("bin/python"));
    // Nothing of whoever runs the tests; and checkov must not ask anybody.
    command.args(arguments).env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin");
    command
}

/// Writes documents into one file of a new folder.
fn written(documents: &[Value]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifests.yaml");
    let texts: Vec<String> = documents.iter().map(Value::to_string).collect();
    fs::write(&file, texts.join("\n---\n")).unwrap();
    (folder, file)
}

#[test]
fn they_are_valid_for_the_four_newest_releases_of_kubernetes() {
    let (ours, theirs): (Vec<Value>, Vec<Value>) = manifests()
        .into_iter()
        .partition(|document| ELSEWHERE.iter().any(|(known, _)| group(document) == *known));
    assert!(theirs.len() > 20, "{}", theirs.len());
    let list = "import kubernetes_validate.utils as u; print('\\n'.join(sorted({u.major_minor(v) for v in u.all_versions()}, key=u.Version)))";
    let minors = ended(&mut python(&["-c", list])).stdout;
    let mut minors: Vec<&str> = minors.lines().collect();
    let minors = minors.split_off(minors.len() - 4);
    let (_folder, file) = written(&theirs);
    let mut arguments = vec!["-m", "kubernetes_validate", "--strict"];
    arguments.extend(minors.iter().flat_map(|minor| ["--kubernetes-version", minor]));
    arguments.push(file.to_str().unwrap());
    let validated = ended(&mut python(&arguments));
    assert_eq!(validated.code, Some(0), "{}{}", validated.stdout, validated.stderr);
    let passed = validated.stdout.lines().filter(|line| line.contains("passed for resource")).count();
    assert_eq!(passed, theirs.len() * 4, "each was looked at: {minors:?}");

    // Those of the chart; what is in folders of `deploy` is checked by their own tests.
    let is_of_chart =
        |document: &Value| document["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm";
    // The sandbox of the chart says the same objects once for the beginning and once for the end.
    let is_for_the_end =
        |document: &Value| document["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete";
    let ours =
        ours.into_iter().filter(|document| group(document) == "hookkeeper.dev" && is_of_chart(document));
    let (for_the_end, ours): (Vec<Value>, Vec<Value>) = ours.partition(is_for_the_end);
    for documents in [ours, for_the_end] {
        assert!(!documents.is_empty());
        let (_folder, file) = written(&documents);
        let checked = run(&["check", file.to_str().unwrap()]);
        assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
        assert!(
            checked.stdout.contains(&format!("{} documents checked", documents.len())),
            "{}",
            checked.stdout
        );
    }
}

/// Check and object of each thing that checkov says.
fn findings(report: &str) -> BTreeMap<(String, String), String> {
    let report: Value = serde_json::from_str(report).unwrap_or_else(|_| panic!("{report}"));
    assert_eq!(report["summary"]["parsing_errors"], 0, "{report}");
    assert!(report["summary"]["passed"].as_u64().unwrap() > 100, "{}", report["summary"]);
    let failed = report["results"]["failed_checks"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    failed
        .map(|found| ((text(&found["check_id"]), text(&found["resource"])), text(&found["check_name"])))
        .collect()
}

#[test]
fn a_linter_finds_nothing_unsafe_but_what_is_accepted_with_a_reason() {
    let manifests: Vec<Value> =
        manifests().into_iter().filter(|document| group(document) != "kustomize.config.k8s.io").collect();
    let (_folder, file) = written(&manifests);
    let arguments = ["-m", "checkov.main", "--framework", "kubernetes", "--skip-download", "--compact"];
    let mut checkov = python(&arguments);
    let ended = ended(checkov.args(["--quiet", "--output", "json", "--file", file.to_str().unwrap()]));
    let mut unused: BTreeSet<&str> = ACCEPTED.iter().map(|(check, _, _)| *check).collect();
    let mut unsafe_ones = Vec::new();
    for ((check, object), name) in findings(&ended.stdout) {
        match ACCEPTED.iter().find(|(accepted, of, _)| *accepted == check && object.contains(of)) {
            Some((accepted, _, _)) => drop(unused.remove(accepted)),
            None => unsafe_ones.push(format!("{check} {object}: {name}")),
        }
    }
    assert_eq!(unsafe_ones, [""; 0]);
    assert_eq!(unused, BTreeSet::new(), "accepted, and never found");
}

/// The rules and the dashboard come through the chart as they are.
#[test]
fn the_chart_carries_the_alerts_and_the_dashboard() {
    let rendered = rendered(&everything("serviceMonitor"));
    let of_kind = |kind: &str| rendered.iter().find(|document| document["kind"] == kind).unwrap();
    let rules = documents(&in_repository(super::alerts::RULES)).remove(0);
    assert_eq!(of_kind("PrometheusRule")["spec"]["groups"], rules["groups"]);
    let dashboard = of_kind("ConfigMap")["data"].as_object().unwrap().values().next().unwrap();
    let file = fs::read_to_string(in_repository("charts/hookkeeper/files/dashboard.json")).unwrap();
    assert_eq!(dashboard.as_str().unwrap().trim_end(), file.trim_end());
}
