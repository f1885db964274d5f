//! How long a delivery is tried. The clock stands still while its receiver is suspended.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::store::Standstill;

/// So many times of standing still are known apart.
const MOST: usize = 64;

/// When a receiver was suspended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standstills {
    /// In their order, none of them touching another.
    past: VecDeque<(DateTime<Utc>, DateTime<Utc>)>,
    since: Option<DateTime<Utc>>,
}

impl Standstills {
    /// What an earlier process has kept, and whether the receiver is suspended at this moment. If nothing
    /// was kept, since when is not known: rather too long than too short.
    pub(super) fn recalled(kept: Vec<Standstill>, suspended: bool, now: DateTime<Utc>) -> Self {
        let mut recalled = Self::default();
        let knows_nothing = kept.is_empty();
        for Standstill { began, ended } in kept {
            match ended {
                Some(ended) => recalled.past.push_back((began, ended)),
                None => recalled.since = Some(recalled.since.map_or(began, |since| since.min(began))),
            }
        }
        recalled.set(suspended, if knows_nothing { DateTime::UNIX_EPOCH } else { now });
        recalled
    }

    /// Both what is known here and what other gates that share the store have kept: one that was cut off, or
    /// was not there, knows nothing of a time in which the receiver was suspended. Each sees the same time
    /// begin and end at a moment of its own.
    pub(super) fn joined(&self, kept: &[Standstill]) -> Self {
        let mut past: Vec<(DateTime<Utc>, DateTime<Utc>)> = self.past.iter().copied().collect();
        let mut since = self.since;
        for Standstill { began, ended } in kept {
            match (ended, since) {
                (Some(ended), _) => past.push((*began, *ended)),
                (None, Some(own)) => since = Some(own.min(*began)),
                // It goes on for the other one alone. If it is over, its end is the one that was seen here, and
                // that one says so itself as soon as it sees it.
                (None, None) => {
                    let end = self.past.iter().map(|(_, end)| *end).filter(|end| end >= began).min();
                    past.extend(end.map(|end| (*began, end)));
                }
            }
        }
        past.sort_unstable();
        let mut joined = Self { past: VecDeque::new(), since };
        for (began, ended) in past {
            match joined.past.back_mut() {
                Some((_, end)) if began <= *end => *end = ended.max(*end),
                _ => joined.past.push_back((began, ended)),
            }
        }
        // One that goes on reaches back over those that it touches.
        while let (Some(since), Some((began, ended))) = (joined.since, joined.past.back().copied())
            && ended >= since
        {
            joined.since = Some(since.min(began));
            joined.past.pop_back();
        }
        joined.forget_some();
        joined
    }

    /// What a later process has to know.
    pub(super) fn to_keep(&self) -> Vec<Standstill> {
        let past = self.past.iter().map(|(began, ended)| Standstill { began: *began, ended: Some(*ended) });
        past.chain(self.since.map(|began| Standstill { began, ended: None })).collect()
    }

    /// The receiver is suspended, or is not, from now on.
    pub(super) fn set(&mut self, suspended: bool, now: DateTime<Utc>) {
        match (suspended, self.since) {
            (true, None) => self.since = Some(now),
            (false, Some(since)) => {
                self.since = None;
                self.past.push_back((since, now.max(since)));
                self.forget_some();
            }
            _ => {}
        }
    }

    fn forget_some(&mut self) {
        while self.past.len() > MOST {
            // What lies between two of them counts as one of them: rather longer than too short.
            if let (Some((begin, _)), Some((_, end))) = (self.past.pop_front(), self.past.pop_front()) {
                self.past.push_front((begin, end));
            }
        }
    }

    /// For how long the clock stood still between these two.
    fn within(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> TimeDelta {
        let open = self.since.map(|since| (since, to));
        let overlap = |(begin, end): (DateTime<Utc>, DateTime<Utc>)| {
            (end.min(to) - begin.max(from)).max(TimeDelta::zero())
        };
        self.past.iter().copied().chain(open).map(overlap).sum()
    }

    /// When the retention of a delivery is over, if the clock does not stand still from now on.
    pub(super) fn end(&self, since: DateTime<Utc>, retention: Duration, now: DateTime<Utc>) -> DateTime<Utc> {
        let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
        let stood = self.within(since, now.max(since));
        since
            .checked_add_signed(retention)
            .and_then(|end| end.checked_add_signed(stood))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETENTION: Duration = Duration::from_secs(100);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn end(still: &Standstills, since: i64, now: i64) -> i64 {
        (still.end(at(since), RETENTION, at(now)) - at(0)).num_seconds()
    }

    #[test]
    fn without_a_standstill_it_ends_after_itself() {
        let still = Standstills::default();
        assert_eq!(end(&still, 5, 20), 105);
        assert_eq!(end(&still, 5, 900), 105);
        assert_eq!(still.end(at(0), Duration::MAX, at(0)), DateTime::<Utc>::MAX_UTC);
    }

    #[test]
    fn what_was_suspended_does_not_count_and_only_for_those_that_were_there() {
        let mut still = Standstills::default();
        still.set(true, at(10));
        still.set(true, at(20));
        assert_eq!(end(&still, 0, 60), 150, "50 s of an open one");
        assert_eq!(end(&still, 40, 60), 160, "it came in the middle");
        still.set(false, at(60));
        still.set(false, at(70));
        assert_eq!(end(&still, 0, 80), 150);
        assert_eq!(end(&still, 40, 80), 160);
        assert_eq!(end(&still, 65, 80), 165, "it came after");
        still.set(true, at(90));
        assert_eq!(end(&still, 0, 95), 155);
    }

    #[test]
    fn what_was_kept_counts_in_a_later_process() {
        let mut still = Standstills::default();
        still.set(true, at(10));
        still.set(false, at(20));
        still.set(true, at(50));
        let recall = |suspended, now| Standstills::recalled(still.to_keep(), suspended, at(now));
        assert_eq!(recall(true, 80), still);
        assert_eq!(end(&recall(true, 80), 0, 90), 150, "10 s, and 40 s of one that goes on");
        assert_eq!(end(&recall(false, 80), 0, 90), 140, "10 s, and 30 s until it was seen to be over");
        still.set(false, at(60));
        let recall = |suspended, now| Standstills::recalled(still.to_keep(), suspended, at(now));
        assert_eq!(end(&recall(false, 80), 0, 90), 120);
        assert_eq!(end(&recall(true, 80), 0, 90), 130, "it began while nobody looked");
        assert_eq!(Standstills::recalled(vec![], false, at(80)), Standstills::default());
        let unknown = Standstills::recalled(vec![], true, at(80));
        assert_eq!(end(&unknown, 0, 90), 190, "since when is not known");
    }

    #[test]
    fn what_several_gates_have_seen_counts_once_and_none_of_it_is_forgotten() {
        let kept = |began: i64, ended: Option<i64>| Standstill { began: at(began), ended: ended.map(at) };
        let mut own = Standstills::default();
        own.set(true, at(100));
        own.set(false, at(200));
        let parts = |still: &Standstills| {
            let seconds = |time: DateTime<Utc>| (time - at(0)).num_seconds();
            let part = |one: &Standstill| (seconds(one.began), one.ended.map(seconds));
            still.to_keep().iter().map(part).collect::<Vec<_>>()
        };
        // The other one was cut off meanwhile, or has seen the same a little earlier and later.
        assert_eq!(own.joined(&[]), own);
        assert_eq!(own.joined(&own.to_keep()), own);
        let joined = own.joined(&[kept(99, Some(150)), kept(150, Some(201)), kept(300, Some(310))]);
        assert_eq!(parts(&joined), [(99, Some(201)), (300, Some(310))]);
        assert_eq!(end(&joined, 0, 400), 100 + 102 + 10);
        // The other one has not seen the end yet; or a beginning that has not been seen here.
        assert_eq!(parts(&own.joined(&[kept(98, None)])), [(98, Some(200))]);
        assert_eq!(parts(&own.joined(&[kept(500, None)])), [(100, Some(200))]);
        // It goes on here.
        own.set(true, at(300));
        assert_eq!(parts(&own.joined(&[kept(298, None)])), [(100, Some(200)), (298, None)]);
        assert_eq!(parts(&own.joined(&[kept(298, Some(400))])), [(100, Some(200)), (298, None)]);
        let many: Vec<Standstill> = (0..200).map(|number| kept(number * 10, Some(number * 10 + 1))).collect();
        assert_eq!(own.joined(&many).past.len(), 20, "those up to the one that goes on");
        assert_eq!(Standstills::default().joined(&many).past.len(), MOST);
    }

    #[test]
    fn a_clock_that_is_set_back_takes_nothing_away() {
        let mut still = Standstills::default();
        still.set(true, at(50));
        still.set(false, at(10));
        assert_eq!(end(&still, 0, 20), 100);
        assert_eq!(end(&still, 30, 20), 130);
    }

    #[test]
    fn many_take_no_more_room_and_end_nothing_early() {
        let mut still = Standstills::default();
        for number in 0..1_000 {
            still.set(true, at(number * 10));
            still.set(false, at(number * 10 + 1));
        }
        assert_eq!(still.past.len(), MOST);
        assert!(end(&still, 0, 10_000) >= 1_100);
        assert_eq!(end(&still, 9_990, 10_000), 10_091, "the latest are known exactly");
    }
}
