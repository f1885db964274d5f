//! `hookkeeper sidecar`: keeps the subscriptions in a folder of manifests fresh, without a cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::bail;
use tracing::{info, warn};

use super::compose::{self, FromShell};
use crate::api::Duration;
use crate::engine::Options;
use crate::http::AllowedDestination;
use crate::ops::admin::{self, Admin};
use crate::ops::health::{Heartbeat, Readiness};
use crate::ops::logs::{self, LogFormat};
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;
use crate::ops::system::SystemRandom;
use crate::sidecar::shell::{Settings, Shell};

/// The scheduler turns every second; one that has not for this long hangs.
const HEARTBEAT_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

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
    /// Allow a destination that is not public or not https; may be given several times.
    #[arg(long, value_name = "[http://]HOST|CIDR[:PORT]")]
    pub allow_destination: Vec<AllowedDestination>,
    /// Send Secrets only to hosts that their annotation hookkeeper.dev/allowed-hosts names.
    #[arg(long)]
    pub require_allowed_hosts: bool,
    /// Where /livez, /readyz and /metrics are served, or `off`.
    #[arg(long, value_name = "ADDRESS|off", default_value = "127.0.0.1:8080")]
    pub admin_listen: AdminListen,
    /// Leave the metric out that has a series for each subscription.
    #[arg(long)]
    pub no_object_metrics: bool,
    /// Form of the log lines.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What to log: error, warn, info, debug or trace, also by part: info,hookkeeper::engine=debug.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// How many steps may be under way at the same time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,
    /// How long running steps may take to finish after SIGTERM.
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    pub shutdown_timeout: Duration,
}

/// Where the admin server listens, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// At this address.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse()
            .map(Self::At)
            .map_err(|_| "write an address and a port such as 127.0.0.1:8080 or [::]:8080, or off".to_owned())
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it must not start, or a part that must run as long as the process does has ended.
pub async fn run(args: Args) -> anyhow::Result<()> {
    logs::set_up(args.log_format, &args.log_level)?;
    let (_trigger, shutdown) = Shutdown::on_signals()?;
    let shell = Shell::open(
        Settings {
            manifests: args.manifests.clone(),
            state: args.state.clone(),
            secrets_dir: args.secrets_dir.clone(),
            publish_dir: args.publish_dir.clone(),
            prune: args.prune,
            require_allowed_hosts: args.require_allowed_hosts,
        },
        Arc::new(SystemRandom),
    )?;
    let heartbeat = Heartbeat::new(HEARTBEAT_LIMIT);
    let readiness = Readiness::default();
    let metrics = Metrics::new(Arc::clone(&heartbeat), !args.no_object_metrics);
    let admin = Admin { heartbeat, readiness: readiness.clone(), metrics: metrics.clone() };
    // Both work from the first moment on: what is missing is what people want to see then.
    let serving = match args.admin_listen {
        AdminListen::At(address) => {
            let listener = admin::listen(address).await?;
            info!(address = %listener.local_addr()?, "admin server listens");
            tokio::spawn(admin::serve(listener, admin))
        }
        AdminListen::Off => tokio::spawn(std::future::pending()),
    };
    let manifests = readiness.awaits("the manifests have not been read");
    let watching = tokio::spawn(shell.watch.run(move || drop(manifests)));

    let options = Options {
        workers: usize::from(args.workers),
        shutdown_limit: args.shutdown_timeout.to_std(),
        ..Options::default()
    };
    let from_shell = FromShell {
        record: Arc::new(shell.state.clone()),
        secrets: Arc::new(shell.secrets),
        publish: Arc::new(shell.publish),
    };
    let engine = compose::engine(from_shell, args.allow_destination, Arc::new(metrics), options)?;
    let engine = engine.run(shell.changes, shutdown.asked());
    let result = tokio::select! {
        biased;
        result = engine => result.map_err(anyhow::Error::from),
        _ = watching => Err(anyhow::anyhow!("the task that reads the manifests has ended")),
        _ = serving => Err(anyhow::anyhow!("the admin server has ended")),
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
        assert_eq!(args.admin_listen, AdminListen::At(([127, 0, 0, 1], 8080).into()));
        assert_eq!(args.log_level, "info");
        assert_eq!(args.workers, 16);
        assert_eq!(args.shutdown_timeout.milliseconds(), 20_000);
        assert!(!args.prune && !args.require_allowed_hosts);
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
        assert_eq!(args.admin_listen, AdminListen::Off);
        assert_eq!(args.allow_destination.len(), 2);
        assert_eq!(args.log_format, LogFormat::Json);
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
