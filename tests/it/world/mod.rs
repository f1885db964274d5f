//! A world in memory, on virtual time, in which the very engine of the product runs.
//!
//! It holds a provider, a token server and a durable record behind the engine's ports, and judges
//! what it sees: which remote subscription carried which token when, and whether that token lived.

mod outside;
mod ports;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hookkeeper::api::{
    ClientHeader, Declared, HeaderSource, Identity, LocalReference, ObjectKey, SubscriptionStatus,
    TokenPlaceholder, TokenSourceSpec, TokenSourceStatus, WebhookProviderSpec, WebhookProviderStatus,
    WebhookSubscriptionSpec,
};
use hookkeeper::engine::change::Change;
use hookkeeper::engine::{Engine, Options};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::canaries::{Watched, watch_logs};

pub use outside::{CallFault, Outside, Remote};

/// What the world is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long tokens live.
    pub token_life: Duration,
    /// How long a call takes.
    pub latency: Duration,
    /// Requests a minute that the provider takes.
    pub requests_per_minute: u32,
    /// The provider's overlap.
    pub overlap: Duration,
    /// How often listings are compared; zero for never.
    pub verify_interval: Duration,
    /// Whether issuing a token ends the previous one's life.
    pub revokes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token_life: Duration::from_secs(3_600),
            latency: Duration::from_millis(50),
            requests_per_minute: 60_000,
            overlap: Duration::ZERO,
            verify_interval: Duration::from_secs(3_600),
            revokes: false,
        }
    }
}

/// The world: shared by all ports, which are views of it.
#[derive(Clone)]
pub struct World {
    inner: Arc<Mutex<Outside>>,
    began: Instant,
    /// Shared by all engines of the world: no two of them draw the same numbers.
    random: Arc<ports::Seeded>,
    pub settings: Settings,
    _watched: Watched,
}

impl World {
    /// A world that begins now, on virtual time.
    pub fn new(settings: Settings) -> Self {
        watch_logs();
        Self {
            inner: Arc::new(Mutex::new(Outside::new(&settings))),
            began: Instant::now(),
            random: Arc::default(),
            settings,
            _watched: Watched::default(),
        }
    }

    /// Everything runs in one thread: a lock that is taken is one that the caller itself holds.
    pub fn outside(&self) -> MutexGuard<'_, Outside> {
        self.inner.try_lock().expect("the outside is looked at twice in one expression")
    }

    /// Wall-clock time.
    pub fn wall(&self) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(self.began.elapsed()).unwrap();
        DateTime::from_timestamp(1_800_000_000, 0).unwrap() + passed + self.outside().wall_shift
    }

    /// Starts the engine with everything that is declared; it runs until it is dropped.
    pub fn start(&self) -> Running {
        self.start_with(Options {
            tick: Duration::from_secs(300),
            gauges_every: Duration::from_secs(3_600),
            ..Options::default()
        })
    }

    pub fn start_with(&self, options: Options) -> Running {
        let (sender, receiver) = mpsc::channel(64);
        let engine = Engine::new(self.ports(), options);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task =
            tokio::spawn(async move { engine.run(receiver, async move { drop(stopped.await) }).await });
        let changes = self.outside().declared();
        let feeder = sender.clone();
        tokio::spawn(async move {
            for change in changes {
                if feeder.send(change).await.is_err() {
                    return;
                }
            }
            drop(feeder.send(Change::Synced).await);
        });
        Running { task, sender, stop: Some(stop) }
    }

    /// Lets virtual time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub fn declare_provider(&self, name: &str) {
        let key = ObjectKey::new("default", name);
        self.outside().providers.insert(key, WebhookProviderSpec::default());
    }

    pub fn declare_source(&self, name: &str) {
        let revokes_previous = self.settings.revokes.then_some(true);
        let spec = TokenSourceSpec { revokes_previous, ..TokenSourceSpec::default() };
        self.outside().sources.insert(ObjectKey::new("default", name), spec);
    }

    pub fn declare(&self, name: &str, spec: WebhookSubscriptionSpec) {
        self.outside().declare(ObjectKey::new("default", name), spec);
    }

    /// So many subscriptions of one provider, spread over so many sources.
    pub fn populate(&self, subscriptions: usize, sources: usize) {
        self.declare_provider("provider");
        for source in 0..sources {
            self.declare_source(&format!("source-{source}"));
        }
        for number in 0..subscriptions {
            let spec = subscription(number, &format!("source-{}", number % sources));
            self.declare(&format!("subscription-{number}"), spec);
        }
    }

    pub fn status(&self, name: &str) -> SubscriptionStatus {
        self.outside().statuses.get(&ObjectKey::new("default", name)).cloned().unwrap_or_default()
    }
}

/// A subscription like those in the README.
pub fn subscription(number: usize, source: &str) -> WebhookSubscriptionSpec {
    let token = HeaderSource { token: Some(TokenPlaceholder::default()), ..HeaderSource::default() };
    WebhookSubscriptionSpec {
        provider_ref: LocalReference { name: "provider".into() },
        action: Some(format!("action.{number}")),
        postback_url: "https://integrations.example.com/in".into(),
        active: None,
        client_headers: vec![ClientHeader { name: "token".into(), value: None, value_from: Some(token) }],
        parameters: BTreeMap::new(),
        webhook_id: None,
        adoption_policy: None,
        token_source: None,
        token_source_ref: Some(LocalReference { name: source.into() }),
        rotation: None,
        deletion_policy: None,
        when_missing: None,
        suspend: None,
    }
}

/// A running engine.
pub struct Running {
    task: tokio::task::JoinHandle<Result<(), hookkeeper::engine::EngineEnded>>,
    sender: mpsc::Sender<Change>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Running {
    /// Ends it at once, as `kill -9` does.
    pub async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }

    /// Asks it to stop, as SIGTERM does.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap().unwrap();
    }

    pub async fn send(&self, change: Change) {
        self.sender.send(change).await.unwrap();
    }

    /// Panics when the engine has ended by itself.
    pub fn assert_alive(&self) {
        assert!(!self.task.is_finished(), "the engine has ended");
    }
}

pub(crate) fn identity(key: &ObjectKey, generation: i64) -> Identity {
    Identity {
        key: key.clone(),
        uid: format!("uid-{}", key.name),
        generation,
        created: None,
        deleted: None,
        guarded: false,
        rotate_requested: None,
        force_orphan: false,
    }
}

pub(crate) fn declared_subscription(
    identity: Identity,
    spec: &WebhookSubscriptionSpec,
    status: SubscriptionStatus,
) -> Change {
    Change::Subscription(Box::new(Declared { identity, spec: spec.clone(), status }))
}

pub(crate) fn declared_source(key: &ObjectKey, spec: &TokenSourceSpec, status: TokenSourceStatus) -> Change {
    Change::TokenSource(Box::new(Declared { identity: identity(key, 1), spec: spec.clone(), status }))
}

pub(crate) fn declared_provider(
    key: &ObjectKey,
    spec: &WebhookProviderSpec,
    status: WebhookProviderStatus,
) -> Change {
    Change::Provider(Box::new(Declared { identity: identity(key, 1), spec: spec.clone(), status }))
}
