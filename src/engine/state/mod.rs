//! Everything the engine knows: subscriptions, providers, sources, origins, and who claims what.

pub(crate) mod accounts;
pub(crate) mod claims;
pub(crate) mod gate_wait;
pub(crate) mod index;
pub(crate) mod keeping;
pub(crate) mod leaving;
pub(crate) mod lookups;
pub(crate) mod namespaces;
pub(crate) mod offering;
pub(crate) mod provider;
pub(crate) mod publication;
pub(crate) mod published;
pub(crate) mod reception;
pub(crate) mod same_account;
pub(crate) mod shared;
pub(crate) mod source;
pub(crate) mod subscription;
pub(crate) mod terms;
pub(crate) mod tokens;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::api::{ObjectKey, WebhookSubscriptionSpec};
use crate::engine::ids::{Arena, ProviderId, SourceId, SubscriptionId};
use crate::engine::options::Options;
use crate::engine::ports::Kept;
use crate::engine::queue::blocked::Blocked;
use crate::engine::queue::hold_back::HoldBack;
use crate::engine::queue::origin::Origin;
use crate::engine::queue::pace::Pace;
use crate::engine::queue::timers::Timers;
use crate::engine::state::accounts::{Accounts, Belonging};
use crate::engine::state::keeping::Keeping;
use crate::engine::state::namespaces::Namespaces;
use crate::engine::state::offering::Offering;
use crate::engine::state::provider::Provider;
use crate::engine::state::publication::Publication;
use crate::engine::state::shared::{AllPlaces, AllWaiting, UnderWay};
use crate::engine::state::source::{Source, SourceKey};
use crate::engine::state::subscription::Entry;
use crate::rotation::facts::SourceState;
use crate::rotation::target::short_digest;
use crate::secret::bounds::Bounds;
use crate::shares::budget::{Bucket, Budgets};

/// Everything the engine knows.
pub(crate) struct State {
    pub(crate) subscriptions: Arena<SubscriptionId, Entry>,
    pub(crate) by_key: HashMap<ObjectKey, SubscriptionId>,
    pub(crate) providers: Arena<ProviderId, Provider>,
    pub(crate) provider_by_key: HashMap<ObjectKey, ProviderId>,
    pub(crate) sources: Arena<SourceId, Source>,
    pub(crate) source_by_key: HashMap<SourceKey, SourceId>,
    pub(crate) origins: BTreeMap<String, Origin>,
    pub(crate) timers: Timers,
    /// By place and id, whatever the account, and by provider and target.
    claims: BTreeSet<(u64, SubscriptionId)>,
    pub(crate) accounts: Accounts,
    /// Those that shared a claim that somebody has just given up: they are looked at again.
    pub(crate) freed: BTreeSet<SubscriptionId>,
    /// Those whose claims stand otherwise than before, although nobody has given one up.
    pub(crate) looked_at_again: BTreeSet<SubscriptionId>,
    /// Providers that have got their first holder, or lost their last.
    pub(crate) holders_changed: BTreeSet<ProviderId>,
    pub(crate) namespaces: Namespaces,
    /// The subscriptions of each receiver.
    pub(crate) received: BTreeMap<ObjectKey, BTreeSet<SubscriptionId>>,
    /// When a delivery was accepted last at each of these, with a token of ours.
    pub(crate) taken_in: BTreeMap<ObjectKey, DateTime<Utc>>,
    /// Sources whose members carry other tokens than before.
    pub(crate) carried_changed: BTreeSet<SourceId>,
    /// How the engine works.
    pub(crate) options: Options,
    /// The time of leading in which it acts; `None` while another process leads.
    pub(crate) term: Option<u64>,
    /// Everything that was there at the start has been handed over.
    pub(crate) synced: bool,
    /// Running steps are brought to an end, and nothing else is begun.
    pub(crate) stopping: bool,
    /// What can be under way at the same time.
    pub(crate) places: AllPlaces,
    /// What waits for its turn.
    pub(crate) waiting: AllWaiting,
    /// The calls that are under way.
    pub(crate) under_way: UnderWay,
    /// How many tokens are being handed to gates.
    pub(crate) offers: usize,
    /// The origin that had the last turn.
    pub(crate) last_origin: String,
    /// Not all turns that could be given have been.
    pub(crate) more_turns: bool,
    /// Wall time less boot time in milliseconds, to notice a clock that was set.
    pub(crate) clock_offset: Option<i64>,
    pub(crate) next_gauges: Duration,
    pub(crate) next_tidying: Duration,
    /// The budgets of origins, where there are others in the process who send to them.
    pub(crate) budgets: Option<Budgets>,
}

impl State {
    /// Nothing is known yet.
    pub(crate) fn new(options: Options) -> Self {
        Self {
            subscriptions: Arena::default(),
            by_key: HashMap::new(),
            providers: Arena::default(),
            provider_by_key: HashMap::new(),
            sources: Arena::default(),
            source_by_key: HashMap::new(),
            origins: BTreeMap::new(),
            timers: Timers::default(),
            claims: BTreeSet::new(),
            accounts: Accounts::default(),
            freed: BTreeSet::new(),
            looked_at_again: BTreeSet::new(),
            holders_changed: BTreeSet::new(),
            namespaces: Namespaces::default(),
            received: BTreeMap::new(),
            taken_in: BTreeMap::new(),
            carried_changed: BTreeSet::new(),
            places: AllPlaces::new(options.workers, options.recorders),
            options,
            term: None,
            synced: false,
            stopping: false,
            waiting: AllWaiting::default(),
            under_way: UnderWay::default(),
            offers: 0,
            last_origin: String::new(),
            more_turns: false,
            clock_offset: None,
            next_gauges: Duration::ZERO,
            next_tidying: Duration::ZERO,
            budgets: None,
        }
    }

    /// Whether there is but one namespace, so that nothing has to be left for others.
    pub(crate) fn is_alone(&self) -> bool {
        self.namespaces.len() <= 1
    }

    /// Whether nobody is busy and no place is taken.
    pub(crate) fn is_at_rest(&self) -> bool {
        let mut subscriptions = self.subscriptions.iter();
        let mut providers = self.providers.iter();
        let mut sources = self.sources.iter();
        let mut origins = self.origins.values();
        subscriptions.all(|(_, entry)| !entry.is_busy() && entry.calling.is_none())
            && providers.all(|(_, provider)| provider.calls == 0 && !provider.is_listing())
            && sources.all(|(_, source)| !source.minting && !source.published.busy && !source.offering.busy)
            && origins.all(Origin::is_at_rest)
            && self.places.is_at_rest()
            && self.waiting.writes.is_empty()
            && self.under_way.is_empty()
    }

    /// How much is kept, by kind.
    pub(crate) fn kept(&self) -> Kept {
        Kept {
            subscriptions: self.subscriptions.len(),
            providers: self.providers.len(),
            sources: self.sources.len(),
            origins: self.origins.len(),
            namespaces: self.namespaces.len(),
            claims: self.claims.len(),
            tokens: self.sources.iter().map(|(_, source)| source.tokens_kept()).sum(),
        }
    }

    pub(crate) fn entry(&self, id: SubscriptionId) -> Option<&Entry> {
        self.subscriptions.get(id)
    }

    pub(crate) fn entry_mut(&mut self, id: SubscriptionId) -> Option<&mut Entry> {
        self.subscriptions.get_mut(id)
    }

    pub(crate) fn provider(&self, id: ProviderId) -> Option<&Provider> {
        self.providers.get(id)
    }

    pub(crate) fn provider_mut(&mut self, id: ProviderId) -> Option<&mut Provider> {
        self.providers.get_mut(id)
    }

    pub(crate) fn source(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(id)
    }

    pub(crate) fn source_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        self.sources.get_mut(id)
    }

    /// The provider of that name, or a place for it while there is none.
    pub(crate) fn provider_for(&mut self, key: &ObjectKey, now: Duration) -> ProviderId {
        if let Some(id) = self.provider_by_key.get(key) {
            return *id;
        }
        let (namespace, _) = self.namespaces.enter(&key.namespace);
        let id = self.providers.insert(Provider {
            key: key.clone(),
            namespace,
            declared: None,
            deleted: None,
            client: None,
            invalid: None,
            suspended: false,
            users: BTreeSet::new(),
            listing: None,
            wanted: None,
            waiting: BTreeSet::new(),
            listing_at: None,
            paused: None,
            page: None,
            reads: false,
            reads_next: None,
            listing_since: None,
            listing_epoch: 0,
            list_forbidden: false,
            list_failures: 0,
            list_wait: None,
            next_verification: None,
            hold: HoldBack::default(),
            calls: 0,
            calls_since_page: 0,
            bucket: Bucket::new(60, 1.0, now),
            blocked: Blocked::default(),
            answered: None,
            recording: false,
            keeping: Keeping::default(),
            belonging: Belonging::default(),
            pace: Pace::default(),
            timer: None,
        });
        self.provider_by_key.insert(key.clone(), id);
        id
    }

    /// The source of that key, or a place for it while there is none.
    pub(crate) fn source_for(&mut self, key: &SourceKey) -> SourceId {
        if let Some(id) = self.source_by_key.get(key) {
            return *id;
        }
        let state = SourceState { jitter_seed: key.seed(), ..SourceState::default() };
        let (namespace, _) = self.namespaces.enter(key.namespace());
        let id = self.sources.insert(Source {
            key: key.clone(),
            namespace,
            spec: None,
            invalid: None,
            object: None,
            state,
            token: None,
            token_bounds: Bounds::default(),
            users: BTreeSet::new(),
            members: 0,
            carried: BTreeMap::new(),
            carried_changed: false,
            waiting: BTreeSet::new(),
            wanted: None,
            minting: false,
            failures: 0,
            hold: HoldBack::default(),
            last_lifetime: None,
            slowest: Duration::ZERO,
            published: Publication::default(),
            offering: Offering::default(),
            carried_for_gates: None,
            recording: false,
            unrecorded: false,
            timer: None,
            renewal: None,
        });
        self.source_by_key.insert(key.clone(), id);
        id
    }

    /// Which source a subscription uses.
    pub(crate) fn source_key(key: &ObjectKey, spec: &WebhookSubscriptionSpec) -> Option<SourceKey> {
        if let Some(reference) = &spec.token_source_ref {
            return Some(SourceKey::Object(key.sibling(&reference.name)));
        }
        let inline = spec.inline_source()?;
        let text = serde_json::to_string(&inline).ok()?;
        Some(SourceKey::Inline { namespace: Arc::clone(&key.namespace), digest: short_digest(&[&text]) })
    }
}
