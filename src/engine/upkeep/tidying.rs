//! Letting go of what nothing declares, nothing uses and nothing is under way for.
//!
//! A pause outlives the object that ran into it: a hold-back, or a budget that is spent, is kept
//! until it is over. Otherwise deleting an object and creating it again would walk around it. As
//! whoever may create objects could fill the memory with such pauses, only so many are kept, and
//! those that end first go first.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::engine::effect::Count;
use crate::engine::listings::views::tidy_views;
use crate::engine::queue::timers::Alarm;
use crate::engine::turn::Turn;
use crate::rotation::time::{Moment, between};
use crate::shares::NamespaceId;

/// How often there is a look at what may go.
const EVERY: Duration = Duration::from_secs(5);

/// How many pauses are kept that nobody waits for, of each kind and for each namespace.
const MOST_PAUSES: usize = 1_000;

/// Which of these go: all whose pause is over, and those whose pauses are too many for their
/// namespace.
fn leaving_by_namespace<Id: Ord>(idle: Vec<(NamespaceId, Option<Duration>, Id)>) -> Vec<Id> {
    let mut namespaces: BTreeMap<NamespaceId, Vec<(Option<Duration>, Id)>> = BTreeMap::new();
    for (namespace, until, id) in idle {
        namespaces.entry(namespace).or_default().push((until, id));
    }
    namespaces.into_values().flat_map(|idle| leaving(idle, MOST_PAUSES)).collect()
}

/// Which of these go: all whose pause is over, and those whose pauses are too many.
fn leaving<Id: Ord>(mut idle: Vec<(Option<Duration>, Id)>, most_pauses: usize) -> Vec<Id> {
    // Without a pause comes first, then the pause that ends first.
    idle.sort_unstable();
    let free = idle.iter().take_while(|(paused, _)| paused.is_none()).count();
    let surplus = (idle.len() - free).saturating_sub(most_pauses);
    idle.into_iter().take(free + surplus).map(|(_, id)| id).collect()
}

/// The same moment by the clock that cannot be set.
fn by_boot(until: Option<DateTime<Utc>>, now: Moment) -> Option<Duration> {
    until.map(|until| now.boot + between(now.wall, until))
}

pub(crate) fn tidy(turn: &mut Turn<'_>) {
    let now = turn.now;
    if now.boot < turn.state.next_tidying {
        return;
    }
    turn.state.next_tidying = now.boot + EVERY;
    tidy_sources(turn);
    tidy_views(turn);
    tidy_providers(turn);
    tidy_origins(turn);
}

fn tidy_sources(turn: &mut Turn<'_>) {
    let now = turn.now;
    let mut idle = Vec::new();
    for id in turn.state.sources.ids() {
        let Some(source) = turn.state.source_mut(id).filter(|source| source.users.is_empty()) else {
            continue;
        };
        if source.is_idle() {
            let until = by_boot(source.hold.remembered_until(now.wall), now);
            idle.push((source.namespace, until, id));
        } else if source.state.held.as_ref().is_some_and(|held| !held.is_alive(now)) {
            source.forget_tokens();
        }
    }
    for id in leaving_by_namespace(idle) {
        turn.state.stop_minting(id);
        if let Some(mut source) = turn.state.sources.remove(id) {
            turn.state.namespaces.leave(source.namespace);
            turn.state.timers.unfile(&mut source.timer, Alarm::Source(id));
            turn.state.timers.unfile(&mut source.offering.timer, Alarm::Gates(id));
            turn.state.timers.unfile(&mut source.renewal, Alarm::Renewal(id));
            turn.state.source_by_key.remove(&source.key);
        }
    }
}

fn tidy_providers(turn: &mut Turn<'_>) {
    let now = turn.now;
    let mut idle = Vec::new();
    for (id, provider) in turn.state.providers.iter_mut() {
        if provider.is_idle() {
            let held = by_boot(provider.hold.remembered_until(now.wall), now);
            let paused = held.max(provider.bucket.full_at(now.boot));
            idle.push((provider.namespace, paused, id));
        }
    }
    for id in leaving_by_namespace(idle) {
        if let Some(mut provider) = turn.state.providers.remove(id) {
            turn.state.namespaces.leave(provider.namespace);
            turn.state.timers.unfile(&mut provider.timer, Alarm::Provider(id));
            turn.state.provider_by_key.remove(&provider.key);
            turn.state.forget_account(&mut provider.belonging);
            turn.count(Count::ProviderGone(provider.key));
        }
    }
}

fn tidy_origins(turn: &mut Turn<'_>) {
    let now = turn.now;
    let mut idle = Vec::new();
    for (name, origin) in &mut turn.state.origins {
        let providers = origin.providers.iter().filter_map(|id| turn.state.providers.get(*id));
        let used = providers.map(|provider| provider.namespace).collect();
        origin.tidy(&used, now);
        if origin.is_idle() && origin.providers.is_empty() {
            // An origin is nobody's: what is kept of it is bounded in all.
            idle.push((origin.remembered_until(now), name.clone()));
        }
    }
    for name in leaving(idle, MOST_PAUSES) {
        turn.state.origins.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_of_one_namespace_push_out_none_of_another() {
        let mut idle = vec![(2, Some(Duration::from_secs(1)), 9_999)];
        idle.extend((0..2_000).map(|number| (1, Some(Duration::from_secs(60)), number)));
        let leaving = leaving_by_namespace(idle);
        assert_eq!((leaving.len(), leaving.contains(&9_999)), (1_000, false));
    }

    #[test]
    fn pauses_are_kept_and_of_too_many_those_that_end_first_go() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let idle = || vec![(seconds(30), 'a'), (None, 'b'), (seconds(10), 'c'), (seconds(20), 'd')];
        assert_eq!(leaving(idle(), 3), ['b']);
        assert_eq!(leaving(idle(), 1), ['b', 'c', 'd']);
        assert_eq!(leaving(idle(), 0), ['b', 'c', 'd', 'a']);
    }
}
