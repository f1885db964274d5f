//! A share for each author: how many lines or events one namespace may cause.
//!
//! Each has a bucket of its own, so that a flood of one leaves the others' untouched. What does not fit
//! is counted, and told: nothing disappears silently.

use std::collections::BTreeMap;
use std::time::Duration;

/// How much each may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// At once.
    pub burst: u32,
    /// In each second, for as long as it lasts.
    pub each_second: u32,
    /// How many are told apart. All that come on top of these have one share together.
    pub owners: usize,
}

/// The buckets. An owner that causes little is forgotten as soon as its bucket is full again.
#[derive(Debug)]
pub struct Shares {
    share: Share,
    buckets: BTreeMap<String, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// What is left, in thousandths.
    left: u64,
    /// When that was so, on a clock that nobody can set.
    at: Duration,
    left_out: u64,
}

/// The name of the share that those beyond [`Share::owners`] have together; no namespace is named so.
pub const OTHERS: &str = "(others)";

impl Shares {
    /// Nobody has caused anything yet.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self { share, buckets: BTreeMap::new() }
    }

    /// Whether one more of the owner's fits. `now` is a time that never goes back, since any moment.
    pub fn take(&mut self, owner: &str, now: Duration) -> bool {
        if !self.buckets.contains_key(owner) && self.buckets.len() >= self.share.owners {
            self.forget_full(now);
        }
        let is_known = self.buckets.contains_key(owner);
        let owner = if is_known || self.buckets.len() < self.share.owners { owner } else { OTHERS };
        let share = self.share;
        if !self.buckets.contains_key(owner) {
            self.buckets.insert(owner.to_owned(), Bucket { left: share.whole(), at: now, left_out: 0 });
        }
        let Some(bucket) = self.buckets.get_mut(owner) else {
            return true;
        };
        bucket.refill(share, now);
        if bucket.left >= 1_000 {
            bucket.left -= 1_000;
            return true;
        }
        bucket.left_out = bucket.left_out.saturating_add(1);
        false
    }

    /// Whose did not fit since this was asked last, and how many of them: those with the most first.
    pub fn left_out(&mut self, now: Duration) -> Vec<(String, u64)> {
        let mut told: Vec<(String, u64)> = self
            .buckets
            .iter_mut()
            .filter(|(_, bucket)| bucket.left_out > 0)
            .map(|(owner, bucket)| (owner.clone(), std::mem::take(&mut bucket.left_out)))
            .collect();
        told.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        self.forget_full(now);
        told
    }

    fn forget_full(&mut self, now: Duration) {
        let share = self.share;
        self.buckets.retain(|_, bucket| {
            bucket.refill(share, now);
            bucket.left < share.whole() || bucket.left_out > 0
        });
    }
}

impl Share {
    fn whole(self) -> u64 {
        u64::from(self.burst) * 1_000
    }
}

impl Bucket {
    fn refill(&mut self, share: Share, now: Duration) {
        let passed = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        let gained = passed.saturating_mul(u64::from(share.each_second));
        self.left = self.left.saturating_add(gained).min(share.whole());
        // What is less than a millisecond is not lost.
        self.at += Duration::from_millis(passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Share = Share { burst: 100, each_second: 10, owners: 50 };

    fn taken(shares: &mut Shares, owner: &str, times: usize, now: Duration) -> usize {
        (0..times).filter(|_| shares.take(owner, now)).count()
    }

    #[test]
    fn a_flood_of_one_author_takes_nothing_from_another() {
        let mut shares = Shares::new(SHARE);
        let mut honest = 0;
        for second in 0..60 {
            let now = Duration::from_secs(second);
            taken(&mut shares, "mallory", 1_000, now);
            honest += taken(&mut shares, "honest", 10, now);
        }
        assert_eq!(honest, 600);
        let left_out = shares.left_out(Duration::from_secs(60));
        // The burst, and ten in each second after the first.
        assert_eq!(left_out, [("mallory".to_owned(), 60_000 - 100 - 590)]);
        assert_eq!(shares.left_out(Duration::from_secs(60)), []);
    }

    #[test]
    fn who_has_been_quiet_for_long_enough_is_forgotten() {
        let mut shares = Shares::new(SHARE);
        for owner in 0..40 {
            taken(&mut shares, &format!("n{owner}"), 100, Duration::ZERO);
        }
        assert_eq!(shares.buckets.len(), 40);
        shares.left_out(Duration::from_secs(9));
        assert_eq!(shares.buckets.len(), 40);
        shares.left_out(Duration::from_secs(10));
        assert_eq!(shares.buckets.len(), 0);
    }

    #[test]
    fn however_many_owners_there_are_the_memory_is_bounded_and_those_known_keep_their_share() {
        let mut shares = Shares::new(SHARE);
        assert!(shares.take("honest", Duration::ZERO));
        for owner in 0..10_000 {
            shares.take(&format!("n{owner}"), Duration::ZERO);
        }
        assert!(shares.buckets.len() <= SHARE.owners + 1, "{}", shares.buckets.len());
        assert_eq!(taken(&mut shares, "honest", 200, Duration::ZERO), 99);
        assert!(shares.left_out(Duration::ZERO).iter().any(|(owner, _)| owner == OTHERS));
    }
}
