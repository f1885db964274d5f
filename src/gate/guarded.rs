//! Work beside a task that decides: it ends, whatever happens in it, and what came of it is made durable.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::store::{Answer, StoreError};

/// What is said of work that panicked.
pub(super) const DEFECT: &str = "hookkeeper failed while doing it, which is a defect; please report it";

/// The first wait after the store did not take something; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest one.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// When the process stops, the store is tried for so much longer.
const AFTER_STOP: Duration = Duration::from_secs(10);

/// Work that panics is work that did not succeed.
pub(super) async fn caught<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let ended = AssertUnwindSafe(work).catch_unwind().await;
    ended.unwrap_or_else(|_| Err(StoreError::Unavailable(DEFECT.to_owned())))
}

/// Only this error is more than trouble that passes.
pub(super) fn broken(result: Result<(), StoreError>) -> Result<(), StoreError> {
    match result {
        Err(error @ StoreError::Broken(_)) => Err(error),
        _ => Ok(()),
    }
}

/// Whether the store takes what it is given. While it does not, nothing more is taken from it.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

impl Health {
    /// Something failed. Returns how long to wait.
    pub(super) fn failed(&self) -> Duration {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = FIRST_WAIT.saturating_mul(1 << state.failures.min(16)).min(LONGEST_WAIT);
        state.failures = state.failures.saturating_add(1);
        state.until = Some(Instant::now() + wait);
        wait
    }

    /// Something was made durable, or read.
    pub(super) fn worked(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// Until when nothing is taken from the store.
    pub(super) fn shut_until(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).until.filter(|until| *until > Instant::now())
    }
}

/// Makes something durable, again and again until the store takes it: an application that has taken a
/// delivery should not get it again because a disk was full for a minute. `not_yet` is told of the first
/// failure.
///
/// # Errors
/// [`StoreError::Broken`] and [`StoreError::Unreadable`] at once, any other when the process stops and the
/// store still does not take it.
pub(super) async fn make_durable<'a>(
    write: impl Fn() -> Answer<'a, ()>,
    health: &Health,
    stopping: &watch::Receiver<bool>,
    not_yet: impl Fn(&StoreError),
) -> Result<(), StoreError> {
    let mut last_chance = None;
    let mut has_failed = false;
    loop {
        let error = match write().await {
            Ok(()) => {
                health.worked();
                return Ok(());
            }
            // Nothing of the row can be changed by waiting.
            Err(error @ (StoreError::Broken(_) | StoreError::Unreadable { .. })) => return Err(error),
            Err(error) => error,
        };
        if !has_failed {
            not_yet(&error);
            has_failed = true;
        }
        let wait = health.failed();
        if *stopping.borrow() {
            let now = Instant::now();
            if *last_chance.get_or_insert(now + AFTER_STOP) <= now {
                return Err(error);
            }
        }
        sleep(wait).await;
    }
}
