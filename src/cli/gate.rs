//! `hookkeeper gate`: takes platforms' deliveries in and hands them on, without rotating anything: in a
//! cluster, or with a folder of manifests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry as Series;
use tokio::sync::watch;

use super::gate_cluster::{self, ClusterArgs};
use super::gate_ports::StateStatuses;
use super::gating::{self, FromShell, Gate, GateArgs, Shown};
use super::serve::ProcessArgs;
use super::storing;
use crate::gate::follow::follow;
use crate::ops::health::Heartbeat;
use crate::ops::shutdown::Shutdown;
use crate::ops::system::SystemRandom;
use crate::sidecar::shell::{Parts, Settings, Shell};

/// Takes platforms' deliveries in, proves them, keeps them safe and hands them on.
///
/// In a cluster any number of processes may run, each with a folder of data of its own or all with one
/// database. With --manifests it needs no cluster. Tokens are not rotated: the controller does that, or
/// `sidecar --gate-listen` both.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of manifests, where there is no cluster: all its .yaml, .yml and .json files, read again when
    /// they change.
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Folder for what was acknowledged and not yet handed on; on a disk that stays.
    #[arg(long, value_name = "DIR", group = "store", required_unless_present = "database")]
    pub data: Option<PathBuf>,
    /// File for the statuses of receivers: state.json in the folder of --data, if that is given.
    #[arg(long, value_name = "FILE", requires = "manifests")]
    pub state: Option<PathBuf>,
    /// Where platforms send their deliveries to.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8090")]
    pub listen: SocketAddr,
    /// Look for the values of Secrets in DIR/SECRET/KEY and DIR/SECRET.KEY.
    #[arg(long, value_name = "DIR", requires = "manifests")]
    pub secrets_dir: Option<PathBuf>,
    /// What a gate in a cluster takes.
    #[command(flatten)]
    pub cluster: ClusterArgs,
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
    let store = tokio::select! {
        opened = storing::open(&args.gate.store, args.data.clone(), &starting, &shutdown) => opened?,
        never = beat(&serving.heartbeat) => match never {},
    };
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

/// Shows that the runtime goes on.
pub(super) async fn beat(heartbeat: &Heartbeat) -> std::convert::Infallible {
    loop {
        heartbeat.beat();
        tokio::time::sleep(BEAT).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(arguments: &[&str]) -> Result<Args, String> {
        let line = ["gate", "--data", "d"].iter().chain(arguments);
        Line::try_parse_from(line).map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn it_runs_in_a_cluster_or_with_manifests_and_flags_of_the_other_form_are_refused() {
        assert!(parse(&["--manifests", "m", "--secrets-dir", "s"]).is_ok());
        let args = parse(&["-n", "hr", "-n", "ops", "-l", "team=a", "--name", "gate-0"]).unwrap();
        assert_eq!(args.cluster.namespace, ["hr", "ops"]);
        for flags in [
            &["--namespace", "hr"][..],
            &["--selector", "a=b"],
            &["--context", "c"],
            &["--lease-namespace", "n"],
            &["--name", "g"],
        ] {
            let both = [&["--manifests", "m"], flags].concat();
            let refused = parse(&both).unwrap_err();
            assert!(refused.contains("--manifests") && refused.contains(flags[0]), "{refused}");
        }
        let refused = parse(&["--secrets-dir", "s"]).unwrap_err();
        assert!(refused.contains("--manifests"), "{refused}");
    }
}
