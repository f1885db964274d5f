//! Two authors, of whom one behaves as badly as they can. The other one is never late for it, never
//! charged for it, and never hears of it.

mod accounts;
mod anything;
mod budget;
mod calls;
mod held_back;
mod long_listings;
mod mints;
mod passing;
mod short_lives;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookkeeper::api::{
    BearerAuth, ConditionStatus, ConditionType, Kind, OAuth2TokenSource, ObjectKey, SecretKeyReference,
    SubscriptionStatus, TokenSourceSpec, WebhookProviderSpec, WebhookSubscriptionSpec,
};
use hookkeeper::engine::Options;
use hookkeeper::engine::change::Change;
use hookkeeper::engine::ports::Kept;

use super::{HOUR, MINUTE, SECOND, condition};
use crate::world::{CallFault, MintConduct, Running, Settings, World, declared_source, subscription};

/// The namespace of the honest author; the other's comes before it in any order by name.
const HONEST: &str = "default";
/// The namespace of the other author.
const OTHER: &str = "another";

/// What the honest author's tokens live for, by source.
const LIVES: [(&str, Duration); 3] =
    [("short", Duration::from_secs(40)), ("middle", Duration::from_secs(300)), ("long", HOUR)];

/// The honest author's subscriptions: source, and provider.
const SUBSCRIPTIONS: [(&str, &str); 5] =
    [("short", "provider"), ("middle", "provider"), ("long", "provider"), ("short", "own"), ("long", "own")];

fn honest_life(about: &str) -> Option<MintConduct> {
    let of = |name: &str| about.contains(&format!("\"{name}\""));
    LIVES.iter().find(|(name, _)| of(name)).map(|(_, life)| MintConduct::Lives(*life))
}

/// How the other author's token servers behave; the honest one's issue tokens of [`LIVES`].
fn mints(world: &World, mut conduct: impl FnMut(&str) -> Option<MintConduct> + Send + 'static) {
    world.outside().conduct.of_mints =
        Some(Box::new(
            move |namespace, about| {
                if namespace == HONEST { honest_life(about) } else { conduct(about) }
            },
        ));
}

/// How the other author's platforms behave: by provider object, operation, and action or id.
fn calls(
    world: &World,
    mut conduct: impl FnMut(&str, &'static str, &str) -> Option<CallFault> + Send + 'static,
) {
    world.outside().conduct.of_calls = Some(Box::new(move |provider, operation, about| {
        let is_other = *provider.namespace == *OTHER;
        is_other.then(|| conduct(&provider.name, operation, about)).flatten()
    }));
}

fn elsewhere(host: &str) -> WebhookProviderSpec {
    WebhookProviderSpec { base_url: Some(format!("https://{host}.example.com")), ..Default::default() }
}

fn source(name: &str, timeout: Option<&str>) -> TokenSourceSpec {
    let timeout = timeout.map(|timeout| timeout.parse().unwrap());
    let oauth2 = OAuth2TokenSource { audience: Some(name.into()), timeout, ..OAuth2TokenSource::default() };
    TokenSourceSpec { oauth2: Some(oauth2), ..TokenSourceSpec::default() }
}

/// A world with both of them in it.
struct Authors {
    world: World,
    engine: Running,
    /// What the honest author had to see that is not for them.
    harm: Arc<Mutex<BTreeSet<String>>>,
}

impl Authors {
    /// The honest author's webhooks are in place, and the other has nothing yet.
    async fn in_place(settings: Settings) -> Self {
        let authors = Self::start(Self::world(settings));
        authors.world.pass(20 * SECOND).await;
        assert_eq!(authors.world.outside().remotes.len(), SUBSCRIPTIONS.len());
        authors
    }

    /// What the honest author declares, in a world without an engine.
    fn world(settings: Settings) -> World {
        let world = World::new(settings);
        world.declare_provider("provider");
        world.declare_provider_as("own", elsewhere("own"));
        for (name, _) in LIVES {
            world.declare_source(name);
        }
        for (number, (source, provider)) in SUBSCRIPTIONS.into_iter().enumerate() {
            let mut spec = subscription(number, source);
            spec.provider_ref.name = provider.into();
            world.declare(&format!("{source}-{provider}"), spec);
        }
        mints(&world, |_| None);
        world.outside().conduct.numbers_apart = true;
        world
    }

    /// An engine begins with whatever is declared.
    fn start(world: World) -> Self {
        let harm = Arc::<Mutex<BTreeSet<String>>>::default();
        let (seen, mut was_ready) = (Arc::clone(&harm), BTreeSet::<ObjectKey>::new());
        world.outside().conduct.watch = Some(Box::new(move |key, status| {
            if *key.namespace == *HONEST {
                let told = trouble(status, was_ready.contains(key));
                seen.lock().unwrap().extend(told.map(|told| format!("{key}: {told}")));
                let ready = condition(status, ConditionType::Ready).map(|ready| ready.status);
                was_ready.extend((ready == Some(ConditionStatus::True)).then(|| key.clone()));
            }
        }));
        let options = Options { tick: 300 * SECOND, gauges_every: MINUTE, ..Options::default() };
        let engine = world.start_with(options);
        Self { world, engine, harm }
    }

    async fn provider(&self, name: &str, spec: WebhookProviderSpec) {
        let key = theirs(name);
        declare_provider(&self.world, name, spec);
        let change = self.world.outside().provider_change(&key);
        self.engine.send(change).await;
    }

    async fn source(&self, name: &str, spec: TokenSourceSpec) {
        let key = theirs(name);
        self.world.outside().sources.insert(key.clone(), spec.clone());
        self.engine.send(declared_source(&key, &spec, Default::default())).await;
    }

    async fn subscription(&self, name: &str, provider: &str, source: &str) {
        self.declare(name, of_other(name, provider, source)).await;
    }

    async fn declare(&self, name: &str, spec: WebhookSubscriptionSpec) {
        let key = theirs(name);
        self.world.outside().declare(key.clone(), spec);
        let change = self.world.outside().change(&key);
        self.engine.send(change).await;
    }

    /// An object of the other author is gone at once, as a manifest is.
    async fn gone(&self, kind: Kind, name: &str) {
        let key = theirs(name);
        match kind {
            Kind::WebhookProvider => drop(self.world.outside().providers.remove(&key)),
            Kind::TokenSource => drop(self.world.outside().sources.remove(&key)),
            Kind::WebhookSubscription => self.world.outside().forget(&key),
            // The engine knows none.
            Kind::WebhookReceiver => {}
        }
        self.engine.send(Change::Gone { kind, key, prune: false }).await;
    }

    fn status(&self, name: &str) -> SubscriptionStatus {
        self.world.outside().statuses.get(&theirs(name)).cloned().unwrap_or_default()
    }

    fn kept(&self) -> Kept {
        self.world.outside().gauges.as_ref().map(|gauges| gauges.kept).unwrap_or_default()
    }

    /// How many requests of an operation have come from somebody.
    fn received(&self, namespace: &str, operation: &str) -> usize {
        let outside = self.world.outside();
        let counts = |at: &&crate::world::Received| at.namespace == namespace && at.operation == operation;
        outside.received.iter().filter(counts).count()
    }

    /// The honest author has noticed nothing: `about` says of what.
    fn assert_unharmed(&self, about: &str) {
        self.engine.assert_alive();
        let wall = self.world.wall();
        let outside = self.world.outside();
        let is_honest = |id: &str| !id.contains(':');
        let late: Vec<_> = outside.late.iter().filter(|(id, _)| is_honest(id)).collect();
        let dead: Vec<_> = outside.dead(wall).into_iter().filter(|id| is_honest(id)).collect();
        assert!(late.is_empty() && dead.is_empty(), "{about}: late {late:?}, dead {dead:?}");
        let harm = self.harm.lock().unwrap();
        assert!(harm.is_empty(), "{about}: {harm:#?}");
        for (key, status) in outside.statuses.iter().filter(|(key, _)| *key.namespace == *HONEST) {
            let ready = condition(status, ConditionType::Ready).map(|ready| ready.status);
            assert_eq!(ready, Some(ConditionStatus::True), "{about}: {key}: {status:#?}");
        }
        for notice in &outside.notices {
            let told = format!("{notice:?}");
            let (reader, stranger) =
                if *notice.key.namespace == *HONEST { (HONEST, OTHER) } else { (OTHER, HONEST) };
            assert!(!names(&told, stranger), "{about}: {reader} is told of {stranger}: {told}");
            assert!(reader != HONEST || !notice.warning, "{about}: {told}");
        }
        for (key, status) in &outside.statuses {
            let stranger = if *key.namespace == *HONEST { OTHER } else { HONEST };
            let told = serde_json::to_string(status).unwrap();
            assert!(!names(&told, stranger), "{about}: {key} is told of {stranger}: {told}");
        }
    }

    /// Its webhooks have been brought new tokens all the time: a scenario in which nothing moves
    /// would show nothing.
    fn assert_rotated(&self, passed: Duration) {
        let least = passed.as_secs() / 40 * 2;
        let updates = self.received(HONEST, "update");
        assert!(updates as u64 >= least, "{updates} updates of the honest author, at least {least}");
    }
}

/// A provider of the other author, with the one credential of theirs.
fn declare_provider(world: &World, name: &str, mut spec: WebhookProviderSpec) {
    let secret_key_ref = SecretKeyReference { name: "own".into(), key: "token".into() };
    spec.auth.bearer = Some(BearerAuth { secret_key_ref });
    let mut outside = world.outside();
    outside.credentials.insert(theirs("own"), format!("of-{OTHER}"));
    outside.providers.insert(theirs(name), spec);
}

/// Whether a text names somebody's objects.
fn names(text: &str, namespace: &str) -> bool {
    let objects = if namespace == OTHER { "of-other" } else { "-provider" };
    text.contains(&format!("{namespace}/")) || text.contains(objects)
}

/// What the honest author's status says that only another's misbehaviour can be the reason of.
fn trouble(status: &SubscriptionStatus, was_ready: bool) -> Option<String> {
    let of = |kind| condition(status, kind);
    let unhealthy = of(ConditionType::RotationHealthy)
        .filter(|health| health.status == ConditionStatus::False)
        .or_else(|| of(ConditionType::Ready).filter(|it| was_ready && it.status == ConditionStatus::False));
    let told = serde_json::to_string(status).unwrap();
    if let Some(condition) = unhealthy {
        return Some(format!("{}: {}", condition.reason, condition.message));
    }
    (status.failures.is_some() || names(&told, OTHER)).then_some(told)
}

fn theirs(name: &str) -> ObjectKey {
    ObjectKey::new(OTHER, name)
}

/// A subscription of the other author: its action is its name.
fn of_other(name: &str, provider: &str, source: &str) -> WebhookSubscriptionSpec {
    let mut spec = subscription(0, source);
    spec.action = Some(name.into());
    spec.provider_ref.name = provider.into();
    spec
}
