//! What follows when a status is durable, or could not be written.

use std::time::Duration;

use crate::api::SubscriptionStatus;
use crate::engine::calls::ending::end_call;
use crate::engine::effect::Call;
use crate::engine::ids::{SourceId, SubscriptionId};
use crate::engine::ports::RecordFailure;
use crate::engine::reconcile::in_turn::document;
use crate::engine::sent::{Creating, Then};
use crate::engine::sources::status::record_source;
use crate::engine::state::subscription::Entry;
use crate::engine::subscriptions::letting_go::let_go;
use crate::engine::subscriptions::persist::{put_status, record};
use crate::engine::subscriptions::rest::rest;
use crate::engine::turn::Turn;
use crate::rotation::wait::Wait;
use crate::rotation::{backoff, status};

pub(crate) fn recorded(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    status: &SubscriptionStatus,
    then: Then,
    result: Result<(), RecordFailure>,
) {
    let now = turn.now;
    let durable = matches!(result, Ok(()) | Err(RecordFailure::Gone));
    if let Err(failure) = &result
        && !durable
        && let Some(entry) = turn.state.entry_mut(id)
    {
        let failed = entry.unrecorded.map_or(0, |(_, failed)| failed);
        let wait = backoff::delay(failed, Duration::from_secs(30), turn.around.random.bits());
        entry.unrecorded = Some((Wait::starting(now.wall, wait), failed + 1));
        tracing::warn!(subscription = %entry.key, %failure, "the status could not be recorded; it is tried again");
    } else if let Some(entry) = turn.state.entry_mut(id) {
        entry.unrecorded = None;
        let source = entry.source;
        let unrecorded = |id: &SourceId| turn.state.source(*id).is_some_and(|source| source.unrecorded);
        if let Some(source) = source.filter(unrecorded) {
            record_source(turn, source);
        }
    }
    match then {
        Then::Reconcile => rest(turn, id),
        Then::Create(creating) if result.is_ok() => create_now(turn, id, creating),
        Then::Create(_) => {
            // Whether the record is there is not known, but nothing was sent and nothing will be.
            end_call(turn, id, None);
            put_status(turn, id, &status::creation_closed(status));
            rest(turn, id);
        }
        Then::Release(owner) => {
            rest(turn, id);
            let object = turn.state.entry(owner).and_then(Entry::object);
            match object {
                Some(object) if durable => let_go(turn, owner, &object),
                _ => rest(turn, owner),
            }
        }
    }
}

/// The creation record is durable: the create is sent.
fn create_now(turn: &mut Turn<'_>, id: SubscriptionId, creating: Creating) {
    let object = turn.state.entry(id).and_then(Entry::object);
    let document = object.as_ref().and_then(|object| document(turn.state, id, object));
    match (turn.state.client_of(id), document) {
        (Some(client), Some((document, held)))
            if creating.term == turn.state.term
                && held == creating.sent.held
                && client.profile().origin == *creating.sent.origin
                && client.document_digest(&document.spec) == creating.sent.digest =>
        {
            let (decided, document, started) = (turn.state.decided(id), Box::new(document), turn.now);
            turn.call(Call::Create { id, client, document, creating, decided, started });
        }
        // What it was to be made with has changed, or another process may have led meanwhile: the
        // record says that nothing was sent.
        _ => {
            end_call(turn, id, None);
            if let Some(object) = object {
                record(turn, id, status::creation_closed(&object.status), Then::Reconcile);
            }
        }
    }
}
