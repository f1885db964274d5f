//! Keeping what deletions will need: the provider object, by a finalizer, and its credential.
//!
//! A namespace that is deleted, or a release that is uninstalled, takes providers and Secrets away
//! together with the subscriptions whose deletion has to call that very provider.

use std::time::Duration;

use crate::api::{Kind, Reason};
use crate::engine::dispatch::agenda::reconcile_each;
use crate::engine::dispatch::writes::write;
use crate::engine::effect::Effect;
use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::engine::ports::{Custody, RecordFailure};
use crate::engine::providers::filing::file_provider;
use crate::engine::state::State;
use crate::engine::turn::Turn;
use crate::engine::write::Write;
use crate::rotation::backoff;
use crate::rotation::wait::Wait;

/// The longest pause between two attempts to write a provider's finalizer.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Looks at the providers that have got their first holder, or lost their last.
pub(crate) fn keep_changed_providers(turn: &mut Turn<'_>) {
    for id in std::mem::take(&mut turn.state.holders_changed) {
        keep_provider(turn, id);
    }
}

/// Has a provider and its credential kept while deletions will need them, and no longer.
pub(crate) fn keep_provider(turn: &mut Turn<'_>, id: ProviderId) {
    if !turn.state.synced {
        return;
    }
    let leads = turn.state.term.is_some();
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    let Some((identity, ..)) = &provider.declared else {
        return;
    };
    let (is_held, is_ending) = (provider.keeping.holders > 0, identity.deleted.is_some());
    let custody = match (is_held, is_ending) {
        (false, _) => Custody::Nothing,
        (true, false) => Custody::Deletes,
        (true, true) => Custody::Ending,
    };
    // What is kept outlasts a lead that is lost for a moment; a process that waits reads no Secret.
    if leads || !is_held || provider.keeping.custody != Custody::Nothing {
        set_custody(turn, id, custody);
    }
    if leads {
        keep_provider_object(turn, id);
    }
}

/// Has the object itself kept, and tells people when its deletion waits.
fn keep_provider_object(turn: &mut Turn<'_>, id: ProviderId) {
    let now = turn.now;
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    let Some((identity, ..)) = &provider.declared else {
        return;
    };
    let (is_held, is_ending) = (provider.keeping.holders > 0, identity.deleted.is_some());
    let waits = is_held && is_ending && identity.has_finalizer;
    let emitted = std::mem::replace(&mut provider.keeping.emitted, waits);
    // The API server takes no new finalizer on what is being deleted.
    let differs = identity.has_finalizer != is_held && !(is_held && is_ending);
    let pauses = provider.keeping.pause.is_some_and(|(wait, _)| wait.pending(now.wall).is_some());
    let writes = differs && !provider.keeping.writing && !pauses;
    let (key, uid) = (identity.key.clone(), identity.uid.clone());
    let holders = provider.keeping.holders;
    if waits && !emitted {
        let note = format!(
            "its deletion waits until the subscriptions that use it with deletionPolicy: Delete are gone, {holders} \
             now; delete them, or set their policy to Orphan"
        );
        turn.emit(Kind::WebhookProvider, &key, false, Reason::Pending, note);
    }
    if writes && let Some(provider) = turn.state.provider_mut(id) {
        provider.keeping.writing = true;
        let namespace = provider.namespace;
        write(turn.state, namespace, Write::ProviderFinalizer { id, key, uid, wanted: is_held });
    }
}

fn set_custody(turn: &mut Turn<'_>, id: ProviderId, custody: Custody) {
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    let Some(remote) = provider.client.clone() else {
        return;
    };
    if std::mem::replace(&mut provider.keeping.custody, custody) == custody {
        return;
    }
    if custody == Custody::Nothing {
        turn.begin(Effect::ForgetCredential(remote));
        return;
    }
    let namespace = provider.namespace;
    write(turn.state, namespace, Write::KeepCredential { id, client: remote, custody });
}

pub(crate) fn credential_kept(state: &State, id: ProviderId) {
    if let Some(provider) = state.provider(id) {
        tracing::debug!(provider = %provider.key, "its credential is kept for deletions");
    }
}

/// The finalizer stands, or stands no more, or could not be written.
pub(crate) fn provider_finalizer_written(
    turn: &mut Turn<'_>,
    id: ProviderId,
    uid: &str,
    wanted: bool,
    result: &Result<(), RecordFailure>,
) {
    let now = turn.now;
    let random = turn.around.random.bits();
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    provider.keeping.writing = false;
    match result {
        Ok(()) => {
            provider.keeping.pause = None;
            if let Some((identity, ..)) = &mut provider.declared
                && identity.uid == uid
            {
                identity.has_finalizer = wanted;
            }
        }
        // It was another object, or is no more: the watch tells.
        Err(RecordFailure::Gone) => {}
        Err(failure) => {
            let failed = provider.keeping.pause.map_or(0, |(_, failed)| failed);
            let wait = backoff::delay(failed, LONGEST_PAUSE, random);
            provider.keeping.pause = Some((Wait::starting(now.wall, wait), failed.saturating_add(1)));
            let done = if wanted { "added" } else { "removed" };
            tracing::warn!(
                provider = %provider.key,
                "the finalizer of a WebhookProvider could not be {done}: {failure}; grant patch on \
                 webhookproviders; without it, a provider that is deleted before its subscriptions leaves their \
                 webhooks behind"
            );
        }
    }
    let waiting = std::mem::take(&mut provider.keeping.waiting);
    reconcile_each(turn, waiting);
    file_provider(turn, id);
    if !matches!(result, Err(RecordFailure::Gone)) {
        keep_provider(turn, id);
    }
}

/// Whether the finalizer of a subscription's provider is under way: the create that it will be
/// needed for waits so long, and is looked at again then.
pub(crate) fn waits_for_keeping(turn: &mut Turn<'_>, id: SubscriptionId) -> bool {
    let Some(provider) = turn.state.entry(id).map(|entry| entry.provider) else {
        return false;
    };
    let Some(provider) = turn.state.provider_mut(provider) else {
        return false;
    };
    if provider.keeping.writing {
        provider.keeping.waiting.insert(id);
    }
    provider.keeping.writing
}
