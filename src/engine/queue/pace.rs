//! How often a status may be written that others can make change: their answers alternate at will.

use std::time::Duration;

/// In the long run one write in so much time.
const INTERVAL: Duration = Duration::from_secs(5);

/// So many may come at once.
const BURST: u32 = 10;

/// Spaces writes of one object's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// When, on boot time, as much has passed as has been written.
    even: Duration,
    /// A write is due then.
    owed: Option<Duration>,
}

impl Pace {
    /// Takes a place for a write, or notes when there will be one.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let even = self.even.max(now);
        let ready = even.saturating_sub(INTERVAL * (BURST - 1));
        self.owed = (ready > now).then_some(ready);
        if self.owed.is_none() {
            self.even = even + INTERVAL;
        }
        self.owed.is_none()
    }

    /// When a write that had no place has one.
    pub(crate) fn owed(&self) -> Option<Duration> {
        self.owed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_and_then_one_in_five_seconds() {
        let mut pace = Pace::default();
        let mut written = Vec::new();
        for tick in 0..1_000_u64 {
            let now = Duration::from_millis(1_000_000 + tick * 100);
            if pace.take(now) {
                written.push(tick);
            } else {
                assert!(pace.owed().is_some_and(|owed| owed > now));
            }
        }
        assert_eq!(written[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(written.len(), 10 + 19, "one every 5 s of 100 s");
        assert!(pace.take(Duration::from_secs(5_000)) && pace.owed().is_none());
    }
}
