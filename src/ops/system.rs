//! The machine's clocks and its randomness, and notices as lines of the log.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use chrono::Utc;
use futures::future::BoxFuture;
use rustix::time::{ClockId, clock_gettime};

use crate::engine::ports::{Clock, Notice, Notices, Random};
use crate::rotation::time::Moment;

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        // CLOCK_BOOTTIME counts suspension, CLOCK_MONOTONIC does not (clock_gettime(2)).
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(boot.tv_nsec).unwrap_or(0);
        Moment { wall: Utc::now(), boot: Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds) }
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(wait))
    }
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn bits(&self) -> u64 {
        // Nothing that must not be guessed is made of these, so where the operating system has
        // none to give, the standard library's seed is good enough.
        getrandom::u64().unwrap_or_else(|_| RandomState::new().build_hasher().finish())
    }
}

/// Writes notices into the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoggedNotices;

impl Notices for LoggedNotices {
    fn emit(&self, notice: Notice) {
        let Notice { kind, key, warning, reason, note } = notice;
        if warning {
            tracing::warn!(%kind, object = %key, %reason, "{note}");
        } else {
            tracing::info!(%kind, object = %key, %reason, "{note}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_never_goes_back_and_numbers_differ() {
        let first = SystemClock.now();
        let second = SystemClock.now();
        assert!(second.boot >= first.boot);
        assert!(first.boot > Duration::ZERO);
        assert_ne!(SystemRandom.bits(), SystemRandom.bits());
    }
}
