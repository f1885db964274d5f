//! Learning whose webhooks a provider object manages.

use std::collections::BTreeSet;

use crate::engine::dispatch::agenda::{file_expiry, reconcile_each};
use crate::engine::dispatch::writes::write;
use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::engine::ports::{CallFailure, Refusal};
use crate::engine::state::State;
use crate::engine::state::accounts::Asked;
use crate::engine::state::subscription::Object;
use crate::engine::turn::Turn;
use crate::engine::write::Write;
use crate::rotation::time::between;

/// So long after a credential has changed another change counts as a failure: who changes it all the
/// time is not tried again at once each time.
const SETTLED_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

/// Reads the credentials that tell whose webhooks are meant, where a decision depends on it.
/// Returns whether it does.
pub(crate) fn asks_whose(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    unread: &BTreeSet<ProviderId>,
    object: &Object,
) -> bool {
    if unread.is_empty() {
        return false;
    }
    let Some(namespace) = turn.state.entry(id).map(|entry| entry.namespace) else {
        return false;
    };
    for provider_id in unread {
        let Some(provider) = turn.state.provider_mut(*provider_id) else {
            continue;
        };
        let Some(remote) = provider.client.clone() else {
            continue;
        };
        provider.belonging.waiting.insert(id);
        if std::mem::replace(&mut provider.belonging.asked, Asked::Now) == Asked::Now {
            continue;
        }
        let provider_id = *provider_id;
        // The place is of whoever asks: what else the provider's own namespace does is not waited for.
        write(turn.state, namespace, Write::Identify { id: provider_id, client: remote });
    }
    file_expiry(turn, id, object);
    true
}

/// The credential of a provider has been read, or cannot be.
pub(crate) fn identified(turn: &mut Turn<'_>, id: ProviderId) {
    learn_account(turn, id);
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    if provider.belonging.asked == Asked::Now {
        provider.belonging.asked = Asked::Yes;
    }
    let waiting = std::mem::take(&mut provider.belonging.waiting);
    reconcile_each(turn, waiting);
}

/// What a call has read of a provider's credential is known from now on: what is sent is sent for
/// that account, and whoever claims the same webhooks is looked at again.
pub(crate) fn learn_account(turn: &mut Turn<'_>, id: ProviderId) {
    let now = turn.now;
    let Some(provider) = turn.state.providers.get_mut(id) else {
        return;
    };
    let Some((remote, account)) =
        provider.client.as_ref().and_then(|remote| Some((remote, remote.account()?)))
    else {
        return;
    };
    remote.act_for(account);
    provider.belonging.asked = Asked::Yes;
    let before = provider.belonging.credential;
    if before.is_some_and(|(known, _)| known == account) {
        return;
    }
    let number = turn.state.accounts.change(before, account);
    provider.belonging.credential = Some((account, number));
    let waiting = std::mem::take(&mut provider.belonging.waiting);
    if before.is_some() {
        provider.belonging.changed = Some(now.wall);
    }
    let users: Vec<SubscriptionId> = provider.users.iter().copied().collect();
    reconcile_each(turn, waiting);
    if before.map(|(_, number)| number) != Some(number) {
        for user in users {
            turn.state.free_claimants(user, true);
        }
    }
}

/// Whether a call was not sent because the credential is another than the one that was known, and
/// is to be decided on again at once. A credential that changes all the time is a failure.
pub(crate) fn is_about_account(turn: &mut Turn<'_>, id: SubscriptionId, failure: &CallFailure) -> bool {
    let now = turn.now;
    if *failure != CallFailure::Refused(Refusal::AccountChanged) {
        return false;
    }
    let Some(provider_id) = turn.state.entry(id).map(|entry| entry.provider) else {
        return false;
    };
    let changed = |state: &State| state.provider(provider_id).and_then(|provider| provider.belonging.changed);
    let before = changed(turn.state);
    learn_account(turn, provider_id);
    before.is_none_or(|before| before > now.wall || between(before, now.wall) >= SETTLED_AFTER)
}
