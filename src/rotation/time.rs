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
