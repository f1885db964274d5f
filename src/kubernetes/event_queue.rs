//! Events that wait to be written: a queue for each namespace, and one of each in turn, so that a flood
//! of one namespace neither pushes out nor delays another's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::engine::ports::Notice;

/// How many of one namespace may wait; further ones are in the log only.
pub(super) const WAITING: usize = 64;
/// How many namespaces may wait at a time.
const NAMESPACES: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct EventQueue {
    waiting: BTreeMap<Arc<str>, VecDeque<Notice>>,
    /// Whose turn is next.
    turns: VecDeque<Arc<str>>,
}

impl EventQueue {
    /// Puts a notice behind those of its namespace; returns whether there was room.
    pub(super) fn push(&mut self, notice: Notice) -> bool {
        let namespace = Arc::clone(&notice.key.namespace);
        if let Some(waiting) = self.waiting.get_mut(&namespace) {
            let has_room = waiting.len() < WAITING;
            if has_room {
                waiting.push_back(notice);
            }
            return has_room;
        }
        if self.waiting.len() >= NAMESPACES {
            return false;
        }
        self.turns.push_back(Arc::clone(&namespace));
        self.waiting.insert(namespace, VecDeque::from([notice]));
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next one: that of the namespace that has waited for its turn longest.
    pub(super) fn pop(&mut self) -> Option<Notice> {
        let namespace = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&namespace)?;
        let notice = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        notice
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Kind, ObjectKey, Reason};

    fn notice(namespace: &str, number: usize) -> Notice {
        Notice {
            kind: Kind::WebhookSubscription,
            key: ObjectKey::new(namespace, &format!("n{number}")),
            warning: true,
            reason: Reason::ProviderUnavailable,
            note: String::new(),
        }
    }

    #[test]
    fn a_flood_of_one_namespace_neither_pushes_out_nor_delays_anothers_events() {
        let mut queue = EventQueue::default();
        let admitted = (0..100_000).filter(|number| queue.push(notice("mallory", *number))).count();
        assert_eq!(admitted, WAITING);
        assert!(queue.push(notice("honest", 1)) && queue.push(notice("honest", 2)));
        let order: Vec<String> =
            std::iter::from_fn(|| queue.pop()).map(|notice| notice.key.to_string()).collect();
        assert_eq!(order.len(), WAITING + 2);
        assert_eq!(order[..5], ["mallory/n0", "honest/n1", "mallory/n1", "honest/n2", "mallory/n2"]);
        assert!(queue.waiting.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn however_many_namespaces_there_are_the_queue_is_bounded() {
        let mut queue = EventQueue::default();
        let admitted = (0..10_000).filter(|number| queue.push(notice(&format!("n{number}"), 0))).count();
        assert_eq!((admitted, queue.waiting.len()), (NAMESPACES, NAMESPACES));
    }
}
