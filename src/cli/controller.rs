//! `hookkeeper controller`: keeps the subscriptions of a cluster fresh.

use std::sync::Arc;

use anyhow::bail;
use tokio::sync::oneshot;

use super::compose::{self, FromShell};
use super::observe::Observer;
use super::serve::ServeArgs;
use crate::api::Duration;
use crate::engine::Options;
use crate::engine::ports::{Meter, Random};
use crate::kubernetes::Scope;
use crate::kubernetes::client::connect;
use crate::kubernetes::lease::LeaseSettings;
use crate::kubernetes::shell::{Settings, Shell};
use crate::ops::shutdown::Shutdown;
use crate::ops::system::{SystemClock, SystemRandom};

/// Keeps the subscriptions of a cluster fresh.
///
/// Any number of processes may run; one of them acts, the others stand by.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Look after this namespace only; may be given several times.
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    pub namespace: Vec<String>,
    /// Look after objects with these labels only.
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Context of the kubeconfig; in a pod none is needed.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of the lease; the one this process runs in when it is left out.
    #[arg(long, value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of the lease.
    #[arg(long, value_name = "NAME", default_value = "hookkeeper")]
    pub lease_name: String,
    /// Namespace in which gates have their Leases; that of the lease when it is left out.
    #[arg(long, value_name = "NAMESPACE")]
    pub gate_namespace: Option<String>,
    /// How long a leader that has died keeps the others waiting; tokens of less than 5m ask for less.
    #[arg(long, value_name = "DURATION", default_value = "45s")]
    pub lease_duration: Duration,
    /// How long a deletion may be held up by a provider that cannot be called or does not delete.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub deletion_grace: Duration,
    /// How often the Secrets of `secret` sources are read.
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub secret_poll_interval: Duration,
    /// Watch and report, but call nobody and write nothing: for the first start after a restore, or
    /// in a cluster that is a copy of another.
    #[arg(long)]
    pub observe: bool,
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
    let clients = connect(args.context.as_deref()).await?;
    let client = args.serve.client()?;
    let clock = Arc::new(SystemClock);
    let lease = LeaseSettings {
        namespace: args.lease_namespace.clone().unwrap_or_else(|| clients.namespace.clone()),
        name: args.lease_name.clone(),
        identity: identity(),
        duration: args.lease_duration.to_std(),
    };
    let settings = Settings {
        scope: Scope { namespaces: args.namespace.clone(), selector: args.selector.clone() },
        gate_namespace: args.gate_namespace.clone().unwrap_or_else(|| lease.namespace.clone()),
        lease,
        require_allowed_hosts: args.serve.require_allowed_hosts,
        observe: args.observe,
    };
    let series = prometheus_client::registry::Registry::default();
    let serving = args.serve.serve(logs, series, shutdown.clone()).await?;
    serving.by_hand.comes(axum::Router::new());
    let last_heard = clients.last_heard.clone();
    serving.metrics.follow_watch(Box::new(move || last_heard.oldest()));
    let shell = Shell::new(&clients, settings, clock, serving.starting);
    let gates = shell.gates.clone();
    serving.metrics.follow_gates(Box::new(move || gates.seen()));

    let from_shell = FromShell {
        record: Arc::new(shell.record),
        secrets: Arc::new(shell.secrets),
        mint_secrets: Arc::new(shell.mint_secrets),
        service_accounts: Some(Arc::new(shell.service_accounts)),
        gates: Arc::new(shell.gates),
        publish: Arc::new(shell.publish),
        leadership: Arc::new(shell.election),
        notices: Arc::new(shell.events),
        sharing: None,
    };
    let options = Options {
        grace: args.deletion_grace.to_std(),
        secret_poll_interval: args.secret_poll_interval.to_std(),
        ..args.serve.options()
    };
    let meter: Arc<dyn Meter> = Arc::new(serving.metrics);
    let meter = if args.observe { Arc::new(Observer::new(meter)) } else { meter };
    let engine = compose::engine(from_shell, client.clone(), meter, options);
    // The lease is held until the last step has been recorded.
    let (stopped, engine_stopped) = oneshot::channel::<()>();
    let tasks = shell.tasks.run(async move { drop(engine_stopped.await) });
    let work = async {
        let result = engine.run(shell.changes, shutdown.asked()).await.map_err(anyhow::Error::from);
        drop(stopped);
        if result.is_ok() {
            // The tasks end when the lease is released.
            std::future::pending::<()>().await;
        }
        result
    };
    let result = tokio::select! {
        biased;
        result = work => result,
        result = tasks => result.map_err(anyhow::Error::from),
        never = client.follow_files() => match never {},
        _ = serving.admin => Err(anyhow::anyhow!("the admin server has ended")),
    };
    if result.is_ok() && !shutdown.is_asked() {
        bail!("the engine has ended");
    }
    result
}

/// Who we are among all processes that want the lease: the pod's name, and what differs between two
/// processes of one pod.
fn identity() -> String {
    let pod = std::env::var("HOSTNAME").unwrap_or_else(|_| "hookkeeper".to_owned());
    format!("{pod}_{:016x}", SystemRandom.bits())
}
