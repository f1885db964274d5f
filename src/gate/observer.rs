//! What happens at the gate, told to whoever counts and shows it.

use std::time::Duration;

use super::refusal::Refusal;
use crate::store::{DeliveryId, Owner};

/// Something that happened to a delivery. Nothing of a body, a credential or a token is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact<'a> {
    /// A delivery was verified and stored, or passed on at once.
    Accepted {
        /// Fingerprint of the token it carried, if it came from a source.
        fingerprint: Option<&'a str>,
        /// The event's name, as the sender writes it.
        event: Option<&'a str>,
        /// The subscription that the header `Hookkeeper-Subscription` named.
        subscription: Option<&'a str>,
    },
    /// A test event was answered.
    TestEvent,
    /// A verified delivery is none of those that are handed on.
    NotHandedOn,
    /// A verified delivery repeats another one and was dropped.
    Repeated(DeliveryId),
    /// A request was refused.
    Refused {
        /// Why.
        reason: Refusal,
        /// Whether its sender is known to be the platform: by a credential of ours, though retired, or by
        /// its network.
        recognised: bool,
        /// Fingerprint of the retired token it carried.
        fingerprint: Option<&'a str>,
        /// The subscription that the header `Hookkeeper-Subscription` named.
        subscription: Option<&'a str>,
    },
    /// The application has taken a delivery.
    HandedOn {
        /// Which.
        id: DeliveryId,
        /// The attempts it took, this one counted.
        attempts: u32,
        /// Time from its arrival.
        age: Duration,
        /// It was marked as a repetition.
        marked: bool,
    },
    /// An attempt to hand a delivery on failed.
    AttemptFailed {
        /// Which.
        id: DeliveryId,
        /// In our words.
        why: &'a str,
    },
    /// A delivery waits for a person.
    Parked {
        /// Which.
        id: DeliveryId,
        /// In our words.
        why: &'a str,
    },
    /// The application has taken a delivery, and the store does not make that durable yet: it would be
    /// handed on once more, under the same id, if the process ended now.
    NotRecorded {
        /// Which.
        id: DeliveryId,
        /// In our words.
        why: &'a str,
    },
    /// All that waited for a receiver that is gone waits for a person.
    ParkedAll {
        /// How many.
        count: u64,
        /// In our words.
        why: &'a str,
    },
    /// The platform was asked for something that an application waits for.
    Asked(Asked<'a>),
    /// Nobody is asked any more for things that an application waits for.
    GivenUp {
        /// For how many.
        count: u64,
        /// In our words.
        why: &'a str,
    },
    /// The application takes nothing, so nothing is handed on for a while.
    Paused {
        /// For how long.
        wait: Duration,
        /// In our words.
        why: &'a str,
    },
    /// The application takes deliveries again.
    Resumed,
}

/// What came of asking a platform for what it did not deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// Something new, which the application has taken.
    HandedOn,
    /// Nothing new.
    Nothing,
    /// No answer that says anything, in our words.
    NoAnswer(&'a str),
    /// Something new, which the application has not taken, in our words.
    NotTaken(&'a str),
}

/// Counts and shows what happens. Called on the way of every delivery, so it must not wait.
pub trait Observer: Send + Sync {
    /// Something happened at this receiver.
    fn saw(&self, owner: &Owner, fact: Fact<'_>);
}
