//! Deliveries and expectations, durable: one small trait, one engine for each database.
//!
//! The store knows nothing of what a delivery means: who it is for, when it is due and what its key is
//! are decided by the gate and come in as values. Whatever a method answered with success is durable: it
//! survives the end of the process and of the machine.
//!
//! | a row is | meaning | left by |
//! |---|---|---|
//! | pending | waits until it is due, or is taken | [`Store::done`], [`Store::retry`], [`Store::park`] |
//! | parked | kept, shown, never tried by itself | [`Store::replay`], [`Store::adopt`], [`Store::drop_parked`], [`Store::done`] |
//!
//! What is done is deleted; its key stays until it has expired, so that a repeated delivery is known.

mod columns;
mod content;
mod ledger;
#[cfg(test)]
mod model;
mod postgres;
mod rows;
pub mod seal;
mod sqlite;
#[cfg(test)]
mod suite;
mod turns;

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

pub use self::postgres::{
    Database, DatabaseTls, InvalidDatabase, PostgresError, PostgresOptions, PostgresStore,
};
pub use self::sqlite::{OpenError, SqliteOptions, SqliteStore};

use aws_lc_rs::hmac;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

/// Our id of a delivery: the same in every attempt, in logs and in the header `Hookkeeper-Delivery`.
///
/// A UUID of version 7 (RFC 9562): its first bits are the time of its arrival.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(u128);

impl DeliveryId {
    /// The id of a delivery that arrived at this time; `random` makes it unlike others of the same time.
    #[must_use]
    pub fn new(arrived: DateTime<Utc>, random: [u8; 10]) -> Self {
        let milliseconds = u128::from(arrived.timestamp_millis().unsigned_abs()) & 0xffff_ffff_ffff;
        let mut low = [0; 16];
        low[6..].copy_from_slice(&random);
        let random = u128::from_be_bytes(low) & !(0xf << 76) & !(0b11 << 62);
        Self(milliseconds << 80 | random | 0x7 << 76 | 0b10 << 62)
    }

    /// The id as the number that it is.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id that these bytes are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(formatter, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The text is no id of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write the id of a delivery as `hookkeeper deliveries list` shows it: 32 hexadecimal digits with dashes"
)]
pub struct InvalidDeliveryId;

impl std::str::FromStr for DeliveryId {
    type Err = InvalidDeliveryId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let has_form = text.len() == 36
            && text.char_indices().all(|(index, character)| match index {
                8 | 13 | 18 | 23 => character == '-',
                _ => character.is_ascii_hexdigit(),
            });
        if !has_form {
            return Err(InvalidDeliveryId);
        }
        u128::from_str_radix(&text.replace('-', ""), 16).map(Self).map_err(|_| InvalidDeliveryId)
    }
}

/// A receiver as rows know it. The uid is what counts: whoever takes the name later gets nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Namespace of the receiver.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its uid.
    pub uid: Arc<str>,
}

/// What names an event, as an HMAC under a key of the store's own ([`Store::digest_key`]).
pub type Digest = [u8; 32];

/// What is to be known again of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKey {
    /// What names the event.
    pub event: Digest,
    /// Its body.
    pub body: Digest,
    /// How long it is known.
    pub window: Duration,
    /// Whether a delivery with the same key and the same body is dropped rather than marked.
    pub drop_repeated: bool,
}

/// A delivery that was verified, as it is put into the store.
#[derive(Clone)]
pub struct NewDelivery {
    /// Our id.
    pub id: DeliveryId,
    /// Who it is for.
    pub owner: Owner,
    /// When it arrived. All times of the store are kept to the microsecond.
    pub arrived: DateTime<Utc>,
    /// The bytes as they came.
    pub body: Bytes,
    /// Their type, as the sender named it or as the preset gives it.
    pub content_type: Option<String>,
    /// How they are encoded beyond that, as the sender named it, such as `gzip`.
    pub content_encoding: Option<String>,
    /// The sender's own date of the event, as it is handed on: `Hookkeeper-Event-Time`.
    pub event_time: Option<String>,
    /// What its repetitions are known by.
    pub key: EventKey,
    /// What the receiver may have waiting, so that the bound is held where it is counted.
    pub room: Room,
}

impl fmt::Debug for NewDelivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NewDelivery")
            .field("id", &self.id)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// How much may wait, and how much be parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What may wait for the receiver.
    pub pending: Extent,
    /// What may be parked for the receiver.
    pub parked: Extent,
    /// What may wait and be parked together for all receivers of its namespace.
    pub namespace: Extent,
    /// There are other namespaces to leave something of the disk for: this one may hold as much as it
    /// leaves, and no more.
    pub leaves_some: bool,
}

/// A number of deliveries and of the bytes of their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many deliveries.
    pub deliveries: u64,
    /// How many bytes of bodies.
    pub bytes: u64,
}

/// What became of a delivery that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is stored, and is to be handed on.
    Stored,
    /// It repeats this one, which is stored or was handed on, and was dropped.
    Repeated(DeliveryId),
    /// It repeats this one, which was parked and now waits again.
    Revived(DeliveryId),
    /// There is no room for it.
    Full(Bound),
}

/// What became of a parked delivery that another receiver was to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// It is that one's, and waits again.
    Waits,
    /// None is parked under this id that was for a receiver of this namespace and name.
    Absent,
    /// There is no room for it.
    Full(Bound),
}

/// Which bound was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The receiver's for what waits.
    Pending,
    /// The receiver's for what is parked.
    Parked,
    /// The share of its namespace.
    Namespace,
}

/// A delivery that is under way to the application.
#[derive(Clone)]
pub struct Taken {
    /// Our id.
    pub id: DeliveryId,
    /// Needed by [`Store::retry`] and [`Store::park`], so that only who took it last is believed.
    pub claim: Claim,
    /// When it arrived.
    pub arrived: DateTime<Utc>,
    /// The bytes as they came.
    pub body: Bytes,
    /// Their type.
    pub content_type: Option<String>,
    /// How they are encoded beyond that.
    pub content_encoding: Option<String>,
    /// The sender's own date of the event.
    pub event_time: Option<String>,
    /// The attempts so far that were answered, and did not succeed.
    pub refusals: u32,
    /// The attempts so far, this one not counted.
    pub attempts: u32,
    /// When its retention began: its arrival, or the replay.
    pub since: DateTime<Utc>,
    /// What names its event ([`EventKey::event`]).
    pub event: Vec<u8>,
    /// An earlier delivery with the same key that the application has answered with success.
    pub duplicate_of: Option<DeliveryId>,
}

impl fmt::Debug for Taken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Taken")
            .field("id", &self.id)
            .field("claim", &self.claim)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// Who has a delivery under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim(pub u64);

/// Why the last attempt failed, in our words: nothing of an answer is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// What happened, such as `the application answered 500`.
    pub what: String,
    /// When.
    pub when: DateTime<Utc>,
}

/// State of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// Waits until it is due.
    Pending,
    /// Waits for a person.
    Parked,
}

/// A row as people see it: without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Our id.
    pub id: DeliveryId,
    /// Who it is for.
    pub owner: Owner,
    /// Whether it waits or is parked.
    pub state: RowState,
    /// When it arrived.
    pub arrived: DateTime<Utc>,
    /// When it is due next; of a parked one without meaning.
    pub due: DateTime<Utc>,
    /// Length of its body in bytes.
    pub size: u64,
    /// The attempts so far.
    pub attempts: u32,
    /// Why the last one failed.
    pub failure: Option<LastFailure>,
}

/// Which rows are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only those of this namespace.
    pub namespace: Option<String>,
    /// Only those of a receiver of this name.
    pub receiver: Option<String>,
    /// Only those in this state; an expectation that is open is pending.
    pub state: Option<RowState>,
}

impl Selection {
    /// Whether rows of this receiver are meant.
    #[must_use]
    pub fn means(&self, owner: &Owner) -> bool {
        self.namespace.as_deref().is_none_or(|wanted| wanted == &*owner.namespace)
            && self.receiver.as_deref().is_none_or(|wanted| wanted == &*owner.name)
    }
}

/// What a receiver has in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The receiver.
    pub owner: Owner,
    /// What waits.
    pub pending: Extent,
    /// What is parked.
    pub parked: Extent,
    /// When the oldest that waits arrived.
    pub oldest_pending: Option<DateTime<Utc>>,
    /// Expectations that somebody is asked for.
    pub expected: u64,
    /// Expectations that nobody is asked for any more.
    pub expected_parked: u64,
    /// Keys had to go before they expired, because the receiver has too many: until this time a
    /// repeated delivery may not be known as such.
    pub window_shortened_until: Option<DateTime<Utc>>,
}

/// Something an application waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Whose.
    pub owner: Owner,
    /// The id at the platform.
    pub id: String,
    /// When it was said. One that is said again is another one, and has another time.
    pub since: DateTime<Utc>,
    /// When the platform is asked next; of a parked one, when it was parked.
    pub due: DateTime<Utc>,
    /// The status that was handed on last, as a digest: asked again, it is not handed on again.
    pub handed_on: Option<Digest>,
    /// Whether nobody is asked any more.
    pub parked: bool,
}

/// A token that a receiver accepts or recognises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownToken {
    /// HMAC of the token under the store's key.
    pub digest: Digest,
    /// Its fingerprint.
    pub fingerprint: String,
    /// When it was minted.
    pub minted: DateTime<Utc>,
    /// When it stopped being the current one, if it has.
    pub retired: Option<DateTime<Utc>>,
}

/// A time in which nothing was handed on for a receiver, because it was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standstill {
    /// When it began.
    pub began: DateTime<Utc>,
    /// When it ended, if it has.
    pub ended: Option<DateTime<Utc>>,
}

/// Why the store did not do what it was asked. Nothing was changed, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full, or less is left than is kept back for what is under way.
    #[error("the disk of the store is full: {0}")]
    Full(String),
    /// It cannot be reached or did not answer in time; trying again may help.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// A commit may or may not be durable, and the process must end: no later one can be believed.
    #[error("the store cannot make anything durable: {0}")]
    Broken(String),
    /// A row cannot be read: it is damaged or sealed with a key that is not given.
    #[error("delivery {id} cannot be read: {problem}")]
    Unreadable {
        /// Which one.
        id: DeliveryId,
        /// Why.
        problem: String,
    },
}

/// Answer of the store.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Keeps deliveries. Every method that changes something answers only when the change is durable.
pub trait Store: Send + Sync {
    /// The key for [`Digest`]s: random, made with the store, never shown.
    fn digest_key(&self) -> &[u8; 32];
    /// A short name of the store, which two processes that share it have in common: 16 hex digits of a digest
    /// of its key. It tells nothing of the key.
    fn short_id(&self) -> String {
        let digest =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.digest_key()), b"short id of the store");
        digest.as_ref().iter().take(8).fold(String::with_capacity(16), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        })
    }
    /// Whether bodies are sealed before they are written.
    fn is_sealing(&self) -> bool;
    /// Ends when nothing can be made durable any more ([`StoreError::Broken`]); the process must end too.
    fn failed(&self) -> BoxFuture<'_, StoreError>;
    /// Stores a delivery, due at once.
    fn put(&self, delivery: NewDelivery) -> Answer<'_, Put>;
    /// Takes up to `most` of the receiver's deliveries that are due at `now`, the oldest due first. They
    /// are nobody else's for `lease`, or until they are given back by one of the methods below. Fewer are
    /// taken when their bodies are large; none, with [`StoreError::Full`], while the last commit failed for
    /// want of space: what becomes of them could not be written down.
    fn take<'a>(
        &'a self,
        uid: &'a str,
        most: usize,
        now: DateTime<Utc>,
        lease: Duration,
    ) -> Answer<'a, Vec<Taken>>;
    /// When the receiver's next delivery is due; one that is taken counts from the end of its lease.
    fn next_due<'a>(&'a self, uid: &'a str) -> Answer<'a, Option<DateTime<Utc>>>;
    /// The application has answered with success: the delivery is deleted, its key stays. Believed of
    /// anybody, whatever has become of the row.
    fn done(&self, id: DeliveryId) -> Answer<'_, ()>;
    /// It is tried again when it is due; `refused` says whether the application answered. Without effect
    /// when the claim is no longer the row's.
    fn retry(
        &self,
        id: DeliveryId,
        claim: Claim,
        due: DateTime<Utc>,
        refused: bool,
        failure: LastFailure,
    ) -> Answer<'_, ()>;
    /// It is given back as it was: no attempt was made.
    fn give_back(&self, id: DeliveryId, claim: Claim) -> Answer<'_, ()>;
    /// It waits for a person from now on; the attempt that ended with this counts. Without effect when
    /// the claim is no longer the row's.
    fn park(&self, id: DeliveryId, claim: Claim, failure: LastFailure) -> Answer<'_, ()>;
    /// All that waits for a receiver that is gone is parked; returns how many.
    fn park_all<'a>(&'a self, uid: &'a str, failure: LastFailure) -> Answer<'a, u64>;
    /// A parked delivery waits again, due at `now`, its attempts counted from zero. False when there is none.
    fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Answer<'_, bool>;
    /// A parked delivery goes over to `by`, a later receiver of the same namespace and name, and waits
    /// again, as after [`Store::replay`]: the same row under the same id, with what is known of its event.
    /// The bounds that `room` says for the receiver hold.
    fn adopt(&self, id: DeliveryId, by: Owner, room: Room, now: DateTime<Utc>) -> Answer<'_, Adopted>;
    /// A parked delivery is deleted. False when there is none.
    fn drop_parked(&self, id: DeliveryId) -> Answer<'_, bool>;
    /// Rows in the order of their ids, after `after`, at most `most`.
    fn list<'a>(
        &'a self,
        selection: &'a Selection,
        after: Option<DeliveryId>,
        most: usize,
    ) -> Answer<'a, Vec<Row>>;
    /// One row, if it is there.
    fn show(&self, id: DeliveryId) -> Answer<'_, Option<Row>>;
    /// The body of one row, if it is there.
    fn body(&self, id: DeliveryId) -> Answer<'_, Option<Bytes>>;
    /// What each receiver has. Costs by receivers and not by rows.
    fn usage(&self) -> Answer<'_, Vec<Usage>>;
    /// Keys that have expired at `now` are deleted, at most a bounded number at a time; returns how many.
    fn forget_expired(&self, now: DateTime<Utc>) -> Answer<'_, u64>;
    /// An application waits for this id. False when it has `most` open already. A known one begins again;
    /// while it is open, what was handed on stays known, for the caller may only repeat itself.
    fn expect(&self, expectation: Expectation, most: usize) -> Answer<'_, bool>;
    /// Up to `most` expectations of the receiver that are due at `now`.
    fn expectations_due<'a>(
        &'a self,
        uid: &'a str,
        now: DateTime<Utc>,
        most: usize,
    ) -> Answer<'a, Vec<Expectation>>;
    /// One expectation, parked or not.
    fn expectation<'a>(&'a self, uid: &'a str, id: &'a str) -> Answer<'a, Option<Expectation>>;
    /// Changes an expectation: when it is due, what was handed on, whether it is parked. Without effect when
    /// it has been met, or was said again meanwhile.
    fn expectation_changed(&self, expectation: Expectation) -> Answer<'_, ()>;
    /// An expectation is met.
    fn expectation_met<'a>(&'a self, uid: &'a str, id: &'a str) -> Answer<'a, ()>;
    /// Expectations, receiver by receiver, those first that are due first; at most `most`.
    fn expectations<'a>(&'a self, selection: &'a Selection, most: usize) -> Answer<'a, Vec<Expectation>>;
    /// Nobody is asked any more for anything of this receiver; returns how many were parked.
    fn park_expectations<'a>(&'a self, uid: &'a str, now: DateTime<Utc>) -> Answer<'a, u64>;
    /// The receiver's parked expectations begin again, due at `now`, as far as `most` may be open; returns how
    /// many.
    fn revive_expectations<'a>(&'a self, uid: &'a str, now: DateTime<Utc>, most: usize) -> Answer<'a, u64>;
    /// Expectations that were parked before this time are deleted, at most a bounded number at a time; returns
    /// how many.
    fn forget_expectations(&self, before: DateTime<Utc>) -> Answer<'_, u64>;
    /// The tokens that a receiver knows.
    fn tokens<'a>(&'a self, uid: &'a str) -> Answer<'a, Vec<KnownToken>>;
    /// Replaces the tokens that a receiver knows.
    fn set_tokens<'a>(&'a self, uid: &'a str, tokens: Vec<KnownToken>) -> Answer<'a, ()>;
    /// When the receiver stood still, in the order in which that began.
    fn standstills<'a>(&'a self, uid: &'a str) -> Answer<'a, Vec<Standstill>>;
    /// Replaces what is known of that.
    fn set_standstills<'a>(&'a self, uid: &'a str, standstills: Vec<Standstill>) -> Answer<'a, ()>;
    /// Ends when everything that was asked for is durable and the store is closed cleanly.
    fn close(&self) -> Answer<'_, ()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_version_7_in_the_order_of_their_arrival() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let first = DeliveryId::new(at("2026-11-27T03:00:00Z"), [0xff; 10]);
        let second = DeliveryId::new(at("2026-11-27T03:00:00.001Z"), [0; 10]);
        assert!(first < second);
        let text = first.to_string();
        assert_eq!(&text[14..15], "7");
        assert_eq!(&text[19..20], "b");
        assert_eq!(text.parse(), Ok(first));
        assert_eq!(DeliveryId::from_bytes(first.to_bytes()), first);
        for wrong in ["", "1", &text[1..], &text.replace('-', "0"), &format!("+{}", &text[1..])] {
            assert_eq!(wrong.parse::<DeliveryId>(), Err(InvalidDeliveryId), "{wrong}");
        }
    }
}
