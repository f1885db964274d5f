//! A receiver at work: with the credentials that it has at this moment.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::HeaderMap;
use tokio::time::Instant;

use super::ports::{CredentialFailure, Credentials};
use super::rate::Rate;
use super::receiver::{Proof, Receiver, Tokens};
use super::verification::token_book::TokenBook;
use super::verification::{Head, Loaded, ProcessKey, SourceTokens, Unusable, Verifier, Why};
use crate::api::SecretKeyReference;
use crate::secret::SecretText;

/// How long credentials are believed that cannot be read any more.
const LAST_KNOWN: Duration = Duration::from_secs(60 * 60);

/// A receiver at work.
pub struct Live {
    receiver: Arc<Receiver>,
    verifier: RwLock<Arc<Verifier>>,
    unusable: Mutex<Vec<Unusable>>,
    book: Mutex<Option<Arc<TokenBook>>>,
    /// Which tokens of its source subscriptions still carry, by fingerprint; `None` when nobody has said.
    carried: Mutex<Option<BTreeSet<Arc<str>>>>,
    rate: Mutex<Rate>,
    /// Whether it takes deliveries in at all.
    is_open: AtomicBool,
    known: Mutex<HashMap<SecretKeyReference, (SecretText, Instant)>>,
    /// Held while a token is learnt, so that of two none is lost.
    pub(super) learning: tokio::sync::Mutex<()>,
    /// One read of the credentials at a time, and what the last ones came to.
    pub(super) reading: tokio::sync::Mutex<Reading>,
}

/// What reading the credentials came to.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// When the last read began.
    pub(super) began: Option<Instant>,
    /// When the last one began that succeeded.
    pub(super) succeeded: Option<Instant>,
}

impl Live {
    /// A receiver without any credential: it refuses everything until some are loaded.
    pub(super) fn new(receiver: Arc<Receiver>, key: &ProcessKey) -> Self {
        let (verifier, unusable) = Verifier::new(&receiver.proof, &[], key);
        Self {
            rate: Mutex::new(Rate::new(receiver.requests_per_second)),
            is_open: AtomicBool::new(true),
            receiver,
            verifier: RwLock::new(Arc::new(verifier)),
            unusable: Mutex::new(unusable),
            book: Mutex::default(),
            carried: Mutex::default(),
            known: Mutex::default(),
            learning: tokio::sync::Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// What it is.
    #[must_use]
    pub fn receiver(&self) -> &Arc<Receiver> {
        &self.receiver
    }

    /// Judges a request by its head.
    pub(super) fn head(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Head {
        self.verifier().head(headers, now)
    }

    /// The verifier at this moment.
    #[must_use]
    pub fn verifier(&self) -> Arc<Verifier> {
        Arc::clone(&self.verifier.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on it takes deliveries in, or none.
    pub(super) fn takes_in(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
    }

    /// Whether it takes deliveries in at all.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Whether one more is taken in now.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).admits(now)
    }

    /// The credentials that cannot be used.
    pub(super) fn unusable(&self) -> Vec<Unusable> {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The name of the source of its tokens, if they come from one.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        match &self.receiver.proof {
            Proof::Token { tokens: Tokens::Source(name), .. } => Some(name),
            _ => None,
        }
    }

    /// The tokens that it knows.
    pub(super) fn book(&self) -> Option<Arc<TokenBook>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fingerprints of the tokens of its source that it accepts at this time, the newest first.
    pub(super) fn accepted(&self, now: DateTime<Utc>) -> Vec<Arc<str>> {
        let (overlap, revoked_before) = (self.receiver.overlap, self.receiver.revoked_before);
        self.book().map(|book| book.accepted(now, overlap, revoked_before)).unwrap_or_default()
    }

    /// Which tokens of its source subscriptions still carry.
    pub(super) fn carried(&self) -> Option<BTreeSet<Arc<str>>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Subscriptions still carry these tokens.
    pub(super) fn set_carried(&self, fingerprints: BTreeSet<Arc<str>>) {
        *self.carried.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprints);
    }

    /// From now on it knows these tokens.
    pub(super) fn set_book(&self, book: TokenBook, key: &ProcessKey) {
        let book = Arc::new(book);
        let (verifier, _) = Verifier::new(&self.receiver.proof, &[], key);
        let verifier = verifier.with_tokens(SourceTokens {
            book: Arc::clone(&book),
            overlap: self.receiver.overlap,
            revoked_before: self.receiver.revoked_before,
        });
        *self.book.lock().unwrap_or_else(PoisonError::into_inner) = Some(book);
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(verifier);
    }

    /// Takes in the credentials as they were at `since` or later. Returns whether all of them could be read,
    /// or are surely not there.
    pub(super) async fn load(&self, credentials: &dyn Credentials, key: &ProcessKey, since: Instant) -> bool {
        let namespace = &self.receiver.owner.namespace;
        let references = self.receiver.proof.secrets();
        let read = credentials.read(namespace, references, since).await;
        let read: Vec<_> = references.iter().zip(read).collect();
        let now = Instant::now();
        let mut unread: Vec<(&SecretKeyReference, String)> = Vec::new();
        let mut loaded = Vec::with_capacity(read.len());
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for (reference, found) in read {
                match found {
                    Ok(text) => {
                        known.insert(reference.clone(), (text, now));
                    }
                    // A Secret that is gone ends its credentials at once.
                    Err(CredentialFailure::NotFound) => {
                        known.remove(reference);
                    }
                    Err(CredentialFailure::Unavailable(what)) => {
                        unread.push((reference, what));
                        known.retain(|other, (_, read)| other != reference || now - *read < LAST_KNOWN);
                    }
                }
                if let Some((text, _)) = known.get(reference) {
                    loaded.push(Loaded { reference: reference.clone(), text: text.clone() });
                }
            }
        }
        let (verifier, mut unusable) = Verifier::new(&self.receiver.proof, &loaded, key);
        // Of what could not be read nobody may say that it is not there.
        for one in unusable.iter_mut().filter(|one| one.why == Why::Missing) {
            if let Some((_, what)) = unread.iter().find(|(reference, _)| **reference == one.which) {
                one.why = Why::Unread(what.clone());
            }
        }
        let all_known = unread.is_empty();
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(verifier);
        *self.unusable.lock().unwrap_or_else(PoisonError::into_inner) = unusable;
        all_known
    }
}
