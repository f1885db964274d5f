//! The sandbox's two times: real time for tokens, scaled time for the provider's own slow rules.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// Real time as tokio counts it (so that `tokio::time::pause` holds it still), plus the scale of
/// the provider's rules.
///
/// Tokens live in real time, because whoever asks for them reads a real clock. What Gupy measures
/// in minutes and days (retries, removal, rate limit) passes `scale` times faster.
pub(super) struct Clock {
    anchor: DateTime<Utc>,
    started: Instant,
    travelled: Mutex<Duration>,
    scale: f64,
}

impl Clock {
    pub(super) fn new(scale: f64) -> Self {
        Self { anchor: Utc::now(), started: Instant::now(), travelled: Mutex::new(Duration::ZERO), scale }
    }

    /// Real time since the start.
    fn elapsed(&self) -> Duration {
        let travelled = *self.travelled.lock().unwrap_or_else(PoisonError::into_inner);
        self.started.elapsed().saturating_add(travelled)
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        after(self.anchor, self.elapsed())
    }

    /// Provider time since the start.
    pub(super) fn provider_elapsed(&self) -> Duration {
        Duration::try_from_secs_f64(self.elapsed().as_secs_f64() * self.scale).unwrap_or(Duration::MAX)
    }

    /// The real duration of what the provider calls `duration`.
    pub(super) fn real(&self, duration: Duration) -> Duration {
        Duration::try_from_secs_f64(duration.as_secs_f64() / self.scale).unwrap_or(Duration::MAX)
    }

    /// Sets this clock, and no other, forward.
    pub(super) fn travel(&self, by: Duration) {
        let mut travelled = self.travelled.lock().unwrap_or_else(PoisonError::into_inner);
        *travelled = travelled.saturating_add(by);
    }
}

/// `start + duration`, at most the end of what chrono can hold.
pub(super) fn after(start: DateTime<Utc>, duration: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(duration)
        .ok()
        .and_then(|delta| start.checked_add_signed(delta))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn provider_time_passes_faster_and_real_time_does_not() {
        let clock = Clock::new(60.0);
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.now() - before, TimeDelta::seconds(10));
        assert_eq!(clock.provider_elapsed(), Duration::from_secs(600));
        assert_eq!(clock.real(Duration::from_secs(60)), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn travelling_moves_this_clock_only() {
        let clock = Clock::new(1.0);
        let before = clock.now();
        clock.travel(Duration::from_secs(3600));
        assert_eq!(clock.now() - before, TimeDelta::hours(1));
    }

    #[test]
    fn absurd_durations_end_at_the_end_of_time() {
        assert_eq!(after(Utc::now(), Duration::MAX), DateTime::<Utc>::MAX_UTC);
    }
}
