//! How long to wait after a failure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::time::{add, between};

/// Longest ordinary wait between two attempts of one object.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);
/// Longest wait after an answer that trying again will not change, such as a refused document.
pub const LONGEST_LONG_WAIT: Duration = Duration::from_secs(3_600);
/// Longest time a Retry-After is obeyed.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// First wait of a hold-back that nobody gave a length for.
const FIRST_HOLD: Duration = Duration::from_secs(30);

/// The longest wait for a token with this lead: a tenth of it, between 1 s and 5 min.
#[must_use]
pub fn cap(lead: Option<Duration>) -> Duration {
    lead.map_or(LONGEST_WAIT, |lead| (lead / 10).clamp(Duration::from_secs(1), LONGEST_WAIT))
}

/// The wait before attempt `failed + 1`: uniform in [½, 1] of the smaller of 2^failed s and the cap.
///
/// `random` is 64 random bits.
#[must_use]
pub fn delay(failed: u32, cap: Duration, random: u64) -> Duration {
    let full = Duration::from_secs(1_u64.checked_shl(failed.min(62)).unwrap_or(u64::MAX)).min(cap);
    let part = u32::try_from(random >> 33).unwrap_or(0);
    full / 2 + (full / 2).mul_f64(f64::from(part) / f64::from(u32::MAX >> 1))
}

/// With less than this left of a token, attempts come closer together.
const PARTS_OF_A_REST: u32 = 16;
/// Attempts come no closer together than this.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
/// After so many failures in a row an object is in no hurry any more: more of the same will not help.
const HURRIED_ATTEMPTS: u32 = 40;

/// The longest wait of an object that has failed so often in a row, and whose token has so much life
/// left: at the most a sixteenth of that, so that many attempts fit in whatever is left. A token that
/// has ended sets no pace.
#[must_use]
pub fn hurried(cap: Duration, failed: u32, rest: Duration) -> Duration {
    if rest.is_zero() || failed >= HURRIED_ATTEMPTS {
        return cap;
    }
    cap.min((rest / PARTS_OF_A_REST).max(SHORTEST_WAIT))
}

/// First and longest pause while nothing arrives at an origin.
const OUTAGE_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long an origin at which nothing arrives is left alone: 1 s, doubling to the cap.
#[must_use]
pub fn outage_pause(pauses_before: u32, cap: Duration) -> Duration {
    let (first, longest) = OUTAGE_PAUSES;
    (first * 2_u32.pow(pauses_before.min(5))).min(cap.clamp(first, longest))
}

/// The longest pause that somebody can bear whose token has so much life left: a tenth of that. Once
/// the token has ended, a fifth of the lead: being called less often helps a provider that comes
/// back, and costs little more.
#[must_use]
pub fn bearable_pause(rest: Duration, lead: Option<Duration>) -> Duration {
    let (first, longest) = OUTAGE_PAUSES;
    if rest.is_zero() {
        lead.map_or(longest, |lead| (lead / 5).clamp(first * 2, longest))
    } else {
        (rest / 10).clamp(first, longest)
    }
}

/// How long a call waits for its answer when so much time is left in which another one can be made,
/// and the slowest answer of late took so long: a quarter of what is left, but three times as long as
/// answers take, and 3 s at least. `None` when nothing is left that could be lost.
#[must_use]
pub fn call_patience(left: Duration, slowest: Duration) -> Option<Duration> {
    (!left.is_zero()).then(|| (left / 4).max(slowest * 3).max(SHORTEST_PATIENCE))
}

/// No call is given up sooner than this for the sake of another one.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(3);

/// How long answers take at the most, lately, after a call that took so long: a slow one is
/// remembered for about twenty more. One that was given up might have been answered later, so that
/// patience grows by half each time.
#[must_use]
pub fn slowest(before: Duration, took: Duration, answered: bool) -> Duration {
    let took = if answered { took } else { took / 2 };
    took.max(before.mul_f64(0.9))
}

/// How long a provider or a source is held back: what it asked for, at most an hour; otherwise
/// 30 s, doubling to 5 min.
#[must_use]
pub fn hold(asked: Option<Duration>, held_before: u32) -> Duration {
    match asked {
        Some(asked) => asked.clamp(Duration::from_secs(1), LONGEST_RETRY_AFTER),
        None => (FIRST_HOLD * 2_u32.pow(held_before.min(4))).min(LONGEST_WAIT),
    }
}

/// Whether failure number `count` is written into the status: the first and every power of two.
#[must_use]
pub fn is_recorded(count: u32) -> bool {
    count.is_power_of_two()
}

/// A wait with both its ends, so that a clock that is set cannot make it endless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When the wait began.
    pub from: DateTime<Utc>,
    /// When it ends.
    pub until: DateTime<Utc>,
}

impl Wait {
    /// A wait that begins now.
    #[must_use]
    pub fn starting(now: DateTime<Utc>, length: Duration) -> Self {
        Self { from: now, until: add(now, length) }
    }

    /// When to go on, if not yet. A clock set back to before the wait's beginning ends it.
    #[must_use]
    pub fn pending(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        (self.from <= now && now < self.until).then_some(self.until)
    }

    /// How long it is as a whole.
    #[must_use]
    pub fn length(&self) -> Duration {
        between(self.from, self.until)
    }

    /// The same wait, cut to this length.
    #[must_use]
    pub fn no_longer_than(&self, length: Duration) -> Self {
        Self { until: self.until.min(add(self.from, length)), ..*self }
    }

    /// A wait read from a record: it never counts for more than its cap from now.
    #[must_use]
    pub fn recorded(now: DateTime<Utc>, until: DateTime<Utc>, cap: Duration) -> Option<Self> {
        let left = between(now, until).min(cap);
        (!left.is_zero()).then(|| Self::starting(now, left))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let full = |failed| delay(failed, LONGEST_WAIT, u64::MAX);
        assert_eq!(full(0), Duration::from_secs(1));
        assert_eq!(full(3), Duration::from_secs(8));
        assert_eq!(full(20), LONGEST_WAIT);
        assert_eq!(delay(20, LONGEST_WAIT, 0), LONGEST_WAIT / 2);
    }

    #[test]
    fn holds_double_to_five_minutes_and_obey_an_hour_at_most() {
        let unasked: Vec<u64> = (0..6).map(|before| hold(None, before).as_secs()).collect();
        assert_eq!(unasked, [30, 60, 120, 240, 300, 300]);
        assert_eq!(hold(Some(Duration::from_secs(86_400)), 0), Duration::from_secs(3_600));
    }

    #[test]
    fn a_clock_set_back_ends_a_wait() {
        let now = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(1);
        let wait = Wait::starting(now, Duration::from_secs(60));
        assert_eq!(wait.pending(now), Some(wait.until));
        assert_eq!(wait.pending(now - TimeDelta::hours(1)), None);
        assert_eq!(wait.pending(now + TimeDelta::hours(1)), None);
    }

    #[test]
    fn a_recorded_wait_is_cut_to_its_cap() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let wait = Wait::recorded(now, now + TimeDelta::days(9), LONGEST_WAIT).unwrap();
        assert_eq!(wait.until, now + TimeDelta::minutes(5));
        assert_eq!(Wait::recorded(now, now - TimeDelta::days(9), LONGEST_WAIT), None);
    }

    proptest! {
        #[test]
        fn a_delay_lies_between_half_and_the_cap(failed in any::<u32>(), cap_ms in 1_u64..10_000_000, random in any::<u64>()) {
            let cap = Duration::from_millis(cap_ms);
            let delay = delay(failed, cap, random);
            prop_assert!(delay <= cap + Duration::from_nanos(1));
            prop_assert!(delay >= cap.min(Duration::from_secs(1)) / 2);
        }
    }
}
