//! What a call takes while it is under way, and gives back.

use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::engine::queue::call_place::{CallPlace, Given};
use crate::engine::queue::line::Work;
use crate::engine::state::State;

/// Takes the places for one request, and a part of the budgets.
pub(crate) fn take(state: &mut State, given: &Given<'_>, id: ProviderId) -> CallPlace {
    let (namespace, is_page) = (given.turn.namespace, matches!(given.turn.taken.work, Work::Page(_)));
    state.places.workers.take(namespace);
    if let Some(origin) = state.origins.get_mut(given.origin) {
        origin.began(given.turn);
    }
    if let Some(provider) = state.provider_mut(id) {
        provider.bucket.take(1);
        provider.calls += u32::from(!is_page);
        provider.calls_since_page = if is_page { 0 } else { provider.calls_since_page.saturating_add(1) };
    }
    CallPlace { origin: given.origin.into(), namespace, provider: id, is_page }
}

/// Gives the places of a request back that has ended.
pub(crate) fn give_back(state: &mut State, place: CallPlace) {
    let CallPlace { origin, namespace, provider, is_page } = place;
    state.places.workers.give_back(namespace);
    if let Some(origin) = state.origins.get_mut(&*origin) {
        origin.ended(namespace);
    }
    if let Some(provider) = state.provider_mut(provider) {
        provider.calls = provider.calls.saturating_sub(u32::from(!is_page));
    }
}

/// Marks a subscription as being worked on, by a step that sends nothing to its provider.
pub(crate) fn begin(state: &mut State, id: SubscriptionId) {
    if let Some(entry) = state.entry_mut(id) {
        entry.busy = true;
    }
}

/// Marks a subscription as being worked on, and takes the places of its call.
pub(crate) fn begin_call(state: &mut State, id: SubscriptionId, given: &Given<'_>) {
    let Some(provider) = state.entry(id).map(|entry| entry.provider) else {
        return;
    };
    let place = take(state, given, provider);
    if let Some(entry) = state.entry_mut(id) {
        debug_assert!(entry.calling.is_none(), "one call at a time");
        entry.busy = true;
        entry.calling = Some(Box::new(place));
    }
}
