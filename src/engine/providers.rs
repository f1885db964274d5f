//! A provider's status: what it answered, and whether it is held back.

use super::Engine;
use super::ids::{ProviderId, SubscriptionId};
use super::namespaces::NamespaceId;
use crate::api::{ConditionStatus, ConditionType, Reason, WebhookProviderStatus};
use crate::rotation::answers::{Hold, Judgement};
use crate::rotation::conditions;
use crate::rotation::time::Moment;

impl Engine {
    /// A 401, or an answer that asks for a pause, holds back the provider object whose credential it
    /// was. The origin itself pauses when more than one namespace was asked: see [`super::origin`].
    pub(super) fn hold_provider(&mut self, id: ProviderId, judgement: &Judgement, now: Moment) {
        let Some(provider) = self.state.providers.get_mut(id.0) else {
            return;
        };
        let asked = match judgement.hold {
            Hold::Provider => None,
            Hold::Asked(asked) => asked,
            Hold::Nothing | Hold::Source(_) => return,
        };
        provider.hold.open(now.wall, asked, judgement.reason);
        let of_origin = provider.origin().and_then(|origin| self.state.origins.get_mut(origin));
        if matches!(judgement.hold, Hold::Asked(_))
            && let (Some(origin), Some(held)) = (of_origin, provider.hold.pending(now.wall))
        {
            if origin.asked_for(provider.namespace, held, now) {
                let providers: Vec<ProviderId> = origin.providers.iter().copied().collect();
                for other in providers {
                    self.record_provider(other, now);
                }
            }
        } else {
            provider.answered = Some((ConditionStatus::False, judgement.reason, judgement.message.clone()));
        }
        self.record_provider(id, now);
        self.file_provider(id, now);
    }

    pub(super) fn provider_answered(
        &mut self,
        id: SubscriptionId,
        holds: ConditionStatus,
        reason: Reason,
        message: &str,
        now: Moment,
    ) {
        let Some(provider_id) = self.state.entry(id).map(|entry| entry.provider) else {
            return;
        };
        let Some(provider) = self.state.provider_mut(provider_id) else {
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
        self.record_provider(provider_id, now);
    }

    /// The providers of a namespace that lead to an origin.
    pub(super) fn tenants_providers(&self, origin: &str, namespace: NamespaceId) -> Vec<ProviderId> {
        let Some(origin) = self.state.origins.get(origin) else {
            return Vec::new();
        };
        let is_theirs = |id: &ProviderId| {
            self.state.provider(*id).is_some_and(|provider| provider.namespace == namespace)
        };
        origin.providers.iter().copied().filter(is_theirs).collect()
    }

    /// A pause at an origin shows in the status of the namespace's providers there.
    pub(super) fn record_held_providers(&mut self, origin: &str, namespace: NamespaceId, now: Moment) {
        for id in self.tenants_providers(origin, namespace) {
            self.record_provider(id, now);
        }
    }

    /// Brings a provider's status in line and writes it when it differs, one write at a time.
    pub(super) fn record_provider(&mut self, id: ProviderId, now: Moment) {
        if self.term.is_none() {
            return;
        }
        let Some(provider) = self.state.provider(id).filter(|provider| !provider.recording) else {
            return;
        };
        let Some((identity, _, before)) = &provider.declared else {
            return;
        };
        let origin = provider.origin().and_then(|origin| self.state.origins.get(origin));
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
        let has_place = self.state.provider_mut(id).is_some_and(|provider| provider.pace.take(now.boot));
        if !has_place {
            return self.file_provider(id, now);
        }
        if let Some(provider) = self.state.provider_mut(id) {
            provider.recording = true;
            if let Some((_, _, before)) = &mut provider.declared {
                *before = status.clone();
            }
        }
        self.call_record_provider(id, status);
    }

    pub(super) fn provider_recorded(&mut self, id: ProviderId, now: Moment) {
        if let Some(provider) = self.state.provider_mut(id) {
            provider.recording = false;
        }
        self.record_provider(id, now);
    }
}
