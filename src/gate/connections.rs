//! The places of the public listener's connections: whoever comes is let in, at the cost of those who
//! take places and send nothing.
//!
//! Behind an ingress all connections come from one address, so a limit for each peer would be a limit
//! for the platform. When all places are taken, the oldest connection goes whose request is not
//! verified: one that is idle, drips its header, or sends a body that nobody vouches for. A request that
//! is verified keeps its connection to the answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::AbortHandle;

/// Whether a connection carries a request that is verified and not answered yet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Worth(Arc<AtomicBool>);

impl Worth {
    /// A request on it is verified, until the guard is dropped.
    #[must_use]
    pub fn verified(&self) -> Verified {
        self.0.store(true, Ordering::Relaxed);
        Verified(self.clone())
    }

    fn is_verified(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// As long as it lives, a connection carries a verified request.
#[derive(Debug)]
pub struct Verified(Worth);

impl Drop for Verified {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

/// Who has a place, in the order of arrival.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    next: u64,
    taken: BTreeMap<u64, (Worth, AbortHandle)>,
}

/// What a newcomer meets.
#[derive(Debug)]
pub(super) enum Room {
    /// A place is free.
    Free,
    /// This connection has to go for it.
    Instead(AbortHandle),
    /// All places are taken by verified requests.
    None,
}

impl Places {
    pub(super) fn new(all: usize) -> Self {
        Self { all, next: 0, taken: BTreeMap::new() }
    }

    /// Makes room for one more.
    pub(super) fn make_room(&mut self) -> Room {
        if self.taken.len() < self.all {
            return Room::Free;
        }
        let oldest = self.taken.iter().find(|(_, (worth, _))| !worth.is_verified()).map(|(place, _)| *place);
        match oldest.and_then(|place| self.taken.remove(&place)) {
            Some((_, handle)) => Room::Instead(handle),
            None => Room::None,
        }
    }

    /// Takes a place; returns its number.
    pub(super) fn take(&mut self, worth: Worth, handle: AbortHandle) -> u64 {
        self.next += 1;
        self.taken.insert(self.next, (worth, handle));
        self.next
    }

    pub(super) fn leave(&mut self, place: u64) {
        self.taken.remove(&place);
    }

    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_sends_nothing_goes_and_who_is_verified_stays() {
        let mut places = Places::new(3);
        let idle = || tokio::spawn(std::future::pending::<()>()).abort_handle();
        let worths = [Worth::default(), Worth::default(), Worth::default()];
        let guards = [worths[0].verified(), worths[2].verified()];
        for worth in &worths {
            assert!(matches!(places.make_room(), Room::Free));
            places.take(worth.clone(), idle());
        }
        assert!(matches!(places.make_room(), Room::Instead(_)));
        places.take(Worth::default(), idle());
        assert_eq!(places.len(), 3);
        assert!(matches!(places.make_room(), Room::Instead(_)));
        let last = Worth::default();
        let _guard = last.verified();
        let place = places.take(last.clone(), idle());
        assert!(matches!(places.make_room(), Room::None));
        drop(guards);
        assert!(matches!(places.make_room(), Room::Instead(_)));
        places.leave(place);
        assert_eq!(places.len(), 1);
    }
}
