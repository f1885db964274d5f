//! Comparing what is on record with what a listing shows.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::calls::{About, Report};
use super::ids::{ProviderId, SubscriptionId};
use super::ports::Listing;
use super::state::{Owners, Provider};
use crate::api::{ConditionStatus, Kind, Reason};
use crate::rotation::facts::{Drift, ListingView};
use crate::rotation::time::{Moment, subtract};
use crate::rotation::unclaimed::Unclaimed;

/// So many ids must be missing before it is suspected that the credential is another account's.
const SUSPICIOUS: usize = 3;

fn provider_mismatch(provider: Option<&Provider>) -> bool {
    provider.and_then(|provider| provider.listing.as_ref()).is_some_and(|listing| listing.mismatch)
}

impl Engine {
    pub(super) fn listing_arrived(&mut self, id: ProviderId, listing: Listing, started: Moment, now: Moment) {
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        let remotes = listing.shown;
        provider.list_forbidden = false;
        provider.list_failures = 0;
        provider.list_wait = None;
        let (users, asked) = (provider.users.clone(), provider.waiting.clone());
        // By the clock as it is now: it may have been set back since the listing began.
        let took = now.boot.saturating_sub(started.boot);
        let begun = started.wall.min(subtract(now.wall, took));
        let settle = provider.client.as_ref().map_or(Duration::ZERO, |remote| remote.profile().settle);
        let settled = subtract(begun, settle).timestamp_millis();
        let (mut on_record, mut missing) = (0, 0);
        for user in &users {
            let expected = self.state.entry(*user).and_then(|entry| entry.expected);
            // One that was applied a moment ago is known to be there; listings may lag behind.
            if let Some(expected) = expected
                && expected.applied <= settled
            {
                on_record += 1;
                missing += usize::from(remotes.by_digest(expected.id).is_none());
            }
        }
        let mismatch = missing >= SUSPICIOUS && missing * 2 > on_record;
        let was_mismatch = provider_mismatch(self.state.provider(id));
        let view = Arc::new(ListingView { begun, remotes, mismatch });
        self.keep_view(id, &view);
        let reason = (ConditionStatus::True, Reason::Valid, "the provider takes our calls".to_owned());
        if let Some(provider) = self.state.provider_mut(id) {
            provider.answered = Some(reason);
            provider.hold.close(now.wall);
        }
        self.record_provider(id, now);
        if mismatch != was_mismatch {
            // Those without an id wait for nothing else.
            let without_id = users
                .iter()
                .copied()
                .filter(|user| (self.state.entry(*user)).is_some_and(|entry| entry.expected.is_none()))
                .collect::<Vec<_>>();
            self.reconcile_each(without_id);
        }
        for user in users {
            let as_expected = self.state.entry(user).is_some_and(|entry| {
                let expected = entry.expected.filter(|expected| !expected.secrets && !expected.missing);
                entry.is_calm()
                    && expected.is_some_and(|is| {
                        view.remotes.by_digest(is.id).is_some_and(|listed| is.difference(listed).is_none())
                    })
            });
            if as_expected && !asked.contains(&user) {
                continue;
            }
            self.compare(user, &view, asked.contains(&user));
        }
    }

    /// Compares one subscription with what the provider shows.
    pub(super) fn compare(&mut self, id: SubscriptionId, view: &ListingView, asked: bool) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let Some(object) = entry.object() else { return };
        let given = object.spec.as_ref().and_then(|spec| spec.webhook_id.as_ref());
        if given.is_some_and(|given| entry.is_not_there(given) && view.remotes.contains(given)) {
            // An update did not find it, and now it is shown.
            entry.remember(|memory| {
                memory.not_there = None;
                memory.listed_not_found = true;
            });
            self.state.index(id, &object);
            return self.reconcile_soon(id);
        }
        let (Some(remote_id), Some(spec)) = (object.status.webhook_id.clone(), object.spec.clone()) else {
            return;
        };
        let applied = entry.memory().listing_after.or(object.status.last_rotated_time);
        if entry.is_busy() || applied.is_some_and(|applied| view.begun < applied) {
            // It was begun before the last apply had ended: it says nothing about this one.
            return;
        }
        let Some(expected) = entry.expected else {
            return;
        };
        let wanted = expected.target;
        let missing = object.status.missing_since.is_some();
        let mut changed = missing;
        match view.remotes.get(&remote_id) {
            Some(listed) => {
                let differs = expected.difference(listed);
                entry.remember(|memory| {
                    let drift = match (differs, memory.drift) {
                        (None, _) => None,
                        (Some(_), None | Some(Drift::Seen)) => Some(Drift::Seen),
                        (Some(difference), Some(_)) => Some(Drift::Persists(difference)),
                    };
                    changed |= drift != memory.drift || memory.absent;
                    memory.drift = drift;
                    memory.absent = false;
                    memory.lacked_since = None;
                });
            }
            None => entry.remember(|memory| {
                changed = true;
                if missing {
                    memory.lacked_since = memory.lacked_since.or(Some(view.begun));
                } else {
                    memory.absent = true;
                    if std::mem::take(&mut memory.listed_not_found) {
                        // What the wait was for is over: the next update tells that it is gone.
                        memory.wait = None;
                    }
                }
            }),
        }
        let uses_secrets = spec
            .client_headers
            .iter()
            .any(|header| header.value_from.as_ref().is_some_and(|source| source.secret_key_ref.is_some()));
        let key = object.identity.key.clone();
        if asked && !missing {
            let owners = Owners::new(&self.state, id);
            let others =
                view.remotes.alike(wanted).map(|(other, _)| other).filter(|other| *other != remote_id);
            if let Some(others) = Unclaimed::among(others, &owners).named() {
                let compared =
                    self.profile_of(id, super::ports::ProviderProfile::compared).unwrap_or_default();
                let note = format!(
                    "besides webhook {remote_id} the provider shows {others} with {compared}; delete it there"
                );
                self.emit(Kind::WebhookSubscription, &key, true, Reason::DuplicateFound, note);
            }
        }
        if uses_secrets && !missing {
            self.compare_secrets(id);
        } else if changed {
            self.reconcile_soon(id);
        }
    }

    pub(super) fn compare_secrets(&mut self, id: SubscriptionId) {
        let Some(entry) = self.state.entry(id).filter(|entry| !entry.is_busy()) else {
            return;
        };
        let Some(object) = entry.object() else { return };
        let namespace = entry.namespace;
        let remote = self.state.provider(entry.provider).and_then(|provider| provider.client.clone());
        let (Some(remote), Some(spec)) = (remote, object.spec) else {
            return;
        };
        self.leave_line(id);
        self.begin(id, None);
        self.spawn_write(namespace, About::Subscription(id), async move {
            Report::Secrets(remote.document_secrets(&object.identity.key.namespace, &spec).await)
        });
    }
}
