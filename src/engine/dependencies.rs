//! Taking in what the shell says of token sources and providers.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::entry::Entry;
use super::hold_back::HoldBack;
use super::ids::{ProviderId, SubscriptionId};
use super::origin::Origin;
use super::state::{Provider, SourceKey};
use crate::api::{
    Declared, ObjectKey, Reason, TokenSourceSpec, TokenSourceStatus, WebhookProviderSpec,
    WebhookProviderStatus,
};
use crate::rotation::time::Moment;
use crate::shares::budget::Bucket;

impl Engine {
    pub(super) fn upsert_source(&mut self, declared: Declared<TokenSourceSpec, TokenSourceStatus>) {
        let now = self.ports.clock.now();
        let id = self.state.source_for(&SourceKey::Object(declared.identity.key.clone()));
        let leading = self.term.is_some();
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let is_new = source.object.is_none();
        let status = match source.object.take() {
            Some((before, status)) if leading && before.uid == declared.identity.uid => status,
            _ => declared.status,
        };
        source.object = Some((declared.identity, status));
        source.invalid = None;
        let changed = source.spec.as_deref() != Some(&declared.spec);
        let asks_for_another = source.spec.as_ref().is_some_and(|before| !before.asks_like(&declared.spec));
        if asks_for_another {
            source.forget_held();
        }
        let secret = |spec: &TokenSourceSpec| spec.publish_to.as_ref().map(|to| to.secret_name.clone());
        let published_before = source.spec.as_deref().and_then(secret);
        // What stands in another Secret is not published any more.
        let moves = published_before.is_some() && published_before != secret(&declared.spec);
        if declared.spec.publish_to.is_none() || moves {
            source.forget_published();
        }
        if changed {
            source.set_spec(declared.spec);
            source.end_back_off(now);
            source.failures = 0;
            source.state.failing = None;
            source.state.not_renewed = false;
        }
        source.refresh();
        if changed {
            let users = source.users.clone();
            self.end_back_offs(&users);
            if asks_for_another {
                self.carry_a_strangers_token(&users);
            }
        }
        if changed {
            self.publish_hosts(id);
        }
        if self.synced && (is_new || changed) {
            self.begin_source(id, now);
            self.reconcile_users_of_source(id);
        }
    }

    /// The tokens that these carry are not from where they are to be from now on.
    fn carry_a_strangers_token(&mut self, users: &BTreeSet<SubscriptionId>) {
        for user in users {
            if let Some(entry) = self.state.entry_mut(*user).filter(|entry| entry.carried.is_some()) {
                entry.remember(|memory| memory.strangers_token = true);
            }
        }
    }

    pub(super) fn source_gone(&mut self, key: &ObjectKey) {
        let Some(id) = self.state.source_by_key.get(&SourceKey::Object(key.clone())).copied() else {
            return;
        };
        if let Some(source) = self.state.source_mut(id) {
            source.object = None;
            source.invalid = None;
        }
        let now = self.ports.clock.now();
        self.leave_source(id, now);
        self.reconcile_users_of_source(id);
    }

    pub(super) fn upsert_provider(
        &mut self,
        declared: Declared<WebhookProviderSpec, WebhookProviderStatus>,
        now: Moment,
    ) {
        let key = declared.identity.key.clone();
        let id = self.state.provider_for(&key, now.boot);
        let resolved = self.ports.provider_clients.resolve(&key, &declared.spec);
        self.leave_lines(id);
        let leading = self.term.is_some();
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        let origin_before = provider.origin().map(str::to_owned);
        let (before, deleted) = (provider.declared.take(), provider.deleted.take());
        let known = before.as_ref().map(|(_, spec, _)| spec).or(deleted.as_ref());
        let same = known.is_some_and(|spec| **spec == declared.spec);
        let is_new = provider.client.is_none() && deleted.is_none();
        if !same && resolved.is_ok() {
            // What it was opened with is asked for no more.
            provider.hold = HoldBack::default();
        }
        let is_recorded_of_this = declared.status.observed_generation == Some(declared.identity.generation);
        let status = match before {
            // What this process has recorded itself comes back to it, and is no news.
            Some((identity, _, status)) if leading && identity.uid == declared.identity.uid => status,
            _ => {
                if let Some(until) = declared.status.held_back_until.filter(|_| is_recorded_of_this) {
                    provider.hold.restore(now.wall, until, reason_of_hold(&declared.status));
                }
                declared.status
            }
        };
        provider.suspended = declared.spec.is_suspended();
        provider.declared = Some((declared.identity, Arc::new(declared.spec), status));
        match resolved {
            Ok(remote) if !same || provider.client.is_none() => {
                let requests_per_minute = remote.profile().requests_per_minute;
                if is_new {
                    provider.bucket = Bucket::new(requests_per_minute, 1.0, now.boot);
                } else {
                    provider.bucket.set_rate(requests_per_minute, 1.0, now.boot);
                }
                provider.keeping.forget_client();
                provider.client = Some(remote);
                provider.belonging.ask_again();
                provider.invalid = None;
                provider.list_forbidden = false;
                provider.forget_reading();
            }
            Ok(_) => provider.invalid = None,
            Err(problem) => provider.invalid = Some(problem.to_string()),
        }
        let origin = self.state.provider(id).and_then(Provider::origin).map(str::to_owned);
        if let Some(left) = origin_before.filter(|before| origin.as_ref() != Some(before)) {
            self.leave_origin(id, &left, now);
        }
        if let Some(origin) = origin {
            self.set_up_origin(&origin, Some(id), now);
        }
        if !same {
            self.provider_changed(id);
        }
        if self.synced {
            self.begin_provider(id, now);
            self.reconcile_users_of_provider(id);
        }
    }

    /// The line is at the origin that the provider has now.
    pub(super) fn leave_lines(&mut self, id: ProviderId) {
        let users = self.state.provider(id).map(|provider| provider.users.clone());
        for user in users.into_iter().flatten() {
            self.leave_line(user);
        }
    }

    /// What the users' attempts were made with is different now, and so may be where they go.
    pub(super) fn provider_changed(&mut self, id: ProviderId) {
        let Some(provider) = self.state.provider(id) else {
            return;
        };
        let users = provider.users.clone();
        self.end_back_offs(&users);
        for user in users {
            if let Some(object) = self.state.entry(user).and_then(Entry::object) {
                self.state.index(user, &object);
            }
        }
    }

    /// What these attempts were made with has changed: their back-offs have nothing more to say.
    pub(super) fn end_back_offs(&mut self, users: &BTreeSet<SubscriptionId>) {
        for user in users {
            if let Some(entry) = self.state.entry_mut(*user) {
                entry.remember(|memory| memory.wait = None);
            }
        }
    }

    /// The budget of an origin: a preset's own, otherwise the widest of its provider objects. One that
    /// nothing leads to any more stays as it is until it goes: see [`Engine::tidy`].
    fn set_up_origin(&mut self, name: &str, joins: Option<ProviderId>, now: Moment) {
        let known = self.state.origins.get(name);
        let leading = known.into_iter().flat_map(|origin| origin.providers.iter().copied()).chain(joins);
        let remotes = leading.filter_map(|id| self.state.provider(id)?.client.as_ref());
        let (mut widest, mut preset) = (None, None);
        for remote in remotes {
            widest = widest.max(Some(remote.profile().requests_per_minute));
            preset = preset.or(remote.profile().preset_requests_per_minute);
        }
        let Some(budget) = preset.or(widest) else {
            return self.share_budget(name);
        };
        let namespace = joins.and_then(|id| self.state.provider(id)).map(|provider| provider.namespace);
        let new = || Origin::new(budget, now.boot);
        let origin = self.state.origins.entry(name.to_owned()).or_insert_with(new);
        origin.set_budget(budget, now.boot);
        origin.providers.extend(joins);
        if let Some(namespace) = namespace {
            origin.tenant_for(namespace, now.boot);
        }
        self.share_budget(name);
    }

    /// Others in the process who send requests to the origin for a namespace of its providers take from its
    /// budget. Nobody else's has a say in what the others send.
    fn share_budget(&self, name: &str) {
        let (Some(budgets), Some(origin)) = (&self.budgets, self.state.origins.get(name)) else {
            return;
        };
        let providers = origin.providers.iter().filter_map(|id| self.state.provider(*id));
        let namespaces = providers.map(|provider| Arc::clone(&provider.key.namespace)).collect();
        budgets.set(name, &origin.bucket, namespaces);
    }

    fn leave_origin(&mut self, id: ProviderId, name: &str, now: Moment) {
        if let Some(origin) = self.state.origins.get_mut(name) {
            origin.providers.remove(&id);
        }
        self.set_up_origin(name, None, now);
    }

    pub(super) fn provider_gone(&mut self, key: &ObjectKey) {
        let Some(id) = self.state.provider_by_key.get(key).copied() else {
            return;
        };
        self.leave_lines(id);
        if let Some(provider) = self.state.provider_mut(id) {
            let origin = provider.origin().map(str::to_owned);
            provider.deleted = provider.declared.take().map(|(_, spec, _)| spec).or(provider.deleted.take());
            provider.client = None;
            provider.invalid = None;
            provider.suspended = false;
            provider.listing = None;
            provider.keeping.forget_client();
            provider.forget_reading();
            provider.wanted = None;
            provider.list_forbidden = false;
            provider.list_failures = 0;
            provider.list_wait = None;
            provider.next_verification = None;
            provider.answered = None;
            let now = self.ports.clock.now();
            self.file_provider(id, now);
            if let Some(origin) = origin {
                self.leave_origin(id, &origin, now);
            }
        }
        self.reconcile_users_of_provider(id);
    }
}

/// Why a provider is held back, as far as its status tells.
fn reason_of_hold(status: &WebhookProviderStatus) -> Reason {
    let refused = Reason::ProviderRefusedCredentials;
    let is_refused = status.conditions.iter().any(|condition| condition.reason == refused);
    if is_refused { refused } else { Reason::ProviderUnavailable }
}
