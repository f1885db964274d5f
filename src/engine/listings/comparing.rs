//! Comparing what is on record with what a listing shows.

use std::sync::Arc;
use std::time::Duration;

use crate::api::{ConditionStatus, Kind, Reason};
use crate::engine::dispatch::agenda::{leave_line, reconcile_each, reconcile_soon};
use crate::engine::dispatch::places::begin;
use crate::engine::dispatch::writes::write;
use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::engine::listings::views::keep_view;
use crate::engine::ports::{Listing, Refusal};
use crate::engine::providers::status::record_provider;
use crate::engine::state::claims::Owners;
use crate::engine::state::provider::Provider;
use crate::engine::subscriptions::rest::rest;
use crate::engine::turn::Turn;
use crate::engine::write::Write;
use crate::rotation::facts::{Drift, ListingView, ProviderProfile};
use crate::rotation::time::{Moment, subtract};
use crate::rotation::unclaimed::Unclaimed;

/// So many ids must be missing before it is suspected that the credential is another account's.
const SUSPICIOUS: usize = 3;

fn provider_mismatch(provider: Option<&Provider>) -> bool {
    provider.and_then(|provider| provider.listing.as_ref()).is_some_and(|listing| listing.mismatch)
}

pub(crate) fn listing_arrived(turn: &mut Turn<'_>, id: ProviderId, listing: Listing, started: Moment) {
    let now = turn.now;
    let Some(provider) = turn.state.provider_mut(id) else {
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
        let expected = turn.state.entry(*user).and_then(|entry| entry.expected);
        // One that was applied a moment ago is known to be there; listings may lag behind.
        if let Some(expected) = expected
            && expected.applied <= settled
        {
            on_record += 1;
            missing += usize::from(remotes.by_digest(expected.id).is_none());
        }
    }
    let mismatch = missing >= SUSPICIOUS && missing * 2 > on_record;
    let was_mismatch = provider_mismatch(turn.state.provider(id));
    let view = Arc::new(ListingView { begun, remotes, mismatch });
    keep_view(turn, id, &view);
    let reason = (ConditionStatus::True, Reason::Valid, "the provider takes our calls".to_owned());
    if let Some(provider) = turn.state.provider_mut(id) {
        provider.answered = Some(reason);
        provider.hold.close(now.wall);
    }
    record_provider(turn, id);
    if mismatch != was_mismatch {
        // Those without an id wait for nothing else.
        let without_id = users
            .iter()
            .copied()
            .filter(|user| (turn.state.entry(*user)).is_some_and(|entry| entry.expected.is_none()))
            .collect::<Vec<_>>();
        reconcile_each(turn, without_id);
    }
    for user in users {
        let as_expected = turn.state.entry(user).is_some_and(|entry| {
            let expected = entry.expected.filter(|expected| !expected.secrets && !expected.missing);
            entry.is_calm()
                && expected.is_some_and(|is| {
                    view.remotes.by_digest(is.id).is_some_and(|listed| is.difference(listed).is_none())
                })
        });
        if as_expected && !asked.contains(&user) {
            continue;
        }
        compare(turn, user, &view, asked.contains(&user));
    }
}

/// Compares one subscription with what the provider shows.
fn compare(turn: &mut Turn<'_>, id: SubscriptionId, view: &ListingView, asked: bool) {
    let Some(entry) = turn.state.entry_mut(id) else {
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
        turn.state.index(id, &object);
        return reconcile_soon(turn, id);
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
        let owners = Owners::new(turn.state, id);
        let others = view.remotes.alike(wanted).map(|(other, _)| other).filter(|other| *other != remote_id);
        if let Some(others) = Unclaimed::among(others, &owners).named() {
            let compared = turn.state.profile_of(id, ProviderProfile::compared).unwrap_or_default();
            let note = format!(
                "besides webhook {remote_id} the provider shows {others} with {compared}; delete it there"
            );
            turn.emit(Kind::WebhookSubscription, &key, true, Reason::DuplicateFound, note);
        }
    }
    if uses_secrets && !missing {
        compare_secrets(turn, id);
    } else if changed {
        reconcile_soon(turn, id);
    }
}

fn compare_secrets(turn: &mut Turn<'_>, id: SubscriptionId) {
    let Some(entry) = turn.state.entry(id).filter(|entry| !entry.is_busy()) else {
        return;
    };
    let Some(object) = entry.object() else { return };
    let namespace = entry.namespace;
    let client = turn.state.provider(entry.provider).and_then(|provider| provider.client.clone());
    let (Some(client), Some(spec)) = (client, object.spec) else {
        return;
    };
    leave_line(turn, id);
    begin(turn.state, id);
    let (author, spec) = (object.identity.key.namespace, Box::new(spec));
    write(turn.state, namespace, Write::CompareSecrets { id, client, namespace: author, spec });
}

pub(crate) fn secrets_compared(
    turn: &mut Turn<'_>,
    id: SubscriptionId,
    result: Result<Option<String>, Refusal>,
) {
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    let Some(object) = entry.object() else { return };
    if let Ok(secrets) = result
        && object.status.applied_secrets.is_some()
        && secrets != object.status.applied_secrets
    {
        entry.remember(|memory| memory.secrets_changed = true);
    }
    rest(turn, id);
}
