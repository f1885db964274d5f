//! Several releases in one cluster, also of one name: no object is claimed by two of them, and a release
//! from before their names told them apart can be upgraded and rolled back.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::helm::{BOTH, Helm, RELEASE, chart, copy_of_the_chart};

/// Kind, namespace and name of each object but the definitions, which belong to the whole cluster.
fn objects(namespace: &str, values: &Value) -> BTreeSet<[String; 3]> {
    let documents = Helm::Four.template_with(namespace, &[], values).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    documents
        .iter()
        .filter(|document| document["kind"] != "CustomResourceDefinition")
        .map(|document| {
            let metadata = &document["metadata"];
            [text(&document["kind"]), text(&metadata["namespace"]), text(&metadata["name"])]
        })
        .collect()
}

#[test]
fn no_object_of_a_release_has_the_name_of_one_in_another_namespace() {
    let everything = json!({
        "admissionPolicy": {"enabled": true}, "publishing": {"enabled": true}, "sandbox": {"enabled": true},
        "networkPolicy": {"enabled": true}, "metrics": {
            "serviceMonitor": {"enabled": true}, "prometheusRule": {"enabled": true},
            "dashboard": {"enabled": true},
        },
        "gate": {"enabled": true, "namespaces": ["x"], "expect": {"enabled": true}},
    });
    // Both look after the same namespaces, each after objects with labels of its own.
    let of_team = |team: &str| {
        json!({
            "scope": {"namespaces": ["x", "y"], "selector": format!("team={team}")},
            "publishing": {"enabled": true},
        })
    };
    let named = |name: &str| json!({"fullnameOverride": name, "admissionPolicy": {"enabled": true}});
    for ((namespace, values), (other, others)) in [
        (("one", everything.clone()), ("two", everything)),
        (("one", of_team("one")), ("two", of_team("two"))),
        // Put together with a hyphen, the two would be one.
        (("b-c", named("a")), ("c", named("a-b"))),
    ] {
        let (first, second) = (objects(namespace, &values), objects(other, &others));
        assert!(first.len() > 8, "{first:?}");
        let shared: Vec<_> = first.intersection(&second).collect();
        assert!(shared.is_empty(), "{namespace}, {other}: {shared:?}");
    }
}

/// The chart as it was when names of cluster-wide objects held no namespace.
fn chart_before(folder: &Path) -> String {
    copy_of_the_chart(folder);
    let helpers = folder.join("templates/_helpers.tpl");
    let text = fs::read_to_string(&helpers).unwrap();
    let before = text.replace(
        r#"printf "%s%s.%s" (include "hookkeeper.fullname" $root) (index . 1) $root.Release.Namespace"#,
        r#"printf "%s%s" (include "hookkeeper.fullname" $root) (index . 1)"#,
    );
    assert_ne!(text, before);
    fs::write(helpers, before).unwrap();
    folder.to_str().unwrap().to_owned()
}

const CLUSTER_WIDE: &str =
    "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings";

/// Names of the cluster-wide objects of all releases.
fn cluster_wide(cluster: &Cluster) -> Vec<String> {
    let ours = "app.kubernetes.io/name=hookkeeper";
    let path = "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}";
    let listed = cluster.succeed(&["get", CLUSTER_WIDE, "-l", ours, "-o", path]);
    let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn may_work(cluster: &Cluster, namespace: &str) -> bool {
    let account = format!("--as=system:serviceaccount:{namespace}:{RELEASE}");
    let right =
        ["auth", "can-i", &account, "list", "webhooksubscriptions.hookkeeper.dev", "--all-namespaces"];
    cluster.kubectl(&right).code == Some(0)
}

#[test]
fn a_release_with_the_old_names_is_upgraded_and_one_of_its_name_installed_beside_it() {
    let cluster = &Cluster::start(&[]);
    let (one, two) = (cluster.namespace("one"), cluster.namespace("two"));
    let folder = tempfile::tempdir().unwrap();
    let before = chart_before(folder.path());
    let values = json!({"admissionPolicy": {"enabled": true}});
    let names = |namespace: &str| -> Vec<String> {
        let end = if namespace.is_empty() { String::new() } else { format!(".{namespace}") };
        // Role and binding, policy and binding.
        let endings = ["", "", "-edit", "-publishing", "-secrets", "-secrets", "-use", "-view"];
        let mut names = endings.map(|ending| format!("{RELEASE}{ending}{end}")).to_vec();
        names.sort();
        names
    };
    for helm in BOTH {
        let run = |arguments: &[&str], namespace: &str, values: &Value| {
            let arguments = [arguments, &["--namespace", namespace]].concat();
            helm.command(&arguments).on(cluster).values(values).succeed();
        };
        run(&["install", RELEASE, &before], &one, &values);
        assert_eq!(cluster_wide(cluster), names(""), "{helm:?}");
        run(&["upgrade", RELEASE, &chart()], &one, &values);
        assert_eq!(cluster_wide(cluster), names(&one), "{helm:?}");
        assert!(may_work(cluster, &one), "{helm:?}");

        // The definitions are the first release's.
        let mut beside = values.clone();
        beside["crds"] = json!({"enabled": false});
        run(&["install", RELEASE, &chart()], &two, &beside);
        let mut both = [names(&one), names(&two)].concat();
        both.sort();
        assert_eq!(cluster_wide(cluster), both, "{helm:?}");
        let uninstall = |namespace: &str| {
            let uninstall = ["uninstall", RELEASE, "--namespace", namespace];
            helm.command(&uninstall).on(cluster).succeed();
        };
        uninstall(&two);
        assert!(may_work(cluster, &one) && !may_work(cluster, &two), "{helm:?}");

        let rollback = ["rollback", RELEASE, "1", "--namespace", &one];
        helm.command(&rollback).on(cluster).succeed();
        assert_eq!(cluster_wide(cluster), names(""), "{helm:?}");
        assert!(may_work(cluster, &one), "{helm:?}");
        uninstall(&one);
    }
}
