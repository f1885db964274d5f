//! Whoever leads: tells the engine what gates say, writes the state of receivers, and clears up after gates
//! that are gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc::Sender;
use tracing::{debug, info, warn};

use super::board::{Board, Known};
use super::deciding::{Done, Step, step};
use super::{folding, sightings};
use crate::api::{Kind, ObjectKey, WebhookReceiverStatus};
use crate::engine::change::Change;
use crate::engine::ports::{Notice, Notices, RecordFailure};
use crate::kubernetes::election::Election;
use crate::kubernetes::events::Events;
use crate::kubernetes::record::StatusRecord;
use crate::rotation::backoff;
use crate::shares::{NamespaceId, Places, Waiting};

/// How many writes may be under way at the same time; namespaces share them.
const WRITES: usize = 8;
/// Whether this process leads is looked at so often.
const TICK: Duration = Duration::from_secs(1);
/// The longest pause after writes that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Works with what is on the board.
pub(in crate::kubernetes) struct Leader {
    pub(in crate::kubernetes) board: Board,
    pub(in crate::kubernetes) record: StatusRecord,
    pub(in crate::kubernetes) election: Election,
    pub(in crate::kubernetes) changes: Sender<Change>,
    pub(in crate::kubernetes) events: Events,
}

/// A write that has ended.
struct Ended {
    namespace: NamespaceId,
    key: ObjectKey,
    uid: String,
    /// The status on which it was decided.
    before: WebhookReceiverStatus,
    step: Step,
    result: Result<(), RecordFailure>,
}

/// The engine has ended.
struct NobodyListens;

/// What is under way, and what is to come.
struct Desk {
    term: Option<u64>,
    /// Receivers whose status is to be written.
    queue: Waiting<u64, ObjectKey>,
    queued: BTreeSet<ObjectKey>,
    arrivals: u64,
    places: Places,
    namespaces: Numbers,
    busy: BTreeSet<ObjectKey>,
    done: HashMap<ObjectKey, (Done, u32)>,
    /// When receivers are looked at again.
    later: BTreeMap<ObjectKey, Duration>,
}

impl Leader {
    /// Works for as long as the process runs.
    pub(in crate::kubernetes) async fn run(self) {
        let mut desk = Desk::new();
        let mut writes: FuturesUnordered<BoxFuture<'_, Ended>> = FuturesUnordered::new();
        loop {
            self.board.pass();
            if self.tell_engine(&mut desk).await.is_err() {
                // With the engine all work has ended.
                return std::future::pending().await;
            }
            self.look(&mut desk);
            while let Some(write) = self.next_write(&mut desk) {
                writes.push(write);
            }
            let wait = desk.wait(&self.board);
            tokio::select! {
                Some(ended) = writes.next(), if !writes.is_empty() => self.ended(&mut desk, ended),
                () = self.board.changed() => {}
                () = self.board.clock().sleep(wait) => {}
            }
        }
    }

    /// Who serves what, to whoever runs; which tokens came in, to whoever leads.
    async fn tell_engine(&self, desk: &mut Desk) -> Result<(), NobodyListens> {
        let term = self.election.term();
        let is_new = term.is_some() && term != desk.term;
        desk.term = term;
        let (sources, evidence) = {
            let mut known = self.board.known();
            if is_new {
                // An engine that begins to lead knows nothing of what came in before.
                known.receivers.values_mut().for_each(|receiver| receiver.told.clear());
                known.changed = known.receivers.keys().cloned().collect();
            }
            let sources = std::mem::take(&mut known.changed_sources);
            (sources, if term.is_some() { news(&mut known) } else { Vec::new() })
        };
        for source in sources {
            self.send(Change::Gates(source)).await?;
        }
        for evidence in evidence {
            self.send(Change::Evidence(Box::new(evidence))).await?;
        }
        Ok(())
    }

    async fn send(&self, change: Change) -> Result<(), NobodyListens> {
        self.changes.send(change).await.map_err(|_| NobodyListens)
    }

    /// Puts those in line of whom something is to be written.
    fn look(&self, desk: &mut Desk) {
        let mut known = self.board.known();
        let changed = std::mem::take(&mut known.changed);
        if desk.term.is_none() {
            desk.begin_anew();
            return;
        }
        let now = self.board.now();
        let due: Vec<ObjectKey> =
            desk.later.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in changed.into_iter().chain(due) {
            desk.later.remove(&key);
            if !known.receivers.contains_key(&key) {
                desk.forget(&key);
                continue;
            }
            match self.decide(&known, desk, &key) {
                Step::Wait(until) => {
                    if let Some(until) = until {
                        desk.later.insert(key, until);
                    }
                }
                Step::Write(_) | Step::Clear(_) => desk.put(key),
            }
        }
    }

    fn decide(&self, known: &Known, desk: &Desk, key: &ObjectKey) -> Step {
        let Some(receiver) = known.receivers.get(key) else {
            return Step::Wait(None);
        };
        let now = self.board.clock().now();
        let fresh = Done::default();
        let done = desk.done.get(key).map_or(&fresh, |(done, _)| done);
        step(receiver, &key.namespace, known.place_of(key), &known.presence, done, (now.boot, now.wall))
    }

    fn next_write(&self, desk: &mut Desk) -> Option<BoxFuture<'_, Ended>> {
        loop {
            let places = &desk.places;
            let alone = desk.namespaces.is_alone();
            let (namespace, _, key) = desk.queue.next(|namespace| places.free_for(namespace, alone))?;
            desk.queued.remove(&key);
            let known = self.board.known();
            // What was decided when it came in line may be settled by now.
            let step = self.decide(&known, desk, &key);
            let found = known.receivers.get(&key);
            let Some((uid, before)) = found.map(|found| (found.uid.clone(), found.status.clone())) else {
                continue;
            };
            drop(known);
            if let Step::Wait(until) = step {
                if let Some(until) = until {
                    desk.later.insert(key, until);
                }
                continue;
            }
            desk.places.take(namespace);
            desk.busy.insert(key.clone());
            return Some(Box::pin(async move {
                let result = match &step {
                    Step::Write(status) => self.record.receiver(&key, &uid, status).await,
                    Step::Clear(gate) => self.record.clear_share(&key, &uid, gate).await,
                    Step::Wait(_) => Ok(()),
                };
                Ended { namespace, key, uid, before, step, result }
            }));
        }
    }

    fn ended(&self, desk: &mut Desk, ended: Ended) {
        let Ended { namespace, key, uid, before, step, result } = ended;
        desk.places.give_back(namespace);
        desk.busy.remove(&key);
        let now = self.board.now();
        let (done, failures) = desk.done.entry(key.clone()).or_default();
        match result {
            Ok(()) => {
                *failures = 0;
                done.not_before = Duration::ZERO;
                match step {
                    Step::Write(status) => {
                        done.written = Some(now);
                        self.board.written(&key, &uid, &status);
                        self.tell(&key, &before, &status);
                    }
                    Step::Clear(gate) => {
                        info!(receiver = %key, %gate, "the gate is gone; what it said of the receiver is removed");
                        done.cleared.insert(gate, now);
                    }
                    Step::Wait(_) => {}
                }
            }
            Err(RecordFailure::Gone) => {}
            // Everything is read again, and then decided anew.
            Err(RecordFailure::Superseded) => debug!(receiver = %key, "another process leads"),
            Err(RecordFailure::Unavailable(what)) => {
                done.not_before = now + backoff::delay(*failures, LONGEST_PAUSE, 0);
                *failures = failures.saturating_add(1);
                if backoff::is_recorded(*failures) {
                    warn!(receiver = %key, "the state of a receiver could not be written; it is tried again: {what}");
                }
            }
        }
        self.board.look_at(key);
    }

    /// People hear of what has changed.
    fn tell(&self, key: &ObjectKey, before: &WebhookReceiverStatus, status: &WebhookReceiverStatus) {
        for (warning, reason, note) in folding::news(before, status) {
            let kind = Kind::WebhookReceiver;
            self.events.emit(Notice { kind, key: key.clone(), warning, reason, note });
        }
    }
}

/// What the engine has not been told of.
fn news(known: &mut Known) -> Vec<crate::engine::change::Evidence> {
    let mut news = Vec::new();
    for key in &known.changed {
        if let Some(receiver) = known.receivers.get_mut(key)
            && receiver.told != receiver.status.tokens
        {
            news.extend(sightings::news(key, &receiver.told, &receiver.status.tokens));
            receiver.told.clone_from(&receiver.status.tokens);
        }
    }
    news
}

impl Desk {
    fn new() -> Self {
        Self {
            term: None,
            queue: Waiting::default(),
            queued: BTreeSet::new(),
            arrivals: 0,
            places: Places::new(WRITES),
            namespaces: Numbers::default(),
            busy: BTreeSet::new(),
            done: HashMap::new(),
            later: BTreeMap::new(),
        }
    }

    /// Another process leads: what was to be done is its.
    fn begin_anew(&mut self) {
        self.queue = Waiting::default();
        self.queued.clear();
        self.later.clear();
        self.done.clear();
        if self.busy.is_empty() {
            self.namespaces = Numbers::default();
        }
    }

    fn put(&mut self, key: ObjectKey) {
        // One that is busy is looked at when its write has ended.
        if self.busy.contains(&key) || !self.queued.insert(key.clone()) {
            return;
        }
        let namespace = self.namespaces.of(&key.namespace);
        self.arrivals += 1;
        self.queue.put(namespace, self.arrivals, key);
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.done.remove(key);
    }

    /// How long nothing happens by itself.
    fn wait(&self, board: &Board) -> Duration {
        let now = board.now();
        let next = board.known().presence.next(now);
        let next = self.later.values().copied().chain(next).min();
        next.map_or(TICK, |at| at.saturating_sub(now)).clamp(Duration::from_millis(5), TICK)
    }
}

/// Numbers for namespaces, in the order in which they were first met.
#[derive(Default)]
struct Numbers(HashMap<Arc<str>, NamespaceId>);

impl Numbers {
    fn of(&mut self, namespace: &Arc<str>) -> NamespaceId {
        let next = NamespaceId::try_from(self.0.len()).unwrap_or(NamespaceId::MAX);
        *self.0.entry(Arc::clone(namespace)).or_insert(next)
    }

    fn is_alone(&self) -> bool {
        self.0.len() <= 1
    }
}
