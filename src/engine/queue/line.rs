//! In which order the work of one namespace at one origin is done.
//!
//! Earliest deadline first among those whose deadline is ahead: the deadline is when the provider's
//! copy stops being valid. Expired ones get at least every third place, the most recently expired
//! first: after a long outage the live ones must not lapse while the dead are served. Objects that
//! keep failing share a fifth of the budget. Pages of listings that are waited for get every third
//! place where there is not enough for all. Deletions come late, and listings that nobody waits for
//! come last. Whose namespace is next is not decided here: see [`super::origin`].

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::rotation::time::between;

/// Where there is less budget than work, a listing that is waited for gets every third place.
pub(crate) const CALLS_BETWEEN_PAGES: u32 = 2;

/// A piece of work that sends one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// What a subscription needs.
    Call(SubscriptionId),
    /// The next page of a provider's listing.
    Page(ProviderId),
}

/// Where a subscription's work stands in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
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
pub(crate) struct Place {
    line: Line,
    arrival: u64,
}

impl Place {
    /// In epoch milliseconds; the end of time for what has none.
    pub(crate) fn deadline(self) -> i64 {
        match self.line {
            Line::Deadline(at) | Line::Failing(at) | Line::LastAttempt(at) => at,
            Line::Last => i64::MAX,
        }
    }
}

/// A page of a listing that waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PagePlace {
    /// Whether somebody cannot go on without it.
    pub(crate) waited_for: bool,
    arrival: u64,
}

/// The work of one namespace at one origin that waits for budget and a worker.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    live: BTreeSet<(i64, SubscriptionId)>,
    expired: BTreeSet<(Reverse<i64>, SubscriptionId)>,
    failing: BTreeSet<(i64, SubscriptionId)>,
    last_attempts: BTreeSet<(i64, SubscriptionId)>,
    last: BTreeSet<(u64, SubscriptionId)>,
    pages: BTreeSet<(u64, ProviderId)>,
    verifications: BTreeSet<(u64, ProviderId)>,
    arrivals: u64,
    turn: u32,
    calls_since_page: u32,
}

/// What may be taken now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// The current time in epoch milliseconds.
    pub(crate) now: i64,
    /// Whether those that keep failing have budget of their own left.
    pub(crate) failing: bool,
    /// Whether there is less budget than work.
    pub(crate) scarce: bool,
}

/// A piece of work whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) work: Work,
    /// Whether it is from the budget of those that keep failing.
    pub(crate) failing: bool,
}

impl Taken {
    fn call(id: SubscriptionId) -> Self {
        Self { work: Work::Call(id), failing: false }
    }
}

impl Ready {
    pub(crate) fn put(&mut self, id: SubscriptionId, line: Line) -> Place {
        self.arrivals += 1;
        let place = Place { line, arrival: self.arrivals };
        match line {
            Line::Deadline(at) => self.live.insert((at, id)),
            Line::Failing(at) => self.failing.insert((at, id)),
            Line::LastAttempt(at) => self.last_attempts.insert((at, id)),
            Line::Last => self.last.insert((place.arrival, id)),
        };
        place
    }

    pub(crate) fn remove(&mut self, id: SubscriptionId, place: Place) {
        match place.line {
            Line::Deadline(at) => self.expired.remove(&(Reverse(at), id)) || self.live.remove(&(at, id)),
            Line::Failing(at) => self.failing.remove(&(at, id)),
            Line::LastAttempt(at) => self.last_attempts.remove(&(at, id)),
            Line::Last => self.last.remove(&(place.arrival, id)),
        };
    }

    /// Puts the next page of a listing in line. `waited_for`: somebody cannot go on without it.
    pub(crate) fn put_page(&mut self, id: ProviderId, waited_for: bool) -> PagePlace {
        self.arrivals += 1;
        let place = PagePlace { waited_for, arrival: self.arrivals };
        let line = if waited_for { &mut self.pages } else { &mut self.verifications };
        line.insert((place.arrival, id));
        place
    }

    pub(crate) fn remove_page(&mut self, id: ProviderId, place: PagePlace) {
        let line = if place.waited_for { &mut self.pages } else { &mut self.verifications };
        line.remove(&(place.arrival, id));
    }

    pub(crate) fn len(&self) -> usize {
        self.calls() + self.pages.len() + self.verifications.len()
    }

    /// How many calls wait.
    pub(crate) fn calls(&self) -> usize {
        self.live.len() + self.expired.len() + self.failing.len() + self.last_attempts.len() + self.last.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`Ready::take`] would find something.
    pub(crate) fn has(&self, allowance: Allowance) -> bool {
        self.len() > if allowance.failing { 0 } else { self.failing.len() }
    }

    /// Takes the next piece of work.
    pub(crate) fn take(&mut self, allowance: Allowance) -> Option<Taken> {
        self.sort_out_expired(allowance.now);
        let waits_for_page = !self.pages.is_empty();
        if waits_for_page && (!allowance.scarce || self.calls_since_page >= CALLS_BETWEEN_PAGES) {
            return self.take_page();
        }
        self.turn = self.turn.wrapping_add(1);
        let failing_turn = allowance.failing && self.turn.is_multiple_of(5);
        let taken = if failing_turn && !self.failing.is_empty() {
            self.take_failing()
        } else if self.turn.is_multiple_of(3) && !self.expired.is_empty() {
            self.take_expired()
        } else {
            self.live.pop_first().map(|(_, id)| Taken::call(id))
        };
        let taken = taken
            .or_else(|| self.take_last_attempt())
            .or_else(|| self.take_expired())
            .or_else(|| if allowance.failing { self.take_failing() } else { None });
        if taken.is_some() {
            self.calls_since_page = self.calls_since_page.saturating_add(1);
            return taken;
        }
        self.take_page().or_else(|| self.last.pop_first().map(|(_, id)| Taken::call(id))).or_else(|| {
            self.verifications.pop_first().map(|(_, id)| Taken { work: Work::Page(id), failing: false })
        })
    }

    fn take_page(&mut self) -> Option<Taken> {
        let (_, id) = self.pages.pop_first()?;
        self.calls_since_page = 0;
        Some(Taken { work: Work::Page(id), failing: false })
    }

    /// Takes the next last attempt, which is made although calls pause.
    pub(crate) fn take_last_attempt(&mut self) -> Option<Taken> {
        self.last_attempts.pop_first().map(|(_, id)| Taken::call(id))
    }

    pub(crate) fn has_last_attempt(&self) -> bool {
        !self.last_attempts.is_empty()
    }

    /// The first deadline that is ahead of `now`, both in epoch milliseconds; the end of time where
    /// there is none.
    pub(crate) fn first_deadline(&self, now: i64) -> i64 {
        let from = (now, SubscriptionId(0));
        let ahead = self.live.range(from..).next().into_iter().chain(self.last_attempts.range(from..).next());
        ahead.map(|(at, _)| *at).min().unwrap_or(i64::MAX)
    }

    /// How long it is until the next deadline of the work that waits and is not expired.
    pub(crate) fn next_deadline(&self, now: DateTime<Utc>) -> Option<Duration> {
        let from = (now.timestamp_millis(), SubscriptionId(0));
        let next =
            self.live.range(from..).next().into_iter().chain(self.failing.range(from..).next()).min()?.0;
        Some(between(now, DateTime::from_timestamp_millis(next)?))
    }

    /// Takes the first piece of work of somebody else than these, and of none that keeps failing.
    pub(crate) fn take_other_than(&mut self, these: &BTreeSet<SubscriptionId>) -> Option<Taken> {
        if let Some(work) = self.live.iter().find(|(_, id)| !these.contains(id)).copied() {
            self.live.remove(&work);
            return Some(Taken::call(work.1));
        }
        let work = *self.expired.iter().find(|(_, id)| !these.contains(id))?;
        self.expired.remove(&work);
        Some(Taken::call(work.1))
    }

    fn take_failing(&mut self) -> Option<Taken> {
        self.failing.pop_first().map(|(_, id)| Taken { work: Work::Call(id), failing: true })
    }

    fn take_expired(&mut self) -> Option<Taken> {
        self.expired.pop_first().map(|(_, id)| Taken::call(id))
    }

    fn sort_out_expired(&mut self, now: i64) {
        while let Some((at, id)) = self.live.first().copied().filter(|(at, _)| *at < now) {
            self.live.remove(&(at, id));
            self.expired.insert((Reverse(at), id));
        }
    }

    /// Deadlines of the waiting work that is not expired, earliest first.
    pub(crate) fn deadlines(&self) -> Vec<i64> {
        let lines = self.live.iter().chain(&self.failing).chain(&self.last_attempts);
        let mut deadlines: Vec<i64> = lines.map(|(at, _)| *at).collect();
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

    /// Subscriptions by their number, pages by 1,000 and the number of their provider.
    fn drain(ready: &mut Ready, allowance: Allowance) -> Vec<u32> {
        let number = |taken: Taken| match taken.work {
            Work::Call(id) => id.0,
            Work::Page(id) => 1_000 + id.0,
        };
        std::iter::from_fn(|| ready.take(allowance)).map(number).collect()
    }

    const SCARCE: Allowance = Allowance { now: 1_000, failing: true, scarce: true };

    #[test]
    fn the_earliest_deadline_comes_first() {
        let mut ready = Ready::default();
        for (number, at) in [(1, 5_000), (2, 3_000), (3, 4_000)] {
            ready.put(id(number), Line::Deadline(at));
        }
        assert_eq!(ready.first_deadline(1_000), 3_000);
        assert_eq!(drain(&mut ready, SCARCE), [2, 3, 1]);
    }

    #[test]
    fn of_the_expired_the_latest_comes_first_and_they_get_a_third() {
        let mut ready = Ready::default();
        for number in 0..6 {
            ready.put(id(number), Line::Deadline(2_000 + i64::from(number)));
            ready.put(id(100 + number), Line::Deadline(i64::from(number)));
        }
        let order = drain(&mut ready, SCARCE);
        assert_eq!(order[..9], [0, 1, 105, 2, 3, 104, 4, 5, 103]);
    }

    #[test]
    fn those_that_keep_failing_get_no_more_than_their_own_budget() {
        let mut ready = Ready::default();
        ready.put(id(1), Line::Failing(1_500));
        ready.put(id(2), Line::Deadline(9_000));
        let without = Allowance { failing: false, ..SCARCE };
        assert_eq!(drain(&mut ready, without), [2]);
        assert!(!ready.has(without) && ready.has(SCARCE));
        assert_eq!(drain(&mut ready, SCARCE), [1]);
    }

    #[test]
    fn a_probe_is_somebody_else_each_time() {
        let mut ready = Ready::default();
        ready.put(id(1), Line::Deadline(5_000));
        ready.put(id(2), Line::Deadline(6_000));
        ready.put(id(3), Line::Failing(2_000));
        let mut tried = BTreeSet::new();
        for expected in [Some(id(1)), Some(id(2)), None] {
            let taken = ready.take_other_than(&tried);
            assert_eq!(taken, expected.map(Taken::call));
            tried.extend(expected);
        }
        ready.put(id(1), Line::Deadline(5_000));
        assert_eq!(ready.take_other_than(&tried), None);
        assert_eq!(drain(&mut ready, SCARCE).len(), 2);
    }

    #[test]
    fn a_listing_that_is_waited_for_gets_every_third_place_where_there_is_not_enough() {
        let mut ready = Ready::default();
        let fill = |ready: &mut Ready| {
            for number in 0..4 {
                ready.put(id(number), Line::Deadline(2_000 + i64::from(number)));
                ready.put_page(ProviderId(number), true);
            }
        };
        fill(&mut ready);
        assert_eq!(drain(&mut ready, SCARCE), [0, 1, 1_000, 2, 3, 1_001, 1_002, 1_003]);
        fill(&mut ready);
        let plenty = Allowance { scarce: false, ..SCARCE };
        assert_eq!(drain(&mut ready, plenty)[..2], [1_000, 1_001]);
    }

    #[test]
    fn deletions_come_late_and_listings_that_nobody_waits_for_last_and_removal_works() {
        let mut ready = Ready::default();
        ready.put(id(1), Line::Last);
        ready.put_page(ProviderId(1), false);
        let page = ready.put_page(ProviderId(2), true);
        let place = ready.put(id(2), Line::Deadline(9_000));
        ready.put(id(3), Line::Deadline(9_500));
        ready.remove(id(2), place);
        ready.remove_page(ProviderId(2), page);
        assert_eq!(drain(&mut ready, SCARCE), [3, 1, 1_001]);
        assert!(ready.is_empty());
    }
}
