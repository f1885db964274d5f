//! How near a platform is to removing a webhook because its deliveries are refused. Pure.
//!
//! Some platforms remove a webhook after days of nothing but errors (Gupy after seven). Only refusals of
//! senders that are known to be the platform count, and only those since the last delivery that was
//! answered with success. Strangers cost nothing, and neither does silence: the time that counts lies
//! between the first of those refusals and the last.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::observer::Fact;

/// People hear of it after so many sevenths of the time after which the webhook is removed: where that is
/// a week, after one, three and six days.
const LEVELS: [i32; 3] = [1, 3, 6];

/// The refusals of a receiver since its last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Risk {
    /// The first and the last of them.
    refused: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// For how long a platform's deliveries have been refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedFor {
    /// 1, 2 or 3: the higher, the nearer.
    pub level: u8,
    /// The time that makes it that level; the same until there is another level.
    pub at_least: TimeDelta,
    /// After how long the webhook is removed.
    pub removed_after: TimeDelta,
    /// When it is, if everything goes on being refused.
    pub removal: DateTime<Utc>,
}

impl Risk {
    /// What a new process begins with, from the receiver's status: since when its risk has been shown and
    /// at which level, or else when a delivery was accepted and refused last.
    #[must_use]
    pub fn resumed(
        shown: Option<(DateTime<Utc>, u8)>,
        accepted: Option<DateTime<Utc>>,
        refused: Option<DateTime<Utc>>,
        removed_after: Duration,
    ) -> Self {
        if let Some((since, level)) = shown {
            let first = before(since, part(removed_after, LEVELS[0]));
            let level = LEVELS[usize::from(level.clamp(1, 3)) - 1];
            return Self { refused: Some((first, after(first, part(removed_after, level)))) };
        }
        let since_success = refused.filter(|refused| accepted.is_none_or(|accepted| accepted < *refused));
        Self { refused: since_success.map(|refused| (refused, refused)) }
    }

    /// Something happened at the receiver.
    pub fn saw(&mut self, fact: &Fact<'_>, now: DateTime<Utc>) {
        match fact {
            Fact::Accepted { .. } | Fact::TestEvent | Fact::NotHandedOn | Fact::Repeated(_) => {
                self.refused = None;
            }
            Fact::Refused { recognised: true, .. } => {
                let (first, last) = self.refused.unwrap_or((now, now));
                self.refused = Some((first, last.max(now)));
            }
            _ => {}
        }
    }

    /// For how long everything has been refused, where that is long enough to be told.
    #[must_use]
    pub fn refused_for(&self, removed_after: Duration) -> Option<RefusedFor> {
        let (first, last) = self.refused.filter(|_| !removed_after.is_zero())?;
        let so_far = last.signed_duration_since(first);
        let reached = LEVELS.iter().rposition(|level| so_far >= part(removed_after, *level))?;
        Some(RefusedFor {
            level: u8::try_from(reached + 1).unwrap_or(u8::MAX),
            at_least: part(removed_after, LEVELS[reached]),
            removed_after: length(removed_after),
            removal: after(first, length(removed_after)),
        })
    }
}

fn length(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}

/// So many sevenths.
fn part(time: Duration, sevenths: i32) -> TimeDelta {
    (length(time) / 7).checked_mul(sevenths).unwrap_or(TimeDelta::MAX)
}

fn after(time: DateTime<Utc>, wait: TimeDelta) -> DateTime<Utc> {
    time.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn before(time: DateTime<Utc>, wait: TimeDelta) -> DateTime<Utc> {
    time.checked_sub_signed(wait).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::refusal::Refusal;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::hours(hours)
    }

    fn refused(recognised: bool) -> Fact<'static> {
        Fact::Refused { reason: Refusal::RetiredToken, recognised, fingerprint: None, subscription: None }
    }

    fn level(risk: &Risk) -> Option<u8> {
        risk.refused_for(WEEK).map(|refused| refused.level)
    }

    #[test]
    fn it_is_told_after_one_three_and_six_days() {
        let mut risk = Risk::default();
        for (hours, wanted) in [
            (0, None),
            (23, None),
            (24, Some(1)),
            (71, Some(1)),
            (72, Some(2)),
            (143, Some(2)),
            (144, Some(3)),
            (500, Some(3)),
        ] {
            risk.saw(&refused(true), at(hours));
            assert_eq!(level(&risk), wanted, "{hours} h");
        }
        let told = risk.refused_for(WEEK).unwrap();
        assert_eq!((told.at_least, told.removed_after), (TimeDelta::days(6), TimeDelta::days(7)));
        assert_eq!(told.removal, at(7 * 24));
    }

    #[test]
    fn what_is_told_stays_the_same_until_there_is_another_level() {
        let mut risk = Risk::default();
        risk.saw(&refused(true), at(0));
        risk.saw(&refused(true), at(24));
        let told = risk.refused_for(WEEK);
        for hours in 25..72 {
            risk.saw(&refused(true), at(hours));
            assert_eq!(risk.refused_for(WEEK), told);
        }
    }

    #[test]
    fn a_success_ends_it() {
        for success in [
            Fact::Accepted { fingerprint: None, event: None, subscription: None },
            Fact::TestEvent,
            Fact::NotHandedOn,
        ] {
            let mut risk = Risk::default();
            risk.saw(&refused(true), at(0));
            risk.saw(&refused(true), at(100));
            assert_eq!(level(&risk), Some(2));
            risk.saw(&success, at(101));
            assert_eq!(risk, Risk::default(), "{success:?}");
            risk.saw(&refused(true), at(102));
            assert_eq!(level(&risk), None, "counted from zero");
        }
    }

    #[test]
    fn strangers_and_silence_are_no_risk() {
        let mut risk = Risk::default();
        for hours in 0..500 {
            risk.saw(&refused(false), at(hours));
        }
        assert_eq!(risk, Risk::default());
        risk.saw(&refused(true), at(500));
        for _ in 0..3 {
            assert_eq!(level(&risk), None, "one refusal, however long ago");
            risk.saw(&refused(false), at(900));
            risk.saw(&Fact::Resumed, at(900));
        }
    }

    #[test]
    fn a_clock_that_was_set_back_neither_begins_nor_ends_it() {
        let mut risk = Risk::default();
        risk.saw(&refused(true), at(0));
        risk.saw(&refused(true), at(30));
        risk.saw(&refused(true), at(-1_000));
        assert_eq!(level(&risk), Some(1));
    }

    #[test]
    fn it_goes_on_after_a_restart() {
        let shown = |level| Risk::resumed(Some((at(24), level)), Some(at(-1)), Some(at(80)), WEEK);
        for level_before in [1, 2, 3] {
            assert_eq!(level(&shown(level_before)), Some(level_before));
            assert_eq!(shown(level_before).refused_for(WEEK).unwrap().removal, at(7 * 24));
        }
        let mut risk = shown(1);
        risk.saw(&refused(true), at(73));
        assert_eq!(level(&risk), Some(2), "three days since the first one");
        let mut risk = Risk::resumed(None, Some(at(-10)), Some(at(0)), WEEK);
        risk.saw(&refused(true), at(24));
        assert_eq!(level(&risk), Some(1));
        for (accepted, refused) in [(Some(at(1)), Some(at(0))), (Some(at(1)), None), (None, None)] {
            assert_eq!(Risk::resumed(None, accepted, refused, WEEK), Risk::default());
        }
    }

    #[test]
    fn no_length_is_too_much_for_it() {
        let mut risk = Risk::default();
        risk.saw(&refused(true), DateTime::<Utc>::MIN_UTC);
        risk.saw(&refused(true), DateTime::<Utc>::MAX_UTC);
        for removed_after in [Duration::ZERO, Duration::MAX, Duration::from_nanos(1)] {
            let told = risk.refused_for(removed_after);
            assert!(told.is_none_or(|told| told.at_least <= told.removed_after), "{removed_after:?}");
            let resumed = Risk::resumed(Some((DateTime::<Utc>::MIN_UTC, 9)), None, None, removed_after);
            assert_ne!(resumed, Risk::default());
        }
        assert_eq!(risk.refused_for(Duration::ZERO), None, "it never removes any");
    }
}
