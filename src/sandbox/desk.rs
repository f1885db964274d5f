//! One sender at work: what it sends next, and what it does with the answer.
//!
//! No function here waits or reads a clock, so that hours of a platform's time pass in microseconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderName;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::account::{DeliveryLedger, EventKey, Reply};
use super::clock::after;
use super::disturbances::{Breakage, Disturbances, Unrest};
use super::platforms::{Asked, Message, ProcessPlan, Sends};
use super::random::Random;
use crate::secret::SecretText;

/// Attempts that wait at the same time; beyond it an event is given up at once, so that a receiver that
/// is down for long does not fill the memory.
const WAITING: usize = 100_000;
/// A sender that fell behind does not send more than this at once to catch up.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What a sender has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SenderCounts {
    /// Events that happened.
    pub events: u64,
    /// Events kept back on request.
    pub withheld: u64,
    /// Attempts that were sent.
    pub attempts: u64,
    /// Attempts that met what the platform counts as a success.
    pub acknowledged: u64,
    /// Attempts that met another answer.
    pub refused: u64,
    /// Attempts that met none.
    pub unanswered: u64,
    /// Events that will not be tried again although no attempt succeeded.
    pub given_up: u64,
    /// Attempts that wait for their time.
    pub waiting: u64,
    /// Attempts under way.
    pub under_way: u64,
    /// How many may be under way at this moment.
    pub at_once: u64,
}

/// Something to do.
enum Job {
    /// Let the next event happen.
    Event,
    /// Send an event.
    Send(Attempt),
}

/// One attempt.
#[derive(Clone)]
pub(super) struct Attempt {
    message: Arc<Message>,
    key: EventKey,
    /// 1 for the first.
    number: u32,
    /// Whether the event was delivered before.
    copy: bool,
}

/// An attempt that is ready to be sent.
pub(super) struct Parcel {
    pub(super) attempt: Attempt,
    pub(super) headers: Vec<(HeaderName, SecretText)>,
    pub(super) timeout: Duration,
    pub(super) breakage: Breakage,
}

impl Parcel {
    pub(super) fn body(&self) -> &str {
        &self.attempt.message.body
    }
}

/// How often something happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    /// From one event to the next; `None` for no events.
    pub(super) interval: Option<Duration>,
    /// How many events there still are; `None` for no end.
    pub(super) events: Option<u64>,
}

/// A sender.
pub(super) struct Desk {
    platform: Box<dyn Sends>,
    random: Random,
    unrest: Unrest,
    rhythm: Rhythm,
    ledger: Arc<DeliveryLedger>,
    jobs: BTreeMap<(DateTime<Utc>, u64), Job>,
    filed: u64,
    /// So many of the next events are kept back.
    lose: u64,
    counts: SenderCounts,
}

impl Desk {
    pub(super) fn new(
        platform: Box<dyn Sends>,
        random: Random,
        disturbances: Disturbances,
        ledger: Arc<DeliveryLedger>,
    ) -> Self {
        Self {
            platform,
            random,
            unrest: Unrest::new(disturbances),
            rhythm: Rhythm { interval: None, events: None },
            ledger,
            jobs: BTreeMap::new(),
            filed: 0,
            lose: 0,
            counts: SenderCounts::default(),
        }
    }

    fn file(&mut self, due: DateTime<Utc>, job: Job) {
        self.filed += 1;
        self.counts.waiting += u64::from(matches!(job, Job::Send(_)));
        self.jobs.insert((due, self.filed), job);
    }

    /// Sets how often events happen from now on.
    pub(super) fn beat(&mut self, now: DateTime<Utc>, rhythm: Rhythm) {
        self.jobs.retain(|_, job| matches!(job, Job::Send(_)));
        self.rhythm = rhythm;
        if let Some(interval) = rhythm.interval.filter(|_| rhythm.events != Some(0)) {
            self.file(after(now, interval), Job::Event);
        }
    }

    pub(super) fn rhythm(&self) -> Rhythm {
        self.rhythm
    }

    pub(super) fn disturb(&mut self, disturbances: Disturbances) {
        self.unrest = Unrest::new(disturbances);
    }

    /// Keeps so many of the next events back.
    pub(super) fn lose(&mut self, events: u64) {
        self.lose = events;
    }

    /// Files the platform's test event; false when it has none.
    pub(super) fn sample(&mut self, now: DateTime<Utc>) -> bool {
        let Some(message) = self.platform.sample(now, &mut self.random) else {
            return false;
        };
        self.counts.events += 1;
        self.file(now, Job::Send(first(message)));
        true
    }

    pub(super) fn begin(&mut self, plan: ProcessPlan) -> bool {
        self.platform.begin(plan)
    }

    pub(super) fn ask(&mut self, now: DateTime<Utc>, id: &str, api_key: Option<&str>) -> Option<Asked> {
        self.platform.ask(now, id, api_key)
    }

    pub(super) fn counts(&self) -> SenderCounts {
        SenderCounts { at_once: self.platform.at_once() as u64, ..self.counts }
    }

    /// When something is due; nothing is while too much is under way.
    pub(super) fn next_due(&self) -> Option<DateTime<Utc>> {
        self.jobs.first_key_value().filter(|_| self.has_place()).map(|((due, _), _)| *due)
    }

    fn has_place(&self) -> bool {
        self.counts.under_way < self.platform.at_once() as u64
    }

    /// The next attempt that is due, if one is and there is a place for it.
    pub(super) fn take(&mut self, now: DateTime<Utc>) -> Option<Parcel> {
        while self.has_place() {
            let entry = self.jobs.first_entry()?;
            let due = entry.key().0;
            if due > now {
                return None;
            }
            let attempt = match entry.remove() {
                Job::Send(attempt) => {
                    self.counts.waiting -= 1;
                    attempt
                }
                Job::Event => match self.happen(now, due) {
                    Some(attempt) => attempt,
                    None => continue,
                },
            };
            return Some(self.pack(attempt));
        }
        None
    }

    /// Lets one event happen and files the one after it; `None` when it is not sent now.
    fn happen(&mut self, now: DateTime<Utc>, due: DateTime<Utc>) -> Option<Attempt> {
        let interval = self.rhythm.interval.unwrap_or_default();
        let left = self.rhythm.events.map(|events| events.saturating_sub(1));
        self.rhythm.events = left;
        if left != Some(0) {
            let from = due.max(now - TimeDelta::from_std(CATCH_UP).unwrap_or_default());
            self.file(after(from, interval), Job::Event);
        }
        let attempt = first(self.platform.event(now, &mut self.random));
        self.counts.events += 1;
        if self.lose > 0 || self.unrest.loses() {
            self.lose = self.lose.saturating_sub(1);
            self.counts.withheld += 1;
            self.ledger.withheld(attempt.key);
            return None;
        }
        if let Some(intervals) = self.unrest.holds_back() {
            let later = after(now, interval.mul_f64(intervals));
            self.file(later, Job::Send(attempt));
            return None;
        }
        Some(attempt)
    }

    fn pack(&mut self, attempt: Attempt) -> Parcel {
        self.counts.under_way += 1;
        self.counts.attempts += 1;
        self.ledger.sent(attempt.key, attempt.message.expected);
        Parcel {
            headers: self.platform.headers(&attempt.message.body),
            timeout: self.platform.timeout(),
            breakage: self.unrest.breaks(),
            attempt,
        }
    }

    /// Notes what an attempt was answered and files what follows. `real` turns the platform's time into
    /// real time.
    pub(super) fn done(
        &mut self,
        now: DateTime<Utc>,
        attempt: &Attempt,
        status: Option<u16>,
        real: impl Fn(Duration) -> Duration,
    ) {
        let success = status.is_some_and(|status| self.platform.is_success(status));
        let (reply, count) = match status {
            _ if success => (Reply::Acknowledged, &mut self.counts.acknowledged),
            Some(_) => (Reply::Refused, &mut self.counts.refused),
            None => (Reply::Unanswered, &mut self.counts.unanswered),
        };
        *count += 1;
        self.counts.under_way -= 1;
        self.ledger.answered(attempt.key, reply);
        self.platform.learn(success);
        if success {
            if !attempt.copy && self.unrest.repeats() {
                let copy = Attempt { copy: true, number: 1, ..attempt.clone() };
                self.file(after(now, self.rhythm.interval.unwrap_or_default()), Job::Send(copy));
            }
            return;
        }
        match self.platform.wait_after(attempt.number) {
            Some(wait) if self.counts.waiting < WAITING as u64 => {
                let next = Attempt { number: attempt.number + 1, ..attempt.clone() };
                self.file(after(now, real(wait)), Job::Send(next));
            }
            _ => self.counts.given_up += u64::from(!attempt.copy),
        }
    }
}

fn first(message: Message) -> Attempt {
    let key = EventKey::of(message.body.as_bytes());
    Attempt { message: Arc::new(message), key, number: 1, copy: false }
}

#[cfg(test)]
mod tests;
