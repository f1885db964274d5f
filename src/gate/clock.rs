//! What time it is, so that tests can say it.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// The wall clock. Waiting is tokio's, so that a test that holds tokio's time still holds this one, too.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> DateTime<Utc>;
}

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// A wall clock that began at some time and goes on as tokio's time does.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    began: DateTime<Utc>,
    at: Instant,
}

impl SteadyClock {
    /// A clock that shows this time now.
    #[must_use]
    pub fn starting(began: DateTime<Utc>) -> Self {
        Self { began, at: Instant::now() }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(self.at.elapsed()).unwrap_or(TimeDelta::MAX);
        self.began.checked_add_signed(passed).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}
