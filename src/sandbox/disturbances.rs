//! What goes wrong between a platform and a receiver, on request.

use serde::{Deserialize, Serialize};

use super::random::Draws;

/// What goes wrong with deliveries. Each share is from 0 to 1; which deliveries it means depends on
/// `seed` alone, so that a run can be repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disturbances {
    /// Draws the deliveries that the shares speak of.
    pub seed: u64,
    /// Share of deliveries that are sent again although they were acknowledged.
    pub duplicates: f64,
    /// Share of events that are held back until later ones have been sent.
    pub reorder: f64,
    /// Share of events that are never sent.
    pub lose: f64,
    /// Share of attempts whose connection is closed in the middle of the body.
    pub cut: f64,
    /// Share of attempts whose connection is closed as soon as everything is sent, before the answer.
    pub hang_up: f64,
    /// Share of attempts whose body comes in parts.
    pub slow: f64,
    /// How long a slow body takes, in milliseconds.
    pub slow_ms: u64,
}

impl Default for Disturbances {
    fn default() -> Self {
        Self {
            seed: 0,
            duplicates: 0.0,
            reorder: 0.0,
            lose: 0.0,
            cut: 0.0,
            hang_up: 0.0,
            slow: 0.0,
            slow_ms: 2_000,
        }
    }
}

impl Disturbances {
    /// Why these make no sense, if they do not.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let shares = [self.duplicates, self.reorder, self.lose, self.cut, self.hang_up, self.slow];
        if shares.into_iter().any(|share| !(0.0..=1.0).contains(&share)) {
            return Some("shares must be from 0 to 1");
        }
        (self.slow_ms > 600_000).then_some("slow_ms must be at most 600000")
    }
}

/// How an attempt is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Breakage {
    /// As it should be.
    #[default]
    None,
    /// The connection is closed in the middle of the body.
    Cut,
    /// The connection is closed before the answer.
    HangUp,
    /// The body comes in parts, over so many milliseconds.
    Slow(u64),
}

/// Disturbances at work.
pub(super) struct Unrest {
    what: Disturbances,
    draws: Draws,
}

impl Unrest {
    pub(super) fn new(what: Disturbances) -> Self {
        Self { draws: Draws::seeded(what.seed), what }
    }

    fn strikes(&mut self, share: f64) -> bool {
        // Without a draw, so that one disturbance alone is drawn in the same way whatever the others are.
        share > 0.0 && self.draws.next_share() < share
    }

    pub(super) fn loses(&mut self) -> bool {
        self.strikes(self.what.lose)
    }

    pub(super) fn repeats(&mut self) -> bool {
        self.strikes(self.what.duplicates)
    }

    /// For how many intervals a new event is held back.
    pub(super) fn holds_back(&mut self) -> Option<f64> {
        self.strikes(self.what.reorder).then(|| 1.0 + 3.0 * self.draws.next_share())
    }

    pub(super) fn breaks(&mut self) -> Breakage {
        if self.strikes(self.what.cut) {
            Breakage::Cut
        } else if self.strikes(self.what.hang_up) {
            Breakage::HangUp
        } else if self.strikes(self.what.slow) {
            Breakage::Slow(self.what.slow_ms)
        } else {
            Breakage::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_shares() {
        assert_eq!(Disturbances::default().problem(), None);
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(Disturbances { cut: share, ..Disturbances::default() }.problem().is_some());
        }
        assert!(Disturbances { slow_ms: 600_001, ..Disturbances::default() }.problem().is_some());
    }

    #[test]
    fn nothing_happens_unasked_and_everything_when_asked() {
        let mut calm = Unrest::new(Disturbances::default());
        assert!(!calm.loses() && !calm.repeats() && calm.holds_back().is_none());
        assert_eq!(calm.breaks(), Breakage::None);
        let all = Disturbances { duplicates: 1.0, reorder: 1.0, lose: 1.0, cut: 1.0, ..Default::default() };
        let mut wild = Unrest::new(all);
        assert!(
            wild.loses() && wild.repeats() && wild.holds_back().is_some_and(|n| (1.0..=4.0).contains(&n))
        );
        assert_eq!(wild.breaks(), Breakage::Cut);
    }
}
