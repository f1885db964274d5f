//! The claim to act, as the engine asks for it, and what ends it early.
//!
//! It carries its own end, counted on both clocks from before the request that renewed it was sent: a
//! process that was paused finds its claim ended by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::ports::{Claim, Clock, Leadership};
use crate::rotation::time::Moment;

/// How long a term lasts at least although a status was somebody else's, doubled each time: whoever may
/// write a status must not be able to keep everybody else's tokens from being rotated.
const FIRST_TERM: Duration = Duration::from_secs(5);
const LONGEST_TERM: Duration = Duration::from_secs(600);

/// Where the claim stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClaimState {
    /// The lease is ours: the term and the end of the claim.
    pub(super) held: Option<Claim>,
    /// The term in which everything recorded by others has been taken in; only then we act.
    pub(super) ready: Option<u64>,
}

/// The claim, as the engine asks for it.
#[derive(Clone)]
pub struct Election {
    state: Arc<Mutex<ClaimState>>,
    pub(super) clock: Arc<dyn Clock>,
    /// Somebody else has written in our term, or so it seems: the term ends.
    pub(super) step_down: Arc<Notify>,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Election")
    }
}

impl Election {
    /// Nothing is claimed yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::default(), clock, step_down: Arc::default() }
    }

    /// Ends the term: nothing is done until everything has been read again.
    pub fn step_down(&self) {
        self.step_down.notify_one();
    }

    /// The term in which this process may act.
    pub(super) fn term(&self) -> Option<u64> {
        self.claim().map(|claim| claim.term)
    }

    /// Whether the lease is ours, although perhaps not everything has been read yet.
    pub(super) fn holds(&self) -> bool {
        let held = self.state.lock().unwrap_or_else(PoisonError::into_inner).held;
        held.is_some_and(|claim| is_in_force(&claim, self.clock.now()))
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut ClaimState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

pub(super) fn is_in_force(claim: &Claim, now: Moment) -> bool {
    now.wall < claim.until.wall && now.boot < claim.until.boot
}

impl Leadership for Election {
    fn claim(&self) -> Option<Claim> {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = state.held.filter(|claim| state.ready == Some(claim.term))?;
        is_in_force(&claim, self.clock.now()).then_some(claim)
    }
}

/// When a status that was somebody else's ends the term.
pub(super) struct Surprises {
    term_began: Instant,
    /// How long this term lasts at least.
    at_least: Duration,
    pub(super) next_term: Option<Instant>,
}

impl Surprises {
    pub(super) fn new(now: Instant) -> Self {
        Self { term_began: now, at_least: Duration::ZERO, next_term: None }
    }

    pub(super) fn came(&mut self, now: Instant) {
        self.next_term = Some(now.max(self.term_began + self.at_least));
    }

    pub(super) fn term_begins(&mut self, now: Instant) {
        let was_long = now.duration_since(self.term_began) >= LONGEST_TERM.max(self.at_least * 2);
        let doubled = (self.at_least * 2).clamp(FIRST_TERM, LONGEST_TERM);
        let at_least = if was_long { FIRST_TERM } else { doubled };
        *self = Self { term_began: now, at_least, next_term: None };
    }
}

/// Waits until then, forever if there is no such moment.
pub(super) async fn until_then(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_keeps_writing_statuses_ends_terms_ever_more_rarely() {
        let begun = Instant::now();
        let mut surprises = Surprises::new(begun);
        let mut ends = Vec::new();
        let mut now = begun;
        for _ in 0..10 {
            surprises.came(now);
            now = surprises.next_term.unwrap();
            ends.push(now.duration_since(begun).as_secs());
            surprises.term_begins(now);
        }
        assert_eq!(ends, [0, 5, 15, 35, 75, 155, 315, 635, 1235, 1835]);
        now += Duration::from_secs(3600);
        surprises.came(now);
        assert_eq!(surprises.next_term, Some(now), "after a long time of quiet at once");
        surprises.term_begins(now);
        assert_eq!(surprises.at_least, FIRST_TERM);
    }
}
