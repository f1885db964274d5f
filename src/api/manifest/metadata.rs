//! An object's metadata as it may stand in a file.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use crate::api::schema;
use crate::api::validation::{Problem, readable};

/// What of the metadata matters.
#[derive(Debug)]
pub(super) struct Metadata {
    pub namespace: String,
    pub name: Option<String>,
    pub uid: Option<String>,
    pub annotations: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// Everything an API server writes into metadata: exports of objects are manifests too.
const KNOWN: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

pub(super) fn read(object: &Value, problems: &mut Vec<Problem>) -> Metadata {
    let nothing = Value::Null;
    let metadata = object.get("metadata").unwrap_or(&nothing);
    if !metadata.is_object() {
        problems.push(Problem::new("metadata", "is required, with a name"));
    }
    for name in metadata
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
        .filter(|name| !KNOWN.contains(&name.as_str()))
    {
        problems.push(Problem::new(format!("metadata.{}", readable(name)), "is not known in metadata"));
    }
    let name = text(metadata, "name", problems);
    if name.is_none() && metadata.is_object() {
        problems.push(Problem::new("metadata.name", "is required"));
    }
    Metadata {
        namespace: text(metadata, "namespace", problems).unwrap_or_else(|| "default".to_owned()),
        name,
        uid: metadata
            .get("uid")
            .and_then(Value::as_str)
            .filter(|uid| uid.len() <= 253)
            .map(ToOwned::to_owned),
        annotations: texts(metadata, "annotations", problems),
        labels: texts(metadata, "labels", problems),
    }
}

/// A name or a namespace; one that is given and cannot be one counts as not given.
fn text(metadata: &Value, field: &str, problems: &mut Vec<Problem>) -> Option<String> {
    match metadata.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if is_object_name(name) => Some(name.clone()),
        Some(_) => {
            problems.push(Problem::new(
                format!("metadata.{field}"),
                schema::explain(schema::OBJECT_NAME).unwrap_or_default(),
            ));
            None
        }
    }
}

fn is_object_name(name: &str) -> bool {
    static PATTERN: std::sync::OnceLock<Option<Regex>> = std::sync::OnceLock::new();
    name.len() <= 253
        && PATTERN
            .get_or_init(|| Regex::new(schema::OBJECT_NAME).ok())
            .as_ref()
            .is_some_and(|pattern| pattern.is_match(name))
}

fn texts(metadata: &Value, field: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    match metadata.get(field) {
        None | Some(Value::Null) => {}
        Some(Value::Object(entries)) => {
            for (name, value) in entries {
                if let Some(value) = value.as_str() {
                    read.insert(name.clone(), value.to_owned());
                } else {
                    problems.push(Problem::new(
                        format!("metadata.{field}.{}", readable(name)),
                        "must be a text (put it in quotes)",
                    ));
                }
            }
        }
        Some(_) => problems.push(Problem::new(format!("metadata.{field}"), "must be a mapping")),
    }
    read
}
