//! What is outside of the engine: the token server, the provider, what is durable. And the judge.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hookkeeper::api::{
    ObjectKey, SubscriptionStatus, TokenSourceSpec, TokenSourceStatus, WebhookProviderSpec,
    WebhookProviderStatus, WebhookSubscriptionSpec,
};
use hookkeeper::engine::change::Change;
use hookkeeper::engine::ports::{CallFailure, Gauges, MintFailure, Notice, Published};
use hookkeeper::ops::metrics::Metrics;
use tokio::sync::mpsc::WeakSender;

use super::Settings;
use super::conduct::Conduct;
use super::gate::Gate;
use super::mortality::Mortality;
use crate::canaries::CANARY;

/// A token that the token server has issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token source, as it is written.
    pub source: String,
    /// When it was asked for.
    pub asked: DateTime<Utc>,
    pub expires: DateTime<Utc>,
    pub revoked: Option<DateTime<Utc>>,
}

/// A remote subscription at the provider.
#[derive(Clone, Debug)]
pub struct Remote {
    pub action: String,
    pub url: String,
    pub active: bool,
    pub token: String,
}

/// What goes wrong with a call.
#[derive(Clone, Debug)]
pub enum CallFault {
    /// The effect does not take place, and this is the answer.
    Refused(CallFailure),
    /// The effect takes place, and the answer is lost.
    Lost,
    /// The effect takes place, and this is the answer.
    Garbled(CallFailure),
    /// The update is under way for so long, and no answer comes.
    Late(Duration),
    /// It takes so much longer until the effect takes place.
    Slow(Duration),
    /// The effect does not take place, and no answer comes for as long as it is waited for.
    Hangs,
    /// The step panics.
    Panic,
}

/// A request that a provider or a token server received.
#[derive(Clone, Debug)]
pub struct Received {
    pub at: DateTime<Utc>,
    /// Namespace of who sent it.
    pub namespace: String,
    pub operation: &'static str,
    /// The action, the id for a delete, the source for a mint.
    pub about: String,
}

/// An update that is still under way.
#[derive(Clone, Debug)]
pub struct UnderWay {
    pub id: String,
    pub remote: Remote,
}

/// What goes wrong with a call, by operation and action or id.
pub type CallFaults = Box<dyn FnMut(&'static str, &str) -> Option<CallFault> + Send>;

/// What goes wrong with a write of something durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// It does not take place.
    Lost,
    /// It takes place, and nobody hears of it.
    AnswerLost,
}

/// What goes wrong with a mint, by source.
pub type MintFaults = Box<dyn FnMut(&str) -> Option<MintFailure> + Send>;

/// What becomes of requests whose sender is killed while they are on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orphans {
    #[default]
    Vanish,
    Arrive,
    /// One does and the next does not.
    Alternate(bool),
}

impl Orphans {
    pub fn arrives(&mut self) -> bool {
        match self {
            Self::Vanish => false,
            Self::Arrive => true,
            Self::Alternate(arrives) => {
                *arrives = !*arrives;
                *arrives
            }
        }
    }
}

/// What the token server answers to whoever has a token already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// A new token.
    #[default]
    Renews,
    /// The same token for as long as it lives, and what remains of its life.
    Caches,
    /// The same token, which every answer gives a new life.
    Prolongs,
    /// The same token, of whose life it says nothing; one issued so has no end.
    SaysNothing,
    /// A new token, with a second statement of its end that is an hour too late.
    Contradicts,
}

/// Everything outside of the engine.
pub struct Outside {
    pub token_life: Duration,
    /// Of sources whose audience is this.
    pub lives: BTreeMap<String, Duration>,
    pub revokes: bool,
    pub manner: Manner,
    pub wall_shift: TimeDelta,
    /// How long the machine has slept: clocks went on, timers did not.
    pub slept: Duration,
    /// The term in which the engine may act; `None` while another one leads.
    pub term: Option<u64>,
    // The desired state.
    pub providers: BTreeMap<ObjectKey, WebhookProviderSpec>,
    pub sources: BTreeMap<ObjectKey, TokenSourceSpec>,
    pub subscriptions: BTreeMap<ObjectKey, (i64, WebhookSubscriptionSpec)>,
    /// Values of the annotation that asks for a rotation.
    pub rotate_requested: BTreeMap<ObjectKey, String>,
    /// Secrets that sources read: the token and its version.
    pub secrets: BTreeMap<String, (String, u64)>,
    /// Where they say that they may go.
    pub secret_hosts: BTreeMap<String, Vec<String>>,
    // The durable state.
    pub statuses: BTreeMap<ObjectKey, SubscriptionStatus>,
    pub source_statuses: BTreeMap<ObjectKey, TokenSourceStatus>,
    pub provider_statuses: BTreeMap<ObjectKey, WebhookProviderStatus>,
    pub published: BTreeMap<ObjectKey, Published>,
    /// Where the engine dies that was started last.
    pub mortality: Mortality,
    /// Subscriptions with our finalizer.
    pub finalizers: BTreeSet<ObjectKey>,
    /// Providers with our finalizer.
    pub provider_finalizers: BTreeSet<ObjectKey>,
    /// Since when subscriptions, and providers, are being deleted.
    pub deleted: BTreeMap<ObjectKey, DateTime<Utc>>,
    pub released: Vec<ObjectKey>,
    /// Credentials of providers that have one of their own, by Secret.
    pub credentials: BTreeMap<ObjectKey, String>,
    /// The Secret with the provider's credential is gone.
    pub without_credential: bool,
    // The token server and the provider.
    pub tokens: BTreeMap<String, Issued>,
    newest: BTreeMap<String, String>,
    pub remotes: BTreeMap<String, Remote>,
    /// The object that a webhook's deliveries name, by action.
    pub named: BTreeMap<String, String>,
    pub orphans: Orphans,
    /// How long listings do not show a new remote.
    pub listing_lag: TimeDelta,
    /// What the provider appends to each URL that it is given.
    pub stored_with: &'static str,
    created: BTreeMap<String, DateTime<Utc>>,
    /// How many webhooks each account has had.
    numbered: BTreeMap<String, u64>,
    /// The next update is under way for so long.
    pub delay: Option<Duration>,
    pub under_way: Vec<UnderWay>,
    // Faults: called for each call, in order.
    pub call_faults: VecDeque<CallFault>,
    pub fault_for: Option<CallFaults>,
    pub mint_fault: Option<MintFaults>,
    pub conduct: Conduct,
    /// Who proves deliveries.
    pub gate: Gate,
    /// Engines that run, to be told of gates.
    pub engines: Vec<WeakSender<Change>>,
    /// Faults of the writes to come, of whatever they write.
    pub write_faults: VecDeque<Option<WriteFault>>,
    /// Statuses whose write is under way.
    pub being_written: BTreeSet<String>,
    // The ledger.
    pub mints: u64,
    pub creates: u64,
    pub updates: u64,
    pub deletes: u64,
    pub lists: u64,
    pub records: u64,
    pub notices: Vec<Notice>,
    pub received: Vec<Received>,
    pub gauges: Option<Gauges>,
    /// The metrics that people see, where a test looks at them.
    pub metrics: Option<Metrics>,
    /// How long each remote carried a token that was dead, once for each time.
    pub late: Vec<(String, TimeDelta)>,
    /// Creates and updates whose token ought to have been published before, and was not.
    pub unpublished: u64,
    /// Updates that brought the token that was there already.
    pub repeated: u64,
}

impl Outside {
    pub fn new(settings: &Settings) -> Self {
        Self {
            token_life: settings.token_life,
            lives: BTreeMap::new(),
            revokes: settings.revokes,
            manner: Manner::default(),
            wall_shift: TimeDelta::zero(),
            slept: Duration::ZERO,
            term: Some(1),
            providers: BTreeMap::new(),
            sources: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            rotate_requested: BTreeMap::new(),
            secrets: BTreeMap::new(),
            secret_hosts: BTreeMap::new(),
            statuses: BTreeMap::new(),
            source_statuses: BTreeMap::new(),
            provider_statuses: BTreeMap::new(),
            published: BTreeMap::new(),
            engines: Vec::new(),
            mortality: Mortality::default(),
            finalizers: BTreeSet::new(),
            provider_finalizers: BTreeSet::new(),
            credentials: BTreeMap::new(),
            without_credential: false,
            deleted: BTreeMap::new(),
            released: Vec::new(),
            tokens: BTreeMap::new(),
            newest: BTreeMap::new(),
            remotes: BTreeMap::new(),
            named: BTreeMap::new(),
            orphans: Orphans::default(),
            listing_lag: TimeDelta::zero(),
            stored_with: "",
            created: BTreeMap::new(),
            numbered: BTreeMap::new(),
            delay: None,
            under_way: Vec::new(),
            call_faults: VecDeque::new(),
            fault_for: None,
            mint_fault: None,
            conduct: Conduct::default(),
            gate: Gate::default(),
            write_faults: VecDeque::new(),
            being_written: BTreeSet::new(),
            mints: 0,
            creates: 0,
            updates: 0,
            deletes: 0,
            lists: 0,
            records: 0,
            notices: Vec::new(),
            received: Vec::new(),
            gauges: None,
            metrics: None,
            late: Vec::new(),
            unpublished: 0,
            repeated: 0,
        }
    }

    pub fn declare(&mut self, key: ObjectKey, spec: WebhookSubscriptionSpec) {
        let generation = self.subscriptions.get(&key).map_or(1, |(generation, _)| generation + 1);
        self.subscriptions.insert(key, (generation, spec));
    }

    /// Everything that is declared, with what is recorded of it: what a shell says at the start.
    pub fn declared(&self) -> Vec<Change> {
        let providers = self.providers.keys().map(|key| self.provider_change(key));
        let sources = self.sources.iter().map(|(key, spec)| {
            let status = self.source_statuses.get(key).cloned().unwrap_or_default();
            super::declared_source(key, spec, status)
        });
        providers.chain(sources).chain(self.subscriptions.keys().map(|key| self.change(key))).collect()
    }

    pub fn next_write_fault(&mut self) -> Option<WriteFault> {
        self.write_faults.pop_front().flatten()
    }

    /// The object is gone, with what was recorded of it.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.subscriptions.remove(key);
        self.statuses.remove(key);
        self.finalizers.remove(key);
        self.deleted.remove(key);
    }

    /// One provider as a shell hands it over.
    pub fn provider_change(&self, key: &ObjectKey) -> Change {
        let mut identity = super::identity(key, 1);
        identity.has_finalizer = self.provider_finalizers.contains(key);
        identity.deleted = self.deleted.get(key).copied();
        let status = self.provider_statuses.get(key).cloned().unwrap_or_default();
        super::declared_provider(identity, &self.providers[key], status)
    }

    /// One subscription as a shell hands it over.
    pub fn change(&self, key: &ObjectKey) -> Change {
        let (generation, spec) = &self.subscriptions[key];
        let mut identity = super::identity(key, *generation);
        identity.has_finalizer = self.finalizers.contains(key);
        identity.deleted = self.deleted.get(key).copied();
        identity.rotate_requested = self.rotate_requested.get(key).cloned();
        super::declared_subscription(identity, spec, self.statuses.get(key).cloned().unwrap_or_default())
    }

    pub fn issue(&mut self, source: &str, asked: DateTime<Utc>, now: DateTime<Utc>) -> String {
        let own = self.lives.iter().find(|(of, _)| source.contains(of.as_str()));
        self.issue_for(source, own.map_or(self.token_life, |(_, life)| *life), asked, now)
    }

    /// Issues a token that lives for so long.
    pub fn issue_for(
        &mut self,
        source: &str,
        life: Duration,
        asked: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> String {
        self.mints += 1;
        let renews = matches!(self.manner, Manner::Renews | Manner::Contradicts);
        if let Some(newest) = self.newest.get(source).filter(|_| !renews).cloned()
            && (self.manner == Manner::SaysNothing || self.died(&newest).is_some_and(|died| now < died))
        {
            if self.manner == Manner::Prolongs
                && let Some(issued) = self.tokens.get_mut(&newest)
            {
                issued.expires = now + TimeDelta::from_std(life).unwrap();
            }
            return newest;
        }
        let token = format!("{CANARY}token-{}", self.mints);
        if let Some(before) = self.newest.insert(source.to_owned(), token.clone())
            && self.revokes
            && let Some(before) = self.tokens.get_mut(&before)
        {
            before.revoked = Some(now);
        }
        let life = match self.manner {
            Manner::SaysNothing => TimeDelta::days(36_500),
            _ => TimeDelta::from_std(life).unwrap(),
        };
        let expires = now + life;
        let issued = Issued { source: source.to_owned(), asked, expires, revoked: None };
        self.tokens.insert(token.clone(), issued);
        token
    }

    pub fn died(&self, token: &str) -> Option<DateTime<Utc>> {
        let issued = self.tokens.get(token)?;
        Some(issued.revoked.map_or(issued.expires, |revoked| revoked.min(issued.expires)))
    }

    /// Where tokens are published, their readers know each before the provider does.
    fn judge_publishing(&mut self, token: &str) {
        let publishes = self.sources.values().any(|source| source.publish_to.is_some());
        let is_read = self.published.values().any(|published| published.current.expose() == token);
        self.unpublished += u64::from(publishes && !is_read);
        self.gate.delivered(token);
    }

    /// Gates read what is published when the status names another token: none is named before it is there.
    pub fn judge_named_token(&mut self, source: &ObjectKey, status: &TokenSourceStatus) {
        let publishes = self.sources.get(source).is_some_and(|spec| spec.publish_to.is_some());
        let before = self.source_statuses.get(source).and_then(|status| status.token_fingerprint.clone());
        let named = status.token_fingerprint.as_ref().filter(|named| before.as_ref() != Some(*named));
        let Some(named) = named.filter(|_| publishes) else { return };
        if self.published.get(source).is_none_or(|published| published.fingerprint != *named) {
            crate::canaries::fault(format!("the status of {source} names a token that is not published yet"));
        }
    }

    /// Makes a webhook in the account of a credential, and returns the id that the account knows it by.
    pub fn create(
        &mut self,
        credential: Option<&str>,
        action: &str,
        url: &str,
        active: bool,
        token: &str,
        now: DateTime<Utc>,
    ) -> String {
        self.creates += 1;
        self.judge_publishing(token);
        let account = credential.unwrap_or_default();
        let number = self.numbered.entry(account.to_owned()).or_default();
        *number += 1;
        let id = self.conduct.id(account, *number);
        let stored = if account.is_empty() { id.clone() } else { format!("{account}:{id}") };
        self.created.insert(stored.clone(), now);
        let remote = Remote { action: action.into(), url: url.into(), active, token: token.into() };
        self.remotes.insert(stored, remote);
        id
    }

    pub fn put(
        &mut self,
        id: &str,
        action: &str,
        url: &str,
        active: bool,
        token: &str,
        now: DateTime<Utc>,
    ) -> bool {
        self.updates += 1;
        self.judge_publishing(token);
        let remote = Remote { action: action.into(), url: url.into(), active, token: token.into() };
        if self.delay.take().is_some() {
            self.under_way.push(UnderWay { id: id.to_owned(), remote });
            return true;
        }
        let Some(before) = self.remotes.get(id) else {
            return false;
        };
        if before.token == token {
            self.repeated += 1;
        } else if let Some(died) = self.died(&before.token).filter(|died| *died < now) {
            self.late.push((id.to_owned(), now - died));
        }
        self.remotes.insert(id.to_owned(), remote);
        true
    }

    /// What was under way arrives.
    pub fn land(&mut self) {
        for UnderWay { id, remote } in self.under_way.drain(..) {
            self.remotes.insert(id, remote);
        }
    }

    /// Whether listings show it yet.
    pub fn is_listed(&self, id: &str, now: DateTime<Utc>) -> bool {
        self.created.get(id).is_none_or(|created| *created + self.listing_lag <= now)
    }

    /// Remotes whose token is dead now.
    pub fn dead(&self, now: DateTime<Utc>) -> Vec<&str> {
        self.remotes
            .iter()
            .filter(|(_, remote)| self.died(&remote.token).is_some_and(|died| died <= now))
            .map(|(id, _)| id.as_str())
            .collect()
    }

    /// How many remotes there are beyond the first of the same action and URL.
    pub fn doubled(&self) -> usize {
        let mut seen = std::collections::BTreeSet::new();
        self.remotes.values().filter(|remote| !seen.insert((&remote.action, &remote.url))).count()
    }
}
