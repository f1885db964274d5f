//! Whether the process works, and what it still waits for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Shows that the scheduler goes round: it touches this at every turn, and at least once within the
/// limit. HTTP answering shows nothing of the kind.
#[derive(Debug)]
pub struct Heartbeat {
    /// The process's own clock, which nobody can set.
    start: Instant,
    /// Milliseconds from the start to the last beat.
    last: AtomicU64,
    limit: Duration,
}

impl Heartbeat {
    /// A heart that beats now and must beat again within the limit.
    #[must_use]
    pub fn new(limit: Duration) -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), last: AtomicU64::new(0), limit })
    }

    /// Beats.
    pub fn beat(&self) {
        let since_start = self.start.elapsed().as_millis();
        let since_start = u64::try_from(since_start).unwrap_or(u64::MAX);
        self.last.store(since_start, Ordering::Relaxed);
    }

    /// How long ago the last beat was.
    #[must_use]
    pub fn age(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(last)
    }

    /// Whether the last beat was within the limit.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.age() <= self.limit
    }
}

/// What is still missing before the process does its work. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    missing: Arc<Mutex<Missing>>,
    /// Rung whenever something has come to be there.
    arrival: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Missing {
    next: u64,
    what: BTreeMap<u64, String>,
}

/// Something that is missing; dropped when it is there.
#[derive(Debug)]
#[must_use = "it counts as there as soon as this is dropped"]
pub struct Awaited {
    readiness: Readiness,
    number: u64,
}

impl Readiness {
    /// Notes that something is missing, in words for people: `manifests have not been read`.
    pub fn awaits(&self, what: impl Into<String>) -> Awaited {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let number = missing.next;
        missing.next += 1;
        missing.what.insert(number, what.into());
        Awaited { readiness: self.clone(), number }
    }

    /// The process is ending: it is not ready any more.
    pub fn ends(&self) {
        std::mem::forget(self.awaits("the process is ending"));
    }

    /// What is missing, in the order in which it was noted; nothing when the process is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.what.values().cloned().collect()
    }

    /// Ends as soon as nothing is missing.
    pub async fn complete(&self) {
        loop {
            // Enlisted before the look, so that nothing arrives between the two unnoticed.
            let arrival = self.arrival.notified();
            if self.missing().is_empty() {
                return;
            }
            arrival.await;
        }
    }
}

impl Awaited {
    /// Notes that something else is missing too.
    pub fn and(&self, what: impl Into<String>) -> Self {
        self.readiness.awaits(what)
    }

    /// Says more exactly what is missing.
    pub fn says(&self, what: impl Into<String>) {
        let mut missing = self.readiness.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.what.insert(self.number, what.into());
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut missing = self.readiness.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.what.remove(&self.number);
        self.readiness.arrival.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_heart_that_stops_is_noticed_after_the_limit() {
        let heartbeat = Heartbeat::new(Duration::from_secs(30));
        assert!(heartbeat.is_alive());
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(heartbeat.is_alive());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!heartbeat.is_alive());
        heartbeat.beat();
        assert!(heartbeat.is_alive());
        assert_eq!(heartbeat.age(), Duration::ZERO);
    }

    #[test]
    fn what_is_missing_is_listed_until_it_is_there() {
        let readiness = Readiness::default();
        let first = readiness.awaits("first");
        let second = readiness.awaits("second");
        assert_eq!(readiness.missing(), ["first", "second"]);
        first.says("the first still");
        assert_eq!(readiness.missing(), ["the first still", "second"]);
        drop(first);
        assert_eq!(readiness.missing(), ["second"]);
        drop(second);
        assert!(readiness.missing().is_empty());
    }

    #[tokio::test]
    async fn who_waits_hears_when_the_last_missing_thing_is_there() {
        let readiness = Readiness::default();
        let (first, second) = (readiness.awaits("first"), readiness.awaits("second"));
        let mut complete = std::pin::pin!(readiness.complete());
        assert!(futures::poll!(&mut complete).is_pending());
        drop(first);
        assert!(futures::poll!(&mut complete).is_pending());
        drop(second);
        assert!(futures::poll!(&mut complete).is_ready());
        readiness.complete().await;
    }
}
