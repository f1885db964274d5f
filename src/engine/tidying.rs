//! Letting go of what nothing declares, nothing uses and nothing is under way for.
//!
//! A pause outlives the object that ran into it: a hold-back, or a budget that is spent, is kept
//! until it is over. Otherwise deleting an object and creating it again would walk around it. As
//! whoever may create objects could fill the memory with such pauses, only so many are kept, and
//! those that end first go first.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Engine;
use super::ids::{ProviderId, SourceId};
use super::namespaces::NamespaceId;
use super::state::{Provider, Source, SourceKey};
use super::timers::Alarm;
use crate::rotation::time::{Moment, between};

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

impl Engine {
    pub(super) fn tidy(&mut self, now: Moment) {
        if now.boot < self.next_tidying {
            return;
        }
        self.next_tidying = now.boot + EVERY;
        self.tidy_sources(now);
        self.tidy_views();
        self.tidy_providers(now);
        self.tidy_origins(now);
    }

    fn tidy_sources(&mut self, now: Moment) {
        let mut idle = Vec::new();
        for id in self.state.sources.numbers().into_iter().map(SourceId) {
            let Some(source) = self.state.source_mut(id).filter(|source| source.users.is_empty()) else {
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
            self.stop_minting(id);
            if let Some(mut source) = self.state.sources.remove(id.0) {
                self.state.namespaces.leave(source.namespace);
                self.state.timers.unfile(&mut source.timer, Alarm::Source(id));
                self.state.timers.unfile(&mut source.offering.timer, Alarm::Gates(id));
                self.state.timers.unfile(&mut source.renewal, Alarm::Renewal(id));
                self.state.source_by_key.remove(&source.key);
            }
        }
    }

    fn tidy_providers(&mut self, now: Moment) {
        let mut idle = Vec::new();
        for (id, provider) in self.state.providers.iter_mut() {
            if provider.is_idle() {
                let held = by_boot(provider.hold.remembered_until(now.wall), now);
                let paused = held.max(provider.bucket.full_at(now.boot));
                idle.push((provider.namespace, paused, ProviderId(id)));
            }
        }
        for id in leaving_by_namespace(idle) {
            if let Some(mut provider) = self.state.providers.remove(id.0) {
                self.state.namespaces.leave(provider.namespace);
                self.state.timers.unfile(&mut provider.timer, Alarm::Provider(id));
                self.state.provider_by_key.remove(&provider.key);
                self.state.forget_account(&mut provider.belonging);
                self.ports.meter.provider_gone(&provider.key);
            }
        }
    }

    fn tidy_origins(&mut self, now: Moment) {
        let mut idle = Vec::new();
        for (name, origin) in &mut self.state.origins {
            let providers = origin.providers.iter().filter_map(|id| self.state.providers.get(id.0));
            let used = providers.map(|provider| provider.namespace).collect();
            origin.tidy(&used, now);
            if origin.is_idle() && origin.providers.is_empty() {
                // An origin is nobody's: what is kept of it is bounded in all.
                idle.push((origin.remembered_until(now), name.clone()));
            }
        }
        for name in leaving(idle, MOST_PAUSES) {
            self.state.origins.remove(&name);
        }
    }

    /// Nobody uses the source any more, or its object is deleted: no token of it is kept, and nothing
    /// is minted. It goes itself when nothing is under way for it and no pause is pending.
    pub(super) fn leave_source(&mut self, id: SourceId, now: Moment) {
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        source.forget_tokens();
        source.spec = None;
        source.end_back_off(now);
        if source.state.wait.is_none() {
            source.state.failing = None;
            source.failures = 0;
        }
        self.stop_minting(id);
        if let Some(source) = self.state.sources.get_mut(id.0) {
            self.state.timers.unfile(&mut source.timer, Alarm::Source(id));
            self.state.timers.unfile(&mut source.offering.timer, Alarm::Gates(id));
            self.state.timers.unfile(&mut source.renewal, Alarm::Renewal(id));
        }
    }

    /// What a subscription spells out is gone with the last one that does.
    pub(super) fn leave_unused_source(&mut self, id: SourceId, now: Moment) {
        let is_unused =
            |source: &Source| source.users.is_empty() && matches!(source.key, SourceKey::Inline { .. });
        if self.state.source(id).is_some_and(is_unused) {
            self.leave_source(id, now);
        }
    }

    fn stop_minting(&mut self, id: SourceId) {
        if let Some(source) = self.state.source_mut(id)
            && let Some(wanted) = source.wanted.take()
        {
            let namespace = source.namespace;
            self.mint_queue.remove(namespace, &(wanted, id));
        }
    }
}

impl Source {
    /// Whether nothing declares it and nothing is under way for it.
    fn is_idle(&self) -> bool {
        let is_declared = self.object.is_some();
        self.users.is_empty() && !is_declared && !self.minting && !self.recording && self.is_unheard()
    }
}

impl Provider {
    /// Whether nothing declares it, nothing uses it and nothing is under way for it.
    pub(super) fn is_idle(&self) -> bool {
        let is_called = self.calls > 0 || self.is_listing() || !self.belonging.is_idle();
        let is_written = self.recording || self.keeping.writing;
        self.users.is_empty() && self.declared.is_none() && !is_called && !is_written
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
