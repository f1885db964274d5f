//! The one thread that has the connection: it reads, gathers changes into commits, and answers when a commit
//! is durable.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use tokio::sync::watch;

use super::engine::Engine;
use super::jobs::Change;
use super::queue::{End, Queue, Work};
use crate::store::StoreError;

/// How long nobody asks for anything until the store tidies up.
const IDLE: Duration = Duration::from_secs(1);

/// Sees to it that nobody waits for a thread that has ended.
struct Watch {
    queue: Arc<Queue>,
    failure: watch::Sender<Option<StoreError>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = "its thread has ended, which is a fault of hookkeeper".to_owned();
            self.failure.send_replace(Some(StoreError::Broken(error)));
        }
        self.queue.clear();
    }
}

/// Does what is asked for.
pub(super) struct Worker {
    engine: Engine,
    queue: Arc<Queue>,
}

impl Worker {
    pub(super) fn new(engine: Engine, queue: Arc<Queue>) -> Self {
        Self { engine, queue }
    }

    /// Works until the store is closed or abandoned.
    pub(super) fn run(mut self) {
        let _watch = Watch { queue: Arc::clone(&self.queue), failure: self.engine.failure.clone() };
        let mut gather = false;
        let end = loop {
            let patience = if self.engine.resealing.is_done() { IDLE } else { Duration::from_millis(20) };
            let Work { reads, changes, puts, put_bytes, end } = self.queue.next(patience, gather);
            if let Some(end) = end {
                break end;
            }
            gather = puts.len() > 1;
            let is_idle = reads.is_empty() && changes.is_empty() && puts.is_empty();
            for read in reads {
                match self.engine.failure() {
                    Some(error) => read.refuse(error),
                    None => read.run(&mut self.engine),
                }
            }
            self.commit(changes, puts, put_bytes);
            self.engine.tidy_up(is_idle);
        };
        let mut engine = self.engine;
        if end == End::Close && engine.failure().is_none() {
            engine.empty_log();
        } else {
            // SQLite would bring the log into the file on closing; after a failure nothing more is written.
            let _ = engine.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        let Engine { connection, place, .. } = engine;
        let _ = connection.close();
        drop(place);
    }

    fn commit(&mut self, changes: Vec<Box<dyn Change>>, puts: Vec<Box<dyn Change>>, put_bytes: usize) {
        if changes.is_empty() && puts.is_empty() {
            return;
        }
        if let Some(error) = self.engine.failure() {
            for change in changes.into_iter().chain(puts) {
                change.settle(Err(error.clone()));
            }
            return;
        }
        let mut all = changes;
        match self.engine.room_for(puts.len(), put_bytes) {
            Ok(()) => all.extend(puts),
            Err(error) => puts.into_iter().for_each(|put| put.settle(Err(error.clone()))),
        }
        if all.is_empty() {
            return;
        }
        let outcome =
            self.engine.transaction(|engine| all.iter_mut().try_for_each(|change| change.run(engine)));
        for change in all {
            change.settle(outcome.clone());
        }
    }
}
