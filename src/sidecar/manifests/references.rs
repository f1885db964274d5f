//! What the manifests of a folder refer to, before anything is done with them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use super::document::{self, FileContent, Item};
use super::folder::{FileRead, Folder};
use crate::api::{ObjectKey, SecretKeyReference};

/// What the manifests of a folder refer to and do not hold themselves. What cannot be read is left
/// out: whoever reads the manifests for good says so.
#[must_use]
pub fn references(folder: &Path) -> Vec<SecretKeyReference> {
    let files = Folder::new(folder.to_owned()).look(SystemTime::now()).files.unwrap_or_default();
    let mut held: BTreeSet<(ObjectKey, String)> = BTreeSet::new();
    let mut named: Vec<(ObjectKey, SecretKeyReference)> = Vec::new();
    for read in files.into_values() {
        let FileRead::Text { text, version } = read else { continue };
        let FileContent { items, .. } = document::understand(text.expose(), &version);
        for item in items {
            match item {
                Item::Object { key, spec: Ok(spec), .. } => {
                    let references = spec.secret_references().into_iter();
                    named.extend(references.map(|found| (key.sibling(&found.name), found)));
                }
                Item::Secret { key, secret: Some(secret) } => {
                    held.extend(secret.data.into_keys().map(|entry| (key.clone(), entry)));
                }
                _ => {}
            }
        }
    }
    let is_elsewhere = |(secret, found): &(ObjectKey, SecretKeyReference)| {
        !held.contains(&(secret.clone(), found.key.clone()))
    };
    named.into_iter().filter(is_elsewhere).map(|(_, found)| found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(name: &str, key: &str) -> SecretKeyReference {
        SecretKeyReference { name: name.to_owned(), key: key.to_owned() }
    }

    #[test]
    fn what_a_manifest_holds_itself_is_read_from_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let text = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {name: gupy}
spec: {preset: gupy, auth: {bearer: {secretKeyRef: {name: gupy-api, key: token}}}}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {name: kept}
spec: {secret: {name: gupy, key: api-token, expiresAtKey: end}}
---
apiVersion: v1
kind: Secret
metadata: {name: gupy-api}
stringData: {token: x}
";
        let found = |text: &str| {
            std::fs::write(folder.path().join("a.yaml"), text).unwrap();
            references(folder.path())
        };
        assert_eq!(found(text), [reference("gupy", "api-token"), reference("gupy", "end")]);
        let without = text.replace("stringData", "x");
        assert_eq!(found(&without).len(), 3);
    }
}
