//! Keeping the indexes of the state in line with a subscription: its claims, its place among the members of
//! its source, whether its deletion will need its provider, and which receiver takes its deliveries in.

use crate::api::{ConditionType, DeletionPolicy, ObjectKey, Reason, WebhookSubscriptionSpec};
use crate::engine::account::keyed;
use crate::engine::ids::SubscriptionId;
use crate::engine::state::State;
use crate::engine::state::provider::Provider;
use crate::engine::state::reception::Reception;
use crate::engine::state::same_account::{base_of, place_of};
use crate::engine::state::subscription::{Expected, Object};
use crate::rotation::target::{Target, digest_of_id};

/// Claim to a remote that is not known yet.
fn claim_of_target(provider: &ObjectKey, target: Target) -> u64 {
    keyed(["target", &provider.namespace, &provider.name, &target.to_string()])
}

impl State {
    /// Brings the indexes in line with an object: its claims, and its place among the members.
    pub(crate) fn index(&mut self, id: SubscriptionId, object: &Object) {
        let Some(entry) = self.subscriptions.get(id) else {
            return;
        };
        let provider = self.providers.get(entry.provider);
        let provider_key = provider.map(|provider| provider.key.clone());
        let known_id = object
            .spec
            .as_ref()
            .and_then(|spec| spec.webhook_id.as_ref())
            .or(object.status.webhook_id.as_ref());
        let origin = object
            .status
            .webhook_origin
            .as_deref()
            .or_else(|| provider.and_then(Provider::origin))
            .unwrap_or_default();
        let remote = provider.and_then(|provider| provider.client.as_ref());
        let wanted_target = object.spec.as_ref().map(|spec| match remote {
            Some(remote) => remote.profile().target_of(spec),
            None => Target::new(spec.action.as_deref(), &spec.postback_url),
        });
        let base = base_of(object, remote.map(|remote| remote.profile()));
        let wanted = [
            known_id.filter(|known| !entry.is_not_there(known)).map(|known| place_of(base, known)),
            wanted_target
                .as_ref()
                .zip(provider_key.as_ref())
                .map(|(target, key)| claim_of_target(key, *target)),
        ];
        let lives_here = provider.and_then(Provider::origin) == Some(origin);
        let expected = object
            .status
            .webhook_id
            .as_ref()
            .filter(|_| lives_here)
            .zip(object.spec.as_ref())
            .zip(wanted_target.as_ref())
            .map(|((recorded, spec), target)| Expected {
                id: digest_of_id(recorded),
                target: *target,
                active: spec.is_active(),
                secrets: spec.client_headers.iter().any(|header| {
                    header.value_from.as_ref().is_some_and(|from| from.secret_key_ref.is_some())
                }),
                missing: object.status.missing_since.is_some(),
                unsure: object.status.missing_since.is_some() || object.status.creation.is_some(),
                applied: object.status.last_rotated_time.map_or(i64::MIN, |at| at.timestamp_millis()),
            });
        let stalled = object.status.conditions.iter().any(|condition| {
            condition.kind == ConditionType::Stalled && condition.reason != Reason::InvalidSpec
        });
        let member = object.spec.as_ref().is_some_and(|spec| !spec.is_suspended())
            && object.identity.deleted.is_none()
            && !entry.gone
            && !stalled;
        // A token from somewhere else says nothing of what this source's members carry.
        let counts = member && !entry.carries_a_strangers_token();
        let fingerprint = object.status.token_fingerprint.as_deref().filter(|_| counts);
        let source = entry.source;
        let holds = object.spec.as_ref().is_some_and(|spec| spec.deletion_policy() == DeletionPolicy::Delete);
        let (before, carried) = (entry.claims, entry.carried.clone());
        let was_member = entry.member;
        if before != wanted {
            self.give_up(id, before);
            for claim in wanted.into_iter().flatten() {
                self.claims.insert((claim, id));
            }
        }
        let mut shared = None;
        if carried.as_deref() != fingerprint
            && let Some(source) = source.and_then(|source| self.sources.get_mut(source))
        {
            source.forget_carried(carried.as_ref());
            shared = fingerprint.map(|fingerprint| source.count_carried(fingerprint));
        } else if carried.as_deref() == fingerprint {
            shared = carried;
        }
        if let Some(entry) = self.subscriptions.get_mut(id) {
            entry.claims = wanted;
            entry.expected = expected;
            entry.carried = shared;
            entry.member = member;
        }
        self.count_holder(id, holds);
        self.receive(id, object.spec.as_ref());
        if let Some((source_id, source)) = source.and_then(|id| Some((id, self.sources.get_mut(id)?))) {
            source.members = source.members + u32::from(member) - u32::from(was_member);
            source.refresh();
            if std::mem::take(&mut source.carried_changed) {
                self.carried_changed.insert(source_id);
            }
        }
    }

    /// Notes whether the deletion of a subscription will need its provider.
    pub(crate) fn count_holder(&mut self, id: SubscriptionId, holds: bool) {
        let Some(entry) = self.subscriptions.get_mut(id) else {
            return;
        };
        if std::mem::replace(&mut entry.holds, holds) == holds {
            return;
        }
        let provider_id = entry.provider;
        if let Some(provider) = self.providers.get_mut(provider_id) {
            let holders = &mut provider.keeping.holders;
            *holders = if holds { *holders + 1 } else { holders.saturating_sub(1) };
            if *holders == u32::from(holds) {
                self.holders_changed.insert(provider_id);
            }
        }
    }

    /// Notes which receiver takes a subscription's deliveries in.
    pub(crate) fn receive(&mut self, id: SubscriptionId, spec: Option<&WebhookSubscriptionSpec>) {
        let Some(entry) = self.subscriptions.get_mut(id) else {
            return;
        };
        let wanted = spec.and_then(|spec| {
            let receiver = spec.receiver_ref.as_ref()?.name.as_str().into();
            Some(Reception { receiver, action: spec.action.as_deref().map(Box::from) })
        });
        if entry.received.as_deref() == wanted.as_ref() {
            return;
        }
        let before = std::mem::replace(&mut entry.received, wanted.clone().map(Box::new));
        let key = entry.key.clone();
        if let Some(before) = before {
            let receiver = key.sibling(&before.receiver);
            if let Some(of_receiver) = self.received.get_mut(&receiver) {
                of_receiver.remove(&id);
                if of_receiver.is_empty() {
                    self.received.remove(&receiver);
                    self.taken_in.remove(&receiver);
                }
            }
        }
        if let Some(wanted) = wanted {
            self.received.entry(key.sibling(&wanted.receiver)).or_default().insert(id);
        }
    }

    /// Takes a subscription out of every index.
    pub(crate) fn unindex(&mut self, id: SubscriptionId) {
        self.count_holder(id, false);
        self.receive(id, None);
        let Some(entry) = self.subscriptions.get_mut(id) else {
            return;
        };
        let (claims, carried, source, provider) =
            (std::mem::take(&mut entry.claims), entry.carried.take(), entry.source, entry.provider);
        let was_member = std::mem::take(&mut entry.member);
        self.give_up(id, claims);
        if let Some((source_id, source)) = source.and_then(|id| Some((id, self.sources.get_mut(id)?))) {
            source.members -= u32::from(was_member);
            source.forget_carried(carried.as_ref());
            source.users.remove(&id);
            source.waiting.remove(&id);
            source.refresh();
            if std::mem::take(&mut source.carried_changed) {
                self.carried_changed.insert(source_id);
            }
        }
        if let Some(provider) = self.providers.get_mut(provider) {
            provider.users.remove(&id);
            provider.waiting.remove(&id);
            provider.blocked.remove(id);
        }
    }
}
