use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;

use super::*;
use crate::api::{SecretKeyReference, validation};
use crate::gate::clock::SteadyClock;
use crate::gate::hand_on::tests::memory::MemoryStore;
use crate::gate::ports::{CredentialFailure, Read};

/// Secrets by name and key, some of which cannot be read.
#[derive(Clone, Default)]
struct Folder(Arc<Mutex<HashMap<(String, String), String>>>);

impl Folder {
    fn has(&self, name: &str, key: &str, value: &str) {
        self.0.lock().unwrap().insert((name.to_owned(), key.to_owned()), value.to_owned());
    }
}

impl Credentials for Folder {
    fn read<'a>(
        &'a self,
        _: &'a str,
        references: &'a [SecretKeyReference],
        _: Instant,
    ) -> BoxFuture<'a, Vec<Read>> {
        let values = self.0.lock().unwrap();
        let read = |reference: &SecretKeyReference| match values
            .get(&(reference.name.clone(), reference.key.clone()))
        {
            Some(text) if text == UNREADABLE => {
                Err(CredentialFailure::Unavailable("permission denied".to_owned()))
            }
            Some(text) => Ok(text.clone().into()),
            None => Err(CredentialFailure::NotFound),
        };
        let read = references.iter().map(read).collect();
        Box::pin(async move { read })
    }
}

const UNREADABLE: &str = "cannot be read";

struct World {
    registry: Registry,
    folder: Folder,
    clock: SteadyClock,
}

impl World {
    fn new(engine: bool) -> Self {
        let clock = SteadyClock::starting("2026-11-27T03:00:00Z".parse().unwrap());
        Self::on(Arc::new(MemoryStore::new(clock)), clock, engine)
    }

    /// Another gate that shares the store of this one.
    fn beside(&self) -> Self {
        Self::on(Arc::clone(&self.registry.0.loader.store), self.clock, false)
    }

    fn on(store: Arc<dyn Store>, clock: SteadyClock, engine: bool) -> Self {
        let folder = Folder::default();
        let engine = engine.then(|| Arc::new(|_: &ObjectKey| {}) as ToldOfSources);
        let registry = Registry::new(
            store,
            Arc::new(folder.clone()),
            Arc::new(clock),
            &[5; 32],
            Options { engine, ..Options::default() },
        );
        Self { registry, folder, clock }
    }

    fn at(&self, minutes: i64) -> DateTime<Utc> {
        self.clock.now() + TimeDelta::minutes(minutes)
    }

    async fn source(&self, more: &str) {
        let spec = format!("{{secret: {{name: s, key: k}}, allowedHosts: [api.example]{more}}}");
        self.registry.source(key("tokens"), Some(decode(&spec))).await;
    }

    async fn receiver(&self, verification: &str) -> Arc<Live> {
        let spec = format!("{{verification: {verification}, forward: {{service: {{name: app, port: 80}}}}}}");
        let identity = Identity { uid: "u".into(), generation: 1, ..Identity::of_name(key("in")) };
        self.registry.declare(identity, &decode(&spec), WebhookReceiverStatus::default()).await;
        self.registry.at("/hr/in").unwrap()
    }

    fn publishes(&self, token: &str, expires: Option<DateTime<Utc>>) {
        self.folder.has("p", "current", token);
        self.folder.has("p", "expiresAt", &expires.map(|at| at.to_rfc3339()).unwrap_or_default());
    }

    async fn is_offered(&self, token: &str, expires: Option<DateTime<Utc>>) {
        let token = OfferedToken {
            text: token.into(),
            fingerprint: token.to_owned(),
            minted: self.clock.now(),
            expires,
        };
        self.registry.offer(&key("tokens"), token).await.unwrap();
    }

    /// What a question to the platform would carry, or why there is none.
    async fn token(&self) -> Result<String, String> {
        let found = self.registry.current_token(&key("tokens")).await;
        found.map(|(token, hosts)| format!("{} to {}", token.expose(), hosts.join(",")))
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("hr", name)
}

fn decode<Spec: crate::api::validation::Spec>(yaml: &str) -> Spec {
    let spec: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
    validation::decode(&serde_json::json!({ "spec": spec }), None).unwrap()
}

const PUBLISHES: &str = ", publishTo: {secretName: p}";
const OF_SOURCE: &str = "{token: {header: x-token, tokenSourceRef: {name: tokens}}}";

#[tokio::test(start_paused = true)]
async fn a_platform_is_asked_with_a_published_token_only_while_it_lives() {
    let world = World::new(false);
    assert_eq!(world.token().await, Err("there is no TokenSource tokens".to_owned()));
    world.source("").await;
    assert!(world.token().await.unwrap_err().contains("no publishTo"));
    world.source(PUBLISHES).await;
    assert!(world.token().await.unwrap_err().contains("nothing is published in the Secret p yet"));
    world.publishes("a", None);
    assert_eq!(world.token().await.as_deref(), Ok("a to api.example"), "nobody knows when it ends");
    world.publishes("b", Some(world.at(10)));
    assert_eq!(world.token().await.as_deref(), Ok("b to api.example"));
    tokio::time::advance(Duration::from_secs(600)).await;
    let why = world.token().await.unwrap_err();
    assert!(why.contains("has ended") && why.contains("TokenSource tokens"), "{why}");
    world.publishes("c", Some(world.at(10)));
    assert_eq!(world.token().await.as_deref(), Ok("c to api.example"));
}

#[tokio::test(start_paused = true)]
async fn in_one_process_the_engine_has_the_token_and_no_file_is_asked_for_it() {
    let world = World::new(true);
    world.source(PUBLISHES).await;
    world.publishes("of another process", None);
    assert!(world.token().await.unwrap_err().contains("minted or read yet"));
    // It is handed over, so nothing has to be published.
    world.source("").await;
    world.is_offered("a", Some(world.at(10))).await;
    assert_eq!(world.token().await.as_deref(), Ok("a to api.example"));
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(world.token().await.unwrap_err().contains("has ended"));
    world.is_offered("b", None).await;
    assert_eq!(world.token().await.as_deref(), Ok("b to api.example"));
}

#[tokio::test(start_paused = true)]
async fn whether_an_unknown_token_is_genuine_cannot_be_said_when_the_published_one_has_ended() {
    let world = World::new(false);
    world.source(PUBLISHES).await;
    world.publishes("a", Some(world.at(10)));
    let live = world.receiver(OF_SOURCE).await;
    assert!(world.registry.is_fresh(&live, Instant::now()).await);
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(!world.registry.is_fresh(&live, Instant::now()).await);
    // In one process nobody knows a newer one than this process: what is unknown is nobody's.
    let world = World::new(true);
    world.source(PUBLISHES).await;
    world.is_offered("a", Some(world.at(10))).await;
    let live = world.receiver(OF_SOURCE).await;
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(world.registry.is_fresh(&live, Instant::now()).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_forgotten_unless_it_is_back_or_somebody_else() {
    let world = World::new(false);
    let (registry, since) = (&world.registry, world.at(0));
    world.receiver("{none: {}}").await;
    let is_there = || registry.at("/hr/in").is_some() && registry.receivers().borrow().contains_key("u");
    registry.forget(&key("in"), "u").await;
    assert!(is_there(), "it is not gone");
    registry.gone(&key("in"), since).await;
    registry.forget(&key("in"), "another").await;
    assert!(is_there());
    assert!(registry.receivers().borrow()["u"].suspended);
    world.receiver("{none: {}}").await;
    registry.forget(&key("in"), "u").await;
    assert!(is_there(), "it is back");
    registry.gone(&key("in"), since).await;
    registry.forget(&key("in"), "u").await;
    assert!(registry.at("/hr/in").is_none() && registry.receivers().borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_keeps_its_path_until_somebody_who_is_there_has_it() {
    let world = World::new(false);
    let declare = async |name: &str, hour: &str| {
        let spec = "{path: /hr/x, verification: {none: {}}, forward: {service: {name: app, port: 80}}}";
        let created = format!("2026-11-27T{hour}:00:00Z").parse().ok();
        let named = Identity::of_name(key(name));
        let identity = Identity { uid: name.to_owned(), generation: 1, created, ..named };
        world.registry.declare(identity, &decode(spec), WebhookReceiverStatus::default()).await;
    };
    let owner = || world.registry.at("/hr/x").unwrap().receiver().owner.name.to_string();
    declare("old", "01").await;
    declare("new", "02").await;
    assert_eq!(owner(), "old");
    world.registry.gone(&key("old"), world.at(0)).await;
    assert_eq!(owner(), "new");
    world.registry.gone(&key("new"), world.at(0)).await;
    assert_eq!(owner(), "old");
}

#[tokio::test(start_paused = true)]
async fn of_a_secret_that_cannot_be_read_nobody_says_that_it_is_not_there() {
    let world = World::new(false);
    let basic = "{basic: {secretKeyRefs: [{name: a, key: k}, {name: b, key: k}]}}";
    world.folder.has("a", "k", UNREADABLE);
    let live = world.receiver(basic).await;
    let said = |live: &Live| live.unusable().iter().map(ToString::to_string).collect::<Vec<_>>();
    let of_b = "key k of Secret b: it is not there; create it, or take the reference out";
    let unread =
        "key k of Secret a: it cannot be read at this moment, which is tried again: permission denied";
    assert_eq!(said(&live), [unread, of_b]);
    let view = world.registry.views().await.remove(0);
    assert!(view.none_usable);
    world.folder.has("a", "k", "user:password");
    assert!(world.registry.is_fresh(&live, Instant::now()).await);
    assert_eq!(said(&live), [of_b]);
    // What was known before is still believed, and is no trouble.
    world.folder.has("a", "k", UNREADABLE);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!world.registry.is_fresh(&live, Instant::now()).await);
    assert_eq!(said(&live), [of_b]);
}

#[tokio::test(start_paused = true)]
async fn whoever_keeps_statuses_is_told_when_a_token_makes_a_receiver_usable() {
    let world = World::new(true);
    world.source("").await;
    let live = world.receiver(OF_SOURCE).await;
    assert!(world.registry.views().await.remove(0).none_usable);
    let mut changes = world.registry.changes();
    assert!(!changes.has_changed().unwrap());
    world.is_offered("a token that is long enough", None).await;
    assert!(changes.has_changed().unwrap(), "it has a token");
    changes.mark_unchanged();
    world.is_offered("a token that is long enough", None).await;
    assert!(!changes.has_changed().unwrap(), "it is the same");
    assert!(!world.registry.views().await.remove(0).none_usable);
    drop(live);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_of_a_source_is_what_all_its_receivers_accept_the_newest_first() {
    let world = World::new(false);
    world.source(PUBLISHES).await;
    assert!(world.registry.held().is_empty());
    world.receiver(OF_SOURCE).await;
    let held = || {
        let held = world.registry.held();
        let tokens = held.get(&key("tokens")).cloned().unwrap_or_default();
        (held.len(), tokens.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(held(), (1, vec![]), "it serves the source, and has nothing of it yet");
    let mut changes = world.registry.changes();
    let publishes = async |token: &str| {
        world.publishes(&format!("a token that is long: {token}"), None);
        world.folder.has("p", "fingerprint", token);
        world.folder.has("p", "mintedTime", &world.clock.now().to_rfc3339());
        world.source(PUBLISHES).await;
    };
    publishes("f1").await;
    assert_eq!(held(), (1, vec!["f1".to_owned()]));
    assert!(changes.has_changed().unwrap(), "whoever tells of it is told");
    changes.mark_unchanged();
    tokio::time::advance(Duration::from_secs(60)).await;
    publishes("f2").await;
    assert_eq!(held(), (1, vec!["f2".to_owned(), "f1".to_owned()]));
    // Another receiver of the source has never seen the first one.
    let spec = format!("{{verification: {OF_SOURCE}, forward: {{service: {{name: app, port: 80}}}}}}");
    let identity = Identity { uid: "v".into(), generation: 1, ..Identity::of_name(key("second")) };
    world.registry.declare(identity, &decode(&spec), WebhookReceiverStatus::default()).await;
    assert_eq!(held(), (1, vec!["f2".to_owned()]));
    world.registry.delete(&key("second")).await;
    assert_eq!(held(), (1, vec!["f2".to_owned(), "f1".to_owned()]));
    world.registry.delete(&key("in")).await;
    assert!(world.registry.held().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_was_cut_off_takes_over_the_tokens_that_another_one_has_kept_and_none_is_forgotten() {
    let one = World::new(false);
    let other = one.beside();
    let publishes = async |world: &World, token: &str| {
        world.publishes(&format!("a token that is long: {token}"), None);
        world.folder.has("p", "fingerprint", token);
        world.folder.has("p", "mintedTime", &world.clock.now().to_rfc3339());
        world.source(PUBLISHES).await;
    };
    let held = |world: &World| {
        let held = world.registry.held().remove(&key("tokens")).unwrap_or_default();
        held.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for world in [&one, &other] {
        world.source(PUBLISHES).await;
        world.receiver(OF_SOURCE).await;
        publishes(world, "f1").await;
    }
    for token in ["f2", "f3"] {
        tokio::time::advance(Duration::from_secs(60)).await;
        publishes(&one, token).await;
    }
    assert_eq!(held(&other), ["f1"], "it cannot read what is published");
    tokio::time::advance(Duration::from_secs(60)).await;
    publishes(&other, "f4").await;
    assert_eq!(held(&other), ["f4", "f3", "f2", "f1"]);
    // One that begins now knows them all.
    let third = one.beside();
    third.source(PUBLISHES).await;
    third.receiver(OF_SOURCE).await;
    assert_eq!(held(&third).len(), 4, "{:?}", held(&third));
}

#[tokio::test(start_paused = true)]
async fn of_an_object_that_was_deleted_nothing_is_left_and_whoever_takes_its_name_knows_none_of_its_tokens() {
    let world = World::new(false);
    world.source(PUBLISHES).await;
    world.publishes("a token that is long", None);
    world.folder.has("p", "fingerprint", "f1");
    world.receiver(OF_SOURCE).await;
    let store = Arc::clone(&world.registry.0.loader.store);
    assert_eq!(store.tokens("u").await.unwrap().len(), 1);
    // Another object has its name, and nobody has told that the first one is gone.
    let spec = "{verification: {none: {}}, forward: {service: {name: app, port: 80}}}";
    let identity = Identity { uid: "v".into(), generation: 1, ..Identity::of_name(key("in")) };
    world.registry.declare(identity, &decode(spec), WebhookReceiverStatus::default()).await;
    assert!(store.tokens("u").await.unwrap().is_empty());
    assert_eq!(world.registry.receivers().borrow().keys().map(|uid| &**uid).collect::<Vec<_>>(), ["v"]);
    world.registry.delete(&key("in")).await;
    assert!(world.registry.at("/hr/in").is_none() && world.registry.receivers().borrow().is_empty());
    assert!(world.registry.views().await.is_empty());
}
