//! The gates of a cluster, as the engine sees them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::board::{Board, Known};
use crate::api::{ObjectKey, Reason};
use crate::engine::ports::{GateFailure, Gates, Offered};
use crate::kubernetes::gate_lease::GateRecord;
use crate::ops::gates_there::GatesSeen;

/// Gates that are processes of their own: they read tokens from Secrets and say in their Leases which they
/// have.
#[derive(Clone, Debug)]
pub struct ClusterGates {
    board: Board,
}

impl ClusterGates {
    pub(in crate::kubernetes) fn new(board: Board) -> Self {
        Self { board }
    }

    fn ask<T>(&self, ask: impl FnOnce(&Known, Duration) -> T) -> T {
        let now = self.board.now();
        ask(&self.board.known(), now)
    }
}

impl ClusterGates {
    /// Which are there, and which receivers have none; `None` as long as that is not known.
    #[must_use]
    pub fn seen(&self) -> Option<GatesSeen> {
        self.ask(|known, now| {
            if !known.presence.is_settled(now) {
                return None;
            }
            let mut seen = GatesSeen { live: known.presence.live(now).count(), ..GatesSeen::default() };
            for (key, receiver) in &known.receivers {
                let is_without = receiver.status.conditions.iter().any(|it| it.reason == Reason::NoGate);
                *seen.without.entry(Arc::clone(&key.namespace)).or_default() += usize::from(is_without);
            }
            Some(seen)
        })
    }
}

/// The gates that say that they serve a source, with what they hold of it.
fn serving<'a>(
    known: &'a Known,
    source: &'a ObjectKey,
    now: Duration,
) -> impl Iterator<Item = (&'a GateRecord, &'a BTreeSet<String>)> {
    let serving = known.presence.live(now);
    serving.filter_map(move |record| record.serves.get(source).map(|held| (record, held)))
}

/// Whether a gate may serve the source without saying so.
fn may_be_served(known: &Known, source: &ObjectKey, now: Duration) -> bool {
    let is_untold = |record: &GateRecord| !record.is_complete && !record.serves.contains_key(source);
    !known.presence.is_settled(now) || known.presence.live(now).any(is_untold)
}

fn lacks(known: &Known, source: &ObjectKey, fingerprint: &str, now: Duration) -> bool {
    known.uses(source) && serving(known, source, now).any(|(_, held)| !held.contains(fingerprint))
}

impl Gates for ClusterGates {
    fn serves(&self, source: &ObjectKey) -> bool {
        self.ask(|known, now| {
            let is_served = || serving(known, source, now).next().is_some();
            known.uses(source) && (is_served() || may_be_served(known, source, now))
        })
    }

    fn lacks(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.ask(|known, now| lacks(known, source, fingerprint, now))
    }

    fn know(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.ask(|known, now| {
            let mut serving = serving(known, source, now).peekable();
            known.uses(source)
                && !may_be_served(known, source, now)
                && serving.peek().is_some()
                && serving.all(|(_, held)| held.contains(fingerprint))
        })
    }

    fn behind(&self, source: &ObjectKey, fingerprint: &str) -> Vec<String> {
        self.ask(|known, now| {
            let behind = serving(known, source, now).filter(|(_, held)| !held.contains(fingerprint));
            behind.map(|(record, _)| record.gate.clone()).collect()
        })
    }

    fn read_published(&self) -> bool {
        true
    }

    fn asks_with(&self, source: &ObjectKey) -> bool {
        self.ask(|known, _| known.asks_with(source))
    }

    /// What is published hands it over; this waits until all have said that they have it.
    fn offer<'a>(
        &'a self,
        source: &'a ObjectKey,
        token: &'a Offered,
    ) -> BoxFuture<'a, Result<(), GateFailure>> {
        Box::pin(async move {
            let mut changed = self.board.gates_changed();
            loop {
                changed.borrow_and_update();
                if !self.lacks(source, &token.fingerprint) {
                    return Ok(());
                }
                if changed.changed().await.is_err() {
                    return Err(GateFailure("the Leases of gates are no longer watched".to_owned()));
                }
            }
        })
    }
}
