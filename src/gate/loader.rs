//! Reading the credentials of receivers: what Secrets hold, and the tokens of sources.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use super::clock::Clock;
use super::digest::DigestKey;
use super::live::Live;
use super::ports::{CredentialFailure, Credentials};
use super::receiver::Proof;
use super::verification::token_book::{PublishedToken, TokenBook};
use super::verification::{Prefix, ProcessKey};
use crate::api::SecretKeyReference;
use crate::secret::SecretText;
use crate::store::{Store, StoreError};

/// A token of a source: as the engine of the same process hands it over, or as it was published.
#[derive(Clone, Debug)]
pub struct OfferedToken {
    /// The token.
    pub text: SecretText,
    /// Its fingerprint.
    pub fingerprint: String,
    /// When it was minted.
    pub minted: DateTime<Utc>,
    /// When it ends; `None` when nobody knows.
    pub expires: Option<DateTime<Utc>>,
}

impl OfferedToken {
    /// Whether it has not ended at this time, as far as anybody knows.
    pub(super) fn is_alive(&self, now: DateTime<Utc>) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}

/// What the source of a receiver's tokens has at this moment.
pub(super) enum SourceNow {
    /// Nothing that is known.
    None,
    /// The engine of this process has handed this one over.
    Offered(OfferedToken),
    /// It publishes into the Secret of this name.
    Published(String),
}

/// Reads them.
pub(super) struct Loader {
    pub(super) store: Arc<dyn Store>,
    pub(super) credentials: Arc<dyn Credentials>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) process_key: ProcessKey,
    pub(super) digest_key: DigestKey,
    /// An engine in this process hands over the tokens of sources: no file is asked for them.
    pub(super) engine: bool,
    /// Counts everything that may make a receiver's status another one.
    pub(super) changes: watch::Sender<u64>,
}

/// The keys of a published Secret, in the order in which they are taken out.
const PUBLISHED_KEYS: [&str; 6] =
    ["current", "fingerprint", "mintedTime", "expiresAt", "previous", "previousFingerprint"];

/// What a source has published: the current token, and the one before.
type Published = (OfferedToken, Option<OfferedToken>);

impl Loader {
    /// Loads the receiver's credentials; returns whether all that there are could be read. `before` are
    /// the tokens that an earlier version of it knew.
    pub(super) async fn load(
        &self,
        live: &Live,
        before: Option<Arc<TokenBook>>,
        tokens: &SourceNow,
        since: Instant,
    ) -> bool {
        if live.source().is_none() {
            return live.load(&*self.credentials, &self.process_key, since).await;
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
        self.load_tokens(live, tokens, since).await
    }

    /// Takes in what the source of the receiver's tokens has at this moment; returns whether that could
    /// be read.
    pub(super) async fn load_tokens(&self, live: &Live, tokens: &SourceNow, since: Instant) -> bool {
        let secret_name = match tokens {
            SourceNow::None => return true,
            SourceNow::Offered(token) => return self.learn(live, token, None).await.is_ok(),
            SourceNow::Published(secret_name) => secret_name,
        };
        if self.engine {
            return true;
        }
        match self.published(&live.receiver().owner.namespace, secret_name, since).await {
            Ok(Some((current, previous))) => {
                self.learn(live, &current, previous.as_ref()).await.is_ok()
                    && current.is_alive(self.clock.now())
            }
            Ok(None) | Err(CredentialFailure::NotFound) => true,
            Err(CredentialFailure::Unavailable(what)) => {
                self.tell(live, &what);
                false
            }
        }
    }

    /// The current token of a source that publishes into this Secret.
    pub(super) async fn published_token(
        &self,
        namespace: &str,
        secret_name: &str,
    ) -> Result<OfferedToken, String> {
        match self.published(namespace, secret_name, Instant::now()).await {
            Ok(Some((current, _))) => Ok(current),
            Ok(None) | Err(CredentialFailure::NotFound) => {
                Err(format!("nothing is published in the Secret {secret_name} yet"))
            }
            Err(CredentialFailure::Unavailable(what)) => {
                Err(format!("the Secret {secret_name} cannot be read: {what}"))
            }
        }
    }

    fn tell(&self, live: &Live, what: &str) {
        let owner = &live.receiver().owner;
        warn!(receiver = %format_args!("{}/{}", owner.namespace, owner.name), "its tokens cannot be read: {what}");
    }

    /// What a source has published: the current token, and the one before.
    async fn published(
        &self,
        namespace: &str,
        secret_name: &str,
        since: Instant,
    ) -> Result<Option<Published>, CredentialFailure> {
        // Together, so that they are of one token.
        let references = PUBLISHED_KEYS
            .map(|key| SecretKeyReference { name: secret_name.to_owned(), key: key.to_owned() });
        let mut found = self.credentials.read(namespace, &references, since).await.into_iter();
        let mut read = || match found.next() {
            Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(Err(CredentialFailure::NotFound)) | None => Ok(None),
            Some(Err(failure)) => Err(failure),
        };
        let time = |text: Option<SecretText>| {
            text.and_then(|text| text.expose().trim().parse::<DateTime<Utc>>().ok())
        };
        let Some(current) = read()? else {
            return Ok(None);
        };
        let fingerprint = read()?.map(|text| text.expose().trim().to_owned());
        let minted = time(read()?).unwrap_or_else(|| self.clock.now());
        let expires = time(read()?);
        let token = |text, fingerprint, minted, expires| OfferedToken { text, fingerprint, minted, expires };
        let previous = read()?;
        let before = read()?.map(|text| text.expose().trim().to_owned());
        let previous =
            previous.map(|text| token(text, before.unwrap_or_default(), DateTime::<Utc>::UNIX_EPOCH, None));
        Ok(Some((token(current, fingerprint.unwrap_or_default(), minted, expires), previous)))
    }

    pub(super) async fn learn(
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
        let published =
            |token: &'_ OfferedToken| (!token.fingerprint.is_empty()).then(|| token.fingerprint.clone());
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
        let now = self.clock.now();
        // What is carried comes first: learning must not forget any of it.
        let mut changed = live.carried().is_some_and(|carried| book.carried(&carried, now));
        changed |= book.learn(&prefix, &current, previous.as_ref(), now, receiver.overlap);
        if !changed {
            return Ok(());
        }
        self.keep(live, book, now).await
    }

    /// Takes in which tokens subscriptions still carry.
    pub(super) async fn carried(
        &self,
        live: &Live,
        fingerprints: BTreeSet<Arc<str>>,
    ) -> Result<(), StoreError> {
        let _one_at_a_time = live.learning.lock().await;
        live.set_carried(fingerprints.clone());
        let Some(book) = live.book() else { return Ok(()) };
        let (mut book, now) = (TokenBook::clone(&book), self.clock.now());
        if !book.carried(&fingerprints, now) {
            return Ok(());
        }
        self.keep(live, book, now).await
    }

    /// The receiver knows these tokens from now on, also after a restart.
    ///
    /// What the store has is replaced as a whole, and a gate that shares it may know tokens that were published
    /// while this one could not read them. Senders still bring those, so they are taken over before. Two gates
    /// that do this at the same moment do it because of the same token; if one of them knows another one besides
    /// that the other leaves out, the next change brings it back.
    async fn keep(&self, live: &Live, mut book: TokenBook, now: DateTime<Utc>) -> Result<(), StoreError> {
        // Accepted before it is stored: a delivery may come first.
        self.set_book(live, book.clone());
        let receiver = live.receiver();
        let uid = &receiver.owner.uid;
        if book.take_over(self.store.tokens(uid).await?, now, receiver.overlap) {
            self.set_book(live, book.clone());
        }
        self.store.set_tokens(uid, book.known()).await
    }

    fn set_book(&self, live: &Live, book: TokenBook) {
        live.set_book(book, &self.process_key);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}
