//! What is scarce, and what waits for it. Namespaces share all of it: see [`crate::shares`].

use std::collections::HashSet;

use crate::engine::ids::{ProviderId, SourceId, SubscriptionId, Ticket};
use crate::engine::write::Write;
use crate::shares::{Places, Waiting};

/// What can be under way at the same time.
#[derive(Debug)]
pub(crate) struct AllPlaces {
    /// Requests to providers.
    pub(crate) workers: Places,
    /// Mints.
    pub(crate) minters: Places,
    /// Listings that are being read, from their first page to their last.
    pub(crate) readings: Places,
    /// Writes, and reads of what is not a provider's or a token server's.
    pub(crate) recorders: Places,
}

impl AllPlaces {
    pub(crate) fn new(workers: usize, recorders: usize) -> Self {
        Self {
            workers: Places::new(workers),
            minters: Places::new(workers),
            // A listing takes memory for as long as it is read, however slowly it comes.
            readings: Places::new(workers.div_ceil(2)),
            recorders: Places::new(recorders),
        }
    }

    /// Whether nothing is under way. A listing may wait between two of its pages.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.workers.taken() + self.minters.taken() + self.recorders.taken() == 0
    }
}

/// The calls that are under way, by their tickets.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    last: Ticket,
    open: HashSet<Ticket>,
}

impl UnderWay {
    /// A call begins.
    pub(crate) fn open(&mut self) -> Ticket {
        self.last += 1;
        self.open.insert(self.last);
        self.last
    }

    /// A call has ended. Returns whether it was under way.
    pub(crate) fn close(&mut self, ticket: Ticket) -> bool {
        self.open.remove(&ticket)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// What waits for its turn.
#[derive(Default)]
pub(crate) struct AllWaiting {
    /// Subscriptions to be looked at now.
    pub(crate) reconciles: Waiting<u64, SubscriptionId>,
    /// Mints, by their deadline in epoch milliseconds.
    pub(crate) mints: Waiting<(i64, SourceId), ()>,
    /// Listings that wait for a place among those that are read.
    pub(crate) readings: Waiting<u64, ProviderId>,
    /// Writes.
    pub(crate) writes: Waiting<u64, Write>,
    arrivals: u64,
}

impl AllWaiting {
    /// A number for what comes now: it is greater than all before.
    pub(crate) fn arrive(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }
}
