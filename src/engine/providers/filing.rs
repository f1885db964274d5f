//! When a provider is looked at next, and when the next page of its listing is put in line.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::engine::dispatch::agenda::reconcile_each;
use crate::engine::dispatch::pauses::held_back;
use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::engine::queue::timers::Alarm;
use crate::engine::state::State;
use crate::engine::turn::Turn;
use crate::rotation::time::{Moment, between};

/// Files a provider under the time of its next look, and puts the next page of its listing in line
/// when one is wanted and can be had now.
pub(crate) fn file_provider(turn: &mut Turn<'_>, id: ProviderId) {
    file_provider_at(turn, id, None);
}

/// The same; `later`: a page is not put in line before then.
pub(crate) fn file_provider_at(turn: &mut Turn<'_>, id: ProviderId, later: Option<Duration>) {
    let now = turn.now;
    end_reading(turn, id);
    let page_at = later.or_else(|| page_at(turn.state, id, now));
    let line_up = page_at.is_some_and(|at| at <= now.boot);
    line_page_up(turn, id, line_up);
    let leads = turn.state.term.is_some();
    let Some(provider) = turn.state.providers.get_mut(id) else {
        return;
    };
    let held = provider.hold.pending(now.wall).map(|held| now.boot + between(now.wall, held.until));
    let unkept = (provider.keeping.pause.and_then(|(wait, _)| wait.pending(now.wall)))
        .filter(|_| leads)
        .map(|until| now.boot + between(now.wall, until));
    let wakes = provider.wakes_at(now.boot);
    let unwritten = provider.pace.owed().filter(|at| *at > now.boot);
    let page = page_at.filter(|_| !line_up);
    let at = [page, held, unkept, wakes, unwritten, provider.next_verification].into_iter().flatten().min();
    match at {
        Some(at) => turn.state.timers.file(&mut provider.timer, at, Alarm::Provider(id)),
        None => turn.state.timers.unfile(&mut provider.timer, Alarm::Provider(id)),
    }
}

/// When the next page of a listing can be put in line; `None` when none is wanted, or something
/// stands in its way that no time takes away.
pub(crate) fn page_at(state: &State, id: ProviderId, now: Moment) -> Option<Duration> {
    let provider = state.provider(id)?;
    // What cannot be begun now is filed when that changes, or this would go round and round.
    let possible =
        state.term.is_some() && !provider.suspended && !provider.is_listing() && provider.can_list();
    let asked_for = provider.wanted.is_some() || provider.paused.is_some();
    if !possible || !asked_for {
        return None;
    }
    let waits = provider.list_wait.and_then(|wait| wait.pending(now.wall));
    let held = held_back(state, provider, now).map(|held| held.until);
    Some(waits.max(held).map_or(now.boot, |until| now.boot + between(now.wall, until)))
}

/// Puts a page in line at its origin, or takes it out.
fn line_page_up(turn: &mut Turn<'_>, id: ProviderId, wanted: bool) {
    let now = turn.now;
    let Some(provider) = turn.state.providers.get_mut(id) else {
        return;
    };
    let namespace = provider.namespace;
    if !wanted && let Some(place) = provider.reads_next.take() {
        turn.state.waiting.readings.remove(namespace, &place);
    }
    let waited_for = !provider.waiting.is_empty();
    let origin = provider.origin().map(Arc::<str>::from).filter(|_| wanted && provider.reads_next.is_none());
    if let Some((before, place)) = &provider.page {
        if origin.as_ref() == Some(before) && place.waited_for == waited_for {
            return;
        }
        let tenant = turn.state.origins.get_mut(&**before).and_then(|origin| origin.tenant_mut(namespace));
        if let Some(tenant) = tenant {
            tenant.ready.remove_page(id, *place);
        }
        provider.page = None;
    }
    if let Some(name) = origin
        && let Some(origin) = turn.state.origins.get_mut(&*name)
    {
        let place = origin.tenant_for(namespace, now.boot).ready.put_page(id, waited_for);
        provider.page = Some((name, place));
    }
}

/// Gives the place of a listing back that is not read any more, and lets the next one begin.
fn end_reading(turn: &mut Turn<'_>, id: ProviderId) {
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    if !provider.reads || provider.paused.is_some() || provider.is_listing() {
        return;
    }
    provider.reads = false;
    let namespace = provider.namespace;
    turn.state.places.readings.give_back(namespace);
    let alone = turn.state.is_alone();
    let readings = &turn.state.places.readings;
    if let Some((_, _, next)) =
        turn.state.waiting.readings.next(|namespace| readings.free_for(namespace, alone))
    {
        if let Some(provider) = turn.state.provider_mut(next) {
            provider.reads_next = None;
        }
        file_provider(turn, next);
    }
}

/// A subscription needs a complete listing, begun at this time or later.
pub(crate) fn want_listing(turn: &mut Turn<'_>, id: SubscriptionId, begun_after: DateTime<Utc>) {
    let now = turn.now;
    let Some(provider_id) = turn.state.entry(id).map(|entry| entry.provider) else {
        return;
    };
    let Some(provider) = turn.state.provider_mut(provider_id) else {
        return;
    };
    provider.waiting.insert(id);
    // The one that is being read will do, unless it was begun too early.
    if provider.listing_since.is_none_or(|since| since < begun_after) {
        provider.wanted =
            Some(provider.wanted.map_or(begun_after, |before| before.max(begun_after)).min(now.wall));
    }
    if !provider.is_listing() {
        file_provider(turn, provider_id);
    }
}

/// A listing is to be read for what it shows of this subscription; nothing waits for it.
pub(crate) fn verify_soon(turn: &mut Turn<'_>, id: SubscriptionId) {
    let now = turn.now;
    let Some(provider_id) = turn.state.entry(id).map(|entry| entry.provider) else {
        return;
    };
    let Some(provider) = turn.state.provider_mut(provider_id).filter(|it| !it.list_forbidden) else {
        return;
    };
    provider.wanted = Some(now.wall);
    if !provider.is_listing() {
        file_provider(turn, provider_id);
    }
}

/// Lets as many go on as the provider has places free.
pub(crate) fn wake_blocked(turn: &mut Turn<'_>, id: ProviderId) {
    let now = turn.now;
    let Some(provider) = turn.state.provider_mut(id).filter(|provider| !provider.blocked.is_empty()) else {
        return;
    };
    let free = provider.limit(now.wall).saturating_sub(provider.calls);
    let woken: Vec<SubscriptionId> = if provider.bucket.has(now.boot) {
        (0..free).map_while(|_| provider.blocked.pop_first()).collect()
    } else {
        Vec::new()
    };
    reconcile_each(turn, woken);
    file_provider(turn, id);
}
