//! In which order the work of one origin is done.
//!
//! Earliest deadline first among those whose deadline is ahead: the deadline is when the provider's
//! copy stops being valid. Expired ones get at least every third place, the most recently expired
//! first: after a long outage the live ones must not lapse while the dead are served. Objects that
//! keep failing share a fifth of the budget. Deletions come last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::ids::SubscriptionId;
use crate::rotation::time::between;

/// A number that stands for a namespace.
pub(super) type NamespaceId = u32;

/// Where a piece of work stands in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// By its deadline, in epoch milliseconds.
    Deadline(i64),
    /// It has failed three times in a row; by its deadline.
    Failing(i64),
    /// A last attempt before its deadline, although calls pause.
    LastAttempt(i64),
    /// After everything else, in order of arrival.
    Last,
}

/// Where a piece of work was put, to take it out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    line: Line,
    arrival: u64,
}

/// The work of one origin that waits for budget and a worker.
#[derive(Debug, Default)]
pub(super) struct Ready {
    live: BTreeMap<NamespaceId, BTreeSet<(i64, SubscriptionId)>>,
    expired: BTreeSet<(Reverse<i64>, SubscriptionId)>,
    failing: BTreeSet<(i64, SubscriptionId)>,
    last: BTreeSet<(u64, SubscriptionId)>,
    last_attempts: BTreeSet<(i64, SubscriptionId)>,
    namespaces: BTreeMap<SubscriptionId, NamespaceId>,
    arrivals: u64,
    turn: u32,
}

/// What may be taken now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// The current time in epoch milliseconds.
    pub(super) now: i64,
    /// Whether those that keep failing have budget of their own left.
    pub(super) failing: bool,
    /// Whether there is less budget than work, so that the deadline alone decides.
    pub(super) scarce: bool,
}

impl Ready {
    pub(super) fn put(&mut self, id: SubscriptionId, namespace: NamespaceId, line: Line) -> Place {
        self.arrivals += 1;
        let place = Place { line, arrival: self.arrivals };
        self.namespaces.insert(id, namespace);
        match line {
            Line::Deadline(at) => {
                self.live.entry(namespace).or_default().insert((at, id));
            }
            Line::Failing(at) => {
                self.failing.insert((at, id));
            }
            Line::LastAttempt(at) => {
                self.last_attempts.insert((at, id));
            }
            Line::Last => {
                self.last.insert((place.arrival, id));
            }
        }
        place
    }

    pub(super) fn remove(&mut self, id: SubscriptionId, place: Place) {
        let Some(namespace) = self.namespaces.remove(&id) else {
            return;
        };
        match place.line {
            Line::Deadline(at) => {
                if !self.expired.remove(&(Reverse(at), id)) {
                    self.remove_live(namespace, at, id);
                }
            }
            Line::Failing(at) => {
                self.failing.remove(&(at, id));
            }
            Line::LastAttempt(at) => {
                self.last_attempts.remove(&(at, id));
            }
            Line::Last => {
                self.last.remove(&(place.arrival, id));
            }
        }
    }

    fn remove_live(&mut self, namespace: NamespaceId, at: i64, id: SubscriptionId) {
        if let Some(line) = self.live.get_mut(&namespace) {
            line.remove(&(at, id));
            if line.is_empty() {
                self.live.remove(&namespace);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.namespaces.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// Whether [`Ready::take`] would find something.
    pub(super) fn has(&self, allowance: Allowance) -> bool {
        !self.live.is_empty()
            || !self.expired.is_empty()
            || !self.last.is_empty()
            || !self.last_attempts.is_empty()
            || (allowance.failing && !self.failing.is_empty())
    }

    /// Takes the next piece of work. `busy` tells how many workers a namespace has, so that slots
    /// go round while there is budget for all.
    pub(super) fn take(
        &mut self,
        allowance: Allowance,
        busy: impl Fn(NamespaceId) -> usize,
    ) -> Option<(SubscriptionId, bool)> {
        self.sort_out_expired(allowance.now);
        self.turn = self.turn.wrapping_add(1);
        let failing_turn = allowance.failing && self.turn.is_multiple_of(5);
        let taken = if failing_turn && !self.failing.is_empty() {
            self.take_failing()
        } else if self.turn.is_multiple_of(3) && !self.expired.is_empty() {
            self.take_expired()
        } else {
            self.take_live(allowance.scarce, busy)
        };
        let taken = taken
            .or_else(|| self.last_attempts.pop_first().map(|(_, id)| (id, false)))
            .or_else(|| self.take_expired())
            .or_else(|| if allowance.failing { self.take_failing() } else { None })
            .or_else(|| self.last.pop_first().map(|(_, id)| (id, false)));
        if let Some((id, _)) = taken {
            self.namespaces.remove(&id);
        }
        taken
    }

    /// Takes the next last attempt, which is made although calls pause.
    pub(super) fn take_last_attempt(&mut self) -> Option<SubscriptionId> {
        let (_, id) = self.last_attempts.pop_first()?;
        self.namespaces.remove(&id);
        Some(id)
    }

    pub(super) fn has_last_attempt(&self) -> bool {
        !self.last_attempts.is_empty()
    }

    /// How long it is until the next deadline of the work that waits and is not expired.
    pub(super) fn next_deadline(&self, now: DateTime<Utc>) -> Option<Duration> {
        let from = (now.timestamp_millis(), SubscriptionId(0));
        let live = self.live.values().filter_map(|line| line.range(from..).next());
        let next = live.chain(self.failing.range(from..).next()).map(|(at, _)| *at).min()?;
        Some(between(now, DateTime::from_timestamp_millis(next)?))
    }

    /// Takes the first piece of work of somebody else than these, and of none that keeps failing.
    pub(super) fn take_other_than(&mut self, these: &BTreeSet<SubscriptionId>) -> Option<SubscriptionId> {
        let lines =
            self.live.iter().flat_map(|(namespace, line)| line.iter().map(|work| (*namespace, *work)));
        let live = lines.filter(|(_, (_, id))| !these.contains(id)).min_by_key(|(_, work)| *work);
        if let Some((namespace, (at, id))) = live {
            self.remove_live(namespace, at, id);
            self.namespaces.remove(&id);
            return Some(id);
        }
        let work = *self.expired.iter().find(|(_, id)| !these.contains(id))?;
        self.expired.remove(&work);
        self.namespaces.remove(&work.1);
        Some(work.1)
    }

    fn take_failing(&mut self) -> Option<(SubscriptionId, bool)> {
        self.failing.pop_first().map(|(_, id)| (id, true))
    }

    fn take_expired(&mut self) -> Option<(SubscriptionId, bool)> {
        self.expired.pop_first().map(|(_, id)| (id, false))
    }

    fn take_live(
        &mut self,
        scarce: bool,
        busy: impl Fn(NamespaceId) -> usize,
    ) -> Option<(SubscriptionId, bool)> {
        let (namespace, first) = self
            .live
            .iter()
            .filter_map(|(namespace, line)| line.first().map(|first| (*namespace, *first)))
            .min_by_key(|(namespace, first)| (if scarce { 0 } else { busy(*namespace) }, *first))?;
        self.remove_live(namespace, first.0, first.1);
        Some((first.1, false))
    }

    fn sort_out_expired(&mut self, now: i64) {
        let mut lapsed = Vec::new();
        for (namespace, line) in &self.live {
            lapsed.extend(line.range(..(now, SubscriptionId(0))).map(|(at, id)| (*namespace, *at, *id)));
        }
        for (namespace, at, id) in lapsed {
            self.remove_live(namespace, at, id);
            self.expired.insert((Reverse(at), id));
        }
    }

    /// Deadlines of the waiting work that is not expired, earliest first.
    pub(super) fn deadlines(&self) -> Vec<i64> {
        let mut deadlines: Vec<i64> = self
            .live
            .values()
            .flatten()
            .map(|(at, _)| *at)
            .chain(self.failing.iter().chain(&self.last_attempts).map(|(at, _)| *at))
            .collect();
        deadlines.sort_unstable();
        deadlines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> SubscriptionId {
        SubscriptionId(number)
    }

    fn drain(ready: &mut Ready, allowance: Allowance) -> Vec<u32> {
        std::iter::from_fn(|| ready.take(allowance, |_| 0)).map(|(id, _)| id.0).collect()
    }

    const SCARCE: Allowance = Allowance { now: 1_000, failing: true, scarce: true };

    #[test]
    fn the_earliest_deadline_comes_first() {
        let mut ready = Ready::default();
        for (number, at) in [(1, 5_000), (2, 3_000), (3, 4_000)] {
            ready.put(id(number), number, Line::Deadline(at));
        }
        assert_eq!(drain(&mut ready, SCARCE), [2, 3, 1]);
    }

    #[test]
    fn of_the_expired_the_latest_comes_first_and_they_get_a_third() {
        let mut ready = Ready::default();
        for number in 0..6 {
            ready.put(id(number), 0, Line::Deadline(2_000 + i64::from(number)));
            ready.put(id(100 + number), 0, Line::Deadline(i64::from(number)));
        }
        let order = drain(&mut ready, SCARCE);
        assert_eq!(order[..9], [0, 1, 105, 2, 3, 104, 4, 5, 103]);
    }

    #[test]
    fn those_that_keep_failing_get_no_more_than_their_own_budget() {
        let mut ready = Ready::default();
        ready.put(id(1), 0, Line::Failing(1_500));
        ready.put(id(2), 0, Line::Deadline(9_000));
        assert_eq!(drain(&mut ready, Allowance { failing: false, ..SCARCE }), [2]);
        assert_eq!(drain(&mut ready, SCARCE), [1]);
    }

    #[test]
    fn a_probe_is_somebody_else_each_time() {
        let mut ready = Ready::default();
        ready.put(id(1), 0, Line::Deadline(5_000));
        ready.put(id(2), 1, Line::Deadline(6_000));
        ready.put(id(3), 0, Line::Failing(2_000));
        let mut tried = BTreeSet::new();
        for expected in [Some(id(1)), Some(id(2)), None] {
            let taken = ready.take_other_than(&tried);
            assert_eq!(taken, expected);
            tried.extend(taken);
        }
        ready.put(id(1), 0, Line::Deadline(5_000));
        assert_eq!(ready.take_other_than(&tried), None);
        assert_eq!(drain(&mut ready, SCARCE).len(), 2);
    }

    #[test]
    fn slots_go_round_between_namespaces_while_there_is_budget() {
        let mut ready = Ready::default();
        for number in 0..4 {
            ready.put(id(number), 0, Line::Deadline(2_000 + i64::from(number)));
        }
        ready.put(id(9), 1, Line::Deadline(8_000));
        let busy = |namespace| if namespace == 0 { 3 } else { 0 };
        let plenty = Allowance { scarce: false, ..SCARCE };
        assert_eq!(ready.take(plenty, busy), Some((id(9), false)));
    }

    #[test]
    fn deletions_come_last_and_removal_works() {
        let mut ready = Ready::default();
        ready.put(id(1), 0, Line::Last);
        let place = ready.put(id(2), 0, Line::Deadline(9_000));
        ready.put(id(3), 0, Line::Deadline(9_500));
        ready.remove(id(2), place);
        assert_eq!(drain(&mut ready, SCARCE), [3, 1]);
        assert!(ready.is_empty());
    }
}
