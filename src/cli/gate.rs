//! `hookkeeper gate`: takes platforms' deliveries in and hands them on, without a cluster and without
//! rotating anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry as Series;
use tokio::sync::watch;

use super::gate_ports::StateStatuses;
use super::gating::{self, FromShell, Gate, GateArgs};
use super::serve::ProcessArgs;
use crate::ops::shutdown::Shutdown;
use crate::ops::system::SystemRandom;
use crate::sidecar::shell::{Parts, Settings, Shell};

/// Takes platforms' deliveries in, proves them, keeps them safe and hands them on, without a cluster.
///
/// One process for each folder of data. Tokens are not rotated: `sidecar --gate-listen` does both.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of manifests: all its .yaml, .yml and .json files, read again when they change.
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,
    /// Folder for what was acknowledged and not yet handed on; on a disk that stays.
    #[arg(long, value_name = "DIR", group = "store", required_unless_present = "database")]
    pub data: Option<PathBuf>,
    /// File for the statuses of receivers: state.json in the folder of --data, if that is given.
    #[arg(long, value_name = "FILE", required_unless_present = "data")]
    pub state: Option<PathBuf>,
    /// Where platforms send their deliveries to.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8090")]
    pub listen: SocketAddr,
    /// Look for the values of Secrets in DIR/SECRET/KEY and DIR/SECRET.KEY.
    #[arg(long, value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// What all gates take.
    #[command(flatten)]
    pub gate: GateArgs,
    /// What all commands that run until they are ended take.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// The runtime that does not come to this in time has come to a standstill.
const BEAT: Duration = Duration::from_secs(1);

fn state_file(args: &Args) -> anyhow::Result<PathBuf> {
    let in_data = || args.data.as_ref().map(|data| data.join("state.json"));
    args.state.clone().or_else(in_data).context("with --database, name a file for statuses with --state")
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it must not start, or a part that must run as long as the process does has ended.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let logs = args.process.set_up_logs()?;
    let (_trigger, shutdown) = Shutdown::on_signals()?;
    let store = gating::open_store(&args.gate, args.data.clone(), &shutdown).await?;
    let shell = Shell::open(
        Settings {
            manifests: args.manifests.clone(),
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
    let mut series = Series::default();
    let from_shell = FromShell {
        secrets: Arc::new(shell.secrets),
        statuses: Arc::new(StateStatuses(shell.state.clone())),
        name: gating::LOCAL.to_owned(),
        engine: None,
        others: None,
    };
    let gate = Gate::open(args.gate, store, args.listen, client, from_shell, &mut series).await?;
    let serving = args.process.serve(logs, series, false, gate.by_hand(), shutdown.clone()).await?;
    let starting = serving.starting;
    starting.says("the manifests have not been read");
    let watching = tokio::spawn(shell.watch.run(|| {}));
    let (synced, is_synced) = watch::channel(false);
    let at_work = move || {
        synced.send_replace(true);
        drop(starting);
    };
    let following = tokio::spawn(gating::follow(gate.registry(), shell.receiver_changes, at_work));
    let ready = gating::until(is_synced);
    let readiness = serving.readiness;
    let draining = move || readiness.ends();
    let beating = async {
        loop {
            serving.heartbeat.beat();
            tokio::time::sleep(BEAT).await;
        }
    };
    let result = tokio::select! {
        biased;
        result = gate.run(ready, shutdown, draining) => result,
        _ = watching => Err(anyhow::anyhow!("the task that reads the manifests has ended")),
        _ = following => Err(anyhow::anyhow!("the task that follows the manifests has ended")),
        never = beating => never,
        _ = serving.admin => Err(anyhow::anyhow!("the admin server has ended")),
    };
    if let Err(error) = shell.state.flush().await {
        tracing::warn!("{error}");
    }
    result
}
