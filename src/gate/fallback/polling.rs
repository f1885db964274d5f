//! The task that decides what is asked next.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use chrono::TimeDelta;
use futures::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::line::{Line, Slot};
use super::news::News;
use super::parts::Parts;
use super::poll::{self, Application, poll};
use super::settle::{Came, Outcome, Settled, after_asking, after_delivery};
use super::writing::{is_asked_for, park_what_is_nobodys, settle};
use crate::gate::acceptance::Polled;
use crate::gate::fairness::{Fairness, Grant};
use crate::gate::guarded::{DEFECT, Health, broken, caught};
use crate::gate::hand_on::Receivers;
use crate::gate::observer::Fact;
use crate::gate::turns::{Turns, Waits as _};
use crate::http::MAX_BODY;
use crate::store::{Expectation, StoreError};

/// So far ahead is looked for what is due next.
const AHEAD: TimeDelta = TimeDelta::days(400);
/// So many deliveries at most are looked up at the same time.
const MOST_LOOKUPS: usize = 64;

/// One expectation: its receiver's uid, and its id at the platform.
type Key = (Arc<str>, String);

enum Event {
    Looked { uid: Arc<str>, found: Result<Vec<Expectation>, StoreError> },
    Asked { key: Key, expectation: Expectation, epoch: u64, result: Result<poll::Result, StoreError> },
    Settled { key: Key, of: Of, settled: Result<(), StoreError> },
    Tidied(Result<(), StoreError>),
}

/// What a piece of work was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// Asking, which holds a place.
    Question,
    /// A delivery; whether it was expected.
    Delivery { expected: bool },
}

pub(super) struct Polling {
    parts: Parts,
    receivers: watch::Receiver<Receivers>,
    news: mpsc::Receiver<News>,
    turns: Turns<Line>,
    tasks: JoinSet<Event>,
    health: Arc<Health>,
    under_way: HashMap<Key, Slot>,
    lookups: usize,
    tidy_at: Instant,
    is_tidying: bool,
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
            turns: Turns::new(Fairness::new(most, memory), true),
            parts,
            receivers,
            news,
            tasks: JoinSet::new(),
            health: Arc::default(),
            under_way: HashMap::new(),
            lookups: 0,
            tidy_at: Instant::now(),
            is_tidying: false,
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
                    // What came after a receiver changed is judged by how it is now.
                    if self.receivers.has_changed().is_ok_and(|changed| changed) {
                        self.receivers_changed();
                    }
                    self.told(news);
                }
                () = sleep_until(wake), if !self.is_stopping => {}
            }
        }
    }

    /// Begins all that there is time and place for. Returns when to come back though nothing happens.
    fn begin_what_is_due(&mut self) -> Instant {
        let now = Instant::now();
        let far = now + self.parts.options.look_every;
        if self.is_stopping {
            return far;
        }
        if self.tidy_at <= now && !self.is_tidying {
            self.tidy(now);
        }
        self.turns.wake(now);
        let first = self.turns.timers.first().unwrap_or(far);
        let first = if self.is_tidying { first } else { first.min(self.tidy_at) };
        if let Some(until) = self.health.shut_until() {
            return first.max(until);
        }
        while let Some(uid) = self.turns.next() {
            self.look(&uid, now);
        }
        // A look that had no room may have set a time.
        self.turns.timers.first().map_or(first, |timer| first.min(timer))
    }

    /// Looks for what is due, and when the next one is.
    fn look(&mut self, uid: &Arc<str>, now: Instant) {
        let Some(line) = self.turns.lines.get_mut(uid) else { return };
        let room = line.room(now);
        if room == 0 {
            self.turns.consider(uid);
            return;
        }
        let standing = line.standing_mut();
        (standing.is_looking, standing.is_wanted) = (true, false);
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
            let found = caught(looking).await;
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
            Event::Tidied(tidied) => {
                self.is_tidying = false;
                if tidied.is_err() {
                    self.health.failed();
                }
                broken(tidied)
            }
        }
    }

    fn looked(
        &mut self,
        uid: Arc<str>,
        found: Result<Vec<Expectation>, StoreError>,
    ) -> Result<(), StoreError> {
        let (now, wall) = (Instant::now(), self.parts.clock.now());
        let Some(line) = self.turns.lines.get_mut(&uid) else { return Ok(()) };
        line.standing_mut().is_looking = false;
        let found = match found {
            Ok(found) => {
                self.health.worked();
                found
            }
            Err(error) => {
                let wait = self.health.failed();
                self.turns.timers.arm(&uid, now + wait);
                return broken(Err(error));
            }
        };
        let mut next = now + self.parts.options.look_every;
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
            let Some(line) = self.turns.lines.get_mut(&uid) else { break };
            if line.room(now) == 0 {
                line.standing_mut().is_wanted = true;
                break;
            }
            let standing = line.standing_mut();
            let grant = self.turns.fairness.take(standing.namespace, 1, MAX_BODY as u64);
            if grant.places == 0 {
                standing.is_wanted = true;
                break;
            }
            if let Err(again) = self.parts.budget.take(&line.receiver.owner.namespace, &line.origin) {
                self.turns.fairness.give_back(line.standing().namespace, grant);
                next = next.min(again);
                break;
            }
            line.standing_mut().held += 1;
            self.begin(key, expectation);
        }
        self.turns.timers.arm(&uid, next);
        self.turns.consider(&uid);
        Ok(())
    }

    /// Asks for one id.
    fn begin(&mut self, key: Key, expectation: Expectation) {
        let Some(line) = self.turns.lines.get(&key.0) else { return };
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
                self.health.failed();
                self.finish(&key, Of::Question);
                return broken(Err(error));
            }
        };
        let Some(line) = self.turns.lines.get_mut(&key.0) else { return Ok(()) };
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
        let owner = &line.receiver.owner;
        if let Outcome::NoAnswer { wait: Some(wait), .. } = &outcome
            && !wait.is_zero()
        {
            self.parts.budget.hold(&owner.namespace, &line.origin, *wait);
        }
        self.parts.observer.saw(owner, Fact::Asked(outcome.told()));
        // A delivery that came meanwhile says what becomes of it, and its status is the newest.
        if self.under_way.get(&key).is_some_and(|slot| slot.came.is_some()) {
            self.finish(&key, Of::Question);
            return Ok(());
        }
        let settled = after_asking(expectation, &outcome, &line.fallback, self.parts.clock.now());
        if let Settled::Changed(Expectation { parked: true, .. }) = settled {
            let why = "no status of spec.fallback.until came within spec.fallback.giveUpAfter";
            self.parts.observer.saw(owner, Fact::GivenUp { count: 1, why });
        }
        let (store, health) = (Arc::clone(&self.parts.store), Arc::clone(&self.health));
        let stopping = self.stopping.subscribe();
        self.tasks.spawn(async move {
            let settled = caught(settle(&*store, &key, &settled, &health, &stopping)).await;
            Event::Settled { key, of: Of::Question, settled }
        });
        Ok(())
    }

    fn told(&mut self, news: News) {
        match news {
            News::Expected(uid) => self.turns.want(&uid),
            News::Came { uid, polled, is_handed_on } => {
                let Some(line) = self.turns.lines.get(&uid) else { return };
                let Polled { id, status } = polled;
                let came = Came {
                    is_final: line.fallback.until.contains(&status),
                    status: is_handed_on.then(|| self.parts.status_digest(&status)),
                };
                let key = (uid, id);
                match self.under_way.get_mut(&key) {
                    Some(slot) => slot.overtake(came),
                    None => self.delivered(key, came),
                }
            }
        }
    }

    /// A delivery came: what it says becomes part of the expectation, if there is one.
    fn delivered(&mut self, key: Key, came: Came) {
        let Some(line) = self.turns.lines.get(&key.0) else { return };
        let fallback = Arc::clone(&line.fallback);
        self.under_way.insert(key.clone(), Slot::default());
        self.lookups += 1;
        let (parts, health) = (self.parts.clone(), Arc::clone(&self.health));
        let stopping = self.stopping.subscribe();
        self.tasks.spawn(async move {
            let settling = async {
                let Some(expectation) = parts.store.expectation(&key.0, &key.1).await? else {
                    return Ok(false);
                };
                let settled = after_delivery(expectation, came, &fallback, parts.clock.now());
                settle(&*parts.store, &key, &settled, &health, &stopping).await.map(|()| true)
            };
            let settled = caught(settling).await;
            let of = Of::Delivery { expected: settled.as_ref().is_ok_and(|expected| *expected) };
            Event::Settled { key, of, settled: settled.map(drop) }
        });
    }

    /// Nothing is under way any more for this expectation, unless a delivery came meanwhile.
    fn finish(&mut self, key: &Key, of: Of) {
        if let Some(line) = self.turns.lines.get_mut(&key.0) {
            let standing = line.standing_mut();
            match of {
                Of::Question => {
                    standing.held = standing.held.saturating_sub(1);
                    standing.is_wanted = true;
                    let grant = Grant { places: 1, bytes: MAX_BODY as u64 };
                    self.turns.fairness.give_back(standing.namespace, grant);
                }
                Of::Delivery { expected } => standing.is_wanted |= expected,
            }
        }
        if matches!(of, Of::Delivery { .. }) {
            self.lookups -= 1;
        }
        if let Some(came) = self.under_way.remove(key).and_then(|slot| slot.came) {
            self.delivered(key.clone(), came);
        }
        self.turns.consider(&key.0);
    }

    fn receivers_changed(&mut self) {
        let receivers = Arc::clone(&self.receivers.borrow_and_update());
        let most = self.parts.options.most_of_one;
        for (uid, receiver) in receivers.iter() {
            let Some(fallback) = &receiver.fallback else { continue };
            match self.turns.lines.get_mut(uid) {
                Some(line) => line.change(receiver, fallback),
                None => self.turns.enter(uid, &receiver.owner.namespace, |namespace| {
                    Line::new(Arc::clone(receiver), Arc::clone(fallback), most, namespace)
                }),
            }
        }
        let uids: Vec<Arc<str>> = self.turns.lines.keys().cloned().collect();
        for uid in uids {
            if let Some(line) = self.turns.lines.get_mut(&uid)
                && !line.standing().is_gone
                && !is_asked_for(&receivers, &uid)
            {
                line.standing_mut().is_gone = true;
                self.tidy_at = Instant::now();
            }
            self.turns.consider(&uid);
        }
    }

    /// Parks what is waited for by receivers that are gone or have no fallback any more.
    fn tidy(&mut self, now: Instant) {
        self.tidy_at = now + self.parts.options.tidy_every;
        self.is_tidying = true;
        let receivers = self.receivers.borrow().clone();
        let parts = self.parts.clone();
        self.tasks
            .spawn(async move { Event::Tidied(caught(park_what_is_nobodys(&parts, &receivers)).await) });
    }
}
