//! How long to wait after a failure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::facts::{Memory, Subject};
use super::target::short_digest;

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

/// Rule 5 (b): the object's own back-off, unless what the attempt was made with has changed.
pub(super) fn own_wait(
    now: Moment,
    subject: &Subject<'_>,
    memory: &Memory,
    desired: &str,
) -> Option<DateTime<Utc>> {
    let (wait, made_with) = memory.wait.as_ref()?;
    if *made_with != attempt_inputs(subject, desired) {
        return None;
    }
    wait.pending(now.wall)
}

/// Whether an attempt with what is in force now has failed, however long ago.
pub(super) fn was_attempted(subject: &Subject<'_>, memory: &Memory, desired: &str) -> bool {
    memory.wait.as_ref().is_some_and(|(_, made_with)| *made_with == attempt_inputs(subject, desired))
}

/// What an attempt is made with: when this changes, a back-off has nothing more to say.
#[must_use]
pub fn attempt_inputs(subject: &Subject<'_>, desired: &str) -> String {
    let generation = subject.identity.generation.to_string();
    let request = subject.identity.rotate_requested.as_deref().unwrap_or_default();
    let deleting = if subject.identity.deleted.is_some() { "deleting" } else { "" };
    short_digest(&[&generation, request, desired, deleting])
}

#[cfg(test)]
mod tests {
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
