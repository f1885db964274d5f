//! The engine for several gates: PostgreSQL, one database that they share.
//!
//! What changes deliveries goes through a few tasks ([`writer`]): what comes together shares a commit. Whoever
//! changes anything of a receiver locks its row first, so that gates do it one after the other, and bounds and
//! duplicates are judged on what is there. Taking is one statement that waits for nobody. Sealing and opening
//! are done by the callers.
//!
//! | the database | what becomes of it |
//! |---|---|
//! | is away, slow, read-only, or has no connection left | [`StoreError::Unavailable`]: nothing was acknowledged; it is tried again when somebody asks, and at most every 5 s |
//! | is full | [`StoreError::Full`] |
//! | loses what it has committed | refused when a connection is made |
//!
//! Nothing here ends the process: a database that comes back is used again.

mod asking;
mod batch;
mod calls;
mod connecting;
mod database;
mod error;
mod expecting;
mod jobs;
mod loading;
mod opening;
mod queue;
mod reading;
mod resealing;
mod schema;
mod seen;
mod session;
mod sessions;
mod settings;
#[cfg(test)]
mod tests;
mod tidying;
mod writer;
mod writing;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::connecting::Connector;
pub use self::connecting::DatabaseTls;
pub use self::database::{Database, InvalidDatabase};
pub use self::error::PostgresError;
use self::jobs::{Asked, Job, Outcome};
use self::queue::Queue;
use self::resealing::Resealing;
use self::seen::Seen;
use self::sessions::Sessions;
use self::writer::Writer;
use super::columns::micros;
use super::content::Seals;
use super::seal::Sealer;
use super::{Owner, StoreError};

/// Fewest connections that a store works with: one that writes, and one that reads.
const FEWEST_CONNECTIONS: usize = 2;

/// How a store is opened.
#[derive(Debug)]
pub struct PostgresOptions {
    /// Which database.
    pub database: Database,
    /// A file with the name of the role, read for each new connection; else [`Database`] says it.
    pub user_file: Option<PathBuf>,
    /// A file with its password, read for each new connection.
    pub password_file: Option<PathBuf>,
    /// How the way there is made safe.
    pub tls: DatabaseTls,
    /// Most connections, at least two.
    pub connections: usize,
    /// Seals bodies and what else came from outside; `None` leaves them in clear.
    pub sealer: Option<Sealer>,
    /// Most keys that one receiver has.
    pub most_keys: u64,
}

impl PostgresOptions {
    /// A store in this database: with TLS, up to eight connections, in clear, and up to a million keys for each
    /// receiver.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            database,
            user_file: None,
            password_file: None,
            tls: DatabaseTls::VerifyFull { issuers: None },
            connections: 8,
            sealer: None,
            most_keys: 1_000_000,
        }
    }
}

/// Deliveries in a PostgreSQL database.
///
/// Dropped without [`Store::close`] it leaves the database as a crash would: nothing that was answered is lost.
pub struct PostgresStore {
    queue: Arc<Queue>,
    writing: Arc<Sessions>,
    reading: Arc<Sessions>,
    seals: Arc<Seals>,
    digest_key: [u8; 32],
    /// What this process is called where it holds an expectation, or is at work for a receiver.
    holder: i64,
    seen: Seen,
    is_closed: AtomicBool,
    writer: Mutex<Option<JoinHandle<()>>>,
    resealing: JoinHandle<()>,
    clock: ClaimClock,
}

/// What says how long a claim lasts.
#[derive(Clone, Copy, Debug)]
enum ClaimClock {
    /// The database.
    Database,
    /// Who takes: tests that need no time to pass.
    #[cfg(test)]
    Caller,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PostgresStore")
    }
}

impl PostgresStore {
    /// Opens the store of a database, or makes one.
    ///
    /// # Errors
    /// When the database cannot be used or does not answer ([`PostgresError::Away`]); one that is refused is not
    /// changed.
    pub async fn open(options: PostgresOptions) -> Result<Self, PostgresError> {
        Self::open_with(options, ClaimClock::Database).await
    }

    async fn open_with(options: PostgresOptions, clock: ClaimClock) -> Result<Self, PostgresError> {
        let PostgresOptions { database, user_file, password_file, tls, sealer, most_keys, .. } = options;
        let name = database.to_string();
        let connector = Arc::new(Connector::new(database, user_file, password_file, tls));
        let opened = opening::open(&connector, sealer).await?;
        if opened.settings.has_synchronous_standby() {
            tracing::info!(database = %name, "the store is open; a commit waits for a standby");
        } else {
            tracing::info!(
                database = %name,
                "the store is open; a commit waits for no standby (synchronous_standby_names is empty): when this \
                 server is lost for good, a standby or a backup that takes its place lacks what it had not got yet, \
                 though it was acknowledged"
            );
        }
        let connections = options.connections.max(FEWEST_CONNECTIONS);
        // Nobody who reads takes the one that writes away.
        let writing = Arc::new(Sessions::new(Arc::clone(&connector), 1));
        let reading = Arc::new(Sessions::new(connector, connections - 1));
        writing.add(opened.session);
        let queue = Arc::new(Queue::default());
        let sessions = Arc::clone(&writing);
        let writer = Writer { queue: Arc::clone(&queue), sessions, most_keys };
        let sessions = Arc::clone(&reading);
        let resealing = Resealing { sessions, seals: Arc::clone(&opened.seals) };
        Ok(Self {
            queue,
            writing,
            reading,
            seals: opened.seals,
            digest_key: opened.digest_key,
            holder: i64::from_be_bytes(
                random().map_err(|problem| PostgresError::Failed { database: name, problem })?,
            ),
            seen: Seen::default(),
            is_closed: AtomicBool::new(false),
            writer: Mutex::new(Some(tokio::spawn(writer.run()))),
            resealing: tokio::spawn(resealing.run()),
            clock,
        })
    }

    /// Why nothing can be asked for.
    fn refusal(&self) -> StoreError {
        let is_closed = self.is_closed.load(Ordering::Relaxed);
        StoreError::Unavailable(if is_closed { "it is closed" } else { "too many wait for it" }.to_owned())
    }

    async fn answer(
        &self,
        answer: oneshot::Receiver<Result<Outcome, StoreError>>,
    ) -> Result<Outcome, StoreError> {
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("its task has ended".to_owned())))
    }

    /// A change that brings something new of this size.
    async fn add(&self, owner: &Owner, size: usize, job: Job) -> Result<Outcome, StoreError> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { job, reply };
        self.queue.add(&owner.namespace, &owner.uid, size, asked).map_err(|_| self.refusal())?;
        self.answer(answer).await
    }

    /// A change of what is there.
    async fn change(&self, job: Job) -> Result<Outcome, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.change(Asked { job, reply }).map_err(|_| self.refusal())?;
        self.answer(answer).await
    }

    async fn end(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // What waits is done first.
            let _ = writer.await;
        }
        self.resealing.abort();
        self.writing.close();
        self.reading.close();
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.resealing.abort();
        if let Some(writer) = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner) {
            writer.abort();
        }
    }
}

impl ClaimClock {
    /// What time it is where it is not the database that says so.
    fn at(self, now: DateTime<Utc>) -> Option<i64> {
        match self {
            Self::Database => {
                let _ = now;
                None
            }
            #[cfg(test)]
            Self::Caller => Some(micros(now)),
        }
    }

    /// How long after another gate was at work for a receiver it may be taken for gone.
    fn patience(self) -> Duration {
        match self {
            Self::Database => Duration::from_secs(120),
            #[cfg(test)]
            Self::Caller => Duration::ZERO,
        }
    }

    /// What time it is for who asks when something is due; `None` when the database's times are theirs.
    fn of_caller(self) -> Option<i64> {
        match self {
            Self::Database => Some(micros(Utc::now())),
            #[cfg(test)]
            Self::Caller => None,
        }
    }
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], String> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(|_| "the operating system gives no random bytes".to_owned())?;
    Ok(bytes)
}
