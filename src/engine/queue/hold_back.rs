//! Leaving a provider or a source alone for a while, because its answer asks for it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::api::Reason;
use crate::rotation::backoff;
use crate::rotation::facts::HeldBack;
use crate::rotation::time::add;
use crate::rotation::wait::Wait;

/// Opened by an answer or by failures, tried with one call at a time when its wait is over, closed
/// by a success.
#[derive(Clone, Debug, Default)]
pub(crate) struct HoldBack {
    wait: Option<Wait>,
    reason: Option<Reason>,
    opened: u32,
}

impl HoldBack {
    /// Opens it, or makes it longer. While it is open, what else fails was sent before it was: that
    /// neither counts again nor makes it shorter.
    pub(crate) fn open(&mut self, now: DateTime<Utc>, asked: Option<Duration>, reason: Reason) {
        let pending = self.pending(now);
        if pending.is_none() {
            self.opened += 1;
        }
        let wait = Wait::starting(now, backoff::hold(asked, self.opened.saturating_sub(1)));
        if pending.is_none_or(|held| held.until < wait.until) {
            self.wait = Some(wait);
            self.reason = Some(reason);
        }
    }

    /// Takes a recorded hold-back up again.
    pub(crate) fn restore(&mut self, now: DateTime<Utc>, until: DateTime<Utc>, reason: Reason) {
        if let Some(wait) = Wait::recorded(now, until, backoff::LONGEST_RETRY_AFTER) {
            self.wait = Some(wait);
            self.reason = Some(reason);
            self.opened = 1;
        }
    }

    /// Until when no call is made, and why.
    pub(crate) fn pending(&self, now: DateTime<Utc>) -> Option<HeldBack> {
        Some(HeldBack { until: self.wait?.pending(now)?, reason: self.reason?, asked: true })
    }

    /// Whether a credential was refused, rather than a pause asked for.
    pub(crate) fn is_refusal(&self) -> bool {
        self.reason == Some(Reason::ProviderRefusedCredentials)
    }

    /// Whether it is open, be its wait over or not.
    pub(crate) fn is_open(&self) -> bool {
        self.wait.is_some()
    }

    /// Whether it is open and its wait is over: one call may try.
    pub(crate) fn probes(&self, now: DateTime<Utc>) -> bool {
        self.is_open() && self.pending(now).is_none()
    }

    /// Until when it matters although nobody is left who could try: its wait, and then as long as the
    /// next one would be. Whoever comes later begins with the shortest wait again.
    pub(crate) fn remembered_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let wait = self.wait?;
        let until = add(wait.until, backoff::hold(None, self.opened));
        Wait { until, ..wait }.pending(now)
    }

    /// A call succeeded. Returns whether that closed it: a call that was under way when it was opened
    /// says nothing.
    pub(crate) fn close(&mut self, now: DateTime<Utc>) -> bool {
        let closes = self.probes(now);
        if closes {
            *self = Self::default();
        }
        closes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_until_a_success() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let mut hold = HoldBack::default();
        hold.open(now, None, Reason::RateLimited);
        let first = hold.pending(now).unwrap().until;
        hold.open(first, None, Reason::RateLimited);
        let second = hold.pending(first).unwrap().until;
        assert_eq!(((first - now).num_seconds(), (second - first).num_seconds()), (30, 60));
        assert!(hold.probes(second) && !hold.probes(first));
        assert!(!hold.close(first) && hold.close(second) && !hold.close(second));
        assert!(!hold.probes(second));
    }

    #[test]
    fn it_is_remembered_until_the_next_wait_would_be_over_too() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let mut hold = HoldBack::default();
        assert_eq!(hold.remembered_until(now), None);
        hold.open(now, Some(Duration::from_secs(600)), Reason::RateLimited);
        let until = now + chrono::TimeDelta::seconds(600 + 60);
        assert_eq!(hold.remembered_until(now), Some(until));
        assert_eq!(hold.remembered_until(until), None);
    }

    #[test]
    fn what_was_under_way_when_it_was_opened_counts_once_and_makes_it_no_shorter() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let mut hold = HoldBack::default();
        let seconds = |hold: &HoldBack| hold.pending(now).map(|held| (held.until - now).num_seconds());
        for _ in 0..5 {
            hold.open(now, None, Reason::RateLimited);
        }
        assert_eq!(seconds(&hold), Some(30));
        hold.open(now, Some(Duration::from_secs(600)), Reason::RateLimited);
        hold.open(now, Some(Duration::from_secs(1)), Reason::RateLimited);
        assert_eq!(seconds(&hold), Some(600));
    }
}
