//! A parked delivery goes over to the receiver that has taken the place of its own.

use super::deliveries::{Found, PARKED};
use super::engine::Engine;
use crate::store::content::Written;
use crate::store::ledger::{add, subtract};
use crate::store::{Adopted, Bound, DeliveryId, Owner, Room};

/// What goes over, and to whom.
pub(super) struct Adopting {
    pub(super) id: DeliveryId,
    pub(super) by: Owner,
    pub(super) room: Room,
    /// Its content as it is written for the new receiver: what is sealed is bound to a uid.
    pub(super) written: Written,
}

impl Engine {
    pub(super) fn adopt(&mut self, adopting: &Adopting, now: i64) -> rusqlite::Result<Adopted> {
        let Adopting { id, by, room, written } = adopting;
        let Some(found) = self.find(*id)?.filter(|found| found.state == PARKED) else {
            return Ok(Adopted::Absent);
        };
        let is_successor = self.ledger.get(found.receiver).is_some_and(|account| {
            (&account.owner.namespace, &account.owner.name) == (&by.namespace, &by.name)
        });
        if !is_successor {
            return Ok(Adopted::Absent);
        }
        let receiver = self.account(by)?;
        if receiver == found.receiver {
            if !self.ledger.can_wait(receiver, room, found.size) {
                return Ok(Adopted::Full(Bound::Pending));
            }
            return self.revive(&found, now).map(|()| Adopted::Waits);
        }
        if let Some(bound) = self.ledger.bound_for_adopted(receiver, room, found.size) {
            return Ok(Adopted::Full(bound));
        }
        self.write_content(found.row, written)?;
        self.connection
            .prepare_cached("UPDATE deliveries SET receiver = ?2 WHERE delivery = ?1")?
            .execute((found.row, receiver))?;
        self.ledger.change(found.receiver, |account| subtract(&mut account.parked, found.size));
        self.ledger.change(receiver, |account| add(&mut account.parked, found.size));
        let (event, body) = (&found.event, &found.body_digest);
        self.hand_over_keys(found.receiver, receiver, (event, body), (*id, found.key_expires), now)?;
        self.revive(&Found { receiver, ..found }, now)?;
        Ok(Adopted::Waits)
    }
}
