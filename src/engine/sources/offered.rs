//! What gates answer, and what follows when they change.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::api::ObjectKey;
use crate::engine::dispatch::agenda::reconcile_users_of_source;
use crate::engine::effect::Effect;
use crate::engine::ids::SourceId;
use crate::engine::ports::GateFailure;
use crate::engine::queue::timers::Alarm;
use crate::engine::served::served_source;
use crate::engine::sources::keep_alive::keep_alive;
use crate::engine::sources::offer::{gates_know, offer_held, start_offer};
use crate::engine::sources::status::record_source;
use crate::engine::state::State;
use crate::engine::state::source::SourceKey;
use crate::engine::turn::Turn;
use crate::rotation::backoff;
use crate::rotation::time::Moment;

/// The longest pause between two offers of a token.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(crate) fn offered(turn: &mut Turn<'_>, id: SourceId, fingerprint: &str, result: Result<(), GateFailure>) {
    if let Err(failure) = result {
        return not_offered(turn, id, &failure.to_string());
    }
    turn.state.offers = turn.state.offers.saturating_sub(1);
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    source.offering.busy = false;
    source.offering.failures = 0;
    source.offering.close(fingerprint);
    gates_know(turn, id);
    start_offer(turn, id);
}

/// A token has not been taken in: it is offered again, for as long as somebody lacks it.
pub(crate) fn not_offered(turn: &mut Turn<'_>, id: SourceId, what: &str) {
    let now = turn.now;
    turn.state.offers = turn.state.offers.saturating_sub(1);
    let random = turn.around.random.bits();
    let Some(source) = turn.state.sources.get_mut(id) else {
        return;
    };
    let offering = &mut source.offering;
    offering.busy = false;
    if offering.open.is_empty() {
        return;
    }
    let wait = backoff::delay(offering.failures, LONGEST_PAUSE, random);
    offering.failures = offering.failures.saturating_add(1);
    if backoff::is_recorded(offering.failures) {
        tracing::warn!(source = %source.key, "a token could not be handed to the gate; it is tried again: {what}");
    }
    turn.state.timers.file(&mut offering.timer, now.boot + wait, Alarm::Gates(id));
}

pub(crate) fn gates_alarm(turn: &mut Turn<'_>, id: SourceId) {
    let mut unrecorded = false;
    if let Some(source) = turn.state.source_mut(id) {
        source.offering.timer = None;
        unrecorded = source.unrecorded;
    }
    if unrecorded {
        record_source(turn, id);
    }
    start_offer(turn, id);
    gates_know(turn, id);
}

/// Who proves deliveries is not who it was: they are offered what they lack. Where nobody has that
/// any more, the rules ask for another token.
pub(crate) fn gates_changed(turn: &mut Turn<'_>, source: &ObjectKey) {
    let Some(id) = turn.state.source_by_key.get(&SourceKey::Object(source.clone())).copied() else {
        return;
    };
    turn.state.carried_changed.insert(id);
    if !turn.state.synced {
        return;
    }
    offer_held(turn, id);
    start_offer(turn, id);
    gates_know(turn, id);
    keep_alive(turn, id);
    reconcile_users_of_source(turn, id);
}

/// Says which tokens are still carried, where that has changed.
pub(crate) fn tell_gates(turn: &mut Turn<'_>) {
    let now = turn.now;
    for id in std::mem::take(&mut turn.state.carried_changed) {
        if let Some(key) = served_source(turn, id) {
            let carried = carried_tokens(turn.state, id, now);
            turn.begin(Effect::Carried { source: key, fingerprints: carried.clone() });
            let reads_status = turn.around.gates.read_published();
            if let Some(source) = turn.state.source_mut(id).filter(|_| reads_status) {
                source.carried_for_gates = Some(carried);
                record_source(turn, id);
            }
        }
    }
}

/// What the members carry; and what those carry that are left alone for now, for as long as it lives:
/// their deliveries come in all the same.
fn carried_tokens(state: &State, id: SourceId, now: Moment) -> BTreeSet<Arc<str>> {
    let Some(source) = state.source(id) else {
        return BTreeSet::new();
    };
    let mut carried: BTreeSet<Arc<str>> = source.carried.keys().cloned().collect();
    for entry in source.users.iter().filter_map(|user| state.entry(*user)) {
        if entry.carried.is_some() || entry.carries_a_strangers_token() {
            continue;
        }
        let status = entry.object().map(|object| object.status).unwrap_or_default();
        let lives = status.token_expiration_time.is_none_or(|end| end > now.wall);
        carried.extend(status.token_fingerprint.filter(|_| lives).map(Arc::from));
    }
    carried
}
