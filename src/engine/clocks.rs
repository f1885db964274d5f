//! A wall clock that is set while the engine runs.

use chrono::TimeDelta;

use super::Engine;
use super::entry::Entry;
use super::ids::{ProviderId, SubscriptionId};
use crate::rotation::time::Moment;

/// A difference between the clocks' steps above this means that the wall clock was set.
const CLOCK_STEP: i64 = 1_000;

impl Engine {
    /// Timers are filed by boot time; when the wall clock is set, every decision is made again.
    pub(super) fn watch_clocks(&mut self, now: Moment) {
        let boot = i64::try_from(now.boot.as_millis()).unwrap_or(i64::MAX);
        let offset = now.wall.timestamp_millis().saturating_sub(boot);
        let step = self.clock_offset.replace(offset).map_or(0, |before| offset.saturating_sub(before));
        if step.abs() > CLOCK_STEP {
            tracing::warn!(seconds = step / 1_000, "the wall clock was set; everything is looked at again");
            if step < 0 {
                self.forget_the_future(now);
            } else {
                self.date_creates_anew(step, now);
            }
            self.reconcile_all();
        }
    }

    /// The clock was set back: what is remembered under a time that lies ahead now would count as
    /// later than everything that is yet to happen.
    fn forget_the_future(&mut self, now: Moment) {
        for id in self.state.subscriptions.numbers() {
            if let Some(entry) = self.state.entry_mut(SubscriptionId(id)) {
                entry.remember(|memory| memory.clamp(now.wall));
            }
        }
        for id in self.state.providers.numbers() {
            if let Some(provider) = self.state.provider_mut(ProviderId(id)) {
                provider.wanted = provider.wanted.map(|wanted| wanted.min(now.wall));
                provider.listing = provider.listing.take().filter(|listing| listing.begun <= now.wall);
            }
        }
    }

    /// The clock was set forward: a create was sent no longer ago because of that, and the provider
    /// needs as long as ever to show it.
    fn date_creates_anew(&mut self, milliseconds: i64, now: Moment) {
        for id in self.state.subscriptions.numbers().into_iter().map(SubscriptionId) {
            let Some(mut status) = self.state.entry(id).and_then(Entry::object).map(|object| object.status)
            else {
                continue;
            };
            if let Some(record) = &mut status.creation {
                let step = TimeDelta::milliseconds(milliseconds);
                record.started_time =
                    record.started_time.checked_add_signed(step).unwrap_or(now.wall).min(now.wall);
                self.put_status(id, &status);
            }
        }
    }
}
