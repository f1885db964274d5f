//! How often a platform is asked.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Shares what a platform may be asked: everything that goes to one origin counts together.
pub trait Budget: Send + Sync {
    /// A question of this namespace to this origin (`https://HOST:PORT`) may be sent now, and counts.
    ///
    /// # Errors
    /// When to ask again.
    fn take(&self, namespace: &str, origin: &str) -> Result<(), Instant>;
    /// The origin asks this namespace to wait.
    fn hold(&self, namespace: &str, origin: &str, wait: Duration);
}

/// Between two questions to one origin: 10 a second, which is what a platform with such an API allows
/// each of its customers.
const INTERVAL: Duration = Duration::from_millis(100);
/// So many may be sent at once after a quiet time.
const BURST: u32 = 10;
/// So many origins are known; those that are quiet are forgotten.
const MOST: usize = 4_096;

/// A budget of its own: 10 questions a second to each origin.
#[derive(Debug, Default)]
pub struct OwnBudget(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When each origin has no question left over.
    full: HashMap<String, Instant>,
    held: HashMap<(String, String), Instant>,
}

impl Budget for OwnBudget {
    fn take(&self, namespace: &str, origin: &str) -> Result<(), Instant> {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = state.held.get(&(namespace.to_owned(), origin.to_owned()));
        if let Some(until) = held.filter(|until| **until > now) {
            return Err(*until);
        }
        let full = state.full.get(origin).map_or(now, |full| now.max(*full));
        let leeway = INTERVAL * (BURST - 1);
        if full > now + leeway {
            return Err(full - leeway);
        }
        state.tidy(now);
        state.full.insert(origin.to_owned(), full + INTERVAL);
        Ok(())
    }

    fn hold(&self, namespace: &str, origin: &str, wait: Duration) {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.tidy(now);
        state.held.insert((namespace.to_owned(), origin.to_owned()), now + wait);
    }
}

impl State {
    fn tidy(&mut self, now: Instant) {
        if self.full.len() >= MOST {
            self.full.retain(|_, full| *full > now);
        }
        if self.held.len() >= MOST {
            self.held.retain(|_, until| *until > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "https://api.example";

    #[tokio::test(start_paused = true)]
    async fn ten_a_second_go_to_one_origin_whoever_asks() {
        let budget = OwnBudget::default();
        let mut sent = 0;
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            match budget.take(if sent % 2 == 0 { "a" } else { "b" }, ORIGIN) {
                Ok(()) => sent += 1,
                Err(again) => tokio::time::sleep_until(again).await,
            }
        }
        assert!((600..=610).contains(&sent), "{sent}");
        assert_eq!(budget.take("a", "https://other.example"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_to_wait_waits_and_others_do_not() {
        let budget = OwnBudget::default();
        budget.hold("a", ORIGIN, Duration::from_secs(7));
        assert_eq!(budget.take("a", ORIGIN), Err(Instant::now() + Duration::from_secs(7)));
        assert_eq!(budget.take("b", ORIGIN), Ok(()));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(budget.take("a", ORIGIN), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_bounded() {
        let budget = OwnBudget::default();
        for number in 0..10_000 {
            budget.take("a", &number.to_string()).unwrap();
            budget.hold("a", &number.to_string(), Duration::ZERO);
            tokio::time::advance(INTERVAL).await;
        }
        let state = budget.0.lock().unwrap();
        assert!(state.full.len() <= MOST && state.held.len() <= MOST);
    }
}
