//! Secrets that stand in the folder of manifests, and what the manifests refer to.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::api::{ObjectKey, SecretKeyReference};
use crate::secret::SecretText;

/// A Secret from a manifest.
#[derive(Clone, Debug)]
pub struct SecretManifest {
    /// The values by key.
    pub data: BTreeMap<String, SecretText>,
    /// The hosts the values may be sent to, where the manifest says so.
    pub allowed_hosts: Option<Vec<String>>,
    /// Identity of the file it stands in.
    pub version: String,
}

/// The Secrets of the manifests in force, and what the manifests refer to; whoever reads the manifests
/// replaces them.
#[derive(Clone, Debug, Default)]
pub struct ManifestSecrets(Arc<RwLock<Manifests>>);

#[derive(Debug, Default)]
struct Manifests {
    secrets: BTreeMap<ObjectKey, SecretManifest>,
    /// By file.
    references: BTreeMap<String, Vec<SecretKeyReference>>,
}

impl ManifestSecrets {
    /// Puts these in the place of all before.
    pub fn replace(&self, secrets: BTreeMap<ObjectKey, SecretManifest>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).secrets = secrets;
    }

    /// Notes what a file refers to, in the place of what it did before.
    pub fn refer(&self, file: &str, references: Vec<SecretKeyReference>) {
        let mut manifests = self.0.write().unwrap_or_else(PoisonError::into_inner);
        manifests.references.insert(file.to_owned(), references);
    }

    /// Forgets what files refer to that are not there any more.
    pub fn retain_files(&self, is_there: impl Fn(&str) -> bool) {
        let mut manifests = self.0.write().unwrap_or_else(PoisonError::into_inner);
        manifests.references.retain(|file, _| is_there(file));
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<SecretManifest> {
        let manifests = self.0.read().unwrap_or_else(PoisonError::into_inner);
        manifests.secrets.get(key).cloned()
    }

    /// The annotations that count for a value which is read from a place by the name of a Secret: those
    /// of that name in every namespace; those of names that are read from this very place somewhere
    /// else; and those of names that may be, as far as nobody says which of their keys are read.
    pub(super) fn hosts_of(
        &self,
        name: &str,
        is_read_there: impl Fn(&SecretKeyReference) -> bool,
        may_be_there: impl Fn(&str) -> bool,
    ) -> Vec<Vec<String>> {
        let manifests = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let annotated = manifests
            .secrets
            .iter()
            .filter_map(|(key, manifest)| manifest.allowed_hosts.as_ref().map(|hosts| (&*key.name, hosts)));
        let counts = |secret: &str| {
            if secret == name {
                return true;
            }
            let references = manifests.references.values().flatten();
            let mut of_secret = references.filter(|found| found.name == secret).peekable();
            match of_secret.peek() {
                None => may_be_there(secret),
                Some(_) => of_secret.any(&is_read_there),
            }
        };
        annotated.filter(|(secret, _)| counts(secret)).map(|(_, hosts)| hosts.clone()).collect()
    }
}
