//! A listing's turn for its next page.

use std::time::Duration;

use crate::engine::dispatch::places::{give_back, take};
use crate::engine::effect::Call;
use crate::engine::ids::ProviderId;
use crate::engine::providers::filing::{file_provider, file_provider_at, page_at};
use crate::engine::queue::call_place::Given;
use crate::engine::reading::Paused;
use crate::engine::state::State;
use crate::engine::turn::Turn;

/// When a page is looked at again that has let calls of its provider go first.
const LETS_GO_FOR: Duration = Duration::from_millis(250);

/// A listing's turn for its next page.
pub(crate) fn page_in_turn(turn: &mut Turn<'_>, id: ProviderId, given: &Given<'_>) {
    let now = turn.now;
    let alone = turn.state.is_alone();
    if let Some(provider) = turn.state.provider_mut(id) {
        provider.page = None;
    }
    let is_due = page_at(turn.state, id, now).is_some_and(|at| at <= now.boot);
    let others = has_calls(turn.state, id);
    let (stopping, term) = (turn.state.stopping, turn.state.term);
    let State { providers, places, waiting, .. } = &mut *turn.state;
    let Some(provider) = providers.get_mut(id) else {
        return;
    };
    let Some(client) = provider.client.clone().filter(|_| is_due && !stopping) else {
        return file_provider(turn, id);
    };
    let namespace = provider.namespace;
    if provider.calls >= provider.limit(now.wall) && provider.hold.is_open() {
        // A call is trying whether the pause is over.
        return file_provider_at(turn, id, Some(now.boot + LETS_GO_FOR));
    }
    if !provider.bucket.has(now.boot) || (others && provider.lets_others_go(now.boot)) {
        let at = provider.bucket.ready_at(now.boot).max(now.boot + LETS_GO_FOR);
        return file_provider_at(turn, id, Some(at));
    }
    if !provider.reads {
        if !places.readings.free_for(namespace, alone) {
            let arrival = waiting.arrive();
            provider.reads_next = Some(arrival);
            waiting.readings.put(namespace, arrival, id);
            return;
        }
        provider.reads = true;
        places.readings.take(namespace);
    }
    let place = take(turn.state, given, id);
    let Some(provider) = turn.state.provider_mut(id) else {
        return give_back(turn.state, place);
    };
    provider.listing_at = Some(Box::new(place));
    let paused = provider.paused.take().unwrap_or_else(|| {
        provider.wanted = None;
        provider.listing_since = Some(now.wall);
        Paused::new(now, provider.listing_epoch)
    });
    turn.call(Call::List { id, client, paused: Box::new(paused), term, started: now });
}

/// Whether calls wait that may be the provider's.
fn has_calls(state: &State, id: ProviderId) -> bool {
    let Some(provider) = state.provider(id) else {
        return false;
    };
    let origin = provider.origin().and_then(|origin| state.origins.get(origin));
    let tenant = origin.and_then(|origin| origin.tenant(provider.namespace));
    !provider.blocked.is_empty() || tenant.is_some_and(|tenant| tenant.ready.calls() > 0)
}
