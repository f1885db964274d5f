//! How many requests may be sent: token buckets on boot time, and those that several share.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Seconds' worth of requests that may be sent at once after a quiet time.
const BURST_SECONDS: f64 = 6.0;

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    level: f64,
    filled: Duration,
}

impl Bucket {
    /// A full bucket for a rate in requests a minute, of which it is given a share.
    pub(crate) fn new(requests_per_minute: u32, share: f64, now: Duration) -> Self {
        let per_second = f64::from(requests_per_minute.max(1)) / 60.0 * share;
        let burst = (per_second * BURST_SECONDS).max(1.0);
        Self { per_second, burst, level: burst, filled: now }
    }

    /// Changes the rate and keeps what has been used.
    pub(crate) fn set_rate(&mut self, requests_per_minute: u32, share: f64, now: Duration) {
        self.fill(now);
        let fresh = Self::new(requests_per_minute, share, now);
        self.per_second = fresh.per_second;
        self.burst = fresh.burst;
        self.level = self.level.min(fresh.burst);
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled).as_secs_f64();
        self.level = (self.level + passed * self.per_second).min(self.burst);
        self.filled = now;
    }

    /// Whether a request may be sent now.
    pub(crate) fn has(&mut self, now: Duration) -> bool {
        self.fill(now);
        // A hair below one counts: sums of fractions do not come out exactly.
        self.level >= 1.0 - 1e-6
    }

    /// When everything that was taken out will have come back; `None` when it has.
    pub(crate) fn full_at(&mut self, now: Duration) -> Option<Duration> {
        self.fill(now);
        let lacking = self.burst - self.level;
        (lacking > 1e-6).then(|| now + Duration::from_secs_f64(lacking / self.per_second))
    }

    /// How many requests may be sent now.
    pub(crate) fn available(&mut self, now: Duration) -> f64 {
        self.fill(now);
        self.level
    }

    /// Takes requests out; the level may go below zero for some that were sent already.
    pub(crate) fn take(&mut self, requests: u32) {
        self.level -= f64::from(requests);
    }

    /// When the next request may be sent.
    pub(crate) fn ready_at(&mut self, now: Duration) -> Duration {
        self.fill(now);
        let lacking = (1.0 - self.level).max(0.0);
        now + self.time_for(lacking)
    }

    /// Takes one out for somebody who goes behind those whose bucket it is: only while half of what may be
    /// sent at once is there for them.
    ///
    /// # Errors
    /// How long until that may be so.
    pub(crate) fn take_beside(&mut self, now: Duration) -> Result<(), Duration> {
        self.fill(now);
        let lacking = (self.burst / 2.0).max(1.0) - self.level;
        if lacking > 1e-6 {
            return Err(self.time_for(lacking));
        }
        self.take(1);
        Ok(())
    }

    /// How long it takes until so many requests more may be sent.
    fn time_for(&self, requests: f64) -> Duration {
        Duration::from_secs_f64((requests / self.per_second).min(3_600.0)) + Duration::from_millis(1)
    }
}

/// A bucket that several take from.
#[derive(Clone, Debug)]
pub(crate) struct SharedBucket(Arc<Mutex<Bucket>>);

impl SharedBucket {
    pub(crate) fn new(bucket: Bucket) -> Self {
        Self(Arc::new(Mutex::new(bucket)))
    }

    /// Does something with the bucket; others wait so long.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Bucket) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The buckets of origins, for others in the process who send requests to one of them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budgets(Arc<Mutex<HashMap<String, OfOrigin>>>);

#[derive(Debug)]
struct OfOrigin {
    bucket: SharedBucket,
    /// The namespaces that it is for.
    namespaces: BTreeSet<Arc<str>>,
}

impl Budgets {
    /// Requests of these namespaces to the origin count in this bucket; of no namespace: there is none.
    pub(crate) fn set(&self, origin: &str, bucket: &SharedBucket, namespaces: BTreeSet<Arc<str>>) {
        let mut origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if namespaces.is_empty() {
            origins.remove(origin);
        } else {
            origins.insert(origin.to_owned(), OfOrigin { bucket: bucket.clone(), namespaces });
        }
    }

    /// Takes one out, behind those whose bucket it is. `None` where there is none for this namespace.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn take_beside(
        &self,
        namespace: &str,
        origin: &str,
        now: Duration,
    ) -> Option<Result<(), Duration>> {
        let origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = origins.get(origin).filter(|found| found.namespaces.contains(namespace))?;
        Some(found.bucket.with(|bucket| bucket.take_beside(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_never_holds_more_than_the_rate_and_the_burst() {
        let mut now = Duration::ZERO;
        let mut bucket = Bucket::new(60, 1.0, now);
        let mut sent = 0;
        while now < Duration::from_secs(60) {
            if bucket.has(now) {
                bucket.take(1);
                sent += 1;
            } else {
                now = bucket.ready_at(now);
            }
        }
        assert!((60..=66).contains(&sent), "{sent}");
    }

    #[test]
    fn what_was_taken_out_has_come_back_after_a_while() {
        let mut bucket = Bucket::new(60, 1.0, Duration::ZERO);
        assert_eq!(bucket.full_at(Duration::ZERO), None);
        bucket.take(2);
        assert_eq!(bucket.full_at(Duration::ZERO), Some(Duration::from_secs(2)));
        assert_eq!(bucket.full_at(Duration::from_secs(2)), None);
    }

    #[test]
    fn requests_already_sent_are_paid_back() {
        let mut bucket = Bucket::new(60, 1.0, Duration::ZERO);
        bucket.take(26);
        assert!(!bucket.has(Duration::from_secs(20)));
        assert!(bucket.has(Duration::from_secs(22)));
    }

    #[test]
    fn who_goes_beside_takes_what_is_left_and_never_the_last() {
        let now = Duration::from_secs(9);
        let mut bucket = Bucket::new(600, 1.0, now);
        let mut sent = 0;
        while bucket.take_beside(now).is_ok() {
            sent += 1;
        }
        assert_eq!(sent, 31, "60 at once, of which half are for others");
        let wait = bucket.take_beside(now).unwrap_err();
        assert!(wait <= Duration::from_millis(102), "{wait:?}");
        assert_eq!(bucket.take_beside(now + wait), Ok(()));
        // A budget of which half is less than one request.
        let mut bucket = Bucket::new(6, 1.0, now);
        assert_eq!(bucket.take_beside(now), Ok(()));
        let wait = bucket.take_beside(now).unwrap_err();
        assert!(wait > Duration::from_secs(9) && wait < Duration::from_secs(11), "{wait:?}");
    }

    #[test]
    fn a_bucket_is_shared_by_those_it_is_for() {
        let now = Duration::ZERO;
        let bucket = SharedBucket::new(Bucket::new(60, 1.0, now));
        let budgets = Budgets::default();
        let take = |namespace, origin| budgets.take_beside(namespace, origin, now).map(|taken| taken.is_ok());
        assert_eq!(take("hr", "https://a"), None);
        budgets.set("https://a", &bucket, BTreeSet::from(["hr".into()]));
        assert_eq!((take("hr", "https://a"), take("it", "https://a")), (Some(true), None));
        assert_eq!(take("hr", "https://b"), None);
        bucket.with(|bucket| bucket.take(5));
        assert_eq!(take("hr", "https://a"), Some(false));
        budgets.set("https://a", &bucket, BTreeSet::new());
        assert_eq!(take("hr", "https://a"), None);
    }
}
