//! The parts of the shell, put together.

use std::sync::Arc;

use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::watch;

use super::client::Clients;
use super::events::{EventWriter, Events};
use super::known::Known;
use super::lease::{Candidate, Election, LeaseSettings};
use super::publish::SecretPublisher;
use super::record::StatusRecord;
use super::secrets::{Freshness, KubernetesSecrets};
use super::watch::{Scope, Watcher};
use crate::engine::change::Change;
use crate::engine::ports::{Clock, Leadership};

/// How many changes may wait for the engine.
const CHANGES: usize = 256;

/// What the shell must know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which objects are looked after.
    pub scope: Scope,
    /// How the lease is held.
    pub lease: LeaseSettings,
    /// Whether a Secret must say where it may go.
    pub require_allowed_hosts: bool,
}

/// The shell in a cluster.
pub struct Shell {
    /// What the engine is told.
    pub changes: Receiver<Change>,
    /// Makes statuses durable.
    pub record: StatusRecord,
    /// Publishes tokens.
    pub publish: SecretPublisher,
    /// Secrets of token sources.
    pub mint_secrets: KubernetesSecrets,
    /// Secrets of providers and headers.
    pub secrets: KubernetesSecrets,
    /// May this process act?
    pub election: Election,
    /// Tells people.
    pub events: Events,
    /// The tasks that keep all of these going.
    pub tasks: Tasks,
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Shell")
    }
}

/// What must run as long as the process does.
pub struct Tasks {
    watcher: Watcher,
    candidate: Candidate,
    writer: EventWriter,
    listed: watch::Sender<u64>,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tasks")
    }
}

/// The part of a shell that ended although it must not.
#[derive(Debug, thiserror::Error)]
#[error("the task that {0} has ended")]
pub struct TaskEnded(&'static str);

impl Shell {
    /// Puts the shell together; no call is made before its tasks run.
    #[must_use]
    pub fn new(clients: &Clients, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let (sender, changes) = mpsc::channel(CHANGES);
        let (round, round_asked) = watch::channel(0);
        let (listed, listed_seen) = watch::channel(0);
        let known = Known::default();
        let instance = settings.lease.identity.clone();
        let election = Election::new(clock);
        let (of_record, of_watch) = (election.clone(), election.clone());
        let record =
            StatusRecord::new(clients.calls.clone(), known.clone(), Arc::new(move || of_record.step_down()));
        let watcher = Watcher::new(
            clients.watches.clone(),
            settings.scope,
            known.clone(),
            Arc::new(move || of_watch.claim().is_some()),
            sender,
            round_asked,
        );
        let candidate =
            Candidate::new(clients.calls.clone(), settings.lease, election.clone(), round, listed_seen);
        let (events, writer) = Events::new(clients.calls.clone(), known.clone(), instance);
        let secrets = |freshness| {
            KubernetesSecrets::new(clients.calls.clone(), freshness, settings.require_allowed_hosts)
        };
        Self {
            changes,
            record,
            publish: SecretPublisher::new(clients.calls.clone(), known),
            mint_secrets: secrets(Freshness::OneRequest),
            secrets: secrets(Freshness::HalfAMinute),
            election,
            events,
            tasks: Tasks { watcher, candidate, writer, listed },
        }
    }
}

impl Tasks {
    /// Runs until `done` ends, which also releases the lease, or a task has ended by itself.
    ///
    /// `first_list` is dropped when everything has been listed for the first time.
    ///
    /// # Errors
    /// Names the task that has ended.
    pub async fn run<Waiting: Send + 'static>(
        self,
        first_list: Waiting,
        done: impl Future<Output = ()> + Send,
    ) -> Result<(), TaskEnded> {
        let mut seen = self.listed.subscribe();
        let first = async move {
            // An error means that the watcher has ended, which is told below.
            drop(seen.wait_for(|rounds| *rounds > 0).await);
            drop(first_list);
            std::future::pending::<()>().await;
        };
        // It ends when the engine has, and then nobody has anything to tell.
        let events = async move {
            self.writer.run().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.candidate.run(done) => Ok(()),
            () = self.watcher.run(self.listed) => Err(TaskEnded("watches the objects")),
            () = events => Ok(()),
            () = first => Ok(()),
        }
    }
}
