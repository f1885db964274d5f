//! A state that is handed events, and what it has said should follow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::DateTime;
use futures::future::BoxFuture;
use serde_json::json;

use crate::api::{
    Declared, Identity, Kind, ObjectKey, SubscriptionStatus, TokenSourceSpec, TokenSourceStatus,
    WebhookProviderSpec, WebhookProviderStatus, WebhookSubscriptionSpec,
};
use crate::engine::change::Change;
use crate::engine::effect::{Call, Count, Effect};
use crate::engine::event::{About, Broken, Ended, Event, Report};
use crate::engine::handle::handle;
use crate::engine::ids::{SubscriptionId, Ticket};
use crate::engine::options::Options;
use crate::engine::ports::{
    Account, After, Applied, CallFailure, CallFence, Document, GateFailure, Gates, Invalid, Lifetime,
    Listing, MintFailure, Minted, Notice, Offered, ProviderClient, ProviderProfile, PublishFailure, Random,
    Reading, RecordFailure, Refusal, RemoteSubscription,
};
use crate::engine::state::State;
use crate::engine::state::subscription::Entry;
use crate::engine::turn::Around;
use crate::engine::write::Write;
use crate::rotation::target::short_digest;
use crate::rotation::time::Moment;
use crate::secret::bounds::Bounds;

/// How long tokens live.
pub(crate) const LIFE: Duration = Duration::from_secs(3_600);

/// The same numbers in every run.
#[derive(Default)]
pub(crate) struct Numbers(AtomicU64);

impl Random for Numbers {
    fn bits(&self) -> u64 {
        // SplitMix64.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Those that prove deliveries, as far as the engine asks.
#[derive(Default)]
pub(crate) struct Keepers {
    pub(crate) serves: BTreeSet<ObjectKey>,
    pub(crate) kept: BTreeSet<String>,
}

impl Gates for Keepers {
    fn serves(&self, source: &ObjectKey) -> bool {
        self.serves.contains(source)
    }

    fn lacks(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.serves.contains(source) && !self.kept.contains(fingerprint)
    }

    fn offer<'a>(&'a self, _: &'a ObjectKey, _: &'a Offered) -> BoxFuture<'a, Result<(), GateFailure>> {
        unreachable!("no effect is carried out")
    }
}

/// A provider's client: what `handle` asks of it is answered, and nothing is called.
struct Client(ProviderProfile);

impl ProviderClient for Client {
    fn profile(&self) -> &ProviderProfile {
        &self.0
    }

    fn check(&self, _: &WebhookSubscriptionSpec) -> Result<(), Invalid> {
        Ok(())
    }

    fn warning(&self, _: &WebhookSubscriptionSpec) -> Option<String> {
        None
    }

    fn document_digest(&self, spec: &WebhookSubscriptionSpec) -> String {
        short_digest(&[spec.action.as_deref().unwrap_or_default(), &spec.postback_url])
    }

    fn document_secrets<'a>(
        &'a self,
        _: &'a str,
        _: &'a WebhookSubscriptionSpec,
    ) -> BoxFuture<'a, Result<Option<String>, Refusal>> {
        unreachable!("no effect is carried out")
    }

    fn identify(&self) -> BoxFuture<'_, Result<Account, Refusal>> {
        unreachable!("no effect is carried out")
    }

    fn account(&self) -> Option<Account> {
        Some(Account::of_credential(&["everybody's"]))
    }

    fn act_for(&self, _: Account) {}

    fn list<'a>(
        &'a self,
        _: &'a mut Reading,
        _: &'a CallFence,
    ) -> BoxFuture<'a, Result<Option<Listing>, CallFailure>> {
        unreachable!("no effect is carried out")
    }

    fn create<'a>(
        &'a self,
        _: &'a Document,
        _: &'a CallFence,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>> {
        unreachable!("no effect is carried out")
    }

    fn update<'a>(
        &'a self,
        _: &'a str,
        _: &'a Document,
        _: &'a CallFence,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>> {
        unreachable!("no effect is carried out")
    }

    fn delete<'a>(
        &'a self,
        _: &'a WebhookSubscriptionSpec,
        _: &'a str,
        _: &'a CallFence,
    ) -> BoxFuture<'a, Result<(), CallFailure>> {
        unreachable!("no effect is carried out")
    }
}

/// How a call comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should.
    Succeeds,
    /// It was certainly not sent, or not written.
    NotSent,
    /// Whether it arrived is not known.
    Lost,
    /// A fault at the other side.
    Fails,
    /// The other side asks for a pause.
    Pauses,
    /// The credential is refused.
    Refused,
    /// What it is about is not there.
    Missing,
    /// An answer of no use.
    Garbled,
    /// The credential is another one's now.
    AnotherAccount,
    /// The step panicked.
    Panics,
}

pub(crate) const OUTCOMES: [Outcome; 10] = [
    Outcome::Succeeds,
    Outcome::NotSent,
    Outcome::Lost,
    Outcome::Fails,
    Outcome::Pauses,
    Outcome::Refused,
    Outcome::Missing,
    Outcome::Garbled,
    Outcome::AnotherAccount,
    Outcome::Panics,
];

impl Outcome {
    fn call<T>(self, value: impl FnOnce() -> T) -> Result<T, CallFailure> {
        let status = |code, retry_after, missing| CallFailure::Status { code, retry_after, missing };
        let what = || "a test".to_owned();
        Err(match self {
            Self::Succeeds | Self::Panics => return Ok(value()),
            Self::NotSent => CallFailure::NotSent { what: what() },
            Self::Lost => CallFailure::Unanswered { what: what() },
            Self::Fails => status(500, None, false),
            Self::Pauses => status(429, Some(Duration::from_secs(30)), false),
            Self::Refused => status(401, None, false),
            Self::Missing => status(404, None, true),
            Self::Garbled => CallFailure::Unreadable { what: what() },
            Self::AnotherAccount => CallFailure::Refused(Refusal::AccountChanged),
        })
    }

    fn mint<T>(self, value: impl FnOnce() -> T) -> Result<T, MintFailure> {
        let status = |code, retry_after, credential_refused| MintFailure::Status {
            code,
            retry_after,
            credential_refused,
            oauth_error: None,
        };
        let what = || "a test".to_owned();
        Err(match self {
            Self::Succeeds | Self::Panics => return Ok(value()),
            Self::NotSent => MintFailure::NotSent { what: what() },
            Self::Lost => MintFailure::Unanswered { what: what() },
            Self::Fails => status(500, None, false),
            Self::Pauses => status(429, Some(Duration::from_secs(30)), false),
            Self::Refused | Self::AnotherAccount => status(401, None, true),
            Self::Missing => MintFailure::ExpiredOnArrival,
            Self::Garbled => MintFailure::Unusable { what: what() },
        })
    }

    fn record(self) -> Result<(), RecordFailure> {
        match self {
            Self::Succeeds => Ok(()),
            Self::Missing => Err(RecordFailure::Gone),
            Self::AnotherAccount => Err(RecordFailure::Superseded),
            _ => Err(RecordFailure::Unavailable("a test".to_owned())),
        }
    }

    fn publish<T>(self, value: T) -> Result<T, PublishFailure> {
        match self {
            Self::Succeeds | Self::Panics => Ok(value),
            Self::Missing => Err(PublishFailure::Conflict("Secret default/shared".to_owned())),
            _ => Err(PublishFailure::Unavailable("a test".to_owned())),
        }
    }
}

/// What a call is about: no two of one thing may be under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// A step of a subscription.
    Subscription(u32),
    /// A mint of a source.
    Mint(u32),
    /// The published Secret of a source.
    Published(u32),
    /// A token handed to the gates of a source.
    Offer(u32),
    /// The status of a source.
    SourceStatus(u32),
    /// A page of a provider's listing.
    Page(u32),
    /// A provider's status.
    ProviderStatus(u32),
    /// A provider's finalizer.
    ProviderFinalizer(u32),
    /// What may happen several times at once.
    Anything(Ticket),
}

pub(crate) fn topic(ticket: Ticket, call: &Call) -> Topic {
    match call {
        Call::Update { id, .. } | Call::Create { id, .. } | Call::Delete { id, .. } => {
            Topic::Subscription(id.0)
        }
        Call::List { id, .. } => Topic::Page(id.0),
        Call::Mint { id, .. } => Topic::Mint(id.0),
        Call::Offer { id, .. } => Topic::Offer(id.0),
        Call::Write { write, .. } => match write {
            Write::Status { id, .. }
            | Write::Finalizer { id, .. }
            | Write::Release { id, .. }
            | Write::CompareSecrets { id, .. } => Topic::Subscription(id.0),
            Write::SourceStatus { id, .. } => Topic::SourceStatus(id.0),
            Write::ReadPublished { id, .. } | Write::Published { id, .. } => Topic::Published(id.0),
            Write::ProviderStatus { id, .. } => Topic::ProviderStatus(id.0),
            Write::ProviderFinalizer { id, .. } => Topic::ProviderFinalizer(id.0),
            Write::Identify { .. } | Write::KeepCredential { .. } => Topic::Anything(ticket),
        },
    }
}

fn about(call: &Call) -> About {
    match call {
        Call::Update { id, .. } | Call::Create { id, .. } | Call::Delete { id, .. } => About::Call(*id),
        Call::List { id, .. } => About::Listing(*id),
        Call::Mint { id, .. } => About::Mint(*id),
        Call::Offer { id, .. } => About::Gates(*id),
        Call::Write { write, .. } => match write {
            Write::Status { id, .. }
            | Write::Finalizer { id, .. }
            | Write::Release { id, .. }
            | Write::CompareSecrets { id, .. } => About::Subscription(*id),
            Write::ReadPublished { id, .. } | Write::Published { id, .. } => About::Publishing(*id),
            Write::Identify { id, .. } => About::Account(*id),
            _ => About::Aside,
        },
    }
}

/// Whether whatever becomes of it is reported as its result, a panic too: see
/// [`perform`](crate::engine::perform).
fn is_record(call: &Call) -> bool {
    let Call::Write { write, .. } = call else {
        return false;
    };
    !matches!(
        write,
        Write::CompareSecrets { .. }
            | Write::ReadPublished { .. }
            | Write::Published { .. }
            | Write::Identify { .. }
            | Write::KeepCredential { .. }
    )
}

/// A state, the time, and what should follow.
pub(crate) struct Scene {
    pub(crate) state: State,
    pub(crate) now: Moment,
    pub(crate) gates: Keepers,
    random: Numbers,
    /// Calls that are under way.
    pub(crate) calls: BTreeMap<Ticket, Call>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) counts: Vec<Count>,
    /// What the provider has: id, action and URL.
    pub(crate) remotes: BTreeMap<String, (String, String)>,
    made: u32,
}

impl Scene {
    /// Nothing is known, and this process may act.
    pub(crate) fn new() -> Self {
        let options = Options { tick: Duration::from_secs(300), ..Options::default() };
        let wall = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut scene = Self {
            state: State::new(options),
            now: Moment { wall, boot: Duration::from_secs(1_000) },
            gates: Keepers::default(),
            random: Numbers::default(),
            calls: BTreeMap::new(),
            notices: Vec::new(),
            counts: Vec::new(),
            remotes: BTreeMap::new(),
            made: 0,
        };
        scene.handle(Event::Claim(Some(1)));
        scene
    }

    /// One provider, one source and so many subscriptions, all known.
    pub(crate) fn with(subscriptions: u32) -> Self {
        let mut scene = Self::new();
        scene.declare_provider("provider", &json!({}));
        scene.change(source("source", TokenSourceSpec::default()));
        for number in 0..subscriptions {
            scene.change(subscription(number, 1, &json!({})));
        }
        scene.change(Change::Synced);
        scene.time();
        scene
    }

    pub(crate) fn handle(&mut self, event: Event) {
        let around = Around { gates: &self.gates, random: &self.random };
        for effect in handle(&mut self.state, event, self.now, around) {
            match effect {
                Effect::Begin(ticket, call) => {
                    self.assert_may_begin(ticket, &call);
                    self.calls.insert(ticket, call);
                }
                Effect::Emit(notice) => self.notices.push(notice),
                Effect::Count(count) => self.counts.push(count),
                Effect::ForgetCredential(_) | Effect::Carried { .. } | Effect::Answer(_) => {}
            }
        }
    }

    /// Nothing is begun twice at a time, and nothing for what is gone.
    fn assert_may_begin(&self, ticket: Ticket, call: &Call) {
        let begun = topic(ticket, call);
        let open = self.calls.iter().find(|(open, call)| topic(**open, call) == begun);
        assert!(open.is_none(), "two at once: {begun:?}");
        let is_there = match begun {
            Topic::Subscription(id) => self.state.entry(SubscriptionId(id)).is_some(),
            Topic::Mint(id) | Topic::Published(id) | Topic::Offer(id) | Topic::SourceStatus(id) => {
                self.state.source(crate::engine::ids::SourceId(id)).is_some()
            }
            Topic::Page(id) | Topic::ProviderStatus(id) | Topic::ProviderFinalizer(id) => {
                self.state.provider(crate::engine::ids::ProviderId(id)).is_some()
            }
            Topic::Anything(_) => true,
        };
        assert!(is_there, "for what is gone: {begun:?}");
    }

    pub(crate) fn change(&mut self, change: Change) {
        self.handle(Event::Change(Box::new(change), None));
    }

    pub(crate) fn declare_provider(&mut self, name: &str, more: &serde_json::Value) {
        self.declare_provider_as(identity(name, 1), more);
    }

    pub(crate) fn declare_provider_as(&mut self, identity: Identity, more: &serde_json::Value) {
        let mut spec = serde_json::to_value(WebhookProviderSpec::default()).unwrap();
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec: WebhookProviderSpec = serde_json::from_value(spec).unwrap();
        let client: Arc<dyn ProviderClient> = Arc::new(Client(profile(&spec)));
        let declared = Declared { identity, spec, status: WebhookProviderStatus::default() };
        self.handle(Event::Change(Box::new(Change::Provider(Box::new(declared))), Some(Ok(client))));
    }

    /// Whatever can be done now is begun.
    pub(crate) fn time(&mut self) {
        self.handle(Event::Time);
    }

    /// Both clocks go on.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.time();
    }

    /// The call comes out like this. Returns what is handed over, to be handed over again.
    pub(crate) fn end(&mut self, ticket: Ticket, outcome: Outcome) {
        if let Some(call) = self.calls.remove(&ticket) {
            let ended = self.ended(call, outcome);
            self.handle(Event::Ended(ticket, Box::new(ended)));
        }
    }

    /// The only call that is like this comes out like that.
    pub(crate) fn end_the(&mut self, is: impl Fn(&Call) -> bool, outcome: Outcome) {
        let found: Vec<Ticket> =
            self.calls.iter().filter(|(_, call)| is(call)).map(|(ticket, _)| *ticket).collect();
        assert_eq!(found.len(), 1, "one such call");
        self.end(found[0], outcome);
    }

    /// Everything that is begun succeeds, until nothing more is to be done at this moment.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            self.time();
            let Some(ticket) = self.calls.keys().next().copied() else {
                if self.state.waiting.reconciles.is_empty() && !self.state.more_turns {
                    return;
                }
                continue;
            };
            self.end(ticket, Outcome::Succeeds);
        }
        panic!("it does not come to rest");
    }

    /// The same for as long as this.
    pub(crate) fn settle_for(&mut self, time: Duration, step: Duration) {
        let until = self.now.boot + time;
        while self.now.boot < until {
            self.settle();
            self.pass(step);
        }
        self.settle();
    }

    /// The same until there is such a call, within this time.
    pub(crate) fn settle_until(&mut self, is: impl Fn(&Call) -> bool, within: Duration) {
        let until = self.now.boot + within;
        while !self.calls.values().any(&is) {
            assert!(self.now.boot < until, "no such call within {within:?}");
            let other = self.calls.iter().find(|(_, call)| !is(call)).map(|(ticket, _)| *ticket);
            match other {
                Some(ticket) => self.end(ticket, Outcome::Succeeds),
                None => self.pass(Duration::from_secs(1)),
            }
            self.time();
        }
    }

    /// The subscription of this number.
    pub(crate) fn entry(&self, number: u32) -> &Entry {
        let id = self.state.by_key[&key(&format!("subscription-{number}"))];
        self.state.entry(id).unwrap()
    }

    pub(crate) fn status(&self, number: u32) -> SubscriptionStatus {
        self.entry(number).object().unwrap().status
    }

    /// What is handed over when a call comes out like this.
    pub(crate) fn ended(&mut self, call: Call, outcome: Outcome) -> Ended {
        let (about, is_record) = (about(&call), is_record(&call));
        let (report, wrote_for) = self.report(call, outcome);
        let is_broken = outcome == Outcome::Panics && !is_record;
        let report = if is_broken { Report::Broken(Broken::Panicked) } else { report };
        Ended { about, report, wrote_for }
    }

    fn report(&mut self, call: Call, outcome: Outcome) -> (Report, Option<crate::shares::NamespaceId>) {
        let report = match call {
            Call::Update { applying, decided, started, .. } => {
                let is_there = self.remotes.contains_key(&applying.id);
                let outcome = match outcome {
                    Outcome::Succeeds if !is_there => Outcome::Missing,
                    outcome => outcome,
                };
                let result = outcome.call(|| Applied { id: None, secrets: None });
                Report::Applied { applying, decided, started, result }
            }
            Call::Create { document, creating, decided, started, .. } => {
                let arrives = matches!(outcome, Outcome::Succeeds | Outcome::Lost | Outcome::Garbled);
                let id = format!("remote-{}", self.next());
                if arrives {
                    let action = document.spec.action.clone().unwrap_or_default();
                    self.remotes.insert(id.clone(), (action, document.spec.postback_url.clone()));
                }
                let result = outcome.call(|| Applied { id: Some(id), secrets: None });
                Report::Created { creating, decided, started, result }
            }
            Call::Delete { remote_id, started, .. } => {
                if matches!(outcome, Outcome::Succeeds | Outcome::Lost) {
                    self.remotes.remove(&remote_id);
                }
                Report::Deleted { id: remote_id, started, result: outcome.call(|| ()) }
            }
            Call::List { mut paused, started, .. } => {
                let shown = self.remotes.iter().map(|(id, (action, url))| RemoteSubscription {
                    id: id.clone(),
                    action: Some(action.clone()),
                    postback_url: Some(url.clone()),
                    active: Some(true),
                });
                let shown = shown.collect();
                let result = outcome.call(|| ()).and_then(|()| paused.reading.take_in(shown, After::Nothing));
                Report::Listed { started, paused, result }
            }
            Call::Mint { term, spec, started, .. } => {
                let token = format!("token-{}", self.next()).into();
                let result = outcome.mint(|| Minted {
                    token,
                    lifetime: Lifetime::Stated(LIFE),
                    version: None,
                    bounds: Bounds::default(),
                });
                Report::Minted { term, spec, started, result }
            }
            Call::Offer { offered, .. } => {
                let result = match outcome {
                    Outcome::Succeeds => {
                        self.gates.kept.insert(offered.fingerprint.clone());
                        Ok(())
                    }
                    _ => Err(GateFailure("a test".to_owned())),
                };
                Report::Offered { fingerprint: offered.fingerprint, result }
            }
            Call::Write { namespace, is_superseded, write } => {
                let outcome = if is_superseded { Outcome::AnotherAccount } else { outcome };
                return (Self::written(write, outcome), Some(namespace));
            }
        };
        (report, None)
    }

    fn written(write: Write, outcome: Outcome) -> Report {
        match write {
            Write::Status { status, then, .. } => Report::Recorded { status, then, result: outcome.record() },
            Write::Finalizer { wanted, .. } => Report::FinalizerWritten { wanted, result: outcome.record() },
            Write::Release { .. } => Report::Released(outcome.record()),
            Write::CompareSecrets { .. } => Report::Secrets(Ok(None)),
            Write::SourceStatus { id, before, .. } => {
                Report::SourceRecorded { id, before, durable: outcome == Outcome::Succeeds }
            }
            Write::ReadPublished { forgotten, .. } => {
                Report::PublishedRead { forgotten, result: outcome.publish(None) }
            }
            Write::Published { forgotten, tokens, .. } => {
                Report::PublishedWritten { forgotten, tokens, result: outcome.publish(()) }
            }
            Write::ProviderStatus { id, .. } => Report::ProviderRecorded(id),
            Write::ProviderFinalizer { id, uid, wanted, .. } => {
                Report::ProviderFinalizerWritten { id, uid, wanted, result: outcome.record() }
            }
            Write::Identify { .. } => Report::Identified,
            Write::KeepCredential { id, .. } => Report::CredentialKept(id),
        }
    }

    fn next(&mut self) -> u32 {
        self.made += 1;
        self.made
    }
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

pub(crate) fn identity(name: &str, generation: i64) -> Identity {
    let uid = format!("uid-{name}");
    Identity { uid, generation, ..Identity::of_name(key(name)) }
}

/// The subscription of this number, with these fields of its spec besides the usual ones.
pub(crate) fn subscription(number: u32, generation: i64, more: &serde_json::Value) -> Change {
    subscription_as(identity(&format!("subscription-{number}"), generation), number, more)
}

pub(crate) fn subscription_as(identity: Identity, number: u32, more: &serde_json::Value) -> Change {
    let mut spec = json!({
        "providerRef": {"name": "provider"},
        "action": format!("action.{number}"),
        "postbackUrl": "https://integrations.example.com/in",
        "clientHeaders": [{"name": "token", "valueFrom": {"token": {}}}],
        "tokenSourceRef": {"name": "source"},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec = serde_json::from_value(spec).unwrap();
    Change::Subscription(Box::new(Declared { identity, spec, status: SubscriptionStatus::default() }))
}

pub(crate) fn source(name: &str, spec: TokenSourceSpec) -> Change {
    let spec = TokenSourceSpec { oauth2: Some(Default::default()), ..spec };
    let status = TokenSourceStatus::default();
    Change::TokenSource(Box::new(Declared { identity: identity(name, 1), spec, status }))
}

pub(crate) fn gone(kind: Kind, name: &str, prune: bool) -> Change {
    Change::Gone { kind, key: key(name), prune }
}

fn profile(spec: &WebhookProviderSpec) -> ProviderProfile {
    let base_url = spec.base_url.clone().unwrap_or_else(|| "https://provider.example.com".into());
    let limit = spec.limits.as_ref().and_then(|limits| limits.requests_per_minute);
    ProviderProfile {
        origin: base_url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/"),
        base_url,
        requests_per_minute: limit.map_or(6_000, i32::cast_unsigned),
        preset_requests_per_minute: None,
        max_concurrent: 4,
        timeout: Duration::from_secs(10),
        overlap: Duration::ZERO,
        verify_interval: Duration::from_secs(3_600),
        settle: Duration::from_secs(60),
        can_list: true,
        can_create: true,
        can_delete: true,
        lists_actions: true,
        lists_urls: true,
    }
}
