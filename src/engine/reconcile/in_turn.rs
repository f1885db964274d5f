//! A subscription whose turn for a call has come.

use std::sync::Arc;

use crate::api::DeletionPolicy;
use crate::engine::dispatch::agenda::reconcile_soon;
use crate::engine::dispatch::pauses::{is_held_back, patience_of};
use crate::engine::dispatch::places::begin_call;
use crate::engine::effect::Call;
use crate::engine::ids::SubscriptionId;
use crate::engine::ports::Document;
use crate::engine::providers::keeping::waits_for_keeping;
use crate::engine::queue::call_place::Given;
use crate::engine::reconcile::finalizer::write_finalizer;
use crate::engine::sent::{Applying, Creating, Sent, Then};
use crate::engine::sources::offer::note_gate_behind;
use crate::engine::state::State;
use crate::engine::state::subscription::Object;
use crate::engine::subscriptions::decision::{Judged, Shown, judge, presented};
use crate::engine::subscriptions::persist::record;
use crate::engine::turn::Turn;
use crate::rotation::life::HeldToken;
use crate::rotation::status;
use crate::rotation::step::{Step, TokenChoice, WaitReason};
use crate::secret::SecretText;

/// A subscription's turn for a call has come. Returns whether a call was begun.
pub(crate) fn reconcile_in_turn(turn: &mut Turn<'_>, id: SubscriptionId, given: &Given<'_>) -> bool {
    if let Some(entry) = turn.state.entry_mut(id) {
        entry.place = None;
    }
    let Some(judged) = judge(turn, id) else {
        return false;
    };
    match &judged.step {
        _ if !judged.unread.is_empty() => {
            reconcile_soon(turn, id);
            false
        }
        Step::Rotate { token: TokenChoice::Take, .. }
        | Step::Create { token: TokenChoice::Take, .. }
        | Step::Delete { .. } => call(turn, id, judged, given),
        _ => {
            reconcile_soon(turn, id);
            false
        }
    }
}

/// Begins the call that was decided on. Returns whether one was begun.
pub(crate) fn call(turn: &mut Turn<'_>, id: SubscriptionId, judged: Judged, given: &Given<'_>) -> bool {
    let now = turn.now;
    let Some(client) = turn.state.client_of(id) else {
        return false;
    };
    let Judged { object, step, document: wanted, .. } = judged;
    let deletes = object.spec.as_ref().is_some_and(|spec| spec.deletion_policy() == DeletionPolicy::Delete);
    if deletes && !object.identity.has_finalizer && !matches!(step, Step::Delete { .. }) {
        // Before there is anything to delete, the object is kept from going without it.
        write_finalizer(turn, id, &object, true);
        return false;
    }
    if deletes && matches!(step, Step::Create { .. }) && waits_for_keeping(turn, id) {
        return false;
    }
    let origin: Arc<str> = client.profile().origin.as_str().into();
    match step {
        Step::Rotate { id: remote_id, ownership, why, .. } => {
            let Some((document, held)) = document(turn.state, id, &object) else {
                return false;
            };
            let sent = Sent { held, digest: wanted.desired.unwrap_or_default(), origin };
            note_gate_behind(turn, id, &object, &sent.held);
            let pauses = is_held_back(turn.state, id, now);
            if let Some(entry) = turn.state.entry_mut(id).filter(|_| pauses) {
                entry.remember(|memory| memory.last_attempt = object.status.token_expiration_time);
            }
            begin_call(turn.state, id, given);
            let applying = Applying { id: remote_id, ownership, why, sent };
            let decided = turn.state.decided(id);
            let patience = patience_of(turn.state, id, &decided.status, now);
            let document = Box::new(document);
            turn.call(Call::Update { id, client, document, applying, decided, patience, started: now });
            true
        }
        Step::Create { target, .. } => {
            let Some((_, held)) = document(turn.state, id, &object) else {
                return false;
            };
            note_gate_behind(turn, id, &object, &held);
            let opened = status::creation_opened(&object.status, &target, now.wall);
            let reason = WaitReason::Settling("the webhook is being created".to_owned());
            let opened = presented(turn.state, id, &object, &wanted, &opened, &Shown::as_it(&reason), now);
            // The turn is kept while the record is written: the create follows at once.
            begin_call(turn.state, id, given);
            let sent = Sent { held, digest: wanted.desired.unwrap_or_default(), origin };
            let then = Then::Create(Creating { term: turn.state.term, sent });
            record(turn, id, opened, then);
            true
        }
        Step::Delete { id: remote_id } => {
            let Some(spec) = object.spec else {
                return false;
            };
            begin_call(turn.state, id, given);
            let (term, spec) = (turn.state.term, Box::new(spec));
            turn.call(Call::Delete { id, client, spec, remote_id, term, started: now });
            true
        }
        _ => false,
    }
}

/// What is to be sent, with the held token.
pub(crate) fn document(state: &State, id: SubscriptionId, object: &Object) -> Option<(Document, HeldToken)> {
    let source = state.source(state.entry(id)?.source?)?;
    let token: SecretText = source.token.clone()?;
    let held = source.state.held.clone()?;
    let spec = Arc::new(object.spec.as_ref()?.as_sent(&object.identity.key.name).into_owned());
    let token_bounds = source.bounds();
    Some((
        Document { namespace: Arc::clone(&object.identity.key.namespace), spec, token, token_bounds },
        held,
    ))
}
