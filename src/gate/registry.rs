//! The receivers of a process: which path is whose, and with which credentials each is at work.
//!
//! Changes come in one after the other and are carried out whole: a receiver has its credentials before
//! it has its path, and its old version stays at work until then.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use super::clock::Clock;
use super::digest::DigestKey;
use super::live::Live;
use super::ports::{CredentialFailure, Credentials};
use super::receiver::{Proof, Receiver};
use super::tokens::{PublishedToken, TokenBook};
use super::verification::{Prefix, ProcessKey, Unusable};
use crate::api::validation::Problem;
use crate::api::{Identity, Mode, ObjectKey, SecretKeyReference, TokenSourceSpec, WebhookReceiverSpec};
use crate::secret::SecretText;
use crate::store::{Store, StoreError};

/// How long one request waits for Secrets to be read again.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the Secrets of one receiver are read at most because a request asks for it.
const BETWEEN_READS: Duration = Duration::from_secs(1);
/// How often all Secrets are read again: a changed file is told by nobody.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// A token as the engine of the same process hands it over.
#[derive(Clone, Debug)]
pub struct OfferedToken {
    /// The token.
    pub text: SecretText,
    /// Its fingerprint.
    pub fingerprint: String,
    /// When it was minted.
    pub minted: DateTime<Utc>,
}

/// What may differ from process to process.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Beginnings of paths that namespaces may use besides their own: `(namespace, "/prefix")`.
    pub allowed_paths: Vec<(String, String)>,
    /// Bodies that hold live credentials may be kept in clear.
    pub allow_clear_bodies: bool,
    /// An engine in this process hands over the tokens of sources: no file is asked for them.
    pub engine: bool,
    /// What stands before a receiver's path in its URL.
    pub public_url: Option<url::Url>,
}

/// The receivers by their uid.
pub type ByUid = Arc<BTreeMap<Arc<str>, Arc<Receiver>>>;

/// The receivers of a process. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    options: Options,
    store: Arc<dyn Store>,
    credentials: Arc<dyn Credentials>,
    clock: Arc<dyn Clock>,
    process_key: ProcessKey,
    digest_key: DigestKey,
    routes: RwLock<Arc<HashMap<String, Arc<Live>>>>,
    by_uid: watch::Sender<ByUid>,
    entries: tokio::sync::Mutex<Entries>,
    store_trouble: Mutex<Option<String>>,
}

#[derive(Default)]
struct Entries {
    receivers: BTreeMap<ObjectKey, Entry>,
    sources: BTreeMap<ObjectKey, TokenSourceSpec>,
    offered: BTreeMap<ObjectKey, OfferedToken>,
}

struct Entry {
    identity: Identity,
    /// Its last valid version.
    live: Option<Arc<Live>>,
    problems: Vec<Problem>,
    /// Its bodies must not lie in clear where this process would keep them.
    clear_bodies: bool,
    /// Its object is no longer there.
    gone: bool,
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
    /// Its object is no longer there.
    pub gone: bool,
    /// The URL to type into the platform, if that is known.
    pub url: Option<String>,
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
            options,
            digest_key: DigestKey::new(store.digest_key()),
            store,
            credentials,
            clock,
            process_key: ProcessKey::new(random),
            routes: RwLock::default(),
            by_uid: watch::Sender::new(ByUid::default()),
            entries: tokio::sync::Mutex::default(),
            store_trouble: Mutex::default(),
        }))
    }

    /// The receiver at this path.
    pub(super) fn at(&self, path: &str) -> Option<Arc<Live>> {
        self.0.routes.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// The receivers at work, and every change of them.
    #[must_use]
    pub fn receivers(&self) -> watch::Receiver<ByUid> {
        self.0.by_uid.subscribe()
    }

    /// Takes an object's newest version in.
    pub async fn declare(&self, identity: Identity, spec: &WebhookReceiverSpec) {
        let shared = &self.0;
        let made = Receiver::of(&identity, spec).and_then(|receiver| shared.fits(receiver));
        let made = match made {
            Ok(receiver) => {
                let live = Arc::new(Live::new(Arc::new(receiver), &shared.process_key));
                let (before, tokens) = {
                    let entries = shared.entries.lock().await;
                    (entries.book_of(&identity), entries.tokens_of(&live))
                };
                shared.load(&live, before, &tokens).await;
                Ok(live)
            }
            Err(problems) => Err(problems),
        };
        let mut entries = shared.entries.lock().await;
        let before = entries.receivers.remove(&identity.key).filter(|entry| entry.identity.uid == identity.uid);
        let mut entry = Entry {
            identity,
            live: before.and_then(|entry| entry.live),
            problems: Vec::new(),
            clear_bodies: false,
            gone: false,
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
        // What its source has published since its credentials were read.
        if let (Some(live), Some(tokens)) = (new, tokens) {
            shared.load_tokens(&live, &tokens).await;
        }
    }

    /// An object's newest version breaks the rules; its last valid one stays at work.
    pub async fn refuse(&self, identity: Identity, problems: Vec<Problem>) {
        let mut entries = self.0.entries.lock().await;
        let before = entries.receivers.remove(&identity.key).filter(|entry| entry.identity.uid == identity.uid);
        let live = before.and_then(|entry| entry.live);
        let key = identity.key.clone();
        entries.receivers.insert(key, Entry { identity, live, problems, clear_bodies: false, gone: false });
        self.0.publish(&entries);
    }

    /// An object is no longer there: what comes is still taken in and kept, and nothing is handed on.
    pub async fn gone(&self, key: &ObjectKey) {
        let mut entries = self.0.entries.lock().await;
        if let Some(entry) = entries.receivers.get_mut(key) {
            warn!(receiver = %key, "its manifest is gone: deliveries are taken in and kept, and none is handed on");
            entry.gone = true;
        }
        self.0.publish(&entries);
    }

    /// A source is as it is now, or gone.
    pub async fn source(&self, key: ObjectKey, spec: Option<TokenSourceSpec>) {
        let lives = {
            let mut entries = self.0.entries.lock().await;
            match spec {
                Some(spec) => entries.sources.insert(key.clone(), spec),
                None => entries.sources.remove(&key),
            };
            entries.with_tokens(entries.of_source(&key))
        };
        for (live, tokens) in lives {
            self.0.load_tokens(&live, &tokens).await;
        }
    }

    /// The engine of this process holds a new token: from the moment that this is done every receiver of
    /// the source accepts it, also after a restart.
    ///
    /// # Errors
    /// When the store does not keep it; then it is accepted until the process ends.
    pub async fn offer(&self, source: &ObjectKey, token: OfferedToken) -> Result<(), StoreError> {
        let lives = {
            let mut entries = self.0.entries.lock().await;
            entries.offered.insert(source.clone(), token.clone());
            entries.of_source(source)
        };
        let mut result = Ok(());
        for live in lives {
            result = result.and(self.0.learn(&live, &token, None).await);
        }
        result
    }

    /// Whether a read of the receiver's credentials has succeeded that began after `arrived`: reads them
    /// if need be, together with all other requests that ask for it.
    pub(super) async fn is_fresh(&self, live: &Arc<Live>, arrived: Instant) -> bool {
        let shared = &self.0;
        if live.source().is_some() && shared.options.engine {
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
            let succeeded = shared.load(live, None, &tokens).await;
            if succeeded {
                reading.succeeded = Some(began);
            }
            succeeded
        };
        timeout(READ_TIMEOUT, reading).await.unwrap_or(false)
    }

    /// Reads all credentials again and again, for as long as it runs.
    pub async fn follow_credentials(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(READ_AGAIN).await;
            let lives = {
                let entries = self.0.entries.lock().await;
                let lives = entries.receivers.values().filter_map(|entry| entry.live.clone()).collect();
                entries.with_tokens(lives)
            };
            for (live, tokens) in lives {
                self.0.load(&live, None, &tokens).await;
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
            let url = receiver.as_ref().zip(shared.options.public_url.as_ref()).map(|(receiver, base)| {
                format!("{}{}", base.as_str().trim_end_matches('/'), receiver.path)
            });
            View {
                identity: entry.identity.clone(),
                conflict,
                url,
                receiver,
                problems: entry.problems.clone(),
                clear_bodies: entry.clear_bodies,
                unusable: entry.live.as_ref().map(|live| live.unusable()).unwrap_or_default(),
                none_usable: entry.live.as_ref().is_some_and(|live| {
                    !live.verifier().is_usable(shared.clock.now())
                }),
                gone: entry.gone,
            }
        };
        entries.receivers.values().map(view).collect()
    }
}

/// What the source of a receiver's tokens has at this moment.
enum SourceNow {
    /// Nothing that is known.
    None,
    /// The engine of this process has handed this one over.
    Offered(OfferedToken),
    /// It publishes into the Secret of this name.
    Published(String),
}

impl Entries {
    fn tokens_of(&self, live: &Live) -> SourceNow {
        let Some(name) = live.source() else {
            return SourceNow::None;
        };
        let source = ObjectKey::new(&live.receiver().owner.namespace, name);
        if let Some(token) = self.offered.get(&source) {
            return SourceNow::Offered(token.clone());
        }
        let publish_to = self.sources.get(&source).and_then(|spec| spec.publish_to.as_ref());
        publish_to.map_or(SourceNow::None, |publish_to| SourceNow::Published(publish_to.secret_name.clone()))
    }

    fn with_tokens(&self, lives: Vec<Arc<Live>>) -> Vec<(Arc<Live>, SourceNow)> {
        let with_tokens = |live: Arc<Live>| {
            let tokens = self.tokens_of(&live);
            (live, tokens)
        };
        lives.into_iter().map(with_tokens).collect()
    }

    /// The tokens that the last valid version of an object knows.
    fn book_of(&self, identity: &Identity) -> Option<Arc<TokenBook>> {
        let entry = self.receivers.get(&identity.key).filter(|entry| entry.identity.uid == identity.uid)?;
        entry.live.as_ref()?.book()
    }

    fn of_source(&self, source: &ObjectKey) -> Vec<Arc<Live>> {
        let of_namespace = self.receivers.iter().filter(|(key, _)| key.namespace == source.namespace);
        let lives = of_namespace.filter_map(|(_, entry)| entry.live.as_ref());
        lives.filter(|live| live.source() == Some(&*source.name)).cloned().collect()
    }

    /// Who has each path: of several the one that was created first, then the one with the smaller uid.
    fn owners_of_paths(&self) -> HashMap<String, ObjectKey> {
        let mut owners: HashMap<String, (Option<DateTime<Utc>>, &str, &ObjectKey)> = HashMap::new();
        for (key, entry) in &self.receivers {
            let Some(live) = &entry.live else { continue };
            let claim = (entry.identity.created, entry.identity.uid.as_str(), key);
            let owner = owners.entry(live.receiver().path.clone()).or_insert(claim);
            if claim < *owner {
                *owner = claim;
            }
        }
        owners.into_iter().map(|(path, (_, _, key))| (path, key.clone())).collect()
    }
}

impl Shared {
    /// The rules that depend on the process.
    fn fits(&self, receiver: Receiver) -> Result<Receiver, Vec<Problem>> {
        let namespace = &receiver.owner.namespace;
        let own = format!("/{namespace}/");
        let allowed = self.options.allowed_paths.iter();
        let mut beginnings =
            allowed.filter(|(of, _)| **of == **namespace).map(|(_, beginning)| beginning.as_str());
        let is_within = |beginning: &str| {
            receiver.path.strip_prefix(beginning).is_some_and(|rest| {
                rest.is_empty() || beginning.ends_with('/') || rest.starts_with('/')
            })
        };
        if receiver.path.starts_with(&own) || beginnings.any(is_within) {
            return Ok(receiver);
        }
        let problem = format!(
            "must begin with {own}, so that no namespace takes another one's path; whoever runs the process \
             may allow it with --allow-path {namespace}=/PREFIX"
        );
        Err(vec![Problem { field: "spec.path".to_owned(), problem }])
    }

    fn would_lie_in_clear(&self, receiver: &Receiver) -> bool {
        receiver.sealed_only
            && receiver.mode == Mode::Stored
            && !self.store.is_sealing()
            && !self.options.allow_clear_bodies
    }

    /// Loads the receiver's credentials; returns whether all that there are could be read. `before` are
    /// the tokens that an earlier version of it knew.
    async fn load(&self, live: &Live, before: Option<Arc<TokenBook>>, tokens: &SourceNow) -> bool {
        if live.source().is_none() {
            return live.load(&*self.credentials, &self.process_key).await;
        }
        if live.book().is_none() {
            let owner = &live.receiver().owner;
            let book = match before {
                Some(book) => TokenBook::clone(&book),
                None => match self.store.tokens(&owner.uid).await {
                    Ok(known) => TokenBook::new(self.digest_key.clone(), Arc::clone(&owner.uid), known),
                    Err(error) => {
                        self.tell(live, &error.to_string());
                        return false;
                    }
                },
            };
            live.set_book(book, &self.process_key);
        }
        self.load_tokens(live, tokens).await
    }

    /// Takes in what the source of the receiver's tokens has at this moment; returns whether that could
    /// be read.
    async fn load_tokens(&self, live: &Live, tokens: &SourceNow) -> bool {
        let secret_name = match tokens {
            SourceNow::None => return true,
            SourceNow::Offered(token) => return self.learn(live, token, None).await.is_ok(),
            SourceNow::Published(secret_name) => secret_name,
        };
        if self.options.engine {
            return true;
        }
        match self.published(&live.receiver().owner.namespace, secret_name).await {
            Ok(Some((current, previous, expires))) => {
                let is_alive = expires.is_none_or(|expires| expires > self.clock.now());
                self.learn(live, &current, previous.as_ref()).await.is_ok() && is_alive
            }
            Ok(None) | Err(CredentialFailure::NotFound) => true,
            Err(CredentialFailure::Unavailable(what)) => {
                self.tell(live, &what);
                false
            }
        }
    }

    fn tell(&self, live: &Live, what: &str) {
        let owner = &live.receiver().owner;
        warn!(receiver = %format_args!("{}/{}", owner.namespace, owner.name), "its tokens cannot be read: {what}");
    }

    /// What a source has published: the current token, the one before, and when the current one ends.
    async fn published(
        &self,
        namespace: &str,
        secret_name: &str,
    ) -> Result<Option<Published>, CredentialFailure> {
        let read = async |key: &str| {
            let reference = SecretKeyReference { name: secret_name.to_owned(), key: key.to_owned() };
            match self.credentials.read(namespace, &reference).await {
                Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
                Err(CredentialFailure::NotFound) => Ok(None),
                Err(failure) => Err(failure),
            }
        };
        let time = |text: Option<SecretText>| {
            text.and_then(|text| text.expose().trim().parse::<DateTime<Utc>>().ok())
        };
        let Some(current) = read("current").await? else {
            return Ok(None);
        };
        let fingerprint = read("fingerprint").await?.map(|text| text.expose().trim().to_owned());
        let minted = time(read("mintedTime").await?).unwrap_or_else(|| self.clock.now());
        let expires = time(read("expiresAt").await?);
        let token = |text, fingerprint, minted| OfferedToken { text, fingerprint, minted };
        let previous = read("previous").await?;
        let before = read("previousFingerprint").await?.map(|text| text.expose().trim().to_owned());
        let previous =
            previous.map(|text| token(text, before.unwrap_or_default(), DateTime::<Utc>::UNIX_EPOCH));
        Ok(Some((token(current, fingerprint.unwrap_or_default(), minted), previous, expires)))
    }

    async fn learn(
        &self,
        live: &Live,
        current: &OfferedToken,
        previous: Option<&OfferedToken>,
    ) -> Result<(), StoreError> {
        let receiver = live.receiver();
        let Proof::Token { header, prefix, .. } = &receiver.proof else {
            return Ok(());
        };
        let owner = &receiver.owner;
        let _one_at_a_time = live.learning.lock().await;
        let mut book = match live.book() {
            Some(book) => TokenBook::clone(&book),
            None => TokenBook::new(self.digest_key.clone(), Arc::clone(&owner.uid), Vec::new()),
        };
        let published = |token: &'_ OfferedToken| (!token.fingerprint.is_empty()).then(|| token.fingerprint.clone());
        let (of_current, of_previous) = (published(current), previous.and_then(published));
        let current = PublishedToken {
            text: &current.text,
            fingerprint: of_current.as_deref(),
            minted: Some(current.minted),
        };
        let previous = previous.map(|previous| PublishedToken {
            text: &previous.text,
            fingerprint: of_previous.as_deref(),
            minted: (previous.minted > DateTime::<Utc>::UNIX_EPOCH).then_some(previous.minted),
        });
        let prefix = Prefix::new(header, prefix);
        if !book.learn(&prefix, &current, previous.as_ref(), self.clock.now(), receiver.overlap) {
            return Ok(());
        }
        let known = book.known();
        // Accepted before it is stored: a delivery may come first.
        live.set_book(book, &self.process_key);
        self.store.set_tokens(&owner.uid, known).await
    }

    /// Makes what the entries say the state that requests and whoever hands on see.
    fn publish(&self, entries: &Entries) {
        let owners = entries.owners_of_paths();
        let mut routes = HashMap::new();
        let mut by_uid = BTreeMap::new();
        for (key, entry) in &entries.receivers {
            let Some(live) = &entry.live else { continue };
            let receiver = live.receiver();
            let has_path = owners.get(&receiver.path) == Some(key);
            if has_path && !entry.clear_bodies {
                routes.insert(receiver.path.clone(), Arc::clone(live));
            }
            let receiver = if entry.gone && !receiver.suspended {
                Arc::new(Receiver { suspended: true, ..Receiver::clone(receiver) })
            } else {
                Arc::clone(receiver)
            };
            by_uid.insert(Arc::clone(&receiver.owner.uid), receiver);
        }
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
        self.by_uid.send_replace(Arc::new(by_uid));
    }
}

/// What a source has published: the current token, the one before, and when the current one ends.
type Published = (OfferedToken, Option<OfferedToken>, Option<DateTime<Utc>>);
