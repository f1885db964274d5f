//! `hookkeeper gate`: takes platforms' deliveries in and hands them on, without rotating anything: in a
//! cluster, or with a folder of manifests.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use prometheus_client::registry::Registry as Series;
use tokio::sync::watch;

use super::gate_args::Args;
use super::gate_cluster;
use super::gate_ports::StateStatuses;
use super::gating::{self, FromShell, Gate, Shown};
use super::serve::beat;
use super::storing;
use crate::gate::follow::follow;
use crate::ops::shutdown::Shutdown;
use crate::ops::system::SystemRandom;
use crate::sidecar::shell::{Parts, Settings, Shell};

fn state_file(args: &Args) -> anyhow::Result<PathBuf> {
    let in_data = || args.data.as_ref().map(|data| data.join("state.json"));
    args.state.clone().or_else(in_data).context("with --database, name a file for statuses with --state")
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it must not start, or a part that must run as long as the process does has ended.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.manifests.clone() {
        Some(manifests) => without_cluster(args, manifests).await,
        None => gate_cluster::run(args).await,
    }
}

async fn without_cluster(args: Args, manifests: PathBuf) -> anyhow::Result<()> {
    let logs = args.process.set_up_logs()?;
    let (_trigger, shutdown) = Shutdown::on_signals()?;
    let mut series = Series::default();
    let shown = Shown::new(&mut series);
    let serving = args.process.serve(logs, series, false, shutdown.clone()).await?;
    let starting = serving.starting;
    let data = args.data.clone();
    let store = storing::open_alive(&args.gate.store, data, &starting, &serving.heartbeat, &shutdown).await?;
    let shell = Shell::open(
        Settings {
            manifests,
            state: state_file(&args)?,
            secrets_dir: args.secrets_dir.clone(),
            publish_dir: None,
            parts: Parts::Gate,
            prune: false,
            require_allowed_hosts: false,
        },
        Arc::new(SystemRandom),
    )?;
    let client = args.process.client(gating::CONNECTIONS_PER_HOST)?;
    let statuses = Arc::new(StateStatuses(shell.state.clone()));
    let from_shell = FromShell::without_cluster(Arc::new(shell.secrets), statuses);
    let gate = Gate::open(args.gate, store, args.listen, client, from_shell, shown).await?;
    serving.by_hand.comes(gate.by_hand());
    starting.says("the manifests have not been read");
    let watching = tokio::spawn(shell.watch.run(|| {}));
    let (synced, is_synced) = watch::channel(false);
    let at_work = move || {
        synced.send_replace(true);
        drop(starting);
    };
    let following = tokio::spawn(follow(gate.registry(), shell.receiver_changes, at_work));
    let ready = gating::until(is_synced);
    let readiness = serving.readiness;
    let draining = move || readiness.ends();
    let result = tokio::select! {
        biased;
        result = gate.run(ready, shutdown, draining, || {}) => result,
        _ = watching => Err(anyhow::anyhow!("the task that reads the manifests has ended")),
        _ = following => Err(anyhow::anyhow!("the task that follows the manifests has ended")),
        never = beat(&serving.heartbeat) => match never {},
        _ = serving.admin => Err(anyhow::anyhow!("the admin server has ended")),
    };
    if let Err(error) = shell.state.flush().await {
        tracing::warn!("{error}");
    }
    result
}
