//! What gates have seen of tokens, and whose it was.

use crate::api::{ConditionStatus, Kind};
use crate::engine::change::Evidence;
use crate::engine::dispatch::agenda::reconcile_soon;
use crate::engine::ids::SubscriptionId;
use crate::engine::turn::Turn;
use crate::rotation::observed::{Candidate, Known, Sighting, Whose};
use crate::rotation::{observed, schedule};

/// A gate has seen a token. Who does not act takes nothing in.
pub(crate) fn evidence(turn: &mut Turn<'_>, evidence: &Evidence) {
    if turn.state.term.is_none() {
        return;
    }
    let Some(of_receiver) = turn.state.received.get(&evidence.receiver) else {
        return;
    };
    if !evidence.retired {
        let last = turn.state.taken_in.entry(evidence.receiver.clone()).or_insert(evidence.at);
        *last = evidence.at.max(*last);
    }
    let candidates = of_receiver.iter().filter_map(|id| {
        let entry = turn.state.entry(*id)?;
        let action = entry.received.as_ref()?.action.as_deref();
        Some(Candidate { id: *id, name: &entry.key.name, action })
    });
    match observed::whose(candidates, evidence.subscription.as_deref(), evidence.event.as_deref()) {
        Whose::Of(id) => seen(turn, id, Some(evidence)),
        // A token that nobody accepts any more says nothing of those that nobody can tell apart.
        Whose::OneOf(ids) if !evidence.retired => ids.into_iter().for_each(|id| seen(turn, id, None)),
        Whose::OneOf(_) | Whose::Nobodys => {}
    }
}

/// What was seen of a subscription; `None` when it may have been another one's.
pub(crate) fn seen(turn: &mut Turn<'_>, id: SubscriptionId, evidence: Option<&Evidence>) {
    let Some(entry) = turn.state.entry(id) else {
        return;
    };
    let Some(object) = entry.object() else {
        return;
    };
    let Some((spec, receiver)) =
        object.spec.as_ref().and_then(|spec| Some((spec, spec.receiver_ref.as_ref()?)))
    else {
        return;
    };
    let source = entry.source.and_then(|source| turn.state.source(source));
    let terms = turn
        .state
        .profile_of(id, |profile| source.map(|source| schedule::terms(spec, profile, &source.state)));
    let status = &object.status;
    let known = Known {
        carried: status.token_fingerprint.as_deref(),
        applied: status.last_rotated_time,
        overlap: terms.flatten().map(|terms| terms.overlap).unwrap_or_default(),
    };
    let (key, mut is_news) = (entry.key.clone(), false);
    let shown = observed::shown(&status.conditions);
    let mut verdict = None;
    if let Some(entry) = turn.state.entry_mut(id) {
        entry.remember(|memory| {
            match evidence {
                Some(Evidence { fingerprint, at, retired, .. }) => {
                    let sighting = Sighting { fingerprint, at: *at, retired: *retired };
                    memory.observed.take_in(&sighting, &known);
                }
                None => memory.observed.take_in_vaguely(),
            }
            let now = observed::verdict(status, &memory.observed, &receiver.name);
            is_news = memory.observed.is_news(shown, &now);
            verdict = Some(now);
        });
    }
    let Some((holds, reason, message)) = verdict else {
        return;
    };
    if shown.is_some_and(|shown| (shown.status, shown.reason) == (holds, reason)) {
        return;
    }
    if is_news {
        let warning = holds == ConditionStatus::False;
        turn.emit(Kind::WebhookSubscription, &key, warning, reason, message);
    }
    reconcile_soon(turn, id);
}
