//! Which receiver is looked at next, and how many of its deliveries may be taken.
//!
//! Namespaces have turns, and inside a namespace its receivers. Places and memory are shared by
//! namespace: whoever takes all they can leaves as much as they have to the next.

use std::collections::HashMap;
use std::sync::Arc;

use crate::shares::{NamespaceId, Places, Waiting};

/// So many deliveries at most are taken in one turn.
const MOST_IN_A_TURN: usize = 16;

/// Places and memory, and the receivers that wait for them.
#[derive(Debug)]
pub(in crate::gate) struct Fairness {
    places: Places,
    memory: Memory,
    waiting: Waiting<u64, Arc<str>>,
    numbers: HashMap<Arc<str>, Number>,
    next_number: NamespaceId,
    next_key: u64,
}

#[derive(Debug)]
struct Number {
    id: NamespaceId,
    receivers: usize,
}

/// What was granted to a receiver's turn, or to one of its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) struct Grant {
    pub(in crate::gate) places: usize,
    pub(in crate::gate) bytes: u64,
}

impl Fairness {
    /// So many deliveries may be under way, and hold so many bytes.
    pub(in crate::gate) fn new(places: usize, bytes: u64) -> Self {
        Self {
            places: Places::new(places),
            memory: Memory { all: bytes, taken: 0, held: HashMap::new() },
            waiting: Waiting::default(),
            numbers: HashMap::new(),
            next_number: 0,
            next_key: 0,
        }
    }

    /// A receiver of this namespace is there.
    pub(in crate::gate) fn enter(&mut self, namespace: &Arc<str>) -> NamespaceId {
        let number = self.numbers.entry(Arc::clone(namespace)).or_insert_with(|| {
            self.next_number = self.next_number.wrapping_add(1);
            Number { id: self.next_number, receivers: 0 }
        });
        number.receivers += 1;
        number.id
    }

    /// It is gone, with everything it held given back.
    pub(in crate::gate) fn leave(&mut self, namespace: &Arc<str>) {
        if let Some(number) = self.numbers.get_mut(namespace) {
            number.receivers -= 1;
            if number.receivers == 0 {
                self.numbers.remove(namespace);
            }
        }
    }

    /// The receiver waits for its turn.
    pub(in crate::gate) fn queue(&mut self, namespace: NamespaceId, uid: Arc<str>) {
        self.next_key += 1;
        self.waiting.put(namespace, self.next_key, uid);
    }

    /// The receiver whose turn it is, if there is one that may have anything.
    pub(in crate::gate) fn next(&mut self) -> Option<Arc<str>> {
        let alone = self.numbers.len() <= 1;
        let (places, memory) = (&self.places, &self.memory);
        let may_have = |namespace| places.free_for(namespace, alone) && memory.free_for(namespace, alone) > 0;
        self.waiting.next(may_have).map(|(_, _, uid)| uid)
    }

    /// Grants places for up to so many deliveries of at most this size.
    pub(in crate::gate) fn take(&mut self, namespace: NamespaceId, most: usize, largest: u64) -> Grant {
        let alone = self.numbers.len() <= 1;
        let mut granted = Grant { places: 0, bytes: 0 };
        while granted.places < most.min(MOST_IN_A_TURN)
            && self.places.free_for(namespace, alone)
            // The first one of a turn may be larger than what is left, or it would never have its turn.
            && self.memory.free_for(namespace, alone) >= if granted.places == 0 { 1 } else { largest }
        {
            self.places.take(namespace);
            self.memory.take(namespace, largest);
            granted.places += 1;
            granted.bytes += largest;
        }
        granted
    }

    /// Memory is held for what is really there.
    pub(in crate::gate) fn hold_instead(&mut self, namespace: NamespaceId, granted: u64, bytes: u64) {
        self.memory.give_back(namespace, granted);
        self.memory.take(namespace, bytes);
    }

    /// Gives back what was granted.
    pub(in crate::gate) fn give_back(&mut self, namespace: NamespaceId, grant: Grant) {
        for _ in 0..grant.places {
            self.places.give_back(namespace);
        }
        self.memory.give_back(namespace, grant.bytes);
    }
}

/// Bytes that may be held at the same time, shared as [`Places`] are.
#[derive(Debug)]
struct Memory {
    all: u64,
    taken: u64,
    held: HashMap<NamespaceId, u64>,
}

impl Memory {
    /// How much more this namespace may take.
    fn free_for(&self, namespace: NamespaceId, alone: bool) -> u64 {
        let free = self.all.saturating_sub(self.taken);
        if alone { free } else { free.saturating_sub(self.held.get(&namespace).copied().unwrap_or(0)) }
    }

    fn take(&mut self, namespace: NamespaceId, bytes: u64) {
        self.taken += bytes;
        *self.held.entry(namespace).or_default() += bytes;
    }

    fn give_back(&mut self, namespace: NamespaceId, bytes: u64) {
        let Some(held) = self.held.get_mut(&namespace) else {
            return;
        };
        let bytes = bytes.min(*held);
        *held -= bytes;
        if *held == 0 {
            self.held.remove(&namespace);
        }
        self.taken -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn namespaces_take_turns_and_receivers_inside_of_one() {
        let mut fairness = Fairness::new(100, 1 << 30);
        let (hr, it) = (fairness.enter(&text("hr")), fairness.enter(&text("it")));
        assert_eq!(fairness.enter(&text("hr")), hr);
        for uid in ["a", "b", "c"] {
            fairness.queue(hr, text(uid));
        }
        fairness.queue(it, text("x"));
        let mut order = Vec::new();
        while order.len() < 6 {
            let uid = fairness.next().unwrap();
            fairness.queue(if &*uid == "x" { it } else { hr }, Arc::clone(&uid));
            order.push(uid);
        }
        let order: Vec<&str> = order.iter().map(|uid| &**uid).collect();
        assert_eq!(order, ["a", "x", "b", "x", "c", "x"]);
    }

    #[test]
    fn who_takes_all_they_can_leaves_as_much_as_they_have() {
        let mut fairness = Fairness::new(100, 1 << 30);
        let (hog, other) = (fairness.enter(&text("hog")), fairness.enter(&text("other")));
        let mut held = 0;
        loop {
            let grant = fairness.take(hog, 500, 10);
            if grant.places == 0 {
                break;
            }
            assert!(grant.places <= MOST_IN_A_TURN);
            held += grant.places;
        }
        assert_eq!(held, 50);
        fairness.queue(hog, text("hog"));
        assert_eq!(fairness.next(), None, "it waits until some are given back");
        fairness.queue(other, text("other"));
        assert_eq!(fairness.next().as_deref(), Some("other"));
        assert_eq!(fairness.take(other, 9, 10), Grant { places: 9, bytes: 90 });
        fairness.give_back(hog, Grant { places: 50, bytes: 500 });
        assert_eq!(fairness.next().as_deref(), Some("hog"));
    }

    #[test]
    fn large_bodies_take_their_share_of_memory() {
        const LARGE: u64 = 16 << 20;
        let mut fairness = Fairness::new(1_000, 128 << 20);
        let (hog, other) = (fairness.enter(&text("hog")), fairness.enter(&text("other")));
        let mut granted = Grant { places: 0, bytes: 0 };
        loop {
            let grant = fairness.take(hog, 500, LARGE);
            if grant.places == 0 {
                break;
            }
            granted.places += grant.places;
            granted.bytes += grant.bytes;
        }
        assert!((4..=5).contains(&granted.places), "{granted:?}");
        // They were small after all.
        fairness.hold_instead(hog, granted.bytes, 1_000);
        assert!(fairness.take(hog, 500, LARGE).places > 0);
        assert!(fairness.take(other, 1, LARGE).places > 0);
    }

    #[test]
    fn one_that_is_larger_than_everything_has_its_turn() {
        let mut fairness = Fairness::new(10, 1_000);
        let only = fairness.enter(&text("only"));
        let grant = fairness.take(only, 5, 16 << 20);
        assert_eq!(grant.places, 1);
        fairness.queue(only, text("a"));
        assert_eq!(fairness.next(), None);
        fairness.give_back(only, grant);
        assert_eq!(fairness.next().as_deref(), Some("a"));
    }

    #[test]
    fn nothing_is_left_of_a_namespace_that_is_gone() {
        let mut fairness = Fairness::new(10, 1_000);
        let first = fairness.enter(&text("hr"));
        fairness.enter(&text("hr"));
        let grant = fairness.take(first, 2, 10);
        fairness.give_back(first, grant);
        fairness.leave(&text("hr"));
        fairness.leave(&text("hr"));
        assert!(fairness.numbers.is_empty() && fairness.memory.held.is_empty() && fairness.memory.taken == 0);
    }
}
