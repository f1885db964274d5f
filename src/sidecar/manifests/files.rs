//! Which file declares what.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{FileContent, Item};
use crate::api::{Kind, ObjectKey};

/// One file as a look showed it, understood.
#[derive(Debug)]
pub enum FileView {
    /// Its content is what it was.
    Unchanged,
    /// It has this content now.
    Content(FileContent),
    /// It is there and cannot be read.
    Unreadable(String),
}

/// Kind and name of a manifest; Secrets are in the folder too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Id {
    Object(Kind, ObjectKey),
    Secret(ObjectKey),
}

impl Id {
    pub(super) fn of(item: &Item) -> Self {
        match item {
            Item::Object { kind, key, .. } => Self::Object(*kind, key.clone()),
            Item::Secret { key, .. } => Self::Secret(key.clone()),
        }
    }

    pub(super) fn key(&self) -> &ObjectKey {
        match self {
            Self::Object(_, key) | Self::Secret(key) => key,
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Object(kind, key) => write!(formatter, "{kind} {key}"),
            Self::Secret(key) => write!(formatter, "Secret {key}"),
        }
    }
}

/// The files as the last look showed them.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: BTreeMap<String, KnownFile>,
    /// The first file, by name, that declares each.
    owners: BTreeMap<Id, String>,
}

#[derive(Debug, Default)]
struct KnownFile {
    ids: BTreeSet<Id>,
    /// Part of it cannot be read: nobody knows what that part holds.
    hides: bool,
    /// It held a valid manifest when it was read last.
    valid: bool,
}

/// What a look brought.
#[derive(Debug, Default)]
pub(super) struct TakenIn {
    /// The documents that count, with their files.
    pub items: Vec<(String, Item)>,
    /// To be told to people.
    pub warnings: Vec<String>,
    /// Unchanged files that declare what an earlier file no longer does.
    pub read_again: BTreeSet<String>,
}

impl Files {
    /// Whether a file declares it.
    pub(super) fn declare(&self, id: &Id) -> bool {
        self.owners.contains_key(id)
    }

    /// Whether there is a valid manifest of ours in any file.
    pub(super) fn hold_valid(&self) -> bool {
        self.files.values().any(|file| file.valid)
    }

    /// Whether a part of any file cannot be read.
    pub(super) fn hide(&self) -> bool {
        self.files.values().any(|file| file.hides)
    }

    /// Notes what the files declare now.
    pub(super) fn take_in(&mut self, views: BTreeMap<String, FileView>) -> TakenIn {
        let mut taken = TakenIn::default();
        self.files.retain(|name, _| views.contains_key(name));
        let mut contents = Vec::new();
        for (name, view) in views {
            let file = self.files.entry(name.clone()).or_default();
            match view {
                FileView::Unchanged => {}
                FileView::Unreadable(problem) => {
                    taken.warnings.push(format!(
                        "{name} cannot be read ({problem}); the last good version of its objects stays in force"
                    ));
                    file.hides = true;
                    file.valid = false;
                }
                FileView::Content(content) => {
                    let problems = content.problems.iter();
                    taken.warnings.extend(problems.map(|problem| format!("{name}: {problem}")));
                    file.read(&content);
                    contents.push((name, content.items));
                }
            }
        }
        let read: BTreeSet<&str> = contents.iter().map(|(name, _)| name.as_str()).collect();
        self.settle_owners(&read, &mut taken);
        for (name, items) in contents {
            self.choose(&name, items, &mut taken);
        }
        taken
    }

    fn settle_owners(&mut self, read: &BTreeSet<&str>, taken: &mut TakenIn) {
        let mut owners: BTreeMap<Id, String> = BTreeMap::new();
        for (name, file) in &self.files {
            for id in &file.ids {
                owners.entry(id.clone()).or_insert_with(|| name.clone());
            }
        }
        for (id, owner) in &owners {
            if self.owners.get(id) != Some(owner) && !read.contains(owner.as_str()) {
                taken.read_again.insert(owner.clone());
            }
        }
        self.owners = owners;
    }

    /// Of several documents about one object, the first in the first file counts: it is the same
    /// one after a restart.
    fn choose(&self, name: &str, items: Vec<Item>, taken: &mut TakenIn) {
        let mut seen = BTreeSet::new();
        for item in items {
            let id = Id::of(&item);
            let owner = self.owners.get(&id).map(String::as_str);
            if owner.is_some_and(|owner| owner != name) {
                let owner = owner.unwrap_or_default();
                taken.warnings.push(format!(
                    "{name} declares {id}, which {owner} declares too; the one in {owner} counts, remove the other"
                ));
            } else if seen.contains(&id) {
                taken
                    .warnings
                    .push(format!("{name} declares {id} twice; the first one counts, remove the other"));
            } else {
                seen.insert(id);
                taken.items.push((name.to_owned(), item));
            }
        }
    }
}

impl KnownFile {
    fn read(&mut self, content: &FileContent) {
        let before = std::mem::take(&mut self.ids);
        self.ids = content.items.iter().map(Id::of).collect();
        if content.hides {
            self.ids.extend(before);
        }
        self.hides = content.hides;
        self.valid = content.items.iter().any(|item| matches!(item, Item::Object { spec: Ok(_), .. }));
    }
}
