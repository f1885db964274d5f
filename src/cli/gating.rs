//! Puts the gate of a process together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use anyhow::Context;
use axum::Router;
use ipnet::IpNet;
use prometheus_client::registry::Registry as Series;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{debug, info, warn};
use url::Url;

use super::gate_ports::{ShellCredentials, ShellMeans};
use super::storing::StoreArgs;
use crate::api::Duration;
use crate::engine::ports::{Random, Secrets};
use crate::gate::acceptance::Polled;
use crate::gate::addresses::TrustedProxies;
use crate::gate::admin;
use crate::gate::board::{Board, Observers};
use crate::gate::clock::{Clock, SystemClock};
use crate::gate::direct::Direct;
use crate::gate::evidence::Evidence;
use crate::gate::expected;
use crate::gate::fallback::{self, Fallbacks};
use crate::gate::hand_on::{self, ByName, HandingOn, Locate};
use crate::gate::housekeeping::Housekeeping;
use crate::gate::intake::{self, Delivered, Intake};
use crate::gate::listener::{self, Stage};
use crate::gate::live::Live;
use crate::gate::observer::Observer;
use crate::gate::paths::AllowedPath;
use crate::gate::ports::{Credentials, Statuses};
use crate::gate::registry::{self, ReadAgain, Registry};
use crate::gate::tls::Tls;
use crate::http::Client;
use crate::ops::descriptors;
use crate::ops::gate_journal::GateJournal;
use crate::ops::gate_metrics::GateMetrics;
use crate::ops::server::{self, Limits};
use crate::ops::shutdown::Shutdown;
use crate::ops::system::SystemRandom;
use crate::store::{Extent, Store};

/// The name of a gate without a cluster in statuses.
pub(super) const LOCAL: &str = "local";

/// How many connections are kept open to one application: as many as a receiver may have under way.
pub(super) const CONNECTIONS_PER_HOST: usize = 500;

/// What all receivers of one namespace may have in the store.
const NAMESPACE_SHARE: Extent = Extent { deliveries: 1_000_000, bytes: 10 * 1024 * 1024 * 1024 };

/// Arguments of a gate, whichever command runs it.
#[derive(Clone, Debug, clap::Args)]
pub struct GateArgs {
    /// Where it keeps what it took in.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Store bodies that hold live credentials in clear.
    #[arg(long)]
    pub allow_clear_bodies: bool,
    /// Let receivers of a namespace use paths that begin so; may be given several times.
    #[arg(long, value_name = "NAMESPACE=/PREFIX")]
    pub allow_path: Vec<AllowedPath>,
    /// Believe X-Forwarded-For when it comes from this network; may be given several times.
    #[arg(long, value_name = "CIDR")]
    pub trusted_proxy: Vec<IpNet>,
    /// What stands before a receiver's path in its URL, for what is shown to people.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<Url>,
    /// Chain of certificates (PEM) for the public listener; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM); read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Where applications say what they wait for (`spec.fallback`); without it nowhere.
    #[arg(long, value_name = "ADDRESS")]
    pub expect_listen: Option<SocketAddr>,
    /// How long deliveries are still taken in after SIGTERM, until those who send them know.
    #[arg(long, value_name = "DURATION", default_value = "15s")]
    pub drain: Duration,
}

/// What a shell brings to the gate.
pub(super) struct FromShell {
    /// What questions to platforms carry.
    pub(super) secrets: Arc<dyn Secrets>,
    /// What deliveries are proven by.
    pub(super) credentials: Arc<dyn Credentials>,
    pub(super) statuses: Arc<dyn Statuses>,
    /// Knows where Services are.
    pub(super) locate: Arc<dyn Locate>,
    /// How often Secrets are read again.
    pub(super) read_again: ReadAgain,
    /// Which receivers it looks after.
    pub(super) scope: registry::Scope,
    /// The name of this gate in statuses.
    pub(super) name: String,
    /// An engine in the same process hands tokens over, and is told of each source whose receivers may be
    /// other ones now.
    pub(super) engine: Option<registry::ToldOfSources>,
    /// Who else in the process sends requests to platforms.
    pub(super) others: Option<Arc<dyn fallback::Others>>,
}

impl FromShell {
    /// What a shell without a cluster brings, where there is no engine.
    pub(super) fn without_cluster(secrets: Arc<dyn Secrets>, statuses: Arc<dyn Statuses>) -> Self {
        Self {
            credentials: Arc::new(ShellCredentials(Arc::clone(&secrets))),
            secrets,
            statuses,
            locate: Arc::new(ByName),
            read_again: ReadAgain::default(),
            scope: registry::Scope::All,
            name: LOCAL.to_owned(),
            engine: None,
            others: None,
        }
    }
}

/// What a gate shows of itself from the first moment on, while its store is still being opened.
pub(super) struct Shown {
    clock: Arc<dyn Clock>,
    board: Arc<Board>,
    metrics: GateMetrics,
}

impl Shown {
    /// Nothing has happened yet.
    pub(super) fn new(series: &mut Series) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let board = Arc::new(Board::new(Arc::clone(&clock)));
        Self { metrics: GateMetrics::new(series, Arc::clone(&board)), clock, board }
    }
}

/// A gate whose store is open and whose listener is bound; nothing is taken in yet.
pub(super) struct Gate {
    args: GateArgs,
    store: Arc<dyn Store>,
    registry: Registry,
    board: Arc<Board>,
    evidence: Arc<Evidence>,
    metrics: GateMetrics,
    handing_on: HandingOn,
    fallbacks: Fallbacks,
    desk: Option<(TcpListener, Router)>,
    intake: Arc<Intake>,
    listener: TcpListener,
    tls: Option<Tls>,
    from_shell: FromShell,
    clock: Arc<dyn Clock>,
    client: Client,
}

impl Gate {
    /// Binds the public listener.
    pub(super) async fn open(
        args: GateArgs,
        store: Arc<dyn Store>,
        listen: SocketAddr,
        client: Client,
        from_shell: FromShell,
        Shown { clock, board, metrics }: Shown,
    ) -> anyhow::Result<Self> {
        let tls = match (&args.tls_cert, &args.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls::open(certificate.clone(), key.clone())?),
            _ => None,
        };
        metrics.store_is(&store.short_id());
        let evidence = Arc::new(Evidence::new(Arc::clone(&clock)));
        let observer: Arc<dyn Observer> = Arc::new(Observers(vec![
            Arc::clone(&board) as _,
            Arc::clone(&evidence) as _,
            Arc::new(metrics.clone()),
            Arc::new(GateJournal),
        ]));
        let options = registry::Options {
            allowed_paths: args.allow_path.clone(),
            allow_clear_bodies: args.allow_clear_bodies,
            public_url: args.public_url.clone(),
            read_again: from_shell.read_again,
            scope: from_shell.scope.clone(),
            engine: from_shell.engine.clone(),
        };
        let random = random_bytes::<32>()?;
        let registry = Registry::new(
            Arc::clone(&store),
            Arc::clone(&from_shell.credentials),
            Arc::clone(&clock),
            &random,
            options,
        );
        let known = registry.clone();
        let knows_all_of: Arc<dyn Fn(&str) -> bool + Send + Sync> =
            Arc::new(move |namespace| known.knows_all_of(namespace));
        let handing_on = HandingOn::new(
            Arc::clone(&store),
            client.clone(),
            registry.receivers(),
            Arc::clone(&observer),
            Arc::clone(&clock),
            // One whose manifest is gone is still among them: what is left belongs to nobody.
            hand_on::Options {
                gone: hand_on::Gone::Park,
                knows_all_of: Arc::clone(&knows_all_of),
                ..hand_on::Options::default()
            },
        );
        let handing_on = handing_on.locating_with(Arc::clone(&from_shell.locate));
        let means = ShellMeans { secrets: Arc::clone(&from_shell.secrets), registry: registry.clone() };
        let fallbacks = Fallbacks::new(
            Arc::clone(&store),
            client.clone(),
            registry.receivers(),
            Arc::new(means),
            Arc::clone(&observer),
            Arc::clone(&clock),
            fallback::Options { knows_all_of, ..fallback::Options::default() },
        );
        let fallbacks = fallbacks.locating_with(Arc::clone(&from_shell.locate));
        let fallbacks = match &from_shell.others {
            Some(others) => fallbacks.within(Arc::new(fallback::Questions::beside(Arc::clone(others)))),
            None => fallbacks,
        };
        let delivered = Told { handing_on: handing_on.nudge(), fallbacks: fallbacks.told() };
        let delivered: Vec<Arc<dyn Delivered>> = vec![Arc::new(delivered)];
        let intake = Arc::new(Intake::new(intake::Parts {
            registry: registry.clone(),
            store: Arc::clone(&store),
            direct: Direct::new(client.clone(), Arc::clone(&observer))
                .locating_with(Arc::clone(&from_shell.locate)),
            observer,
            delivered,
            clock: Arc::clone(&clock),
            random: Arc::new(random_for_ids),
            trusted_proxies: TrustedProxies::new(args.trusted_proxy.clone()),
            namespace_share: NAMESPACE_SHARE,
        }));
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("the public listener cannot listen on {listen}"))?;
        let desk = match args.expect_listen {
            None => None,
            Some(address) => {
                let desk = fallbacks.desk(Arc::clone(&from_shell.credentials), &random_bytes::<32>()?);
                let listener = TcpListener::bind(address).await;
                let listener = listener
                    .with_context(|| format!("the listener for expectations cannot listen on {address}"))?;
                info!(address = %listener.local_addr()?, "expectations are taken in");
                Some((listener, desk.router()))
            }
        };
        Ok(Self {
            args,
            fallbacks,
            desk,
            store,
            registry,
            board,
            evidence,
            metrics,
            handing_on,
            intake,
            listener,
            tls,
            from_shell,
            clock,
            client,
        })
    }

    /// Where deliveries are taken in.
    pub(super) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The receivers.
    pub(super) fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Which tokens come in.
    pub(super) fn evidence(&self) -> Arc<Evidence> {
        Arc::clone(&self.evidence)
    }

    /// What people on the same host may see and do.
    pub(super) fn by_hand(&self) -> Router {
        let (nudge, registry) = (self.handing_on.nudge(), self.registry.clone());
        let deliveries = admin::routes(admin::Desk {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            receivers: self.registry.receivers(),
            room: Arc::new(move |receiver| receiver.room(NAMESPACE_SHARE, registry.has_several_namespaces())),
            replayed: Arc::new(move |uid| nudge.stored(uid)),
        });
        let told = self.fallbacks.told();
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        deliveries.merge(expected::routes(store, clock, move |uid| told.due(uid)))
    }

    /// Takes deliveries in and hands them on until the process is asked to end, and then as long as is
    /// fair to those who send. `ready` ends when everything is there that deliveries need; `draining` is
    /// called when the end begins, `closed` when the last delivery has been taken in.
    pub(super) async fn run(
        self,
        ready: impl Future<Output = ()> + Send,
        shutdown: Shutdown,
        draining: impl FnOnce() + Send,
        closed: impl FnOnce() + Send,
    ) -> anyhow::Result<()> {
        let Self {
            args,
            store,
            registry,
            board,
            evidence,
            metrics,
            handing_on,
            fallbacks,
            desk,
            intake,
            listener,
            tls,
            from_shell,
            clock,
            client,
        } = self;
        tokio::select! {
            () = ready => {}
            () = shutdown.asked() => return Ok(()),
        }
        for view in registry.views().await {
            board.resume(&view);
        }
        let places = listener::places(descriptors::raise());
        debug!("the public listener has places for {places} connections");
        info!(
            address = %listener.local_addr()?,
            tls = tls.is_some(),
            sealed = store.is_sealing(),
            "the gate takes deliveries in"
        );
        let (stage, stages) = watch::channel(Stage::Open);
        let (stop, stopped) = watch::channel(false);
        let mut taking_in = tokio::spawn(listener::serve(listener, places, tls.clone(), intake, stages));
        let mut handing_on = tokio::spawn(handing_on.run(until(stopped.clone())));
        let mut asking = tokio::spawn(fallbacks.run(until(stopped)));
        let desk = tokio::spawn(async move {
            match desk {
                Some((listener, router)) => {
                    server::serve(
                        listener,
                        router,
                        Limits::FOR_APPLICATIONS,
                        "the listener for expectations",
                    )
                    .await;
                }
                None => std::future::pending().await,
            }
        });
        let housekeeping = Housekeeping {
            registry: registry.clone(),
            store: Arc::clone(&store),
            board,
            evidence,
            gate: from_shell.name,
            statuses: from_shell.statuses,
            gauges: Arc::new(metrics),
            clock,
        };
        let keeping = tokio::spawn(housekeeping.run());
        let stop_keeping = keeping.abort_handle();
        let following = async {
            match &tls {
                Some(tls) => tls.follow().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            biased;
            () = shutdown.asked() => None,
            error = store.failed() => Some(anyhow::Error::from(error).context("the store has failed")),
            _ = &mut taking_in => Some(anyhow::anyhow!("the public listener has ended")),
            result = &mut handing_on => Some(match result {
                Ok(Err(error)) => anyhow::Error::from(error).context("handing on has ended"),
                _ => anyhow::anyhow!("handing on has ended"),
            }),
            result = &mut asking => Some(match result {
                Ok(Err(error)) => anyhow::Error::from(error).context("asking platforms has ended"),
                _ => anyhow::anyhow!("asking platforms has ended"),
            }),
            _ = desk => Some(anyhow::anyhow!("the listener for expectations has ended")),
            _ = keeping => Some(anyhow::anyhow!("the task that keeps statuses has ended")),
            never = registry.follow_credentials() => match never {},
            never = following => match never {},
            never = client.follow_files() => match never {},
        };
        if let Some(error) = ended {
            return Err(error);
        }
        draining();
        info!("ending: deliveries are taken in for {} s more", args.drain.to_std().as_secs());
        stage.send_replace(Stage::Closing);
        tokio::time::sleep(args.drain.to_std()).await;
        stage.send_replace(Stage::Closed);
        let _ = taking_in.await;
        closed();
        stop.send_replace(true);
        if let Ok(Err(error)) = handing_on.await {
            warn!("{error}");
        }
        if let Ok(Err(error)) = asking.await {
            warn!("{error}");
        }
        // It would find the store closed, and take that for a trouble.
        stop_keeping.abort();
        let closed = tokio::time::timeout(LAST_WRITES, store.close()).await;
        closed.context("the store did not close in time; nothing that was acknowledged is lost")??;
        Ok(())
    }
}

/// Ends when it is true.
pub(super) async fn until(mut is_so: watch::Receiver<bool>) {
    drop(is_so.wait_for(|so| *so).await);
}

/// How long the last writes may take.
const LAST_WRITES: StdDuration = StdDuration::from_secs(10);

/// Tells whoever hands on, and whoever asks platforms, what was stored.
struct Told {
    handing_on: hand_on::Nudge,
    fallbacks: fallback::Told,
}

impl Delivered for Told {
    fn delivered(&self, live: &Arc<Live>, polled: Option<&Polled>) {
        self.handing_on.stored(&live.receiver().owner.uid);
        self.fallbacks.delivered(live.receiver(), polled);
    }

    fn left_out(&self, live: &Arc<Live>, polled: Option<&Polled>) {
        self.fallbacks.left_out(live.receiver(), polled);
    }
}

fn random_for_ids() -> [u8; 10] {
    let (first, second) = (SystemRandom.bits().to_be_bytes(), SystemRandom.bits().to_be_bytes());
    std::array::from_fn(|index| if index < 8 { first[index] } else { second[index - 8] })
}

fn random_bytes<const LENGTH: usize>() -> anyhow::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).ok().context("the system gives no random bytes")?;
    Ok(bytes)
}
