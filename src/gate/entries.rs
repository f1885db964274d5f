//! What is declared: receivers and the sources of their tokens.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::live::Live;
use super::loader::{OfferedToken, SourceNow};
use super::verification::token_book::TokenBook;
use crate::api::validation::Problem;
use crate::api::{Identity, ObjectKey, TokenSourceSpec, WebhookReceiverStatus};

#[derive(Default)]
pub(super) struct Entries {
    pub(super) receivers: BTreeMap<ObjectKey, Entry>,
    pub(super) sources: BTreeMap<ObjectKey, TokenSourceSpec>,
    pub(super) offered: BTreeMap<ObjectKey, OfferedToken>,
    /// Which tokens of a source subscriptions still carry, by fingerprint.
    pub(super) carried: BTreeMap<ObjectKey, BTreeSet<Arc<str>>>,
}

pub(super) struct Entry {
    pub(super) identity: Identity,
    /// Its last valid version.
    pub(super) live: Option<Arc<Live>>,
    pub(super) problems: Vec<Problem>,
    /// Its bodies must not lie in clear where this process would keep them.
    pub(super) clear_bodies: bool,
    /// Since when its object is no longer there.
    pub(super) gone_since: Option<DateTime<Utc>>,
    /// Its status as it was when it was declared.
    pub(super) recorded: WebhookReceiverStatus,
}

/// Whether its object is gone, when it was created, its uid, and whose it is: the smallest has the path.
type PathClaim<'a> = (bool, Option<DateTime<Utc>>, &'a str, &'a ObjectKey);

impl Entries {
    pub(super) fn tokens_of(&self, live: &Live) -> SourceNow {
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

    /// Takes the entry of this object's name out: its own, or that of an object which had the name before.
    pub(super) fn take_out(&mut self, identity: &Identity) -> (Option<Entry>, Option<Identity>) {
        match self.receivers.remove(&identity.key) {
            Some(entry) if entry.identity.uid == identity.uid => (Some(entry), None),
            other => (None, other.map(|entry| entry.identity)),
        }
    }

    /// The receivers that are at work, by namespace.
    pub(super) fn by_namespace(&self) -> BTreeMap<Arc<str>, Vec<Arc<Live>>> {
        let mut all: BTreeMap<Arc<str>, Vec<Arc<Live>>> = BTreeMap::new();
        for (key, entry) in &self.receivers {
            if let Some(live) = &entry.live {
                all.entry(Arc::clone(&key.namespace)).or_default().push(Arc::clone(live));
            }
        }
        all
    }

    /// Which tokens of the receiver's source subscriptions still carry.
    pub(super) fn carried_of(&self, live: &Live) -> Option<&BTreeSet<Arc<str>>> {
        let source = ObjectKey::new(&live.receiver().owner.namespace, live.source()?);
        self.carried.get(&source)
    }

    pub(super) fn with_tokens(&self, lives: Vec<Arc<Live>>) -> Vec<(Arc<Live>, SourceNow)> {
        let with_tokens = |live: Arc<Live>| {
            let tokens = self.tokens_of(&live);
            (live, tokens)
        };
        lives.into_iter().map(with_tokens).collect()
    }

    /// Nothing is kept of a source that is gone.
    pub(super) fn forget_source(&mut self, source: &ObjectKey) {
        self.sources.remove(source);
        self.offered.remove(source);
        self.carried.remove(source);
    }

    /// The tokens that the last valid version of an object knows.
    pub(super) fn book_of(&self, identity: &Identity) -> Option<Arc<TokenBook>> {
        let entry = self.receivers.get(&identity.key).filter(|entry| entry.identity.uid == identity.uid)?;
        entry.live.as_ref()?.book()
    }

    pub(super) fn of_source(&self, source: &ObjectKey) -> Vec<Arc<Live>> {
        let of_namespace = self.receivers.iter().filter(|(key, _)| key.namespace == source.namespace);
        let lives = of_namespace.filter_map(|(_, entry)| entry.live.as_ref());
        lives.filter(|live| live.source() == Some(&*source.name)).cloned().collect()
    }

    /// Who has each path: of several one whose object is there, then the one that was created first, then
    /// the one with the smaller uid.
    pub(super) fn owners_of_paths(&self) -> HashMap<String, ObjectKey> {
        let mut owners: HashMap<String, PathClaim<'_>> = HashMap::new();
        for (key, entry) in &self.receivers {
            let Some(live) = &entry.live else { continue };
            let is_gone = entry.gone_since.is_some();
            let claim = (is_gone, entry.identity.created, entry.identity.uid.as_str(), key);
            let owner = owners.entry(live.receiver().path.clone()).or_insert(claim);
            if claim < *owner {
                *owner = claim;
            }
        }
        owners.into_iter().map(|(path, (.., key))| (path, key.clone())).collect()
    }
}
