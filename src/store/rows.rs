//! Rows on their way between callers and an engine, what came from outside in them as it is written.

use chrono::{DateTime, Utc};

use super::content::{Content, Seals, Written};
use super::{Claim, DeliveryId, EventKey, LastFailure, NewDelivery, Owner, Room, StoreError, Taken};

/// A delivery that is put.
pub(super) struct Arriving {
    pub(super) id: DeliveryId,
    pub(super) owner: Owner,
    pub(super) arrived: DateTime<Utc>,
    pub(super) size: u64,
    pub(super) written: Written,
    pub(super) key: EventKey,
    pub(super) room: Room,
}

impl Arriving {
    /// The delivery, sealed if there is a key.
    pub(super) fn of(delivery: NewDelivery, seals: &Seals) -> Result<Self, StoreError> {
        let NewDelivery { id, owner, arrived, body, key, room, .. } = delivery;
        let NewDelivery { content_type, content_encoding, event_time, .. } = delivery;
        let size = body.len() as u64;
        let content = Content { body, content_type, content_encoding, event_time };
        let written = seals.write(&owner.uid, id, &content)?;
        Ok(Self { id, owner, arrived, size, written, key, room })
    }
}

/// A delivery that was taken.
pub(super) struct TakenRow {
    pub(super) id: DeliveryId,
    pub(super) claim: Claim,
    pub(super) arrived: DateTime<Utc>,
    pub(super) written: Written,
    pub(super) refusals: u32,
    pub(super) attempts: u32,
    pub(super) since: DateTime<Utc>,
    pub(super) event: Vec<u8>,
    pub(super) duplicate_of: Option<DeliveryId>,
}

impl TakenRow {
    /// The delivery as it came. One that cannot be read is to be parked, with the failure that comes back: it
    /// would come up again and again, before all others.
    pub(super) fn open(self, uid: &str, seals: &Seals, now: DateTime<Utc>) -> Result<Taken, LastFailure> {
        let Self { id, claim, arrived, written, refusals, attempts, since, event, duplicate_of } = self;
        match seals.read(uid, id, written) {
            Ok(Content { body, content_type, content_encoding, event_time }) => Ok(Taken {
                id,
                claim,
                arrived,
                body,
                content_type,
                content_encoding,
                event_time,
                refusals,
                attempts,
                since,
                event,
                duplicate_of,
            }),
            Err(error) => {
                tracing::error!(delivery = %id, error = %error, "a delivery cannot be read and is parked");
                let what = "what is stored of it is damaged, or was sealed with another key".to_owned();
                Err(LastFailure { what, when: now })
            }
        }
    }
}

/// A body, with what it is bound to.
pub(super) struct BodyRow {
    pub(super) uid: String,
    pub(super) written: Written,
}
