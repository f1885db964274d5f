//! How often a platform is asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
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

/// Somebody else in this process who sends requests to platforms, within a budget of their own.
pub trait Others: Send + Sync {
    /// A question of this namespace counts in the budget that they have for this origin. `None` where they send
    /// nothing there for the namespace.
    ///
    /// # Errors
    /// How long to wait.
    fn take(&self, namespace: &str, origin: &str) -> Option<Result<(), Duration>>;
}

/// Between two questions to one origin: 10 a second, which is what a platform with such an API allows
/// each of its customers.
const INTERVAL: Duration = Duration::from_millis(100);
/// So many may be sent at once after a quiet time.
const BURST: u32 = 10;
/// So many origins are known; those that are quiet are forgotten.
const MOST: usize = 4_096;
/// Who does not come back so long after their time has lost their place.
const PATIENCE: Duration = Duration::from_millis(200);

/// 10 questions a second to each origin, or what is left of the budget that others have for it. Namespaces
/// that wait for one origin have turns.
#[derive(Default)]
pub struct Questions {
    state: Mutex<State>,
    others: Option<Arc<dyn Others>>,
}

#[derive(Debug, Default)]
struct State {
    origins: HashMap<String, Origin>,
    held: HashMap<(String, String), Instant>,
}

#[derive(Debug)]
struct Origin {
    /// When it has no question left over.
    full: Instant,
    /// Namespaces that wait, and when each of them asks again.
    waiting: VecDeque<(String, Instant)>,
}

impl Questions {
    /// Where others in this process send to the same origin, questions count in their budget.
    #[must_use]
    pub fn beside(others: Arc<dyn Others>) -> Self {
        Self { state: Mutex::default(), others: Some(others) }
    }
}

impl Budget for Questions {
    fn take(&self, namespace: &str, origin: &str) -> Result<(), Instant> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let held = state.held.get(&(namespace.to_owned(), origin.to_owned()));
        if let Some(until) = held.filter(|until| **until > now) {
            return Err(*until);
        }
        state.tidy(now);
        let known = state.origins.entry(origin.to_owned());
        let known = known.or_insert_with(|| Origin { full: now, waiting: VecDeque::new() });
        known.in_turn(namespace, now, |own| {
            let others = self.others.as_ref().and_then(|others| others.take(namespace, origin));
            others.map_or_else(|| own.take(now), |taken| taken.map_err(|wait| now + wait))
        })
    }

    fn hold(&self, namespace: &str, origin: &str, wait: Duration) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tidy(now);
        state.held.insert((namespace.to_owned(), origin.to_owned()), now + wait);
    }
}

impl Origin {
    /// One of this origin's own.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let (full, leeway) = (self.full.max(now), INTERVAL * (BURST - 1));
        if full > now + leeway {
            return Err(full - leeway);
        }
        self.full = full + INTERVAL;
        Ok(())
    }

    /// Lets a namespace take one if nobody waits before it.
    fn in_turn(
        &mut self,
        namespace: &str,
        now: Instant,
        take: impl FnOnce(&mut Self) -> Result<(), Instant>,
    ) -> Result<(), Instant> {
        while self.waiting.front().is_some_and(|(_, comes)| *comes + PATIENCE < now) {
            self.waiting.pop_front();
        }
        let place = self.waiting.iter().position(|(waiting, _)| waiting == namespace);
        let before = place.unwrap_or(self.waiting.len());
        let taken = match self.waiting.front() {
            Some((_, comes)) if before > 0 => {
                let turns = INTERVAL.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX));
                Err(now.max(*comes) + turns)
            }
            _ => take(self),
        };
        match (taken, place) {
            (Ok(()), Some(place)) => drop(self.waiting.remove(place)),
            (Ok(()), None) => {}
            (Err(again), Some(place)) => self.waiting[place].1 = again,
            (Err(again), None) => self.waiting.push_back((namespace.to_owned(), again)),
        }
        taken
    }
}

impl State {
    fn tidy(&mut self, now: Instant) {
        if self.origins.len() >= MOST {
            self.origins.retain(|_, origin| {
                origin.full > now || origin.waiting.iter().any(|(_, comes)| *comes + PATIENCE >= now)
            });
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

    /// How many questions each of these namespaces sends in a minute, when each of them asks as often as it
    /// may.
    async fn a_minute(budget: &Questions, namespaces: &[&str]) -> Vec<usize> {
        let mut sent = vec![0; namespaces.len()];
        let mut comes = vec![Instant::now(); namespaces.len()];
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            for (index, namespace) in namespaces.iter().enumerate() {
                while comes[index] <= Instant::now() {
                    match budget.take(namespace, ORIGIN) {
                        Ok(()) => sent[index] += 1,
                        Err(again) => comes[index] = again,
                    }
                }
            }
            tokio::time::sleep_until(*comes.iter().min().unwrap()).await;
        }
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn ten_a_second_go_to_one_origin_whoever_asks() {
        let budget = Questions::default();
        let sent: usize = a_minute(&budget, &["a", "b"]).await.iter().sum();
        assert!((590..=610).contains(&sent), "{sent}");
        assert_eq!(budget.take("a", "https://other.example"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn namespaces_that_ask_the_same_platform_have_turns() {
        let sent = a_minute(&Questions::default(), &["a", "b", "c"]).await;
        assert!(sent.iter().all(|sent| (190..=210).contains(sent)), "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_come_back_holds_nobody_up_for_long() {
        let budget = Questions::default();
        while budget.take("a", ORIGIN).is_ok() {}
        let sent = a_minute(&budget, &["b"]).await;
        assert!(sent[0] >= 590, "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_to_wait_waits_and_others_do_not() {
        let budget = Questions::default();
        budget.hold("a", ORIGIN, Duration::from_secs(7));
        assert_eq!(budget.take("a", ORIGIN), Err(Instant::now() + Duration::from_secs(7)));
        assert_eq!(budget.take("b", ORIGIN), Ok(()));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(budget.take("a", ORIGIN), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn where_others_send_to_the_origin_their_budget_counts() {
        /// One every three seconds for the namespaces a and b.
        struct Engine(Mutex<Instant>);
        impl Others for Engine {
            fn take(&self, namespace: &str, origin: &str) -> Option<Result<(), Duration>> {
                if origin != ORIGIN || namespace == "c" {
                    return None;
                }
                let (now, mut next) = (Instant::now(), self.0.lock().unwrap());
                let wait = next.saturating_duration_since(now);
                Some(if wait.is_zero() {
                    *next = now + Duration::from_secs(3);
                    Ok(())
                } else {
                    Err(wait)
                })
            }
        }
        let budget = Questions::beside(Arc::new(Engine(Mutex::new(Instant::now()))));
        let sent = a_minute(&budget, &["a", "b"]).await;
        assert!(sent.iter().all(|sent| (9..=11).contains(sent)), "{sent:?}");
        let sent = a_minute(&budget, &["c"]).await;
        assert!(sent[0] >= 590, "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_bounded() {
        let budget = Questions::default();
        for number in 0..10_000 {
            budget.take("a", &number.to_string()).unwrap();
            budget.hold("a", &number.to_string(), Duration::ZERO);
            tokio::time::advance(INTERVAL).await;
        }
        let state = budget.state.lock().unwrap();
        assert!(state.origins.len() <= MOST && state.held.len() <= MOST);
    }
}
