//! Keeping what deletions will need: the provider object, by a finalizer, and its credential.
//!
//! A namespace that is deleted, or a release that is uninstalled, takes providers and Secrets away
//! together with the subscriptions whose deletion has to call that very provider.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Engine;
use super::calls::{About, Report};
use super::ids::{ProviderId, SubscriptionId};
use super::ports::{Custody, RecordFailure};
use crate::api::{Kind, Reason};
use crate::rotation::backoff;
use crate::rotation::time::Moment;
use crate::rotation::wait::Wait;

/// The longest pause between two attempts to write a provider's finalizer.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is kept of a provider for deletions.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// How many subscriptions have the policy to delete their remote, and are not gone yet.
    pub(super) holders: u32,
    /// What the remote was told to do with its credential.
    custody: Custody,
    /// The finalizer is being written.
    pub(super) writing: bool,
    /// It could not be written: when to try again, and how often that failed.
    pub(super) pause: Option<(Wait, u32)>,
    /// Those whose create waits until the finalizer stands.
    waiting: BTreeSet<SubscriptionId>,
    /// People were told that the provider's deletion waits.
    emitted: bool,
}

impl Keeping {
    /// The provider has another remote, which has been told nothing, or none.
    pub(super) fn forget_client(&mut self) {
        self.custody = Custody::Nothing;
    }
}

impl Engine {
    /// Looks at the providers that have got their first holder, or lost their last.
    pub(super) fn keep_changed_providers(&mut self, now: Moment) {
        for id in std::mem::take(&mut self.state.holders_changed) {
            self.keep_provider(id, now);
        }
    }

    /// Has a provider and its credential kept while deletions will need them, and no longer.
    pub(super) fn keep_provider(&mut self, id: ProviderId, now: Moment) {
        if !self.synced {
            return;
        }
        let leads = self.term.is_some();
        let Some(provider) = self.state.provider_mut(id) else {
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
            self.set_custody(id, custody);
        }
        if leads {
            self.keep_provider_object(id, now);
        }
    }

    /// Has the object itself kept, and tells people when its deletion waits.
    fn keep_provider_object(&mut self, id: ProviderId, now: Moment) {
        let Some(provider) = self.state.provider_mut(id) else {
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
            self.emit(Kind::WebhookProvider, &key, false, Reason::Pending, note);
        }
        if writes && let Some(provider) = self.state.provider_mut(id) {
            provider.keeping.writing = true;
            let namespace = provider.namespace;
            let record = std::sync::Arc::clone(&self.ports.record);
            self.spawn_write(namespace, About::Aside, async move {
                let result = record.set_provider_finalizer(&key, &uid, is_held).await;
                Report::ProviderFinalizerWritten { id, uid, wanted: is_held, result }
            });
        }
    }

    fn set_custody(&mut self, id: ProviderId, custody: Custody) {
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        let Some(remote) = provider.client.clone() else {
            return;
        };
        if std::mem::replace(&mut provider.keeping.custody, custody) == custody {
            return;
        }
        if custody == Custody::Nothing {
            // Said by the call itself; there is nothing to read.
            drop(remote.keep_credential(custody));
            return;
        }
        let namespace = provider.namespace;
        self.spawn_write(namespace, About::Aside, async move {
            remote.keep_credential(custody).await;
            Report::CredentialKept(id)
        });
    }

    pub(super) fn credential_kept(&self, id: ProviderId) {
        if let Some(provider) = self.state.provider(id) {
            tracing::debug!(provider = %provider.key, "its credential is kept for deletions");
        }
    }

    /// The finalizer stands, or stands no more, or could not be written.
    pub(super) fn provider_finalizer_written(
        &mut self,
        id: ProviderId,
        uid: &str,
        wanted: bool,
        result: &Result<(), RecordFailure>,
        now: Moment,
    ) {
        let random = self.ports.random.bits();
        let Some(provider) = self.state.provider_mut(id) else {
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
        self.reconcile_each(waiting);
        self.file_provider(id, now);
        if !matches!(result, Err(RecordFailure::Gone)) {
            self.keep_provider(id, now);
        }
    }

    /// Whether the finalizer of a subscription's provider is under way: the create that it will be
    /// needed for waits so long, and is looked at again then.
    pub(super) fn waits_for_keeping(&mut self, id: SubscriptionId) -> bool {
        let Some(provider) = self.state.entry(id).map(|entry| entry.provider) else {
            return false;
        };
        let Some(provider) = self.state.provider_mut(provider) else {
            return false;
        };
        if provider.keeping.writing {
            provider.keeping.waiting.insert(id);
        }
        provider.keeping.writing
    }
}
