//! `hookkeeper sidecar`: keeps the subscriptions in a folder of manifests fresh, without a cluster.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use tracing::warn;

use super::compose::{self, FromShell};
use super::serve::ServeArgs;
use crate::engine::ports::{NoGates, Secrets};
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
    let shell = Shell::open(
        Settings {
            manifests: args.manifests.clone(),
            state: args.state.clone(),
            secrets_dir: args.secrets_dir.clone(),
            publish_dir: args.publish_dir.clone(),
            parts: Parts::Engine,
            prune: args.prune,
            require_allowed_hosts: args.serve.require_allowed_hosts,
        },
        Arc::new(SystemRandom),
    )?;
    let client = args.serve.client()?;
    let serving = args.serve.serve(logs, axum::Router::new(), shutdown.clone()).await?;
    let manifests = serving.starting;
    manifests.says("the manifests have not been read");
    let watching = tokio::spawn(shell.watch.run(move || drop(manifests)));

    let secrets: Arc<dyn Secrets> = Arc::new(shell.secrets);
    let from_shell = FromShell {
        record: Arc::new(shell.state.clone()),
        secrets: Arc::clone(&secrets),
        mint_secrets: secrets,
        service_accounts: None,
        gates: Arc::new(NoGates),
        publish: Arc::new(shell.publish),
        leadership: Arc::new(Alone),
        notices: Arc::new(LoggedNotices),
    };
    let options = args.serve.options();
    let engine = compose::engine(from_shell, client.clone(), Arc::new(serving.metrics), options);
    let engine = engine.run(shell.changes, shutdown.asked());
    let result = tokio::select! {
        biased;
        result = engine => result.map_err(anyhow::Error::from),
        _ = watching => Err(anyhow::anyhow!("the task that reads the manifests has ended")),
        never = client.follow_files() => match never {},
        _ = serving.admin => Err(anyhow::anyhow!("the admin server has ended")),
    };
    // What was declared or forgotten since the last record.
    if let Err(error) = shell.state.flush().await {
        warn!("{error}");
    }
    if result.is_ok() && !shutdown.is_asked() {
        bail!("the engine has ended");
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
