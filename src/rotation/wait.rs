//! A wait that no change of a clock can make endless.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::time::{add, between};

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

    use super::*;

    #[test]
    fn a_clock_set_back_ends_a_wait() {
        let now = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(1);
        let wait = Wait::starting(now, Duration::from_secs(60));
        assert_eq!(wait.pending(now), Some(wait.until));
        assert_eq!(wait.pending(now - TimeDelta::hours(1)), None);
        assert_eq!(wait.pending(now + TimeDelta::hours(1)), None);
    }

    #[test]
    fn a_wait_ends_at_its_end() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let wait = Wait::starting(now, Duration::from_secs(60));
        assert_eq!(wait.until, now + TimeDelta::seconds(60));
        assert_eq!(wait.pending(now + TimeDelta::seconds(59)), Some(wait.until));
        assert_eq!(wait.pending(wait.until), None);
        assert_eq!(wait.length(), Duration::from_secs(60));
    }

    #[test]
    fn a_wait_can_be_made_shorter_and_not_longer() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let wait = Wait::starting(now, Duration::from_secs(60));
        let cut = wait.no_longer_than(Duration::from_secs(10));
        assert_eq!((cut.from, cut.until), (now, now + TimeDelta::seconds(10)));
        assert_eq!(wait.no_longer_than(Duration::from_secs(90)), wait);
    }

    #[test]
    fn a_recorded_wait_is_cut_to_its_cap() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let wait = Wait::recorded(now, now + TimeDelta::days(9), Duration::from_secs(300)).unwrap();
        assert_eq!(wait.until, now + TimeDelta::minutes(5));
        assert_eq!(Wait::recorded(now, now - TimeDelta::days(9), Duration::from_secs(300)), None);
    }
}
