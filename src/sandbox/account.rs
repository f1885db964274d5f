//! The account of deliveries: what was sent, what was acknowledged, and what reached the application.
//!
//! An event is known by the bytes of its body. Whoever changes one byte on the way has lost the event
//! and handed on an unknown one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// Events kept apart from each other, and as many ids of deliveries: about 90 MB when full. What goes
/// beyond it is counted as [`Summary::untracked`] and judged by nobody.
pub const TRACKED_EVENTS: usize = 1_800_000;
/// Broken rules kept in words; all are counted.
const TOLD_RULES: usize = 100;
/// For so long after an answer was given, whoever gets it may not have read it yet.
const ANSWER_UNDER_WAY: Duration = Duration::from_secs(1);

/// What names an event: its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventKey(u64);

impl EventKey {
    /// The key of the event with this body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        // The upper bit is free for those who keep keys.
        Self(digest(body) & !PROCESSED)
    }
}

/// Eight bytes of it are enough: two of 1,800,000 events share them in one of five million runs.
fn digest(bytes: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

/// Marks the id of a delivery that the application has processed.
const PROCESSED: u64 = 1 << 63;

/// What must become of a delivery that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Each acknowledged delivery reaches the application, repeated ones too.
    Each,
    /// The event reaches it, however often its delivery was acknowledged.
    Once,
    /// Nothing: a test event, or one that is not handed on.
    Nothing,
}

/// What the sender of a delivery was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What the platform counts as a success.
    Acknowledged,
    /// Anything else.
    Refused,
    /// Nothing, or nothing that was read.
    Unanswered,
}

/// A rule that a request to the application broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// `Hookkeeper-Delivery` is there, once.
    DeliveryNamed,
    /// `Hookkeeper-Attempt` is a number from 1.
    AttemptNumbered,
    /// One `Hookkeeper-Delivery` is one body.
    OneBody,
    /// `Hookkeeper-Duplicate-Of` names a delivery that was answered with success before.
    DuplicateOfKnown,
    /// No header holds a credential of the platform.
    NoCredential,
    /// There is a Content-Type.
    ContentType,
    /// `Hookkeeper-Event-Time`, where it is there, is the date in the body.
    EventTime,
}

/// A broken rule, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokenRule {
    /// Which rule.
    pub rule: Rule,
    /// The delivery's id, as far as there is one.
    pub delivery: Option<String>,
}

/// A delivery that waits for a person, as somebody else knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked<'a> {
    /// By its `Hookkeeper-Delivery`; known here only if the application has seen an attempt.
    Id(&'a str),
    /// By its body.
    Body(&'a [u8]),
}

/// What became of all events. Each event that was sent is counted in exactly one of `once`, `twice`,
/// `unexplained_doubles`, `parked`, `lost`, `tests` and `not_taken`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Events of which at least one attempt was sent.
    pub sent: u64,
    /// Events of which at least one attempt was acknowledged.
    pub acknowledged: u64,
    /// Events that the application processed once.
    pub once: u64,
    /// Events that it processed more than once, each time with a reason.
    pub twice: u64,
    /// Events that it processed more than once, at least once without a reason.
    pub unexplained_doubles: u64,
    /// Events that were acknowledged and are parked.
    pub parked: u64,
    /// Events that were acknowledged and never arrived, or fewer times than they had to. What is still
    /// under way is among them.
    pub lost: u64,
    /// Acknowledged events that nobody has to hand on, such as test events.
    pub tests: u64,
    /// Events that were never acknowledged and never arrived.
    pub not_taken: u64,
    /// Attempts that were acknowledged.
    pub attempts_acknowledged: u64,
    /// Attempts that were refused.
    pub attempts_refused: u64,
    /// Attempts without an answer.
    pub attempts_unanswered: u64,
    /// Events that came again with the same `Hookkeeper-Delivery`.
    pub same_delivery: u64,
    /// Events that came again with `Hookkeeper-Duplicate-Of`.
    pub marked: u64,
    /// Events that came again before whoever hands on could know that the first had arrived.
    pub overlapping: u64,
    /// Deliveries at the application whose body nobody sent.
    pub unknown: u64,
    /// Parked deliveries of which nothing else is known here.
    pub unknown_parked: u64,
    /// Events that the platform kept to itself on request.
    pub withheld: u64,
    /// Statuses that the application learned because somebody asked the platform.
    pub polled: u64,
    /// Those of `withheld` that it learned so.
    pub recovered: u64,
    /// Requests that broke a rule.
    pub broken_rules: u64,
    /// Events and deliveries beyond [`TRACKED_EVENTS`].
    pub untracked: u64,
}

impl Summary {
    /// Whether nothing was lost, nothing doubled without a reason, nothing unknown, no rule broken, and
    /// everything judged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let bad = self.lost + self.unexplained_doubles + self.unknown + self.unknown_parked;
        bad + self.broken_rules + self.untracked == 0
    }
}

/// One event.
#[derive(Clone, Copy)]
struct Event {
    /// Milliseconds since the start when the application last answered it with success.
    answered: u32,
    acknowledged: u16,
    /// Different deliveries of it that were processed.
    processed: u16,
    expected: Expected,
    /// It came again as the same delivery.
    same: bool,
    marked: bool,
    overlapping: bool,
    unexplained: bool,
}

const NEVER: u32 = u32::MAX;

#[derive(Default)]
struct Books {
    events: HashMap<EventKey, Event>,
    /// Which event each delivery brought, with [`PROCESSED`].
    deliveries: HashMap<u64, u64>,
    /// Events that were kept back, and whether the application learned of them.
    withheld: HashMap<EventKey, bool>,
    sums: Summary,
    broken: Vec<BrokenRule>,
}

/// A request that the application got.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its event.
    pub event: EventKey,
    /// Its `Hookkeeper-Delivery`.
    pub delivery: &'a str,
    /// Its `Hookkeeper-Duplicate-Of`.
    pub duplicate_of: Option<&'a str>,
}

/// Keeps account of every single delivery, for as many as [`TRACKED_EVENTS`] events.
pub struct DeliveryLedger {
    started: Instant,
    books: Mutex<Books>,
}

impl Default for DeliveryLedger {
    fn default() -> Self {
        Self { started: Instant::now(), books: Mutex::default() }
    }
}

impl DeliveryLedger {
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt at an event is about to be sent.
    pub fn sent(&self, event: EventKey, expected: Expected) {
        let mut books = self.lock();
        if books.events.len() >= TRACKED_EVENTS && !books.events.contains_key(&event) {
            books.sums.untracked += 1;
            return;
        }
        books.events.entry(event).or_insert(Event {
            answered: NEVER,
            acknowledged: 0,
            processed: 0,
            expected,
            same: false,
            marked: false,
            overlapping: false,
            unexplained: false,
        });
    }

    /// An attempt has come to its end.
    pub fn answered(&self, event: EventKey, reply: Reply) {
        let mut books = self.lock();
        match reply {
            Reply::Acknowledged => {
                books.sums.attempts_acknowledged += 1;
                if let Some(event) = books.events.get_mut(&event) {
                    event.acknowledged = event.acknowledged.saturating_add(1);
                }
            }
            Reply::Refused => books.sums.attempts_refused += 1,
            Reply::Unanswered => books.sums.attempts_unanswered += 1,
        }
    }

    /// The platform keeps an event to itself.
    pub fn withheld(&self, event: EventKey) {
        let mut books = self.lock();
        books.sums.withheld += 1;
        if books.withheld.len() < TRACKED_EVENTS {
            books.withheld.entry(event).or_insert(false);
        }
    }

    /// The application has learned of an event because the platform was asked.
    pub fn polled(&self, event: EventKey) {
        let mut books = self.lock();
        books.sums.polled += 1;
        if let Some(known) = books.withheld.get_mut(&event)
            && !std::mem::replace(known, true)
        {
            books.sums.recovered += 1;
        }
    }

    /// A request has come to the application, whatever it answers.
    pub fn arrived(&self, arrival: &Arrival<'_>) {
        let mut books = self.lock();
        let name = digest(arrival.delivery.as_bytes());
        if let Some(known) = books.deliveries.get(&name) {
            if known & !PROCESSED != arrival.event.0 {
                books.broke(Rule::OneBody, Some(arrival.delivery));
            }
            return;
        }
        if books.deliveries.len() >= TRACKED_EVENTS {
            books.sums.untracked += 1;
            return;
        }
        books.deliveries.insert(name, arrival.event.0);
        if !books.events.contains_key(&arrival.event) {
            books.sums.unknown += 1;
        }
    }

    /// The application has processed a request; `answered` when its success goes out.
    pub fn processed(&self, arrival: &Arrival<'_>, answered: bool) {
        let since_start = self.started.elapsed();
        let now = u32::try_from(since_start.as_millis()).unwrap_or(NEVER - 1).min(NEVER - 1);
        let mut books = self.lock();
        let name = digest(arrival.delivery.as_bytes());
        let copy_of_known = arrival
            .duplicate_of
            .map(|id| books.deliveries.get(&digest(id.as_bytes())).is_some_and(|d| d & PROCESSED != 0));
        if copy_of_known == Some(false) {
            books.broke(Rule::DuplicateOfKnown, Some(arrival.delivery));
        }
        let Some(known) = books.deliveries.get_mut(&name) else { return };
        let again = *known & PROCESSED != 0;
        *known |= PROCESSED;
        let Some(event) = books.events.get_mut(&arrival.event) else { return };
        if again {
            event.same = true;
            // Whoever sends it again had not heard of the success, so it could mark nothing either.
            if event.unexplained {
                (event.unexplained, event.overlapping) = (false, true);
            }
        } else {
            event.processed = event.processed.saturating_add(1);
            if event.processed > 1 {
                let unheard = event.answered == NEVER
                    || u128::from(now - event.answered.min(now)) < ANSWER_UNDER_WAY.as_millis();
                match copy_of_known {
                    Some(true) => event.marked = true,
                    _ if unheard => event.overlapping = true,
                    _ => event.unexplained = true,
                }
            }
        }
        if answered {
            event.answered = now;
        }
    }

    /// A request to the application broke a rule.
    pub fn broke(&self, rule: Rule, delivery: Option<&str>) {
        self.lock().broke(rule, delivery);
    }

    /// The first rules that were broken.
    #[must_use]
    pub fn broken_rules(&self) -> Vec<BrokenRule> {
        self.lock().broken.clone()
    }

    /// What became of all events so far, with what somebody else has parked.
    #[must_use]
    pub fn account(&self, parked: &[Parked<'_>]) -> Summary {
        let books = self.lock();
        let mut summary = books.sums;
        let mut waiting: HashMap<EventKey, u16> = HashMap::new();
        for parked in parked {
            let event = match parked {
                Parked::Body(body) => Some(EventKey::of(body)),
                Parked::Id(id) => {
                    books.deliveries.get(&digest(id.as_bytes())).map(|event| EventKey(event & !PROCESSED))
                }
            };
            match event.filter(|event| books.events.contains_key(event)) {
                Some(event) => *waiting.entry(event).or_default() += 1,
                None => summary.unknown_parked += 1,
            }
        }
        for (key, event) in &books.events {
            event.count(waiting.get(key).copied().unwrap_or(0), &mut summary);
        }
        summary
    }
}

impl Event {
    fn count(&self, parked: u16, summary: &mut Summary) {
        summary.sent += 1;
        summary.acknowledged += u64::from(self.acknowledged > 0);
        summary.same_delivery += u64::from(self.same);
        summary.marked += u64::from(self.marked);
        summary.overlapping += u64::from(self.overlapping);
        let owed = match self.expected {
            Expected::Each => self.acknowledged,
            Expected::Once => self.acknowledged.min(1),
            Expected::Nothing => 0,
        };
        let missing = owed.saturating_sub(self.processed);
        let place = if missing > parked {
            &mut summary.lost
        } else if missing > 0 {
            &mut summary.parked
        } else if self.unexplained {
            &mut summary.unexplained_doubles
        } else if self.processed > 1 || self.same {
            &mut summary.twice
        } else if self.processed == 1 {
            &mut summary.once
        } else if self.acknowledged > 0 {
            &mut summary.tests
        } else {
            &mut summary.not_taken
        };
        *place += 1;
    }
}

impl Books {
    fn broke(&mut self, rule: Rule, delivery: Option<&str>) {
        self.sums.broken_rules += 1;
        if self.broken.len() < TOLD_RULES {
            let delivery = delivery.map(|id| id.chars().take(128).collect());
            self.broken.push(BrokenRule { rule, delivery });
        }
    }
}

#[cfg(test)]
mod tests;
