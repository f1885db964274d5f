//! The receivers of a process: which path is whose, and with which credentials each is at work.
//!
//! Changes come in one after the other and are carried out whole: a receiver has its credentials before
//! it has its path, and its old version stays at work until then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use super::clock::Clock;
use super::digest::DigestKey;
use super::entries::{Entries, Entry};
use super::known::{Known, Receivers};
use super::live::Live;
use super::loader::Loader;
pub use super::loader::OfferedToken;
use super::paths::{AllowedPath, check_path, is_open_to};
use super::ports::Credentials;
use super::receiver::Receiver;
use super::served::{Handed, Served};
use super::verification::{ProcessKey, Unusable};
use crate::api::validation::Problem;
use crate::api::{Identity, Mode, ObjectKey, TokenSourceSpec, WebhookReceiverSpec, WebhookReceiverStatus};
use crate::secret::SecretText;
use crate::store::{Store, StoreError};

/// How long one request waits for Secrets to be read again.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the Secrets of one receiver are read at most because a request asks for it.
const BETWEEN_READS: Duration = Duration::from_secs(1);

/// How often all Secrets are read again although nothing says that they have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAgain {
    /// How often those of one receiver are.
    pub every: Duration,
    /// How much time is between two reads, whoever they are for.
    pub apart: Duration,
}

impl Default for ReadAgain {
    /// For files: a changed one is told by nobody, and reading it costs next to nothing.
    fn default() -> Self {
        Self { every: Duration::from_secs(10), apart: Duration::ZERO }
    }
}

/// Told of a source.
pub type ToldOfSources = Arc<dyn Fn(&ObjectKey) + Send + Sync>;

/// What may differ from process to process.
#[derive(Clone, Default)]
pub struct Options {
    /// Beginnings of paths that namespaces may use besides their own.
    pub allowed_paths: Vec<AllowedPath>,
    /// Bodies that hold live credentials may be kept in clear.
    pub allow_clear_bodies: bool,
    /// What stands before a receiver's path in its URL.
    pub public_url: Option<url::Url>,
    /// How often Secrets are read again.
    pub read_again: ReadAgain,
    /// Which receivers there are to look after.
    pub scope: Scope,
    /// An engine in this process hands over the tokens of sources, and no file is asked for them. It is
    /// told of each source whose receivers may be other ones now, which must not wait.
    pub engine: Option<ToldOfSources>,
}

/// Which receivers a process looks after, and so of which namespaces it is said when they are all known
/// ([`Registry::listed`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All that there are: they are known when anything is handed on.
    #[default]
    All,
    /// Those of these namespaces.
    Namespaces(BTreeSet<Arc<str>>),
    /// Those with some label, of these namespaces or of all: what is stored for others may be another gate's.
    Labelled(BTreeSet<Arc<str>>),
}

impl Scope {
    /// The namespaces that are named.
    fn named(&self) -> Option<&BTreeSet<Arc<str>>> {
        match self {
            Self::All => None,
            Self::Namespaces(named) | Self::Labelled(named) => Some(named),
        }
    }
}

/// The receivers of a process. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    options: Options,
    loader: Loader,
    routes: RwLock<Arc<HashMap<String, Arc<Live>>>>,
    by_uid: watch::Sender<Receivers>,
    served: RwLock<Arc<Served>>,
    handed: RwLock<Handed>,
    entries: tokio::sync::Mutex<Entries>,
    store_trouble: Mutex<Option<String>>,
    several_namespaces: AtomicBool,
    /// Nobody sees what is declared: it is not complete yet.
    is_held: AtomicBool,
    /// The namespaces of which all receivers in scope are known.
    listed: RwLock<BTreeSet<Arc<str>>>,
}

/// A receiver as its status tells of it.
#[derive(Clone, Debug)]
pub struct View {
    /// Whose.
    pub identity: Identity,
    /// Its last valid version, if there was one.
    pub receiver: Option<Arc<Receiver>>,
    /// What is wrong with its newest version.
    pub problems: Vec<Problem>,
    /// An older receiver has the path.
    pub conflict: Option<ObjectKey>,
    /// Its bodies would be kept in clear, and must not be.
    pub clear_bodies: bool,
    /// Credentials that cannot be used.
    pub unusable: Vec<Unusable>,
    /// None of its credentials can be used.
    pub none_usable: bool,
    /// Since when its object is no longer there.
    pub gone_since: Option<DateTime<Utc>>,
    /// The URL to type into the platform, if that is known.
    pub url: Option<String>,
    /// Its status as it was when it was declared.
    pub recorded: WebhookReceiverStatus,
}

impl Registry {
    /// A registry without receivers.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        credentials: Arc<dyn Credentials>,
        clock: Arc<dyn Clock>,
        random: &[u8; 32],
        options: Options,
    ) -> Self {
        Self(Arc::new(Shared {
            loader: Loader {
                digest_key: DigestKey::new(store.digest_key()),
                store,
                credentials,
                clock,
                process_key: ProcessKey::new(random),
                engine: options.engine.is_some(),
                changes: watch::Sender::default(),
            },
            listed: RwLock::default(),
            options,
            routes: RwLock::default(),
            by_uid: watch::Sender::new(Receivers::default()),
            served: RwLock::default(),
            handed: RwLock::default(),
            entries: tokio::sync::Mutex::default(),
            store_trouble: Mutex::default(),
            several_namespaces: AtomicBool::new(false),
            is_held: AtomicBool::new(false),
        }))
    }

    /// The receiver at this path.
    pub(super) fn at(&self, path: &str) -> Option<Arc<Live>> {
        self.0.routes.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// Whether there are receivers of more than one namespace.
    #[must_use]
    pub fn has_several_namespaces(&self) -> bool {
        self.0.several_namespaces.load(Ordering::Relaxed)
    }

    /// Changes whenever receivers, or what they are proven by, may be other ones than before.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.loader.changes.subscribe()
    }

    /// Lets everybody who follows [`Self::changes`] look again.
    pub fn look_again(&self) {
        self.0.loader.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// From now on nobody sees what is declared, until [`Self::let_go`]: of many receivers that are declared
    /// one after the other, each would cost as much as all of them.
    pub fn hold(&self) {
        self.0.is_held.store(true, Ordering::Relaxed);
    }

    /// Everything that is declared is seen, and every change of it from now on.
    pub async fn let_go(&self) {
        let entries = self.0.entries.lock().await;
        self.0.is_held.store(false, Ordering::Relaxed);
        self.0.publish(&entries);
    }

    /// All receivers of this namespace have been declared.
    pub async fn listed(&self, namespace: &Arc<str>) {
        let mut listed = self.0.listed.write().unwrap_or_else(PoisonError::into_inner);
        listed.insert(Arc::clone(namespace));
    }

    /// Whether all receivers of this namespace are known, so that what is stored for another one is nobody's.
    #[must_use]
    pub fn knows_all_of(&self, namespace: &str) -> bool {
        match self.0.options.scope {
            Scope::All => true,
            Scope::Namespaces(_) => {
                self.0.listed.read().unwrap_or_else(PoisonError::into_inner).contains(namespace)
            }
            Scope::Labelled(_) => false,
        }
    }

    /// Whether a receiver that is not known may have this path: those of its namespace could not be listed yet.
    /// A platform that is answered so repeats, and one that is answered that there is nothing may give up.
    pub(super) fn may_be_there(&self, path: &str) -> bool {
        let options = &self.0.options;
        let Some(named) = options.scope.named() else { return false };
        let listed = self.0.listed.read().unwrap_or_else(PoisonError::into_inner);
        let mut unlisted = named.difference(&listed);
        unlisted.any(|namespace| is_open_to(namespace, path, &options.allowed_paths))
    }

    /// The sources whose tokens receivers accept, with the fingerprints of those tokens that all receivers of
    /// the source accept at this moment, the newest first.
    #[must_use]
    pub fn held(&self) -> BTreeMap<ObjectKey, Vec<Arc<str>>> {
        self.0.served().held(self.0.loader.clock.now())
    }

    /// The receivers at work, and every change of them.
    #[must_use]
    pub fn receivers(&self) -> watch::Receiver<Receivers> {
        self.0.by_uid.subscribe()
    }

    /// Takes an object's newest version in.
    ///
    /// `recorded` is its status as it was last written.
    pub async fn declare(
        &self,
        identity: Identity,
        spec: &WebhookReceiverSpec,
        recorded: WebhookReceiverStatus,
    ) {
        let shared = &self.0;
        let made = Receiver::of(&identity, spec).and_then(|receiver| shared.fits(receiver));
        let made = match made {
            Ok(receiver) => {
                let live = Arc::new(Live::new(Arc::new(receiver), &shared.loader.process_key));
                let (before, tokens) = {
                    let entries = shared.entries.lock().await;
                    if let Some(carried) = entries.carried_of(&live) {
                        live.set_carried(carried.clone());
                    }
                    (entries.book_of(&identity), entries.tokens_of(&live))
                };
                shared.loader.load(&live, before, &tokens, Instant::now()).await;
                Ok(live)
            }
            Err(problems) => Err(problems),
        };
        let mut entries = shared.entries.lock().await;
        let (before, replaced) = entries.take_out(&identity);
        let mut entry = Entry {
            identity,
            live: before.and_then(|entry| entry.live),
            problems: Vec::new(),
            clear_bodies: false,
            gone_since: None,
            recorded,
        };
        match made {
            Err(problems) => {
                for problem in &problems {
                    warn!(receiver = %entry.identity.key, "{problem}");
                }
                entry.problems = problems;
            }
            Ok(live) => {
                entry.clear_bodies = shared.would_lie_in_clear(live.receiver());
                entry.live = Some(live);
            }
        }
        let key = entry.identity.key.clone();
        let new = entry.live.clone();
        entries.receivers.insert(key, entry);
        shared.publish(&entries);
        let tokens = new.as_ref().map(|live| entries.tokens_of(live));
        drop(entries);
        shared.forget_tokens(replaced).await;
        // What its source has published since its credentials were read.
        if let (Some(live), Some(tokens)) = (new, tokens) {
            shared.loader.load_tokens(&live, &tokens, Instant::now()).await;
        }
    }

    /// An object's newest version breaks the rules; its last valid one stays at work.
    pub async fn refuse(&self, identity: Identity, problems: Vec<Problem>) {
        let mut entries = self.0.entries.lock().await;
        let (before, replaced) = entries.take_out(&identity);
        let (live, recorded) = before.map(|entry| (entry.live, entry.recorded)).unwrap_or_default();
        let entry = Entry { live, problems, recorded, clear_bodies: false, gone_since: None, identity };
        entries.receivers.insert(entry.identity.key.clone(), entry);
        self.0.publish(&entries);
        drop(entries);
        self.0.forget_tokens(replaced).await;
    }

    /// An object was deleted: nothing is taken in for it any more, and what is stored for it is nobody's.
    pub async fn delete(&self, key: &ObjectKey) {
        let mut entries = self.0.entries.lock().await;
        let Some(entry) = entries.receivers.remove(key) else { return };
        info!(receiver = %key, "it was deleted: what waits for it is parked");
        self.0.publish(&entries);
        drop(entries);
        self.0.forget_tokens(Some(entry.identity)).await;
    }

    /// An object is no longer there: what comes is still taken in and kept, and nothing is handed on.
    pub async fn gone(&self, key: &ObjectKey, since: DateTime<Utc>) {
        let mut entries = self.0.entries.lock().await;
        if let Some(entry) = entries.receivers.get_mut(key) {
            warn!(receiver = %key, "its manifest is gone: deliveries are taken in and kept, and none is handed on");
            entry.gone_since = Some(since);
        }
        self.0.publish(&entries);
    }

    /// A receiver whose object is gone is forgotten, and nothing is taken in for it any more; unless it is
    /// back, or another one has its name.
    pub async fn forget(&self, key: &ObjectKey, uid: &str) {
        let mut entries = self.0.entries.lock().await;
        let is_gone = entries.receivers.get(key).is_some_and(|entry| entry.gone_since.is_some());
        if !is_gone || entries.receivers.get(key).is_none_or(|entry| entry.identity.uid != uid) {
            return;
        }
        let entry = entries.receivers.remove(key);
        self.0.publish(&entries);
        drop(entries);
        self.0.forget_tokens(entry.map(|entry| entry.identity)).await;
    }

    /// A source is as it is now, or gone.
    pub async fn source(&self, key: ObjectKey, spec: Option<TokenSourceSpec>) {
        let lives = {
            let mut entries = self.0.entries.lock().await;
            match spec {
                Some(spec) => drop(entries.sources.insert(key.clone(), spec)),
                None => entries.forget_source(&key),
            }
            let sources = entries.sources.keys().cloned().collect();
            self.0.handed.write().unwrap_or_else(PoisonError::into_inner).retain(&sources);
            entries.with_tokens(entries.of_source(&key))
        };
        let since = Instant::now();
        for (live, tokens) in lives {
            self.0.loader.load_tokens(&live, &tokens, since).await;
        }
    }

    /// The engine of this process holds a new token: from the moment that this is done every receiver of
    /// the source accepts it, also after a restart.
    ///
    /// # Errors
    /// When the store does not keep it; then it is accepted until the process ends.
    pub async fn offer(&self, source: &ObjectKey, token: OfferedToken) -> Result<(), StoreError> {
        let (lives, newest) = {
            let mut entries = self.0.entries.lock().await;
            let newest = entries.offered.entry(source.clone()).or_insert_with(|| token.clone());
            if newest.minted < token.minted {
                *newest = token.clone();
            }
            let newest = newest.clone();
            (entries.of_source(source), newest)
        };
        let mut result = Ok(());
        for live in lives {
            // One that comes late is accepted, too, and is not taken for the newest.
            let previous = (newest.fingerprint != token.fingerprint).then_some(&token);
            result = result.and(self.0.loader.learn(&live, &newest, previous).await);
        }
        self.0.handed.write().unwrap_or_else(PoisonError::into_inner).note(source, &token.fingerprint);
        result
    }

    /// The current token of a source, and the hosts that it may be sent to: the one that the engine of this
    /// process has handed over, and without an engine the one that is published.
    ///
    /// One that has ended is nobody's token any more: a platform that is asked with it refuses, and may count
    /// that.
    ///
    /// # Errors
    /// Why there is none at this moment, in words for people.
    pub async fn current_token(&self, source: &ObjectKey) -> Result<(SecretText, Vec<String>), String> {
        let (spec, offered) = {
            let entries = self.0.entries.lock().await;
            (entries.sources.get(source).cloned(), entries.offered.get(source).cloned())
        };
        let name = &source.name;
        let spec = spec.ok_or_else(|| format!("there is no TokenSource {name}"))?;
        let token = match offered {
            Some(token) => token,
            None if self.0.loader.engine => {
                return Err(format!(
                    "no token of the TokenSource {name} has been minted or read yet; with publishTo it has one \
                     right after a restart"
                ));
            }
            None => {
                let publish_to =
                    spec.publish_to.ok_or_else(|| format!("the TokenSource {name} has no publishTo"))?;
                self.0.loader.published_token(&source.namespace, &publish_to.secret_name).await?
            }
        };
        if !token.is_alive(self.0.loader.clock.now()) {
            return Err(format!(
                "the token of the TokenSource {name} has ended, and there is no new one yet: see the status of \
                 the TokenSource"
            ));
        }
        Ok((token.text, spec.allowed_hosts))
    }

    /// Whether a receiver accepts the tokens of this source, or asks its platform with them.
    #[must_use]
    pub fn serves(&self, source: &ObjectKey) -> bool {
        self.0.served().contains(source)
    }

    /// Whether a receiver asks its platform with the tokens of this source.
    #[must_use]
    pub fn asks_with(&self, source: &ObjectKey) -> bool {
        self.0.served().asks_with(source)
    }

    /// Whether a receiver of this source does not know the token with this fingerprint.
    #[must_use]
    pub fn lacks(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.0.served().lacks(source, fingerprint)
    }

    /// Whether the newest token of this source, which has this fingerprint, is to be handed over: a receiver
    /// lacks it, or asks its platform and has not got it.
    #[must_use]
    pub fn wants(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        let is_handed = || {
            let handed = self.0.handed.read().unwrap_or_else(PoisonError::into_inner);
            handed.contains(source, fingerprint)
        };
        let served = self.0.served();
        served.lacks(source, fingerprint) || (served.asks_with(source) && !is_handed())
    }

    /// Subscriptions still carry the tokens of this source with these fingerprints: none of them is over.
    pub fn carried(&self, source: &ObjectKey, fingerprints: &BTreeSet<Arc<str>>) {
        let (registry, source, fingerprints) = (self.clone(), source.clone(), fingerprints.clone());
        tokio::spawn(async move { registry.carries(&source, fingerprints).await });
    }

    /// As [`Self::carried`]; ends when all receivers know.
    pub(super) async fn carries(&self, source: &ObjectKey, fingerprints: BTreeSet<Arc<str>>) {
        let shared = &self.0;
        let lives = {
            let mut entries = shared.entries.lock().await;
            entries.carried.insert(source.clone(), fingerprints.clone());
            entries.of_source(source)
        };
        for live in lives {
            if let Err(error) = shared.loader.carried(&live, fingerprints.clone()).await {
                debug!("which tokens are still carried is not kept: {error}");
            }
        }
    }

    /// Whether a read of the receiver's credentials has succeeded that began after `arrived`: reads them
    /// if need be, together with all other requests that ask for it.
    pub(super) async fn is_fresh(&self, live: &Arc<Live>, arrived: Instant) -> bool {
        let shared = &self.0;
        if live.source().is_some() && shared.loader.engine {
            // Nobody knows newer ones than this process.
            return true;
        }
        let reading = async {
            let mut reading = live.reading.lock().await;
            if reading.succeeded.is_some_and(|began| began >= arrived) {
                return true;
            }
            if let Some(began) = reading.began {
                sleep_until(began + BETWEEN_READS).await;
            }
            let began = Instant::now();
            reading.began = Some(began);
            let tokens = shared.entries.lock().await.tokens_of(live);
            let succeeded = shared.loader.load(live, None, &tokens, began).await;
            if succeeded {
                reading.succeeded = Some(began);
            }
            succeeded
        };
        timeout(READ_TIMEOUT, reading).await.unwrap_or(false)
    }

    /// Reads all credentials again and again, for as long as it runs: those of one namespace one after the
    /// other, so that one with many delays no other one.
    pub async fn follow_credentials(&self) -> std::convert::Infallible {
        let ReadAgain { every, apart } = self.0.options.read_again;
        let mut rounds = interval_at(Instant::now() + every, every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Whoever has waited for longest comes next.
        let pace = tokio::sync::Mutex::new(());
        let mut reading = FuturesUnordered::new();
        let mut busy = BTreeSet::new();
        loop {
            tokio::select! {
                _ = rounds.tick() => {
                    let by_namespace = self.0.entries.lock().await.by_namespace();
                    for (namespace, lives) in by_namespace {
                        if busy.insert(Arc::clone(&namespace)) {
                            reading.push(self.0.read_again(namespace, lives, &pace, apart));
                        }
                    }
                }
                Some(namespace) = reading.next(), if !reading.is_empty() => {
                    busy.remove(&namespace);
                }
            }
        }
    }

    /// The store has refused something; told once until it takes something again.
    pub(super) fn store_failed(&self, error: &StoreError) {
        let text = error.to_string();
        let mut trouble = self.0.store_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref() != Some(&text) {
            error!("deliveries are answered 503: {text}");
            *trouble = Some(text);
        }
    }

    /// The store has taken something.
    pub(super) fn store_works(&self) {
        let mut trouble = self.0.store_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.take().is_some() {
            info!("deliveries are stored again");
        }
    }

    /// Every receiver as its status tells of it.
    pub async fn views(&self) -> Vec<View> {
        let shared = &self.0;
        let entries = shared.entries.lock().await;
        let owners = entries.owners_of_paths();
        let view = |entry: &Entry| {
            let receiver = entry.live.as_ref().map(|live| Arc::clone(live.receiver()));
            let conflict = receiver.as_ref().and_then(|receiver| {
                owners.get(&receiver.path).filter(|owner| **owner != entry.identity.key).cloned()
            });
            let url = receiver
                .as_ref()
                .zip(shared.options.public_url.as_ref())
                .map(|(receiver, base)| format!("{}{}", base.as_str().trim_end_matches('/'), receiver.path));
            View {
                identity: entry.identity.clone(),
                conflict,
                url,
                receiver,
                problems: entry.problems.clone(),
                clear_bodies: entry.clear_bodies,
                unusable: entry.live.as_ref().map(|live| live.unusable()).unwrap_or_default(),
                none_usable: entry
                    .live
                    .as_ref()
                    .is_some_and(|live| !live.verifier().is_usable(shared.loader.clock.now())),
                gone_since: entry.gone_since,
                recorded: entry.recorded.clone(),
            }
        };
        entries.receivers.values().map(view).collect()
    }
}

impl Shared {
    async fn read_again(
        &self,
        namespace: Arc<str>,
        lives: Vec<Arc<Live>>,
        pace: &tokio::sync::Mutex<()>,
        apart: Duration,
    ) -> Arc<str> {
        let since = Instant::now();
        for live in lives {
            if !apart.is_zero() {
                let _turn = pace.lock().await;
                tokio::time::sleep(apart).await;
            }
            let tokens = self.entries.lock().await.tokens_of(&live);
            self.loader.load(&live, None, &tokens, since).await;
        }
        namespace
    }

    /// The tokens of an object that is gone for good are not kept.
    async fn forget_tokens(&self, of: Option<Identity>) {
        let Some(Identity { key, uid, .. }) = of else { return };
        if let Err(error) = self.loader.store.set_tokens(&uid, Vec::new()).await {
            debug!(receiver = %key, "the tokens that it knew stay in the store: {error}");
        }
    }

    /// The rules that depend on the process.
    fn fits(&self, receiver: Receiver) -> Result<Receiver, Vec<Problem>> {
        check_path(&receiver.owner.namespace, &receiver.path, &self.options.allowed_paths)
            .map(|()| receiver)
            .map_err(|problem| vec![problem])
    }

    fn would_lie_in_clear(&self, receiver: &Receiver) -> bool {
        receiver.sealed_only
            && receiver.mode == Mode::Stored
            && !self.loader.store.is_sealing()
            && !self.options.allow_clear_bodies
    }

    fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes what the entries say the state that requests and whoever hands on see.
    fn publish(&self, entries: &Entries) {
        if self.is_held.load(Ordering::Relaxed) {
            return;
        }
        let owners = entries.owners_of_paths();
        let mut routes = HashMap::new();
        let (mut by_uid, mut refused) = (BTreeMap::new(), BTreeSet::new());
        let mut served = Served::default();
        for (key, entry) in &entries.receivers {
            let Some(live) = &entry.live else {
                refused.insert(entry.identity.uid.as_str().into());
                continue;
            };
            let receiver = live.receiver();
            if let Some(source) = live.source() {
                served.accepts(key.sibling(source), live);
            }
            // The engine hands tokens over for questions to the platform, too.
            let asks_with = receiver.fallback.as_ref().and_then(|one| one.request.token_source_ref.as_ref());
            if let Some(source) = asks_with {
                served.asks(key.sibling(&source.name));
            }
            let has_path = owners.get(&receiver.path) == Some(key);
            live.takes_in(!entry.clear_bodies);
            if has_path {
                routes.insert(receiver.path.clone(), Arc::clone(live));
            }
            let receiver = if entry.gone_since.is_some() && !receiver.suspended {
                Arc::new(Receiver { suspended: true, ..Receiver::clone(receiver) })
            } else {
                Arc::clone(receiver)
            };
            by_uid.insert(Arc::clone(&receiver.owner.uid), receiver);
        }
        let namespaces: BTreeSet<&str> = entries.receivers.keys().map(|key| &*key.namespace).collect();
        self.several_namespaces.store(namespaces.len() > 1, Ordering::Relaxed);
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
        let served = Arc::new(served);
        let before = std::mem::replace(
            &mut *self.served.write().unwrap_or_else(PoisonError::into_inner),
            Arc::clone(&served),
        );
        if let Some(changed) = &self.options.engine {
            let sources: BTreeSet<&ObjectKey> = before.sources().chain(served.sources()).collect();
            for source in sources {
                changed(source);
            }
        }
        self.by_uid.send_replace(Arc::new(Known::new(by_uid, refused)));
        self.loader.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
