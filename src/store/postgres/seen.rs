//! When it was said last that this process is at work for a receiver.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often it is said.
const EVERY: Duration = Duration::from_secs(30);

/// So many receivers are remembered; of others it is said each time.
const MOST: usize = 10_000;

#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<String, Instant>>);

impl Seen {
    /// Whether it is time to say it again.
    pub(super) fn is_time(&self, uid: &str) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(uid).is_none_or(|last| last.elapsed() >= EVERY)
    }

    /// It was said.
    pub(super) fn now(&self, uid: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST {
            seen.retain(|_, last| last.elapsed() < EVERY);
        }
        if seen.len() < MOST {
            seen.insert(uid.to_owned(), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_now_and_then_and_what_is_remembered_is_bounded() {
        let seen = Seen::default();
        assert!(seen.is_time("a"));
        seen.now("a");
        assert!(!seen.is_time("a") && seen.is_time("b"));
        tokio::time::advance(EVERY).await;
        assert!(seen.is_time("a"));
        for number in 0..2 * MOST {
            seen.now(&number.to_string());
        }
        assert!(seen.0.lock().unwrap().len() <= MOST);
    }
}
