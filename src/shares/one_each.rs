//! One piece of work of each namespace at a time, namespaces in turn.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

/// Work that waits, by namespace. Of each namespace one piece is under way at a time, in the order in
/// which it came, so that a namespace with much work delays no other one.
#[derive(Debug)]
pub(crate) struct OneEach<K, W> {
    namespaces: HashMap<Arc<str>, OfOne<K, W>>,
    /// Namespaces that have work and nothing under way, in the order of their turns.
    turns: VecDeque<Arc<str>>,
}

#[derive(Debug)]
struct OfOne<K, W> {
    next: u64,
    waiting: BTreeMap<u64, (K, W)>,
    places: HashMap<K, u64>,
    is_under_way: bool,
}

impl<K, W> Default for OneEach<K, W> {
    fn default() -> Self {
        Self { namespaces: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, W> OneEach<K, W> {
    /// Puts work behind that of its namespace. What waits under the same key is replaced, and its place
    /// kept.
    pub(crate) fn put(&mut self, namespace: &Arc<str>, key: K, work: W) {
        let of_one = self.namespaces.entry(Arc::clone(namespace)).or_insert_with(|| OfOne {
            next: 0,
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            is_under_way: false,
        });
        if of_one.waiting.is_empty() && !of_one.is_under_way {
            self.turns.push_back(Arc::clone(namespace));
        }
        let place = *of_one.places.entry(key.clone()).or_insert_with(|| {
            of_one.next += 1;
            of_one.next
        });
        of_one.waiting.insert(place, (key, work));
    }

    /// The next piece of work; its namespace gets no other one until [`Self::done`].
    pub(crate) fn next(&mut self) -> Option<(Arc<str>, K, W)> {
        let namespace = self.turns.pop_front()?;
        let of_one = self.namespaces.get_mut(&namespace)?;
        let (_, (key, work)) = of_one.waiting.pop_first()?;
        of_one.places.remove(&key);
        of_one.is_under_way = true;
        Some((namespace, key, work))
    }

    /// What was taken last of this namespace is no longer under way.
    pub(crate) fn done(&mut self, namespace: &Arc<str>) {
        let Some(of_one) = self.namespaces.get_mut(namespace) else { return };
        of_one.is_under_way = false;
        if of_one.waiting.is_empty() {
            self.namespaces.remove(namespace);
        } else {
            self.turns.push_back(Arc::clone(namespace));
        }
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.namespaces.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(work: &mut OneEach<u32, u32>) -> Vec<(String, u32, u32)> {
        std::iter::from_fn(|| work.next())
            .map(|(namespace, key, work)| (namespace.to_string(), key, work))
            .collect()
    }

    #[test]
    fn of_each_namespace_one_is_under_way_whatever_another_has() {
        let (flooding, modest): (Arc<str>, Arc<str>) = ("flooding".into(), "modest".into());
        let mut work = OneEach::default();
        for number in 0..1_000 {
            work.put(&flooding, number, number);
        }
        work.put(&modest, 7, 7);
        assert_eq!(taken(&mut work), [("flooding".to_owned(), 0, 0), ("modest".to_owned(), 7, 7)]);
        assert_eq!(taken(&mut work), []);
        work.put(&modest, 8, 8);
        work.done(&flooding);
        assert_eq!(taken(&mut work), [("flooding".to_owned(), 1, 1)], "the other one is under way");
        work.done(&modest);
        assert_eq!(taken(&mut work), [("modest".to_owned(), 8, 8)]);
    }

    #[test]
    fn what_waits_is_replaced_in_its_place_and_nothing_is_left_at_the_end() {
        let namespace: Arc<str> = "a".into();
        let mut work = OneEach::default();
        for (key, value) in [(1, 10), (2, 20), (1, 11)] {
            work.put(&namespace, key, value);
        }
        let mut order = Vec::new();
        while let Some((namespace, key, value)) = work.next() {
            // Again while it is under way: that is new work.
            if value == 11 {
                work.put(&namespace, 1, 12);
            }
            order.push((key, value));
            work.done(&namespace);
        }
        assert_eq!(order, [(1, 11), (2, 20), (1, 12)]);
        assert!(work.is_idle() && work.turns.is_empty());
    }
}
