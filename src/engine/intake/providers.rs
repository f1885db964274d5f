//! Taking in what the shell says of providers.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::{Declared, ObjectKey, Reason, WebhookProviderSpec, WebhookProviderStatus};
use crate::engine::dispatch::agenda::{leave_lines, reconcile_users_of_provider};
use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::engine::ports::{Invalid, ProviderClient};
use crate::engine::providers::begin::begin_provider;
use crate::engine::providers::filing::file_provider;
use crate::engine::queue::hold_back::HoldBack;
use crate::engine::queue::origin::Origin;
use crate::engine::state::State;
use crate::engine::state::provider::Provider;
use crate::engine::state::subscription::Entry;
use crate::engine::turn::Turn;
use crate::shares::budget::Bucket;

pub(crate) fn upsert_provider(
    turn: &mut Turn<'_>,
    declared: Declared<WebhookProviderSpec, WebhookProviderStatus>,
    resolved: Result<Arc<dyn ProviderClient>, Invalid>,
) {
    let now = turn.now;
    let key = declared.identity.key.clone();
    let id = turn.state.provider_for(&key, now.boot);
    leave_lines(turn, id);
    let leading = turn.state.term.is_some();
    let Some(provider) = turn.state.provider_mut(id) else {
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
    let origin = turn.state.provider(id).and_then(Provider::origin).map(str::to_owned);
    if let Some(left) = origin_before.filter(|before| origin.as_ref() != Some(before)) {
        leave_origin(turn, id, &left);
    }
    if let Some(origin) = origin {
        set_up_origin(turn, &origin, Some(id));
    }
    if !same {
        provider_changed(turn, id);
    }
    if turn.state.synced {
        begin_provider(turn, id);
        reconcile_users_of_provider(turn, id);
    }
}

/// What the users' attempts were made with is different now, and so may be where they go.
fn provider_changed(turn: &mut Turn<'_>, id: ProviderId) {
    let Some(provider) = turn.state.provider(id) else {
        return;
    };
    let users = provider.users.clone();
    end_back_offs(turn, &users);
    for user in users {
        if let Some(object) = turn.state.entry(user).and_then(Entry::object) {
            turn.state.index(user, &object);
        }
    }
}

/// What these attempts were made with has changed: their back-offs have nothing more to say.
pub(crate) fn end_back_offs(turn: &mut Turn<'_>, users: &BTreeSet<SubscriptionId>) {
    for user in users {
        if let Some(entry) = turn.state.entry_mut(*user) {
            entry.remember(|memory| memory.wait = None);
        }
    }
}

/// The budget of an origin: a preset's own, otherwise the widest of its provider objects. One that
/// nothing leads to any more stays as it is until it goes: see [`Engine::tidy`].
fn set_up_origin(turn: &mut Turn<'_>, name: &str, joins: Option<ProviderId>) {
    let now = turn.now;
    let known = turn.state.origins.get(name);
    let leading = known.into_iter().flat_map(|origin| origin.providers.iter().copied()).chain(joins);
    let remotes = leading.filter_map(|id| turn.state.provider(id)?.client.as_ref());
    let (mut widest, mut preset) = (None, None);
    for remote in remotes {
        widest = widest.max(Some(remote.profile().requests_per_minute));
        preset = preset.or(remote.profile().preset_requests_per_minute);
    }
    let Some(budget) = preset.or(widest) else {
        return share_budget(turn.state, name);
    };
    let namespace = joins.and_then(|id| turn.state.provider(id)).map(|provider| provider.namespace);
    let new = || Origin::new(budget, now.boot);
    let origin = turn.state.origins.entry(name.to_owned()).or_insert_with(new);
    origin.set_budget(budget, now.boot);
    origin.providers.extend(joins);
    if let Some(namespace) = namespace {
        origin.tenant_for(namespace, now.boot);
    }
    share_budget(turn.state, name);
}

/// Others in the process who send requests to the origin for a namespace of its providers take from its
/// budget. Nobody else's has a say in what the others send.
fn share_budget(state: &State, name: &str) {
    let (Some(budgets), Some(origin)) = (&state.budgets, state.origins.get(name)) else {
        return;
    };
    let providers = origin.providers.iter().filter_map(|id| state.provider(*id));
    let namespaces = providers.map(|provider| Arc::clone(&provider.key.namespace)).collect();
    budgets.set(name, &origin.bucket, namespaces);
}

fn leave_origin(turn: &mut Turn<'_>, id: ProviderId, name: &str) {
    if let Some(origin) = turn.state.origins.get_mut(name) {
        origin.providers.remove(&id);
    }
    set_up_origin(turn, name, None);
}

pub(crate) fn provider_gone(turn: &mut Turn<'_>, key: &ObjectKey) {
    let Some(id) = turn.state.provider_by_key.get(key).copied() else {
        return;
    };
    leave_lines(turn, id);
    if let Some(provider) = turn.state.provider_mut(id) {
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
        file_provider(turn, id);
        if let Some(origin) = origin {
            leave_origin(turn, id, &origin);
        }
    }
    reconcile_users_of_provider(turn, id);
}

/// Why a provider is held back, as far as its status tells.
fn reason_of_hold(status: &WebhookProviderStatus) -> Reason {
    let refused = Reason::ProviderRefusedCredentials;
    let is_refused = status.conditions.iter().any(|condition| condition.reason == refused);
    if is_refused { refused } else { Reason::ProviderUnavailable }
}
