//! The state file: what the API server is to the operator.
//!
//! It is the only thing that stands between a restart and a second create, so it is replaced
//! atomically, locked against a second process, and never overwritten when it cannot be read.
//! Records that arrive while one is being written go to the disk together with the next write.

mod format;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};

pub use format::{Entries, Entry, StateError, VERSION, ValidSpec};

use super::durable;
use crate::api::{
    Kind, ObjectKey, SubscriptionStatus, TokenSourceStatus, WebhookProviderStatus, WebhookReceiverStatus,
};
use crate::engine::ports::{Record, RecordFailure};
use format::Content;

/// Links that lead to links, at most: as many as Linux follows.
const LONGEST_CHAIN: usize = 40;

/// The state file, open and locked. Cheap to clone; the lock ends with the last clone.
#[derive(Clone, Debug)]
pub struct State(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    book: Mutex<Book>,
    /// Whose turn it is to write. Held by the write itself, which goes on when its caller is gone.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Locked as long as it is open.
    _lock: File,
}

#[derive(Debug, Default)]
struct Book {
    content: Content,
    /// Counts changes of the content.
    revision: u64,
    /// Every change up to this one is on the disk.
    durable: u64,
    /// Writes that were begun.
    writes: u64,
    /// Which write failed, if the last one did, and why.
    failed: Option<(u64, String)>,
}

impl State {
    /// Locks the file and reads it. A file that does not exist holds nothing.
    ///
    /// # Errors
    /// When another process works with it, or it cannot be read for whatever reason; it is then
    /// left as it is.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let path = real_path(path.to_owned())?;
        // Whoever opens a pipe waits for its other end.
        if std::fs::metadata(&path).is_ok_and(|what| !what.is_file()) {
            return Err(StateError::Foreign(path));
        }
        let inaccessible = |doing| {
            let path = path.clone();
            move |error| StateError::Inaccessible { path, doing, error }
        };
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(lock_path(&path))
            .map_err(inaccessible("locked"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(path)),
            Err(TryLockError::Error(error)) => return Err(inaccessible("locked")(error)),
        }
        let content = match std::fs::read(&path) {
            Ok(bytes) => {
                let text = std::str::from_utf8(&bytes).map_err(|_| StateError::Damaged {
                    path: path.clone(),
                    problem: "it is no UTF-8 text".to_owned(),
                })?;
                Content::parse(text).map_err(|unreadable| unreadable.at(path.clone()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(inaccessible("read")(error)),
        };
        Ok(Self(Arc::new(Shared {
            path,
            book: Mutex::new(Book { content, ..Book::default() }),
            turn: Arc::default(),
            _lock: lock,
        })))
    }

    /// Everything that is remembered.
    #[must_use]
    pub fn entries(&self) -> Entries {
        self.0.book().content.entries.clone()
    }

    /// What is recorded of an object; its default when nothing is.
    #[must_use]
    pub fn status<Status: DeserializeOwned + Default>(&self, kind: Kind, key: &ObjectKey) -> Status {
        let book = self.0.book();
        let entry = book.content.entries.get(&(kind, key.clone()));
        let status = entry.and_then(|entry| entry.status.as_ref());
        // It was checked when it was read, and written from the type since.
        status.and_then(|status| serde_json::from_str(status.get()).ok()).unwrap_or_default()
    }

    /// Whether anything is remembered of an object.
    #[must_use]
    pub fn remembers(&self, kind: Kind, key: &ObjectKey) -> bool {
        self.0.book().content.entries.contains_key(&(kind, key.clone()))
    }

    /// Whether our finalizer is on an object.
    #[must_use]
    pub fn has_finalizer(&self, kind: Kind, key: &ObjectKey) -> bool {
        let book = self.0.book();
        let entry = book.content.entries.get(&(kind, key.clone()));
        entry.is_some_and(|entry| entry.has_finalizer)
    }

    /// Remembers who an object is and what it asks for. Its status stays, unless the uid is new.
    ///
    /// Durable with the next record or [`State::flush`].
    pub fn declare(
        &self,
        kind: Kind,
        key: &ObjectKey,
        uid: &str,
        generation: i64,
        spec_digest: &str,
        valid: Option<ValidSpec>,
    ) {
        let mut book = self.0.book();
        let id = (kind, key.clone());
        let before = book.content.entries.remove(&id).filter(|entry| entry.uid == uid);
        let (has_finalizer, status) =
            before.as_ref().map_or((false, None), |entry| (entry.has_finalizer, entry.status.clone()));
        let entry = Entry {
            uid: uid.to_owned(),
            generation,
            spec_digest: spec_digest.to_owned(),
            created: before.as_ref().and_then(|entry| entry.created),
            gone_since: None,
            has_finalizer,
            fallback: before.and_then(|entry| entry.fallback_of(valid.as_ref())),
            valid,
            status,
        };
        book.content.entries.insert(id, entry);
        book.revision += 1;
    }

    /// Remembers when an object was declared first. Durable with the next record or [`State::flush`].
    pub fn created(&self, kind: Kind, key: &ObjectKey, created: DateTime<Utc>) {
        let mut book = self.0.book();
        if let Some(entry) = book.content.entries.get_mut(&(kind, key.clone()))
            && entry.created.is_none()
        {
            entry.created = Some(created);
            book.revision += 1;
        }
    }

    /// Remembers that an object's manifest is gone. Durable with the next record or [`State::flush`].
    pub fn gone(&self, kind: Kind, key: &ObjectKey, since: DateTime<Utc>) {
        let mut book = self.0.book();
        if let Some(entry) = book.content.entries.get_mut(&(kind, key.clone()))
            && entry.gone_since.is_none()
        {
            entry.gone_since = Some(since);
            book.revision += 1;
        }
    }

    /// Forgets a receiver with this uid, if its manifest is still gone, and answers when that is durable.
    ///
    /// # Errors
    /// When the file could not be written; the next write leaves it out.
    pub async fn forget_gone(&self, key: &ObjectKey, uid: &str) -> Result<(), RecordFailure> {
        let revision = {
            let mut book = self.0.book();
            let id = (Kind::WebhookReceiver, key.clone());
            let entry = book.content.entries.get(&id);
            if entry.is_some_and(|entry| entry.uid == uid && entry.gone_since.is_some()) {
                book.content.entries.remove(&id);
                book.revision += 1;
            }
            book.revision
        };
        self.commit(revision).await
    }

    /// Records the status of a receiver with this uid, and answers when it is durable.
    ///
    /// # Errors
    /// When the object is another one by now, or the file could not be written.
    pub async fn receiver(
        &self,
        key: &ObjectKey,
        uid: &str,
        status: &WebhookReceiverStatus,
    ) -> Result<(), RecordFailure> {
        self.record(Kind::WebhookReceiver, key, Some(uid), status).await
    }

    /// Forgets an object. Durable with the next record or [`State::flush`].
    pub fn forget(&self, kind: Kind, key: &ObjectKey) {
        let mut book = self.0.book();
        if book.content.entries.remove(&(kind, key.clone())).is_some() {
            book.revision += 1;
        }
    }

    /// Answers when everything that is remembered is durable.
    ///
    /// # Errors
    /// When the file could not be written; nothing is lost, the next write holds it too.
    pub async fn flush(&self) -> Result<(), RecordFailure> {
        let revision = self.0.book().revision;
        self.commit(revision).await
    }

    /// Changes an entry, if it is still the object's, and answers when that is durable.
    async fn change(
        &self,
        kind: Kind,
        key: &ObjectKey,
        uid: Option<&str>,
        change: impl FnOnce(&mut Entry) -> Result<bool, RecordFailure>,
    ) -> Result<(), RecordFailure> {
        let revision = {
            let mut book = self.0.book();
            let entry = book
                .content
                .entries
                .get_mut(&(kind, key.clone()))
                .filter(|entry| uid.is_none_or(|uid| entry.uid == uid))
                .ok_or(RecordFailure::Gone)?;
            if change(entry)? {
                book.revision += 1;
            }
            book.revision
        };
        self.commit(revision).await
    }

    async fn record(
        &self,
        kind: Kind,
        key: &ObjectKey,
        uid: Option<&str>,
        status: &(impl Serialize + Sync),
    ) -> Result<(), RecordFailure> {
        let status: Box<RawValue> =
            to_raw_value(status).map_err(|error| RecordFailure::Unavailable(error.to_string()))?;
        self.change(kind, key, uid, |entry| {
            let differs = entry.status.as_ref().map(|status| status.get()) != Some(status.get());
            entry.status = Some(status);
            entry.settle();
            Ok(differs)
        })
        .await
    }

    /// Answers when the change is on the disk. Whoever comes to turn writes everything there is, so
    /// those who waited meanwhile find their change written.
    async fn commit(&self, revision: u64) -> Result<(), RecordFailure> {
        let writes_before = self.0.book().writes;
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        {
            let book = self.0.book();
            if book.durable >= revision {
                return Ok(());
            }
            // A full disk is asked once for all who waited, not once for each.
            if let Some((number, what)) = &book.failed
                && *number > writes_before
            {
                return Err(RecordFailure::Unavailable(what.clone()));
            }
        }
        let shared = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let result = shared.write();
            // Before the turn: whoever comes next may be the last to hold the file.
            drop(shared);
            drop(turn);
            result
        })
        .await
        .unwrap_or_else(|_| Err("the writing of the state file was cut short".to_owned()))
        .map_err(RecordFailure::Unavailable)
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> Result<(), String> {
        let (number, revision, content) = {
            let mut book = self.book();
            book.writes += 1;
            (book.writes, book.revision, book.content.render())
        };
        let result = content
            .map_err(io::Error::from)
            .and_then(|content| durable::replace(&self.path, &content))
            .map_err(|error| {
                let (path, remedy) = (self.path.display(), durable::remedy(&error));
                format!("the state file {path} could not be written: {error}; {remedy}")
            });
        let mut book = self.book();
        match &result {
            Ok(()) => {
                book.durable = revision;
                book.failed = None;
            }
            Err(what) => book.failed = Some((number, what.clone())),
        }
        result
    }
}

impl Record for State {
    fn subscription<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        status: &'a SubscriptionStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.record(Kind::WebhookSubscription, key, Some(uid), status))
    }

    fn token_source<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a TokenSourceStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.record(Kind::TokenSource, key, None, status))
    }

    fn provider<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a WebhookProviderStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.record(Kind::WebhookProvider, key, None, status))
    }

    /// No file can be held back from disappearing; it is only remembered that we would have.
    fn set_finalizer<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        wanted: bool,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.change(Kind::WebhookSubscription, key, Some(uid), move |entry| {
            Ok(std::mem::replace(&mut entry.has_finalizer, wanted) != wanted)
        }))
    }

    fn set_provider_finalizer<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        wanted: bool,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.change(Kind::WebhookProvider, key, Some(uid), move |entry| {
            Ok(std::mem::replace(&mut entry.has_finalizer, wanted) != wanted)
        }))
    }

    fn release<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(async move {
            let revision = {
                let mut book = self.0.book();
                let id = (Kind::WebhookSubscription, key.clone());
                if (book.content.entries.get(&id)).is_some_and(|entry| entry.uid == uid) {
                    book.content.entries.remove(&id);
                    book.revision += 1;
                }
                book.revision
            };
            self.commit(revision).await
        })
    }
}

/// The file behind all links, also when it does not exist yet: two names of one file must share one
/// lock, and a link must not be replaced by a file because the place that it leads to is away.
fn real_path(mut path: PathBuf) -> Result<PathBuf, StateError> {
    let missing = |path: PathBuf, error| StateError::Inaccessible { path, doing: "found", error };
    for _ in 0..LONGEST_CHAIN {
        match std::fs::canonicalize(&path) {
            Ok(real) => return Ok(real),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(missing(path, error)),
        }
        if let Ok(next) = std::fs::read_link(&path) {
            path = durable::folder_of(&path).join(next);
            continue;
        }
        return match (std::fs::canonicalize(durable::folder_of(&path)), path.file_name()) {
            (Ok(folder), Some(name)) => Ok(folder.join(name)),
            (Ok(_), None) => Err(missing(path, io::ErrorKind::NotFound.into())),
            (Err(error), _) => Err(missing(path, error)),
        };
    }
    Err(missing(path, io::ErrorKind::NotFound.into()))
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
