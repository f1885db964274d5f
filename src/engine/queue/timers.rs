//! The deadline queue: what needs attention, and when.
//!
//! Filed under boot time, which cannot be set and counts suspension. The engine notices by itself
//! when the wall clock has been set and files everything again.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::time::Duration;

use crate::engine::ids::{ProviderId, SourceId, SubscriptionId};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Alarm {
    Subscription(SubscriptionId),
    Source(SourceId),
    Provider(ProviderId),
    /// A token is handed to a source's gates again.
    Gates(SourceId),
    /// A token that platforms are asked with is replaced.
    Renewal(SourceId),
}

/// One entry for each thing that waits.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Milliseconds, Alarm)>,
}

/// Boot time in whole milliseconds: small, because there is one for each waiting subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Milliseconds(u64);

impl Milliseconds {
    pub(crate) fn of(boot: Duration) -> Self {
        // Rounded up, so that what wakes up finds its time come.
        Self(u64::try_from(boot.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX))
    }

    pub(crate) fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl Timers {
    /// Files an alarm; the earlier filing of the same alarm is given back to be replaced.
    pub(crate) fn file(&mut self, slot: &mut Option<Milliseconds>, at: Duration, alarm: Alarm) {
        self.unfile(slot, alarm);
        let at = Milliseconds::of(at);
        self.queue.insert((at, alarm));
        *slot = Some(at);
    }

    pub(crate) fn unfile(&mut self, slot: &mut Option<Milliseconds>, alarm: Alarm) {
        if let Some(at) = slot.take() {
            self.queue.remove(&(at, alarm));
        }
    }

    /// The first alarm whose time has come, taken out of the queue.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<Alarm> {
        let first = *self.queue.first()?;
        if first.0.as_duration() > now {
            return None;
        }
        self.queue.remove(&first);
        Some(first.1)
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.queue.first().map(|(at, _)| at.as_duration())
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_come_in_order_and_only_when_due() {
        let mut timers = Timers::default();
        let (mut first, mut second) = (None, None);
        timers.file(&mut second, Duration::from_secs(20), Alarm::Source(SourceId(2)));
        timers.file(&mut first, Duration::from_secs(10), Alarm::Source(SourceId(1)));
        assert_eq!(timers.pop_due(Duration::from_secs(9)), None);
        assert_eq!(timers.pop_due(Duration::from_secs(30)), Some(Alarm::Source(SourceId(1))));
        assert_eq!(timers.next(), Some(Duration::from_secs(20)));
    }

    #[test]
    fn filing_again_replaces() {
        let mut timers = Timers::default();
        let mut slot = None;
        let alarm = Alarm::Subscription(SubscriptionId(7));
        timers.file(&mut slot, Duration::from_secs(10), alarm);
        timers.file(&mut slot, Duration::from_secs(99), alarm);
        assert_eq!(timers.len(), 1);
        assert_eq!(timers.pop_due(Duration::from_secs(10)), None);
        timers.unfile(&mut slot, alarm);
        assert_eq!(timers.len(), 0);
    }
}
