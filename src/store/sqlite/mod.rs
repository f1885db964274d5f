//! The embedded engine: SQLite, one file in a folder of its own, one process.
//!
//! Everything goes through one thread with one connection ([`worker`]): deliveries that arrive together share
//! a commit, so that one fsync serves up to 64 of them. Sealing and opening are done by the callers.
//!
//! | file | holds |
//! |---|---|
//! | `hookkeeper.db` | the rows |
//! | `hookkeeper.db-wal` | what was committed and is not in the file yet; emptied when nobody asks, hourly, and at each start |
//! | `hookkeeper.lock` | locked by the process that has the store open |

mod adopting;
mod deliveries;
mod engine;
mod error;
mod expectations;
mod jobs;
mod keys;
mod opening;
mod place;
mod queue;
mod reading;
mod resealing;
mod schema;
mod standstills;
#[cfg(test)]
mod tests;
mod unsealed;
mod upkeep;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use self::adopting::Adopting;
use self::deliveries::PARKED_AT_ONCE;
use self::engine::{Engine, Parts};
pub use self::error::OpenError;
use self::jobs::{ChangeOnce, ReadOnce};
pub use self::opening::SqliteOptions;
use self::queue::{End, Queue};
use self::worker::Worker;
use super::columns::micros;
use super::content::{Seals, expectation_digest};
use super::rows::Arriving;
use super::seal::{Field, RowName};
use super::{
    Adopted, Answer, Claim, DeliveryId, Expectation, KnownToken, LastFailure, NewDelivery, Owner, Put, Room,
    Row, Selection, Standstill, Store, StoreError, Taken, Usage,
};

/// Deliveries in an SQLite file.
///
/// Dropped without [`Store::close`] it leaves the file as a crash would: nothing that was answered is lost.
pub struct SqliteStore {
    queue: Arc<Queue>,
    seals: Arc<Seals>,
    digest_key: [u8; 32],
    failure: watch::Receiver<Option<StoreError>>,
    /// It was asked to end.
    is_ending: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SqliteStore")
    }
}

impl SqliteStore {
    /// Opens the store of a folder, or makes one. Blocks on the disk.
    ///
    /// # Errors
    /// When the folder or the file in it cannot be used; a file that is refused is not changed.
    pub fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        let (reserve, most_keys) = (options.reserve, options.most_keys);
        let folder = options.folder.clone();
        let opened = opening::open(options)?;
        let queue = Arc::new(Queue::default());
        let (failure, failed) = watch::channel(None);
        let seals = Arc::clone(&opened.seals);
        let digest_key = opened.digest_key;
        let engine = Engine::new(Parts {
            connection: opened.connection,
            place: opened.place,
            seals: opened.seals,
            ledger: opened.ledger,
            most_keys,
            reserve,
            failure,
        });
        let worker = Worker::new(engine, Arc::clone(&queue));
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| OpenError::Failed { path: folder, problem: error.to_string() })?;
        Ok(Self {
            queue,
            seals,
            digest_key,
            failure: failed,
            is_ending: AtomicBool::new(false),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Why nothing can be asked for.
    fn refusal(&self) -> StoreError {
        if let Some(error) = self.failure.borrow().clone() {
            return error;
        }
        let problem =
            if self.is_ending.load(Ordering::Relaxed) { "it is closed" } else { "too many wait for it" };
        StoreError::Unavailable(problem.to_owned())
    }

    /// Waits for the answer of the thread.
    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
        match answer.await {
            Ok(answer) => answer,
            Err(_) if self.is_ending.load(Ordering::Relaxed) => Err(self.refusal()),
            // It panicked, and is about to say so.
            Err(_) => Err(self.failed().await),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Engine) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.read(Box::new(ReadOnce { read, reply })).map_err(|_| self.refusal())?;
        self.answer(answer).await
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Engine) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let change = ChangeOnce { change: Some(change), answer: None, reply };
        self.queue.change(Box::new(change)).map_err(|_| self.refusal())?;
        self.answer(answer).await
    }

    async fn put_sealed(&self, delivery: NewDelivery) -> Result<Put, StoreError> {
        let size = delivery.body.len();
        let arriving = Arriving::of(delivery, &self.seals)?;
        let (namespace, uid) = (Arc::clone(&arriving.owner.namespace), Arc::clone(&arriving.owner.uid));
        self.add(&namespace, &uid, size, move |engine| engine.put(&arriving)).await
    }

    /// A change that brings something new of this size.
    async fn add<T: Send + 'static>(
        &self,
        namespace: &Arc<str>,
        uid: &Arc<str>,
        size: usize,
        change: impl FnOnce(&mut Engine) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let change = Box::new(ChangeOnce { change: Some(change), answer: None, reply });
        self.queue.put(namespace, uid, size, change).map_err(|_| self.refusal())?;
        self.answer(answer).await
    }

    async fn take_opened(
        &self,
        uid: &str,
        most: usize,
        now: DateTime<Utc>,
        lease: TimeDelta,
    ) -> Result<Vec<Taken>, StoreError> {
        let owned = uid.to_owned();
        let rows = self.read(move |engine| engine.take(&owned, most, now, lease)).await?;
        let mut taken = Vec::with_capacity(rows.len());
        for row in rows {
            let (id, claim) = (row.id, row.claim);
            match row.open(uid, &self.seals, now) {
                Ok(opened) => taken.push(opened),
                Err(failure) => self.park(id, claim, failure).await?,
            }
        }
        Ok(taken)
    }

    async fn adopt_sealed(
        &self,
        id: DeliveryId,
        by: Owner,
        room: Room,
        now: DateTime<Utc>,
    ) -> Result<Adopted, StoreError> {
        let Some(row) = self.read(move |engine| engine.body(id)).await? else { return Ok(Adopted::Absent) };
        let content = self.seals.read(&row.uid, id, row.written)?;
        let written = self.seals.write(&by.uid, id, &content)?;
        let adopting = Adopting { id, by, room, written };
        self.change(move |engine| engine.adopt(&adopting, micros(now))).await
    }

    /// Makes a change that is made up to [`PARKED_AT_ONCE`] times at once, until there is nothing left to
    /// change: in parts, so that others get their turn between them.
    async fn in_parts(
        &self,
        change: impl Fn(&mut Engine) -> rusqlite::Result<u64> + Clone + Send + 'static,
    ) -> Result<u64, StoreError> {
        let mut changed = 0;
        loop {
            let some = self.change(change.clone()).await?;
            changed += some;
            if some < PARKED_AT_ONCE.unsigned_abs() {
                return Ok(changed);
            }
        }
    }

    async fn end(&self, end: End) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.queue.end(end);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It ends after what it is doing; this is no place to report a panic of it a second time.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            self.queue.end(End::Abandon);
            let _ = thread.join();
        }
    }
}

impl Store for SqliteStore {
    fn digest_key(&self) -> &[u8; 32] {
        &self.digest_key
    }

    fn is_sealing(&self) -> bool {
        self.seals.is_sealing()
    }

    fn failed(&self) -> BoxFuture<'_, StoreError> {
        let mut failure = self.failure.clone();
        Box::pin(async move {
            let seen = failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
            match seen {
                Some(error) => error,
                // Closed, and never failed.
                None => std::future::pending().await,
            }
        })
    }

    fn put(&self, delivery: NewDelivery) -> Answer<'_, Put> {
        Box::pin(self.put_sealed(delivery))
    }

    fn take<'a>(
        &'a self,
        uid: &'a str,
        most: usize,
        now: DateTime<Utc>,
        lease: Duration,
    ) -> Answer<'a, Vec<Taken>> {
        // Longer than any lease is meant to be, and short enough to be added to a time.
        let lease = TimeDelta::from_std(lease).unwrap_or(TimeDelta::MAX).min(TimeDelta::days(365));
        Box::pin(self.take_opened(uid, most, now, lease))
    }

    fn next_due<'a>(&'a self, uid: &'a str) -> Answer<'a, Option<DateTime<Utc>>> {
        let uid = uid.to_owned();
        Box::pin(self.read(move |engine| engine.next_due(&uid)))
    }

    fn done(&self, id: DeliveryId) -> Answer<'_, ()> {
        Box::pin(self.change(move |engine| engine.done(id)))
    }

    fn retry(
        &self,
        id: DeliveryId,
        claim: Claim,
        due: DateTime<Utc>,
        refused: bool,
        failure: LastFailure,
    ) -> Answer<'_, ()> {
        Box::pin(self.change(move |engine| engine.retry(id, claim, micros(due), refused, &failure)))
    }

    fn give_back(&self, id: DeliveryId, claim: Claim) -> Answer<'_, ()> {
        Box::pin(self.read(move |engine| engine.give_back(id, claim)))
    }

    fn park(&self, id: DeliveryId, claim: Claim, failure: LastFailure) -> Answer<'_, ()> {
        Box::pin(self.change(move |engine| engine.park(id, claim, &failure)))
    }

    fn park_all<'a>(&'a self, uid: &'a str, failure: LastFailure) -> Answer<'a, u64> {
        let uid = uid.to_owned();
        Box::pin(self.in_parts(move |engine| engine.park_some(&uid, &failure)))
    }

    fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Answer<'_, bool> {
        Box::pin(self.change(move |engine| engine.replay(id, micros(now))))
    }

    fn adopt(&self, id: DeliveryId, by: Owner, room: Room, now: DateTime<Utc>) -> Answer<'_, Adopted> {
        Box::pin(self.adopt_sealed(id, by, room, now))
    }

    fn drop_parked(&self, id: DeliveryId) -> Answer<'_, bool> {
        Box::pin(self.change(move |engine| engine.drop_parked(id)))
    }

    fn list<'a>(
        &'a self,
        selection: &'a Selection,
        after: Option<DeliveryId>,
        most: usize,
    ) -> Answer<'a, Vec<Row>> {
        let selection = selection.clone();
        Box::pin(self.read(move |engine| engine.list(&selection, after, most)))
    }

    fn show(&self, id: DeliveryId) -> Answer<'_, Option<Row>> {
        Box::pin(self.read(move |engine| engine.show(id)))
    }

    fn body(&self, id: DeliveryId) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let Some(row) = self.read(move |engine| engine.body(id)).await? else { return Ok(None) };
            self.seals.read(&row.uid, id, row.written).map(|content| Some(content.body))
        })
    }

    fn usage(&self) -> Answer<'_, Vec<Usage>> {
        Box::pin(self.read(|engine| engine.usage()))
    }

    fn forget_expired(&self, now: DateTime<Utc>) -> Answer<'_, u64> {
        Box::pin(self.change(move |engine| engine.forget_expired(micros(now))))
    }

    fn expect(&self, expectation: Expectation, most: usize) -> Answer<'_, bool> {
        Box::pin(async move {
            let uid = Arc::clone(&expectation.owner.uid);
            let digest = expectation_digest(&self.digest_key, &uid, &expectation.id);
            let name = RowName { uid: &uid, row: &digest };
            let (sealing, id) = self.seals.write_one(Field::ExpectedId, name, expectation.id.as_bytes())?;
            let namespace = Arc::clone(&expectation.owner.namespace);
            // Something new: it waits for its turn, and needs more room than is kept for what is there.
            self.add(&namespace, &uid, id.len(), move |engine| {
                engine.expect(&expectation, &digest, sealing, &id, most)
            })
            .await
        })
    }

    fn expectations_due<'a>(
        &'a self,
        uid: &'a str,
        now: DateTime<Utc>,
        most: usize,
    ) -> Answer<'a, Vec<Expectation>> {
        let uid = uid.to_owned();
        Box::pin(async move {
            let rows = self.read(move |engine| engine.expectations_due(&uid, micros(now), most)).await?;
            rows.into_iter().map(|row| row.open(&self.seals)).collect()
        })
    }

    fn expectation<'a>(&'a self, uid: &'a str, id: &'a str) -> Answer<'a, Option<Expectation>> {
        let digest = expectation_digest(&self.digest_key, uid, id);
        let uid = uid.to_owned();
        Box::pin(async move {
            let row = self.read(move |engine| engine.expectation(&uid, &digest)).await?;
            row.map(|row| row.open(&self.seals)).transpose()
        })
    }

    fn expectation_changed(&self, expectation: Expectation) -> Answer<'_, ()> {
        let digest = expectation_digest(&self.digest_key, &expectation.owner.uid, &expectation.id);
        Box::pin(self.change(move |engine| engine.expectation_changed(&expectation, &digest)))
    }

    fn expectation_met<'a>(&'a self, uid: &'a str, id: &'a str) -> Answer<'a, ()> {
        let digest = expectation_digest(&self.digest_key, uid, id);
        let uid = uid.to_owned();
        Box::pin(self.change(move |engine| engine.expectation_met(&uid, &digest)))
    }

    fn expectations<'a>(&'a self, selection: &'a Selection, most: usize) -> Answer<'a, Vec<Expectation>> {
        let selection = selection.clone();
        Box::pin(async move {
            let rows = self.read(move |engine| engine.expectations(&selection, most)).await?;
            rows.into_iter().map(|row| row.open(&self.seals)).collect()
        })
    }

    fn park_expectations<'a>(&'a self, uid: &'a str, now: DateTime<Utc>) -> Answer<'a, u64> {
        let uid = uid.to_owned();
        Box::pin(self.in_parts(move |engine| engine.park_expectations(&uid, micros(now))))
    }

    fn revive_expectations<'a>(&'a self, uid: &'a str, now: DateTime<Utc>, most: usize) -> Answer<'a, u64> {
        let uid = uid.to_owned();
        Box::pin(self.in_parts(move |engine| engine.revive_expectations(&uid, micros(now), most)))
    }

    fn forget_expectations(&self, before: DateTime<Utc>) -> Answer<'_, u64> {
        Box::pin(self.change(move |engine| engine.forget_expectations(micros(before))))
    }

    fn tokens<'a>(&'a self, uid: &'a str) -> Answer<'a, Vec<KnownToken>> {
        let uid = uid.to_owned();
        Box::pin(self.read(move |engine| engine.tokens(&uid)))
    }

    fn set_tokens<'a>(&'a self, uid: &'a str, tokens: Vec<KnownToken>) -> Answer<'a, ()> {
        let uid = uid.to_owned();
        Box::pin(self.change(move |engine| engine.set_tokens(&uid, &tokens)))
    }

    fn standstills<'a>(&'a self, uid: &'a str) -> Answer<'a, Vec<Standstill>> {
        let uid = uid.to_owned();
        Box::pin(self.read(move |engine| engine.standstills(&uid)))
    }

    fn set_standstills<'a>(&'a self, uid: &'a str, standstills: Vec<Standstill>) -> Answer<'a, ()> {
        let uid = uid.to_owned();
        Box::pin(self.change(move |engine| engine.set_standstills(&uid, &standstills)))
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.end(End::Close).await;
            let failure = self.failure.borrow().clone();
            failure.map_or(Ok(()), Err)
        })
    }
}
