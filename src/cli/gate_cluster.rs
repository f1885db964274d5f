//! `hookkeeper gate` in a cluster: receivers come from an API server, and so does where their applications
//! are and what their deliveries are proven by.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use prometheus_client::registry::Registry as Series;
use tokio::sync::{oneshot, watch};

use super::gate_args::Args;
use super::gating::{self, FromShell, Gate, Shown};
use super::serve::beat;
use super::storing;
use crate::gate::evidence::Evidence;
use crate::gate::follow::follow;
use crate::gate::registry::{ReadAgain, Registry, Scope as Receivers};
use crate::http::AllowedDestination;
use crate::kubernetes::Scope;
use crate::kubernetes::client::{ConnectError, connect};
use crate::kubernetes::gate::shell::{Settings, Shell};
use crate::kubernetes::gate_lease::{GateRecord, MOST_HELD, OwningPod};
use crate::ops::shutdown::Shutdown;

/// How often the Secrets of one receiver are read although nothing says that they have changed, and how much
/// time is between two reads of any: a hundred receivers cost less than two reads a second.
const READ_AGAIN: ReadAgain = ReadAgain { every: Duration::from_secs(60), apart: Duration::from_millis(20) };
/// How long the last call about the Lease may take.
const LAST_CALL: Duration = Duration::from_secs(10);
/// Longest name of an object.
const LONGEST_NAME: usize = 253;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it must not start, or a part that must run as long as the process does has ended.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let logs = args.process.set_up_logs()?;
    let (_trigger, shutdown) = Shutdown::on_signals()?;
    let name = name(args.cluster.name.clone().or_else(|| environment("HOSTNAME")))?;
    let clients = match connect(args.cluster.context.as_deref()).await {
        Err(error @ ConnectError::Unknown { .. }) => {
            return Err(anyhow::Error::from(error).context("without --manifests a gate needs a cluster"));
        }
        connected => connected?,
    };
    let servers = clients.servers.iter().map(|server| server.parse::<AllowedDestination>());
    let servers = servers.collect::<Result<Vec<_>, _>>().context("the address of the API server")?;
    let client = args.process.client_but_never_to(servers, gating::CONNECTIONS_PER_HOST)?;
    let mut series = Series::default();
    let shown = Shown::new(&mut series);
    let serving = args.process.serve(logs, series, false, shutdown.clone()).await?;
    let starting = serving.starting;
    let data = args.data.clone();
    let store = storing::open_alive(&args.gate.store, data, &starting, &serving.heartbeat, &shutdown).await?;

    let scope = Scope { namespaces: args.cluster.namespace.clone(), selector: args.cluster.selector.clone() };
    let settings = Settings {
        scope: scope.clone(),
        gate: name.clone(),
        store: store.short_id(),
        lease_namespace: args
            .cluster
            .lease_namespace
            .clone()
            .or_else(|| environment("POD_NAMESPACE"))
            .unwrap_or_else(|| clients.namespace.clone()),
        pod: environment("HOSTNAME").zip(environment("POD_UID")).map(|(name, uid)| OwningPod { name, uid }),
    };
    let shell = Shell::new(&clients, settings);
    let from_shell = FromShell {
        secrets: Arc::new(shell.secrets),
        credentials: Arc::new(shell.credentials),
        statuses: Arc::new(shell.statuses),
        locate: Arc::new(shell.services),
        read_again: READ_AGAIN,
        scope: receivers_of(&scope),
        name: name.clone(),
        engine: None,
        others: None,
    };
    let gate = Gate::open(args.gate, store, args.listen, client, from_shell, shown).await?;
    serving.by_hand.comes(gate.by_hand());
    let (registry, evidence) = (gate.registry(), gate.evidence());
    let last_heard = clients.last_heard.clone();
    serving.metrics.follow_watch(Box::new(move || last_heard.oldest()));
    starting.says("the receivers are not at work yet");

    let (synced, is_synced) = watch::channel(false);
    let record = record(name, registry.clone(), is_synced.clone());
    // Whoever publishes a token from now on knows of this gate, before it has read any Secret.
    let mut heartbeat = shell.heartbeat;
    tokio::select! {
        () = heartbeat.begin(&record, starting.and("the Lease of this gate has not been written")) => {}
        () = shutdown.asked() => return Ok(()),
        never = beat(&serving.heartbeat) => match never {},
    }
    let watched = starting.and("the objects have not been listed");
    let at_work = move || {
        synced.send_replace(true);
        drop(starting);
    };
    let (closed, is_closed) = oneshot::channel::<()>();
    let ended = async move { drop(is_closed.await) };
    let beating = tokio::spawn(heartbeat.run(record, registry.changes(), ended));
    let following = tokio::spawn(follow(registry.clone(), shell.changes, at_work));
    let watching = tokio::spawn(shell.tasks.run(watched));
    let telling = tokio::spawn(tell_evidence(evidence, registry));
    let readiness = serving.readiness;
    let draining = move || readiness.ends();
    let closed = move || drop(closed);
    let result = tokio::select! {
        biased;
        result = gate.run(gating::until(is_synced), shutdown, draining, closed) => result,
        ended = watching => Err(anyhow::anyhow!(ended.unwrap_or("the task that watches the objects has ended"))),
        _ = following => Err(anyhow::anyhow!("the task that follows the objects has ended")),
        _ = telling => Err(anyhow::anyhow!("the task that tells which tokens come in has ended")),
        never = beat(&serving.heartbeat) => match never {},
        _ = serving.admin => Err(anyhow::anyhow!("the admin server has ended")),
    };
    // However it has ended: nobody counts on this gate any more.
    let _ = tokio::time::timeout(LAST_CALL, beating).await;
    result
}

/// The receivers that a gate with this scope looks after.
fn receivers_of(scope: &Scope) -> Receivers {
    let named = scope.namespaces.iter().map(|namespace| namespace.as_str().into()).collect();
    match &scope.selector {
        Some(_) => Receivers::Labelled(named),
        None if scope.namespaces.is_empty() => Receivers::All,
        None => Receivers::Namespaces(named),
    }
}

/// What the Lease says.
fn record(
    name: String,
    registry: Registry,
    is_synced: watch::Receiver<bool>,
) -> impl Fn() -> GateRecord + Send + Sync + 'static {
    move || {
        let newest = |held: Vec<Arc<str>>| held.iter().take(MOST_HELD).map(ToString::to_string).collect();
        let held = registry.held().into_iter().map(|(source, held)| (source, newest(held)));
        GateRecord { gate: name.clone(), serves: held.collect(), is_complete: *is_synced.borrow() }
    }
}

/// Lets a new fact about tokens be written at once.
async fn tell_evidence(evidence: Arc<Evidence>, registry: Registry) {
    loop {
        evidence.news().await;
        registry.look_again();
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The name of this process, which a Lease can have (RFC 1123, as Kubernetes has it).
fn name(given: Option<String>) -> anyhow::Result<String> {
    let Some(name) = given else {
        bail!("the gate has no name: give it one with --name, unlike that of any other gate");
    };
    let is_edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|first| is_edge(*first))
            && bytes.last().is_some_and(|last| is_edge(*last))
            && bytes.iter().all(|byte| is_edge(*byte) || *byte == b'-')
    };
    if name.len() > LONGEST_NAME || !name.split('.').all(is_label) {
        bail!(
            "the gate cannot be named {name:?}, because its Lease cannot: give it another name with --name, of \
             lower-case letters, digits, `-` and `.`"
        );
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_has_a_name_that_a_lease_can_have() {
        for good in ["gate-0", "hookkeeper-gate-7d9f.example", "0"] {
            assert_eq!(name(Some(good.to_owned())).unwrap(), good);
        }
        for bad in ["", "Gate", "gate_0", "-gate", "gate-", "a..b", &"a".repeat(254)] {
            let refused = name(Some(bad.to_owned())).unwrap_err().to_string();
            assert!(refused.contains("--name"), "{refused}");
        }
        assert!(name(None).unwrap_err().to_string().contains("--name"));
    }
}
