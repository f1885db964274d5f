//! The connection and what is known about its rows: transactions, and what an error in one means.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, named_params};
use tokio::sync::watch;

use super::error::meaning;
use super::place::Place;
use super::unsealed::Resealing;
use crate::store::columns::signed;
use crate::store::content::Seals;
use crate::store::ledger::{Account, Ledger};
use crate::store::{Claim, Owner, StoreError};

/// A delivery that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) claim: Claim,
    pub(super) until: DateTime<Utc>,
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
    pub(super) failure: watch::Sender<Option<StoreError>>,
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
            failure: parts.failure,
            resealing,
            resealed: Instant::now(),
            is_full: false,
            looked_at_full_disk: None,
            emptied: Instant::now(),
            log_frames: 0,
        }
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
