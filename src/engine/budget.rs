//! How many requests may be sent: a token bucket on boot time.

use std::time::Duration;

/// Seconds' worth of requests that may be sent at once after a quiet time.
const BURST_SECONDS: f64 = 6.0;

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    per_second: f64,
    burst: f64,
    level: f64,
    filled: Duration,
}

impl Bucket {
    /// A full bucket for a rate in requests a minute, of which it is given a share.
    pub(super) fn new(requests_per_minute: u32, share: f64, now: Duration) -> Self {
        let per_second = f64::from(requests_per_minute.max(1)) / 60.0 * share;
        let burst = (per_second * BURST_SECONDS).max(1.0);
        Self { per_second, burst, level: burst, filled: now }
    }

    /// Changes the rate and keeps what has been used.
    pub(super) fn set_rate(&mut self, requests_per_minute: u32, share: f64, now: Duration) {
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
    pub(super) fn has(&mut self, now: Duration) -> bool {
        self.fill(now);
        // A hair below one counts: sums of fractions do not come out exactly.
        self.level >= 1.0 - 1e-6
    }

    /// When everything that was taken out will have come back; `None` when it has.
    pub(super) fn full_at(&mut self, now: Duration) -> Option<Duration> {
        self.fill(now);
        let lacking = self.burst - self.level;
        (lacking > 1e-6).then(|| now + Duration::from_secs_f64(lacking / self.per_second))
    }

    /// How many requests may be sent now.
    pub(super) fn available(&mut self, now: Duration) -> f64 {
        self.fill(now);
        self.level
    }

    /// Takes requests out; the level may go below zero for some that were sent already.
    pub(super) fn take(&mut self, requests: u32) {
        self.level -= f64::from(requests);
    }

    /// When the next request may be sent.
    pub(super) fn ready_at(&mut self, now: Duration) -> Duration {
        self.fill(now);
        let lacking = (1.0 - self.level).max(0.0);
        now + Duration::from_secs_f64((lacking / self.per_second).min(3_600.0)) + Duration::from_millis(1)
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
}
