//! The task that decides what is handed on next.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Receivers;
use super::attempt::Meaning;
use super::line::{Asking, Line, Now, UnderWay};
use super::nudge::Nudge;
use super::parts::{Gone, Parts};
use super::ports::{Exchange, Locate};
use super::record::{Record, record};
use super::request::{Notes, encoded};
use super::sending::{GRACE, send};
use crate::gate::fairness::{Fairness, Grant};
use crate::gate::guarded::{DEFECT, Health, broken, caught};
use crate::gate::observer::Fact;
use crate::gate::receiver::Receiver;
use crate::gate::turns::{Turns, Waits as _};
use crate::store::{LastFailure, Standstill, StoreError, Taken};

/// What is taken is nobody else's for the time of an attempt and so much longer.
const LEASE_BEYOND: Duration = Duration::from_secs(30);

/// What was being taken in, or was under way, when its receiver went is in the store after so long.
const LATE: Duration = Duration::from_secs(10 * 60);

/// What came back from a task.
enum Event {
    Looked {
        uid: Arc<str>,
        grant: Grant,
        epoch: u64,
        found: Result<Found, StoreError>,
    },
    Answered {
        uid: Arc<str>,
        delivery: UnderWay,
        meaning: Meaning,
    },
    Recorded {
        uid: Arc<str>,
        delivery: UnderWay,
        /// Whether the application has taken it.
        was_taken: bool,
        recorded: Result<(), StoreError>,
    },
    Tidied(Result<(), StoreError>),
    /// The store was asked about the times in which a receiver stood still.
    StoodStill {
        uid: Arc<str>,
        answered: Result<Option<Vec<Standstill>>, StoreError>,
    },
}

/// What a look into the store found.
struct Found {
    taken: Vec<Taken>,
    /// Whether there may be more that is due.
    may_have_more: bool,
    next: Option<DateTime<Utc>>,
}

pub(super) struct Scheduler {
    parts: Parts,
    receivers: watch::Receiver<Receivers>,
    nudge: Nudge,
    turns: Turns<Line>,
    tasks: JoinSet<Event>,
    health: Arc<Health>,
    /// Deliveries that are under way here: one whose lease is over must not go out twice.
    under_way: HashSet<crate::store::DeliveryId>,
    tidy_at: Instant,
    is_tidying: bool,
    /// Receivers that went a while ago while this process was there, and when.
    departed: HashMap<Arc<str>, Instant>,
    stopping: watch::Sender<bool>,
    is_stopping: bool,
}

impl Scheduler {
    pub(super) fn new(parts: Parts, receivers: watch::Receiver<Receivers>, nudge: Nudge) -> Self {
        Self {
            turns: Turns::new(
                Fairness::new(parts.options.most, parts.options.most_bytes),
                parts.options.gone == Gone::Park,
            ),
            parts,
            receivers,
            nudge,
            tasks: JoinSet::new(),
            health: Arc::default(),
            under_way: HashSet::new(),
            tidy_at: Instant::now(),
            is_tidying: false,
            departed: HashMap::new(),
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
                () = self.nudge.notified() => self.nudged(),
                () = sleep_until(wake), if !self.is_stopping => {}
            }
        }
    }

    fn now(&self) -> Now {
        Now { wall: self.parts.clock.now(), steady: Instant::now() }
    }

    fn happened(&mut self, event: Event) -> Result<(), StoreError> {
        match event {
            Event::Looked { uid, grant, epoch, found } => self.looked(uid, grant, epoch, found),
            Event::Answered { uid, delivery, meaning } => {
                self.answered(uid, delivery, meaning);
                Ok(())
            }
            Event::Recorded { uid, delivery, was_taken, recorded } => {
                self.finish(&uid, &delivery, was_taken);
                broken(recorded)
            }
            Event::Tidied(tidied) => {
                self.is_tidying = false;
                if tidied.is_err() {
                    self.health.failed();
                }
                broken(tidied)
            }
            Event::StoodStill { uid, answered } => self.standstills_asked(uid, answered),
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
        while let Some(uid) = self.turns.timers.due(now) {
            if let Some(line) = self.turns.lines.get_mut(&uid) {
                line.standing.is_wanted = true;
            }
            self.consider(&uid);
        }
        let first = self.turns.timers.first().unwrap_or(far);
        let first = if self.is_tidying { first } else { first.min(self.tidy_at) };
        if let Some(until) = self.health.shut_until() {
            return first.max(until);
        }
        while let Some(uid) = self.turns.next() {
            self.look(&uid, now);
        }
        first
    }

    /// Asks the store when the receiver stood still, or tells it how that has gone on.
    fn ask_of_standstills(&mut self, uid: &Arc<str>) {
        let Some(asking) = self.turns.lines.get_mut(uid).and_then(Line::ask_of_standstills) else { return };
        self.spawn_asking(uid, asking);
    }

    fn spawn_asking(&mut self, uid: &Arc<str>, asking: Asking) {
        let (store, uid) = (Arc::clone(&self.parts.store), Arc::clone(uid));
        self.tasks.spawn(async move {
            let answering = async {
                match asking {
                    Asking::Recall => store.standstills(&uid).await.map(Some),
                    Asking::Keep(own) => {
                        // What is kept is replaced as a whole. Two gates that do this at the same moment have
                        // seen the same.
                        let kept = store.standstills(&uid).await?;
                        store.set_standstills(&uid, own.joined(&kept).to_keep()).await.map(|()| Some(kept))
                    }
                    Asking::Forget => store.set_standstills(&uid, Vec::new()).await.map(|()| None),
                }
            };
            let answered = caught(answering).await;
            Event::StoodStill { uid, answered }
        });
    }

    fn standstills_asked(
        &mut self,
        uid: Arc<str>,
        answered: Result<Option<Vec<Standstill>>, StoreError>,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let Some(line) = self.turns.lines.get_mut(&uid) else { return broken(answered.map(drop)) };
        match answered {
            Ok(kept) => {
                self.health.worked();
                line.standstills_asked(Ok(kept), now.wall);
                self.consider(&uid);
                Ok(())
            }
            Err(error) => {
                line.standstills_asked(Err(&error), now.wall);
                self.turns.timers.arm(&uid, now.steady + self.health.failed());
                broken(Err(error))
            }
        }
    }

    /// Lets the receiver wait for its turn, if it may have something and has room for it.
    fn consider(&mut self, uid: &Arc<str>) {
        if !self.is_stopping {
            self.ask_of_standstills(uid);
        }
        if self.turns.consider(uid) {
            self.spawn_asking(uid, Asking::Forget);
        }
    }

    fn look(&mut self, uid: &Arc<str>, now: Instant) {
        let Some(line) = self.turns.lines.get_mut(uid) else { return };
        let room = line.room(now);
        let largest = u64::try_from(line.receiver.max_body).unwrap_or(u64::MAX);
        let grant = if room == 0 {
            Grant { places: 0, bytes: 0 }
        } else {
            self.turns.fairness.take(line.standing.namespace, room, largest)
        };
        if grant.places == 0 {
            self.consider(uid);
            return;
        }
        line.hold(grant.places);
        line.standing.is_looking = true;
        line.standing.is_wanted = false;
        let epoch = line.pause.epoch;
        let lease = line.receiver.forward.timeout + GRACE + LEASE_BEYOND;
        let (store, wall, uid) = (Arc::clone(&self.parts.store), self.parts.clock.now(), Arc::clone(uid));
        self.tasks.spawn(async move {
            let looking = async {
                let taken = store.take(&uid, grant.places, wall, lease).await?;
                let may_have_more = taken.len() >= grant.places;
                let next = if may_have_more { None } else { store.next_due(&uid).await? };
                Ok(Found { taken, may_have_more, next })
            };
            let found = caught(looking).await;
            Event::Looked { uid, grant, epoch, found }
        });
    }

    fn looked(
        &mut self,
        uid: Arc<str>,
        grant: Grant,
        epoch: u64,
        found: Result<Found, StoreError>,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let Some(line) = self.turns.lines.get_mut(&uid) else { return Ok(()) };
        line.standing.is_looking = false;
        let found = match found {
            Ok(found) => {
                self.health.worked();
                found
            }
            Err(error) => {
                line.looked();
                line.let_go(grant.places, epoch);
                line.standing.is_wanted = true;
                self.turns.fairness.give_back(line.standing.namespace, grant);
                let wait = self.health.failed();
                self.turns.timers.arm(&uid, now.steady + wait);
                return broken(Err(error));
            }
        };
        let mut deliveries = found.taken;
        deliveries.retain(|taken| !self.under_way.contains(&taken.id));
        let spare = grant.places.saturating_sub(deliveries.len());
        line.let_go(spare, epoch);
        let sizes = deliveries.iter().map(|taken| u64::try_from(taken.body.len()).unwrap_or(u64::MAX)).sum();
        self.turns.fairness.hold_instead(line.standing.namespace, grant.bytes, sizes);
        self.turns.fairness.give_back(line.standing.namespace, Grant { places: spare, bytes: 0 });
        line.standing.is_wanted |= found.may_have_more;
        let may_send = line.may_send(epoch, now.steady) && !self.is_stopping;
        line.standing.is_wanted |= !may_send;
        let next = found.next.map(|due| (due - now.wall).to_std().unwrap_or_default());
        let look_every = self.parts.options.look_every;
        let next = next.map_or(look_every, |wait| wait.min(look_every));

        for taken in deliveries {
            self.begin(&uid, taken, epoch, may_send, now);
        }
        if let Some(line) = self.turns.lines.get_mut(&uid) {
            line.looked();
        }
        self.turns.timers.arm(&uid, now.steady + next);
        self.consider(&uid);
        Ok(())
    }

    fn begin(&mut self, uid: &Arc<str>, mut taken: Taken, epoch: u64, may_send: bool, now: Now) {
        let Some(line) = self.turns.lines.get(uid) else { return };
        taken.duplicate_of = taken.duplicate_of.or_else(|| line.repeats(&taken));
        let delivery = UnderWay::of(&taken, epoch, now.steady);
        self.under_way.insert(delivery.id);
        if !may_send {
            self.record(uid, delivery, Record::GiveBack);
            return;
        }
        let owner = &line.receiver.owner;
        let observer = &self.parts.observer;
        let parked = line.park_untried(&delivery, now.wall, &mut |fact| observer.saw(owner, fact));
        if let Some(parked) = parked {
            self.record(uid, delivery, parked);
            return;
        }
        let (uid, receiver, parts) = (Arc::clone(uid), Arc::clone(&line.receiver), self.parts.clone());
        self.tasks.spawn(async move {
            let attempt = AssertUnwindSafe(attempt(&*parts.exchange, &*parts.locate, &receiver, taken));
            let meaning = attempt
                .catch_unwind()
                .await
                .unwrap_or_else(|_| Meaning::Refused { what: DEFECT.to_owned(), wait: None });
            Event::Answered { uid, delivery, meaning }
        });
    }

    fn answered(&mut self, uid: Arc<str>, delivery: UnderWay, meaning: Meaning) {
        let now = self.now();
        let Some(line) = self.turns.lines.get_mut(&uid) else { return };
        let owner = line.receiver.owner.clone();
        let observer = &self.parts.observer;
        let bits = (self.parts.options.random)();
        let record = line.judge(&delivery, meaning, now, bits, &mut |fact| observer.saw(&owner, fact));
        if matches!(record, Record::Retry { .. } | Record::GiveBack) {
            line.standing.is_wanted = true;
        }
        self.record(&uid, delivery, record);
        // The receiver may have begun to pause, or no longer does.
        self.consider(&uid);
    }

    /// Makes durable what became of a delivery. Until that is so it keeps its place.
    fn record(&mut self, uid: &Arc<str>, delivery: UnderWay, what: Record) {
        let Some(line) = self.turns.lines.get(uid) else { return };
        let (uid, owner, parts) = (Arc::clone(uid), line.receiver.owner.clone(), self.parts.clone());
        let (health, stopping) = (Arc::clone(&self.health), self.stopping.subscribe());
        self.tasks.spawn(async move {
            let not_yet = |error: &StoreError| {
                if what != Record::Done {
                    return;
                }
                let why = error.to_string();
                parts.observer.saw(&owner, Fact::NotRecorded { id: delivery.id, why: &why });
            };
            let at = (delivery.id, delivery.claim);
            let recording = record(&*parts.store, at, &what, &health, &stopping, not_yet);
            let recorded = caught(recording).await;
            Event::Recorded { uid, delivery, was_taken: what == Record::Done, recorded }
        });
    }

    /// A delivery is no longer under way here.
    fn finish(&mut self, uid: &Arc<str>, delivery: &UnderWay, was_taken: bool) {
        self.under_way.remove(&delivery.id);
        let Some(line) = self.turns.lines.get_mut(uid) else { return };
        line.recorded(delivery, was_taken);
        line.let_go(1, delivery.epoch);
        self.turns.fairness.give_back(line.standing.namespace, Grant { places: 1, bytes: delivery.bytes });
        self.consider(uid);
    }

    fn nudged(&mut self) {
        for uid in self.nudge.take() {
            if let Some(line) = self.turns.lines.get_mut(&uid) {
                line.standing.is_wanted = true;
                line.pause.another_came();
                self.consider(&uid);
            }
        }
    }

    fn receivers_changed(&mut self) {
        let receivers = Arc::clone(&self.receivers.borrow_and_update());
        let now = self.now();
        for (uid, receiver) in receivers.iter() {
            match self.turns.lines.get_mut(uid) {
                Some(line) if !line.standing.is_gone && Arc::ptr_eq(&line.receiver, receiver) => continue,
                Some(line) => {
                    if line.change(Arc::clone(receiver), now.wall) {
                        self.parts.observer.saw(&receiver.owner, Fact::Resumed);
                    }
                }
                None => self.turns.enter(uid, &receiver.owner.namespace, |namespace| {
                    Line::new(Arc::clone(receiver), namespace)
                }),
            }
            self.consider(uid);
        }
        let is_gone = |(uid, line): (&Arc<str>, &Line)| {
            (!line.standing.is_gone && !receivers.contains_key(uid)).then(|| Arc::clone(uid))
        };
        let gone: Vec<Arc<str>> = self.turns.lines.iter().filter_map(is_gone).collect();
        for uid in gone {
            if let Some(line) = self.turns.lines.get_mut(&uid) {
                line.go(now.wall);
                self.departed.insert(Arc::clone(&uid), now.steady);
                self.tidy_at = now.steady;
            }
            self.consider(&uid);
        }
    }

    /// Parks what waits for receivers that are gone.
    fn tidy(&mut self, now: Instant) {
        self.tidy_at = now + self.parts.options.tidy_every;
        if self.parts.options.gone != Gone::Park {
            return;
        }
        self.is_tidying = true;
        let receivers = self.receivers.borrow().clone();
        self.departed.retain(|_, went| now.duration_since(*went) < LATE);
        let departed: HashSet<Arc<str>> = self.departed.keys().cloned().collect();
        let parts = self.parts.clone();
        self.tasks.spawn(async move {
            Event::Tidied(caught(park_what_is_nobodys(&parts, &receivers, &departed)).await)
        });
    }
}

/// One attempt.
pub(super) async fn attempt(
    exchange: &dyn Exchange,
    locate: &dyn Locate,
    receiver: &Receiver,
    taken: Taken,
) -> Meaning {
    let notes = Notes {
        id: taken.id,
        attempt: taken.attempts.saturating_add(1),
        owner: &receiver.owner,
        event_time: taken.event_time.as_deref(),
        duplicate_of: taken.duplicate_of,
        polled: false,
    };
    let mut headers = notes.headers();
    headers.extend(encoded(taken.content_encoding.as_deref()));
    send(exchange, locate, receiver, headers, taken.content_type, taken.body).await
}

async fn park_what_is_nobodys(
    parts: &Parts,
    receivers: &Receivers,
    departed: &HashSet<Arc<str>>,
) -> Result<(), StoreError> {
    for usage in parts.store.usage().await? {
        let owner = &usage.owner;
        if usage.pending.deliveries == 0 || receivers.is_there(&owner.uid) {
            continue;
        }
        if !departed.contains(&owner.uid) && !(parts.options.knows_all_of)(&owner.namespace) {
            continue;
        }
        let what = format!("the receiver {} is gone", owner.name);
        let failure = LastFailure { what: what.clone(), when: parts.clock.now() };
        let count = parts.store.park_all(&owner.uid, failure).await?;
        if count > 0 {
            parts.observer.saw(owner, Fact::ParkedAll { count, why: &what });
        }
    }
    Ok(())
}
