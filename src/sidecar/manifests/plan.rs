//! What a look at the folder changes: the decisions, without any I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::document::{Annotations, FileContent, Item, Spec, digest_of_invalid};
use crate::api::{Declared, Identity, Kind, ObjectKey, validation};
use crate::engine::change::Change;
use crate::engine::ports::Invalid;
use crate::sidecar::secrets::SecretManifest;
use crate::sidecar::state::{Entry, ValidSpec};

/// An object is gone when it was absent in two looks this far apart.
pub const ABSENT_FOR: Duration = Duration::from_secs(60);

/// What is remembered, as the state file has it.
pub type Entries = BTreeMap<(Kind, ObjectKey), Entry>;

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

/// What is to be done after a look.
#[derive(Debug, Default)]
pub struct Plan {
    /// To be remembered before the changes are handed over.
    pub declarations: Vec<Declaration>,
    /// To be forgotten; subscriptions are forgotten by whoever carries out their deletion.
    pub forgotten: Vec<(Kind, ObjectKey)>,
    /// To be handed to the engine, in this order.
    pub changes: Vec<Change>,
    /// To be told to people, each once.
    pub warnings: Vec<String>,
    /// Files whose text is needed again at the next look.
    pub read_again: BTreeSet<String>,
    /// Whether [`Planner::secrets`] has changed.
    pub secrets_changed: bool,
}

/// Who an object is and what it asks for, to be remembered.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// Kind of the object.
    pub kind: Kind,
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Digest of what it asks for.
    pub spec_digest: String,
    /// Its last valid spec.
    pub valid: Option<ValidSpec>,
}

/// Kind and name of a manifest; Secrets are in the folder too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    Object(Kind, ObjectKey),
    Secret(ObjectKey),
}

impl Id {
    fn key(&self) -> &ObjectKey {
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

/// What the engine was told of an object last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Valid,
    Invalid,
}

#[derive(Debug)]
struct Known {
    told: Told,
    annotations: Annotations,
    absent_since: Option<Instant>,
}

#[derive(Debug, Default)]
struct KnownFile {
    ids: Vec<Id>,
    /// Part of it cannot be read: nobody knows what that part holds.
    hides: bool,
    /// It held a valid manifest when it was read last.
    valid: bool,
}

/// Remembers the last look and says what the next one changes.
#[derive(Debug)]
pub struct Planner {
    prune: bool,
    started: bool,
    files: BTreeMap<String, KnownFile>,
    /// The first file, by name, that declares each.
    owners: BTreeMap<Id, String>,
    known: BTreeMap<Id, Known>,
    secrets: BTreeMap<ObjectKey, SecretManifest>,
    /// Subscriptions that are gone and still remembered: their deletion is being carried out.
    leaving: BTreeSet<ObjectKey>,
    warned_of_nothing: bool,
    /// Why the folder could not be read at the last look.
    unreadable: Option<String>,
}

impl Planner {
    /// A planner that has seen nothing. With `prune`, what is gone follows its deletion policy.
    #[must_use]
    pub fn new(prune: bool) -> Self {
        Self {
            prune,
            started: false,
            files: BTreeMap::new(),
            owners: BTreeMap::new(),
            known: BTreeMap::new(),
            secrets: BTreeMap::new(),
            leaving: BTreeSet::new(),
            warned_of_nothing: false,
            unreadable: None,
        }
    }

    /// Secrets from manifests that are in force.
    #[must_use]
    pub fn secrets(&self) -> &BTreeMap<ObjectKey, SecretManifest> {
        &self.secrets
    }

    /// Whether something may follow from the passing of time alone.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.leaving.is_empty()
            || self
                .known
                .values()
                .any(|known| known.absent_since.is_some())
    }

    /// Says what follows from a look: the files by name, or why the folder cannot be read.
    /// `entries` is what is remembered now; `new_uid` draws a random identifier.
    pub fn plan(
        &mut self,
        look: Result<BTreeMap<String, FileView>, String>,
        entries: &Entries,
        now: Instant,
        new_uid: &mut dyn FnMut() -> String,
    ) -> Plan {
        let mut plan = Plan::default();
        if !self.started {
            self.recall(entries);
        }
        self.leaving
            .retain(|key| entries.contains_key(&(Kind::WebhookSubscription, key.clone())));
        match look {
            Ok(files) => {
                self.unreadable = None;
                let mut items = self.take_in(files, &mut plan);
                for (_, item) in &mut items {
                    refuse_forbidden_change(item, entries);
                }
                let seen_valid = valid_ids(&items);
                self.restore(entries, &seen_valid, &mut plan);
                for (file, item) in items {
                    self.declare(&file, item, entries, new_uid, &mut plan);
                }
                self.remove_absent(entries, now, &mut plan);
            }
            Err(problem) => {
                if self.unreadable.as_ref() != Some(&problem) {
                    plan.warnings.push(format!(
                        "the folder of manifests cannot be read ({problem}); everything stays in force as it was"
                    ));
                }
                self.unreadable = Some(problem);
                self.restore(entries, &BTreeSet::new(), &mut plan);
                for known in self.known.values_mut() {
                    known.absent_since = None;
                }
            }
        }
        plan.changes.sort_by_key(order);
        if !self.started {
            self.started = true;
            plan.changes.push(Change::Synced);
        }
        plan
    }

    /// At the start: what an earlier process knew.
    fn recall(&mut self, entries: &Entries) {
        for (kind, key) in entries.keys() {
            self.known
                .insert(Id::Object(*kind, key.clone()), Known::untold());
        }
    }

    /// Notes which file declares what; returns the documents that count.
    fn take_in(
        &mut self,
        files: BTreeMap<String, FileView>,
        plan: &mut Plan,
    ) -> Vec<(String, Item)> {
        self.files.retain(|name, _| files.contains_key(name));
        let mut contents = Vec::new();
        for (name, view) in files {
            let file = self.files.entry(name.clone()).or_default();
            match view {
                FileView::Unchanged => {}
                FileView::Unreadable(problem) => {
                    plan.warnings.push(format!(
                        "{name} cannot be read ({problem}); the last good version of its objects stays in force"
                    ));
                    file.hides = true;
                    file.valid = false;
                }
                FileView::Content(content) => {
                    for problem in &content.problems {
                        plan.warnings.push(format!("{name}: {problem}"));
                    }
                    let before = std::mem::take(&mut file.ids);
                    for item in &content.items {
                        let id = id_of(item);
                        if file.ids.contains(&id) {
                            plan.warnings.push(format!(
                                "{name} declares {id} twice; the first one counts, remove the other"
                            ));
                        }
                        file.ids.push(id);
                    }
                    if content.hides {
                        file.ids.extend(before);
                    }
                    file.hides = content.hides;
                    file.valid = content
                        .items
                        .iter()
                        .any(|item| matches!(item, Item::Object { spec: Ok(_), .. }));
                    contents.push((name, content.items));
                }
            }
        }

        let mut owners: BTreeMap<Id, String> = BTreeMap::new();
        for (name, file) in &self.files {
            for id in &file.ids {
                owners.entry(id.clone()).or_insert_with(|| name.clone());
            }
        }
        let read: BTreeSet<&str> = contents.iter().map(|(name, _)| name.as_str()).collect();
        for (id, owner) in &owners {
            if self.owners.get(id) != Some(owner) && !read.contains(owner.as_str()) {
                plan.read_again.insert(owner.clone());
            }
        }
        self.owners = owners;

        let mut counting = Vec::new();
        for (name, items) in contents {
            let mut seen = BTreeSet::new();
            for item in items {
                let id = id_of(&item);
                match self.owners.get(&id) {
                    Some(owner) if *owner == name => {
                        if seen.insert(id) {
                            counting.push((name.clone(), item));
                        }
                    }
                    Some(owner) => plan.warnings.push(format!(
                        "{name} declares {id}, which {owner} declares too; the one in {owner} counts, remove the other"
                    )),
                    None => {}
                }
            }
        }
        counting
    }

    /// At the start: puts the last valid version in force of what the manifests do not show, or
    /// show broken.
    fn restore(&mut self, entries: &Entries, seen_valid: &BTreeSet<Id>, plan: &mut Plan) {
        if self.started {
            return;
        }
        for ((kind, key), entry) in entries {
            let id = Id::Object(*kind, key.clone());
            let Some(valid) = entry.valid.as_ref().filter(|_| !seen_valid.contains(&id)) else {
                continue;
            };
            let Ok(spec) = Spec::from_json(*kind, &valid.spec) else {
                plan.warnings.push(format!(
                    "the remembered version of {id} cannot be used by this release; {id} waits for its manifest"
                ));
                continue;
            };
            let identity = identity(key, entry, valid.generation, &Annotations::default());
            plan.changes.push(change(spec, identity, Some(entry)));
            if let Some(known) = self.known.get_mut(&id) {
                known.told = Told::Valid;
            }
        }
    }

    fn declare(
        &mut self,
        file: &str,
        item: Item,
        entries: &Entries,
        new_uid: &mut dyn FnMut() -> String,
        plan: &mut Plan,
    ) {
        let (kind, key, annotations, digest, spec) = match item {
            Item::Object {
                kind,
                key,
                annotations,
                digest,
                spec,
            } => (kind, key, annotations, digest, spec),
            Item::Secret { key, secret } => {
                if let Some(secret) = secret {
                    plan.secrets_changed = true;
                    self.known
                        .entry(Id::Secret(key.clone()))
                        .or_insert_with(Known::untold);
                    self.secrets.insert(key, secret);
                }
                return;
            }
        };
        if kind == Kind::WebhookSubscription && self.leaving.contains(&key) {
            // A new object of the name would take the record that its predecessor's deletion needs.
            plan.read_again.insert(file.to_owned());
            return;
        }
        let entry = entries.get(&(kind, key.clone()));
        let id = Id::Object(kind, key.clone());
        let known = self.known.entry(id.clone()).or_insert_with(Known::untold);
        let telling = if spec.is_ok() {
            Told::Valid
        } else {
            Told::Invalid
        };
        let same = entry.is_some_and(|entry| entry.spec_digest == digest)
            && known.told == telling
            && known.annotations == annotations;
        known.told = telling;
        known.annotations = annotations.clone();
        if same {
            return;
        }

        let (uid, generation) = match entry {
            Some(entry) if entry.spec_digest == digest => (entry.uid.clone(), entry.generation),
            Some(entry) => (entry.uid.clone(), entry.generation.saturating_add(1)),
            None => (new_uid(), 1),
        };
        let before = entry.and_then(|entry| entry.valid.clone());
        let valid = match &spec {
            Ok(spec) => spec
                .to_json()
                .ok()
                .map(|spec| ValidSpec { generation, spec })
                .or(before),
            Err(_) => before,
        };
        let declared = Entry {
            uid: uid.clone(),
            generation,
            spec_digest: digest.clone(),
            guarded: entry.is_some_and(|entry| entry.guarded),
            valid: valid.clone(),
            status: entry.and_then(|entry| entry.status.clone()),
        };
        if entry.is_none_or(|entry| entry.spec_digest != digest || entry.valid.is_none()) {
            plan.declarations.push(Declaration {
                kind,
                key: key.clone(),
                uid,
                generation,
                spec_digest: digest,
                valid,
            });
        }
        let identity = identity(&key, &declared, generation, &annotations);
        match spec {
            Ok(spec) => plan.changes.push(change(spec, identity, Some(&declared))),
            Err(problem) => {
                plan.warnings.push(format!(
                    "{file}: {id} is invalid, its last valid version stays in force: {problem}"
                ));
                let status = declared.status.as_ref();
                plan.changes.push(Change::Invalid {
                    kind,
                    identity,
                    problem,
                    status: status
                        .and_then(|status| serde_json::from_str(status.get()).ok())
                        .unwrap_or_else(|| serde_json::json!({})),
                });
            }
        }
    }

    /// Lets go of what was absent for long enough.
    fn remove_absent(&mut self, entries: &Entries, now: Instant, plan: &mut Plan) {
        let holds_valid = self.files.values().any(|file| file.valid);
        let hiding = self.files.iter().find(|(_, file)| file.hides);
        let in_doubt = !holds_valid && !self.known.is_empty();
        if in_doubt && !self.warned_of_nothing {
            plan.warnings.push(
                "the folder holds no valid manifest; everything stays in force as it was"
                    .to_owned(),
            );
        }
        self.warned_of_nothing = in_doubt;
        let certain = holds_valid && hiding.is_none();

        let mut expired = Vec::new();
        for (id, known) in &mut self.known {
            if self.owners.contains_key(id) || !certain {
                known.absent_since = None;
                continue;
            }
            let Some(since) = known.absent_since else {
                known.absent_since = Some(now);
                plan.warnings.push(format!(
                    "{id} is no longer in the folder; it stays in force for another minute"
                ));
                continue;
            };
            if now.saturating_duration_since(since) >= ABSENT_FOR {
                expired.push(id.clone());
            }
        }
        // Subscriptions first: what they need for their deletion stays until it is done.
        expired.sort_by_key(|id| !matches!(id, Id::Object(Kind::WebhookSubscription, _)));
        for id in expired {
            match &id {
                Id::Object(Kind::WebhookSubscription, key) => {
                    self.remove_subscription(key, entries, plan);
                }
                Id::Object(..) | Id::Secret(_) if self.is_needed(id.key()) => continue,
                Id::Object(kind, key) => {
                    plan.forgotten.push((*kind, key.clone()));
                    plan.changes.push(Change::Gone {
                        kind: *kind,
                        key: key.clone(),
                        prune: self.prune,
                    });
                }
                Id::Secret(key) => {
                    self.secrets.remove(key);
                    plan.secrets_changed = true;
                }
            }
            self.known.remove(&id);
        }
    }

    fn remove_subscription(&mut self, key: &ObjectKey, entries: &Entries, plan: &mut Plan) {
        let kind = Kind::WebhookSubscription;
        let told = self
            .known
            .get(&Id::Object(kind, key.clone()))
            .map_or(Told::Nothing, |known| known.told);
        let what = if self.prune {
            "its deletion policy is followed"
        } else {
            "it is orphaned: the provider keeps its copy, whose token is no longer renewed"
        };
        plan.warnings.push(format!(
            "{kind} {key} was absent from the folder for a minute; {what}"
        ));
        if told != Told::Nothing {
            plan.changes.push(Change::Gone {
                kind,
                key: key.clone(),
                prune: self.prune,
            });
        }
        let was_valid = entries
            .get(&(kind, key.clone()))
            .is_some_and(|entry| entry.valid.is_some());
        if told != Told::Nothing && was_valid {
            self.leaving.insert(key.clone());
        } else {
            // The engine never had a spec of it: there is nothing to carry out.
            plan.forgotten.push((kind, key.clone()));
        }
    }

    /// Whether a deletion in the namespace is still being carried out.
    fn is_needed(&self, key: &ObjectKey) -> bool {
        self.leaving
            .iter()
            .any(|leaving| leaving.namespace == key.namespace)
    }
}

impl Known {
    fn untold() -> Self {
        Self {
            told: Told::Nothing,
            annotations: Annotations::default(),
            absent_since: None,
        }
    }
}

fn id_of(item: &Item) -> Id {
    match item {
        Item::Object { kind, key, .. } => Id::Object(*kind, key.clone()),
        Item::Secret { key, .. } => Id::Secret(key.clone()),
    }
}

fn valid_ids(items: &[(String, Item)]) -> BTreeSet<Id> {
    items
        .iter()
        .filter(|(_, item)| matches!(item, Item::Object { spec: Ok(_), .. }))
        .map(|(_, item)| id_of(item))
        .collect()
}

fn identity(
    key: &ObjectKey,
    entry: &Entry,
    generation: i64,
    annotations: &Annotations,
) -> Identity {
    Identity {
        key: key.clone(),
        uid: entry.uid.clone(),
        generation,
        created: None,
        deleted: None,
        guarded: entry.guarded,
        rotate_requested: annotations.rotate_requested.clone(),
        force_orphan: annotations.force_orphan,
    }
}

fn change(spec: Spec, identity: Identity, entry: Option<&Entry>) -> Change {
    fn declared<Spec, Status: Default + serde::de::DeserializeOwned>(
        spec: Box<Spec>,
        identity: Identity,
        entry: Option<&Entry>,
    ) -> Box<Declared<Spec, Status>> {
        let status = entry.and_then(|entry| entry.status.as_ref());
        Box::new(Declared {
            identity,
            spec: *spec,
            // It was checked when the state file was read.
            status: status
                .and_then(|status| serde_json::from_str(status.get()).ok())
                .unwrap_or_default(),
        })
    }
    match spec {
        Spec::Provider(spec) => Change::Provider(declared(spec, identity, entry)),
        Spec::TokenSource(spec) => Change::TokenSource(declared(spec, identity, entry)),
        Spec::Subscription(spec) => Change::Subscription(declared(spec, identity, entry)),
    }
}

/// What others refer to comes before them, and goes after them. The sort is stable, so the
/// restored version of an object comes before the news that its manifest is invalid.
fn order(change: &Change) -> u8 {
    let of_kind = |kind: &Kind| match kind {
        Kind::WebhookProvider => 0,
        Kind::TokenSource => 1,
        Kind::WebhookSubscription => 2,
    };
    match change {
        Change::Provider(_) => of_kind(&Kind::WebhookProvider),
        Change::TokenSource(_) => of_kind(&Kind::TokenSource),
        Change::Subscription(_) => of_kind(&Kind::WebhookSubscription),
        Change::Invalid { kind, .. } => of_kind(kind),
        Change::Gone { kind, .. } => 5 - of_kind(kind),
        Change::Synced => 6,
    }
}

/// Makes a document invalid that changes a field which cannot be changed. A server compares with the
/// object before; here the last valid version stands for it.
fn refuse_forbidden_change(item: &mut Item, entries: &Entries) {
    let Item::Object {
        kind,
        key,
        digest,
        spec,
        ..
    } = item
    else {
        return;
    };
    let (Ok(new), Some(entry)) = (&*spec, entries.get(&(*kind, key.clone()))) else {
        return;
    };
    let Some(before) = &entry.valid else {
        return;
    };
    if entry.spec_digest == *digest {
        return;
    }
    let object = |json: &str| {
        let spec: Option<serde_json::Value> = serde_json::from_str(json).ok();
        serde_json::json!({ "spec": spec })
    };
    let Ok(new) = new.to_json() else {
        return;
    };
    let judged = validation::validate(*kind, &object(new.get()), Some(&object(before.spec.get())));
    if let Err(problems) = judged
        && let Some(first) = problems.into_iter().next()
    {
        let problem = Invalid {
            field: first.field,
            problem: first.problem,
        };
        *digest = digest_of_invalid(&problem);
        *spec = Err(problem);
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
