//! The task that decides what is asked next.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use futures::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::poll::{self, Application, poll};
use super::question::origin;
use super::settle::{Outcome, Settled, after_asking, after_delivery};
use super::{News, Parts, status_digest};
use crate::gate::acceptance::Polled;
use crate::gate::hand_on::Receivers;
use crate::gate::hand_on::fairness::{Fairness, Grant};
use crate::gate::hand_on::pause::{Door, Pause};
use crate::gate::observer::{Asked, Fact};
use crate::gate::receiver::{Fallback, Receiver};
use crate::gate::timers::Timers;
use crate::http::MAX_BODY;
use crate::shares::NamespaceId;
use crate::store::{Expectation, Owner, StoreError};

/// So far ahead is looked for what is due next.
const AHEAD: TimeDelta = TimeDelta::days(400);
/// The first wait after the store did not take something; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest one.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// When the process stops, the store is tried so often more.
const LAST_TRIES: u32 = 3;
/// So many deliveries at most are looked up at the same time.
const MOST_LOOKUPS: usize = 64;

/// One expectation: its receiver's uid, and its id at the platform.
type Key = (Arc<str>, String);

enum Event {
    Looked { uid: Arc<str>, found: Result<Vec<Expectation>, StoreError> },
    Asked { key: Key, expectation: Expectation, epoch: u64, result: Result<poll::Result, StoreError> },
    Settled { key: Key, of: Of, settled: Result<(), StoreError> },
}

/// What a piece of work was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// Asking, which holds a place.
    Question,
    /// A delivery; whether it was expected.
    Delivery { expected: bool },
}

/// A receiver that has a fallback.
struct Line {
    receiver: Arc<Receiver>,
    fallback: Arc<Fallback>,
    origin: String,
    namespace: NamespaceId,
    held: usize,
    is_looking: bool,
    is_wanted: bool,
    is_queued: bool,
    is_gone: bool,
    /// Of its application.
    pause: Pause,
}

impl Line {
    fn room(&self, most: usize, now: Instant) -> usize {
        if self.is_gone || self.receiver.suspended {
            return 0;
        }
        match self.pause.door(now) {
            Door::Open => most.saturating_sub(self.held),
            Door::Probe => 1_usize.saturating_sub(self.held),
            Door::Shut(_) => 0,
        }
    }
}

/// Work on an expectation that is under way. There is one at a time for each.
#[derive(Default)]
struct Slot {
    overtaken: Arc<AtomicBool>,
    /// The newest delivery that came meanwhile.
    next: Option<(Owner, Polled)>,
}

pub(super) struct Polling {
    parts: Parts,
    receivers: watch::Receiver<Receivers>,
    news: mpsc::Receiver<News>,
    lines: BTreeMap<Arc<str>, Line>,
    fairness: Fairness,
    timers: Timers,
    tasks: JoinSet<Event>,
    under_way: HashMap<Key, Slot>,
    lookups: usize,
    stopping: watch::Sender<bool>,
    is_stopping: bool,
}

impl Polling {
    pub(super) fn new(
        parts: Parts,
        receivers: watch::Receiver<Receivers>,
        news: mpsc::Receiver<News>,
    ) -> Self {
        let most = parts.options.most;
        let memory = u64::try_from(most.saturating_mul(MAX_BODY)).unwrap_or(u64::MAX);
        Self {
            fairness: Fairness::new(most, memory),
            parts,
            receivers,
            news,
            lines: BTreeMap::new(),
            timers: Timers::default(),
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
            lookups: 0,
            stopping: watch::Sender::new(false),
            is_stopping: false,
        }
    }

    pub(super) async fn run(mut self, stop: impl Future<Output = ()> + Send) -> Result<(), StoreError> {
        let mut stop = std::pin::pin!(stop);
        self.receivers_changed();
        loop {
            if self.is_stopping && self.tasks.is_empty() {
                return Ok(());
            }
            let wake = self.begin_what_is_due();
            tokio::select! {
                () = &mut stop, if !self.is_stopping => {
                    self.is_stopping = true;
                    self.stopping.send_replace(true);
                }
                Some(ended) = self.tasks.join_next() => {
                    // Tasks catch their panics, and nobody aborts them while this one lives.
                    if let Ok(event) = ended {
                        self.happened(event)?;
                    }
                }
                Ok(()) = self.receivers.changed(), if !self.is_stopping => self.receivers_changed(),
                Some(news) = self.news.recv(), if !self.is_stopping && self.lookups < MOST_LOOKUPS => {
                    self.told(news);
                }
                () = sleep_until(wake), if !self.is_stopping => {}
            }
        }
    }

    fn begin_what_is_due(&mut self) -> Instant {
        let now = Instant::now();
        let far = now + self.parts.options.look_every;
        if self.is_stopping {
            return far;
        }
        while let Some(uid) = self.timers.due(now) {
            if let Some(line) = self.lines.get_mut(&uid) {
                line.is_wanted = true;
            }
            self.consider(&uid);
        }
        while let Some(uid) = self.fairness.next() {
            if let Some(line) = self.lines.get_mut(&uid) {
                line.is_queued = false;
                self.look(&uid, now);
            }
        }
        self.timers.first().unwrap_or(far)
    }

    fn consider(&mut self, uid: &Arc<str>) {
        let now = Instant::now();
        let Some(line) = self.lines.get_mut(uid) else { return };
        if line.is_gone && line.held == 0 && !line.is_looking && !line.is_queued {
            let namespace = Arc::clone(&line.receiver.owner.namespace);
            self.lines.remove(uid);
            self.timers.disarm(uid);
            self.fairness.leave(&namespace);
            return;
        }
        if !line.is_wanted || line.is_queued || line.is_looking {
            return;
        }
        if line.room(self.parts.options.most_of_one, now) > 0 {
            line.is_queued = true;
            self.fairness.queue(line.namespace, Arc::clone(uid));
        } else if let Door::Shut(until) = line.pause.door(now) {
            self.timers.arm(uid, until);
        }
    }

    /// Looks for what is due, and when the next one is.
    fn look(&mut self, uid: &Arc<str>, now: Instant) {
        let Some(line) = self.lines.get_mut(uid) else { return };
        let room = line.room(self.parts.options.most_of_one, now);
        if room == 0 {
            self.consider(uid);
            return;
        }
        line.is_looking = true;
        line.is_wanted = false;
        // Those that are under way are found as well, and one that is not due yet.
        let most = room + self.parts.options.most_of_one + MOST_LOOKUPS + 1;
        let store = Arc::clone(&self.parts.store);
        let until = self.parts.clock.now().checked_add_signed(AHEAD);
        let uid = Arc::clone(uid);
        self.tasks.spawn(async move {
            let looking = async {
                let Some(until) = until else { return Ok(Vec::new()) };
                store.expectations_due(&uid, until, most).await
            };
            let found = AssertUnwindSafe(looking).catch_unwind().await;
            let found = found.unwrap_or_else(|_| Err(StoreError::Unavailable(DEFECT.to_owned())));
            Event::Looked { uid, found }
        });
    }

    fn happened(&mut self, event: Event) -> Result<(), StoreError> {
        match event {
            Event::Looked { uid, found } => self.looked(uid, found),
            Event::Asked { key, expectation, epoch, result } => self.asked(key, expectation, epoch, result),
            Event::Settled { key, of, settled } => {
                self.finish(&key, of);
                broken(settled)
            }
        }
    }

    fn looked(
        &mut self,
        uid: Arc<str>,
        found: Result<Vec<Expectation>, StoreError>,
    ) -> Result<(), StoreError> {
        let (now, wall) = (Instant::now(), self.parts.clock.now());
        let Some(line) = self.lines.get_mut(&uid) else { return Ok(()) };
        line.is_looking = false;
        let look_every = self.parts.options.look_every;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.timers.arm(&uid, now + look_every.min(LONGEST_WAIT));
                return broken(Err(error));
            }
        };
        let mut next = now + look_every;
        for expectation in found {
            let key = (Arc::clone(&uid), expectation.id.clone());
            if self.under_way.contains_key(&key) || self.is_stopping {
                continue;
            }
            if expectation.due > wall {
                let wait = (expectation.due - wall).to_std().unwrap_or_default();
                next = next.min(now + wait);
                break;
            }
            let Some(line) = self.lines.get_mut(&uid) else { break };
            if line.room(self.parts.options.most_of_one, now) == 0 {
                line.is_wanted = true;
                break;
            }
            if let Err(again) = self.parts.budget.take(&line.receiver.owner.namespace, &line.origin) {
                next = next.min(again);
                break;
            }
            let grant = self.fairness.take(line.namespace, 1, MAX_BODY as u64);
            if grant.places == 0 {
                line.is_wanted = true;
                break;
            }
            line.held += 1;
            self.begin(key, expectation);
        }
        self.timers.arm(&uid, next);
        self.consider(&uid);
        Ok(())
    }

    /// Asks for one id.
    fn begin(&mut self, key: Key, expectation: Expectation) {
        let Some(line) = self.lines.get(&key.0) else { return };
        let (receiver, fallback) = (Arc::clone(&line.receiver), Arc::clone(&line.fallback));
        let epoch = line.pause.epoch;
        let slot = self.under_way.entry(key.clone()).or_default();
        let overtaken = Arc::clone(&slot.overtaken);
        let parts = self.parts.clone();
        self.tasks.spawn(async move {
            let polling = poll(&parts, &receiver, &fallback, &expectation, &overtaken);
            let result = AssertUnwindSafe(polling).catch_unwind().await;
            let result = result
                .unwrap_or_else(|_| Ok(Outcome::NoAnswer { why: DEFECT.to_owned(), wait: None }.into()));
            Event::Asked { key, expectation, epoch, result }
        });
    }

    fn asked(
        &mut self,
        key: Key,
        expectation: Expectation,
        epoch: u64,
        result: Result<poll::Result, StoreError>,
    ) -> Result<(), StoreError> {
        let now = Instant::now();
        let result = match result {
            Ok(result) => result,
            Err(error) => {
                // It stays due; the store gets a moment.
                self.finish(&key, Of::Question);
                self.timers.arm(&key.0, now + LONGEST_WAIT);
                return broken(Err(error));
            }
        };
        let Some(line) = self.lines.get_mut(&key.0) else { return Ok(()) };
        let owner = &line.receiver.owner;
        let observer = &self.parts.observer;
        match result.application {
            Some((_, Application::Alive)) => {
                line.pause.found_alive(epoch);
            }
            Some((id, Application::Away(sign))) => {
                line.pause.found_away(now, epoch, id, sign);
            }
            None => {}
        }
        let outcome = result.outcome;
        let said = match &outcome {
            Outcome::Overtaken | Outcome::Nothing { .. } => Asked::Nothing,
            Outcome::HandedOn { .. } => Asked::HandedOn,
            Outcome::NotTaken { why, .. } => Asked::NotTaken(why),
            Outcome::NoAnswer { why, wait } => {
                if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
                    self.parts.budget.hold(&owner.namespace, &line.origin, wait);
                }
                Asked::NoAnswer(why)
            }
        };
        observer.saw(owner, Fact::Asked(said));
        // A delivery that came meanwhile says what becomes of it, and its status is the newest.
        if self.under_way.get(&key).is_some_and(|slot| slot.next.is_some()) {
            self.finish(&key, Of::Question);
            return Ok(());
        }
        let settled = after_asking(expectation, &outcome, &line.fallback, self.parts.clock.now());
        if let Settled::Changed(Expectation { parked: true, .. }) = settled {
            observer.saw(owner, Fact::Asked(Asked::GivenUp));
        }
        let (parts, stopping) = (self.parts.clone(), self.stopping.subscribe());
        self.tasks.spawn(async move {
            let settling = AssertUnwindSafe(make_durable(&parts, &key, &settled, &stopping)).catch_unwind();
            let settled = settling.await.unwrap_or_else(|_| Err(StoreError::Unavailable(DEFECT.to_owned())));
            Event::Settled { key, of: Of::Question, settled }
        });
        Ok(())
    }

    fn told(&mut self, news: News) {
        match news {
            News::Expected(uid) => {
                if let Some(line) = self.lines.get_mut(&uid) {
                    line.is_wanted = true;
                    self.consider(&uid);
                }
            }
            News::Delivered(owner, polled) => {
                let key = (Arc::clone(&owner.uid), polled.id.clone());
                match self.under_way.get_mut(&key) {
                    Some(slot) => {
                        slot.overtaken.store(true, Ordering::Release);
                        slot.next = Some((owner, polled));
                    }
                    None => self.delivered(key, owner, polled),
                }
            }
        }
    }

    /// A delivery was stored: what it says becomes part of the expectation, if there is one.
    fn delivered(&mut self, key: Key, owner: Owner, polled: Polled) {
        let Some(line) = self.lines.get(&key.0) else { return };
        let fallback = Arc::clone(&line.fallback);
        self.under_way.insert(key.clone(), Slot::default());
        self.lookups += 1;
        let (parts, stopping) = (self.parts.clone(), self.stopping.subscribe());
        self.tasks.spawn(async move {
            let settling = async {
                let Some(expectation) = parts.store.expectation(&owner.uid, &polled.id).await? else {
                    return Ok(false);
                };
                let status = status_digest(&parts.digests, &polled.status);
                let is_final = fallback.until.contains(&polled.status);
                let settled = after_delivery(expectation, status, is_final, &fallback, parts.clock.now());
                make_durable(&parts, &key, &settled, &stopping).await.map(|()| true)
            };
            let settled = AssertUnwindSafe(settling).catch_unwind().await;
            let settled = settled.unwrap_or_else(|_| Err(StoreError::Unavailable(DEFECT.to_owned())));
            let of = Of::Delivery { expected: settled.as_ref().is_ok_and(|expected| *expected) };
            Event::Settled { key, of, settled: settled.map(drop) }
        });
    }

    /// Nothing is under way any more for this expectation, unless a delivery came meanwhile.
    fn finish(&mut self, key: &Key, of: Of) {
        match of {
            Of::Question => {
                if let Some(line) = self.lines.get_mut(&key.0) {
                    line.held = line.held.saturating_sub(1);
                    line.is_wanted = true;
                    self.fairness.give_back(line.namespace, Grant { places: 1, bytes: MAX_BODY as u64 });
                }
            }
            Of::Delivery { expected } => {
                self.lookups -= 1;
                if let Some(line) = self.lines.get_mut(&key.0) {
                    line.is_wanted |= expected;
                }
            }
        }
        if let Some((owner, polled)) = self.under_way.remove(key).and_then(|slot| slot.next) {
            self.delivered(key.clone(), owner, polled);
        }
        self.consider(&key.0);
    }

    fn receivers_changed(&mut self) {
        let receivers = Arc::clone(&self.receivers.borrow_and_update());
        for (uid, receiver) in receivers.iter() {
            let Some(fallback) = &receiver.fallback else { continue };
            match self.lines.get_mut(uid) {
                Some(line) => {
                    if line.receiver.forward != receiver.forward {
                        line.pause.reset();
                    }
                    line.origin = origin(&fallback.request);
                    line.receiver = Arc::clone(receiver);
                    line.fallback = Arc::clone(fallback);
                    line.is_wanted = true;
                    line.is_gone = false;
                }
                None => {
                    let line = Line {
                        receiver: Arc::clone(receiver),
                        fallback: Arc::clone(fallback),
                        origin: origin(&fallback.request),
                        namespace: self.fairness.enter(&receiver.owner.namespace),
                        held: 0,
                        is_looking: false,
                        is_wanted: true,
                        is_queued: false,
                        is_gone: false,
                        pause: Pause::default(),
                    };
                    self.lines.insert(Arc::clone(uid), line);
                }
            }
        }
        let has_fallback = |uid: &Arc<str>| receivers.get(uid).is_some_and(|one| one.fallback.is_some());
        let uids: Vec<Arc<str>> = self.lines.keys().cloned().collect();
        for uid in uids {
            if !has_fallback(&uid)
                && let Some(line) = self.lines.get_mut(&uid)
            {
                line.is_gone = true;
            }
            self.consider(&uid);
        }
    }
}

const DEFECT: &str = "hookkeeper failed while asking for it, which is a defect; please report it";

/// Only this error is more than trouble that passes.
fn broken(result: Result<(), StoreError>) -> Result<(), StoreError> {
    match result {
        Err(error @ StoreError::Broken(_)) => Err(error),
        _ => Ok(()),
    }
}

/// Makes it durable, again and again until the store takes it: what is not known to have been handed on
/// would be handed on once more.
async fn make_durable(
    parts: &Parts,
    (uid, id): &Key,
    settled: &Settled,
    stopping: &watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let mut wait = FIRST_WAIT;
    let mut last_tries = 0;
    loop {
        let recorded = match settled {
            Settled::Met => parts.store.expectation_met(uid, id).await,
            Settled::Changed(expectation) => parts.store.expectation_changed(expectation.clone()).await,
            Settled::Unchanged => return Ok(()),
        };
        match recorded {
            Ok(()) => return Ok(()),
            Err(error @ StoreError::Broken(_)) => return Err(error),
            Err(error) => {
                if *stopping.borrow() {
                    last_tries += 1;
                    if last_tries > LAST_TRIES {
                        return Err(error);
                    }
                }
                sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}
