//! The one thread that has the connection: it reads, gathers changes into commits, and answers when a commit
//! is durable.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, named_params};
use tokio::sync::watch;

use super::error::meaning;
use super::jobs::Change;
use super::place::Place;
use super::queue::{End, Queue, Work};
use super::resealing::Resealing;
use crate::store::columns::signed;
use crate::store::content::Seals;
use crate::store::ledger::{Account, Ledger};
use crate::store::{Claim, Owner, StoreError};

/// How long nobody asks for anything until the store tidies up.
const IDLE: Duration = Duration::from_secs(1);

/// A delivery that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) claim: Claim,
    pub(super) until: DateTime<Utc>,
}

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

/// The connection and what is known about its rows.
pub(super) struct Engine {
    pub(super) connection: Connection,
    pub(super) place: Place,
    pub(super) seals: Arc<Seals>,
    pub(super) ledger: Ledger,
    /// Deliveries under way, by the numbers of their rows. They end with the process.
    pub(super) claims: HashMap<i64, Held>,
    pub(super) last_claim: u64,
    /// Rows whose claims end with the commit.
    pub(super) released: Vec<i64>,
    /// Most keys of one receiver.
    pub(super) most_keys: u64,
    pub(super) reserve: u64,
    queue: Arc<Queue>,
    failure: watch::Sender<Option<StoreError>>,
    pub(super) resealing: Resealing,
    pub(super) resealed: Instant,
    /// The last commit failed for want of space.
    pub(super) is_full: bool,
    pub(super) looked_at_full_disk: Option<Instant>,
    pub(super) emptied: Instant,
    pub(super) log_frames: i32,
}

/// What an engine is made of.
pub(super) struct Parts {
    pub(super) connection: Connection,
    pub(super) place: Place,
    pub(super) seals: Arc<Seals>,
    pub(super) ledger: Ledger,
    pub(super) most_keys: u64,
    pub(super) reserve: u64,
    pub(super) queue: Arc<Queue>,
    pub(super) failure: watch::Sender<Option<StoreError>>,
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Self {
        let resealing = Resealing::new(&parts.seals);
        Self {
            connection: parts.connection,
            place: parts.place,
            seals: parts.seals,
            ledger: parts.ledger,
            claims: HashMap::new(),
            last_claim: 0,
            released: Vec::new(),
            most_keys: parts.most_keys,
            reserve: parts.reserve,
            queue: parts.queue,
            failure: parts.failure,
            resealing,
            resealed: Instant::now(),
            is_full: false,
            looked_at_full_disk: None,
            emptied: Instant::now(),
            log_frames: 0,
        }
    }

    /// Works until the store is closed or abandoned.
    pub(super) fn run(mut self) {
        let _watch = Watch { queue: Arc::clone(&self.queue), failure: self.failure.clone() };
        let mut gather = false;
        let queue = Arc::clone(&self.queue);
        let end = loop {
            let patience = if self.resealing.is_done() { IDLE } else { Duration::from_millis(20) };
            let Work { reads, changes, puts, put_bytes, end } = queue.next(patience, gather);
            if let Some(end) = end {
                break end;
            }
            gather = puts.len() > 1;
            let is_idle = reads.is_empty() && changes.is_empty() && puts.is_empty();
            for read in reads {
                match self.failure() {
                    Some(error) => read.refuse(error),
                    None => read.run(&mut self),
                }
            }
            self.commit(changes, puts, put_bytes);
            self.tidy_up(is_idle);
        };
        if end == End::Close && self.failure().is_none() {
            self.empty_log();
        } else {
            // SQLite would bring the log into the file on closing; after a failure nothing more is written.
            let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        let Self { connection, place, .. } = self;
        let _ = connection.close();
        drop(place);
    }

    pub(super) fn failure(&self) -> Option<StoreError> {
        self.failure.borrow().clone()
    }

    /// From now on nothing is done any more.
    pub(super) fn fail(&self, error: StoreError) {
        let folder = self.place.folder().display();
        tracing::error!(%folder, error = %error, "the store has failed; the process must end");
        self.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert(error);
            is_first
        });
    }

    fn commit(&mut self, changes: Vec<Box<dyn Change>>, puts: Vec<Box<dyn Change>>, put_bytes: usize) {
        if changes.is_empty() && puts.is_empty() {
            return;
        }
        if let Some(error) = self.failure() {
            for change in changes.into_iter().chain(puts) {
                change.settle(Err(error.clone()));
            }
            return;
        }
        let mut all = changes;
        match self.room_for(puts.len(), put_bytes) {
            Ok(()) => all.extend(puts),
            Err(error) => puts.into_iter().for_each(|put| put.settle(Err(error.clone()))),
        }
        if all.is_empty() {
            return;
        }
        let outcome = self.transaction(|engine| all.iter_mut().try_for_each(|change| change.run(engine)));
        for change in all {
            change.settle(outcome.clone());
        }
    }

    /// Everything in it is committed, or nothing.
    pub(super) fn transaction(
        &mut self,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let result = self
            .statement("BEGIN IMMEDIATE")
            .and_then(|()| work(self))
            .and_then(|()| self.write_accounts())
            .and_then(|()| self.statement("COMMIT"));
        match result {
            Ok(()) => {
                self.ledger.commit();
                for row in std::mem::take(&mut self.released) {
                    self.claims.remove(&row);
                }
                self.is_full = false;
                Ok(())
            }
            Err(error) => {
                let meaning = self.roll_back(&error);
                match &meaning {
                    StoreError::Broken(_) => self.fail(meaning.clone()),
                    StoreError::Full(_) if !self.is_full => {
                        tracing::error!(folder = %self.place.folder().display(), "the disk of the store is full");
                        self.is_full = true;
                    }
                    _ => {}
                }
                Err(meaning)
            }
        }
    }

    fn statement(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn roll_back(&mut self, error: &rusqlite::Error) -> StoreError {
        self.ledger.roll_back();
        self.released.clear();
        // Of some errors SQLite itself has rolled back.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            return StoreError::Broken(format!("a change cannot be taken back: {error}"));
        }
        meaning(error)
    }

    fn write_accounts(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE receivers SET pending = :pending, pending_bytes = :pending_bytes, parked = :parked,
                 parked_bytes = :parked_bytes, keys = :keys, expected = :expected,
                 expected_parked = :expected_parked, shortened_until = :shortened_until
             WHERE receiver = :receiver",
        )?;
        for account in self.ledger.changed() {
            statement.execute(named_params! {
                ":receiver": account.receiver,
                ":pending": signed(account.pending.deliveries),
                ":pending_bytes": signed(account.pending.bytes),
                ":parked": signed(account.parked.deliveries),
                ":parked_bytes": signed(account.parked.bytes),
                ":keys": signed(account.keys),
                ":expected": signed(account.expected),
                ":expected_parked": signed(account.expected_parked),
                ":shortened_until": account.shortened_until,
            })?;
        }
        Ok(())
    }

    /// The account of a receiver, made when it is the first time.
    pub(super) fn account(&mut self, owner: &Owner) -> rusqlite::Result<i64> {
        if let Some(account) = self.ledger.by_uid(&owner.uid) {
            return Ok(account.receiver);
        }
        self.connection
            .prepare_cached(
                "INSERT INTO receivers (uid, namespace, name, pending, pending_bytes, parked, parked_bytes,
                     keys, expected, expected_parked, shortened_until)
                 VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0, 0, 0, 0)",
            )?
            .execute((&*owner.uid, &*owner.namespace, &*owner.name))?;
        let receiver = self.connection.last_insert_rowid();
        self.ledger.insert(Account::new(receiver, owner.clone()));
        Ok(receiver)
    }
}
