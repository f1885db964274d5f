//! What whoever leads does next with a receiver's status. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::board::{Place, Receiver};
use super::folding::{self, Situation};
use super::presence::Presence;
use crate::api::WebhookReceiverStatus;
use crate::kubernetes::gate_lease::LIVE_FOR;

/// How often what changes with every delivery is written at most.
const QUIET: Duration = Duration::from_secs(60);
/// A share that stays although it was taken away is not ours to remove soon again.
const CLEARED_AGAIN: Duration = Duration::from_secs(600);

/// What was done so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    /// When the state was written last, in boot time.
    pub(super) written: Option<Duration>,
    /// When shares of gates were removed.
    pub(super) cleared: BTreeMap<String, Duration>,
    /// Nothing is tried before this, because the last attempt failed.
    pub(super) not_before: Duration,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing before this moment, unless something changes.
    Wait(Option<Duration>),
    /// The state is to be written.
    Write(Box<WebhookReceiverStatus>),
    /// The share of this gate is to be removed.
    Clear(String),
}

/// Decides; total.
pub(super) fn step(
    receiver: &Receiver,
    namespace: &str,
    place: Option<&Place>,
    presence: &Presence,
    done: &Done,
    now: (Duration, DateTime<Utc>),
) -> Step {
    let (boot, wall) = now;
    if receiver.is_ending {
        return Step::Wait(None);
    }
    if done.not_before > boot {
        return Step::Wait(Some(done.not_before));
    }
    let live: BTreeSet<&str> = presence.live(boot).map(|record| record.gate.as_str()).collect();
    // A new object gets a moment in which gates look at it.
    let known_from = receiver.since + LIVE_FOR;
    let situation = Situation {
        generation: receiver.generation,
        namespace,
        live: &live,
        is_settled: presence.is_settled(boot) && boot >= known_from,
        place,
        names_header: receiver.names_header,
    };
    let wanted = folding::fold(&receiver.status, &situation, wall);
    let is = folding::own_part(&receiver.status);
    let mut again = (!situation.is_settled && boot < known_from).then_some(known_from);
    let mut look_at = |moment: Duration| again = Some(again.map_or(moment, |again| again.min(moment)));
    if wanted != is {
        let next = done.written.map_or(boot, |written| written + QUIET);
        if next <= boot || !differs_quietly(&is, &wanted) {
            return Step::Write(Box::new(wanted));
        }
        look_at(next);
    }
    for (gate, noticed) in &receiver.noticed {
        if live.contains(gate.as_str()) {
            continue;
        }
        let Some(gone) = presence.gone_at(gate, *noticed) else {
            continue;
        };
        let gone = done.cleared.get(gate).map_or(gone, |cleared| gone.max(*cleared + CLEARED_AGAIN));
        if gone <= boot {
            return Step::Clear(gate.clone());
        }
        look_at(gone);
    }
    Step::Wait(again)
}

/// Whether two states differ in nothing but what changes with every delivery.
fn differs_quietly(one: &WebhookReceiverStatus, other: &WebhookReceiverStatus) -> bool {
    let loud = |status: &WebhookReceiverStatus| WebhookReceiverStatus {
        waiting: None,
        last_accepted_time: None,
        last_refused_time: None,
        ..status.clone()
    };
    loud(one) == loud(other)
}

#[cfg(test)]
#[path = "deciding_tests.rs"]
mod tests;
