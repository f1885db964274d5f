//! When each receiver is looked after next.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

/// One time for each receiver, by its uid.
#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(Instant, Arc<str>)>,
    of: HashMap<Arc<str>, Instant>,
}

impl Timers {
    /// The receiver is looked after at this time, or sooner.
    pub(super) fn arm(&mut self, uid: &Arc<str>, at: Instant) {
        if self.of.get(uid).is_some_and(|before| *before <= at) {
            return;
        }
        self.disarm(uid);
        self.of.insert(Arc::clone(uid), at);
        self.order.insert((at, Arc::clone(uid)));
    }

    /// The receiver is not looked after because of the time.
    pub(super) fn disarm(&mut self, uid: &Arc<str>) {
        if let Some(at) = self.of.remove(uid) {
            self.order.remove(&(at, Arc::clone(uid)));
        }
    }

    /// A receiver whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Arc<str>> {
        let (at, uid) = self.order.first()?;
        if *at > now {
            return None;
        }
        let uid = Arc::clone(uid);
        self.disarm(&uid);
        Some(uid)
    }

    /// The first of all times.
    pub(super) fn first(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_sooner_time_counts_and_each_comes_once() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut timers = Timers::default();
        timers.arm(&a, at(5));
        timers.arm(&a, at(9));
        timers.arm(&b, at(4));
        timers.arm(&b, at(2));
        assert_eq!(timers.first(), Some(at(2)));
        assert_eq!(timers.due(at(1)), None);
        assert_eq!(timers.due(at(9)), Some(b));
        assert_eq!(timers.due(at(9)), Some(Arc::clone(&a)));
        assert_eq!(timers.due(at(99)), None);
        timers.arm(&a, at(1));
        timers.disarm(&a);
        assert!(timers.order.is_empty() && timers.of.is_empty());
    }
}
