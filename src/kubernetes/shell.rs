//! The parts of the shell, put together.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::watch;

use super::client::Clients;
use super::election::Election;
use super::events::{EventWriter, Events};
use super::gates::ClusterGates;
use super::gates::board::Board;
use super::gates::leader::Leader;
use super::gates::leases::LeaseWatch;
use super::lease::{Candidate, LeaseSettings};
use super::publish::SecretPublisher;
use super::record::StatusRecord;
use super::secrets::{Freshness, KubernetesSecrets};
use super::service_accounts::TokenRequests;
use super::telling::Telling;
use super::versions::Versions;
use super::watch::{Scope, Watcher};
use crate::api::Kind;
use crate::api::crd::KINDS;
use crate::engine::change::Change;
use crate::engine::ports::Clock;
use crate::ops::health::Awaited;

/// How many changes may wait for the engine.
const CHANGES: usize = 256;

/// How long events may take to be written when everything else has ended.
const LAST_EVENTS: Duration = Duration::from_secs(3);

/// What the shell must know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which objects are looked after.
    pub scope: Scope,
    /// How the lease is held.
    pub lease: LeaseSettings,
    /// Namespace in which gates have their Leases.
    pub gate_namespace: String,
    /// Whether a Secret must say where it may go.
    pub require_allowed_hosts: bool,
    /// Whether only to look: nobody competes for the lease then.
    pub observe: bool,
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
    /// Tokens of service accounts.
    pub service_accounts: TokenRequests,
    /// May this process act?
    pub election: Election,
    /// Prove deliveries.
    pub gates: ClusterGates,
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
    watcher: Watcher<Telling>,
    leases: LeaseWatch,
    leader: Leader,
    candidate: Candidate,
    writer: EventWriter,
    listed: watch::Sender<u64>,
    observe: bool,
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
    /// Puts the shell together; no call is made before its tasks run. The process is ready when
    /// everything has been listed once.
    #[must_use]
    pub fn new(clients: &Clients, settings: Settings, clock: Arc<dyn Clock>, starting: Awaited) -> Self {
        let (sender, changes) = mpsc::channel(CHANGES);
        let (round, round_asked) = watch::channel(0);
        let (listed, listed_seen) = watch::channel(0);
        let versions = Versions::default();
        let instance = settings.lease.identity.clone();
        let board = Board::new(Arc::clone(&clock));
        let election = Election::new(clock);
        let record = StatusRecord::new(clients.calls.clone(), versions.clone(), election.clone());
        let watcher = Watcher {
            client: clients.watches.clone(),
            kinds: &KINDS,
            scope: settings.scope,
            sink: Telling {
                versions: versions.clone(),
                election: election.clone(),
                board: board.clone(),
                changes: sender.clone(),
            },
            round: round_asked,
            starting,
            ready_without: None,
            // Tokens are rotated although nobody has installed what gates need.
            optional: Some(Kind::WebhookReceiver),
        };
        let candidate =
            Candidate::new(clients.calls.clone(), settings.lease, election.clone(), round, listed_seen);
        let (events, writer) = Events::new(clients.calls.clone(), versions.clone(), instance);
        let leases = LeaseWatch {
            client: clients.watches.clone(),
            namespace: settings.gate_namespace,
            board: board.clone(),
        };
        let leader = Leader {
            board: board.clone(),
            record: record.clone(),
            election: election.clone(),
            changes: sender,
            events: events.clone(),
        };
        let secrets = |freshness| {
            KubernetesSecrets::new(clients.calls.clone(), freshness, settings.require_allowed_hosts)
        };
        Self {
            changes,
            record,
            publish: SecretPublisher::new(clients.calls.clone(), versions, election.clone()),
            mint_secrets: secrets(Freshness::OneRequest),
            secrets: secrets(Freshness::HalfAMinute),
            service_accounts: TokenRequests::new(clients.calls.clone(), clients.anonymous.clone()),
            election,
            gates: ClusterGates::new(board),
            events,
            tasks: Tasks { watcher, leases, leader, candidate, writer, listed, observe: settings.observe },
        }
    }
}

impl Tasks {
    /// Runs until `done` ends, which also releases the lease, or a task has ended by itself.
    ///
    /// # Errors
    /// Names the task that has ended.
    pub async fn run(self, done: impl Future<Output = ()> + Send) -> Result<(), TaskEnded> {
        let Self { watcher, leases, leader, candidate, writer, listed, observe } = self;
        let done = done.shared();
        let asked = done.clone();
        let mut leading = std::pin::pin!(async move {
            if observe {
                asked.await;
            } else {
                candidate.run(asked).await;
            }
        });
        let mut writing = std::pin::pin!(writer.run());
        tokio::select! {
            // With whoever is done goes the other end of the other tasks' channels: they end, too.
            biased;
            () = done => {}
            () = &mut leading => return Ok(()),
            () = watcher.run(listed) => return Err(TaskEnded("watches the objects")),
            () = leases.run() => return Err(TaskEnded("watches the Leases of gates")),
            () = leader.run() => return Err(TaskEnded("writes the states of receivers")),
            () = &mut writing => return Err(TaskEnded("writes events")),
        }
        // What the last steps have to say is written meanwhile, if it does not take long.
        let written = tokio::time::timeout(LAST_EVENTS, writing);
        drop(tokio::join!(leading, written));
        Ok(())
    }
}
