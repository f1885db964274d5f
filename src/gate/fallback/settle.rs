//! What becomes of an expectation.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::gate::observer::Asked;
use crate::gate::receiver::Fallback;
use crate::store::{Digest, Expectation};

/// What came of asking for one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A delivery came meanwhile, and what was asked for is old.
    Overtaken,
    /// No answer that says anything.
    NoAnswer {
        /// In our words.
        why: String,
        /// How long the platform asks to wait.
        wait: Option<Duration>,
    },
    /// Nothing new, or nothing that is handed on.
    Nothing {
        /// Whether the status is one that ends the waiting.
        is_final: bool,
    },
    /// The application has taken what is new.
    HandedOn {
        /// The status.
        status: Digest,
        /// Whether it is one that ends the waiting.
        is_final: bool,
    },
    /// The application has not taken what is new.
    NotTaken {
        /// In our words.
        why: String,
        /// How long the application asks to wait.
        wait: Option<Duration>,
    },
}

impl Outcome {
    /// What whoever counts is told of it.
    pub(super) fn told(&self) -> Asked<'_> {
        match self {
            Self::Overtaken | Self::Nothing { .. } => Asked::Nothing,
            Self::HandedOn { .. } => Asked::HandedOn,
            Self::NotTaken { why, .. } => Asked::NotTaken(why),
            Self::NoAnswer { why, .. } => Asked::NoAnswer(why),
        }
    }
}

/// What is to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It is met.
    Met,
    /// It goes on, or is parked.
    Changed(Expectation),
    /// It stays as it is.
    Unchanged,
}

/// What becomes of it after the platform was asked.
pub(super) fn after_asking(
    mut expectation: Expectation,
    outcome: &Outcome,
    fallback: &Fallback,
    now: DateTime<Utc>,
) -> Settled {
    let mut wait = fallback.every;
    match outcome {
        Outcome::Overtaken => return Settled::Unchanged,
        Outcome::Nothing { is_final: true } | Outcome::HandedOn { is_final: true, .. } => {
            return Settled::Met;
        }
        Outcome::Nothing { is_final: false } => {}
        Outcome::HandedOn { status, is_final: false } => expectation.handed_on = Some(*status),
        Outcome::NoAnswer { wait: asked, .. } | Outcome::NotTaken { wait: asked, .. } => {
            wait = wait.max(asked.unwrap_or_default());
        }
    }
    expectation.parked = later(expectation.since, fallback.give_up_after) <= now;
    expectation.due = if expectation.parked { now } else { later(now, wait) };
    Settled::Changed(expectation)
}

/// What deliveries say of an id that came after one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Came {
    /// The status of the last one of those that are handed on.
    pub(super) status: Option<Digest>,
    /// Whether one of them has a status that ends the waiting.
    pub(super) is_final: bool,
}

impl Came {
    /// What they say together with one that came after them.
    pub(super) fn and(self, later: Self) -> Self {
        Self { status: later.status.or(self.status), is_final: self.is_final || later.is_final }
    }
}

/// What becomes of it after deliveries came.
pub(super) fn after_delivery(
    mut expectation: Expectation,
    came: Came,
    fallback: &Fallback,
    now: DateTime<Utc>,
) -> Settled {
    if came.is_final {
        return Settled::Met;
    }
    expectation.handed_on = came.status.or(expectation.handed_on);
    expectation.due = if expectation.parked { now } else { later(now, fallback.after) };
    Settled::Changed(expectation)
}

pub(super) fn later(now: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(wait)
        .ok()
        .and_then(|wait| now.checked_add_signed(wait))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::fallback::tests::fallback;
    use crate::store::Owner;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn expectation() -> Expectation {
        Expectation {
            owner: Owner { namespace: "hr".into(), name: "unico".into(), uid: "1".into() },
            id: "7".to_owned(),
            since: at(0),
            due: at(10),
            handed_on: Some([1; 32]),
            parked: false,
        }
    }

    fn asked(outcome: &Outcome, now: i64) -> Settled {
        after_asking(expectation(), outcome, &fallback(), at(now))
    }

    fn changed(handed_on: u8, due: i64, parked: bool) -> Settled {
        Settled::Changed(Expectation {
            handed_on: Some([handed_on; 32]),
            due: at(due),
            parked,
            ..expectation()
        })
    }

    #[test]
    fn a_final_status_ends_it_and_any_other_is_asked_for_again() {
        assert_eq!(asked(&Outcome::HandedOn { status: [2; 32], is_final: true }, 10), Settled::Met);
        assert_eq!(asked(&Outcome::Nothing { is_final: true }, 10), Settled::Met);
        assert_eq!(asked(&Outcome::HandedOn { status: [2; 32], is_final: false }, 10), changed(2, 40, false));
        assert_eq!(asked(&Outcome::Nothing { is_final: false }, 10), changed(1, 40, false));
        assert_eq!(asked(&Outcome::Overtaken, 10), Settled::Unchanged);
    }

    #[test]
    fn what_fails_is_tried_again_and_no_sooner_than_was_asked_for() {
        for (wait, due) in [(None, 40), (Some(5), 40), (Some(100), 110)] {
            let wait = wait.map(Duration::from_secs);
            assert_eq!(asked(&Outcome::NoAnswer { why: String::new(), wait }, 10), changed(1, due, false));
            assert_eq!(asked(&Outcome::NotTaken { why: String::new(), wait }, 10), changed(1, due, false));
        }
    }

    #[test]
    fn it_is_parked_when_its_time_is_over_but_not_before_it_was_asked_for() {
        let nothing = Outcome::Nothing { is_final: false };
        assert_eq!(asked(&nothing, 86_399), changed(1, 86_429, false));
        assert_eq!(asked(&nothing, 86_400), changed(1, 86_400, true));
        assert_eq!(asked(&Outcome::Nothing { is_final: true }, 90_000), Settled::Met);
    }

    #[test]
    fn a_delivery_ends_it_or_gives_it_more_time() {
        let after = |came| after_delivery(expectation(), came, &fallback(), at(7));
        let three = Came { status: Some([3; 32]), is_final: false };
        let last = Came { status: Some([4; 32]), is_final: true };
        assert_eq!(after(last), Settled::Met);
        assert_eq!(after(three), changed(3, 17, false));
        // Not handed on: the application has what it had.
        assert_eq!(after(Came::default()), changed(1, 17, false));
        let parked = Expectation { parked: true, ..expectation() };
        assert_eq!(after_delivery(parked, three, &fallback(), at(7)), changed(3, 7, true));
    }

    #[test]
    fn an_end_is_one_whatever_comes_after_it() {
        let three = Came { status: Some([3; 32]), is_final: true };
        let two = Came { status: Some([2; 32]), is_final: false };
        assert_eq!(three.and(two), Came { status: Some([2; 32]), is_final: true });
        assert_eq!(two.and(three).and(Came::default()), three);
    }
}
