//! What is asked for that changes rows, as values: what was not done in one commit is asked for again.

use tokio::sync::oneshot;

use crate::store::content::{Sealing, Written};
use crate::store::rows::Arriving;
use crate::store::{
    Adopted, Claim, DeliveryId, Digest, Expectation, LastFailure, Owner, Put, Room, StoreError,
};

/// An expectation, its id as it is written.
pub(super) struct Expecting {
    pub(super) expectation: Expectation,
    pub(super) digest: Digest,
    pub(super) sealing: Sealing,
    pub(super) id: Vec<u8>,
    pub(super) most: usize,
}

/// One change.
pub(super) enum Job {
    Put(Arriving),
    Done(DeliveryId),
    Retry { id: DeliveryId, claim: Claim, due: i64, refused: bool, failure: LastFailure },
    Park { id: DeliveryId, claim: Claim, failure: LastFailure },
    Replay { id: DeliveryId, now: i64 },
    Drop(DeliveryId),
    Adopt { id: DeliveryId, by: Owner, room: Room, written: Box<Written>, now: i64 },
    Expect(Expecting),
    ExpectationChanged { expectation: Expectation, digest: Digest },
    ExpectationMet { uid: String, digest: Digest },
}

impl Job {
    /// The delivery that it is about, if that is there already.
    pub(super) fn delivery(&self) -> Option<DeliveryId> {
        match self {
            Self::Done(id) | Self::Drop(id) => Some(*id),
            Self::Retry { id, .. } | Self::Park { id, .. } => Some(*id),
            Self::Replay { id, .. } | Self::Adopt { id, .. } => Some(*id),
            Self::Put(_)
            | Self::Expect(_)
            | Self::ExpectationChanged { .. }
            | Self::ExpectationMet { .. } => None,
        }
    }

    /// The receiver that needs an account for it.
    pub(super) fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Put(arriving) => Some(&arriving.owner),
            Self::Adopt { by, .. } => Some(by),
            Self::Expect(expecting) => Some(&expecting.expectation.owner),
            _ => None,
        }
    }

    /// The uid of a receiver that it is about, which may have no account.
    pub(super) fn uid(&self) -> Option<&str> {
        match self {
            Self::ExpectationChanged { expectation, .. } => Some(&expectation.owner.uid),
            Self::ExpectationMet { uid, .. } => Some(uid),
            _ => self.owner().map(|owner| &*owner.uid),
        }
    }
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Put(Put),
    Adopted(Adopted),
    /// Whether there was something to change.
    Was(bool),
}

/// A change that somebody waits for.
pub(super) struct Asked {
    pub(super) job: Job,
    pub(super) reply: oneshot::Sender<Result<Outcome, StoreError>>,
}
