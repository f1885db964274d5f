//! Kubernetes Secrets in a file.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::api::validation::{Problem, readable};
use crate::secret::SecretText;

/// Decodes `data` and `stringData`; of a key that stands in both, `stringData` wins as it does for
/// the API server. Values that are no text, such as key stores, cannot be used and are left out.
pub(super) fn read(secret: &Value) -> Result<BTreeMap<String, SecretText>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut read = BTreeMap::new();
    for (name, value) in entries(secret, "data", &mut problems) {
        let field = || format!("data.{}", readable(name));
        // YAML folds long values; the API server skips line breaks too.
        let encoded = value.as_str().map(|value| value.replace(['\n', '\r'], ""));
        match encoded.and_then(|encoded| STANDARD.decode(encoded).ok()) {
            Some(bytes) => {
                if let Ok(text) = String::from_utf8(bytes) {
                    read.insert(name.clone(), SecretText::new(text));
                }
            }
            None => {
                problems.push(Problem::new(field(), "must be base64; plain text belongs into stringData"))
            }
        }
    }
    for (name, value) in entries(secret, "stringData", &mut problems) {
        match value.as_str() {
            Some(text) => {
                read.insert(name.clone(), SecretText::from(text));
            }
            None => problems.push(Problem::new(
                format!("stringData.{}", readable(name)),
                "must be a text (put it in quotes)",
            )),
        }
    }
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

fn entries<'a>(
    secret: &'a Value,
    field: &str,
    problems: &mut Vec<Problem>,
) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    let entries = match secret.get(field) {
        Some(Value::Object(entries)) => Some(entries),
        None | Some(Value::Null) => None,
        Some(_) => {
            problems.push(Problem::new(field, "must be a mapping"));
            None
        }
    };
    entries.into_iter().flat_map(Map::iter)
}
