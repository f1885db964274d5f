//! Everything the engine knows: subscriptions, providers, sources, origins, and who claims what.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::accounts::{Accounts, Belonging, Shared, base_of, keyed, place_of};
use super::blocked::Blocked;
use super::entry::{Entry, Expected, Object};
use super::evidence::Received;
use super::gates::Offering;
use super::hold_back::HoldBack;
use super::ids::{ProviderId, Slab, SourceId, SubscriptionId};
use super::keeping::Keeping;
use super::listings::Paused;
use super::namespaces::{NamespaceId, Namespaces};
use super::origin::Origin;
use super::pace::Pace;
use super::ports::{Kept, ProviderClient, Published};
use super::ready::{CALLS_BETWEEN_PAGES, PagePlace};
use super::timers::{Milliseconds, Timers};
use crate::api::{
    ConditionStatus, ConditionType, Declared, DeletionPolicy, Identity, ObjectKey, Reason, TokenSourceSpec,
    TokenSourceStatus, WebhookProviderSpec, WebhookProviderStatus, WebhookSubscriptionSpec,
};
use crate::rotation::claims;
use crate::rotation::facts::{ListingView, OwnerOf, SourceState};
use crate::rotation::life::HeldToken;
use crate::rotation::target::{Target, digest_of_id, short_digest};
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;
use crate::shares::budget::Bucket;

/// How soon others are woken that wait for a provider's own limits, when nobody calls.
const WAKES_AGAIN: Duration = Duration::from_secs(1);

/// Which source: an object, or what a subscription spells out. Identical ones are one source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum SourceKey {
    Object(ObjectKey),
    Inline { namespace: Arc<str>, digest: String },
}

impl SourceKey {
    pub(super) fn namespace(&self) -> &Arc<str> {
        match self {
            Self::Object(key) => &key.namespace,
            Self::Inline { namespace, .. } => namespace,
        }
    }

    /// Fixed for the source, and different between sources.
    pub(super) fn seed(&self) -> u64 {
        let digest = match self {
            Self::Object(key) => short_digest(&[&key.namespace, &key.name]),
            Self::Inline { namespace, digest } => short_digest(&[namespace, digest]),
        };
        u64::from_str_radix(&digest, 16).unwrap_or(0)
    }
}

/// A token source and its members.
pub(super) struct Source {
    pub(super) key: SourceKey,
    pub(super) namespace: NamespaceId,
    /// The last valid version; `None` while there is none.
    pub(super) spec: Option<Arc<TokenSourceSpec>>,
    pub(super) invalid: Option<String>,
    /// The object, where the source is one.
    pub(super) object: Option<(Identity, TokenSourceStatus)>,
    pub(super) state: SourceState,
    /// The token that belongs to `state.held`.
    pub(super) token: Option<SecretText>,
    /// Where the token may go, as the Secret says that it was read from.
    pub(super) token_bounds: Bounds,
    /// Everything that refers to the source.
    pub(super) users: BTreeSet<SubscriptionId>,
    /// How many of the users are members.
    pub(super) members: u32,
    /// How many of the members carry each fingerprint.
    pub(super) carried: BTreeMap<Arc<str>, u32>,
    /// Whether a fingerprint has come to them or left them.
    pub(super) carried_changed: bool,
    /// What gates are to read in the status of what is carried; `None` until that is known.
    pub(super) carried_for_gates: Option<BTreeSet<Arc<str>>>,
    /// Those that asked for the mint that is waited for.
    pub(super) waiting: BTreeSet<SubscriptionId>,
    /// Its place in line for a mint: the earliest deadline among them, in epoch milliseconds.
    pub(super) wanted: Option<i64>,
    pub(super) minting: bool,
    pub(super) failures: u32,
    pub(super) hold: HoldBack,
    pub(super) last_lifetime: Option<Duration>,
    /// How long mints take, at the most, lately.
    pub(super) slowest: Duration,
    pub(super) published: Publication,
    pub(super) offering: Offering,
    /// The object's status is being written.
    pub(super) recording: bool,
    /// It could not be written.
    pub(super) unrecorded: bool,
    pub(super) timer: Option<Milliseconds>,
    /// When the token that platforms are asked with is replaced.
    pub(super) renewal: Option<Milliseconds>,
}

/// What is known of the Secret a source publishes to.
#[derive(Debug, Default)]
pub(super) struct Publication {
    /// What stands there.
    pub(super) tokens: Option<Published>,
    /// What should stand there and does not yet.
    pub(super) pending: Option<Published>,
    /// The token that was applied last, until it may be forgotten.
    pub(super) applied: Option<(Arc<str>, SecretText)>,
    /// A read or a write is under way.
    pub(super) busy: bool,
    /// A write failed: when to try again.
    pub(super) failures: u32,
    /// How often it was forgotten: what was begun before that brings nothing.
    pub(super) forgotten: u64,
}

/// A provider and its users.
pub(super) struct Provider {
    pub(super) key: ObjectKey,
    pub(super) namespace: NamespaceId,
    pub(super) declared: Option<(Identity, Arc<WebhookProviderSpec>, WebhookProviderStatus)>,
    /// What was asked for before its object was deleted: what it ran into still holds for the same.
    pub(super) deleted: Option<Arc<WebhookProviderSpec>>,
    /// The last valid version, ready to be called.
    pub(super) client: Option<Arc<dyn ProviderClient>>,
    pub(super) invalid: Option<String>,
    pub(super) suspended: bool,
    pub(super) users: BTreeSet<SubscriptionId>,
    pub(super) listing: Option<Arc<ListingView>>,
    /// A listing begun at this time or later is asked for, and by whom.
    pub(super) wanted: Option<DateTime<Utc>>,
    pub(super) waiting: BTreeSet<SubscriptionId>,
    /// The origin at which a page of a listing is under way.
    pub(super) listing_at: Option<Arc<str>>,
    /// A listing between two of its pages.
    pub(super) paused: Option<Paused>,
    /// The origin at which a page waits for its turn, and where in line.
    pub(super) page: Option<(Arc<str>, PagePlace)>,
    /// Whether it has one of the places of listings that are being read.
    pub(super) reads: bool,
    /// Where it stands among those that wait for such a place.
    pub(super) reads_next: Option<u64>,
    /// When the listing that is under way, or paused, was begun.
    pub(super) listing_since: Option<DateTime<Utc>>,
    /// Differs between listings that must not go on as each other's.
    pub(super) listing_epoch: u32,
    pub(super) list_forbidden: bool,
    pub(super) list_failures: u32,
    pub(super) list_wait: Option<crate::rotation::wait::Wait>,
    pub(super) next_verification: Option<Duration>,
    /// Opened by a 401, and by answers that ask for a pause.
    pub(super) hold: HoldBack,
    pub(super) calls: u32,
    /// Calls that were begun since the last page of a listing.
    pub(super) calls_since_page: u32,
    pub(super) bucket: Bucket,
    /// Those that wait for a place among `maxConcurrent`, or for the provider's own budget.
    pub(super) blocked: Blocked,
    pub(super) answered: Option<(ConditionStatus, Reason, String)>,
    pub(super) recording: bool,
    pub(super) keeping: Keeping,
    pub(super) belonging: Belonging,
    pub(super) pace: Pace,
    pub(super) timer: Option<Milliseconds>,
}

impl Provider {
    pub(super) fn origin(&self) -> Option<&str> {
        self.client.as_ref().map(|remote| remote.profile().origin.as_str())
    }

    pub(super) fn can_list(&self) -> bool {
        self.client.as_ref().is_some_and(|remote| remote.profile().can_list)
    }

    /// Whether a page of a listing is under way.
    pub(super) fn is_listing(&self) -> bool {
        self.listing_at.is_some()
    }

    /// When those that wait for the provider's own limits are woken; `None` while nobody waits, or a
    /// call's end will wake them.
    pub(super) fn wakes_at(&mut self, now: Duration) -> Option<Duration> {
        if self.blocked.is_empty() {
            None
        } else if !self.bucket.has(now) {
            Some(self.bucket.ready_at(now))
        } else {
            // Whoever was woken last may have had no use for it.
            (self.calls == 0).then(|| now + WAKES_AGAIN)
        }
    }

    /// How many calls may be under way at the same time.
    pub(super) fn limit(&self, now: DateTime<Utc>) -> u32 {
        // After a pause that was asked for, one call shows whether it is over.
        if self.hold.probes(now) {
            return 1;
        }
        self.client.as_ref().map_or(1, |remote| remote.profile().max_concurrent)
    }

    /// Whether a page of a listing has to let calls go first, where the provider's own budget is not
    /// enough for both.
    pub(super) fn lets_others_go(&mut self, now: Duration) -> bool {
        self.bucket.available(now) < 2.0 && self.calls_since_page < CALLS_BETWEEN_PAGES
    }

    /// What has been read of a listing, or will have been, is of no use any more.
    pub(super) fn forget_reading(&mut self) {
        self.paused = None;
        self.listing_since = None;
        self.listing_epoch = self.listing_epoch.wrapping_add(1);
    }
}

/// Everything the engine knows.
#[derive(Default)]
pub(super) struct State {
    pub(super) subscriptions: Slab<Entry>,
    pub(super) by_key: HashMap<ObjectKey, SubscriptionId>,
    pub(super) providers: Slab<Provider>,
    pub(super) provider_by_key: HashMap<ObjectKey, ProviderId>,
    pub(super) sources: Slab<Source>,
    pub(super) source_by_key: HashMap<SourceKey, SourceId>,
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) timers: Timers,
    /// By place and id, whatever the account, and by provider and target.
    claims: BTreeSet<(u64, SubscriptionId)>,
    pub(super) accounts: Accounts,
    /// Those that shared a claim that somebody has just given up: they are looked at again.
    pub(super) freed: BTreeSet<SubscriptionId>,
    /// Those whose claims stand otherwise than before, although nobody has given one up.
    pub(super) looked_at_again: BTreeSet<SubscriptionId>,
    /// Providers that have got their first holder, or lost their last.
    pub(super) holders_changed: BTreeSet<ProviderId>,
    pub(super) namespaces: Namespaces,
    /// The subscriptions of each receiver.
    pub(super) received: BTreeMap<ObjectKey, BTreeSet<SubscriptionId>>,
    /// When a delivery was accepted last at each of these, with a token of ours.
    pub(super) taken_in: BTreeMap<ObjectKey, DateTime<Utc>>,
    /// Sources whose members carry other tokens than before.
    pub(super) carried_changed: BTreeSet<SourceId>,
}

/// Claim to a remote that is not known yet.
fn claim_of_target(provider: &ObjectKey, target: Target) -> u64 {
    keyed(["target", &provider.namespace, &provider.name, &target.to_string()])
}

impl State {
    /// Whether there is but one namespace, so that nothing has to be left for others.
    pub(super) fn is_alone(&self) -> bool {
        self.namespaces.len() <= 1
    }

    /// Whether nobody is busy and no place is taken.
    pub(super) fn is_at_rest(&self) -> bool {
        let mut subscriptions = self.subscriptions.iter();
        let mut providers = self.providers.iter();
        let mut sources = self.sources.iter();
        let mut origins = self.origins.values();
        subscriptions.all(|(_, entry)| !entry.is_busy() && entry.calling.is_none())
            && providers.all(|(_, provider)| provider.calls == 0 && !provider.is_listing())
            && sources.all(|(_, source)| !source.minting && !source.published.busy && !source.offering.busy)
            && origins.all(Origin::is_at_rest)
    }

    /// How much is kept, by kind.
    pub(super) fn kept(&self) -> Kept {
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

    pub(super) fn entry(&self, id: SubscriptionId) -> Option<&Entry> {
        self.subscriptions.get(id.0)
    }

    pub(super) fn entry_mut(&mut self, id: SubscriptionId) -> Option<&mut Entry> {
        self.subscriptions.get_mut(id.0)
    }

    pub(super) fn provider(&self, id: ProviderId) -> Option<&Provider> {
        self.providers.get(id.0)
    }

    pub(super) fn provider_mut(&mut self, id: ProviderId) -> Option<&mut Provider> {
        self.providers.get_mut(id.0)
    }

    pub(super) fn source(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(id.0)
    }

    pub(super) fn source_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        self.sources.get_mut(id.0)
    }

    /// The provider of that name, or a place for it while there is none.
    pub(super) fn provider_for(&mut self, key: &ObjectKey, now: Duration) -> ProviderId {
        if let Some(id) = self.provider_by_key.get(key) {
            return *id;
        }
        let (namespace, _) = self.namespaces.enter(&key.namespace);
        let id = ProviderId(self.providers.insert(Provider {
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
        }));
        self.provider_by_key.insert(key.clone(), id);
        id
    }

    /// The source of that key, or a place for it while there is none.
    pub(super) fn source_for(&mut self, key: &SourceKey) -> SourceId {
        if let Some(id) = self.source_by_key.get(key) {
            return *id;
        }
        let state = SourceState { jitter_seed: key.seed(), ..SourceState::default() };
        let (namespace, _) = self.namespaces.enter(key.namespace());
        let id = SourceId(self.sources.insert(Source {
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
        }));
        self.source_by_key.insert(key.clone(), id);
        id
    }

    /// Which source a subscription uses.
    pub(super) fn source_key(key: &ObjectKey, spec: &WebhookSubscriptionSpec) -> Option<SourceKey> {
        if let Some(reference) = &spec.token_source_ref {
            return Some(SourceKey::Object(key.sibling(&reference.name)));
        }
        let inline = spec.inline_source()?;
        let text = serde_json::to_string(&inline).ok()?;
        Some(SourceKey::Inline { namespace: Arc::clone(&key.namespace), digest: short_digest(&[&text]) })
    }

    /// Brings the indexes in line with an object: its claims, and its place among the members.
    pub(super) fn index(&mut self, id: SubscriptionId, object: &Object) {
        let Some(entry) = self.subscriptions.get(id.0) else {
            return;
        };
        let provider = self.providers.get(entry.provider.0);
        let provider_key = provider.map(|provider| provider.key.clone());
        let known_id = object
            .spec
            .as_ref()
            .and_then(|spec| spec.webhook_id.as_ref())
            .or(object.status.webhook_id.as_ref());
        let origin = object
            .status
            .webhook_origin
            .as_deref()
            .or_else(|| provider.and_then(Provider::origin))
            .unwrap_or_default();
        let remote = provider.and_then(|provider| provider.client.as_ref());
        let wanted_target = object.spec.as_ref().map(|spec| match remote {
            Some(remote) => remote.profile().target_of(spec),
            None => Target::new(spec.action.as_deref(), &spec.postback_url),
        });
        let base = base_of(object, remote.map(|remote| remote.profile()));
        let wanted = [
            known_id.filter(|known| !entry.is_not_there(known)).map(|known| place_of(base, known)),
            wanted_target
                .as_ref()
                .zip(provider_key.as_ref())
                .map(|(target, key)| claim_of_target(key, *target)),
        ];
        let lives_here = provider.and_then(Provider::origin) == Some(origin);
        let expected = object
            .status
            .webhook_id
            .as_ref()
            .filter(|_| lives_here)
            .zip(object.spec.as_ref())
            .zip(wanted_target.as_ref())
            .map(|((recorded, spec), target)| Expected {
                id: digest_of_id(recorded),
                target: *target,
                active: spec.is_active(),
                secrets: spec.client_headers.iter().any(|header| {
                    header.value_from.as_ref().is_some_and(|from| from.secret_key_ref.is_some())
                }),
                missing: object.status.missing_since.is_some(),
                unsure: object.status.missing_since.is_some() || object.status.creation.is_some(),
                applied: object.status.last_rotated_time.map_or(i64::MIN, |at| at.timestamp_millis()),
            });
        let stalled = object.status.conditions.iter().any(|condition| {
            condition.kind == ConditionType::Stalled && condition.reason != Reason::InvalidSpec
        });
        let member = object.spec.as_ref().is_some_and(|spec| !spec.is_suspended())
            && object.identity.deleted.is_none()
            && !entry.gone
            && !stalled;
        // A token from somewhere else says nothing of what this source's members carry.
        let counts = member && !entry.carries_a_strangers_token();
        let fingerprint = object.status.token_fingerprint.as_deref().filter(|_| counts);
        let source = entry.source;
        let holds = object.spec.as_ref().is_some_and(|spec| spec.deletion_policy() == DeletionPolicy::Delete);
        let (before, carried) = (entry.claims, entry.carried.clone());
        let was_member = entry.member;
        if before != wanted {
            self.give_up(id, before);
            for claim in wanted.into_iter().flatten() {
                self.claims.insert((claim, id));
            }
        }
        let mut shared = None;
        if carried.as_deref() != fingerprint
            && let Some(source) = source.and_then(|source| self.sources.get_mut(source.0))
        {
            source.forget_carried(carried.as_ref());
            shared = fingerprint.map(|fingerprint| source.count_carried(fingerprint));
        } else if carried.as_deref() == fingerprint {
            shared = carried;
        }
        if let Some(entry) = self.subscriptions.get_mut(id.0) {
            entry.claims = wanted;
            entry.expected = expected;
            entry.carried = shared;
            entry.member = member;
        }
        self.count_holder(id, holds);
        self.receive(id, object.spec.as_ref());
        if let Some((source_id, source)) = source.and_then(|id| Some((id, self.sources.get_mut(id.0)?))) {
            source.members = source.members + u32::from(member) - u32::from(was_member);
            source.refresh();
            if std::mem::take(&mut source.carried_changed) {
                self.carried_changed.insert(source_id);
            }
        }
    }

    /// Notes whether the deletion of a subscription will need its provider.
    fn count_holder(&mut self, id: SubscriptionId, holds: bool) {
        let Some(entry) = self.subscriptions.get_mut(id.0) else {
            return;
        };
        if std::mem::replace(&mut entry.holds, holds) == holds {
            return;
        }
        let provider_id = entry.provider;
        if let Some(provider) = self.providers.get_mut(provider_id.0) {
            let holders = &mut provider.keeping.holders;
            *holders = if holds { *holders + 1 } else { holders.saturating_sub(1) };
            if *holders == u32::from(holds) {
                self.holders_changed.insert(provider_id);
            }
        }
    }

    /// Notes which receiver takes a subscription's deliveries in.
    fn receive(&mut self, id: SubscriptionId, spec: Option<&WebhookSubscriptionSpec>) {
        let Some(entry) = self.subscriptions.get_mut(id.0) else {
            return;
        };
        let wanted = spec.and_then(|spec| {
            let receiver = spec.receiver_ref.as_ref()?.name.as_str().into();
            Some(Received { receiver, action: spec.action.as_deref().map(Box::from) })
        });
        if entry.received.as_deref() == wanted.as_ref() {
            return;
        }
        let before = std::mem::replace(&mut entry.received, wanted.clone().map(Box::new));
        let key = entry.key.clone();
        if let Some(before) = before {
            let receiver = key.sibling(&before.receiver);
            if let Some(of_receiver) = self.received.get_mut(&receiver) {
                of_receiver.remove(&id);
                if of_receiver.is_empty() {
                    self.received.remove(&receiver);
                    self.taken_in.remove(&receiver);
                }
            }
        }
        if let Some(wanted) = wanted {
            self.received.entry(key.sibling(&wanted.receiver)).or_default().insert(id);
        }
    }

    /// Takes a subscription out of every index.
    pub(super) fn unindex(&mut self, id: SubscriptionId) {
        self.count_holder(id, false);
        self.receive(id, None);
        let Some(entry) = self.subscriptions.get_mut(id.0) else {
            return;
        };
        let (claims, carried, source, provider) =
            (std::mem::take(&mut entry.claims), entry.carried.take(), entry.source, entry.provider);
        let was_member = std::mem::take(&mut entry.member);
        self.give_up(id, claims);
        if let Some((source_id, source)) = source.and_then(|id| Some((id, self.sources.get_mut(id.0)?))) {
            source.members -= u32::from(was_member);
            source.forget_carried(carried.as_ref());
            source.users.remove(&id);
            source.waiting.remove(&id);
            source.refresh();
            if std::mem::take(&mut source.carried_changed) {
                self.carried_changed.insert(source_id);
            }
        }
        if let Some(provider) = self.providers.get_mut(provider.0) {
            provider.users.remove(&id);
            provider.waiting.remove(&id);
            provider.blocked.remove(id);
        }
    }

    fn give_up(&mut self, id: SubscriptionId, claims: [Option<u64>; 2]) {
        for claim in claims.into_iter().flatten() {
            self.claims.remove(&(claim, id));
            self.free(claim, id);
        }
    }

    /// Those that may claim the same webhook are looked at again.
    fn free(&mut self, claim: u64, id: SubscriptionId) {
        let Some(provider) = self.entry(id).map(|entry| entry.provider) else {
            return;
        };
        let shares = |other: &SubscriptionId| {
            let other = self.entry(*other).map(|other| other.provider);
            other.is_some_and(|other| self.share_account(provider, other) != Shared::No)
        };
        let freed: Vec<SubscriptionId> = self.others(Some(claim), id).filter(shares).collect();
        self.freed.extend(freed);
    }

    /// Those of other provider objects that claim the same id as a subscription, and the subscription
    /// itself, are looked at again.
    pub(super) fn free_claimants(&mut self, id: SubscriptionId, of_any_account: bool) {
        let Some((by_id, provider)) = self.entry(id).map(|entry| (entry.claims[0], entry.provider)) else {
            return;
        };
        let of_another = |other: &SubscriptionId| {
            self.entry(*other).is_some_and(|other| {
                let shares = || self.share_account(provider, other.provider) != Shared::No;
                other.provider != provider && (of_any_account || shares())
            })
        };
        let others: Vec<SubscriptionId> = self.others(by_id, id).filter(of_another).collect();
        if !others.is_empty() {
            self.looked_at_again.extend(others);
            self.looked_at_again.insert(id);
        }
    }

    fn others(&self, claim: Option<u64>, besides: SubscriptionId) -> impl Iterator<Item = SubscriptionId> {
        let range = claim.map(|claim| (claim, SubscriptionId(0))..=(claim, SubscriptionId(u32::MAX)));
        range
            .into_iter()
            .flat_map(|range| self.claims.range(range))
            .map(|(_, id)| *id)
            .filter(move |id| *id != besides)
    }

    /// The id that an object claims: the one it gives, otherwise the one on record.
    fn claimed_id(object: &Object) -> Option<&String> {
        object.spec.as_ref().and_then(|spec| spec.webhook_id.as_ref()).or(object.status.webhook_id.as_ref())
    }

    /// Whether the very remote that an object claims is on its record. A claim without an id is as
    /// good as recorded when there is a remote on record.
    fn has_on_record(object: &Object) -> bool {
        object.status.webhook_id.is_some() && object.status.webhook_id.as_ref() == Self::claimed_id(object)
    }

    /// The object that comes before this one at the same remote. Credentials that have to be read before that
    /// can be said are noted.
    pub(super) fn rival(
        &self,
        id: SubscriptionId,
        object: &Object,
        unread: &mut BTreeSet<ProviderId>,
    ) -> Option<ObjectKey> {
        let entry = self.entry(id)?;
        let claim = match Self::claimed_id(object) {
            Some(_) => entry.claims[0],
            None => entry.claims[1],
        };
        self.others(claim, id).find_map(|other_id| {
            let other = self.entry(other_id)?;
            match self.share_account(entry.provider, other.provider) {
                Shared::Yes => {}
                Shared::No => return None,
                Shared::Unknown(provider) => {
                    // Whoever has nothing on record cannot stand in the way before it is known who he is.
                    if other.object().is_some_and(|theirs| Self::has_on_record(&theirs)) {
                        unread.insert(provider);
                    }
                    return None;
                }
            }
            let theirs = other.object()?;
            let recorded = Self::has_on_record(object);
            // A call of one that has come to be known first has begun: its outcome is waited for.
            let is_first = !recorded && other.calling.is_some() && other.provider != entry.provider;
            let wins =
                claims::beats((&theirs.identity, Self::has_on_record(&theirs)), (&object.identity, recorded));
            (wins || is_first).then(|| other.key.clone())
        })
    }

    /// The object that waits for this one's remote.
    pub(super) fn heir(&self, id: SubscriptionId) -> Option<(SubscriptionId, ObjectKey)> {
        let entry = self.entry(id)?;
        let [by_id, by_target] = entry.claims;
        let same_provider = |other: &Entry| other.provider == entry.provider;
        let mut heirs: Vec<(SubscriptionId, Object)> = self
            .others(by_target, id)
            .chain(self.others(by_id, id))
            .filter_map(|other_id| {
                let other = self.entry(other_id).filter(|other| same_provider(other) && !other.gone)?;
                let object = other.object()?;
                let alive = object.identity.deleted.is_none();
                (alive && object.status.webhook_id.is_none() && object.spec.is_some())
                    .then_some((other_id, object))
            })
            .collect();
        heirs.sort_by(|(_, one), (_, other)| {
            if claims::beats((&one.identity, false), (&other.identity, false)) {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Greater
            }
        });
        heirs.first().map(|(id, object)| (*id, object.identity.key.clone()))
    }
}

/// Who owns the remotes of a provider's account, from one subscription's point of view.
pub(super) struct Owners<'a> {
    state: &'a State,
    subject: SubscriptionId,
    /// Credentials that have to be read before an answer holds.
    unread: RefCell<BTreeSet<ProviderId>>,
}

impl<'a> Owners<'a> {
    pub(super) fn new(state: &'a State, subject: SubscriptionId) -> Self {
        Self { state, subject, unread: RefCell::default() }
    }

    pub(super) fn into_unread(self) -> BTreeSet<ProviderId> {
        self.unread.into_inner()
    }
}

impl OwnerOf for Owners<'_> {
    fn owner(&self, id: &str) -> Option<&ObjectKey> {
        let entry = self.state.entry(self.subject)?;
        let provider = self.state.provider(entry.provider)?;
        let claim = place_of(&provider.client.as_ref()?.profile().base_url, id);
        let mut others = self.state.others(Some(claim), self.subject).peekable();
        others.peek()?;
        let digest = digest_of_id(id);
        let subject = entry.object()?;
        let recorded = |object: &Object| object.status.webhook_id.as_deref() == Some(id);
        others.find_map(|other| {
            let other = self.state.entry(other)?;
            // What is on record is known without reading the objects, of which there may be many.
            let is_expected = other.expected.is_some_and(|expected| expected.id == digest);
            match self.state.share_account(entry.provider, other.provider) {
                Shared::Yes if is_expected => return Some(&other.key),
                Shared::Yes => {}
                Shared::No => return None,
                Shared::Unknown(provider) => {
                    if is_expected || other.object().is_some_and(|theirs| recorded(&theirs)) {
                        self.unread.borrow_mut().insert(provider);
                    }
                    return None;
                }
            }
            let theirs = other.object()?;
            let has_it = recorded(&theirs);
            let wins =
                has_it || claims::beats((&theirs.identity, has_it), (&subject.identity, recorded(&subject)));
            wins.then_some(&other.key)
        })
    }
}

impl Source {
    fn count_carried(&mut self, fingerprint: &str) -> Arc<str> {
        if let Some((shared, count)) = self.carried.iter_mut().find(|(shared, _)| ***shared == *fingerprint) {
            *count += 1;
            return Arc::clone(shared);
        }
        let shared: Arc<str> = fingerprint.into();
        self.carried.insert(Arc::clone(&shared), 1);
        self.carried_changed = true;
        shared
    }

    fn forget_carried(&mut self, fingerprint: Option<&Arc<str>>) {
        if let Some(fingerprint) = fingerprint
            && let Some(count) = self.carried.get_mut(fingerprint)
        {
            *count -= 1;
            if *count == 0 {
                self.carried.remove(fingerprint);
                self.carried_changed = true;
            }
        }
    }

    /// Whether this is the held token.
    pub(super) fn holds_token(&self, held: &HeldToken) -> bool {
        self.state.held.as_ref().is_some_and(|current| current.fingerprint == held.fingerprint)
    }

    /// What is known of the newest token follows from the held one, or from what the members carry.
    pub(super) fn refresh(&mut self) {
        self.state.members = self.members;
        if let Some(held) = &self.state.held {
            self.state.newest = Some(held.fingerprint.clone());
            self.state.split = false;
            return;
        }
        let recorded = self.object.as_ref().and_then(|(_, status)| status.token_fingerprint.as_deref());
        let mut known = self.carried.keys().map(|shared| &**shared).chain(recorded);
        let first = known.next();
        let split = known.any(|other| Some(other) != first);
        self.state.newest = first.filter(|_| !split).map(str::to_owned);
        self.state.split = split && !self.state.polled;
    }
}

/// The declared form and the stored form of a subscription differ by one thing: a stored one may
/// have no valid version.
impl From<Declared<WebhookSubscriptionSpec, crate::api::SubscriptionStatus>> for Object {
    fn from(declared: Declared<WebhookSubscriptionSpec, crate::api::SubscriptionStatus>) -> Self {
        Self { identity: declared.identity, spec: Some(declared.spec), status: declared.status }
    }
}
