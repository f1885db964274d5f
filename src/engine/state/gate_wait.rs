//! How long a token waits for those who prove deliveries with it.

use std::time::Duration;

use crate::engine::state::source::Source;
use crate::rotation::time::{Moment, between};
use crate::rotation::wait::Wait;

impl Source {
    /// A token was offered: it is waited for those who lack it. Where it is published and on its way to
    /// subscriptions, the time counts from its mint, so that a new leader waits no longer than the one
    /// before would have.
    pub(crate) fn begin_to_wait_for_gates(&mut self, now: Moment, pause: Duration) {
        let mut wait = pause;
        if let Some(held) = self.state.held.as_ref().filter(|_| self.is_held_published()) {
            let is_on_its_way = self.carried.keys().any(|carried| **carried != *held.fingerprint);
            if is_on_its_way {
                let age = between(held.minted.wall, now.wall);
                wait = self.longest_wait_for_gates(pause).saturating_sub(age);
            }
        }
        self.state.for_gates = (!wait.is_zero()).then(|| Wait::starting(now.wall, wait));
    }

    /// How long after its publication a token is kept back at the longest.
    pub(crate) fn longest_wait_for_gates(&self, pause: Duration) -> Duration {
        if self.state.revokes_previous { pause } else { pause * 2 }
    }

    /// A token that was published is left for its readers first; then it is waited for those that prove
    /// deliveries with it, but not where the token before has been revoked with the mint.
    pub(crate) fn wait_for_gates(&mut self, now: Moment, pause: Duration) {
        if self.state.for_gates.is_some() {
            let longest = self.longest_wait_for_gates(pause);
            self.state.for_gates = Some(Wait::starting(now.wall, longest));
        }
    }

    pub(crate) fn held_fingerprint(&self) -> Option<&str> {
        self.state.held.as_ref().map(|held| held.fingerprint.as_str())
    }

    /// Whether nobody outside is being asked or told anything for it, but for mints.
    pub(crate) fn is_unheard(&self) -> bool {
        !self.published.busy && !self.offering.busy
    }
}
