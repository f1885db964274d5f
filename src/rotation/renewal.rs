//! When a token is replaced that platforms are asked with and no subscription may carry.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::facts::SourceState;
use super::schedule::{self, Terms};
use super::time::Moment;

/// When the source is to be asked for a token that is needed for asking platforms alone. `None` where that
/// brings nothing, or is not known yet.
///
/// Where subscriptions carry the source's tokens their rotation brings a new one in time, and each mint
/// moves all of them. So this one waits until a last attempt, and after a restart for what is published.
#[must_use]
pub fn due(source: &SourceState, now: Moment) -> Option<DateTime<Utc>> {
    if source.polled || source.unread {
        return None;
    }
    let has_members = source.members > 0;
    let due = match &source.held {
        Some(held) if held.is_alive(now) => {
            let plan = schedule::plan(held.minted.wall, held.expires?, &terms(source));
            if has_members { plan.last_attempt() } else { plan.due }
        }
        Some(_) => now.wall,
        None if has_members => return None,
        None => now.wall,
    };
    let not_before = source.wait.and_then(|wait| wait.pending(now.wall));
    Some(not_before.map_or(due, |not_before| due.max(not_before)))
}

fn terms(source: &SourceState) -> Terms {
    Terms {
        renew_before: None,
        overlap: Duration::ZERO,
        members: 0,
        requests_per_minute: u32::MAX,
        mint_timeout: source.timeout,
        apply_timeout: Duration::ZERO,
        revokes_previous: source.revokes_previous,
        jitter_seed: source.jitter_seed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::life::HeldToken;
    use crate::rotation::wait::Wait;

    const HOUR: u64 = 3_600;

    fn at(seconds: u64) -> Moment {
        let wall = DateTime::from_timestamp(1_800_000_000, 0).unwrap() + Duration::from_secs(seconds);
        Moment { wall, boot: Duration::from_secs(seconds) }
    }

    /// A token of three hours that was minted at 0.
    fn source(members: u32) -> SourceState {
        let held = HeldToken {
            fingerprint: "f".to_owned(),
            minted: at(0),
            expires: Some(at(3 * HOUR).wall),
            confirmed: at(0).wall,
        };
        let timeout = Duration::from_secs(10);
        SourceState { held: Some(held), members, timeout, ..SourceState::default() }
    }

    #[test]
    fn a_token_that_nobody_carries_is_replaced_when_a_third_of_its_life_is_left() {
        assert_eq!(due(&source(0), at(1)), Some(at(2 * HOUR).wall));
    }

    #[test]
    fn where_subscriptions_carry_it_their_rotation_comes_first() {
        assert_eq!(due(&source(2), at(1)), Some(at(3 * HOUR - 20).wall));
    }

    #[test]
    fn without_a_token_one_is_minted_at_once_unless_that_moved_subscriptions() {
        let none = |members| SourceState { held: None, ..source(members) };
        assert_eq!(due(&none(0), at(7)), Some(at(7).wall));
        assert_eq!(due(&none(1), at(7)), None);
        // One that has ended moves nobody who had time left.
        assert_eq!(due(&source(0), at(4 * HOUR)), Some(at(4 * HOUR).wall));
        assert_eq!(due(&source(1), at(4 * HOUR)), Some(at(4 * HOUR).wall));
    }

    #[test]
    fn nobody_is_asked_sooner_than_may_be() {
        let wait = Some(Wait::starting(at(7).wall, Duration::from_secs(60)));
        assert_eq!(due(&SourceState { held: None, wait, ..source(0) }, at(8)), Some(at(67).wall));
        assert_eq!(due(&SourceState { wait, ..source(0) }, at(8)), Some(at(2 * HOUR).wall));
    }

    #[test]
    fn what_is_read_comes_by_itself_and_what_never_ends_stays() {
        assert_eq!(due(&SourceState { held: None, polled: true, ..source(0) }, at(1)), None);
        assert_eq!(due(&SourceState { held: None, unread: true, ..source(0) }, at(1)), None);
        let mut endless = source(0);
        endless.held.as_mut().unwrap().expires = None;
        assert_eq!(due(&endless, at(1)), None);
    }
}
