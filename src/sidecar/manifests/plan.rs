//! What a look at the folder changes: the decisions, without any I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::changes::{change, identity, order, refuse_forbidden_change};
use super::document::{Annotations, Item, Spec};
use super::files::{FileView, Files, Id, TakenIn};
use super::receivers::{self, Places};
use crate::api::{Identity, Kind, ObjectKey};
use crate::engine::change::Change;
use crate::gate::change::ReceiverChange;
use crate::sidecar::manifest_secrets::SecretManifest;
use crate::sidecar::state::{Entries, Entry, ValidSpec};

/// An object is gone when it was absent in two looks this far apart.
pub const ABSENT_FOR: Duration = Duration::from_secs(60);

/// What is to be done after a look.
#[derive(Debug, Default)]
pub struct Plan {
    /// To be remembered before the changes are handed over.
    pub declarations: Vec<Declaration>,
    /// To be forgotten; subscriptions are forgotten by whoever carries out their deletion.
    pub forgotten: Vec<(Kind, ObjectKey)>,
    /// Receivers whose manifest is gone, to be remembered as such, and since when.
    pub gone: Vec<(ObjectKey, DateTime<Utc>)>,
    /// To be handed to the engine, in this order.
    pub changes: Vec<Change>,
    /// To be handed to the gate, in this order, before the engine gets its own.
    pub receiver_changes: Vec<ReceiverChange>,
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
    /// When it was declared first, where that matters.
    pub created: Option<DateTime<Utc>>,
}

/// Which parts of the process the folder is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// The engine alone.
    Engine,
    /// The gate alone: webhooks at providers are no concern.
    Gate,
    /// Both.
    Both,
}

impl Parts {
    /// Whether an engine is among them.
    #[must_use]
    pub fn has_engine(self) -> bool {
        self != Self::Gate
    }

    /// Whether a gate is among them.
    #[must_use]
    pub fn has_gate(self) -> bool {
        self != Self::Engine
    }

    fn concern(self, kind: Kind) -> bool {
        match kind {
            Kind::TokenSource => true,
            Kind::WebhookReceiver => self.has_gate(),
            Kind::WebhookProvider | Kind::WebhookSubscription => self.has_engine(),
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
    /// People were told that it stays although it is absent.
    held: bool,
}

/// Remembers the last look and says what the next one changes.
#[derive(Debug)]
pub struct Planner {
    prune: bool,
    parts: Parts,
    started: bool,
    files: Files,
    known: BTreeMap<Id, Known>,
    secrets: BTreeMap<ObjectKey, SecretManifest>,
    /// Subscriptions that are gone and still remembered: their deletion is being carried out.
    leaving: BTreeSet<ObjectKey>,
    warned_of_nothing: bool,
    /// People were told that receivers are of no use here.
    warned_of_receivers: bool,
    places: Places,
    /// Why the folder could not be read at the last look.
    unreadable: Option<String>,
}

impl Planner {
    /// A planner that has seen nothing. With `prune`, what is gone follows its deletion policy.
    #[must_use]
    pub fn new(prune: bool, parts: Parts) -> Self {
        Self {
            prune,
            parts,
            started: false,
            files: Files::default(),
            known: BTreeMap::new(),
            secrets: BTreeMap::new(),
            leaving: BTreeSet::new(),
            warned_of_nothing: false,
            warned_of_receivers: false,
            places: Places::default(),
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
        !self.leaving.is_empty() || self.known.values().any(|known| known.absent_since.is_some())
    }

    /// Says what follows from a look: the files by name, or why the folder cannot be read.
    /// `entries` is what is remembered now; `new_uid` draws a random identifier, `date` is that of objects
    /// that are seen first.
    pub fn plan(
        &mut self,
        look: Result<BTreeMap<String, FileView>, String>,
        entries: &Entries,
        now: Instant,
        date: DateTime<Utc>,
        new_uid: &mut dyn FnMut() -> String,
    ) -> Plan {
        let mut plan = Plan::default();
        if !self.started {
            self.recall(entries);
        }
        self.leaving.retain(|key| entries.contains_key(&(Kind::WebhookSubscription, key.clone())));
        match look {
            Ok(files) => {
                self.unreadable = None;
                let TakenIn { mut items, warnings, read_again } = self.files.take_in(files);
                plan.warnings = warnings;
                plan.read_again = read_again;
                for (_, item) in &mut items {
                    refuse_forbidden_change(item, entries);
                }
                self.places.look(&items, &self.files, |id| self.known.contains_key(id));
                self.leave_out_the_unconcerned(&mut items, &mut plan);
                let seen_valid = valid_ids(&items);
                self.restore(entries, &seen_valid, &mut plan);
                for (file, item) in items {
                    self.declare(&file, item, entries, date, new_uid, &mut plan);
                }
                self.follow_places(entries, &mut plan);
                self.remove_absent(entries, now, date, &mut plan);
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
        plan.receiver_changes.sort_by_key(receivers::order);
        if !self.started {
            self.started = true;
            plan.changes.push(Change::Synced);
            plan.receiver_changes.push(ReceiverChange::Synced);
        }
        plan
    }

    /// Takes the documents out that no part of this process does anything with.
    fn leave_out_the_unconcerned(&mut self, items: &mut Vec<(String, Item)>, plan: &mut Plan) {
        let is_receiver = |item: &Item| matches!(item, Item::Object { kind: Kind::WebhookReceiver, .. });
        let receivers = items.iter().any(|(_, item)| is_receiver(item));
        if receivers && !self.parts.has_gate() && !std::mem::replace(&mut self.warned_of_receivers, true) {
            plan.warnings.push(
                "there are manifests of the kind WebhookReceiver, and this process has no gate: start it with \
                 --gate-listen and --data, or leave them to `hookkeeper gate`"
                    .to_owned(),
            );
        }
        let parts = self.parts;
        items.retain(|(_, item)| match item {
            Item::Object { kind, .. } => parts.concern(*kind),
            Item::Secret { .. } => true,
        });
    }

    /// Tells whoever a version of an object concerns.
    fn tell(&mut self, spec: Spec, identity: Identity, entry: &Entry, plan: &mut Plan) {
        if let Spec::Receiver(spec) = spec {
            plan.receiver_changes.push(self.places.declared(*spec, identity, Some(entry)));
            return;
        }
        if let Spec::TokenSource(spec) = &spec
            && self.parts.has_gate()
        {
            plan.receiver_changes.push(receivers::source(&identity.key, spec));
        }
        if self.parts.has_engine() {
            plan.changes.extend(change(spec, identity, Some(entry)));
        }
    }

    /// Tells the gate again of receivers whose tokens come in another header now.
    fn follow_places(&mut self, entries: &Entries, plan: &mut Plan) {
        if !self.parts.has_gate() {
            return;
        }
        for key in self.places.moved() {
            let id = (Kind::WebhookReceiver, key);
            let known = self.known.get(&Id::Object(id.0, id.1.clone()));
            if let Some(entry) =
                entries.get(&id).filter(|_| known.is_some_and(|known| known.told == Told::Valid))
                && let Some((spec, generation)) = receivers::remembered(entry)
            {
                let identity = identity(&id.1, entry, generation, &Annotations::default());
                plan.receiver_changes.push(self.places.declared(spec, identity, Some(entry)));
            }
        }
    }

    /// At the start: what an earlier process knew.
    fn recall(&mut self, entries: &Entries) {
        self.places.recall(entries);
        for (kind, key) in entries.keys().filter(|(kind, _)| self.parts.concern(*kind)) {
            self.known.insert(Id::Object(*kind, key.clone()), Known::untold());
        }
    }

    /// At the start: puts the last valid version in force of what the manifests do not show, or
    /// show broken, and the version before of what has not been found to work yet.
    fn restore(&mut self, entries: &Entries, seen_valid: &BTreeSet<Id>, plan: &mut Plan) {
        if self.started {
            return;
        }
        let parts = self.parts;
        for ((kind, key), entry) in entries.iter().filter(|((kind, _), _)| parts.concern(*kind)) {
            let id = Id::Object(*kind, key.clone());
            let newest = entry.valid.as_ref().filter(|_| !seen_valid.contains(&id));
            for valid in entry.fallback.iter().chain(newest) {
                let Ok(spec) = Spec::from_json(*kind, &valid.spec) else {
                    plan.warnings.push(format!(
                        "the remembered version of {id} cannot be used by this release; {id} waits for its manifest"
                    ));
                    continue;
                };
                let identity = identity(key, entry, valid.generation, &Annotations::default());
                self.tell(spec, identity, entry, plan);
                if newest.is_some_and(|newest| newest.generation == valid.generation)
                    && let Some(known) = self.known.get_mut(&id)
                {
                    known.told = Told::Valid;
                }
            }
            // It was gone before this process began, and does not come to life for a minute.
            if let Some(since) = entry.gone_since
                && !self.files.declare(&id)
            {
                plan.receiver_changes.push(ReceiverChange::Gone(key.clone(), since));
                self.known.remove(&id);
            }
        }
    }

    fn declare(
        &mut self,
        file: &str,
        item: Item,
        entries: &Entries,
        date: DateTime<Utc>,
        new_uid: &mut dyn FnMut() -> String,
        plan: &mut Plan,
    ) {
        let (kind, key, annotations, digest, spec) = match item {
            Item::Object { kind, key, annotations, digest, spec } => (kind, key, annotations, digest, spec),
            Item::Secret { key, secret } => {
                if let Some(secret) = secret {
                    plan.secrets_changed = true;
                    self.known.entry(Id::Secret(key.clone())).or_insert_with(Known::untold);
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
        let telling = if spec.is_ok() { Told::Valid } else { Told::Invalid };
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
            Ok(spec) => spec.to_json().ok().map(|spec| ValidSpec { generation, spec }).or(before),
            Err(_) => before,
        };
        // Of two receivers with one path the older one has it; the engine has claims of its own.
        let created =
            (kind == Kind::WebhookReceiver).then(|| entry.and_then(|entry| entry.created).unwrap_or(date));
        let declared = Entry {
            uid: uid.clone(),
            generation,
            spec_digest: digest.clone(),
            created,
            gone_since: None,
            has_finalizer: entry.is_some_and(|entry| entry.has_finalizer),
            valid: valid.clone(),
            fallback: None,
            status: entry.and_then(|entry| entry.status.clone()),
        };
        if entry.is_none_or(|entry| {
            entry.spec_digest != digest || entry.valid.is_none() || entry.gone_since.is_some()
        }) {
            plan.declarations.push(Declaration {
                kind,
                key: key.clone(),
                uid,
                generation,
                spec_digest: digest,
                valid,
                created,
            });
        }
        let identity = identity(&key, &declared, generation, &annotations);
        match spec {
            Ok(spec) => self.tell(spec, identity, &declared, plan),
            Err(problem) => {
                plan.warnings.push(format!(
                    "{file}: {id} is invalid, its last valid version stays in force: {problem}"
                ));
                if kind == Kind::WebhookReceiver {
                    plan.receiver_changes.push(receivers::invalid(identity, &problem));
                    return;
                }
                if !self.parts.has_engine() {
                    return;
                }
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
    fn remove_absent(&mut self, entries: &Entries, now: Instant, date: DateTime<Utc>, plan: &mut Plan) {
        let holds_valid = self.files.hold_valid();
        let in_doubt = !holds_valid && !self.known.is_empty();
        if in_doubt && !self.warned_of_nothing {
            plan.warnings
                .push("the folder holds no valid manifest; everything stays in force as it was".to_owned());
        }
        self.warned_of_nothing = in_doubt;
        let certain = holds_valid && !self.files.hide();

        let mut expired = Vec::new();
        for (id, known) in &mut self.known {
            if self.files.declare(id) || !certain {
                known.absent_since = None;
                known.held = false;
                continue;
            }
            let Some(since) = known.absent_since else {
                known.absent_since = Some(now);
                plan.warnings
                    .push(format!("{id} is no longer in the folder; it stays in force for another minute"));
                continue;
            };
            if now.saturating_duration_since(since) >= ABSENT_FOR {
                expired.push(id.clone());
            }
        }
        // Subscriptions first: what they need for their deletion stays until it is done.
        expired.sort_by_key(|id| !matches!(id, Id::Object(Kind::WebhookSubscription, _)));
        let held: BTreeSet<Id> = expired.iter().filter(|id| self.is_held(id, entries)).cloned().collect();
        for id in expired {
            match &id {
                Id::Object(Kind::WebhookSubscription, key) => {
                    self.remove_subscription(key, entries, plan);
                }
                Id::Object(Kind::WebhookReceiver, key) => {
                    plan.warnings.push(format!(
                        "{id} was absent from the folder for a minute: deliveries are taken in and kept, and none is \
                         handed on until it is back"
                    ));
                    self.places.forget(key);
                    plan.gone.push((key.clone(), date));
                    plan.receiver_changes.push(ReceiverChange::Gone(key.clone(), date));
                }
                Id::Object(..) | Id::Secret(_) if self.is_needed(id.key()) => continue,
                Id::Object(..) | Id::Secret(_) if held.contains(&id) => {
                    let known = self.known.get_mut(&id);
                    if known.is_some_and(|known| !std::mem::replace(&mut known.held, true)) {
                        plan.warnings.push(format!(
                            "{id} is no longer in the folder and stays in force: there are subscriptions with \
                             deletionPolicy: Delete, whose deletion needs it; remove them too, or set their policy to \
                             Orphan"
                        ));
                    }
                    continue;
                }
                Id::Object(kind, key) => {
                    plan.forgotten.push((*kind, key.clone()));
                    if self.parts.has_gate() && *kind == Kind::TokenSource {
                        plan.receiver_changes.push(ReceiverChange::Source(key.clone(), None));
                    }
                    if self.parts.has_engine() {
                        plan.changes.push(Change::Gone { kind: *kind, key: key.clone(), prune: self.prune });
                    }
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
        let told = self.known.get(&Id::Object(kind, key.clone())).map_or(Told::Nothing, |known| known.told);
        let what = if self.prune {
            "its deletion policy is followed"
        } else {
            "it is orphaned: the provider keeps its copy, whose token is no longer renewed"
        };
        plan.warnings.push(format!("{kind} {key} was absent from the folder for a minute; {what}"));
        if told != Told::Nothing {
            plan.changes.push(Change::Gone { kind, key: key.clone(), prune: self.prune });
        }
        let was_valid = entries.get(&(kind, key.clone())).is_some_and(|entry| entry.valid.is_some());
        if told != Told::Nothing && was_valid {
            self.leaving.insert(key.clone());
        } else {
            // The engine never had a spec of it: there is nothing to carry out.
            plan.forgotten.push((kind, key.clone()));
        }
    }

    /// Whether deletions to come need a provider that is absent, or a Secret that is absent with it.
    fn is_held(&self, id: &Id, entries: &Entries) -> bool {
        let is_guarded = |key: &ObjectKey| {
            entries.get(&(Kind::WebhookProvider, key.clone())).is_some_and(|entry| entry.has_finalizer)
        };
        match id {
            _ if !self.prune => false,
            Id::Object(Kind::WebhookProvider, key) => is_guarded(key),
            Id::Secret(secret) => self.known.iter().any(|(other, known)| match other {
                Id::Object(Kind::WebhookProvider, key) => {
                    known.absent_since.is_some() && key.namespace == secret.namespace && is_guarded(key)
                }
                _ => false,
            }),
            Id::Object(..) => false,
        }
    }

    /// Whether a deletion in the namespace is still being carried out.
    fn is_needed(&self, key: &ObjectKey) -> bool {
        self.leaving.iter().any(|leaving| leaving.namespace == key.namespace)
    }
}

impl Known {
    fn untold() -> Self {
        Self { told: Told::Nothing, annotations: Annotations::default(), absent_since: None, held: false }
    }
}

fn valid_ids(items: &[(String, Item)]) -> BTreeSet<Id> {
    items
        .iter()
        .filter(|(_, item)| matches!(item, Item::Object { spec: Ok(_), .. }))
        .map(|(_, item)| Id::of(item))
        .collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
