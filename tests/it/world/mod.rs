//! A world in memory, on virtual time, in which the very engine of the product runs.
//!
//! It holds a provider, a token server and a durable record behind the engine's ports, and judges
//! what it sees: which remote subscription carried which token when, and whether that token lived.

mod conduct;
mod gate;
mod mortality;
mod outside;
mod ports;
mod provider;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hookkeeper::api::{
    ClientHeader, Declared, HeaderSource, Identity, Kind, LocalReference, OAuth2TokenSource, ObjectKey,
    SubscriptionStatus, TokenPlaceholder, TokenSourceSpec, TokenSourceStatus, WebhookProviderSpec,
    WebhookProviderStatus, WebhookSubscriptionSpec,
};
use hookkeeper::engine::change::Change;
use hookkeeper::engine::{Engine, Options};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::canaries::{Watched, watch_logs};

pub use conduct::MintConduct;
pub use gate::GateConduct;
pub use mortality::Mortality;
pub use outside::{CallFault, Manner, Orphans, Outside, Received, Remote, WriteFault};

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
    /// Whether issuing a token revokes the previous one.
    pub revokes: bool,
    /// Whether listings show actions.
    pub lists_actions: bool,
    /// Whether listings show postback URLs.
    pub lists_urls: bool,
    /// How many webhooks a page of a listing shows; all of them when there is one page.
    pub page_size: Option<usize>,
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
            lists_actions: true,
            lists_urls: true,
            page_size: None,
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
        self.at(&self.outside())
    }

    /// Wall-clock time, for who looks at the outside already.
    pub fn at(&self, outside: &Outside) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(self.began.elapsed()).unwrap();
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
            + passed
            + TimeDelta::from_std(outside.slept).unwrap()
            + outside.wall_shift
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
        self.launch(options, usize::MAX, End::Killed, None)
    }

    /// An engine that is killed or asked to stop when it has been polled so many times.
    pub fn start_for(&self, polls: usize, end: End) -> Running {
        self.launch(Options { tick: Duration::from_secs(300), ..Options::default() }, polls, end, None)
    }

    /// An engine that is killed at this boundary of its effects: see [`Mortality`].
    pub fn start_until(&self, boundary: usize) -> Running {
        let options = Options { tick: Duration::from_secs(300), ..Options::default() };
        self.launch(options, usize::MAX, End::Killed, Some(boundary))
    }

    fn launch(&self, options: Options, polls: usize, end: End, dies_at: Option<usize>) -> Running {
        self.outside().mortality = Mortality::begins(dies_at);
        let world = self.clone();
        let (sender, receiver) = mpsc::channel(64);
        let engine = Engine::new(self.ports(), options);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (last_poll, polled_enough) = tokio::sync::oneshot::channel::<()>();
        let asked_to_stop = async move {
            tokio::select! {
                _ = stopped => {}
                Ok(()) = polled_enough => {}
            }
        };
        let mut run = Some(Box::pin(engine.run(receiver, asked_to_stop)));
        let (mut left, mut last_poll) = (polls, Some(last_poll));
        let task = tokio::spawn(std::future::poll_fn(move |context| {
            if left == 0 && end == End::Killed {
                run = None;
            } else if left == 0 {
                last_poll.take().map(|last_poll| last_poll.send(()));
            }
            let Some(running) = run.as_mut() else {
                return Poll::Ready(Ok(()));
            };
            let is_last = left == 1;
            left = left.saturating_sub(1);
            let polled = running.as_mut().poll(context);
            if dies_at.is_some() && world.outside().mortality.is_dead {
                run = None;
                return Poll::Ready(Ok(()));
            }
            if is_last && polled.is_pending() {
                // What is to come is to come now, not when the engine would have been polled again.
                context.waker().wake_by_ref();
            }
            polled
        }));
        let changes = self.outside().declared();
        self.outside().engines.push(sender.downgrade());
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

    /// Deletes an object, as the API server does: one with our finalizer stays until it is let go.
    pub async fn delete(&self, name: &str, engine: Option<&Running>) {
        let key = ObjectKey::new("default", name);
        let wall = self.wall();
        let change = {
            let mut outside = self.outside();
            if outside.finalizers.contains(&key) {
                outside.deleted.insert(key.clone(), wall);
                outside.change(&key)
            } else {
                outside.forget(&key);
                Change::Gone { kind: Kind::WebhookSubscription, key, prune: false }
            }
        };
        if let Some(engine) = engine {
            engine.send(change).await;
        }
    }

    /// Deletes a provider, as the API server does.
    pub async fn delete_provider(&self, name: &str, engine: &Running) {
        let key = ObjectKey::new("default", name);
        let wall = self.wall();
        let change = {
            let mut outside = self.outside();
            if outside.provider_finalizers.contains(&key) {
                outside.deleted.insert(key.clone(), wall);
                outside.provider_change(&key)
            } else {
                outside.providers.remove(&key);
                Change::Gone { kind: Kind::WebhookProvider, key, prune: false }
            }
        };
        engine.send(change).await;
    }

    /// The machine sleeps: its clocks go on and its timers do not.
    pub fn sleep_for(&self, time: Duration) {
        self.outside().slept += time;
    }

    /// Lets virtual time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub fn declare_provider(&self, name: &str) {
        self.declare_provider_as(name, WebhookProviderSpec::default());
    }

    pub fn declare_provider_as(&self, name: &str, spec: WebhookProviderSpec) {
        self.outside().providers.insert(ObjectKey::new("default", name), spec);
    }

    pub fn declare_source(&self, name: &str) {
        let revokes_previous = self.settings.revokes.then_some(true);
        // Each source has a client of its own, and so tokens of its own.
        let oauth2 = OAuth2TokenSource { audience: Some(name.into()), ..OAuth2TokenSource::default() };
        let spec = TokenSourceSpec { revokes_previous, oauth2: Some(oauth2), ..TokenSourceSpec::default() };
        self.declare_source_as(name, spec);
    }

    pub fn declare_source_as(&self, name: &str, spec: TokenSourceSpec) {
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
        receiver_ref: None,
        rotation: None,
        deletion_policy: None,
        when_missing: None,
        suspend: None,
    }
}

/// How an engine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At once, as `kill -9` ends it.
    Killed,
    /// In its own time, as SIGTERM ends it.
    Stopped,
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

    /// Waits for an engine that is to end; false when the time was over before that.
    pub async fn ended_within(&mut self, time: Duration) -> bool {
        match tokio::time::timeout(time, &mut self.task).await {
            Ok(ended) => {
                ended.unwrap().unwrap();
                true
            }
            Err(_) => false,
        }
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
        has_finalizer: false,
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
    identity: Identity,
    spec: &WebhookProviderSpec,
    status: WebhookProviderStatus,
) -> Change {
    Change::Provider(Box::new(Declared { identity, spec: spec.clone(), status }))
}
