//! What callers ask for, on its way to the one thread that has the connection.
//!
//! New deliveries wait in a queue for each receiver and are taken in turn: namespaces one after the other,
//! and in each of them its receivers. Whoever sends a flood waits behind their own flood.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::jobs::{Change, Read};
use crate::store::turns::{Pops, Turns};

/// Most deliveries in one commit.
const LARGEST_BATCH: usize = 64;

/// Most bytes of bodies in one commit, so that it does not take long; a single larger body goes alone.
const LARGEST_BATCH_BYTES: usize = 4 << 20;

/// How long a commit waits for more deliveries to share it with.
const GATHERING: Duration = Duration::from_millis(2);

/// Most deliveries that wait for a commit; at most half of them for one namespace.
const MOST_WAITING: usize = 8192;

/// Most other changes, and most reads, that wait. Their callers bound them far below this.
const MOST_OTHERS: usize = 1 << 16;

/// Most reads that are done between two commits.
const READS_IN_A_ROW: usize = 64;

/// A delivery that waits for a commit.
struct WaitingPut {
    change: Box<dyn Change>,
    namespace: Arc<str>,
    size: usize,
}

#[derive(Default)]
struct Waiting {
    puts: Turns<Turns<VecDeque<WaitingPut>>>,
    waiting_puts: usize,
    in_namespace: HashMap<Arc<str>, usize>,
    others: VecDeque<Box<dyn Change>>,
    reads: VecDeque<Box<dyn Read>>,
    end: Option<End>,
}

/// How the thread is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything that waits is done first, and the file is closed cleanly.
    Close,
    /// At once, leaving the file as a crash would.
    Abandon,
}

/// What is to be done next.
pub(super) struct Work {
    pub(super) reads: Vec<Box<dyn Read>>,
    /// Changes of deliveries that are there, and others.
    pub(super) changes: Vec<Box<dyn Change>>,
    /// New deliveries.
    pub(super) puts: Vec<Box<dyn Change>>,
    /// Bytes of the bodies of the new ones.
    pub(super) put_bytes: usize,
    /// Set when nothing is left to do and the thread is to end.
    pub(super) end: Option<End>,
}

/// There is no place in the queue.
pub(super) struct TooMany;

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    pub(super) fn put(
        &self,
        namespace: &Arc<str>,
        uid: &Arc<str>,
        size: usize,
        change: Box<dyn Change>,
    ) -> Result<(), TooMany> {
        let mut waiting = self.lock();
        let in_namespace = waiting.in_namespace.get(namespace).copied().unwrap_or(0);
        if waiting.end.is_some() || waiting.waiting_puts >= MOST_WAITING || in_namespace >= MOST_WAITING / 2 {
            return Err(TooMany);
        }
        waiting.waiting_puts += 1;
        *waiting.in_namespace.entry(Arc::clone(namespace)).or_default() += 1;
        let put = WaitingPut { change, namespace: Arc::clone(namespace), size };
        waiting.puts.queue(namespace).queue(uid).push_back(put);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn change(&self, change: Box<dyn Change>) -> Result<(), TooMany> {
        let mut waiting = self.lock();
        if waiting.end.is_some() || waiting.others.len() >= MOST_OTHERS {
            return Err(TooMany);
        }
        waiting.others.push_back(change);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn read(&self, read: Box<dyn Read>) -> Result<(), TooMany> {
        let mut waiting = self.lock();
        if waiting.end.is_some() || waiting.reads.len() >= MOST_OTHERS {
            return Err(TooMany);
        }
        waiting.reads.push_back(read);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn end(&self, end: End) {
        let mut waiting = self.lock();
        waiting.end = Some(end);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Nobody works any more: who waits is told so by the end of their channel.
    pub(super) fn clear(&self) {
        let mut waiting = self.lock();
        let end = waiting.end.unwrap_or(End::Abandon);
        *waiting = Waiting { end: Some(end), ..Waiting::default() };
    }

    /// Waits for work, at most so long. With `gather`, which says that callers come in numbers, a commit
    /// waits a moment for more of them; a single caller would only wait for nobody.
    pub(super) fn next(&self, patience: Duration, gather: bool) -> Work {
        let mut waiting = self.lock();
        let until = Instant::now() + patience;
        while waiting.is_empty() && waiting.end.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = self.wait(waiting, left);
        }
        if gather {
            let until = Instant::now() + GATHERING;
            while waiting.reads.is_empty() && waiting.end.is_none() && waiting.waiting_puts < LARGEST_BATCH {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                waiting = self.wait(waiting, left);
            }
        }
        waiting.work()
    }

    fn wait<'a>(&'a self, waiting: MutexGuard<'a, Waiting>, limit: Duration) -> MutexGuard<'a, Waiting> {
        self.changed.wait_timeout(waiting, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.others.is_empty() && self.reads.is_empty()
    }

    fn work(&mut self) -> Work {
        let reads: Vec<_> = self.reads.drain(..self.reads.len().min(READS_IN_A_ROW)).collect();
        let changes: Vec<_> = self.others.drain(..self.others.len().min(LARGEST_BATCH)).collect();
        let mut puts = Vec::new();
        let mut put_bytes = 0;
        while puts.len() < LARGEST_BATCH && put_bytes < LARGEST_BATCH_BYTES {
            let Some(put) = self.puts.pop() else { break };
            self.waiting_puts -= 1;
            if let Some(count) = self.in_namespace.get_mut(&put.namespace) {
                *count -= 1;
                if *count == 0 {
                    self.in_namespace.remove(&put.namespace);
                }
            }
            put_bytes += put.size;
            puts.push(put.change);
        }
        let is_done = reads.is_empty() && changes.is_empty() && puts.is_empty();
        let end = match self.end {
            Some(End::Abandon) => Some(End::Abandon),
            Some(End::Close) if is_done => Some(End::Close),
            _ => None,
        };
        Work { reads, changes, puts, put_bytes, end }
    }
}
