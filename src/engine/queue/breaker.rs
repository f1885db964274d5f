//! A circuit breaker for each namespace at each origin: whether its calls pause, and until when.
//!
//! There are two kinds of pause, and they must not be confused. One is **asked for**, by an answer
//! with Retry-After or by 429: it lasts as long as was asked, see [`super::hold_back`]. The other is
//! an **outage**: nothing arrives any more. It begins with a second and never costs anybody more than
//! a tenth of the life that their token still has, so that a platform that was away for some seconds
//! makes nobody late.
//!
//! Each namespace finds out for itself: whether what one of them calls is there says nothing of what
//! the others call at the same host, and an author could make their own calls fail.
//!
//! An outage is told from a platform that fails often by how many calls fail in a row, with nothing
//! that arrives in between: so many that, by the share that failed until then, it happens once in a
//! million times. A share of failures alone is no such sign: a pause whenever more than half of the
//! calls fail stops the very attempts that would have succeeded.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::api::Reason;
use crate::engine::ids::SubscriptionId;
use crate::rotation::backoff;
use crate::rotation::facts::HeldBack;
use crate::rotation::wait::Wait;

/// At least and at most so many calls must fail in a row.
const FAILURES_IN_A_ROW: (f64, f64) = (12.0, 40.0);

/// How unlikely a row of failures must be for it to be an outage.
const UNLIKELY: f64 = 1e-6;

/// How much one more failure, and one more answer, say of an origin: what is bad is learned fast, and
/// what is good slowly.
const LEARNING: (f64, f64) = (0.05, 0.01);

/// By so many distinct objects that did not fail before, or by all there are.
const DISTINCT_OBJECTS: usize = 3;

/// Shorter pauses are not worth a status write.
const SHORTEST_SHOWN: Duration = Duration::from_secs(10);

/// What an origin's answers say of it.
#[derive(Debug)]
pub(crate) struct Breaker {
    outage: Option<Outage>,
    /// How many calls have failed since something arrived.
    failures: u32,
    /// The share of calls that failed before that.
    share: f64,
    /// Those that failed since something arrived, and did not keep failing before.
    failing: BTreeSet<SubscriptionId>,
    /// How long answers take, at the most, lately.
    slowest: Duration,
}

/// Nothing arrives at present.
#[derive(Clone, Copy, Debug)]
struct Outage {
    pause: Wait,
    /// How many pauses there were.
    pauses: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            outage: None,
            failures: 0,
            // Of one that is not known yet nothing good and nothing bad is assumed.
            share: 0.5,
            failing: BTreeSet::new(),
            slowest: Duration::ZERO,
        }
    }
}

impl Breaker {
    /// Until when no call is made, and why.
    pub(crate) fn pending(&self, now: DateTime<Utc>) -> Option<HeldBack> {
        self.outage.and_then(|outage| outage.pause.pending(now)).map(|until| HeldBack {
            until,
            reason: Reason::ProviderUnavailable,
            asked: false,
        })
    }

    /// The same, for people: what is over in some seconds is not written down.
    pub(crate) fn shown(&self, now: DateTime<Utc>) -> Option<HeldBack> {
        self.pending(now).filter(|_| self.is_shown())
    }

    fn is_shown(&self) -> bool {
        self.outage.is_some_and(|outage| outage.pause.length() >= SHORTEST_SHOWN)
    }

    /// Whether a pause is over and nothing has arrived since: one call may try.
    pub(crate) fn probes(&self, now: DateTime<Utc>) -> bool {
        self.outage.is_some() && self.pending(now).is_none()
    }

    /// Until when it matters although nobody is left who could try.
    pub(crate) fn remembered_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.outage.and_then(|outage| outage.pause.pending(now))
    }

    /// Those that have tried in vain: a probe is somebody else, if there is anybody.
    pub(crate) fn tried(&self) -> &BTreeSet<SubscriptionId> {
        &self.failing
    }

    /// It is no more.
    pub(crate) fn forget(&mut self, id: SubscriptionId) {
        self.failing.remove(&id);
    }

    /// An answer has arrived. Returns whether people are to be told that a pause has ended.
    pub(crate) fn answered(&mut self) -> bool {
        let was_shown = self.is_shown();
        // An outage is not how an origin is; it says little of its share.
        for _ in 0..self.failures.min(20) {
            self.share += LEARNING.0 * (1.0 - self.share);
        }
        self.share -= LEARNING.1 * self.share;
        self.failures = 0;
        self.failing.clear();
        self.outage = None;
        was_shown
    }

    /// How long it took until an answer came, or until it was given up.
    pub(crate) fn took(&mut self, time: Duration, answered: bool) {
        self.slowest = backoff::slowest(self.slowest, time, answered);
    }

    /// How long a call may take that has so much time left, when it is worth less to wait for a lost
    /// answer than to ask again.
    pub(crate) fn patience(&self, left: Duration) -> Option<Duration> {
        backoff::call_patience(left, self.slowest)
    }

    /// A call did not arrive. `cap` is the longest pause that those who wait can bear, and `users`
    /// is how many objects of the namespace call the origin. Returns whether a pause has begun.
    pub(crate) fn failed(
        &mut self,
        now: DateTime<Utc>,
        failed: &Failed,
        cap: Duration,
        users: usize,
    ) -> bool {
        self.failures = self.failures.saturating_add(1);
        if let Some(of) = failed.of
            && !failed.kept_failing
        {
            self.failing.insert(of);
        }
        if self.pending(now).is_some() {
            // It was sent before the pause began.
            return false;
        }
        let pauses = match self.outage {
            Some(outage) => outage.pauses,
            None if self.is_unlikely() && self.failing.len() >= DISTINCT_OBJECTS.min(users.max(1)) => 0,
            None => return false,
        };
        let pause = Wait::starting(now, backoff::outage_pause(pauses, cap));
        self.outage = Some(Outage { pause, pauses: pauses.saturating_add(1) });
        true
    }

    /// Whether that many failures in a row do not come about by chance.
    fn is_unlikely(&self) -> bool {
        let (least, most) = FAILURES_IN_A_ROW;
        let needed = UNLIKELY.ln() / self.share.clamp(0.01, 0.99).ln();
        f64::from(self.failures) >= needed.clamp(least, most)
    }

    /// Whether nothing arrives at present: what fails then says nothing of who failed.
    pub(crate) fn is_away(&self) -> bool {
        self.outage.is_some()
    }

    /// Somebody came who can bear no longer pause than this.
    pub(crate) fn hasten(&mut self, cap: Duration) {
        if let Some(outage) = &mut self.outage {
            outage.pause = outage.pause.no_longer_than(cap);
        }
    }
}

/// Whose call did not arrive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub(crate) of: Option<SubscriptionId>,
    /// Whether it failed before, several times in a row: that says something of itself, and nothing of its
    /// origin.
    pub(crate) kept_failing: bool,
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const CAP: Duration = Duration::from_secs(30);

    fn by(number: u32) -> Failed {
        Failed { of: Some(SubscriptionId(number)), kept_failing: false }
    }

    fn start() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    /// A breaker that has just opened.
    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        let opened: Vec<bool> =
            (0..20).map(|number| breaker.failed(start(), &by(number % 5), CAP, 5)).collect();
        assert_eq!(opened.iter().position(|opened| *opened), Some(19));
        breaker
    }

    fn seconds(breaker: &Breaker, now: DateTime<Utc>) -> Option<i64> {
        breaker.pending(now).map(|held| (held.until - now).num_seconds())
    }

    #[test]
    fn an_outage_is_when_nothing_arrives_and_its_pauses_double() {
        let mut breaker = opened();
        let mut now = start();
        let mut pauses = Vec::new();
        while let Some(pause) = seconds(&breaker, now) {
            pauses.push(pause);
            now += TimeDelta::seconds(pause);
            assert!(breaker.probes(now));
            if pauses.len() < 7 {
                assert!(breaker.failed(now, &by(1), CAP, 5));
            } else {
                breaker.answered();
            }
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert!(
            !breaker.probes(now) && !breaker.failed(now, &by(1), CAP, 5),
            "closed, and it counts from zero"
        );
    }

    /// After how many failures in a row it opens, when so many of a hundred failed before.
    fn opens_after(failed_before: u32) -> usize {
        let mut breaker = Breaker::default();
        for number in 0..2_000_u32 {
            if number * 37 % 100 < failed_before {
                breaker.failed(start(), &by(number % 5), CAP, 5);
            } else {
                breaker.answered();
            }
        }
        assert!(!breaker.is_away(), "{failed_before}");
        breaker.answered();
        1 + (0..).take_while(|number| !breaker.failed(start(), &by(number % 5), CAP, 5)).count()
    }

    #[test]
    fn the_more_an_origin_fails_the_longer_a_row_it_takes() {
        let rows: Vec<usize> = [0, 3, 12, 30, 60, 66].into_iter().map(opens_after).collect();
        assert!(rows[0] == 12 && rows.is_sorted(), "{rows:?}");
        assert!(rows[4] >= 30, "{rows:?}");
    }

    #[test]
    fn where_there_is_but_one_object_it_speaks_for_its_origin() {
        let opens = |users| {
            let mut breaker = Breaker::default();
            (0..40).any(|_| breaker.failed(start(), &by(1), CAP, users))
        };
        assert_eq!((opens(1), opens(2)), (true, false));
    }

    #[test]
    fn objects_that_keep_failing_open_nothing() {
        let mut breaker = Breaker::default();
        for number in 0..1_000 {
            assert!(!breaker.failed(start(), &Failed { kept_failing: number > 1, ..by(number) }, CAP, 5));
        }
    }

    #[test]
    fn who_can_bear_less_shortens_an_outage() {
        let mut breaker = opened();
        for _ in 0..4 {
            let until = breaker.pending(start()).map_or(start(), |held| held.until);
            breaker.outage = breaker
                .outage
                .map(|outage| Outage { pause: Wait::starting(until, Duration::ZERO), ..outage });
            breaker.failed(start(), &by(1), CAP, 5);
        }
        assert_eq!(seconds(&breaker, start()), Some(16));
        breaker.hasten(Duration::from_secs(3));
        assert_eq!(seconds(&breaker, start()), Some(3));
        breaker.hasten(Duration::from_secs(9));
        assert_eq!(seconds(&breaker, start()), Some(3));
    }
}
