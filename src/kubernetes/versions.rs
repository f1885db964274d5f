//! What this process knows of the objects' versions at the API server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::{Kind, ObjectKey};

/// A version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) uid: String,
    pub(super) resource_version: String,
    /// Digest of the recorded status.
    pub(super) status: String,
    pub(super) finalizers: Vec<String>,
}

/// An object as the API server has it, and what the engine believes is recorded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) newest: Version,
    /// Digests of statuses that are no surprise: the one that the engine was told of or wrote last,
    /// and those that it wrote since without hearing whether they arrived.
    pub(super) expected: Vec<String>,
}

/// Who brings a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A watch, whose statuses the engine takes in only while another process leads.
    Watch { leading: bool },
    /// A write of our own.
    Write,
}

/// The newest version known of each object: what the watch has brought, or a write of our own.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions(Arc<Mutex<HashMap<(Kind, ObjectKey), Entry>>>);

impl Versions {
    fn entries(&self) -> MutexGuard<'_, HashMap<(Kind, ObjectKey), Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, kind: Kind, key: &ObjectKey) -> Option<Entry> {
        self.entries().get(&(kind, key.clone())).cloned()
    }

    /// Takes a version in unless a newer one of the same object is known: a watch may bring an older
    /// one than a write has answered. Returns whether it was taken in.
    pub(super) fn learn(&self, kind: Kind, key: &ObjectKey, version: Version, by: By) -> bool {
        let mut entries = self.entries();
        let mut taken_in = true;
        let entry = entries
            .entry((kind, key.clone()))
            .and_modify(|entry| {
                if is_older(&version, &entry.newest) {
                    taken_in = false;
                    return;
                }
                let is_told = by != By::Watch { leading: true } || entry.newest.uid != version.uid;
                if is_told {
                    entry.expected = vec![version.status.clone()];
                }
                entry.newest = version.clone();
            })
            .or_insert_with(|| Entry { expected: vec![version.status.clone()], newest: version });
        entry.expected.dedup();
        taken_in
    }

    /// Takes in what the answer to a call of our own shows. The watch alone says what is there: an
    /// answer may come after it has said that the object is gone, or that another one has its name.
    pub(super) fn learn_of_known(&self, kind: Kind, key: &ObjectKey, version: Version, by: By) {
        if self.get(kind, key).is_some_and(|entry| entry.newest.uid == version.uid) {
            self.learn(kind, key, version, by);
        }
    }

    /// A status was sent, and whether it arrived is not known.
    pub(super) fn may_be(&self, kind: Kind, key: &ObjectKey, status: String) {
        if let Some(entry) = self.entries().get_mut(&(kind, key.clone()))
            && !entry.expected.contains(&status)
        {
            entry.expected.push(status);
        }
    }

    pub(super) fn forget(&self, kind: Kind, key: &ObjectKey) {
        self.entries().remove(&(kind, key.clone()));
    }
}

/// Resource versions of one kind are numbers that grow; where a server has others, the newest to
/// arrive counts.
fn is_older(version: &Version, than: &Version) -> bool {
    version.uid == than.uid && is_older_version(&version.resource_version, &than.resource_version)
}

/// The same for two versions of one object.
pub(super) fn is_older_version(version: &str, than: &str) -> bool {
    let number = |text: &str| text.parse::<u128>().ok();
    number(version).zip(number(than)).is_some_and(|(version, than)| version < than)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind::WebhookSubscription;

    fn version(uid: &str, resource_version: &str, status: &str) -> Version {
        Version {
            uid: uid.into(),
            resource_version: resource_version.into(),
            status: status.into(),
            finalizers: Vec::new(),
        }
    }

    #[test]
    fn an_older_version_of_the_same_object_is_not_taken_in() {
        let (known, key) = (Versions::default(), ObjectKey::new("default", "a"));
        let learn = |uid, resource_version| {
            known.learn(KIND, &key, version(uid, resource_version, ""), By::Write);
            known.get(KIND, &key).unwrap().newest.resource_version
        };
        assert_eq!(learn("a", "99"), "99");
        assert_eq!(learn("a", "100"), "100");
        assert_eq!(learn("a", "99"), "100");
        assert_eq!(learn("b", "98"), "98", "another object of that name");
        assert_eq!(learn("b", "opaque"), "opaque");
        known.forget(KIND, &key);
        assert_eq!(known.get(KIND, &key), None);
    }

    #[test]
    fn an_answer_that_comes_after_the_object_has_gone_is_forgotten() {
        let (known, key) = (Versions::default(), ObjectKey::new("default", "a"));
        known.learn(KIND, &key, version("u", "1", ""), By::Watch { leading: true });
        known.learn_of_known(KIND, &key, version("u", "2", ""), By::Write);
        assert_eq!(known.get(KIND, &key).unwrap().newest.resource_version, "2");
        known.forget(KIND, &key);
        known.learn_of_known(KIND, &key, version("u", "3", ""), By::Write);
        assert_eq!(known.get(KIND, &key), None);
        known.learn(KIND, &key, version("v", "4", ""), By::Watch { leading: true });
        known.learn_of_known(KIND, &key, version("u", "3", ""), By::Write);
        assert_eq!(known.get(KIND, &key).unwrap().newest.uid, "v", "another object of that name");
    }

    #[test]
    fn a_status_that_somebody_else_writes_while_we_lead_is_a_surprise() {
        let (known, key) = (Versions::default(), ObjectKey::new("default", "a"));
        let expected = |known: &Versions| known.get(KIND, &key).unwrap().expected;
        known.learn(KIND, &key, version("u", "1", "first"), By::Watch { leading: true });
        known.learn(KIND, &key, version("u", "2", "foreign"), By::Watch { leading: true });
        assert_eq!(expected(&known), ["first"]);
        known.may_be(KIND, &key, "sent".into());
        assert_eq!(expected(&known), ["first", "sent"]);
        known.learn(KIND, &key, version("u", "3", "written"), By::Write);
        assert_eq!(expected(&known), ["written"]);
        known.learn(KIND, &key, version("u", "4", "leader's"), By::Watch { leading: false });
        assert_eq!(expected(&known), ["leader's"]);
        known.learn(KIND, &key, version("v", "5", "new object's"), By::Watch { leading: true });
        assert_eq!(expected(&known), ["new object's"]);
    }
}
