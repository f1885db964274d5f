//! What callers ask for, on its way to the task that writes.
//!
//! What is new waits in a queue for each receiver and is taken in turn: namespaces one after the other, and
//! in each of them its receivers. Whoever sends a flood waits behind their own flood.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::jobs::Asked;
use crate::store::turns::{Pops, Turns};

/// Most new ones in one commit, and most others.
const LARGEST_BATCH: usize = 128;

/// Most bytes of bodies in one commit, so that it does not take long; a single larger body goes alone.
const LARGEST_BATCH_BYTES: usize = 4 << 20;

/// Most new ones that wait for a commit; at most half of them for one namespace.
const MOST_WAITING: usize = 8192;

/// Most other changes that wait. Their callers bound them far below this.
const MOST_OTHERS: usize = 1 << 16;

struct WaitingNew {
    asked: Asked,
    namespace: Arc<str>,
    size: usize,
}

#[derive(Default)]
struct Waiting {
    new: Turns<Turns<VecDeque<WaitingNew>>>,
    waiting_new: usize,
    in_namespace: HashMap<Arc<str>, usize>,
    others: VecDeque<Asked>,
    is_closed: bool,
}

/// There is no place in the queue.
#[derive(Debug)]
pub(super) struct TooMany;

/// The queue of one task.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

impl Queue {
    /// Something that is new, and as large as this.
    pub(super) fn add(
        &self,
        namespace: &Arc<str>,
        uid: &Arc<str>,
        size: usize,
        asked: Asked,
    ) -> Result<(), TooMany> {
        let mut waiting = self.lock();
        let in_namespace = waiting.in_namespace.get(namespace).copied().unwrap_or(0);
        if waiting.is_closed || waiting.waiting_new >= MOST_WAITING || in_namespace >= MOST_WAITING / 2 {
            return Err(TooMany);
        }
        waiting.waiting_new += 1;
        *waiting.in_namespace.entry(Arc::clone(namespace)).or_default() += 1;
        let new = WaitingNew { asked, namespace: Arc::clone(namespace), size };
        waiting.new.queue(namespace).queue(uid).push_back(new);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// A change of what is there.
    pub(super) fn change(&self, asked: Asked) -> Result<(), TooMany> {
        let mut waiting = self.lock();
        if waiting.is_closed || waiting.others.len() >= MOST_OTHERS {
            return Err(TooMany);
        }
        waiting.others.push_back(asked);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Nothing more is taken; what waits is still done.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// What is to be done next, changes of what is there first. `None` when it is closed and all is done.
    pub(super) async fn next(&self) -> Option<Vec<Asked>> {
        loop {
            {
                let mut waiting = self.lock();
                let work = waiting.work();
                if !work.is_empty() {
                    return Some(work);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn work(&mut self) -> Vec<Asked> {
        let mut work: Vec<_> = self.others.drain(..self.others.len().min(LARGEST_BATCH)).collect();
        let (mut count, mut bytes) = (0, 0);
        while count < LARGEST_BATCH && bytes < LARGEST_BATCH_BYTES {
            let Some(new) = self.new.pop() else { break };
            self.waiting_new -= 1;
            if let Some(left) = self.in_namespace.get_mut(&new.namespace) {
                *left -= 1;
                if *left == 0 {
                    self.in_namespace.remove(&new.namespace);
                }
            }
            count += 1;
            bytes += new.size;
            work.push(new.asked);
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::jobs::Job;
    use crate::store::suite::id;

    fn asked(number: u8) -> Asked {
        Asked { job: Job::Done(id(number)), reply: tokio::sync::oneshot::channel().0 }
    }

    fn add(queue: &Queue, namespace: &str, size: usize) -> Result<(), TooMany> {
        queue.add(&namespace.into(), &namespace.into(), size, asked(0))
    }

    #[tokio::test]
    async fn a_flood_of_one_namespace_leaves_places_for_the_others() {
        let queue = Queue::default();
        while add(&queue, "flood", 1).is_ok() {}
        assert_eq!(queue.lock().waiting_new, MOST_WAITING / 2);
        add(&queue, "other", 1).unwrap();
        queue.change(asked(1)).unwrap();
        let work = queue.next().await.unwrap();
        assert_eq!(work.len(), 1 + LARGEST_BATCH);
        assert_eq!(queue.lock().in_namespace.get("other"), None, "it was among the first");
    }

    #[tokio::test]
    async fn a_batch_has_a_bound_in_bytes_and_a_large_one_goes_alone() {
        let queue = Queue::default();
        for size in [LARGEST_BATCH_BYTES, 1, 1] {
            add(&queue, "a", size).unwrap();
        }
        assert_eq!(queue.next().await.unwrap().len(), 1);
        assert_eq!(queue.next().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn what_waits_when_it_is_closed_is_still_done() {
        let queue = Queue::default();
        queue.change(asked(1)).unwrap();
        queue.close();
        assert!(queue.change(asked(2)).is_err() && add(&queue, "a", 1).is_err());
        assert_eq!(queue.next().await.unwrap().len(), 1);
        assert!(queue.next().await.is_none());
    }
}
