//! Whose turn it is for a call, as far as the origins' budgets go.

use std::time::Duration;

use super::Engine;
use super::ready::Allowance;
use super::timers::Alarm;
use crate::rotation::time::Moment;

impl Engine {
    /// Hands calls to free workers, as far as the origins' budgets go.
    pub(super) fn start_calls(&mut self, now: Moment) {
        if self.term.is_none() {
            return;
        }
        let origins: Vec<String> = self
            .state
            .origins
            .iter()
            .filter(|(_, origin)| !origin.ready.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        let mut progress = true;
        while progress && self.calls_running < self.options.workers {
            progress = false;
            for origin in &origins {
                if self.calls_running >= self.options.workers {
                    break;
                }
                progress |= self.start_call(origin, now);
            }
        }
    }

    /// Takes one piece of work of an origin. Returns whether there may be more.
    pub(super) fn start_call(&mut self, name: &str, now: Moment) -> bool {
        let busy = &self.state.busy_by_namespace;
        let Some(origin) = self.state.origins.get_mut(name) else {
            return false;
        };
        if !origin.bucket.has(now.boot) {
            return false;
        }
        let pauses = origin.breaker.pending(now.wall).is_some();
        // During a pause and after it one call at a time shows whether the origin answers.
        let probes = pauses || origin.breaker.probes(now.wall);
        if probes && (origin.probing || origin.calls > 0) {
            return false;
        }
        #[allow(clippy::cast_precision_loss)]
        let scarce = origin.bucket.available(now.boot) < origin.ready.len() as f64;
        let allowance = Allowance {
            now: now.wall.timestamp_millis(),
            failing: origin.failing_bucket.has(now.boot),
            scarce,
        };
        // One whose failure counts already would tell nothing new of the origin.
        let taken = if pauses {
            origin.ready.take_last_attempt().map(|id| (id, false))
        } else {
            let untried = if probes { origin.ready.take_other_than(origin.breaker.tried()) } else { None };
            untried.map(|id| (id, false)).or_else(|| {
                origin.ready.take(allowance, |namespace| busy.get(&namespace).copied().unwrap_or(0))
            })
        };
        let Some((id, failing)) = taken else {
            return false;
        };
        let Some(provider_id) = self.state.entry(id).map(|entry| entry.provider) else {
            return true;
        };
        let Some(provider) = self.state.providers.get_mut(provider_id.0) else {
            return true;
        };
        let limit = provider.remote.as_ref().map_or(1, |remote| remote.profile().max_concurrent);
        let at_limit = provider.calls >= limit;
        let over_budget = !provider.bucket.has(now.boot);
        if at_limit || over_budget {
            provider.blocked.insert(id);
            if over_budget {
                let at = provider.bucket.ready_at(now.boot);
                self.state.timers.file(&mut provider.timer, at, Alarm::Provider(provider_id));
            }
            if let Some(entry) = self.state.entry_mut(id) {
                entry.place = None;
            }
            return true;
        }
        if self.attend_with_turn(id, now) {
            if let Some(origin) = self.state.origins.get_mut(name) {
                origin.bucket.take(1);
                origin.calls += 1;
                origin.calls_since_page = origin.calls_since_page.saturating_add(1);
                origin.probing = probes;
                if failing {
                    origin.failing_bucket.take(1);
                }
            }
            if let Some(provider) = self.state.provider_mut(provider_id) {
                provider.bucket.take(1);
                provider.calls_since_page = provider.calls_since_page.saturating_add(1);
            }
        }
        true
    }

    /// When the next call could be begun, if budget is all that lacks.
    pub(super) fn next_budget(&mut self, now: Duration) -> Option<Duration> {
        if self.calls_running >= self.options.workers || self.stopping {
            return None;
        }
        let wall = self.ports.clock.now().wall;
        self.state
            .origins
            .values_mut()
            .filter(|origin| !origin.ready.is_empty() && !origin.probing)
            .filter_map(|origin| {
                let pause = origin.breaker.pending(wall).filter(|_| !origin.ready.has_last_attempt());
                if let Some(held) = pause {
                    return Some(now + crate::rotation::time::between(wall, held.until));
                }
                if (origin.breaker.probes(wall) || origin.breaker.pending(wall).is_some()) && origin.calls > 0
                {
                    return None;
                }
                let own = origin.bucket.ready_at(now);
                let only_failing = !origin.ready.has(Allowance { now: 0, failing: false, scarce: true });
                Some(if only_failing { own.max(origin.failing_bucket.ready_at(now)) } else { own })
            })
            .min()
    }
}
