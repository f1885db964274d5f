//! A wall clock that is set while the engine runs.

use chrono::TimeDelta;

use crate::engine::dispatch::agenda::reconcile_all;
use crate::engine::state::subscription::Entry;
use crate::engine::subscriptions::persist::put_status;
use crate::engine::turn::Turn;

/// A difference between the clocks' steps above this means that the wall clock was set.
const CLOCK_STEP: i64 = 1_000;

/// Timers are filed by boot time; when the wall clock is set, every decision is made again.
pub(crate) fn watch_clocks(turn: &mut Turn<'_>) {
    let now = turn.now;
    let boot = i64::try_from(now.boot.as_millis()).unwrap_or(i64::MAX);
    let offset = now.wall.timestamp_millis().saturating_sub(boot);
    let step = turn.state.clock_offset.replace(offset).map_or(0, |before| offset.saturating_sub(before));
    if step.abs() > CLOCK_STEP {
        tracing::warn!(seconds = step / 1_000, "the wall clock was set; everything is looked at again");
        if step < 0 {
            forget_the_future(turn);
        } else {
            date_creates_anew(turn, step);
        }
        reconcile_all(turn);
    }
}

/// The clock was set back: what is remembered under a time that lies ahead now would count as
/// later than everything that is yet to happen.
fn forget_the_future(turn: &mut Turn<'_>) {
    let now = turn.now;
    for id in turn.state.subscriptions.ids() {
        if let Some(entry) = turn.state.entry_mut(id) {
            entry.remember(|memory| memory.clamp(now.wall));
        }
    }
    for id in turn.state.providers.ids() {
        if let Some(provider) = turn.state.provider_mut(id) {
            provider.wanted = provider.wanted.map(|wanted| wanted.min(now.wall));
            provider.listing = provider.listing.take().filter(|listing| listing.begun <= now.wall);
        }
    }
}

/// The clock was set forward: a create was sent no longer ago because of that, and the provider
/// needs as long as before to show it.
fn date_creates_anew(turn: &mut Turn<'_>, milliseconds: i64) {
    let now = turn.now;
    for id in turn.state.subscriptions.ids() {
        let Some(mut status) = turn.state.entry(id).and_then(Entry::object).map(|object| object.status)
        else {
            continue;
        };
        if let Some(record) = &mut status.creation {
            let step = TimeDelta::milliseconds(milliseconds);
            record.started_time =
                record.started_time.checked_add_signed(step).unwrap_or(now.wall).min(now.wall);
            put_status(turn, id, &status);
        }
    }
}
