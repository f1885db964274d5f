//! What changes deliveries, inside of the transaction of a commit.

use rusqlite::{OptionalExtension, named_params};

use super::engine::Engine;
use crate::store::columns::{micros, shortened, signed, unsigned, window_micros};
use crate::store::content::Written;
use crate::store::ledger::{add, subtract};
use crate::store::rows::Arriving;
use crate::store::{Claim, DeliveryId, EventKey, LastFailure, Put};

pub(super) const PENDING: i64 = 0;
pub(super) const PARKED: i64 = 1;

/// Rows that are parked in one go when a receiver is gone.
pub(super) const PARKED_AT_ONCE: i64 = 500;

/// What has to be known of a row to change it.
pub(super) struct Found {
    pub(super) row: i64,
    pub(super) receiver: i64,
    pub(super) state: i64,
    pub(super) size: u64,
    pub(super) event: Vec<u8>,
    pub(super) body_digest: Vec<u8>,
    pub(super) key_expires: i64,
}

impl Engine {
    pub(super) fn put(&mut self, arriving: &Arriving) -> rusqlite::Result<Put> {
        let receiver = self.account(&arriving.owner)?;
        let EventKey { event, body, window, drop_repeated } = &arriving.key;
        let arrived = micros(arriving.arrived);
        if let Some(earlier) = self.earlier(receiver, event, body, arrived)? {
            let found = self.find(earlier)?;
            // One that is only marked is stored beside it: what was acknowledged twice is handed on twice.
            if let Some(parked) = found.filter(|found| *drop_repeated && found.state == PARKED) {
                if !self.ledger.can_wait(receiver, &arriving.room, parked.size) {
                    return Ok(Put::Full(crate::store::Bound::Pending));
                }
                self.revive(&parked, arrived)?;
                return Ok(Put::Revived(earlier));
            }
            if *drop_repeated && earlier != arriving.id {
                return Ok(Put::Repeated(earlier));
            }
        }
        if let Some(bound) = self.ledger.bound(receiver, &arriving.room, arriving.size) {
            return Ok(Put::Full(bound));
        }
        let key_expires = arrived.saturating_add(window_micros(*window));
        let inserted = self
            .connection
            .prepare_cached(
                "INSERT INTO deliveries (id, receiver, state, arrived, due, since, size, attempts, refusals,
                     event, body_digest, key_expires)
                 VALUES (:id, :receiver, 0, :arrived, :arrived, :arrived, :size, 0, 0, :event, :body_digest,
                     :key_expires)
                 ON CONFLICT (id) DO NOTHING",
            )?
            .execute(named_params! {
                ":id": arriving.id.to_bytes(),
                ":receiver": receiver,
                ":arrived": arrived,
                ":size": signed(arriving.size),
                ":event": event,
                ":body_digest": body,
                ":key_expires": key_expires,
            })?;
        // The same call a second time, after an answer that was lost between us and the caller.
        if inserted == 0 {
            return Ok(Put::Stored);
        }
        let written = &arriving.written;
        self.connection
            .prepare_cached(
                "INSERT INTO bodies (delivery, seal, salt, content_type, content_encoding, event_time, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                self.connection.last_insert_rowid(),
                written.sealing.seal,
                written.sealing.salt,
                written.content_type.as_deref(),
                written.content_encoding.as_deref(),
                written.event_time.as_deref(),
                &*written.body,
            ))?;
        self.ledger.change(receiver, |account| add(&mut account.pending, arriving.size));
        if key_expires > arrived {
            self.remember(receiver, event, body, arriving.id, arrived, key_expires)?;
        }
        Ok(Put::Stored)
    }

    pub(super) fn done(&mut self, id: DeliveryId) -> rusqlite::Result<()> {
        let Some(found) = self.find(id)? else { return Ok(()) };
        self.delete(&found)?;
        self.remember_answer(found.receiver, &found.event, id, found.key_expires)
    }

    pub(super) fn retry(
        &mut self,
        id: DeliveryId,
        claim: Claim,
        due: i64,
        refused: bool,
        failure: &LastFailure,
    ) -> rusqlite::Result<()> {
        let Some(found) = self.find_claimed(id, claim)? else { return Ok(()) };
        self.connection
            .prepare_cached(
                "UPDATE deliveries SET due = ?2, attempts = attempts + 1, refusals = refusals + ?3,
                     failed_at = ?4, failure = ?5
                 WHERE delivery = ?1",
            )?
            .execute((found.row, due, refused, micros(failure.when), shortened(&failure.what)))?;
        self.released.push(found.row);
        Ok(())
    }

    pub(super) fn park(
        &mut self,
        id: DeliveryId,
        claim: Claim,
        failure: &LastFailure,
    ) -> rusqlite::Result<()> {
        let Some(found) = self.find_claimed(id, claim)? else { return Ok(()) };
        self.park_row(&found, 1, failure)
    }

    /// Parks some of what waits for a receiver; how many.
    pub(super) fn park_some(&mut self, uid: &str, failure: &LastFailure) -> rusqlite::Result<u64> {
        let Some(receiver) = self.ledger.by_uid(uid).map(|account| account.receiver) else { return Ok(0) };
        let found = self
            .connection
            .prepare_cached(
                "SELECT delivery, receiver, state, size, event, body_digest, key_expires FROM deliveries
                 WHERE receiver = ?1 AND state = 0 LIMIT ?2",
            )?
            .query_map((receiver, PARKED_AT_ONCE), found)?
            .collect::<Result<Vec<_>, _>>()?;
        for found in &found {
            self.park_row(found, 0, failure)?;
        }
        Ok(found.len() as u64)
    }

    pub(super) fn replay(&mut self, id: DeliveryId, now: i64) -> rusqlite::Result<bool> {
        match self.find(id)? {
            Some(found) if found.state == PARKED => self.revive(&found, now).map(|()| true),
            _ => Ok(false),
        }
    }

    pub(super) fn drop_parked(&mut self, id: DeliveryId) -> rusqlite::Result<bool> {
        match self.find(id)? {
            Some(found) if found.state == PARKED => {
                self.delete(&found)?;
                self.forget_key(found.receiver, &found.event, &found.body_digest, id)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn find(&self, id: DeliveryId) -> rusqlite::Result<Option<Found>> {
        self.connection
            .prepare_cached(
                "SELECT delivery, receiver, state, size, event, body_digest, key_expires FROM deliveries
                 WHERE id = ?1",
            )?
            .query_row([id.to_bytes()], found)
            .optional()
    }

    /// The row, if this claim is still its claim.
    fn find_claimed(&self, id: DeliveryId, claim: Claim) -> rusqlite::Result<Option<Found>> {
        let found = self.find(id)?;
        Ok(found.filter(|found| {
            found.state == PENDING
                && !self.released.contains(&found.row)
                && self.claims.get(&found.row).is_some_and(|held| held.claim == claim)
        }))
    }

    /// Writes the content of a row again, sealed in another way.
    pub(super) fn write_content(&self, row: i64, written: &Written) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE bodies SET seal = ?2, salt = ?3, body = ?4, content_type = ?5, content_encoding = ?6,
                     event_time = ?7
                 WHERE delivery = ?1",
            )?
            .execute((
                row,
                written.sealing.seal,
                written.sealing.salt,
                &*written.body,
                written.content_type.as_deref(),
                written.content_encoding.as_deref(),
                written.event_time.as_deref(),
            ))
            .map(drop)
    }

    fn delete(&mut self, found: &Found) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM deliveries WHERE delivery = ?1")?.execute([found.row])?;
        self.connection.prepare_cached("DELETE FROM bodies WHERE delivery = ?1")?.execute([found.row])?;
        self.ledger.change(found.receiver, |account| {
            let extent = if found.state == PARKED { &mut account.parked } else { &mut account.pending };
            subtract(extent, found.size);
        });
        self.released.push(found.row);
        Ok(())
    }

    fn park_row(&mut self, found: &Found, attempts: i64, failure: &LastFailure) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE deliveries SET state = 1, attempts = attempts + ?2, failed_at = ?3, failure = ?4
                 WHERE delivery = ?1",
            )?
            .execute((found.row, attempts, micros(failure.when), shortened(&failure.what)))?;
        self.ledger.change(found.receiver, |account| {
            subtract(&mut account.pending, found.size);
            add(&mut account.parked, found.size);
        });
        self.released.push(found.row);
        Ok(())
    }

    pub(super) fn revive(&mut self, found: &Found, now: i64) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE deliveries SET state = 0, due = ?2, since = ?2, attempts = 0, refusals = 0
                 WHERE delivery = ?1",
            )?
            .execute((found.row, now))?;
        self.ledger.change(found.receiver, |account| {
            subtract(&mut account.parked, found.size);
            add(&mut account.pending, found.size);
        });
        Ok(())
    }
}

fn found(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found {
        row: row.get(0)?,
        receiver: row.get(1)?,
        state: row.get(2)?,
        size: unsigned(row.get(3)?),
        event: row.get(4)?,
        body_digest: row.get(5)?,
        key_expires: row.get(6)?,
    })
}
