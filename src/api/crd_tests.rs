use std::path::Path;

use serde_json::Value;

use super::*;

/// Calls a function on every schema node with its path.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), child, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], visit);
    }
    if schema["additionalProperties"].is_object() {
        walk(&format!("{path}{{}}"), &schema["additionalProperties"], visit);
    }
}

fn walk_all(mut visit: impl FnMut(&str, &Value)) {
    for kind in KINDS {
        assert!(schema(kind).is_object(), "{kind} has no schema");
        walk(&kind.to_string(), schema(kind), &mut visit);
    }
}

#[test]
fn the_committed_files_are_what_the_types_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    for kind in KINDS {
        let path = folder.join(file_name(kind));
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == yaml(kind).unwrap(),
            "{} differs from the types; run `cargo run -- crds --write crds`",
            path.display()
        );
    }
}

#[test]
fn yaml_says_what_the_definition_says() {
    for kind in KINDS {
        let read: Value = serde_saphyr::from_str(&yaml(kind).unwrap()).unwrap();
        assert_eq!(&read, definition(kind));
    }
}

#[test]
fn definitions_are_complete_and_carry_no_status_of_their_own() {
    for kind in KINDS {
        let definition = definition(kind);
        assert!(definition.get("status").is_none());
        assert_eq!(definition["spec"]["names"]["categories"][0], "hookkeeper");
        let version = &definition["spec"]["versions"][0];
        assert!(version["subresources"]["status"].is_object());
        assert_eq!(version["additionalPrinterColumns"][0]["name"], "Ready");
        let schema = &version["schema"]["openAPIV3Schema"];
        assert_eq!(schema["properties"]["status"]["default"], json!({ "observedGeneration": -1 }));
        let conditions = &schema["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], "map");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
    }
    let columns: Vec<&str> = definition(Kind::WebhookSubscription)
        .pointer("/spec/versions/0/additionalPrinterColumns")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .filter(|column| column.get("priority").is_none())
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(columns, ["Ready", "Healthy", "Action", "Expires", "Next", "Last Rotated", "Age"]);
    let columns: Vec<&str> = definition(Kind::WebhookReceiver)
        .pointer("/spec/versions/0/additionalPrinterColumns")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .filter(|column| column.get("priority").is_none())
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(columns, ["Ready", "URL", "Waiting", "Last Delivery", "Age"]);
}

/// `rotation::schedule::plan` is made of these; a reader who knows `renewBefore` alone would be surprised.
#[test]
fn the_description_of_renew_before_names_all_that_decides() {
    let mut described = String::new();
    walk_all(|path, node| {
        if path.ends_with(".rotation.renewBefore") {
            described = node["description"].as_str().unwrap().to_owned();
        }
    });
    for decides in ["a third", "30 days", "overlap", "rate", "timeouts", "two thirds", "a tenth", "30 s"] {
        assert!(described.contains(decides), "{decides}: {described}");
    }
}

#[test]
fn everything_is_bounded() {
    walk_all(|path, node| {
        if node["x-kubernetes-preserve-unknown-fields"] == true {
            assert!(path.ends_with(".json"), "{path} takes anything");
            return;
        }
        match node["type"].as_str() {
            Some("string") => assert!(
                node["maxLength"].is_u64() || node["enum"].is_array() || node["format"] == "date-time",
                "{path} has no maxLength"
            ),
            Some("array") => assert!(node["maxItems"].is_u64(), "{path} has no maxItems"),
            Some("object") if node["additionalProperties"].is_object() => {
                assert!(node["maxProperties"].is_u64(), "{path} has no maxProperties");
            }
            Some("integer") => {
                assert!(node["minimum"].is_number(), "{path} has no minimum");
                let format = node["format"].as_str().unwrap();
                assert!(["int32", "int64"].contains(&format), "{path}: {format}");
            }
            Some("object" | "boolean") => {}
            other => panic!("{path} is of type {other:?}"),
        }
    });
}

#[test]
fn the_schema_is_structural_and_keeps_gitops_tools_quiet() {
    walk_all(|path, node| {
        for forbidden in ["nullable", "anyOf", "oneOf", "allOf", "not", "$ref", "uniqueItems", "title"] {
            assert!(node.get(forbidden).is_none(), "{path} has {forbidden}");
        }
        if let Some(default) = node.get("default") {
            assert!(!path.contains("[]"), "{path}: a default in a list item");
            let empty = default.as_object().is_some_and(serde_json::Map::is_empty)
                || default.as_array().is_some_and(Vec::is_empty)
                || default.is_null();
            assert!(!empty, "{path}: a default that is empty");
        }
        let is_root = !path.contains('.');
        assert!(
            is_root
                || path.ends_with("[]")
                || path.ends_with("{}")
                || node["description"].as_str().is_some_and(|text| !text.is_empty()),
            "{path} has no description"
        );
        if let Some(description) = node["description"].as_str() {
            assert!(!description.contains("Auto-generated"), "{path}");
        }
    });
}

#[test]
fn few_fields_have_defaults_in_a_spec() {
    let mut defaults = Vec::new();
    walk_all(|path, node| {
        if let Some(default) = node.get("default") {
            defaults.push(format!("{path}={default}"));
        }
    });
    defaults.retain(|default| default.contains(".spec"));
    assert_eq!(
        defaults,
        [
            "WebhookReceiver.spec.mode=\"Stored\"",
            "WebhookReceiver.spec.suspend=false",
            "WebhookSubscription.spec.active=true",
            "WebhookSubscription.spec.adoptionPolicy=\"Never\"",
            "WebhookSubscription.spec.deletionPolicy=\"Orphan\"",
            "WebhookSubscription.spec.suspend=false",
            "WebhookSubscription.spec.whenMissing=\"Recreate\"",
        ]
    );
}

#[test]
fn every_pattern_compiles_and_is_anchored() {
    walk_all(|path, node| {
        if let Some(pattern) = node["pattern"].as_str() {
            regex::Regex::new(pattern).unwrap();
            assert!(pattern.starts_with('^') && pattern.ends_with('$'), "{path}: {pattern}");
        }
    });
}

#[test]
fn every_rule_compiles_and_says_what_to_do() {
    walk_all(|path, node| {
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            kube::core::cel::cel::Program::compile(rule["rule"].as_str().unwrap())
                .unwrap_or_else(|error| panic!("{path}: {error}"));
            let message = rule["message"].as_str().unwrap();
            assert!(!message.is_empty() && !message.contains('\n'), "{path}");
        }
    });
}

#[test]
fn no_rule_is_estimated_to_cost_too_much() {
    walk_all(|path, node| {
        let compiled = kube::core::cel::compile_schema(node);
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let warnings = kube::core::cel::estimate_rule_cost(rule["rule"].as_str().unwrap(), &compiled);
            assert!(warnings.is_empty(), "{path}: {warnings:?}");
        }
    });
}
