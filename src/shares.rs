//! Sharing what is scarce between namespaces: places that are held for a while, turns that come one
//! after the other, and the work that waits for either.
//!
//! A namespace has one author, and no author may cost another anything. Everything scarce is
//! therefore shared by namespace, and by these types alone: workers of calls and of mints, listings
//! that are being read, writes, the budget of an origin, the engine's own attention, and the places
//! and the memory for deliveries that are being handed on.
//!
//! Two bounds follow, whatever is behind the work:
//! - **Places.** A namespace gets another place only while it holds fewer than are free. One that
//!   takes all it can holds half of them, two such hold a third each, and there is always as much
//!   left for the next as each of them has. Where there is but one namespace, it may have them all.
//! - **Turns.** Where there is more work than budget, each namespace that waits gets one turn before
//!   any gets its second. What one leaves, the others share; nothing can be saved up.

pub(crate) mod budget;
pub(crate) mod one_each;

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A number that stands for a namespace.
pub(crate) type NamespaceId = u32;

/// Places that can be held at the same time, such as workers.
#[derive(Debug)]
pub(crate) struct Places {
    all: usize,
    taken: usize,
    held: HashMap<NamespaceId, usize>,
}

impl Places {
    pub(crate) fn new(all: usize) -> Self {
        Self { all, taken: 0, held: HashMap::new() }
    }

    /// Whether anybody may have another place.
    pub(crate) fn any_free(&self) -> bool {
        self.taken < self.all
    }

    /// Whether this namespace may have another place. `alone`: there is no other namespace to leave
    /// something for.
    pub(crate) fn free_for(&self, namespace: NamespaceId, alone: bool) -> bool {
        let free = self.all.saturating_sub(self.taken);
        free > 0 && (alone || self.held(namespace) < free)
    }

    /// How many places it has.
    pub(crate) fn held(&self, namespace: NamespaceId) -> usize {
        self.held.get(&namespace).copied().unwrap_or(0)
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    pub(crate) fn take(&mut self, namespace: NamespaceId) {
        self.taken += 1;
        *self.held.entry(namespace).or_default() += 1;
    }

    pub(crate) fn give_back(&mut self, namespace: NamespaceId) {
        let Some(held) = self.held.get_mut(&namespace) else {
            debug_assert!(false, "a place is given back that was not taken");
            return;
        };
        *held -= 1;
        if *held == 0 {
            self.held.remove(&namespace);
        }
        self.taken -= 1;
    }
}

/// Who had how many turns, as far as it still matters: start-time fair queueing (Goyal, Vin and
/// Cheng, 1996) with every turn of one length.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    now: u64,
    /// When the last turn of those ends that are ahead of the others.
    ends: HashMap<NamespaceId, u64>,
    takes: usize,
}

impl Turns {
    /// When its next turn begins: who is behind comes first. Who did not wait has saved nothing up.
    pub(crate) fn next(&self, namespace: NamespaceId) -> u64 {
        self.ends.get(&namespace).map_or(self.now, |end| self.now.max(*end))
    }

    /// It has a turn, which it has waited for since `start`.
    pub(crate) fn take_from(&mut self, namespace: NamespaceId, start: u64) {
        self.now = self.now.max(start);
        self.ends.insert(namespace, start.max(self.next(namespace)) + 1);
        self.takes += 1;
        if self.takes > self.ends.len() {
            // What is over says nothing any more.
            let now = self.now;
            self.ends.retain(|_, end| *end > now);
            self.takes = 0;
        }
    }

    /// It has its next turn now.
    pub(crate) fn take(&mut self, namespace: NamespaceId) {
        self.take_from(namespace, self.next(namespace));
    }
}

/// Work that waits for its turn: by namespace, and inside a namespace in the order of its keys.
#[derive(Debug)]
pub(crate) struct Waiting<K, W> {
    lines: HashMap<NamespaceId, Line<K, W>>,
    /// The first of each line: since when its turn is, its key, whose it is.
    order: BTreeSet<(u64, K, NamespaceId)>,
    turns: Turns,
    length: usize,
}

#[derive(Debug)]
struct Line<K, W> {
    start: u64,
    work: BTreeMap<K, W>,
}

impl<K: Ord + Clone, W> Default for Waiting<K, W> {
    fn default() -> Self {
        Self { lines: HashMap::new(), order: BTreeSet::new(), turns: Turns::default(), length: 0 }
    }
}

impl<K: Ord + Clone, W> Waiting<K, W> {
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn put(&mut self, namespace: NamespaceId, key: K, work: W) {
        let start = self.turns.next(namespace);
        let line = self.lines.entry(namespace).or_insert_with(|| Line { start, work: BTreeMap::new() });
        let first = line.work.first_key_value().map(|(first, _)| first.clone());
        if first.as_ref().is_none_or(|first| key < *first) {
            if let Some(first) = first {
                self.order.remove(&(line.start, first, namespace));
            }
            self.order.insert((line.start, key.clone(), namespace));
        }
        if line.work.insert(key, work).is_none() {
            self.length += 1;
        }
    }

    pub(crate) fn remove(&mut self, namespace: NamespaceId, key: &K) -> Option<W> {
        let line = self.lines.get_mut(&namespace)?;
        let first = line.work.first_key_value().map(|(first, _)| first.clone())?;
        let work = line.work.remove(key)?;
        self.length -= 1;
        if first == *key {
            self.order.remove(&(line.start, first, namespace));
            match line.work.first_key_value() {
                Some((next, _)) => {
                    self.order.insert((line.start, next.clone(), namespace));
                }
                None => {
                    self.lines.remove(&namespace);
                }
            }
        }
        Some(work)
    }

    /// Takes the next piece of work of those namespaces that may have one.
    pub(crate) fn next(&mut self, may_have: impl Fn(NamespaceId) -> bool) -> Option<(NamespaceId, K, W)> {
        let (start, key, namespace) =
            self.order.iter().find(|(_, _, namespace)| may_have(*namespace))?.clone();
        let work = self.remove(namespace, &key)?;
        self.turns.take_from(namespace, start);
        let next = self.turns.next(namespace);
        if let Some(line) = self.lines.get_mut(&namespace)
            && let Some((first, _)) = line.work.first_key_value()
        {
            self.order.remove(&(line.start, first.clone(), namespace));
            line.start = next;
            self.order.insert((next, first.clone(), namespace));
        }
        Some((namespace, key, work))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whoever_takes_all_they_can_leaves_as_much_as_they_have() {
        for (all, hogs, each) in [(16, 1, 8), (16, 3, 4), (4, 1, 2), (2, 1, 1), (1, 1, 1), (64, 7, 8)] {
            let mut places = Places::new(all);
            for _ in 0..all {
                for hog in 0..hogs {
                    if places.free_for(hog, false) {
                        places.take(hog);
                    }
                }
            }
            assert!((0..hogs).all(|hog| places.held(hog) == each), "{all} {hogs} {places:?}");
            assert_eq!(places.free_for(99, false), all > 1, "{all} {hogs}");
        }
    }

    #[test]
    fn where_there_is_but_one_namespace_it_may_have_all_places() {
        let mut places = Places::new(3);
        for _ in 0..3 {
            assert!(places.free_for(0, true));
            places.take(0);
        }
        assert!(!places.free_for(0, true) && !places.any_free());
        places.give_back(0);
        assert_eq!((places.taken(), places.held(0)), (2, 2));
    }

    fn drain(waiting: &mut Waiting<i64, ()>, count: usize) -> Vec<(NamespaceId, i64)> {
        (0..count)
            .filter_map(|_| waiting.next(|_| true))
            .map(|(namespace, key, ())| (namespace, key))
            .collect()
    }

    #[test]
    fn each_gets_a_turn_before_any_gets_its_second() {
        let mut waiting = Waiting::default();
        for key in 0..1_000 {
            waiting.put(1, key, ());
        }
        for key in [5_000, 6_000] {
            waiting.put(2, key, ());
        }
        let order = drain(&mut waiting, 5);
        assert_eq!(order, [(1, 0), (2, 5_000), (1, 1), (2, 6_000), (1, 2)]);
    }

    #[test]
    fn with_a_turn_each_the_smallest_key_comes_first() {
        let mut waiting = Waiting::default();
        for (namespace, key) in [(1, 5), (2, 3), (3, 4)] {
            waiting.put(namespace, key, ());
        }
        assert_eq!(drain(&mut waiting, 9), [(2, 3), (3, 4), (1, 5)]);
    }

    #[test]
    fn who_was_away_has_saved_no_turns() {
        let mut waiting = Waiting::default();
        for key in 0..100 {
            waiting.put(1, key, ());
        }
        drain(&mut waiting, 50);
        for key in 0..100 {
            waiting.put(2, key, ());
        }
        let of_second = drain(&mut waiting, 20).iter().filter(|(namespace, _)| *namespace == 2).count();
        assert!((10..=11).contains(&of_second), "{of_second}");
    }

    #[test]
    fn who_may_have_nothing_is_passed_over_and_keeps_its_turn() {
        let mut waiting = Waiting::default();
        waiting.put(1, 0, ());
        waiting.put(2, 9, ());
        assert_eq!(waiting.next(|namespace| namespace != 1).map(|(_, key, ())| key), Some(9));
        assert_eq!(waiting.next(|namespace| namespace != 1), None);
        assert_eq!(drain(&mut waiting, 2), [(1, 0)]);
    }

    proptest! {
        /// Of any mixture, one that always waits has every turn in so many as there are namespaces,
        /// and nothing is lost or kept.
        #[test]
        fn one_that_waits_is_never_passed_over_twice_by_the_same(
            others in prop::collection::vec((0_u32..6, 0_i64..1_000), 0..200),
        ) {
            let mut waiting = Waiting::default();
            for (number, (namespace, key)) in (0_i64..).zip(&others) {
                waiting.put(*namespace, key * 1_000 + number, ());
            }
            for key in 0..20 {
                waiting.put(7, 10_000_000 + key, ());
            }
            let order = drain(&mut waiting, others.len() + 20);
            prop_assert_eq!(order.len(), others.len() + 20);
            prop_assert!(waiting.is_empty() && waiting.lines.is_empty() && waiting.order.is_empty());
            let mut since = std::collections::BTreeMap::new();
            let mut left = 20;
            for (namespace, _) in order {
                if namespace == 7 {
                    since.clear();
                    left -= 1;
                } else if left > 0 {
                    let count = since.entry(namespace).or_insert(0);
                    *count += 1;
                    prop_assert!(*count <= 1, "{namespace} had two turns");
                }
            }
        }

        /// Removing in any order leaves nothing behind.
        #[test]
        fn what_is_removed_is_gone(work in prop::collection::btree_set((0_u32..4, 0_i64..50), 0..60)) {
            let mut waiting = Waiting::default();
            for (namespace, key) in &work {
                waiting.put(*namespace, *key, ());
            }
            for (namespace, key) in work.iter().rev() {
                prop_assert!(waiting.remove(*namespace, key).is_some());
            }
            prop_assert!(waiting.is_empty() && waiting.order.is_empty());
        }
    }
}
