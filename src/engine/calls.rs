//! Calls to the outside, as futures that own what they need and report back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Engine;
use super::ids::{ProviderId, SourceId, SubscriptionId};
use super::listings::Paused;
use super::namespaces::NamespaceId;
use super::ports::{
    Applied, CallFailure, CallFence, Document, GateFailure, Listing, MintFailure, Minted, ProviderClient,
    PublishFailure, Published, RecordFailure, Refusal,
};
use crate::api::{Ownership, SubscriptionStatus, TokenSourceSpec, TokenSourceStatus, WebhookProviderStatus};
use crate::rotation::life::HeldToken;
use crate::rotation::step::Why;
use crate::rotation::time::{Moment, between};

/// A call under way.
pub(super) type Job = BoxFuture<'static, Done>;

/// No call takes longer than this, whatever its own limits: every wait has an end. It is twice the
/// longest `timeout` that a spec may have.
const LONGEST_CALL: Duration = Duration::from_secs(120);

/// What a call was about, for the case that it panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// A call to the provider for one subscription.
    Call(SubscriptionId),
    /// A record or another step of one subscription that uses no budget.
    Subscription(SubscriptionId),
    Mint(SourceId),
    Publishing(SourceId),
    /// Handing a token to those that prove deliveries with it.
    Gates(SourceId),
    Listing(ProviderId),
    /// Reading a credential to know whose it is.
    Account(ProviderId),
    /// A status of a source or provider.
    Aside,
}

/// What an apply was made with.
#[derive(Clone, Debug)]
pub(super) struct Applying {
    pub(super) id: String,
    pub(super) ownership: Ownership,
    pub(super) why: Why,
    pub(super) sent: Sent,
}

/// What was sent, and where to.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) held: HeldToken,
    /// Digest of the document.
    pub(super) digest: String,
    pub(super) origin: Arc<str>,
}

/// What a create was made with.
#[derive(Clone, Debug)]
pub(super) struct Creating {
    /// The term in which it was decided on.
    pub(super) term: Option<u64>,
    pub(super) sent: Sent,
}

/// What a call was decided on.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    pub(super) term: Option<u64>,
    pub(super) status: SubscriptionStatus,
}

/// What follows a record.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// The subscription is looked at again.
    Reconcile,
    /// The create is sent: its record is durable.
    Create(Creating),
    /// The status was handed to an heir: now the one that had it is let go.
    Release(SubscriptionId),
}

/// What a call brought.
pub(super) enum Report {
    Recorded {
        status: Arc<SubscriptionStatus>,
        then: Then,
        result: Result<(), RecordFailure>,
    },
    FinalizerWritten {
        /// Whether the finalizer was to be there.
        wanted: bool,
        result: Result<(), RecordFailure>,
    },
    Released(Result<(), RecordFailure>),
    Applied {
        applying: Applying,
        decided: Box<Decided>,
        started: Moment,
        result: Result<Applied, CallFailure>,
    },
    Created {
        creating: Creating,
        decided: Box<Decided>,
        started: Moment,
        result: Result<Applied, CallFailure>,
    },
    Deleted {
        id: String,
        started: Moment,
        result: Result<(), CallFailure>,
    },
    Secrets(Result<Option<String>, Refusal>),
    Minted {
        /// The term in which it was asked for.
        term: Option<u64>,
        /// What was asked.
        spec: Arc<TokenSourceSpec>,
        started: Moment,
        result: Result<Minted, MintFailure>,
    },
    PublishedRead {
        /// How often what is known of the Secret was forgotten before.
        forgotten: u64,
        result: Result<Option<Published>, PublishFailure>,
    },
    PublishedWritten {
        forgotten: u64,
        tokens: Box<Published>,
        result: Result<(), PublishFailure>,
    },
    Offered {
        fingerprint: String,
        result: Result<(), GateFailure>,
    },
    /// A page of a listing.
    Listed {
        started: Moment,
        paused: Paused,
        result: Result<Option<Listing>, CallFailure>,
    },
    SourceRecorded {
        id: SourceId,
        /// What is on record when the new status is not.
        before: Box<TokenSourceStatus>,
        durable: bool,
    },
    ProviderRecorded(ProviderId),
    ProviderFinalizerWritten {
        id: ProviderId,
        /// Of the object that it was meant for.
        uid: String,
        /// Whether the finalizer was to be there.
        wanted: bool,
        result: Result<(), RecordFailure>,
    },
    CredentialKept(ProviderId),
    /// A credential has been read, or cannot be.
    Identified,
    /// There is none.
    Broken(Broken),
}

impl Report {
    /// What forbade a call to a provider for a subscription.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        let failure = match self {
            Self::Applied { result: Err(failure), .. }
            | Self::Created { result: Err(failure), .. }
            | Self::Deleted { result: Err(failure), .. } => failure,
            _ => return None,
        };
        match failure {
            CallFailure::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// A call has ended.
pub(super) struct Done {
    pub(super) about: About,
    pub(super) report: Report,
    /// Whose place among those that write is given back.
    pub(super) wrote_for: Option<NamespaceId>,
}

/// Why a call brought no report of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// It panicked; what it had done is not known.
    #[error("a step panicked; this is a fault in hookkeeper")]
    Panicked,
    /// It did not end within the limit of all calls.
    #[error("a step did not end within its limit")]
    Overdue,
}

impl From<Broken> for RecordFailure {
    fn from(broken: Broken) -> Self {
        Self::Unavailable(broken.to_string())
    }
}

/// Gives a call an end, and catches its panic.
async fn unbroken<T>(limit: BoxFuture<'static, ()>, call: impl Future<Output = T>) -> Result<T, Broken> {
    tokio::select! {
        biased;
        result = AssertUnwindSafe(call).catch_unwind() => result.map_err(|_| Broken::Panicked),
        () = limit => Err(Broken::Overdue),
    }
}

impl Engine {
    /// Runs a call beside the state. It has an end, and its panic is caught. Whoever calls this has
    /// taken a place for it.
    pub(super) fn spawn(&self, about: About, call: impl Future<Output = Report> + Send + 'static) {
        self.jobs.push(self.job(about, call));
    }

    /// The same for a write, and for a read of what is not a provider's or a token server's: it waits
    /// for a place, and namespaces take turns.
    pub(super) fn spawn_write(
        &mut self,
        namespace: NamespaceId,
        about: About,
        call: impl Future<Output = Report> + Send + 'static,
    ) {
        self.write(namespace, move |engine| Some(engine.job(about, call)));
    }

    fn job(&self, about: About, call: impl Future<Output = Report> + Send + 'static) -> Job {
        let limit = self.ports.clock.sleep(LONGEST_CALL);
        Box::pin(async move {
            let report = unbroken(limit, call).await.unwrap_or_else(Report::Broken);
            Done { about, report, wrote_for: None }
        })
    }

    /// Runs something that is to be made durable. Whatever becomes of it is reported as its result,
    /// so that what follows it is never forgotten.
    pub(super) fn spawn_record(
        &mut self,
        id: SubscriptionId,
        call: impl Future<Output = Result<(), RecordFailure>> + Send + 'static,
        report: impl FnOnce(Result<(), RecordFailure>) -> Report + Send + 'static,
    ) {
        let Some(namespace) = self.state.entry(id).map(|entry| entry.namespace) else {
            return;
        };
        self.write(namespace, move |engine| Some(engine.record_job(id, call, report)));
    }

    pub(super) fn record_job(
        &self,
        id: SubscriptionId,
        call: impl Future<Output = Result<(), RecordFailure>> + Send + 'static,
        report: impl FnOnce(Result<(), RecordFailure>) -> Report + Send + 'static,
    ) -> Job {
        let limit = self.ports.clock.sleep(LONGEST_CALL);
        Box::pin(async move {
            let result = unbroken(limit, call).await.unwrap_or_else(|broken| Err(broken.into()));
            Done { about: About::Subscription(id), report: report(result), wrote_for: None }
        })
    }

    /// A fence for the term in which the step was decided.
    pub(super) fn fence(&self) -> CallFence {
        let (leadership, clock) = (Arc::clone(&self.ports.leadership), Arc::clone(&self.ports.clock));
        let term = self.term;
        CallFence::new(move || {
            let claim = leadership.claim().filter(|claim| Some(claim.term) == term)?;
            let now = clock.now();
            let by_wall = claim.until.wall.signed_duration_since(now.wall).to_std().ok()?;
            let by_boot = claim.until.boot.checked_sub(now.boot)?;
            Some(by_wall.min(by_boot))
        })
    }

    fn decided(&self, id: SubscriptionId) -> Box<Decided> {
        let object = self.state.entry(id).and_then(super::entry::Entry::object);
        Box::new(Decided { term: self.term, status: object.map(|object| object.status).unwrap_or_default() })
    }

    pub(super) fn call_update(
        &self,
        id: SubscriptionId,
        remote: Arc<dyn ProviderClient>,
        document: Document,
        applying: Applying,
    ) {
        let (started, decided) = (self.ports.clock.now(), self.decided(id));
        let fence = match self.patience_of(id, &decided.status, started) {
            Some(patience) => self.fence().within(patience),
            None => self.fence(),
        };
        self.spawn(About::Call(id), async move {
            let result = remote.update(&applying.id, &document, &fence).await;
            Report::Applied { applying, decided, started, result }
        });
    }

    /// How long an update waits for its answer, where a lost one would cost the token's life.
    fn patience_of(&self, id: SubscriptionId, status: &SubscriptionStatus, now: Moment) -> Option<Duration> {
        let provider = self.state.provider(self.state.entry(id)?.provider)?;
        self.breaker_of(provider)?.patience(between(now.wall, status.token_expiration_time?))
    }

    pub(super) fn call_create(
        &self,
        id: SubscriptionId,
        remote: Arc<dyn ProviderClient>,
        document: Document,
        creating: Creating,
    ) {
        let (fence, started, decided) = (self.fence(), self.ports.clock.now(), self.decided(id));
        self.spawn(About::Call(id), async move {
            let result = remote.create(&document, &fence).await;
            Report::Created { creating, decided, started, result }
        });
    }

    pub(super) fn call_record_source(
        &mut self,
        id: SourceId,
        before: TokenSourceStatus,
        status: TokenSourceStatus,
    ) {
        let Some((super::state::SourceKey::Object(key), namespace)) =
            self.state.source(id).map(|source| (source.key.clone(), source.namespace))
        else {
            return;
        };
        let record = Arc::clone(&self.ports.record);
        let before = Box::new(before);
        self.spawn_write(namespace, About::Aside, async move {
            let result = record.token_source(&key, &status).await;
            if let Err(failure) = &result {
                tracing::warn!(%key, %failure, "the status of a TokenSource could not be recorded");
            }
            Report::SourceRecorded { id, before, durable: result.is_ok() }
        });
    }

    pub(super) fn call_record_provider(&mut self, id: ProviderId, status: WebhookProviderStatus) {
        let provider = self.state.provider(id).map(|provider| (provider.key.clone(), provider.namespace));
        let Some((key, namespace)) = provider else {
            return;
        };
        let record = Arc::clone(&self.ports.record);
        self.spawn_write(namespace, About::Aside, async move {
            if let Err(failure) = record.provider(&key, &status).await {
                tracing::warn!(%key, %failure, "the status of a WebhookProvider could not be recorded");
            }
            Report::ProviderRecorded(id)
        });
    }
}
