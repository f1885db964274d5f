//! The definitions on a real API server: what it takes, what it refuses, and that `hookkeeper check`
//! says the same.

// The cases that the check is tried on without a server.
#[path = "../../../src/api/validation/tests/cases.rs"]
mod cases;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hookkeeper::api::Kind;
use serde_json::{Value, json};

use super::super::readme::blocks;
use super::super::{in_repository, run};
use super::Cluster;

use cases::{P, R, T, W, changed, example};

const KINDS: [Kind; 4] = [P, T, W, R];

#[test]
fn the_definitions_are_served_and_the_server_finds_nothing_to_complain_about() {
    let cluster = Cluster::shared();
    // A second time, as an upgrade does.
    cluster.install_definitions();
    let definitions = cluster.succeed(&["get", "crds", "-o", "json"]);
    let definitions: Value = serde_json::from_str(&definitions).unwrap();
    let definitions = definitions["items"].as_array().unwrap();
    assert_eq!(definitions.len(), KINDS.len());
    for definition in definitions {
        for condition in definition["status"]["conditions"].as_array().unwrap() {
            let holds = condition["status"] == "True";
            let is_good = ["NamesAccepted", "Established"].contains(&condition["type"].as_str().unwrap());
            assert_eq!(holds, is_good, "{condition}");
        }
    }
}

#[test]
fn explain_lists_every_field() {
    let cluster = Cluster::shared();
    for (short, file) in [
        ("whp", "webhookproviders"),
        ("tsrc", "tokensources"),
        ("whs", "webhooksubscriptions"),
        ("whr", "webhookreceivers"),
    ] {
        let text = fs::read_to_string(in_repository(&format!("crds/{file}.yaml"))).unwrap();
        let definition: Value = serde_saphyr::from_str(&text).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut fields = Vec::new();
        collect_fields(&schema["properties"]["spec"], 1, &mut fields);
        let explained = cluster.succeed(&["explain", &format!("{short}.spec"), "--recursive"]);
        let (_, explained) = explained.split_once("FIELDS:\n").unwrap();
        let lines = explained.lines().filter_map(|line| line.split_once('\t'));
        let listed: Vec<String> = lines.map(|(name, _)| name.to_owned()).collect();
        assert_eq!(listed, fields, "{explained}");
    }
    let explained = cluster.succeed(&["explain", "whs.spec.rotation.overlap"]);
    assert!(explained.contains("How long the previous token should still be valid"), "{explained}");
}

/// All fields as `kubectl explain` lists them: in order, indented by depth.
fn collect_fields(schema: &Value, depth: usize, fields: &mut Vec<String>) {
    let inner = if schema["items"].is_object() { &schema["items"] } else { schema };
    let properties: BTreeMap<_, _> = inner["properties"].as_object().into_iter().flatten().collect();
    for (name, property) in properties {
        fields.push(format!("{}{name}", "  ".repeat(depth)));
        collect_fields(property, depth + 1, fields);
    }
}

#[test]
fn a_new_object_has_been_seen_by_nobody() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("new");
    let folder = tempfile::tempdir().unwrap();
    for kind in KINDS {
        write(folder.path(), "new", kind, example(kind));
        let file = folder.path().join("new.json");
        cluster.succeed(&["create", "-n", &namespace, "-f", file.to_str().unwrap()]);
        let status =
            cluster.succeed(&["get", "-n", &namespace, &kind.to_string(), "new", "-o", "jsonpath={.status}"]);
        assert_eq!(status, r#"{"observedGeneration":-1}"#, "{kind}");
    }
}

#[test]
fn subscriptions_are_listed_with_their_columns_and_found_by_their_fields() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("columns");
    let folder = tempfile::tempdir().unwrap();
    for (name, action) in [("moved", "application.moved"), ("hired", "candidate.hired")] {
        write(folder.path(), name, W, changed(W, "/action", &json!(action)));
    }
    cluster.succeed(&["create", "-n", &namespace, "-f", folder.path().to_str().unwrap()]);
    let listed = cluster.succeed(&["get", "-n", &namespace, "whs", "--sort-by=.spec.action"]);
    let heads = listed.lines().next().unwrap().split("   ").map(str::trim).filter(|head| !head.is_empty());
    assert_eq!(
        heads.collect::<Vec<_>>(),
        ["NAME", "READY", "HEALTHY", "ACTION", "EXPIRES", "NEXT", "LAST ROTATED", "AGE"]
    );
    for selector in ["spec.action=candidate.hired", "spec.providerRef.name=gupy,spec.action=candidate.hired"]
    {
        let found =
            cluster.succeed(&["get", "-n", &namespace, "whs", "-o", "name", "--field-selector", selector]);
        assert_eq!(found, "webhooksubscription.hookkeeper.dev/hired\n", "{selector}");
    }
}

#[test]
fn the_provider_of_a_subscription_cannot_be_changed() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("immutable");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("moved.json");
    let apply = ["apply", "-n", &namespace, "-f", file.to_str().unwrap()];
    write(folder.path(), "moved", W, example(W));
    cluster.succeed(&apply);
    write(folder.path(), "moved", W, changed(W, "/providerRef/name", &json!("other")));
    let refused = cluster.kubectl(&apply);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    // Older servers put the kind of value between the two.
    for part in ["spec.providerRef: Invalid value: ", "cannot be changed; delete this object"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
}

#[test]
fn what_is_applied_again_is_not_written_again() {
    let cluster = Cluster::shared();
    let readme = fs::read_to_string(in_repository("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example.yaml");
    let example =
        blocks(&readme, "yaml").into_iter().find(|(_, block)| block.contains("kind: WebhookSubscription"));
    fs::write(&file, example.unwrap().1).unwrap();
    for flags in [&[][..], &["--server-side"]] {
        // Objects of its own for each way: fields that come to another manager are written once more.
        let namespace = cluster.namespace("again");
        let apply = || {
            let file = file.to_str().unwrap();
            let applied = cluster.kubectl(&[&["apply", "-n", &namespace, "-f", file], flags].concat());
            assert_eq!((applied.code, applied.stderr.as_str()), (Some(0), ""), "{}", applied.stdout);
            let versions = "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.generation} {.metadata.resourceVersion}\n{end}";
            cluster.succeed(&["get", "-n", &namespace, "whp,tsrc,whs", "-o", versions])
        };
        if flags.contains(&"--server-side") {
            // Once more the server writes the status's default, where no controller has written one yet.
            apply();
        }
        let first = apply();
        assert_eq!(first.lines().count(), 2, "{first}");
        assert!(first.lines().all(|line| line.split(' ').nth(2) == Some("1")), "{first}");
        assert_eq!(apply(), first, "{flags:?}");
    }
}

#[test]
fn server_and_check_take_what_keeps_the_rules() {
    let mut cases: Vec<Value> = KINDS.map(|kind| named(kind, example(kind))).into();
    cases.extend(cases::good().into_iter().map(|(kind, at, value)| named(kind, changed(kind, at, &value))));
    let judged = judge(&cases);
    for (index, case) in cases.iter().enumerate() {
        assert_eq!(judged.refused_by_server[index], "", "{}", shown(case));
        assert_eq!(judged.refused_by_check[index], "", "{}", shown(case));
    }
}

#[test]
fn server_and_check_refuse_what_breaks_the_schema_and_name_the_field() {
    let cases = cases::breaking_the_schema();
    let objects: Vec<Value> =
        cases.iter().map(|(kind, at, value, _)| named(*kind, changed(*kind, at, value))).collect();
    let judged = judge(&objects);
    for (index, (kind, at, value, field)) in cases.iter().enumerate() {
        for (who, said) in
            [("server", &judged.refused_by_server[index]), ("check", &judged.refused_by_check[index])]
        {
            assert!(names(said, field), "{who}: {kind} {at} = {}\n{said}", shown(value));
        }
    }
}

#[test]
fn the_check_refuses_more_than_a_schema_can() {
    let cases = cases::breaking_a_rule_beside_it();
    let objects: Vec<Value> =
        cases.iter().map(|(kind, at, value, _)| named(*kind, changed(*kind, at, value))).collect();
    let judged = judge(&objects);
    for (index, (kind, at, value, field)) in cases.iter().enumerate() {
        let shown = format!("{kind} {at} = {}", shown(value));
        assert_eq!(judged.refused_by_server[index], "", "{shown}");
        assert!(names(&judged.refused_by_check[index], field), "{shown}");
    }
}

/// Whether a refusal names this very field, and not one around it or in it.
fn names(refusal: &str, field: &str) -> bool {
    // Of two entries with one name the server names the later entry, which is what it compares.
    let entry = field.strip_suffix(".name").unwrap_or(field);
    [
        format!(" {field}: "),
        format!("[{field}: "),
        format!("\"{field}\""),
        // Where nothing may be said, the server names what has been said.
        format!(" {field} in body is a forbidden property"),
        format!("{entry}: Duplicate value: "),
    ]
    .iter()
    .any(|named| refusal.contains(named))
}

/// What each object is refused with; nothing for what is taken.
struct Judged {
    refused_by_server: Vec<String>,
    refused_by_check: Vec<String>,
}

/// Puts objects to the server, without storing them, and to `hookkeeper check`.
fn judge(objects: &[Value]) -> Judged {
    let cluster = Cluster::shared();
    let folder = tempfile::tempdir().unwrap();
    for (index, object) in objects.iter().enumerate() {
        let mut object = object.clone();
        object["metadata"] = json!({ "name": name(index) });
        fs::write(folder.path().join(name(index) + ".json"), object.to_string()).unwrap();
    }
    let folder = folder.path().to_str().unwrap();
    // One process for all of them; each refusal names its object or its file.
    let created = cluster.kubectl(&["create", "--dry-run=server", "-o", "name", "-f", folder]);
    let checked = run(&["check", folder]);
    let refused = |text: &str| {
        let mut refused = vec![String::new(); objects.len()];
        let mut current = None;
        for line in text.lines() {
            let named = (0..objects.len()).find(|index| line.contains(&name(*index)));
            current = named.or(current);
            refused[current.unwrap_or_else(|| panic!("{line}"))].push_str(&format!("{line}\n"));
        }
        refused
    };
    let problems: Vec<&str> = checked
        .stdout
        .lines()
        .filter(|line| line.starts_with(folder) && !line.contains(": warning: "))
        .collect();
    let judged = Judged {
        refused_by_server: refused(&created.stderr),
        refused_by_check: refused(&problems.join("\n")),
    };
    let taken = created.stdout.lines().count();
    let refused = judged.refused_by_server.iter().filter(|said| !said.is_empty()).count();
    assert_eq!(taken + refused, objects.len(), "{}", created.stderr);
    judged
}

fn name(index: usize) -> String {
    format!("case-{index:03}")
}

fn named(kind: Kind, mut object: Value) -> Value {
    object["apiVersion"] = json!("hookkeeper.dev/v1alpha1");
    object["kind"] = json!(kind.to_string());
    object
}

fn write(folder: &Path, name: &str, kind: Kind, object: Value) {
    let mut object = named(kind, object);
    object["metadata"] = json!({ "name": name });
    fs::write(folder.join(format!("{name}.json")), object.to_string()).unwrap();
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}
