//! How long to wait after a failure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::facts::{Memory, Subject};
use super::target::short_digest;
use super::time::Moment;

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
/// has expired sets no pace.
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
/// the token has expired, a fifth of the lead: being called less often helps a provider that comes
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

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn half_of_a_delay_is_drawn() {
        let drawn = delay(20, LONGEST_WAIT, 1 << 63);
        assert_eq!(drawn.as_millis(), 225_000, "in the middle between a half and the whole");
    }

    #[test]
    fn the_longest_wait_is_a_tenth_of_the_lead_between_a_second_and_five_minutes() {
        for (lead, longest) in [(None, 300), (Some(5), 1), (Some(100), 10), (Some(36_000), 300)] {
            assert_eq!(cap(lead.map(seconds)), seconds(longest), "{lead:?}");
        }
    }

    #[test]
    fn many_attempts_fit_in_what_is_left_of_a_life() {
        let of = |cap, failed, rest: u64| hurried(seconds(cap), failed, Duration::from_millis(rest));
        assert_eq!(of(300, 0, 160_000), seconds(10), "a sixteenth of it");
        assert_eq!(of(300, 0, 1_600), Duration::from_millis(250), "but not without a breath");
        assert_eq!(of(5, 0, 160_000), seconds(5), "who waits less anyway goes on so");
        assert_eq!(of(300, 0, 0), seconds(300), "one that has expired sets no pace");
        assert_eq!((of(300, 39, 160_000), of(300, 40, 160_000)), (seconds(10), seconds(300)));
    }

    #[test]
    fn an_outage_pauses_calls_for_a_second_first_and_half_a_minute_at_most() {
        let pauses = |cap| -> Vec<u64> {
            (0..8).map(|before| outage_pause(before, Duration::from_millis(cap)).as_secs()).collect()
        };
        assert_eq!(pauses(3_600_000), [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(pauses(3_000), [1, 2, 3, 3, 3, 3, 3, 3]);
        assert_eq!(pauses(10), [1; 8], "and no less");
    }

    #[test]
    fn a_pause_costs_a_tenth_of_what_is_left_and_a_fifth_of_the_lead_once_nothing_is() {
        for (rest, pause) in [(100, 10), (5, 1), (36_000, 30)] {
            assert_eq!(bearable_pause(seconds(rest), Some(seconds(50))), seconds(pause), "{rest} s left");
        }
        for (lead, pause) in [(None, 30), (Some(5), 2), (Some(50), 10), (Some(36_000), 30)] {
            assert_eq!(bearable_pause(Duration::ZERO, lead.map(seconds)), seconds(pause), "{lead:?}");
        }
    }

    #[test]
    fn a_call_is_waited_for_as_long_as_answers_take_while_another_one_still_fits() {
        for (left, slowest, patience) in [(40, 1, 10), (40, 5, 15), (4, 0, 3), (4, 2, 6)] {
            assert_eq!(
                call_patience(seconds(left), seconds(slowest)),
                Some(seconds(patience)),
                "{left} s left"
            );
        }
        assert_eq!(call_patience(Duration::ZERO, seconds(1)), None, "nothing can be lost");
    }

    #[test]
    fn a_slow_answer_is_remembered_for_a_while() {
        assert_eq!(slowest(seconds(1), seconds(10), true), seconds(10));
        assert_eq!(slowest(seconds(10), seconds(1), true), seconds(9));
        assert_eq!(slowest(seconds(1), seconds(10), false), seconds(5), "no answer: patience grows by half");
    }

    #[test]
    fn what_is_asked_for_is_obeyed_from_a_second_to_an_hour() {
        for (asked, held) in [(0, 1), (7, 7), (3_600, 3_600), (3_601, 3_600)] {
            assert_eq!(hold(Some(seconds(asked)), 3), seconds(held), "{asked} s");
        }
    }

    #[test]
    fn the_first_failure_and_each_power_of_two_are_recorded() {
        let recorded: Vec<u32> = (0..20).filter(|count| is_recorded(*count)).collect();
        assert_eq!(recorded, [1, 2, 4, 8, 16]);
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
