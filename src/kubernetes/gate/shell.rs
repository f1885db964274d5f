//! The parts of a gate's shell, put together.

use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::watch;

use super::credentials::SecretCredentials;
use super::heartbeat::Heartbeat;
use super::services::Services;
use super::statuses::GateStatuses;
use super::telling::{GATE_KINDS, Telling};
use crate::gate::change::ReceiverChange;
use crate::kubernetes::client::Clients;
use crate::kubernetes::gate_lease::OwningPod;
use crate::kubernetes::secrets::{Freshness, KubernetesSecrets};
use crate::kubernetes::watch::{Scope, Watcher};
use crate::ops::health::Awaited;

/// How many changes may wait for the gate.
const CHANGES: usize = 256;
/// After so long the process is ready without a namespace that it may not list: the others do not wait for
/// somebody to grant it.
const READY_WITHOUT: Duration = Duration::from_secs(60);

/// What the shell must know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which objects are looked after.
    pub scope: Scope,
    /// The name of this gate: of its Lease, in statuses, and as a writer of fields.
    pub gate: String,
    /// A short name of the store, which gates that share it have in common.
    pub store: String,
    /// Namespace of the Lease.
    pub lease_namespace: String,
    /// The Pod that this process runs in, if that is known.
    pub pod: Option<OwningPod>,
}

/// The shell of a gate in a cluster.
#[derive(Debug)]
pub struct Shell {
    /// What the gate is told.
    pub changes: Receiver<ReceiverChange>,
    /// Credentials that deliveries are proven by.
    pub credentials: SecretCredentials,
    /// Secrets that questions to platforms carry.
    pub secrets: KubernetesSecrets,
    /// Where applications are.
    pub services: Services,
    /// Keeps what is said of receivers.
    pub statuses: GateStatuses,
    /// Shows that this gate is there.
    pub heartbeat: Heartbeat,
    /// The tasks that keep all of these going.
    pub tasks: Tasks,
}

/// What must run as long as the process does.
pub struct Tasks {
    client: Client,
    scope: Scope,
    sink: Telling,
    statuses: GateStatuses,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tasks")
    }
}

impl Shell {
    /// Puts the shell together; no call is made before its tasks run.
    #[must_use]
    pub fn new(clients: &Clients, settings: Settings) -> Self {
        let (sender, changes) = mpsc::channel(CHANGES);
        let Settings { scope, gate, store, lease_namespace, pod } = settings;
        let statuses = GateStatuses::new(clients.calls.clone(), gate.clone(), store);
        let sink = Telling::new(&gate, statuses.clone(), sender);
        Self {
            changes,
            credentials: SecretCredentials::new(clients.calls.clone()),
            secrets: KubernetesSecrets::new(clients.calls.clone(), Freshness::HalfAMinute, false),
            services: Services::new(clients.calls.clone()),
            heartbeat: Heartbeat::new(clients.calls.clone(), &lease_namespace, gate, pod),
            statuses: statuses.clone(),
            tasks: Tasks { client: clients.watches.clone(), scope, sink, statuses },
        }
    }
}

impl Tasks {
    /// Runs until a task has ended by itself, which none should; says which. The process is ready when
    /// everything has been listed once.
    pub async fn run(self, starting: Awaited) -> &'static str {
        let Self { client, scope, sink, statuses } = self;
        // No further round of lists is ever asked for. The sender stays, or the watches would end.
        let (_round, round) = watch::channel(0);
        let kinds = &GATE_KINDS;
        let ready_without = Some(READY_WITHOUT);
        let watcher = Watcher { client, kinds, scope, sink, round, starting, ready_without, optional: None };
        tokio::select! {
            () = watcher.run(watch::Sender::new(0)) => "the task that watches the objects has ended",
            never = statuses.run() => match never {},
        }
    }
}
