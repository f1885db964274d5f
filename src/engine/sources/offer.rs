//! Handing tokens to those that prove deliveries with them, before the provider has them.
//!
//! A delivery that carries a token which its gate does not know is refused, so a token is offered to
//! the gates first and applied when they have taken it in. That is waited for within reason only: a
//! gate that does not answer makes no rotation late, it is told of and the token is offered again until
//! it has been taken in.

use crate::api::{Kind, Reason};
use crate::engine::dispatch::agenda::reconcile_users_of_source;
use crate::engine::effect::{Call, Count};
use crate::engine::ids::{SourceId, SubscriptionId};
use crate::engine::ports::Offered;
use crate::engine::served::{all_readers_know, served_source};
use crate::engine::state::source::SourceKey;
use crate::engine::state::subscription::Object;
use crate::engine::state::terms::publishing_pause;
use crate::engine::turn::Turn;
use crate::rotation::life::HeldToken;

/// How many tokens of a source are offered at the most that have not been taken in: those before them
/// have been replaced so often that nobody carries them.
const MOST_OPEN: usize = 8;

/// The held token is offered, unless it has been taken in. Until that is so nobody applies it,
/// within reason: see `decide`.
pub(crate) fn offer_held(turn: &mut Turn<'_>, id: SourceId) {
    let now = turn.now;
    let Some(key) = served_source(turn, id) else {
        return;
    };
    let (pause, read_published) = (publishing_pause(turn.state, id), turn.around.gates.read_published());
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let (Some(held), Some(token)) = (&source.state.held, &source.token) else {
        return;
    };
    if source.offering.holds(&held.fingerprint) {
        return start_offer(turn, id);
    }
    if !turn.around.gates.wants(&key, &held.fingerprint) {
        return;
    }
    let offered = Offered {
        token: token.clone(),
        fingerprint: held.fingerprint.clone(),
        minted: held.minted.wall,
        expires: held.expires,
    };
    if read_published {
        // What stood published before is there no more.
        source.offering.open.clear();
    }
    source.offering.open.push(offered);
    if source.offering.open.len() > MOST_OPEN {
        source.offering.open.remove(0);
    }
    source.begin_to_wait_for_gates(now, pause);
    start_offer(turn, id);
}

/// Hands over the newest token that has not been taken in, one at a time.
pub(crate) fn start_offer(turn: &mut Turn<'_>, id: SourceId) {
    if turn.state.stopping || turn.state.term.is_none() {
        return;
    }
    drop_known(turn, id);
    let Some(source) = turn.state.source_mut(id).filter(|source| !source.offering.busy) else {
        return;
    };
    let (SourceKey::Object(key), Some(offered)) = (source.key.clone(), source.offering.open.last().cloned())
    else {
        return;
    };
    source.offering.busy = true;
    turn.state.offers += 1;
    // It takes no place from those that write: a gate that does not answer must hold nothing else up.
    turn.call(Call::Offer { id, key, offered });
}

/// What nobody lacks any more is not offered.
fn drop_known(turn: &mut Turn<'_>, id: SourceId) {
    let gates = &turn.around.gates;
    if let Some(source) = turn.state.sources.get_mut(id)
        && let SourceKey::Object(key) = &source.key
    {
        source.offering.open.retain(|offered| gates.wants(key, &offered.fingerprint));
    }
}

/// Nobody waits any more once the held token has been taken in, or there is nobody to take it.
pub(crate) fn gates_know(turn: &mut Turn<'_>, id: SourceId) {
    drop_known(turn, id);
    let readers_know = all_readers_know(turn, id);
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let open = source.held_fingerprint().is_some_and(|held| source.offering.holds(held));
    let mut is_over = !open && source.state.for_gates.take().is_some();
    is_over |= readers_know && source.state.apply_after.take().is_some();
    if is_over {
        reconcile_users_of_source(turn, id);
    }
}

/// Where the token is applied now although it has not been taken in, people hear of it, once for
/// each token.
pub(crate) fn note_gate_behind(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object, held: &HeldToken) {
    let Some(source_id) = turn.state.entry(id).and_then(|entry| entry.source) else {
        return;
    };
    let Some(source) = turn.state.source_mut(source_id) else {
        return;
    };
    let is_new = object.status.token_fingerprint.as_ref() != Some(&held.fingerprint);
    let emitted = source.offering.behind.as_ref() == Some(&held.fingerprint);
    if !is_new || emitted || !source.offering.holds(&held.fingerprint) {
        return;
    }
    source.offering.behind = Some(held.fingerprint.clone());
    let SourceKey::Object(key) = source.key.clone() else {
        return;
    };
    turn.count(Count::GateBehind);
    let names = turn.around.gates.behind(&key, &held.fingerprint);
    let who = who_is_behind(&names);
    tracing::warn!(source = %key, fingerprint = %held.fingerprint, "a token is applied although {who} not taken it in");
    let note = format!(
        "a new token is brought to the provider although {who} not taken it in; deliveries with it are refused there \
         until then; look for why in the gate's log, such as a full disk or a Secret that it may not read"
    );
    turn.emit(Kind::TokenSource, &key, true, Reason::GateBehind, note);
}

/// Who has not taken a token in; of many some are named.
fn who_is_behind(names: &[String]) -> String {
    match names {
        [] => "the gate has".to_owned(),
        [one] => format!("the gate {one} has"),
        [first, second] => format!("the gates {first} and {second} have"),
        [first, second, more @ ..] => format!("the gates {first}, {second} and {} more have", more.len()),
    }
}
