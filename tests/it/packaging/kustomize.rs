//! `deploy/install.yaml` and what kustomize makes of `deploy`.

use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::in_repository;
use super::helm::{BOTH, RELEASE, arguments, chart, named, of_kind};
use super::{documents, documents_in};

const DEFINITION: &str = "CustomResourceDefinition";
const ACCOUNT: &str = "--as=system:serviceaccount:hookkeeper-system:hookkeeper";

fn folder(name: &str) -> String {
    in_repository("deploy").join(name).to_str().unwrap().to_owned()
}

fn built(cluster: &Cluster, name: &str) -> Vec<Value> {
    documents_in(&cluster.succeed(&["kustomize", &folder(name)])).unwrap()
}

/// The server must not warn: not of Pod Security either, of which the namespace asks `restricted`.
fn apply(cluster: &Cluster, arguments: &[&str]) {
    let applied = cluster.kubectl(&[&["apply", "--server-side"], arguments].concat());
    assert_eq!((applied.code, applied.stderr.as_str()), (Some(0), ""), "{}", applied.stdout);
}

fn may(cluster: &Cluster, right: &[&str]) -> bool {
    cluster.kubectl(&[&["auth", "can-i", ACCOUNT], right].concat()).code == Some(0)
}

#[test]
fn everything_can_be_applied_and_gives_the_rights_it_says() {
    let cluster = Cluster::start(&[]);
    cluster.succeed(&["create", "namespace", "team-a"]);
    apply(&cluster, &["-k", &folder("overlays/namespaced")]);
    let subscriptions = ["list", "webhooksubscriptions.hookkeeper.dev"];
    for right in [&subscriptions[..], &["get", "secrets"]] {
        assert!(may(&cluster, &[right, &["-n", "team-a"]].concat()), "{right:?}");
        assert!(!may(&cluster, &[right, &["-n", "default"]].concat()), "{right:?}");
        assert!(!may(&cluster, &[right, &["--all-namespaces"]].concat()), "{right:?}");
    }
    assert!(!may(&cluster, &["list", "secrets", "-n", "team-a"]));
    assert!(may(&cluster, &["update", "leases/hookkeeper", "-n", "hookkeeper-system"]));
    assert!(!may(&cluster, &["update", "leases/other", "-n", "hookkeeper-system"]));

    apply(&cluster, &["-k", &folder("overlays/ha")]);
    apply(&cluster, &["-k", &folder("base")]);
    assert!(may(&cluster, &[&subscriptions[..], &["--all-namespaces"]].concat()));
    assert!(!may(&cluster, &["create", "secrets", "-n", "default"]));

    // Whoever has installed with kubectl can go on with Helm.
    for helm in BOTH {
        apply(&cluster, &["-f", &folder("install.yaml")]);
        let uid = ["get", "crd", "tokensources.hookkeeper.dev", "-o", "jsonpath={.metadata.uid}"];
        let before = cluster.succeed(&uid);
        let install = ["install", RELEASE, &chart(), "--namespace", "hookkeeper-system", "--take-ownership"];
        helm.command(&install).on(&cluster).succeed();
        helm.command(&["uninstall", RELEASE, "--namespace", "hookkeeper-system"]).on(&cluster).succeed();
        assert_eq!(cluster.succeed(&uid), before, "{helm:?}");
        assert!(!may(&cluster, &[&subscriptions[..], &["--all-namespaces"]].concat()));
    }
}

#[test]
fn the_file_for_kubectl_holds_what_the_base_holds() {
    let sorted = |mut documents: Vec<Value>| {
        for definition in documents.iter_mut().filter(|document| document["kind"] == DEFINITION) {
            // kustomize writes its numbers differently.
            definition["spec"] = Value::Null;
        }
        documents.sort_by_key(Value::to_string);
        documents
    };
    let file = documents(&in_repository("deploy/install.yaml"));
    assert_eq!(file[0]["kind"], "Namespace", "what it holds comes after it");
    assert_eq!(sorted(built(Cluster::shared(), "base")), sorted(file.clone()));
    for document in file {
        let metadata = document["metadata"].to_string();
        assert!(!metadata.contains("helm") && !metadata.contains("Helm"), "{metadata}");
    }
}

#[test]
fn each_replica_of_the_overlay_for_high_availability_has_a_node_of_its_own() {
    let documents = built(Cluster::shared(), "overlays/ha");
    let spec = &named(&documents, "Deployment", "hookkeeper")["spec"];
    assert_eq!(spec["replicas"], 3);
    // With a node for each and no more, another order would wait forever.
    assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxUnavailable": 1, "maxSurge": 0}));
    let pod = &spec["template"]["spec"];
    let rule = &pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(rule["topologyKey"], "kubernetes.io/hostname");
    assert_eq!(rule["labelSelector"], spec["selector"]);
    let class = pod["priorityClassName"].as_str().unwrap();
    named(&documents, "PriorityClass", class);
}

#[test]
fn the_overlay_for_some_namespaces_leaves_the_operator_one_right_in_the_whole_cluster() {
    let documents = built(Cluster::shared(), "overlays/namespaced");
    let roles = of_kind(&documents, "ClusterRole");
    let names: Vec<&Value> = roles.iter().map(|role| &role["metadata"]["name"]).collect();
    let ending = "hookkeeper-finalizers.hookkeeper-system";
    let [edit, uses, view] =
        ["edit", "use", "view"].map(|role| Value::from(format!("hookkeeper-{role}.hookkeeper-system")));
    assert_eq!(names, [&edit, &ending.into(), &uses, &view]);
    let rules = json!([
        {"apiGroups": ["hookkeeper.dev"], "resources": ["webhooksubscriptions", "webhookproviders"], "verbs": ["patch"]},
    ]);
    assert_eq!(named(&documents, "ClusterRole", ending)["rules"], rules);
    let bindings = of_kind(&documents, "ClusterRoleBinding");
    let [binding] = &bindings[..] else { panic!("{bindings:?}") };
    let account = json!([{"kind": "ServiceAccount", "name": "hookkeeper", "namespace": "hookkeeper-system"}]);
    assert_eq!((&binding["roleRef"]["name"], &binding["subjects"]), (&ending.into(), &account));
    let words = arguments(named(&documents, "Deployment", "hookkeeper"));
    let namespaces: Vec<&str> = words.iter().filter_map(|word| word.strip_prefix("--namespace=")).collect();
    let bound: Vec<&Value> = of_kind(&documents, "RoleBinding")
        .iter()
        .filter(|binding| binding["metadata"]["name"] == "hookkeeper.hookkeeper-system")
        .map(|binding| &binding["metadata"]["namespace"])
        .collect();
    assert_eq!(bound, namespaces);
}

#[test]
fn the_overlay_with_the_gate_gives_it_rights_where_it_is_told_to_serve() {
    let cluster = Cluster::start(&[]);
    cluster.succeed(&["create", "namespace", "team-a"]);
    apply(&cluster, &["-k", &folder("overlays/gate")]);
    let may = |right: &[&str]| {
        let account = "--as=system:serviceaccount:hookkeeper-system:hookkeeper-gate";
        cluster.kubectl(&[&["auth", "can-i", account], right].concat()).code == Some(0)
    };
    let receivers = "webhookreceivers.hookkeeper.dev";
    for right in [["list", receivers], ["get", "secrets"], ["get", "services"]] {
        assert!(may(&[&right[..], &["-n", "team-a"]].concat()), "{right:?}");
        assert!(!may(&[&right[..], &["-n", "default"]].concat()), "{right:?}");
    }
    assert!(!may(&["list", "secrets", "-n", "team-a"]) && !may(&["patch", receivers, "-n", "team-a"]));

    let documents = built(&cluster, "overlays/gate");
    let gate = named(&documents, "StatefulSet", "hookkeeper-gate");
    let words = arguments(gate);
    let namespaces: Vec<&str> = words.iter().filter_map(|word| word.strip_prefix("--namespace=")).collect();
    assert_eq!(namespaces, ["team-a"]);
    // The key is where the process looks for it.
    let mount = &gate["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][1];
    let key = format!("--data-key-file={}/data-key", mount["mountPath"].as_str().unwrap());
    assert!(words.contains(&key), "{words:?}");
    assert_eq!(gate["spec"]["template"]["spec"]["volumes"][0]["name"], mount["name"]);
    // Everything else is there as without it.
    let base = built(&cluster, "base");
    assert!(base.iter().all(|document| documents.contains(document)));
}
