//! A moment, on the two clocks that decide together.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// A moment as both clocks show it.
///
/// The wall clock can be set forward and back; boot time cannot, and it goes on while the machine
/// is suspended. A rotation is due when either of them says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall-clock time.
    pub wall: DateTime<Utc>,
    /// Time since the machine was started, suspension included.
    pub boot: Duration,
}

impl Moment {
    /// The moment a while later on both clocks.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self { wall: add(self.wall, wait), boot: self.boot.saturating_add(wait) }
    }
}

/// A time a while later; the end of time where there is no such date.
#[must_use]
pub fn add(time: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(wait)
        .ok()
        .and_then(|wait| time.checked_add_signed(wait))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A time a while earlier; the beginning of time where there is no such date.
#[must_use]
pub fn subtract(time: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(wait)
        .ok()
        .and_then(|wait| time.checked_sub_signed(wait))
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// A time as messages and log lines have it: RFC 3339, to the second.
#[must_use]
pub fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// How long it is from one time to a later one; zero when it is not later.
#[must_use]
pub fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    to.signed_duration_since(from).to_std().unwrap_or(Duration::ZERO)
}

/// A recorded time. One that lies ahead was written before the clock was set back, and a time that this
/// process remembers stands in for it, such as that of the last apply or of its own start.
#[must_use]
pub fn not_ahead(recorded: DateTime<Utc>, now: Moment, remembered: Option<DateTime<Utc>>) -> DateTime<Utc> {
    let is_past = |time: &DateTime<Utc>| *time <= now.wall;
    Some(recorded).filter(is_past).or(remembered.filter(is_past)).unwrap_or(now.wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_while_passes_on_both_clocks() {
        let moment = Moment { wall: at(0), boot: MINUTE };
        assert_eq!(moment.after(MINUTE), Moment { wall: at(60), boot: MINUTE * 2 });
    }

    #[test]
    fn sums_end_where_time_ends() {
        assert_eq!((add(at(0), MINUTE), subtract(at(0), MINUTE)), (at(60), at(-60)));
        assert_eq!(add(at(0), Duration::MAX), DateTime::<Utc>::MAX_UTC);
        assert_eq!(add(DateTime::<Utc>::MAX_UTC, MINUTE), DateTime::<Utc>::MAX_UTC);
        assert_eq!(subtract(at(0), Duration::MAX), DateTime::<Utc>::MIN_UTC);
        assert_eq!(subtract(DateTime::<Utc>::MIN_UTC, MINUTE), DateTime::<Utc>::MIN_UTC);
    }

    #[test]
    fn there_is_no_time_until_what_has_been() {
        assert_eq!((between(at(0), at(60)), between(at(60), at(0))), (MINUTE, Duration::ZERO));
    }

    #[test]
    fn people_read_whole_seconds() {
        assert_eq!(written(at(0) + TimeDelta::milliseconds(999)), "2027-01-15T08:00:00Z");
    }

    /// The clock was set back after it was recorded.
    #[test]
    fn a_recorded_time_that_lies_ahead_is_replaced_by_one_that_is_remembered() {
        let now = Moment { wall: at(0), boot: MINUTE };
        assert_eq!(not_ahead(at(0), now, Some(at(-5))), at(0));
        assert_eq!(not_ahead(at(1), now, Some(at(0))), at(0));
        assert_eq!(not_ahead(at(1), now, Some(at(-5))), at(-5));
        assert_eq!(not_ahead(at(1), now, Some(at(1))), at(0), "that one lies ahead too");
        assert_eq!(not_ahead(at(1), now, None), at(0));
    }
}
