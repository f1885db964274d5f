//! What the commands that run until they are ended have in common.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use prometheus_client::registry::Registry as Series;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::proxy::{self, ProxyParser};
use crate::api::Duration;
use crate::engine::Options;
use crate::http::{AllowedDestination, Client, Config, DestinationPolicy, Files, ProxyUrl, SetupError};
use crate::ops::admin::{self, Admin};
use crate::ops::by_hand::ByHand;
use crate::ops::health::{Awaited, Heartbeat, Readiness};
use crate::ops::logs::{self, LogFormat, Logs};
use crate::ops::metrics::Metrics;
use crate::ops::service_manager;
use crate::ops::shutdown::Shutdown;

/// The scheduler turns every second; one that has not for this long hangs.
const HEARTBEAT_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
/// The runtime that does not come to this in time has come to a standstill.
const BEAT: std::time::Duration = std::time::Duration::from_secs(1);

/// Arguments of all commands that run until they are ended.
#[derive(Clone, Debug, clap::Args)]
pub struct ProcessArgs {
    /// Allow a destination that is not public or not https; may be given several times.
    #[arg(long, value_name = "[http://]HOST|CIDR[:PORT]")]
    pub allow_destination: Vec<AllowedDestination>,
    /// Trust the certificates (PEM) in this file besides the public ones; read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Go through this proxy to providers, token servers and applications: https by CONNECT, and the
    /// proxy resolves the names. Plain http goes past it.
    #[arg(long, value_name = "URL", value_parser = ProxyParser)]
    pub proxy: Option<ProxyUrl>,
    /// File with `user:password` for the proxy; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "proxy")]
    pub proxy_credentials_file: Option<PathBuf>,
    /// Where /livez, /readyz and /metrics are served, or `off`.
    #[arg(long, value_name = "ADDRESS|off", default_value = "127.0.0.1:8080")]
    pub admin_listen: AdminListen,
    /// Form of the log lines.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What to log: error, warn, info, debug or trace, also by part: info,hookkeeper::engine=debug.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// Let the same host change the log level with PUT /log-level; it goes back after an hour.
    #[arg(long)]
    pub allow_log_level_changes: bool,
}

/// Arguments of the commands that run an engine.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// What all commands that run until they are ended take.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Send Secrets only to hosts that their annotation hookkeeper.dev/allowed-hosts names.
    #[arg(long)]
    pub require_allowed_hosts: bool,
    /// Leave the metric out that has a series for each subscription.
    #[arg(long)]
    pub no_object_metrics: bool,
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

/// What such a command shows of itself.
pub(super) struct Serving {
    pub(super) metrics: Metrics,
    /// Beats as long as what must move moves.
    pub(super) heartbeat: Arc<Heartbeat>,
    /// What is missing.
    pub(super) readiness: Readiness,
    /// Until it is dropped the process is not ready.
    pub(super) starting: Awaited,
    /// What people on the same host may see and do; to be given as soon as it is there.
    pub(super) by_hand: ByHand,
    /// The admin server; it must not end.
    pub(super) admin: JoinHandle<()>,
}

impl ProcessArgs {
    /// Sets the log up; before anything that has something to say.
    pub(super) fn set_up_logs(&self) -> anyhow::Result<Logs> {
        Ok(logs::set_up(self.log_format, &self.log_level)?)
    }

    /// Starts the admin server: what is missing is what people want to see from the first moment on.
    /// `series` are metrics besides the common ones; `object_metrics` switches the metric on that has a series for
    /// each subscription.
    pub(super) async fn serve(
        &self,
        logs: Logs,
        series: Series,
        object_metrics: bool,
        shutdown: Shutdown,
    ) -> anyhow::Result<Serving> {
        let heartbeat = Heartbeat::new(HEARTBEAT_LIMIT);
        let readiness = Readiness::default();
        let starting = readiness.awaits("the process is starting");
        let metrics = Metrics::with(series, Arc::clone(&heartbeat), object_metrics);
        let ending = shutdown.clone();
        tokio::spawn(service_manager::keep_informed(readiness.clone(), Arc::clone(&heartbeat), shutdown));
        tokio::spawn(async move {
            tokio::select! {
                () = logs.shares.clone().keep_telling() => {}
                // What was left out since the last time is told before the end, too.
                () = ending.asked() => logs.shares.tell(),
            }
        });
        let by_hand = ByHand::default();
        let log_level = self.allow_log_level_changes.then_some(logs.level);
        let shown = Admin {
            heartbeat: Arc::clone(&heartbeat),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            log_level,
            by_hand: by_hand.clone(),
        };
        let admin = match self.admin_listen {
            AdminListen::At(address) => {
                let listener = admin::listen(address).await?;
                info!(address = %listener.local_addr()?, "admin server listens");
                tokio::spawn(admin::serve(listener, shown))
            }
            AdminListen::Off => tokio::spawn(std::future::pending()),
        };
        Ok(Serving { metrics, heartbeat, readiness, starting, by_hand, admin })
    }

    /// The client for the outside, with so many connections to one host; and what is worth knowing about
    /// its way out.
    pub(super) fn client(&self, connections_per_host: usize) -> Result<Client, SetupError> {
        self.client_but_never_to(Vec::new(), connections_per_host)
    }

    /// The same, which sends nothing to these, whatever is allowed.
    pub(super) fn client_but_never_to(
        &self,
        never: Vec<AllowedDestination>,
        connections_per_host: usize,
    ) -> Result<Client, SetupError> {
        let client = Client::new(Config {
            destinations: DestinationPolicy::new(self.allow_destination.clone()).never(never),
            files: Files {
                issuers: self.ca_file.clone(),
                proxy_credentials: self.proxy_credentials_file.clone(),
            },
            proxy: self.proxy.clone(),
            connections_per_host,
            ..Config::default()
        })?;
        match &self.proxy {
            Some(proxy) => info!(
                %proxy,
                "https goes through a proxy, which resolves the names: which addresses they have is not checked"
            ),
            None => {
                if let Some(text) = proxy::unused(std::env::vars_os()) {
                    warn!("{text}");
                }
            }
        }
        Ok(client)
    }
}

impl ServeArgs {
    /// Starts the admin server: see [`ProcessArgs::serve`].
    pub(super) async fn serve(
        &self,
        logs: Logs,
        series: Series,
        shutdown: Shutdown,
    ) -> anyhow::Result<Serving> {
        self.process.serve(logs, series, !self.no_object_metrics, shutdown).await
    }

    /// The client for providers and token servers.
    pub(super) fn client(&self) -> Result<Client, SetupError> {
        self.process.client(self.options().calls())
    }

    /// How the engine works.
    pub(super) fn options(&self) -> Options {
        Options {
            workers: usize::from(self.workers),
            shutdown_limit: self.shutdown_timeout.to_std(),
            ..Options::default()
        }
    }
}

/// Shows that the runtime goes on.
pub(super) async fn beat(heartbeat: &Heartbeat) -> std::convert::Infallible {
    loop {
        heartbeat.beat();
        tokio::time::sleep(BEAT).await;
    }
}
