//! Queues that are served in turn, so that whoever sends a flood waits behind their own flood.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Queues by their names.
pub(super) struct Turns<Q> {
    order: VecDeque<Arc<str>>,
    queues: HashMap<Arc<str>, Q>,
}

/// Something that items are taken from.
pub(super) trait Pops<T>: Default {
    fn pop(&mut self) -> Option<T>;
    fn is_empty(&self) -> bool;
}

impl<T> Pops<T> for VecDeque<T> {
    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<Q> Default for Turns<Q> {
    fn default() -> Self {
        Self { order: VecDeque::new(), queues: HashMap::new() }
    }
}

impl<Q: Default> Turns<Q> {
    /// The queue of this name, made when it is the first time.
    pub(super) fn queue(&mut self, name: &Arc<str>) -> &mut Q {
        let order = &mut self.order;
        self.queues.entry(Arc::clone(name)).or_insert_with(|| {
            order.push_back(Arc::clone(name));
            Q::default()
        })
    }
}

impl<T, Q: Pops<T>> Pops<T> for Turns<Q> {
    fn pop(&mut self) -> Option<T> {
        let name = self.order.pop_front()?;
        let queue = self.queues.get_mut(&name)?;
        let item = queue.pop();
        if queue.is_empty() {
            self.queues.remove(&name);
        } else {
            self.order.push_back(name);
        }
        item
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_served_in_turn_and_in_each_of_them_its_receivers() {
        let mut turns: Turns<Turns<VecDeque<&str>>> = Turns::default();
        for (namespace, receiver, item) in [
            ("a", "one", "a1"),
            ("a", "one", "a1'"),
            ("a", "one", "a1''"),
            ("a", "two", "a2"),
            ("b", "three", "b3"),
            ("b", "three", "b3'"),
            ("c", "four", "c4"),
        ] {
            turns.queue(&namespace.into()).queue(&receiver.into()).push_back(item);
        }
        let order: Vec<&str> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(order, ["a1", "b3", "c4", "a2", "b3'", "a1'", "a1''"]);
        assert!(turns.is_empty() && turns.queues.is_empty());
    }
}
