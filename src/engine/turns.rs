//! Whose turn it is for a call or a page, as far as workers and the origins' budgets go.

use std::ops::Bound;
use std::time::Duration;

use super::Engine;
use super::ids::{ProviderId, SubscriptionId};
use super::origin::Turn;
use super::ready::Work;
use crate::rotation::time::Moment;

/// How many turns are given before changes and answers are looked after again.
const BATCH: usize = 256;

impl Engine {
    /// Hands calls to free workers, as far as the origins' budgets go. Origins take turns, from one
    /// time to the next.
    pub(super) fn start_calls(&mut self, now: Moment) {
        self.more_turns = false;
        if self.term.is_none() {
            return;
        }
        let has_work =
            |(name, origin): (&String, &super::origin::Origin)| origin.has_work().then(|| name.clone());
        let last = (Bound::Excluded(self.last_origin.clone()), Bound::Unbounded);
        let mut origins: Vec<String> = self.state.origins.range(last).filter_map(has_work).collect();
        origins.extend(self.state.origins.range(..=self.last_origin.clone()).filter_map(has_work));
        let mut left = BATCH;
        let mut progress = true;
        while progress && self.workers.any_free() {
            progress = false;
            for origin in &origins {
                if left == 0 {
                    self.more_turns = true;
                    return;
                }
                if !self.workers.any_free() {
                    return;
                }
                if self.start_call(origin, now) {
                    progress = true;
                    left -= 1;
                    self.last_origin.clone_from(origin);
                }
            }
        }
    }

    /// Takes one piece of work of an origin. Returns whether there may be more.
    fn start_call(&mut self, name: &str, now: Moment) -> bool {
        let alone = self.state.is_alone();
        let Some(origin) = self.state.origins.get_mut(name) else {
            return false;
        };
        let Some(turn) = origin.next(&self.workers, alone, now) else {
            return false;
        };
        let provider = match turn.taken.work {
            Work::Call(id) => self.call_in_turn(id, &turn, now),
            Work::Page(id) => self.page_in_turn(id, now).then_some(id),
        };
        let Some(provider) = provider else {
            return true;
        };
        if let Some(origin) = self.state.origins.get_mut(name) {
            origin.began(&turn);
        }
        let is_page = matches!(turn.taken.work, Work::Page(_));
        if let Some(provider) = self.state.provider_mut(provider) {
            provider.bucket.take(1);
            provider.calls_since_page = if is_page { 0 } else { provider.calls_since_page.saturating_add(1) };
        }
        true
    }

    /// A subscription's turn. Returns its provider when a call was begun.
    fn call_in_turn(&mut self, id: SubscriptionId, turn: &Turn, now: Moment) -> Option<ProviderId> {
        let entry = self.state.entry_mut(id)?;
        debug_assert_eq!(entry.namespace, turn.namespace, "a turn is of the namespace that has it");
        let place = entry.place.take();
        let provider_id = entry.provider;
        let provider = self.state.provider_mut(provider_id)?;
        if provider.calls >= provider.limit(now.wall) || !provider.bucket.has(now.boot) {
            provider.blocked.insert(id, place.map_or(i64::MAX, |place| place.deadline()));
            self.file_provider(provider_id, now);
            return None;
        }
        if self.reconcile_with_turn(id, now) {
            return Some(provider_id);
        }
        self.wake_blocked(provider_id, now);
        None
    }

    /// Lets as many go on as the provider has places free.
    pub(super) fn wake_blocked(&mut self, id: ProviderId, now: Moment) {
        let Some(provider) = self.state.provider_mut(id).filter(|provider| !provider.blocked.is_empty())
        else {
            return;
        };
        let free = provider.limit(now.wall).saturating_sub(provider.calls);
        let woken: Vec<SubscriptionId> = if provider.bucket.has(now.boot) {
            (0..free).map_while(|_| provider.blocked.pop_first()).collect()
        } else {
            Vec::new()
        };
        for woken in woken {
            self.reconcile_soon(woken);
        }
        self.file_provider(id, now);
    }

    /// When the next call could be begun, if budget is all that lacks.
    pub(super) fn next_budget(&mut self, now: Moment) -> Option<Duration> {
        if !self.workers.any_free() || self.stopping {
            return None;
        }
        if self.more_turns {
            return Some(now.boot);
        }
        let alone = self.state.is_alone();
        let workers = &self.workers;
        self.state.origins.values_mut().filter_map(|origin| origin.next_at(workers, alone, now)).min()
    }
}
