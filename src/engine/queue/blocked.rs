//! Subscriptions that wait for a place among their provider's `maxConcurrent`, or for its own budget.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::ids::SubscriptionId;

/// Those that wait, the earliest deadline first. As many are woken as places come free: if all were,
/// each call would cost as many looks as there are subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    order: BTreeSet<(i64, SubscriptionId)>,
    deadlines: BTreeMap<SubscriptionId, i64>,
}

impl Blocked {
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// `deadline` in epoch milliseconds.
    pub(crate) fn insert(&mut self, id: SubscriptionId, deadline: i64) {
        self.remove(id);
        self.order.insert((deadline, id));
        self.deadlines.insert(id, deadline);
    }

    pub(crate) fn remove(&mut self, id: SubscriptionId) {
        if let Some(deadline) = self.deadlines.remove(&id) {
            self.order.remove(&(deadline, id));
        }
    }

    pub(crate) fn pop_first(&mut self) -> Option<SubscriptionId> {
        let (_, id) = self.order.pop_first()?;
        self.deadlines.remove(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_is_woken_first_and_each_once() {
        let mut blocked = Blocked::default();
        for (number, deadline) in [(1, 30), (2, 10), (3, 20), (2, 40)] {
            blocked.insert(SubscriptionId(number), deadline);
        }
        blocked.remove(SubscriptionId(3));
        blocked.remove(SubscriptionId(9));
        let woken: Vec<_> = std::iter::from_fn(|| blocked.pop_first()).collect();
        assert_eq!(woken, [SubscriptionId(1), SubscriptionId(2)]);
        assert!(blocked.is_empty());
    }
}
