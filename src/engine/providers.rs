//! A provider's status: what it answered, and whether it is held back.

use super::Engine;
use super::ids::{ProviderId, SubscriptionId};
use crate::api::{ConditionStatus, ConditionType, Reason, WebhookProviderStatus};
use crate::rotation::answers::Judgement;
use crate::rotation::conditions;
use crate::rotation::time::Moment;

impl Engine {
    /// A 401 holds back the provider object whose credential it was.
    pub(super) fn hold_provider(&mut self, id: SubscriptionId, judgement: &Judgement, now: Moment) {
        let Some(provider_id) = self.state.entry(id).map(|entry| entry.provider) else {
            return;
        };
        let Some(provider) = self.state.provider_mut(provider_id) else {
            return;
        };
        provider.hold.open(now.wall, None, judgement.reason);
        provider.answered = Some((ConditionStatus::False, judgement.reason, judgement.message.clone()));
        self.record_provider(provider_id, now);
        self.file_provider(provider_id, now);
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

    /// The hold-back of an origin shows in the status of its providers.
    pub(super) fn record_held_providers(&mut self, origin: &str, now: Moment) {
        let of_origin: Vec<ProviderId> = self
            .state
            .providers
            .iter()
            .filter(|(_, provider)| provider.origin() == Some(origin))
            .map(|(id, _)| ProviderId(id))
            .collect();
        for id in of_origin {
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
        let of_origin = self.breaker_of(provider).and_then(|breaker| breaker.shown(now.wall));
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
                    let can_list = provider.remote.as_ref().is_some_and(|remote| remote.profile().can_list);
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
