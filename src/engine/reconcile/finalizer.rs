//! The finalizer of a subscription: there while its deletion needs a call.

use crate::api::{DeletionPolicy, Reason};
use crate::engine::calls::failure::{fail, internal};
use crate::engine::dispatch::places::begin;
use crate::engine::dispatch::writes::write;
use crate::engine::ids::SubscriptionId;
use crate::engine::ports::RecordFailure;
use crate::engine::state::subscription::Object;
use crate::engine::subscriptions::decision::is_deleting;
use crate::engine::subscriptions::rest::rest;
use crate::engine::turn::Turn;
use crate::engine::write::Write;
use crate::rotation::answers::Operation;
use crate::rotation::facts::Memory;

/// Whether the last failure may be that of writing the finalizer.
pub(crate) fn is_of_finalizer(memory: &Memory) -> bool {
    memory.failing.as_ref().is_some_and(|(reason, _)| *reason == Reason::InternalError)
}

/// Puts our finalizer on, or takes it off.
pub(crate) fn write_finalizer(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object, wanted: bool) {
    let Some(namespace) = turn.state.entry(id).map(|entry| entry.namespace) else {
        return;
    };
    let (key, uid) = (object.identity.key.clone(), object.identity.uid.clone());
    begin(turn.state, id);
    write(turn.state, namespace, Write::Finalizer { id, key, uid, wanted });
}

/// A policy that is changed, or a remote that is handed over, needs no call, and yet there is
/// something to delete now, or not any more. Returns whether the finalizer is being written.
pub(crate) fn keep_finalizer(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object) -> bool {
    let now = turn.now;
    let Some((entry, spec)) = turn.state.entry(id).zip(object.spec.as_ref()) else {
        return false;
    };
    let memory = entry.memory();
    let waits = memory.wait.as_ref().is_some_and(|(wait, _)| wait.pending(now.wall).is_some());
    if is_deleting(object, entry.gone) || (is_of_finalizer(&memory) && waits) {
        return false;
    }
    let has_remote = object.status.webhook_id.is_some() || object.status.creation.is_some();
    match (spec.deletion_policy() == DeletionPolicy::Delete, object.identity.has_finalizer) {
        (true, false) if has_remote => write_finalizer(turn, id, object, true),
        (false, true) => write_finalizer(turn, id, object, false),
        _ => return false,
    }
    true
}

/// The finalizer stands, or stands no more.
pub(crate) fn finalizer_written(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    wanted: bool,
    result: Result<(), RecordFailure>,
) {
    match result {
        Ok(()) => {
            if let Some(entry) = turn.state.entry_mut(id)
                && let Some(mut object) = entry.object()
            {
                object.identity.has_finalizer = wanted;
                if is_of_finalizer(&entry.memory()) {
                    // No call follows that would say that all is well again.
                    entry.remember(|memory| {
                        memory.wait = None;
                        memory.failures = 0;
                        memory.failing = None;
                    });
                    object.status.failures = None;
                }
                entry.store(&object);
            }
            rest(turn, id);
        }
        Err(failure) => {
            let done = if wanted { "added" } else { "removed" };
            let what = format!("the finalizer could not be {done}: {failure}");
            fail(turn, id, &internal(&what), Operation::Create);
        }
    }
}
