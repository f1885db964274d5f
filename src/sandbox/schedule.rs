//! When deliveries are due: new events at an interval, failed ones again as Gupy documents it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::clock::after;
use crate::secret::SecretText;

/// Waits between attempts in provider time: 1, 5, 15, 30, 30, 30 minutes, two hours in all.
pub(super) const RETRY_MINUTES: [u64; 6] = [1, 5, 15, 30, 30, 30];

/// A webhook with nothing but failures for this long (provider time) is removed.
pub(super) const REMOVAL: Duration = Duration::from_secs(7 * 24 * 3600);

/// Retries kept at the same time; beyond it failed events are lost at once, so that a receiver that
/// is down for long does not fill the memory.
const KEPT_RETRIES: usize = 100_000;

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Make the webhook's next event and send it.
    Fresh {
        /// The webhook's id.
        webhook: String,
    },
    /// Send an event again.
    Again(Attempt),
}

/// An attempt at a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) webhook: String,
    pub(super) event: String,
    /// When the event happened.
    pub(super) date: DateTime<Utc>,
    /// 1 for the first.
    pub(super) number: usize,
    /// What the first attempt carried, where retries repeat it.
    pub(super) kept: Option<Load>,
    /// Whether the event was delivered before.
    pub(super) copy: bool,
}

/// The headers of a delivery and the label of the token among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) headers: Vec<(String, SecretText)>,
    pub(super) token: Option<String>,
}

/// Jobs by the time they are due.
#[derive(Default)]
pub(super) struct Schedule {
    filed: u64,
    jobs: BTreeMap<(DateTime<Utc>, u64), Job>,
    retries: usize,
}

impl Schedule {
    pub(super) fn file(&mut self, due: DateTime<Utc>, job: Job) {
        self.filed += 1;
        self.retries += usize::from(matches!(job, Job::Again(_)));
        self.jobs.insert((due, self.filed), job);
    }

    /// Files the attempt that follows a failed one; false when none follows and the event is lost.
    ///
    /// `real` turns provider time into real time.
    pub(super) fn retry(
        &mut self,
        now: DateTime<Utc>,
        failed: &Attempt,
        real: impl Fn(Duration) -> Duration,
    ) -> bool {
        let Some(minutes) = RETRY_MINUTES.get(failed.number - 1) else {
            return false;
        };
        if self.retries >= KEPT_RETRIES {
            return false;
        }
        let due = after(now, real(Duration::from_secs(minutes * 60)));
        let mut next = failed.clone();
        next.number += 1;
        self.file(due, Job::Again(next));
        true
    }

    /// Forgets the events that have not happened yet.
    pub(super) fn forget_events(&mut self) {
        self.jobs.retain(|_, job| matches!(job, Job::Again(_)));
    }

    pub(super) fn next_due(&self) -> Option<DateTime<Utc>> {
        self.jobs.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes the first job out if it is due.
    pub(super) fn take(&mut self, now: DateTime<Utc>) -> Option<Job> {
        let entry = self.jobs.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let job = entry.remove();
        self.retries -= usize::from(matches!(job, Job::Again(_)));
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(date: DateTime<Utc>) -> Attempt {
        Attempt { webhook: "w".into(), event: "e".into(), date, number: 1, kept: None, copy: false }
    }

    #[test]
    fn seven_attempts_within_two_hours() {
        let start = Utc::now();
        let mut schedule = Schedule::default();
        schedule.file(start, Job::Again(first(start)));
        let mut minutes = Vec::new();
        while let Some(now) = schedule.next_due() {
            let Some(Job::Again(attempt)) = schedule.take(now) else {
                panic!("a retry was filed");
            };
            minutes.push((now - start).num_minutes());
            assert_eq!(attempt.number, minutes.len());
            schedule.retry(now, &attempt, |provider| provider);
        }
        assert_eq!(minutes, [0, 1, 6, 21, 51, 81, 111]);
    }

    #[test]
    fn retries_come_sooner_on_a_faster_clock() {
        let start = Utc::now();
        let mut schedule = Schedule::default();
        assert!(schedule.retry(start, &first(start), |provider| provider / 60));
        assert_eq!(schedule.next_due(), Some(after(start, Duration::from_secs(1))));
        assert!(schedule.take(start).is_none());
    }

    #[test]
    fn kept_retries_are_bounded() {
        let now = Utc::now();
        let mut schedule = Schedule::default();
        for _ in 0..KEPT_RETRIES {
            assert!(schedule.retry(now, &first(now), |provider| provider));
        }
        assert!(!schedule.retry(now, &first(now), |provider| provider));
    }
}
