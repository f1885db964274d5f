//! A provider's status: what it answered, and whether it is held back.

use crate::api::{ConditionStatus, ConditionType, Reason, WebhookProviderStatus};
use crate::engine::dispatch::writes::write;
use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::engine::providers::filing::file_provider;
use crate::engine::turn::Turn;
use crate::engine::write::Write;
use crate::rotation::answers::{Hold, Judgement};
use crate::rotation::conditions;
use crate::shares::NamespaceId;

/// A 401, or an answer that asks for a pause, holds back the provider object whose credential it
/// was. The origin itself pauses when more than one namespace was asked: see [`super::origin`].
pub(crate) fn hold_provider(turn: &mut Turn<'_>, id: ProviderId, judgement: &Judgement) {
    let now = turn.now;
    let Some(provider) = turn.state.providers.get_mut(id) else {
        return;
    };
    let asked = match judgement.hold {
        Hold::Provider => None,
        Hold::Asked(asked) => asked,
        Hold::Nothing | Hold::Source(_) => return,
    };
    provider.hold.open(now.wall, asked, judgement.reason);
    let of_origin = provider.origin().and_then(|origin| turn.state.origins.get_mut(origin));
    if matches!(judgement.hold, Hold::Asked(_))
        && let (Some(origin), Some(held)) = (of_origin, provider.hold.pending(now.wall))
    {
        if origin.asked_for(provider.namespace, held, now) {
            let providers: Vec<ProviderId> = origin.providers.iter().copied().collect();
            for other in providers {
                record_provider(turn, other);
            }
        }
    } else {
        provider.answered = Some((ConditionStatus::False, judgement.reason, judgement.message.clone()));
    }
    record_provider(turn, id);
    file_provider(turn, id);
}

pub(crate) fn provider_answered(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    holds: ConditionStatus,
    reason: Reason,
    message: &str,
) {
    let now = turn.now;
    let Some(provider_id) = turn.state.entry(id).map(|entry| entry.provider) else {
        return;
    };
    let Some(provider) = turn.state.provider_mut(provider_id) else {
        return;
    };
    let same = provider
        .answered
        .as_ref()
        .is_some_and(|before| before.0 == holds && before.1 == reason && before.2 == message);
    if !provider.hold.close(now.wall) && same {
        return;
    }
    provider.answered = Some((holds, reason, message.to_owned()));
    record_provider(turn, provider_id);
}

/// A pause at an origin shows in the status of the namespace's providers there.
pub(crate) fn record_held_providers(turn: &mut Turn<'_>, origin: &str, namespace: NamespaceId) {
    for id in turn.state.tenants_providers(origin, namespace) {
        record_provider(turn, id);
    }
}

/// Brings a provider's status in line and writes it when it differs, one write at a time.
pub(crate) fn record_provider(turn: &mut Turn<'_>, id: ProviderId) {
    let now = turn.now;
    if turn.state.term.is_none() {
        return;
    }
    let Some(provider) = turn.state.provider(id).filter(|provider| !provider.recording) else {
        return;
    };
    let Some((identity, _, before)) = &provider.declared else {
        return;
    };
    let origin = provider.origin().and_then(|origin| turn.state.origins.get(origin));
    let of_origin = origin.and_then(|origin| origin.shown_pause(provider.namespace, now.wall));
    let held = of_origin.into_iter().chain(provider.hold.pending(now.wall)).map(|held| held.until).max();
    let generation = identity.generation;
    let current = before.conditions.iter().find(|condition| condition.kind == ConditionType::Ready);
    let verdict = match (&provider.invalid, &provider.answered) {
        (Some(problem), _) => (ConditionStatus::False, Reason::InvalidSpec, problem.clone()),
        (None, Some(answered)) => answered.clone(),
        (None, None) => match current.filter(|ready| {
            before.observed_generation == Some(generation) && ready.reason != Reason::InvalidSpec
        }) {
            Some(ready) => (ready.status, ready.reason, ready.message.clone()),
            None => {
                let can_list = provider.client.as_ref().is_some_and(|remote| remote.profile().can_list);
                let holds = if can_list { ConditionStatus::Unknown } else { ConditionStatus::True };
                (holds, Reason::NotVerified, "valid; the provider has not been called yet".to_owned())
            }
        },
    };
    let mut status = WebhookProviderStatus {
        observed_generation: Some(generation),
        held_back_until: held,
        conditions: before.conditions.clone(),
    };
    conditions::of_dependency(&mut status.conditions, verdict, generation, now.wall);
    if status == *before {
        return;
    }
    let has_place = turn.state.provider_mut(id).is_some_and(|provider| provider.pace.take(now.boot));
    if !has_place {
        return file_provider(turn, id);
    }
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    let (key, namespace) = (provider.key.clone(), provider.namespace);
    {
        provider.recording = true;
        if let Some((_, _, before)) = &mut provider.declared {
            *before = status.clone();
        }
    }
    write(turn.state, namespace, Write::ProviderStatus { id, key, status: Box::new(status) });
}

pub(crate) fn provider_recorded(turn: &mut Turn<'_>, id: ProviderId) {
    if let Some(provider) = turn.state.provider_mut(id) {
        provider.recording = false;
    }
    record_provider(turn, id);
}
