//! Who may do what after an installation with the chart.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::in_repository;
use super::documents;
use super::helm::{Helm, named, of_kind};

/// The accounts of a release: the operator's and the gate's.
const ACCOUNTS: [&str; 2] = ["hookkeeper", "hookkeeper-gate"];

/// Where a right holds, and one for each group, resource and verb.
type Right = (String, String);

/// What the rules of a role say, one line for each verb.
fn rules(role: &Value) -> BTreeSet<String> {
    let words = |rule: &Value, name: &str| -> Vec<String> {
        let list = rule[name].as_array().cloned().unwrap_or_default();
        list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut lines = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        let only = words(rule, "resourceNames").join(",");
        for resource in words(rule, "resources") {
            for verb in words(rule, "verbs") {
                lines.insert(format!("{verb} {resource} {only}").trim_end().to_owned());
            }
        }
    }
    lines
}

/// What an account of the release may do: the namespace, or `*`, and the right. Nobody else is given anything.
fn granted_to(account: &str, documents: &[Value]) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let bindings = ["ClusterRoleBinding", "RoleBinding"].map(|kind| of_kind(documents, kind)).concat();
    for binding in bindings {
        let subjects = binding["subjects"].as_array().unwrap();
        assert_eq!(subjects.len(), 1, "{binding}");
        let subject = &subjects[0];
        assert_eq!(
            (&subject["kind"], &subject["namespace"]),
            (&json!("ServiceAccount"), &json!("hookkeeper-system"))
        );
        let name = subject["name"].as_str().unwrap();
        assert!(ACCOUNTS.contains(&name), "{binding}");
        if name != account {
            continue;
        }
        let kind = binding["roleRef"]["kind"].as_str().unwrap();
        let name = binding["roleRef"]["name"].as_str().unwrap();
        let namespace = &binding["metadata"]["namespace"];
        let role = of_kind(documents, kind).into_iter().find(|role| {
            role["metadata"]["name"] == name
                && (kind == "ClusterRole" || role["metadata"]["namespace"] == *namespace)
        });
        let place = namespace.as_str().unwrap_or("*");
        rights.extend(rules(role.unwrap()).into_iter().map(|line| (place.to_owned(), line)));
    }
    rights
}

/// What the operator's account may do.
fn granted(documents: &[Value]) -> BTreeSet<Right> {
    granted_to("hookkeeper", documents)
}

fn at(place: &str, lines: &[&str]) -> BTreeSet<Right> {
    lines.iter().map(|line| (place.to_owned(), (*line).to_owned())).collect()
}

fn template(values: &Value) -> Vec<Value> {
    Helm::Four.template(values).unwrap()
}

fn union(sets: &[BTreeSet<Right>]) -> BTreeSet<Right> {
    sets.iter().flatten().cloned().collect()
}

/// What `tests/it/operator/permissions.rs` shows to be needed.
fn needed() -> BTreeSet<String> {
    rules(named(
        &documents(&in_repository("deploy/base/rbac.yaml")),
        "ClusterRole",
        "hookkeeper.hookkeeper-system",
    ))
}

fn working(place: &str) -> BTreeSet<Right> {
    needed().into_iter().map(|line| (place.to_owned(), line)).collect()
}

fn lease() -> BTreeSet<Right> {
    let own = ["create leases", "get leases hookkeeper", "update leases hookkeeper"];
    // Those of gates: which are there, and which tokens they have.
    union(&[at("hookkeeper-system", &own), at("hookkeeper-system", &["list leases", "watch leases"])])
}

const WRITING: [&str; 2] = ["create secrets", "patch secrets"];

#[test]
fn without_a_list_of_namespaces_it_may_work_everywhere_and_publish_nowhere() {
    assert_eq!(granted(&template(&json!({}))), union(&[working("*"), lease()]));
    // Secrets are never listed, whatever the rest.
    assert!(needed().contains("get secrets") && !needed().contains("list secrets"));
}

#[test]
fn with_a_list_of_namespaces_it_may_work_there_and_elsewhere_take_finalizers_off() {
    let scope = json!({"namespaces": ["a", "b"]});
    let documents = template(&json!({"scope": scope}));
    let ending = at("*", &["patch webhooksubscriptions", "patch webhookproviders"]);
    assert_eq!(granted(&documents), union(&[working("a"), working("b"), lease(), ending]));
    let none_at_all = json!({"aggregateRoles": false, "endingNamespaces": false});
    let documents = template(&json!({"scope": scope, "rbac": none_at_all}));
    assert_eq!(granted(&documents), union(&[working("a"), working("b"), lease()]));
    for kind in ["ClusterRole", "ClusterRoleBinding"] {
        assert!(of_kind(&documents, kind).is_empty());
    }
}

#[test]
fn secrets_are_written_where_publishing_says_so() {
    let publishing = |values: Value| -> BTreeSet<Right> {
        let rights = granted(&template(&values)).into_iter();
        rights.filter(|(_, line)| WRITING.contains(&line.as_str())).collect()
    };
    for (values, expected) in [
        (json!({"publishing": {"enabled": true}}), at("*", &WRITING)),
        (
            json!({"publishing": {"enabled": true, "namespaces": ["a", "b"]}}),
            union(&[at("a", &WRITING), at("b", &WRITING)]),
        ),
        (
            json!({"publishing": {"enabled": true}, "scope": {"namespaces": ["a", "b"]}}),
            union(&[at("a", &WRITING), at("b", &WRITING)]),
        ),
        (
            json!({"publishing": {"enabled": true, "namespaces": ["b"]}, "scope": {"namespaces": ["a", "b"]}}),
            at("b", &WRITING),
        ),
    ] {
        assert_eq!(publishing(values.clone()), expected, "{values}");
    }
}

/// What a gate needs, in a namespace that it serves and for its Lease: `tests/it/operator/gate/permissions.rs` runs
/// one under exactly these rules, and fails when one is missing or unused.
fn needed_by_a_gate() -> (Vec<String>, Vec<String>) {
    let documents = documents(&in_repository("tests/it/operator/gate/rights.yaml"));
    let rules = rules(named(&documents, "Role", "hookkeeper-gate"));
    rules.into_iter().partition(|line| !line.contains("leases"))
}

#[test]
fn a_gate_may_work_in_the_namespaces_that_it_serves_and_nowhere_else() {
    let values =
        json!({"gate": {"enabled": true, "namespaces": ["a", "b"]}, "publishing": {"enabled": true}});
    let (serving, own) = needed_by_a_gate();
    let places = [("a", &serving), ("b", &serving), ("hookkeeper-system", &own)];
    let expected = places
        .into_iter()
        .flat_map(|(place, lines)| lines.iter().map(|line| (place.to_owned(), line.clone())));
    let documents = template(&values);
    let rights = granted_to("hookkeeper-gate", &documents);
    // It is the process with the public door: one more fails here, and so does one less.
    assert_eq!(rights, expected.collect());
    assert!(serving.contains(&"get secrets".to_owned()) && own.len() == 3, "{serving:?} {own:?}");

    let mut narrowed = values.clone();
    narrowed["gate"]["secretNames"] = json!(["gupy-token", "qualp"]);
    let of_secrets = |(_, line): &Right| line.contains("secrets");
    let rights = granted_to("hookkeeper-gate", &template(&narrowed));
    let named = ["get secrets gupy-token,qualp"];
    assert_eq!(
        rights.into_iter().filter(of_secrets).collect::<BTreeSet<_>>(),
        union(&[at("a", &named), at("b", &named)])
    );
    // The operator's do not change with it, and without roles of ours nobody gets any.
    assert!(granted(&documents).is_superset(&granted(&template(&json!({"publishing": {"enabled": true}})))));
    let mut none = values;
    none["rbac"] = json!({"create": false});
    assert_eq!(granted_to("hookkeeper-gate", &template(&none)), BTreeSet::new());
}

#[test]
fn names_of_the_release_and_of_the_account_are_followed() {
    let documents = template(&json!({"fullnameOverride": "keeper", "serviceAccount": {"name": "robot"}}));
    let lease = rules(named(&documents, "Role", "keeper-lease"));
    assert!(lease.contains("update leases keeper"), "{lease:?}");
    let binding = named(&documents, "ClusterRoleBinding", "keeper.hookkeeper-system");
    assert_eq!(binding["subjects"][0]["name"], "robot");
    assert_eq!(
        named(&documents, "Deployment", "keeper")["spec"]["template"]["spec"]["serviceAccountName"],
        "robot"
    );
    assert!(of_kind(&template(&json!({"rbac": {"create": false}})), "Role").is_empty());
}

#[test]
fn who_may_view_or_edit_a_namespace_may_do_so_with_the_four_kinds() {
    let documents = template(&json!({}));
    let aggregated = |name: &str| {
        let role = named(&documents, "ClusterRole", name);
        let labels = role["metadata"]["labels"].as_object().unwrap();
        let mut to: Vec<&str> =
            labels.keys().filter_map(|label| Some(label.split_once("aggregate-to-")?.1)).collect();
        to.sort_unstable();
        (rules(role), to.join(" "))
    };
    let lines = |verbs: &[&str]| -> BTreeSet<String> {
        let kinds = ["webhooksubscriptions", "webhookproviders", "tokensources", "webhookreceivers"];
        verbs.iter().flat_map(|verb| kinds.map(|kind| format!("{verb} {kind}"))).collect()
    };
    assert_eq!(
        aggregated("hookkeeper-view.hookkeeper-system"),
        (lines(&["get", "list", "watch"]), "admin edit view".to_owned())
    );
    let editing = ["create", "update", "patch", "delete", "deletecollection"];
    assert_eq!(aggregated("hookkeeper-edit.hookkeeper-system"), (lines(&editing), "admin edit".to_owned()));
    // Who administers a namespace can grant it; who edits in it has to be granted it.
    let using = BTreeSet::from(["use tokensources".to_owned()]);
    assert_eq!(aggregated("hookkeeper-use.hookkeeper-system"), (using, "admin".to_owned()));
}
