//! The engine's view of the outside: small traits, and nothing else.
//!
//! The shells, the rooms that talk to the network and the simulation implement them; the simulation
//! runs the very same engine on virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

pub use super::state::accounts::Account;
use crate::api::{
    Kind, ObjectKey, Reason, SecretKeyReference, ServiceAccountTokenSource, SubscriptionStatus,
    TokenSourceSpec, TokenSourceStatus, WebhookProviderSpec, WebhookProviderStatus, WebhookSubscriptionSpec,
};
pub use crate::rotation::facts::ProviderProfile;
pub use crate::rotation::life::Lifetime;
pub use crate::rotation::outcome::{
    Applied, CallFailure, Listing, MintFailure, Minted, Published, Refusal, RemoteSubscription,
};
pub use crate::rotation::reading::{After, Reading};
use crate::rotation::time::Moment;
use crate::secret::SecretText;
use crate::secret::bounds::{Bounds, Owner};

/// Time: what it is, and waiting for it to pass.
pub trait Clock: Send + Sync {
    /// The current moment on both clocks.
    fn now(&self) -> Moment;
    /// Ends after the time has passed. Never asked for more than some minutes.
    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()>;
}

/// Unpredictable numbers for fingerprints and back-off; seeded in the simulation.
pub trait Random: Send + Sync {
    /// 64 random bits.
    fn bits(&self) -> u64;
}

/// One key of a Secret. Its text is had only by [`Self::open`], which says where it may go.
#[derive(Clone, Debug)]
pub struct SecretValue {
    text: SecretText,
    /// Changes whenever the Secret does: its uid and resourceVersion, or inode, mtime and size.
    pub version: String,
    /// The hosts the value may be sent to; `None` when the Secret does not say.
    pub allowed_hosts: Option<Vec<String>>,
}

impl SecretValue {
    /// A value as it was read.
    #[must_use]
    pub fn new(text: SecretText, version: String, allowed_hosts: Option<Vec<String>>) -> Self {
        Self { text, version, allowed_hosts }
    }

    /// The text, for a request or a token with these bounds, which from now on hold where the Secret of
    /// this name may go.
    #[must_use]
    pub fn open(self, secret: &str, bounds: &mut Bounds) -> SecretText {
        if let Some(hosts) = &self.allowed_hosts {
            bounds.confine(Owner::Secret(secret.to_owned()), hosts);
        }
        self.text
    }
}

/// Why a Secret could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretFailure {
    /// There is no such Secret, or it lacks the key.
    #[error("not found")]
    NotFound,
    /// It could not be read; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// Reads Secrets, at the moment of use.
pub trait Secrets: Send + Sync {
    /// One key's value.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretFailure>>;
}

impl dyn Secrets + '_ {
    /// Reads a key's value and says in our words why it cannot be read.
    ///
    /// # Errors
    /// There is no such value, or it cannot be read.
    pub async fn find(
        &self,
        namespace: &str,
        reference: &SecretKeyReference,
    ) -> Result<SecretValue, Refusal> {
        let value = self.read(namespace, reference).await;
        value.map_err(|failure| match failure {
            SecretFailure::NotFound => {
                Refusal::SecretNotFound { name: reference.name.clone(), key: reference.key.clone() }
            }
            SecretFailure::Unavailable(what) => {
                Refusal::SecretUnavailable { name: reference.name.clone(), what }
            }
        })
    }
}

/// Why a record could not be made durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFailure {
    /// The object is gone; there is nothing to record on.
    #[error("the object is gone")]
    Gone,
    /// This process may no longer write: another one leads.
    #[error("another process leads")]
    Superseded,
    /// It may or may not be durable; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// Makes a status or a finalizer durable, and answers only when it is.
pub trait Record: Send + Sync {
    /// Writes a subscription's status. The write is meant for the object with this uid only.
    fn subscription<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        status: &'a SubscriptionStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>>;
    /// Writes a token source's status.
    fn token_source<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a TokenSourceStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>>;
    /// Writes a provider's status.
    fn provider<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a WebhookProviderStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>>;
    /// Puts our finalizer on a subscription, before something must be done at its deletion; or takes
    /// it off, when nothing must be any more.
    fn set_finalizer<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        wanted: bool,
    ) -> BoxFuture<'a, Result<(), RecordFailure>>;
    /// Puts our finalizer on a provider, so that it stays as long as deletions need it; or takes it
    /// off. The write is meant for the object with this uid only.
    fn set_provider_finalizer<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        wanted: bool,
    ) -> BoxFuture<'a, Result<(), RecordFailure>>;
    /// Lets a deleted subscription go: takes the finalizer off, or forgets what is recorded.
    fn release<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<(), RecordFailure>>;
}

/// Why a token could not be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishFailure {
    /// Something of that name exists that is not ours.
    #[error(
        "{0} exists and does not belong to the TokenSource; choose another publishTo.secretName, or delete the Secret"
    )]
    Conflict(String),
    /// It could not be read or written; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// Keeps the current and the previous token where receivers can read them.
pub trait Publish: Send + Sync {
    /// What is published for a source; `None` when nothing is.
    fn read<'a>(
        &'a self,
        source: &'a ObjectKey,
        secret_name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Published>, PublishFailure>>;
    /// Replaces what is published.
    fn write<'a>(
        &'a self,
        source: &'a ObjectKey,
        secret_name: &'a str,
        tokens: &'a Published,
    ) -> BoxFuture<'a, Result<(), PublishFailure>>;
}

/// A token, for whoever proves deliveries with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The token.
    pub token: SecretText,
    /// Drawn at the mint.
    pub fingerprint: String,
    /// When it was asked for.
    pub minted: DateTime<Utc>,
    /// When it ends; `None` when nobody knows.
    pub expires: Option<DateTime<Utc>>,
}

/// Why gates have not taken a token in; trying again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GateFailure(pub String);

/// Those that prove deliveries with the tokens of a source: they know each before the provider does.
///
/// Whenever one begins or ceases to serve a source, the shell says so with
/// [`Change::Gates`](super::change::Change::Gates).
pub trait Gates: Send + Sync {
    /// Whether somebody proves deliveries with this source's tokens. It must not wait.
    fn serves(&self, source: &ObjectKey) -> bool;
    /// Whether somebody who proves deliveries with this source's tokens has not kept the one with this
    /// fingerprint. `false` where nobody does, and as long as it is not known what they have kept. Asked
    /// often, so it must not wait.
    fn lacks(&self, source: &ObjectKey, fingerprint: &str) -> bool;
    /// Whether somebody proves deliveries with this source's tokens, and everybody who does has kept the
    /// one with this fingerprint. It must not wait.
    fn know(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.serves(source) && !self.lacks(source, fingerprint)
    }
    /// Names of those who lack the token with this fingerprint, for people; none where there is but one.
    fn behind(&self, _source: &ObjectKey, _fingerprint: &str) -> Vec<String> {
        Vec::new()
    }
    /// Whether they read tokens where these are published and nowhere else, so that they can have none of
    /// a source that does not publish, and none but the newest of one that does.
    fn read_published(&self) -> bool {
        false
    }
    /// Whether somebody asks platforms with this source's tokens (`spec.fallback` of a receiver): one is
    /// kept alive then, though no subscription carries any. It must not wait.
    fn asks_with(&self, _source: &ObjectKey) -> bool {
        false
    }
    /// Whether the newest token, which has this fingerprint, is to be handed over: to one that
    /// [`lacks`](Self::lacks) it, or to one that asks with an older one. It must not wait.
    fn wants(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.lacks(source, fingerprint)
    }
    /// Hands a token over. Ends well when everybody who serves the source accepts it from now on, also
    /// after a restart.
    fn offer<'a>(
        &'a self,
        source: &'a ObjectKey,
        token: &'a Offered,
    ) -> BoxFuture<'a, Result<(), GateFailure>>;
    /// Says which tokens subscriptions still carry, by fingerprint: a token that is brought to many takes
    /// its time, and the one before it is not over until the last of them has moved. Said whenever it
    /// changes, and once at the start; it must not wait.
    fn carried(&self, _source: &ObjectKey, _fingerprints: &BTreeSet<Arc<str>>) {}
}

/// Nobody proves deliveries.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGates;

impl Gates for NoGates {
    fn serves(&self, _: &ObjectKey) -> bool {
        false
    }

    fn lacks(&self, _: &ObjectKey, _: &str) -> bool {
        false
    }

    fn offer<'a>(&'a self, _: &'a ObjectKey, _: &'a Offered) -> BoxFuture<'a, Result<(), GateFailure>> {
        Box::pin(async { Ok(()) })
    }
}

/// Obtains tokens.
pub trait Minter: Send + Sync {
    /// Obtains one token. `fence` is asked right before the request is sent.
    fn mint<'a>(
        &'a self,
        namespace: &'a str,
        source: &'a TokenSourceSpec,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Minted, MintFailure>>;
}

/// Obtains tokens for service accounts from the cluster that they belong to.
pub trait ServiceAccounts: Send + Sync {
    /// Obtains one token. `fence` is asked right before the request is sent.
    fn token<'a>(
        &'a self,
        namespace: &'a str,
        source: &'a ServiceAccountTokenSource,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Minted, MintFailure>>;
}

/// Says, right before a request is sent, whether it may still be, and until when.
#[derive(Clone)]
pub struct CallFence(Arc<dyn Fn() -> Option<Duration> + Send + Sync>);

impl CallFence {
    /// A fence that asks the function: `None` means that the request must not be sent, otherwise
    /// its timeout is cut to the duration.
    pub fn new(ask: impl Fn() -> Option<Duration> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// A fence that always permits.
    #[must_use]
    pub fn open() -> Self {
        Self::new(|| Some(Duration::MAX))
    }

    /// The same fence, which cuts a request's timeout to this as well.
    #[must_use]
    pub fn within(self, longest: Duration) -> Self {
        Self::new(move || (self.0)().map(|left| left.min(longest)))
    }

    /// Cuts a request's timeout to what is left of the claim.
    ///
    /// # Errors
    /// [`Refusal::ClaimEnded`] when nothing is left.
    pub fn cut(&self, timeout: Duration) -> Result<Duration, Refusal> {
        match (self.0)() {
            Some(left) if !left.is_zero() => Ok(timeout.min(left)),
            _ => Err(Refusal::ClaimEnded),
        }
    }
}

impl std::fmt::Debug for CallFence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("CallFence")
    }
}

/// A document to send, but for the parts that only the provider's room knows.
#[derive(Clone, Debug)]
pub struct Document {
    /// Namespace of the subscription, where its Secrets are.
    pub namespace: Arc<str>,
    /// What the subscription asks for.
    pub spec: Arc<WebhookSubscriptionSpec>,
    /// The token to put in.
    pub token: SecretText,
    /// Where the token may go: what its source says, and the Secret that it was read from.
    pub token_bounds: Bounds,
}

/// A rule that an object breaks: the field and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field, such as `spec.postbackUrl`.
    pub field: String,
    /// What is wrong and how to put it right.
    pub problem: String,
}

/// Turns a provider's description into something that can be called.
pub trait ProviderClients: Send + Sync {
    /// Merges the description with its preset, parses and checks it. Makes no call.
    ///
    /// # Errors
    /// The first rule that the description breaks.
    fn resolve(
        &self,
        key: &ObjectKey,
        spec: &WebhookProviderSpec,
    ) -> Result<Arc<dyn ProviderClient>, Invalid>;
}

/// What becomes of a provider's credential after a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Custody {
    /// It is read for each call and forgotten.
    #[default]
    Nothing,
    /// The last one that worked is kept in memory, for deletes alone: a namespace that is deleted
    /// loses its Secrets before its subscriptions.
    Deletes,
    /// The provider itself is being deleted: it is kept for the listings that deletions need, too.
    Ending,
}

/// One provider: manages its subscriptions.
pub trait ProviderClient: Send + Sync {
    /// What the engine must know to plan calls.
    fn profile(&self) -> &ProviderProfile;
    /// Checks a subscription against the provider's rules. Makes no call.
    ///
    /// # Errors
    /// The first rule that the subscription breaks.
    fn check(&self, spec: &WebhookSubscriptionSpec) -> Result<(), Invalid>;
    /// A warning about a valid subscription, such as a request catcher behind its postback URL.
    fn warning(&self, spec: &WebhookSubscriptionSpec) -> Option<String>;
    /// Digest of everything the update document is made of but token and Secret bytes: action,
    /// URL, parameters, header specs, the operation.
    fn document_digest(&self, spec: &WebhookSubscriptionSpec) -> String;
    /// Digest of the identity of each Secret in the document, as [`Applied::secrets`] has it.
    fn document_secrets<'a>(
        &'a self,
        namespace: &'a str,
        spec: &'a WebhookSubscriptionSpec,
    ) -> BoxFuture<'a, Result<Option<String>, Refusal>>;
    /// Reads the credential and says whose it is. Makes no call.
    ///
    /// # Errors
    /// It cannot be read, or must not be sent to the provider.
    fn identify(&self) -> BoxFuture<'_, Result<Account, Refusal>>;
    /// Whose credential it was that was read last; `None` while none was.
    fn account(&self) -> Option<Account>;
    /// From now on what is written is written for this account alone: a create, an update or a delete
    /// with the credential of another is refused with [`Refusal::AccountChanged`].
    fn act_for(&self, account: Account);
    /// Says from now on what becomes of the credential. What comes back reads it ahead where it is to
    /// be kept and none is yet, and makes no call.
    fn keep_credential(&self, _custody: Custody) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
    /// Reads the next page of a listing; sends exactly one request. The listing comes back when that
    /// page made it complete. After a failure the same page can be asked for again.
    fn list<'a>(
        &'a self,
        reading: &'a mut Reading,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Option<Listing>, CallFailure>>;
    /// Creates a subscription; sends exactly one request.
    fn create<'a>(
        &'a self,
        document: &'a Document,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>>;
    /// Replaces a subscription's document; sends exactly one request.
    fn update<'a>(
        &'a self,
        id: &'a str,
        document: &'a Document,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>>;
    /// Deletes a subscription; one that is missing is an `Err` with `missing: true`.
    fn delete<'a>(
        &'a self,
        spec: &'a WebhookSubscriptionSpec,
        id: &'a str,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<(), CallFailure>>;
}

/// The right to act, with its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Differs between two times of leading, even of one process.
    pub term: u64,
    /// The claim ends when either clock has come to this.
    pub until: Moment,
}

/// May this process act, and until when?
pub trait Leadership: Send + Sync {
    /// The claim in force; `None` while another process leads.
    fn claim(&self) -> Option<Claim>;
}

/// Counts what happened, for the metrics. Never fails and never waits.
pub trait Meter: Send + Sync {
    /// A rotation came to an end. `lead` is the life left in the old token, in seconds; negative
    /// when it had ended.
    fn rotation(&self, provider: &ObjectKey, outcome: Reason, lead: Option<f64>);
    /// A mint came to an end. `class` is `2xx`, `3xx`, `4xx` or `5xx`; `unreachable` when it was not
    /// sent, `timeout` when no complete answer came, `invalid` when the answer was of no use, `refused`
    /// when a rule forbids it.
    fn mint(&self, class: &'static str, took: Duration);
    /// A request to a provider came to an end.
    fn provider_request(&self, operation: &'static str, class: &'static str, took: Duration);
    /// A provider is gone, and nothing is counted for it any more.
    fn provider_gone(&self, _: &ObjectKey) {}
    /// A token was applied although those that prove deliveries with it had not all confirmed it.
    fn gate_behind(&self) {}
    /// The state of everything, every some seconds.
    fn gauges(&self, gauges: &Gauges);
    /// The scheduler is alive.
    fn heartbeat(&self) {}
}

/// The state of the engine in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Entries that wait for their time.
    pub queue_length: usize,
    /// Calls under way.
    pub workers_busy: usize,
    /// The most overdue rotation of which no attempt has been started, in seconds.
    pub rotation_overdue: f64,
    /// Seconds until each held-back provider may be called again.
    pub held_back: Vec<(ObjectKey, f64)>,
    /// Waiting rotations that cannot finish before expiry at the permitted rate.
    pub infeasible: Vec<(ObjectKey, usize)>,
    /// One row for each subscription.
    pub subscriptions: Vec<SubscriptionGauge>,
    /// What is unusual of tokens in deliveries, by namespace; a row for each that has subscriptions whose
    /// deliveries a gate takes in.
    pub tokens_seen: BTreeMap<Arc<str>, TokensSeen>,
    /// Published tokens that somebody lacks who proves deliveries with them, by namespace; a row for each
    /// that has one who does.
    pub lacked: BTreeMap<Arc<str>, usize>,
    /// Whether this process acts.
    pub leader: bool,
    /// What is kept in memory.
    pub kept: Kept,
}

/// What is unusual of the tokens that come in at gates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokensSeen {
    /// Subscriptions of which tokens still come that were replaced, longer ago than the overlap.
    pub old: usize,
    /// Subscriptions of which no delivery has come with the token in place, for longer than is usual.
    pub unobserved: usize,
}

/// How much the engine keeps in memory, by kind. All of it goes when nothing declares or uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Subscriptions.
    pub subscriptions: usize,
    /// Providers, also those that are only referred to.
    pub providers: usize,
    /// Token sources, also those that are only referred to.
    pub sources: usize,
    /// What providers are reached at: scheme, host and port.
    pub origins: usize,
    /// Namespaces of subscriptions, providers and sources.
    pub namespaces: usize,
    /// Claims to remote subscriptions.
    pub claims: usize,
    /// Tokens.
    pub tokens: usize,
}

/// One subscription in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionGauge {
    /// The subscription.
    pub key: ObjectKey,
    /// Its provider.
    pub provider: ObjectKey,
    /// `ready`, `degraded`, `expired`, `stalled` or `suspended`.
    pub state: &'static str,
    /// Why.
    pub reason: Reason,
    /// When its token ends; absent for suspended and inactive ones.
    pub expires: Option<DateTime<Utc>>,
}

/// Something people may want to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Kind of the object it is about.
    pub kind: Kind,
    /// The object it is about.
    pub key: ObjectKey,
    /// Whether it is a warning.
    pub warning: bool,
    /// What happened, in one word.
    pub reason: Reason,
    /// What happened and what to do next.
    pub note: String,
}

/// Tells people. Never fails the work and never waits.
pub trait Notices: Send + Sync {
    /// Hands a notice over.
    fn emit(&self, notice: Notice);
}
