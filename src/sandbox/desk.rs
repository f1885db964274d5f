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
mod tests {
    use super::super::platforms::{Authentication, IdUnico, Platform, Pulpo, QualP};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Bench {
        desk: Desk,
        ledger: Arc<DeliveryLedger>,
        start: DateTime<Utc>,
        now: DateTime<Utc>,
    }

    fn idunico() -> Platform {
        Platform::IdUnico(IdUnico {
            authentication: Authentication::None,
            attempts: 5,
            interval: 3 * SECOND,
            timeout: SECOND,
            api_key: "k".into(),
        })
    }

    fn pulpo() -> Platform {
        Platform::Pulpo(Pulpo { token: "t".into(), sample_is_handed_on: false })
    }

    fn qualp() -> Platform {
        Platform::QualP(QualP { secret: "s".into(), access_token: "a".into(), tax_id: "1".into() })
    }

    impl Bench {
        fn new(platform: Platform, events: u64, disturbances: Disturbances) -> Self {
            let ledger = Arc::new(DeliveryLedger::default());
            let random = Random::seeded(1);
            let mut desk = Desk::new(platform.into_sends(), random, disturbances, Arc::clone(&ledger));
            let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
            desk.beat(now, Rhythm { interval: Some(SECOND), events: Some(events) });
            Self { desk, ledger, start: now, now }
        }

        /// Runs to the end; each attempt is answered at once. Returns second and body of each.
        fn run(&mut self, mut answer: impl FnMut(&str) -> Option<u16>) -> Vec<(i64, String)> {
            let mut sent = Vec::new();
            while let Some(due) = self.desk.next_due() {
                self.now = self.now.max(due);
                while let Some(parcel) = self.desk.take(self.now) {
                    sent.push(((self.now - self.start).num_seconds(), parcel.body().to_owned()));
                    let status = answer(parcel.body());
                    self.desk.done(self.now, &parcel.attempt, status, |platform| platform);
                }
            }
            sent
        }

        fn seconds(&mut self, answer: impl FnMut(&str) -> Option<u16>) -> Vec<i64> {
            self.run(answer).into_iter().map(|(second, _)| second).collect()
        }
    }

    #[test]
    fn idunico_tries_as_often_as_configured_with_exponential_waits() {
        for status in [None, Some(500), Some(401), Some(302)] {
            let mut bench = Bench::new(idunico(), 1, Disturbances::default());
            assert_eq!(bench.seconds(|_| status), [1, 4, 10, 22, 46]);
            assert_eq!(bench.desk.counts().given_up, 1);
        }
        for status in [200, 202, 204, 299] {
            let mut bench = Bench::new(idunico(), 1, Disturbances::default());
            assert_eq!(bench.seconds(|_| Some(status)), [1]);
        }
        let mut bench = Bench::new(idunico(), 1, Disturbances::default());
        let mut answers = [None, Some(503), Some(201)].into_iter();
        assert_eq!(bench.seconds(|_| answers.next().flatten()), [1, 4, 10]);
        assert_eq!(bench.desk.counts().given_up, 0);
    }

    #[test]
    fn pulpo_and_qualp_try_once() {
        for platform in [pulpo(), qualp()] {
            let mut bench = Bench::new(platform, 2, Disturbances::default());
            assert_eq!(bench.seconds(|_| Some(500)), [1, 2]);
            let counts = bench.desk.counts();
            assert_eq!((counts.refused, counts.given_up, counts.waiting), (2, 2, 0));
        }
    }

    #[test]
    fn at_most_500_are_under_way_and_fewer_after_errors() {
        let mut bench = Bench::new(idunico(), 1_000_000, Disturbances::default());
        bench.desk.beat(bench.now, Rhythm { interval: Some(Duration::from_micros(1)), events: None });
        let soon = after(bench.now, SECOND / 2);
        let parcels: Vec<_> = std::iter::from_fn(|| bench.desk.take(soon)).collect();
        assert_eq!((parcels.len(), bench.desk.next_due()), (500, None));
        bench.desk.done(soon, &parcels[0].attempt, Some(500), |platform| platform);
        assert!(bench.desk.take(soon).is_none(), "250 are allowed and 499 under way");
        for parcel in &parcels[1..] {
            bench.desk.done(soon, &parcel.attempt, Some(200), |platform| platform);
        }
        assert!(bench.desk.take(soon).is_some());
    }

    #[test]
    fn a_sender_that_fell_behind_catches_up_by_a_second_at_most() {
        let mut bench = Bench::new(qualp(), 1_000_000, Disturbances::default());
        let mut sent = 0;
        let late = after(bench.now, 3600 * SECOND);
        while let Some(parcel) = bench.desk.take(late) {
            bench.desk.done(late, &parcel.attempt, Some(200), |platform| platform);
            sent += 1;
        }
        assert!((1..=3).contains(&sent), "{sent}");
    }

    #[test]
    fn copies_come_after_a_success_and_have_the_same_body() {
        let disturbances = Disturbances { duplicates: 1.0, ..Disturbances::default() };
        let mut bench = Bench::new(pulpo(), 3, disturbances);
        let sent = bench.run(|_| Some(200));
        assert_eq!(sent.len(), 6);
        for (_, body) in &sent {
            assert_eq!(sent.iter().filter(|(_, other)| other == body).count(), 2);
        }
        assert_eq!(bench.ledger.account(&[]).sent, 3);
        assert_eq!(bench.ledger.account(&[]).lost, 3, "nothing has arrived");
    }

    #[test]
    fn what_is_held_back_is_overtaken() {
        let disturbances = Disturbances { reorder: 0.3, seed: 5, ..Disturbances::default() };
        let mut bench = Bench::new(qualp(), 50, disturbances);
        let number = |body: &str| -> u64 {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            body["notification"].as_u64().unwrap()
        };
        let order: Vec<u64> = bench.run(|_| Some(200)).iter().map(|(_, body)| number(body)).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_ne!(order, sorted);
        assert_eq!(sorted, (1..=50).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_lost_on_request_happens_and_is_not_sent() {
        let mut bench = Bench::new(idunico(), 5, Disturbances::default());
        assert!(bench.desk.begin(ProcessPlan { id: "p".into(), statuses: vec![2, 3] }));
        bench.desk.lose(2);
        let sent = bench.run(|_| Some(200));
        assert_eq!(sent.len(), 3);
        assert!(sent.iter().all(|(_, body)| !body.contains(r#""id":"p""#)));
        let summary = bench.ledger.account(&[]);
        assert_eq!((summary.withheld, summary.sent), (2, 3));
        assert_eq!(bench.desk.ask(bench.now, "p", Some("k")), Some(Asked::Status(3)));
        let all = Disturbances { lose: 1.0, ..Disturbances::default() };
        assert_eq!(Bench::new(pulpo(), 4, all).run(|_| Some(200)), []);
    }

    #[test]
    fn pulpos_test_event_comes_on_request_and_is_owed_to_nobody() {
        let mut bench = Bench::new(pulpo(), 0, Disturbances::default());
        assert!(bench.desk.sample(bench.now));
        let sent = bench.run(|_| Some(200));
        assert!(sent.len() == 1 && sent[0].1.contains("SampleEvent"));
        let summary = bench.ledger.account(&[]);
        assert_eq!((summary.tests, summary.lost), (1, 0));
        assert!(!Bench::new(qualp(), 0, Disturbances::default()).desk.sample(Utc::now()));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut bench = Bench::new(idunico(), 0, Disturbances::default());
        bench.desk.counts.waiting = WAITING as u64;
        let attempt = first(bench.desk.platform.event(bench.now, &mut Random::seeded(1)));
        bench.desk.pack(attempt.clone());
        bench.desk.done(bench.now, &attempt, None, |platform| platform);
        assert_eq!((bench.desk.counts().given_up, bench.desk.jobs.len()), (1, 0));
    }
}
