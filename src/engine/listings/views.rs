//! How long complete listings are kept, and how many.
//!
//! A listing serves those that look for their remote, and is of no use to anybody whose remote is
//! known. It goes with the last one that it serves; and as its size is up to whoever answers, those of
//! one namespace have a limit together. Without one, another is read when it is needed.

use std::sync::Arc;

use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::engine::state::State;
use crate::engine::state::provider::Provider;
use crate::engine::turn::Turn;
use crate::rotation::facts::ListingView;

/// The most bytes of complete listings that are kept for one namespace: at least one always fits.
const MOST_OF_A_NAMESPACE: usize = 32 * 1024 * 1024;

const _: () = assert!(crate::rotation::reading::MAX_WEIGHT <= MOST_OF_A_NAMESPACE);

/// Which of these listings, with their begin and weight, go: the newest stays, and of the others those
/// that were begun last, as many as fit beside it.
fn too_many<Id: Copy + Ord, Begin: Ord>(
    mut kept: Vec<(Id, Begin, usize)>,
    newest: Id,
    most: usize,
) -> Vec<Id> {
    kept.sort_unstable_by(|one, other| (one.0 != newest, &other.1).cmp(&(other.0 != newest, &one.1)));
    let mut bytes = 0_usize;
    let mut goes = |weight: usize| {
        bytes = bytes.saturating_add(weight);
        bytes > most
    };
    kept.into_iter().filter_map(|(id, _, weight)| goes(weight).then_some(id)).collect()
}

/// Keeps a listing that has just become complete, if it will be needed, in place of the one before.
pub(crate) fn keep_view(turn: &mut Turn<'_>, id: ProviderId, view: &Arc<ListingView>) {
    let is_needed = turn.state.provider(id).is_some_and(|provider| needs_a_view(turn.state, provider));
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    provider.listing = is_needed.then(|| Arc::clone(view));
    let namespace = Arc::clone(&provider.key.namespace);
    if is_needed {
        make_room(turn, id, &namespace);
    }
}

/// The listings of a namespace that were begun first go until the others fit, but not this one.
fn make_room(turn: &mut Turn<'_>, newest: ProviderId, namespace: &str) {
    let others = turn.state.providers.iter();
    let kept: Vec<_> = others
        .filter(|(_, provider)| *provider.key.namespace == *namespace)
        .filter_map(|(id, provider)| Some((id, provider.listing.as_ref()?)))
        .map(|(id, view)| (id, view.begun, view.remotes.weight()))
        .collect();
    for id in too_many(kept, newest, MOST_OF_A_NAMESPACE) {
        if let Some(provider) = turn.state.provider_mut(id) {
            provider.listing = None;
        }
    }
}

/// Lets go of listings that nobody needs any more.
pub(crate) fn tidy_views(turn: &mut Turn<'_>) {
    for id in turn.state.providers.ids() {
        let is_left = turn
            .state
            .provider(id)
            .is_some_and(|provider| provider.listing.is_some() && !needs_a_view(turn.state, provider));
        if is_left && let Some(provider) = turn.state.provider_mut(id) {
            provider.listing = None;
        }
    }
}

/// Whether somebody's remote is not known, or somebody waits for a listing.
fn needs_a_view(state: &State, provider: &Provider) -> bool {
    let is_unsure = |id: &SubscriptionId| {
        let expected = state.entry(*id).and_then(|entry| entry.expected);
        expected.is_none_or(|expected| expected.unsure)
    };
    !provider.waiting.is_empty() || provider.users.iter().any(is_unsure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listings_of_a_namespace_that_were_begun_first_make_room() {
        let kept = || vec![('a', 3, 10), ('b', 1, 10), ('c', 4, 10), ('d', 2, 10)];
        assert!(too_many(kept(), 'c', 40).is_empty(), "all fit");
        assert_eq!(too_many(kept(), 'c', 30), ['b']);
        assert_eq!(
            too_many(kept(), 'b', 20),
            ['a', 'd'],
            "one that has just been read stays, and the next newest"
        );
        assert_eq!(too_many(kept(), 'b', 10), ['c', 'a', 'd']);
    }
}
