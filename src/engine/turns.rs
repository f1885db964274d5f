//! Whose turn it is for a call or a page, as far as workers and the origins' budgets go.

use std::ops::Bound;
use std::time::Duration;

use crate::engine::ids::SubscriptionId;
use crate::engine::listings::page::page_in_turn;
use crate::engine::providers::filing::{file_provider, wake_blocked};
use crate::engine::queue::call_place::Given;
use crate::engine::queue::line::Work;
use crate::engine::queue::origin::Origin;
use crate::engine::reconcile::in_turn::reconcile_in_turn;
use crate::engine::state::State;
use crate::engine::turn::Turn;
use crate::rotation::time::Moment;

/// How many turns are given before changes and answers are looked after again.
const BATCH: usize = 256;

/// Hands calls to free workers, as far as the origins' budgets go. Origins take turns, from one
/// time to the next.
pub(crate) fn start_calls(turn: &mut Turn<'_>) {
    turn.state.more_turns = false;
    if turn.state.term.is_none() {
        return;
    }
    let has_work = |(name, origin): (&String, &Origin)| origin.has_work().then(|| name.clone());
    let last = (Bound::Excluded(turn.state.last_origin.clone()), Bound::Unbounded);
    let mut origins: Vec<String> = turn.state.origins.range(last).filter_map(has_work).collect();
    origins.extend(turn.state.origins.range(..=turn.state.last_origin.clone()).filter_map(has_work));
    let mut left = BATCH;
    let mut progress = true;
    while progress && turn.state.places.workers.any_free() {
        progress = false;
        for origin in &origins {
            if left == 0 {
                turn.state.more_turns = true;
                return;
            }
            if !turn.state.places.workers.any_free() {
                return;
            }
            if start_call(turn, origin) {
                progress = true;
                left -= 1;
                turn.state.last_origin.clone_from(origin);
            }
        }
    }
}

/// Takes one piece of work of an origin. Returns whether there may be more.
fn start_call(turn: &mut Turn<'_>, name: &str) -> bool {
    let now = turn.now;
    let alone = turn.state.is_alone();
    let State { origins, places, .. } = &mut *turn.state;
    let Some(next) = origins.get_mut(name).and_then(|origin| origin.next(&places.workers, alone, now)) else {
        return false;
    };
    let given = Given { origin: name, turn: &next };
    match next.taken.work {
        Work::Call(id) => call_in_turn(turn, id, &given),
        Work::Page(id) => page_in_turn(turn, id, &given),
    }
    true
}

/// A subscription's turn.
fn call_in_turn(turn: &mut Turn<'_>, id: SubscriptionId, given: &Given<'_>) {
    let now = turn.now;
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    debug_assert_eq!(entry.namespace, given.turn.namespace, "a turn is of the namespace that has it");
    let place = entry.place.take();
    let provider_id = entry.provider;
    let Some(provider) = turn.state.provider_mut(provider_id) else {
        return;
    };
    if provider.calls >= provider.limit(now.wall) || !provider.bucket.has(now.boot) {
        provider.blocked.insert(id, place.map_or(i64::MAX, |place| place.deadline()));
        return file_provider(turn, provider_id);
    }
    if !reconcile_in_turn(turn, id, given) {
        wake_blocked(turn, provider_id);
    }
}

/// When the next call could be begun, if budget is all that lacks.
pub(crate) fn next_budget(state: &mut State, now: Moment) -> Option<Duration> {
    if !state.places.workers.any_free() || state.stopping {
        return None;
    }
    if state.more_turns {
        return Some(now.boot);
    }
    let alone = state.is_alone();
    let State { origins, places, .. } = state;
    origins.values_mut().filter_map(|origin| origin.next_at(&places.workers, alone, now)).min()
}
