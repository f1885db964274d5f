//! The places of the public listener's connections: whoever comes is let in, at the cost of those who
//! take places and send nothing.
//!
//! Behind an ingress all connections come from one address, so a limit for each peer would be a limit
//! for the platform. When all places are taken, the oldest connection goes that nobody protects: one that
//! is idle, drips its header, or sends a body that nobody vouches for. A request that is verified keeps
//! its connection to the answer, unless its namespace has half of all places in this way already: whoever
//! has a credential of one receiver could otherwise keep everybody else out.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;

/// Whether a connection carries a request that is verified and not answered yet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Worth {
    is_protected: Arc<AtomicBool>,
    shares: Arc<Shares>,
}

/// How many places namespaces have for verified requests.
#[derive(Debug)]
struct Shares {
    each: usize,
    taken: Mutex<HashMap<Arc<str>, usize>>,
}

impl Worth {
    /// A request on it is verified, for a receiver of this namespace, until the guard is dropped; `None`
    /// when the namespace has its share already.
    #[must_use]
    pub fn verified(&self, namespace: &Arc<str>) -> Option<Verified> {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_namespace = taken.entry(Arc::clone(namespace)).or_default();
        if *of_namespace >= self.shares.each {
            return None;
        }
        *of_namespace += 1;
        self.is_protected.store(true, Ordering::Relaxed);
        Some(Verified { worth: self.clone(), namespace: Arc::clone(namespace) })
    }

    fn is_protected(&self) -> bool {
        self.is_protected.load(Ordering::Relaxed)
    }
}

/// As long as it lives, a connection carries a verified request.
#[derive(Debug)]
pub struct Verified {
    worth: Worth,
    namespace: Arc<str>,
}

impl Drop for Verified {
    fn drop(&mut self) {
        self.worth.is_protected.store(false, Ordering::Relaxed);
        let mut taken = self.worth.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_namespace) = taken.get_mut(&self.namespace) {
            *of_namespace -= 1;
            if *of_namespace == 0 {
                taken.remove(&self.namespace);
            }
        }
    }
}

/// Who has a place, in the order of arrival.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    shares: Arc<Shares>,
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
        let shares = Arc::new(Shares { each: all.div_ceil(2), taken: Mutex::default() });
        Self { all, shares, next: 0, taken: BTreeMap::new() }
    }

    /// What the next connection is worth: nothing yet.
    pub(super) fn worth(&self) -> Worth {
        Worth { is_protected: Arc::default(), shares: Arc::clone(&self.shares) }
    }

    /// Makes room for one more.
    pub(super) fn make_room(&mut self) -> Room {
        if self.taken.len() < self.all {
            return Room::Free;
        }
        let oldest = self.taken.iter().find(|(_, (worth, _))| !worth.is_protected()).map(|(place, _)| *place);
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

    #[cfg(test)]
    fn len(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> AbortHandle {
        tokio::spawn(std::future::pending::<()>()).abort_handle()
    }

    #[tokio::test]
    async fn who_sends_nothing_goes_and_who_is_verified_stays() {
        let mut places = Places::new(3);
        let namespaces: [Arc<str>; 3] = ["a", "b", "c"].map(Arc::from);
        let worths = [places.worth(), places.worth(), places.worth()];
        let guards = [worths[0].verified(&namespaces[0]), worths[2].verified(&namespaces[1])];
        assert!(guards.iter().all(Option::is_some));
        for worth in &worths {
            assert!(matches!(places.make_room(), Room::Free));
            places.take(worth.clone(), idle());
        }
        assert!(matches!(places.make_room(), Room::Instead(_)));
        places.take(places.worth(), idle());
        assert_eq!(places.len(), 3);
        assert!(matches!(places.make_room(), Room::Instead(_)));
        let last = places.worth();
        let _guard = last.verified(&namespaces[2]);
        let place = places.take(last.clone(), idle());
        assert!(matches!(places.make_room(), Room::None));
        drop(guards);
        assert!(matches!(places.make_room(), Room::Instead(_)));
        places.leave(place);
        assert_eq!(places.len(), 1);
    }

    #[tokio::test]
    async fn one_namespace_keeps_no_more_than_half_of_the_places() {
        let mut places = Places::new(4);
        let (greedy, other): (Arc<str>, Arc<str>) = ("greedy".into(), "other".into());
        let mut guards = Vec::new();
        for number in 0..4 {
            let worth = places.worth();
            let guard = worth.verified(&greedy);
            assert_eq!(guard.is_some(), number < 2);
            guards.extend(guard);
            places.take(worth, idle());
        }
        // A newcomer finds room, and is protected as soon as it is known.
        assert!(matches!(places.make_room(), Room::Instead(_)));
        let newcomer = places.worth();
        places.take(newcomer.clone(), idle());
        let _known = newcomer.verified(&other);
        assert!(matches!(places.make_room(), Room::Instead(_)));
        places.take(places.worth(), idle());
        // What is given back can be taken again.
        guards.pop();
        assert!(places.worth().verified(&greedy).is_some());
    }
}
