//! What the engine is told: changes, answers, and that time has passed.

use std::sync::Arc;

use crate::api::{SubscriptionStatus, TokenSourceSpec, TokenSourceStatus};
use crate::engine::change::Change;
use crate::engine::ids::{ProviderId, SourceId, SubscriptionId, Ticket};
use crate::engine::ports::{
    Applied, CallFailure, GateFailure, Invalid, Listing, MintFailure, Minted, ProviderClient, PublishFailure,
    Published, RecordFailure, Refusal,
};
use crate::engine::reading::Paused;
use crate::engine::sent::{Applying, Creating, Decided, Then};
use crate::rotation::time::Moment;
use crate::shares::NamespaceId;

/// Something that [`handle`](super::handle::handle) takes in.
pub(crate) enum Event {
    /// This process may act in this term, or may not.
    Claim(Option<u64>),
    /// The desired state has changed. A provider comes with what it was resolved to.
    Change(Box<Change>, Option<Resolved>),
    /// A call has ended: the one with this ticket. One that has ended already is not heard again.
    Ended(Ticket, Box<Ended>),
    /// Time has passed.
    Time,
    /// Running steps are brought to an end, and nothing else is begun.
    Stop,
}

/// What a provider's description can be called as, or the rule that it breaks.
pub(crate) type Resolved = Result<Arc<dyn ProviderClient>, Invalid>;

/// What a call was about, for the case that it panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
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

/// What a call brought.
pub(crate) enum Report {
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
        paused: Box<Paused>,
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
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
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

/// A call or a write has ended.
pub(crate) struct Ended {
    pub(crate) about: About,
    pub(crate) report: Report,
    /// Whose place among those that write is given back.
    pub(crate) wrote_for: Option<NamespaceId>,
}

/// Why a call brought no report of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
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
