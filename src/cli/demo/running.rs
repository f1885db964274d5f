//! A sidecar with a gate in it, as the demo runs it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry as Series;
use tokio::task::JoinHandle;
use url::Url;

use crate::api::{Kind, SubscriptionStatus};
use crate::cli::compose::{self, FromShell};
use crate::cli::coupling::{Coupled, Coupling};
use crate::cli::gating::{self, Gate, GateArgs, Shown};
use crate::cli::storing::{self, StoreArgs};
use crate::engine::Options;
use crate::engine::ports::Secrets;
use crate::http::{self, DestinationPolicy};
use crate::ops::health::{Heartbeat, Readiness};
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::{Shutdown, ShutdownTrigger};
use crate::ops::system::{LoggedNotices, SystemRandom};
use crate::sandbox::Written;
use crate::sidecar::shell::{Alone, Parts, Settings, Shell};
use crate::sidecar::state::State;
use crate::store::{RowState, Selection, Store};

use super::table::Row;

/// Parked deliveries that are listed; in a demo there are none.
const LISTED: usize = 10_000;

/// Everything that runs beside the sandbox.
pub(super) struct Running {
    state: State,
    store: Arc<dyn Store>,
    trigger: ShutdownTrigger,
    engine: JoinHandle<anyhow::Result<()>>,
    gate: JoinHandle<anyhow::Result<()>>,
    /// What never ends by itself.
    others: Vec<JoinHandle<()>>,
    /// Where deliveries are taken in.
    pub(super) gate_url: Url,
}

impl Running {
    /// Starts what the manifests in `folder` ask for, against a sandbox at `sandbox_url`.
    pub(super) async fn start(folder: &Path, written: &Written, sandbox_url: &str) -> anyhow::Result<Self> {
        // Not the process's own: what was sent is still handed on after a signal.
        let (trigger, shutdown) = Shutdown::new();
        let args = gate_args()?;
        let data = written.data.clone().context("no folder for the gate's data was made")?;
        let starting = Readiness::default().awaits("the store is not open yet");
        let store = storing::open(&args.store, Some(data), &starting, &shutdown).await?;
        let shell = Shell::open(
            Settings {
                manifests: folder.join("manifests"),
                state: written.state_file.clone(),
                secrets_dir: None,
                publish_dir: Some(folder.join("published")),
                parts: Parts::Both,
                prune: false,
                require_allowed_hosts: false,
            },
            Arc::new(SystemRandom),
        )?;
        let state = shell.state.clone();
        let secrets: Arc<dyn Secrets> = Arc::new(shell.secrets);
        let mut series = Series::default();
        let shown = Shown::new(&mut series);
        let coupling = Coupling::default();
        let budgets = coupling.budgets();
        let from_shell = coupling.for_gate(&secrets, &state);
        let listen = ([127, 0, 0, 1], 0).into();
        let towards_application = client(sandbox_url, gating::CONNECTIONS_PER_HOST)?;
        let gate =
            Gate::open(args, Arc::clone(&store), listen, towards_application, from_shell, shown).await?;
        let gate_url = Url::parse(&format!("http://{}", gate.address()?)).context("the gate's address")?;

        let Coupled { gates, is_synced, tasks: mut others } =
            coupling.couple(&gate, shell.receiver_changes, shell.to_engine, || {});
        let from_shell = FromShell {
            record: Arc::new(shell.state),
            secrets: Arc::clone(&secrets),
            mint_secrets: secrets,
            service_accounts: None,
            gates,
            publish: Arc::new(shell.publish),
            leadership: Arc::new(Alone),
            notices: Arc::new(LoggedNotices),
            sharing: Some(budgets),
        };
        let metrics = Metrics::with(series, Heartbeat::new(Duration::from_secs(30)), false);
        let towards_provider = client(sandbox_url, http::Config::default().connections_per_host)?;
        let engine = compose::engine(from_shell, towards_provider, Arc::new(metrics), Options::default());
        others.push(tokio::spawn(shell.watch.run(|| {})));
        let (changes, asked, stop) = (shell.changes, shutdown.clone(), shutdown);
        Ok(Self {
            state,
            store,
            trigger,
            engine: tokio::spawn(async move {
                engine.run(changes, asked.asked()).await.map_err(anyhow::Error::from)
            }),
            gate: tokio::spawn(async move { gate.run(gating::until(is_synced), stop, || {}, || {}).await }),
            others,
            gate_url,
        })
    }

    /// That nothing has ended that must not.
    pub(super) fn is_whole(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.engine.is_finished(), "the engine has ended");
        anyhow::ensure!(!self.gate.is_finished(), "the gate has ended");
        let all_run = self.others.iter().all(|task| !task.is_finished());
        anyhow::ensure!(all_run, "a task that reads the manifests or tells of tokens has ended");
        Ok(())
    }

    /// The subscriptions as they stand.
    pub(super) fn rows(&self) -> Vec<Row> {
        let subscriptions =
            self.state.entries().into_keys().filter(|(kind, _)| *kind == Kind::WebhookSubscription);
        subscriptions
            .map(|(kind, key)| {
                let status: SubscriptionStatus = self.state.status(kind, &key);
                Row::new(&key, &status)
            })
            .collect()
    }

    /// The ids of deliveries that wait for a person.
    pub(super) async fn parked(&self) -> anyhow::Result<Vec<String>> {
        let parked = Selection { state: Some(RowState::Parked), ..Selection::default() };
        let rows = self.store.list(&parked, None, LISTED).await?;
        Ok(rows.iter().map(|row| row.id.to_string()).collect())
    }

    /// Ends everything and waits for it.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.trigger.ask();
        let results = (self.engine.await, self.gate.await);
        for task in self.others {
            task.abort();
        }
        results.0.context("the engine panicked")??;
        results.1.context("the gate panicked")?
    }
}

fn gate_args() -> anyhow::Result<GateArgs> {
    Ok(GateArgs {
        // The folder goes with the demo, and so does what is in it.
        store: StoreArgs { data_may_vanish: true, ..StoreArgs::default() },
        allow_clear_bodies: true,
        allow_path: Vec::new(),
        trusted_proxy: Vec::new(),
        public_url: None,
        tls_cert: None,
        tls_key: None,
        expect_listen: None,
        // Nobody sends any more.
        drain: "0s".parse()?,
    })
}

/// A client that reaches the sandbox and nothing else.
fn client(sandbox_url: &str, connections_per_host: usize) -> anyhow::Result<http::Client> {
    let sandbox = sandbox_url.parse().context("the sandbox's address")?;
    Ok(http::Client::new(http::Config {
        destinations: DestinationPolicy::new(vec![sandbox]),
        connections_per_host,
        ..http::Config::default()
    })?)
}
