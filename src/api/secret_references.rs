//! Which Secrets an object names.

use serde::Serialize;
use serde_json::Value;

use super::reference::SecretKeyReference;

/// The keys of Secrets that a spec names, wherever they stand in it.
#[must_use]
pub fn secret_references(spec: &impl Serialize) -> Vec<SecretKeyReference> {
    let mut found = Vec::new();
    if let Ok(spec) = serde_json::to_value(spec) {
        collect(&spec, &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut Vec<SecretKeyReference>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(members) => {
            for (field, member) in members {
                match field.as_str() {
                    "secretKeyRef" | "secret" => {
                        let text = |name| member.get(name).and_then(Value::as_str);
                        let keys = [text("key"), text("expiresAtKey")];
                        let name = text("name").into_iter();
                        found.extend(name.flat_map(|name| {
                            keys.into_iter()
                                .flatten()
                                .map(|key| SecretKeyReference { name: name.to_owned(), key: key.to_owned() })
                        }));
                    }
                    "secretKeyRefs" => {
                        let entries = member.as_array().into_iter().flatten();
                        found.extend(entries.filter_map(|entry| serde_json::from_value(entry.clone()).ok()));
                    }
                    // Documents of operations are the provider's, whatever they look like.
                    "operations" => {}
                    _ => collect(member, found),
                }
            }
        }
        _ => {}
    }
}
