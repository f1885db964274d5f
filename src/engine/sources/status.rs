//! The status of a `TokenSource`.

use std::time::Duration;

use crate::api::{ConditionStatus, Reason, TokenSourceStatus};
use crate::engine::dispatch::writes::write;
use crate::engine::ids::SourceId;
use crate::engine::queue::timers::Alarm;
use crate::engine::served::served_source;
use crate::engine::state::source::Source;
use crate::engine::turn::Turn;
use crate::engine::write::Write;
use crate::rotation::time::Moment;
use crate::rotation::{conditions, status};

/// How many tokens before the newest are named in a status: as many as it may hold.
const MOST_CARRIED: usize = 16;

/// When a source's status that could not be written is written again, so that gates read its token.
const NAMED_AGAIN: Duration = Duration::from_secs(2);

/// Brings a `TokenSource` object's status in line and writes it when it differs.
pub(crate) fn record_source(turn: &mut Turn<'_>, id: SourceId) {
    let now = turn.now;
    if turn.state.term.is_none() {
        return;
    }
    // One write at a time: of two, the older might arrive last.
    let Some(source) = turn.state.source_mut(id).filter(|source| !source.recording) else {
        return;
    };
    let Some((identity, before)) = source.object.clone() else {
        return;
    };
    let status = source.presented(&before, identity.generation, now);
    if status == before {
        return;
    }
    source.unrecorded = false;
    source.recording = true;
    source.object = Some((identity.clone(), status.clone()));
    let (key, namespace) = (identity.key, source.namespace);
    write(
        turn.state,
        namespace,
        Write::SourceStatus { id, key, before: Box::new(before), status: Box::new(status) },
    );
}

/// What could not be written is written again when a member's status has been: after a restart its
/// fingerprint counts with theirs. What has changed meanwhile is written now.
pub(crate) fn source_recorded(turn: &mut Turn<'_>, id: SourceId, before: TokenSourceStatus, durable: bool) {
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    source.recording = false;
    if durable {
        record_source(turn, id);
    } else {
        if let Some((_, status)) = &mut source.object {
            *status = before;
            source.unrecorded = true;
        }
        name_to_gates_again(turn, id);
    }
}

/// The status of the source could not be written, and those who prove deliveries read the newest token
/// when it names that: it is written again soon.
fn name_to_gates_again(turn: &mut Turn<'_>, id: SourceId) {
    let now = turn.now;
    if served_source(turn, id).is_none() || !turn.around.gates.read_published() {
        return;
    }
    if let Some(source) = turn.state.sources.get_mut(id) {
        turn.state.timers.file(&mut source.offering.timer, now.boot + NAMED_AGAIN, Alarm::Gates(id));
    }
}

impl Source {
    fn presented(&self, before: &TokenSourceStatus, generation: i64, now: Moment) -> TokenSourceStatus {
        let mut status = before.clone();
        status.observed_generation = Some(generation);
        let publishes = self.spec.as_ref().is_some_and(|spec| spec.publish_to.is_some());
        match &self.state.held {
            Some(held) if !publishes || self.is_held_published() => {
                status.token_fingerprint = Some(held.fingerprint.clone());
                status.token_minted_time = Some(status::to_milliseconds(held.minted.wall));
                status.token_expiration_time = held.expires.map(status::to_milliseconds);
            }
            // Gates read the Secret when the status names another token than before: it names none that
            // does not stand there yet.
            Some(held) if status.token_fingerprint.as_ref() == Some(&held.fingerprint) => {
                status.token_fingerprint = None;
                status.token_minted_time = None;
                status.token_expiration_time = None;
            }
            _ => {}
        }
        if let Some(carried) = &self.carried_for_gates {
            let named = status.token_fingerprint.as_deref();
            let others = carried.iter().filter(|carried| Some(&***carried) != named);
            status.carried_fingerprints =
                others.take(MOST_CARRIED).map(|carried| carried.to_string()).collect();
        }
        let verdict = match (&self.invalid, &self.state.failing) {
            (Some(problem), _) => (ConditionStatus::False, Reason::InvalidSpec, problem.clone()),
            (None, Some((reason, message))) => (ConditionStatus::False, *reason, message.clone()),
            (None, None) => {
                let message = match self.state.remark {
                    Some(remark) => remark.to_string(),
                    None => "valid, and the last mint, if any, succeeded".to_owned(),
                };
                (ConditionStatus::True, Reason::Valid, message)
            }
        };
        conditions::of_dependency(&mut status.conditions, verdict, generation, now.wall);
        status
    }
}
