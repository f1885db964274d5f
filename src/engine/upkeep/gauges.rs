//! The state of the engine in numbers.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::api::Reason;
use crate::engine::dispatch::pauses::held_back;
use crate::engine::effect::Count;
use crate::engine::ports::{Gauges, SubscriptionGauge};
use crate::engine::served::served_source;
use crate::engine::state::source::SourceKey;
use crate::engine::turn::Turn;
use crate::rotation::time::{Moment, between};

pub(crate) fn report_gauges(turn: &mut Turn<'_>) {
    let now = turn.now;
    if now.boot < turn.state.next_gauges {
        return;
    }
    turn.state.next_gauges = now.boot + turn.state.options.gauges_every;
    let mut gauges = Gauges {
        queue_length: turn.state.timers.len(),
        workers_busy: turn.state.places.workers.taken() + turn.state.places.minters.taken(),
        leader: turn.state.term.is_some(),
        kept: turn.state.kept(),
        ..Gauges::default()
    };
    for (_, entry) in turn.state.subscriptions.iter() {
        let Some(provider) = turn.state.provider(entry.provider) else {
            continue;
        };
        let mut summary = entry.summary;
        if provider.suspended {
            // A person has paused it: neither its rotation nor its token's end is news.
            (summary.state, summary.reason, summary.watched) = ("suspended", Reason::Suspended, false);
        }
        let time = |milliseconds: Option<i64>| milliseconds.and_then(DateTime::from_timestamp_millis);
        // A source that has returned the same token was asked, and is asked again.
        let source = entry.source.and_then(|source| turn.state.source(source));
        let is_asked = source.is_some_and(|source| source.state.not_renewed);
        let untouched = summary.watched && !entry.is_busy() && entry.failures() == 0 && !is_asked;
        if untouched && summary.state == "ready" {
            gauges.rotation_overdue = gauges.rotation_overdue.max(overdue(time(summary.due), now));
        }
        if let Some(received) = entry.received.as_ref().filter(|_| summary.watched) {
            let seen = gauges.tokens_seen.entry(Arc::clone(&entry.key.namespace)).or_default();
            if let Some((carried, observed)) = entry.carried.as_deref().zip(entry.observed()) {
                let taken = turn.state.taken_in.get(&entry.key.sibling(&received.receiver)).copied();
                seen.old += usize::from(observed.old_still_comes(carried));
                seen.unobserved += usize::from(observed.is_unusually_silent(carried, taken, now.wall));
            }
        }
        gauges.subscriptions.push(SubscriptionGauge {
            key: entry.key.clone(),
            provider: provider.key.clone(),
            state: summary.state,
            reason: summary.reason,
            expires: time(summary.expires).filter(|_| summary.watched),
        });
    }
    for (id, source) in turn.state.sources.iter() {
        if let (SourceKey::Object(key), Some(held)) = (&source.key, source.held_fingerprint())
            && served_source(turn, id).is_some()
        {
            let lacks = source.is_held_published() && turn.around.gates.lacks(key, held);
            *gauges.lacked.entry(Arc::clone(&key.namespace)).or_default() += usize::from(lacks);
        }
    }
    // Of one that is deleted and used by nobody, no more than its pause is kept.
    for (_, provider) in turn.state.providers.iter().filter(|(_, provider)| !provider.is_idle()) {
        let origin = provider.origin().and_then(|origin| turn.state.origins.get(origin));
        let held = held_back(turn.state, provider, now);
        let held = held.map_or(0.0, |held| between(now.wall, held.until).as_secs_f64());
        gauges.held_back.push((provider.key.clone(), held));
        let namespace = provider.namespace;
        let late =
            origin.zip(origin.and_then(|origin| origin.tenant(namespace))).map_or(0, |(origin, tenant)| {
                let sharers = u32::try_from(origin.sharers(namespace)).unwrap_or(u32::MAX);
                let pace = origin.requests_per_minute / sharers;
                infeasible(&tenant.ready.deadlines(), pace, now.wall.timestamp_millis())
            });
        gauges.infeasible.push((provider.key.clone(), late));
    }
    turn.count(Count::Gauges(Box::new(gauges)));
}

/// How long a rotation is overdue for the metrics, in seconds: since when it could have begun.
fn overdue(due: Option<DateTime<Utc>>, now: Moment) -> f64 {
    due.map_or(0.0, |due| between(due, now.wall).as_secs_f64())
}

/// How many of these deadlines, earliest first, pass before their turn comes at this rate.
fn infeasible(deadlines: &[i64], requests_per_minute: u32, now: i64) -> usize {
    let step = 60_000 / i64::from(requests_per_minute.max(1));
    let turns = (1_i64..).map(|turn| now.saturating_add(turn.saturating_mul(step)));
    deadlines.iter().zip(turns).filter(|(deadline, done)| **deadline < *done).count()
}

#[cfg(test)]
mod tests {
    use super::infeasible;

    #[test]
    fn work_that_cannot_finish_is_counted_ahead_of_time() {
        assert_eq!(infeasible(&[1_500, 2_500, 3_500], 60, 0), 0);
        assert_eq!(infeasible(&[1_500, 1_600, 1_700], 60, 0), 2);
        assert_eq!(infeasible(&[], 60, 0), 0);
    }
}
