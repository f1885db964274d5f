//! What a decision says: the next step, what it is for, and how a subscription stands until then.

use chrono::{DateTime, Utc};

use super::claims::Claimant;
use crate::api::{Ownership, Reason};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time, unless something changes; `None` when only a change helps.
    Wait {
        /// When to decide again.
        until: Option<DateTime<Utc>>,
        /// How the subscription stands meanwhile.
        reason: WaitReason,
    },
    /// A complete listing of the provider, begun at this time or later, is needed first.
    List {
        /// The earliest begin of a listing that helps.
        begun_after: DateTime<Utc>,
    },
    /// Bring a token to the remote subscription.
    Rotate {
        /// Id of the remote subscription.
        id: String,
        /// How it is ours, or becomes so with this rotation.
        ownership: Ownership,
        /// What makes it necessary.
        why: Why,
        /// Which token to bring.
        token: TokenChoice,
    },
    /// Create the remote subscription; nothing like it exists.
    Create {
        /// Digest of action and URL.
        target: String,
        /// Which token to bring.
        token: TokenChoice,
    },
    /// Delete the remote subscription.
    Delete {
        /// Its id.
        id: String,
    },
    /// Give the remote subscription to the object that waits for it, then let this one go.
    HandOver,
    /// Let the deleted object go.
    Release {
        /// Why the remote subscription is left behind although the policy says otherwise.
        orphaned: Option<String>,
    },
}

impl Step {
    /// Whether it needs a call to the provider.
    #[must_use]
    pub fn is_call(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Rotate { .. } | Self::Create { .. } | Self::Delete { .. })
    }
}

/// What makes a rotation necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The token's time has come.
    Due,
    /// The members of the source carry different tokens.
    Split,
    /// Whoever proves deliveries cannot know the token in place.
    Gate,
    /// The source has a newer token.
    TokenMoved,
    /// The document differs from the one in place.
    Document,
    /// Somebody asked for it.
    Manual,
    /// The remote was changed by somebody else.
    Drift,
    /// A listing lacks the remote: the update tells whether it is really gone.
    Absent,
    /// A Secret in the document has changed.
    Secrets,
    /// The remote is taken over.
    Adopting,
    /// An older request with an unknown outcome may have landed late.
    Unsettled,
}

/// Which token to bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenChoice {
    /// The held one.
    Take,
    /// A new one.
    Mint,
}

/// How a subscription stands while nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// All is in place.
    Settled,
    /// It or its provider is suspended.
    Suspended,
    /// No valid version of it is known.
    Invalid,
    /// Something it refers to is not there, or not usable.
    Awaiting(Reason, String),
    /// Another object comes before this one.
    Conflict(Claimant, Option<String>),
    /// An attempt failed and the next one's time has not come, or calls are held back.
    BackingOff(Reason, String),
    /// Somebody has asked for a rotation, and the source's last mint is too recent for another.
    Asked {
        /// When there can be another.
        not_before: DateTime<Utc>,
    },
    /// A create or a publication needs time to settle.
    Settling(String),
    /// Only a person can help.
    Stalled(Reason, String),
}
