//! What is known of gates and receivers, for all who need it: the watches write it, the engine asks it, and
//! whoever leads works with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::api::{DynamicObject, ResourceExt};
use tokio::sync::{Notify, watch};

use super::presence::{Changed, Presence};
use crate::api::{ObjectKey, SeenToken, WebhookReceiverStatus, WebhookSubscriptionSpec};
use crate::engine::change::Change;
use crate::engine::ports::Clock;
use crate::kubernetes::gate_lease::GateRecord;
use crate::kubernetes::objects::key_of;

/// A header, and what stands before the token in it.
pub(super) type Place = (String, String);

/// A receiver as it is known.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    pub(super) uid: String,
    pub(super) generation: i64,
    /// It is being deleted: nothing is written of it any more.
    pub(super) is_ending: bool,
    /// The source whose tokens prove its deliveries.
    pub(super) source: Option<ObjectKey>,
    /// The source with whose tokens its platform is asked.
    pub(super) asks_with: Option<ObjectKey>,
    /// It says itself in which header its token stands.
    pub(super) names_header: bool,
    pub(super) status: WebhookReceiverStatus,
    /// Since when the object is known, in boot time.
    pub(super) since: Duration,
    /// Since when gates are known that the status speaks of.
    pub(super) noticed: BTreeMap<String, Duration>,
    /// The part of `tokens` that the engine was told of in this term.
    pub(super) told: Vec<SeenToken>,
}

/// Receivers, by a source that they name.
#[derive(Debug, Default)]
struct Index(HashMap<ObjectKey, BTreeSet<ObjectKey>>);

impl Index {
    /// A receiver names another source than before. Returns the sources of which that is news.
    fn change(
        &mut self,
        receiver: &ObjectKey,
        before: Option<ObjectKey>,
        now: Option<ObjectKey>,
    ) -> Vec<ObjectKey> {
        if before == now {
            return Vec::new();
        }
        if let Some(before) = &before
            && let Some(named) = self.0.get_mut(before)
        {
            named.remove(receiver);
            if named.is_empty() {
                self.0.remove(before);
            }
        }
        if let Some(now) = &now {
            self.0.entry(now.clone()).or_default().insert(receiver.clone());
        }
        before.into_iter().chain(now).collect()
    }
}

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) presence: Presence,
    pub(super) receivers: BTreeMap<ObjectKey, Receiver>,
    /// Receivers, by the source whose tokens they take.
    users: Index,
    /// Receivers, by the source with whose tokens their platforms are asked.
    askers: Index,
    /// The receiver that a subscription names, and where it sends its token.
    senders: BTreeMap<ObjectKey, (ObjectKey, Place)>,
    /// Subscriptions, by the receiver that they name.
    sent_to: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// Receivers that are to be looked at.
    pub(super) changed: BTreeSet<ObjectKey>,
    /// Sources of which the engine is to be told.
    pub(super) changed_sources: BTreeSet<ObjectKey>,
}

impl Known {
    fn new(now: Duration) -> Self {
        Self {
            presence: Presence::new(now),
            receivers: BTreeMap::new(),
            users: Index::default(),
            askers: Index::default(),
            senders: BTreeMap::new(),
            sent_to: HashMap::new(),
            changed: BTreeSet::new(),
            changed_sources: BTreeSet::new(),
        }
    }

    /// Notes what follows from a change of gates.
    fn take_in(&mut self, changed: &Changed) {
        if changed.any_source {
            self.changed_sources.extend(self.users.0.keys().cloned());
        }
        let used = changed.sources.iter().filter(|source| self.users.0.contains_key(*source)).cloned();
        self.changed_sources.extend(used.collect::<Vec<_>>());
        if changed.gates.is_empty() && !changed.any_source {
            return;
        }
        // A gate serves receivers without a source, too, of which its Lease says nothing.
        self.changed.extend(self.receivers.keys().cloned());
    }

    /// Whether a receiver in scope takes the tokens of this source.
    pub(super) fn uses(&self, source: &ObjectKey) -> bool {
        self.users.0.contains_key(source)
    }

    /// Whether a receiver in scope asks its platform with tokens of this source.
    pub(super) fn asks_with(&self, source: &ObjectKey) -> bool {
        self.askers.0.contains_key(source)
    }

    /// Where the first subscription of a receiver sends its token.
    pub(super) fn place_of(&self, receiver: &ObjectKey) -> Option<&Place> {
        let first = self.sent_to.get(receiver)?.first()?;
        self.senders.get(first).map(|(_, place)| place)
    }

    fn receiver_there(&mut self, object: &DynamicObject, now: Duration) {
        let key = key_of(object);
        let text = |path: &str| object.data.pointer(path).and_then(|value| value.as_str());
        let source = text("/spec/verification/token/tokenSourceRef/name").map(|name| key.sibling(name));
        let asks_with = text("/spec/fallback/request/tokenSourceRef/name").map(|name| key.sibling(name));
        let status: WebhookReceiverStatus =
            serde_json::from_value(object.data["status"].clone()).unwrap_or_default();
        let uid = object.uid().unwrap_or_default();
        let before = self.receivers.remove(&key);
        let (used, asked) =
            before.as_ref().map_or((None, None), |before| (before.source.clone(), before.asks_with.clone()));
        let before = before.filter(|before| before.uid == uid);
        let since = before.as_ref().map_or(now, |before| before.since);
        let (known, told) = before.map(|before| (before.noticed, before.told)).unwrap_or_default();
        let named = status.gates.iter().map(|report| &report.gate);
        let named = named.chain(status.tokens.iter().map(|token| &token.gate));
        let noticed = named.map(|gate| (gate.clone(), known.get(gate).copied().unwrap_or(now))).collect();
        let receiver = Receiver {
            uid,
            generation: object.metadata.generation.unwrap_or_default(),
            is_ending: object.metadata.deletion_timestamp.is_some(),
            source: source.clone(),
            asks_with: asks_with.clone(),
            names_header: text("/spec/verification/token/header").is_some(),
            status,
            since,
            noticed,
            told,
        };
        self.changed_sources.extend(self.users.change(&key, used, source));
        self.changed_sources.extend(self.askers.change(&key, asked, asks_with));
        self.receivers.insert(key.clone(), receiver);
        self.changed.insert(key);
    }

    fn receiver_gone(&mut self, key: &ObjectKey) {
        if let Some(before) = self.receivers.remove(key) {
            self.changed_sources.extend(self.users.change(key, before.source, None));
            self.changed_sources.extend(self.askers.change(key, before.asks_with, None));
        }
        self.changed.remove(key);
    }

    fn subscription(&mut self, key: &ObjectKey, spec: Option<&WebhookSubscriptionSpec>) {
        let sends = spec.and_then(|spec| {
            let place = spec.token_place()?;
            let receiver = key.sibling(&spec.receiver_ref.as_ref()?.name);
            Some((receiver, (place.header.to_owned(), place.prefix.to_owned())))
        });
        if self.senders.get(key) == sends.as_ref() {
            return;
        }
        if let Some((receiver, _)) = self.senders.remove(key) {
            if let Some(senders) = self.sent_to.get_mut(&receiver) {
                senders.remove(key);
                if senders.is_empty() {
                    self.sent_to.remove(&receiver);
                }
            }
            self.changed.insert(receiver);
        }
        if let Some((receiver, place)) = sends {
            self.sent_to.entry(receiver.clone()).or_default().insert(key.clone());
            self.changed.insert(receiver.clone());
            self.senders.insert(key.clone(), (receiver, place));
        }
    }
}

/// The board itself. Cheap to clone.
#[derive(Clone)]
pub(in crate::kubernetes) struct Board(Arc<Shared>);

struct Shared {
    known: Mutex<Known>,
    clock: Arc<dyn Clock>,
    /// Wakes whoever works with it.
    work: Notify,
    /// Counts the changes of gates, for those who wait for one.
    gates_changed: watch::Sender<u64>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Board")
    }
}

impl Board {
    /// Nothing is known yet.
    pub(in crate::kubernetes) fn new(clock: Arc<dyn Clock>) -> Self {
        let known = Mutex::new(Known::new(clock.now().boot));
        Self(Arc::new(Shared { known, clock, work: Notify::new(), gates_changed: watch::Sender::new(0) }))
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Boot time.
    pub(super) fn now(&self) -> Duration {
        self.0.clock.now().boot
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// Ends when something has changed since it ended last. For one task alone.
    pub(super) async fn changed(&self) {
        self.0.work.notified().await;
    }

    pub(super) fn gates_changed(&self) -> watch::Receiver<u64> {
        self.0.gates_changed.subscribe()
    }

    /// There is something to do.
    fn wake(&self) {
        self.0.work.notify_one();
    }

    fn gates(&self, change: impl FnOnce(&mut Presence, Duration) -> Option<Changed>) -> bool {
        let now = self.now();
        let mut known = self.known();
        let changed = change(&mut known.presence, now);
        let is_taken_in = changed.is_some();
        if let Some(changed) = changed
            && changed != Changed::default()
        {
            known.take_in(&changed);
            drop(known);
            self.0.gates_changed.send_modify(|count| *count += 1);
            self.wake();
        }
        is_taken_in
    }

    /// Time has passed; whoever waits for gates looks again.
    pub(super) fn pass(&self) {
        self.gates(|presence, now| Some(presence.pass(now)));
    }

    /// A gate's Lease was seen in this version. Returns whether it is looked at.
    pub(super) fn gate_seen(&self, record: GateRecord, version: &str) -> bool {
        self.gates(|presence, now| presence.see(record, version, now))
    }

    /// A gate's Lease is gone.
    pub(super) fn gate_lost(&self, gate: &str) {
        self.gates(|presence, _| Some(presence.lose(gate)));
    }

    /// All Leases of gates have been listed: these.
    pub(super) fn gates_listed(&self, present: &BTreeSet<String>) {
        self.gates(|presence, _| Some(presence.listed(present)));
        self.wake();
    }

    /// A receiver is there, or is different.
    pub(in crate::kubernetes) fn receiver_there(&self, object: &DynamicObject) {
        let now = self.now();
        self.known().receiver_there(object, now);
        self.wake();
    }

    /// A receiver is gone.
    pub(in crate::kubernetes) fn receiver_gone(&self, key: &ObjectKey) {
        self.known().receiver_gone(key);
        self.wake();
    }

    /// A receiver is looked at again.
    pub(super) fn look_at(&self, key: ObjectKey) {
        self.known().changed.insert(key);
        self.wake();
    }

    /// The state of a receiver has been written, all but what is its gates': the watch may bring it later.
    pub(super) fn written(&self, key: &ObjectKey, uid: &str, status: &WebhookReceiverStatus) {
        let mut known = self.known();
        if let Some(receiver) = known.receivers.get_mut(key).filter(|receiver| receiver.uid == uid) {
            let (gates, tokens) = (receiver.status.gates.clone(), receiver.status.tokens.clone());
            receiver.status = WebhookReceiverStatus { gates, tokens, ..status.clone() };
        }
    }

    /// The engine is being told this: what is in it for receivers is noted.
    pub(in crate::kubernetes) fn engine_told(&self, change: &Change) {
        match change {
            Change::Subscription(declared) => {
                self.known().subscription(&declared.identity.key, Some(&declared.spec));
            }
            Change::Gone { kind: crate::api::Kind::WebhookSubscription, key, .. } => {
                self.known().subscription(key, None);
            }
            _ => return,
        }
        self.wake();
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
