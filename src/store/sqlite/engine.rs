//! The one thread that has the connection: it reads, gathers changes into commits, and answers when a commit
//! is durable.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, OptionalExtension, named_params};
use tokio::sync::{oneshot, watch};

use super::content::Seals;
use super::error::meaning;
use super::ledger::{Account, Ledger};
use super::place::Place;
use super::queue::{End, Queue, Work};
use super::resealing::Resealing;
use crate::store::{Claim, Owner, StoreError};

/// Frames in the log after which they are brought into the file: 16 MiB.
const CHECKPOINT_FRAMES: i32 = 4096;

/// How long nobody asks for anything until the store tidies up.
const IDLE: Duration = Duration::from_secs(1);

/// At the latest then the log is emptied.
const EMPTIED_EVERY: Duration = Duration::from_secs(3600);

/// How often some rows are sealed with a new key while there is other work.
const RESEALING_EVERY: Duration = Duration::from_millis(100);

/// How often a full disk is looked at again.
const FULL_DISK_EVERY: Duration = Duration::from_secs(1);

/// Pages that are given back to the file system in one go. Each may move others, and these go into the log
/// first: on a full disk the log must not need more than what is held back.
const PAGES_GIVEN_BACK: u32 = 2048;

/// Something that reads, between two commits.
pub(super) trait Read: Send {
    fn run(self: Box<Self>, engine: &mut Engine);
    fn refuse(self: Box<Self>, error: StoreError);
}

/// Something that changes rows, as a part of a commit.
pub(super) trait Change: Send {
    /// Does it, inside of the open transaction.
    fn run(&mut self, engine: &mut Engine) -> rusqlite::Result<()>;
    /// The commit succeeded, or nothing of it has happened.
    fn settle(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// An answer that somebody waits for.
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A [`Read`] made of a function.
pub(super) struct ReadOnce<T, F> {
    pub(super) read: F,
    pub(super) reply: Reply<T>,
}

impl<T, F> Read for ReadOnce<T, F>
where
    T: Send,
    F: FnOnce(&mut Engine) -> rusqlite::Result<T> + Send,
{
    fn run(self: Box<Self>, engine: &mut Engine) {
        let answer = (self.read)(engine).map_err(|error| meaning(&error));
        if let Err(error @ StoreError::Broken(_)) = &answer {
            engine.fail(error.clone());
        }
        // Who asked may have gone away.
        let _ = self.reply.send(answer);
    }

    fn refuse(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error));
    }
}

/// A [`Change`] made of a function.
pub(super) struct ChangeOnce<T, F> {
    pub(super) change: Option<F>,
    pub(super) answer: Option<T>,
    pub(super) reply: Reply<T>,
}

impl<T, F> Change for ChangeOnce<T, F>
where
    T: Send,
    F: FnOnce(&mut Engine) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, engine: &mut Engine) -> rusqlite::Result<()> {
        if let Some(change) = self.change.take() {
            self.answer = Some(change(engine)?);
        }
        Ok(())
    }

    fn settle(self: Box<Self>, outcome: Result<(), StoreError>) {
        let answer = match (outcome, self.answer) {
            (Ok(()), Some(answer)) => Ok(answer),
            (Ok(()), None) => Err(StoreError::Unavailable("it was not done".to_owned())),
            (Err(error), _) => Err(error),
        };
        let _ = self.reply.send(answer);
    }
}

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
    reserve: u64,
    queue: Arc<Queue>,
    failure: watch::Sender<Option<StoreError>>,
    pub(super) resealing: Resealing,
    resealed: Instant,
    /// The last commit failed for want of space.
    is_full: bool,
    pub(super) looked_at_full_disk: Option<Instant>,
    emptied: Instant,
    log_frames: i32,
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

    /// Whether deliveries may be picked: not while what becomes of them cannot be written down.
    pub(super) fn may_pick(&mut self) -> bool {
        if self.is_full && self.is_time_for_full_disk() {
            self.return_pages(PAGES_GIVEN_BACK);
            // Whether a commit succeeds again is known when one was tried.
            let result = self.transaction(|engine| {
                engine.connection.execute("UPDATE store SET one = one", []).map(|_| ())
            });
            if result.is_ok() {
                tracing::info!("the disk of the store has space again");
            }
        }
        !self.is_full
    }

    fn is_time_for_full_disk(&mut self) -> bool {
        let now = Instant::now();
        if self.looked_at_full_disk.is_some_and(|last| now.duration_since(last) < FULL_DISK_EVERY) {
            return false;
        }
        self.looked_at_full_disk = Some(now);
        true
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
            .connection
            .execute_batch("BEGIN IMMEDIATE")
            .and_then(|()| work(self))
            .and_then(|()| self.write_accounts())
            .and_then(|()| self.connection.execute_batch("COMMIT"));
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

    /// Whether new deliveries fit on the disk beside what is held back for those that are there: once into
    /// the log and once into the file, together with what of the log is not in the file yet.
    fn room_for(&mut self, puts: usize, bytes: usize) -> Result<(), StoreError> {
        const ROW: u64 = 4096;
        if puts == 0 {
            return Ok(());
        }
        let log = u64::from(self.log_frames.unsigned_abs()) * ROW;
        let needed = self.reserve + log + 2 * (bytes as u64 + puts as u64 * ROW);
        let mut free = self.free()?;
        if free < needed && self.is_time_for_full_disk() {
            self.return_pages(PAGES_GIVEN_BACK);
            free = self.free()?;
        }
        if free < needed {
            return Err(StoreError::Full(format!(
                "{} MiB are left, and {} MiB are kept for deliveries that are there already",
                free >> 20,
                self.reserve >> 20
            )));
        }
        Ok(())
    }

    fn free(&self) -> Result<u64, StoreError> {
        self.place
            .free()
            .map_err(|error| StoreError::Unavailable(format!("how full its disk is cannot be seen: {error}")))
    }

    fn tidy_up(&mut self, is_idle: bool) {
        if self.failure().is_some() {
            return;
        }
        if is_idle || self.resealed.elapsed() >= RESEALING_EVERY {
            self.reseal();
        }
        self.log_frames = self
            .connection
            .wal_checkpoint_v2(None::<&str>, CheckpointMode::NOOP)
            .map_or(0, |(frames, _)| frames);
        if self.emptied.elapsed() >= EMPTIED_EVERY
            || is_idle && self.resealing.is_done() && self.log_frames > 0
        {
            self.return_pages(PAGES_GIVEN_BACK);
            self.empty_log();
        } else if self.log_frames >= CHECKPOINT_FRAMES {
            self.checkpoint(CheckpointMode::PASSIVE);
        }
    }

    fn reseal(&mut self) {
        let mut resealing = std::mem::take(&mut self.resealing);
        if let Err(error) = resealing.step(self) {
            tracing::warn!(error = %error, "rows cannot be sealed with the new data key yet");
        }
        self.resealing = resealing;
        self.resealed = Instant::now();
    }

    /// Empties the log into the file.
    pub(super) fn empty_log(&mut self) {
        self.checkpoint(CheckpointMode::TRUNCATE);
        self.emptied = Instant::now();
    }

    /// Brings the log into the file. By hand and not by SQLite's own automatism: that one ignores an fsync
    /// that fails, and the log, the only good copy, would be written over.
    fn checkpoint(&mut self, mode: CheckpointMode) {
        match self.connection.wal_checkpoint_v2(None::<&str>, mode) {
            Ok(_) => self.log_frames = 0,
            Err(error) => match meaning(&error) {
                broken @ StoreError::Broken(_) => self.fail(broken),
                // Everything is still in the log.
                other => tracing::warn!(error = %other, "the log of the store cannot be emptied yet"),
            },
        }
    }

    /// Each step of this statement gives one page back.
    fn vacuum(&self, pages: u32) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }

    /// Gives free pages of the file back to the file system.
    pub(super) fn return_pages(&mut self, pages: u32) {
        let free: rusqlite::Result<Option<u32>> =
            self.connection.query_row("PRAGMA freelist_count", [], |row| row.get(0)).optional();
        if matches!(free, Ok(Some(count)) if count > 0) {
            if let Err(error) = self.vacuum(pages) {
                match meaning(&error) {
                    broken @ StoreError::Broken(_) => self.fail(broken),
                    other => tracing::debug!(error = %other, "free pages cannot be given back yet"),
                }
            }
            self.empty_log();
        }
    }
}

/// As SQLite keeps numbers.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// As they were.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Microseconds since 1970.
pub(super) fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

/// The time of so many microseconds since 1970.
pub(super) fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}
