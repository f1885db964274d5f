//! `hookkeeper sidecar`: keeps the subscriptions in a folder of manifests fresh, without a cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::registry::Registry as Series;
use tracing::warn;

use super::compose::{self, FromShell};
use super::coupling::Coupling;
use super::gating::{self, Gate, GateArgs, Shown};
use super::serve::ServeArgs;
use super::storing;
use crate::engine::ports::{Gates, NoGates, Secrets};
use crate::ops::shutdown::Shutdown;
use crate::ops::system::{LoggedNotices, SystemRandom};
use crate::sidecar::shell::{Alone, Parts, Settings, Shell};

/// Keeps the subscriptions in a folder of manifests fresh, without a cluster.
///
/// One process per state file, so never a scaled Deployment.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of manifests: all its .yaml, .yml and .json files, read again when they change.
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,
    /// Where to keep what must survive a restart, such as the ids of remote subscriptions.
    #[arg(long, value_name = "FILE")]
    pub state: PathBuf,
    /// Look for the values of Secrets in DIR/SECRET/KEY and DIR/SECRET.KEY.
    #[arg(long, value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// Publish tokens of `publishTo` in DIR/SECRET/KEY.
    #[arg(long, value_name = "DIR")]
    pub publish_dir: Option<PathBuf>,
    /// Follow the deletion policy of subscriptions that are gone from the folder for a minute;
    /// otherwise the provider keeps its copies.
    #[arg(long)]
    pub prune: bool,
    /// Take deliveries in here, too, for the receivers in the folder; a new token is accepted before the
    /// provider has it.
    #[arg(long, value_name = "ADDRESS", requires = "store")]
    pub gate_listen: Option<SocketAddr>,
    /// Folder for deliveries that were acknowledged and not yet handed on; on a disk that stays.
    #[arg(long, value_name = "DIR", requires = "gate_listen", group = "store")]
    pub data: Option<PathBuf>,
    /// What all gates take.
    #[command(flatten)]
    pub gate: GateArgs,
    /// What all commands that run an engine take.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it must not start, or a part that must run as long as the process does has ended.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let logs = args.serve.process.set_up_logs()?;
    let (_trigger, shutdown) = Shutdown::on_signals()?;
    if args.gate_listen.is_none() && args.gate.store.database.database.is_some() {
        anyhow::bail!("--database is the store of a gate: say where it listens with --gate-listen");
    }
    let mut series = Series::default();
    let open_shell = |parts| {
        let settings = Settings {
            manifests: args.manifests.clone(),
            state: args.state.clone(),
            secrets_dir: args.secrets_dir.clone(),
            publish_dir: args.publish_dir.clone(),
            parts,
            prune: args.prune,
            require_allowed_hosts: args.serve.require_allowed_hosts,
        };
        Shell::open(settings, Arc::new(SystemRandom))
    };
    let (serving, gated, shell) = match args.gate_listen {
        // A database that is away is waited for while the admin server says so, and before anything is done
        // in the folder of data.
        Some(listen) => {
            let shown = Shown::new(&mut series);
            let serving = args.serve.serve(logs, series, shutdown.clone()).await?;
            let (data, starting) = (args.data.clone(), &serving.starting);
            let store =
                storing::open_alive(&args.gate.store, data, starting, &serving.heartbeat, &shutdown).await?;
            (serving, Some((listen, shown, store)), open_shell(Parts::Both)?)
        }
        // Nothing is waited for, and a process that cannot start says why in one line.
        None => {
            let shell = open_shell(Parts::Engine)?;
            (args.serve.serve(logs, series, shutdown.clone()).await?, None, shell)
        }
    };
    let client = args.serve.client()?;
    let secrets: Arc<dyn Secrets> = Arc::new(shell.secrets);
    let coupling = Coupling::default();
    let budgets = coupling.budgets();
    let gate = match gated {
        None => None,
        Some((listen, shown, store)) => {
            let from_shell = coupling.for_gate(&secrets, &shell.state);
            let client = args.serve.process.client(gating::CONNECTIONS_PER_HOST)?;
            Some(Gate::open(args.gate.clone(), store, listen, client, from_shell, shown).await?)
        }
    };
    serving.by_hand.comes(gate.as_ref().map(Gate::by_hand).unwrap_or_default());
    let manifests = serving.starting;
    manifests.says("the manifests have not been read");
    let receivers = gate.is_some().then(|| manifests.and("the receivers are not at work yet"));
    let watching = tokio::spawn(shell.watch.run(move || drop(manifests)));
    let coupled = gate
        .as_ref()
        .map(|gate| coupling.couple(gate, shell.receiver_changes, shell.to_engine, move || drop(receivers)));
    let gates: Arc<dyn Gates> =
        coupled.as_ref().map_or_else(|| Arc::new(NoGates) as _, |coupled| Arc::clone(&coupled.gates));

    let from_shell = FromShell {
        record: Arc::new(shell.state.clone()),
        secrets: Arc::clone(&secrets),
        mint_secrets: secrets,
        service_accounts: None,
        gates,
        publish: Arc::new(shell.publish),
        leadership: Arc::new(Alone),
        notices: Arc::new(LoggedNotices),
        sharing: gate.is_some().then_some(budgets),
    };
    let options = args.serve.options();
    let engine = compose::engine(from_shell, client.clone(), Arc::new(serving.metrics), options);
    let ending = shutdown.clone();
    let engine = async {
        engine.run(shell.changes, ending.asked()).await?;
        if ending.is_asked() { Ok(()) } else { Err(anyhow::anyhow!("the engine has ended")) }
    };
    let readiness = serving.readiness;
    let draining = move || readiness.ends();
    let asked = shutdown.clone();
    let gate = async move {
        match gate.zip(coupled) {
            Some((gate, coupled)) => gate.run(gating::until(coupled.is_synced), asked, draining, || {}).await,
            None => Ok(()),
        }
    };
    let ending = shutdown.clone();
    let watching = async move {
        let _ = watching.await;
        // When the engine has ended nobody listens to it any more, while the gate still takes in.
        if ending.is_asked() {
            std::future::pending::<()>().await;
        }
    };
    let result = tokio::select! {
        biased;
        // An error of either ends both.
        result = async { tokio::try_join!(engine, gate) } => result.map(|_| ()),
        () = watching => Err(anyhow::anyhow!("the task that reads the manifests has ended")),
        never = client.follow_files() => match never {},
        _ = serving.admin => Err(anyhow::anyhow!("the admin server has ended")),
    };
    // What was declared or forgotten since the last record.
    if let Err(error) = shell.state.flush().await {
        warn!("{error}");
    }
    result
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::serve::AdminListen;
    use crate::ops::logs::LogFormat;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let line = ["sidecar", "--manifests", "m", "--state", "s"];
        Line::try_parse_from(line.iter().chain(arguments)).map(|line| line.args)
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.serve.process.admin_listen, AdminListen::At(([127, 0, 0, 1], 8080).into()));
        assert_eq!(args.serve.process.log_level, "info");
        assert_eq!(args.serve.workers, 16);
        assert_eq!(args.serve.shutdown_timeout.milliseconds(), 20_000);
        assert!(!args.prune && !args.serve.require_allowed_hosts);
    }

    #[test]
    fn arguments_are_understood_or_refused() {
        let args = parse(&[
            "--admin-listen",
            "off",
            "--allow-destination",
            "http://127.0.0.1:8480",
            "--allow-destination",
            "10.0.0.0/8",
            "--log-format",
            "json",
        ])
        .unwrap();
        assert_eq!(args.serve.process.admin_listen, AdminListen::Off);
        assert_eq!(args.serve.process.allow_destination.len(), 2);
        assert_eq!(args.serve.process.log_format, LogFormat::Json);
        for wrong in [
            ["--admin-listen", "8080"],
            ["--workers", "0"],
            ["--shutdown-timeout", "2 days"],
            ["--allow-destination", "http://"],
        ] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }
}
