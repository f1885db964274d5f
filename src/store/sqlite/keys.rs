//! What deliveries are known again by.
//!
//! | row of `keys` | says |
//! |---|---|
//! | event and body | this delivery brought this body for this event; the latest one, if there were several |
//! | event and an empty body | this delivery of the event was answered with success |

use rusqlite::{CachedStatement, OptionalExtension};

use super::engine::Engine;
use crate::store::DeliveryId;

/// In the place of a body's digest.
const ANSWERED: [u8; 0] = [];

/// Keys that go at most for each new one.
const EVICTED: i64 = 8;

/// Keys that are deleted in one go when they have expired.
const FORGOTTEN: u64 = 2000;

/// The delivery of a key.
pub(super) const KNOWN: &str =
    "SELECT delivery, expires FROM keys WHERE receiver = ?1 AND event = ?2 AND body = ?3 AND expires > ?4";

/// The keys of a receiver that expire first, and those that have expired.
pub(super) const FIRST_TO_EXPIRE: &str =
    "SELECT event, body, expires FROM keys WHERE receiver = ?1 ORDER BY expires LIMIT ?2";
pub(super) const EXPIRED: &str = "SELECT event, body, expires FROM keys WHERE receiver = ?1 AND expires <= ?3
     ORDER BY expires LIMIT ?2";

impl Engine {
    /// The delivery that brought this body for this event, if that is known at this time.
    pub(super) fn earlier(
        &self,
        receiver: i64,
        event: &[u8],
        body: &[u8],
        now: i64,
    ) -> rusqlite::Result<Option<DeliveryId>> {
        Ok(self.known(receiver, event, body, now)?.map(|(id, _)| id))
    }

    /// The delivery of this event that was answered with success, if that is known at this time.
    pub(super) fn answered(
        &self,
        receiver: i64,
        event: &[u8],
        now: i64,
    ) -> rusqlite::Result<Option<DeliveryId>> {
        Ok(self.known(receiver, event, &ANSWERED, now)?.map(|(id, _)| id))
    }

    /// What is known of a delivery and its event goes over to another receiver, together with the delivery.
    /// That its event was answered stays known of the former one, too: other copies may still be there.
    pub(super) fn hand_over_keys(
        &mut self,
        from: i64,
        to: i64,
        (event, body): (&[u8], &[u8]),
        (id, expires): (DeliveryId, i64),
        now: i64,
    ) -> rusqlite::Result<()> {
        self.forget_key(from, event, body, id)?;
        if expires > now && self.earlier(to, event, body, now)?.is_none() {
            self.remember(to, event, body, id, now, expires)?;
        }
        match self.known(from, event, &ANSWERED, now)? {
            Some((answered, expires)) => self.remember_answer(to, event, answered, expires),
            None => Ok(()),
        }
    }

    fn known(
        &self,
        receiver: i64,
        event: &[u8],
        body: &[u8],
        now: i64,
    ) -> rusqlite::Result<Option<(DeliveryId, i64)>> {
        self.connection
            .prepare_cached(KNOWN)?
            .query_row((receiver, event, body, now), |row| {
                Ok((DeliveryId::from_bytes(row.get(0)?), row.get(1)?))
            })
            .optional()
    }

    /// The delivery brought this body for this event.
    pub(super) fn remember(
        &mut self,
        receiver: i64,
        event: &[u8],
        body: &[u8],
        id: DeliveryId,
        now: i64,
        expires: i64,
    ) -> rusqlite::Result<()> {
        if self.added(receiver, event, body, id, now, expires)? {
            return Ok(());
        }
        self.connection
            .prepare_cached(
                "UPDATE keys SET delivery = ?4, expires = max(expires, ?5)
                 WHERE receiver = ?1 AND event = ?2 AND body = ?3",
            )?
            .execute((receiver, event, body, id.to_bytes(), expires))?;
        Ok(())
    }

    /// The delivery of this event was answered with success; the first one that was stays.
    pub(super) fn remember_answer(
        &mut self,
        receiver: i64,
        event: &[u8],
        id: DeliveryId,
        expires: i64,
    ) -> rusqlite::Result<()> {
        if self.added(receiver, event, &ANSWERED, id, 0, expires)? {
            return Ok(());
        }
        self.connection
            .prepare_cached(
                "UPDATE keys SET expires = max(expires, ?4)
                 WHERE receiver = ?1 AND event = ?2 AND body = ?3",
            )?
            .execute((receiver, event, ANSWERED, expires))?;
        Ok(())
    }

    /// Whether there was no such key until now.
    fn added(
        &mut self,
        receiver: i64,
        event: &[u8],
        body: &[u8],
        id: DeliveryId,
        now: i64,
        expires: i64,
    ) -> rusqlite::Result<bool> {
        let inserted = self
            .connection
            .prepare_cached(
                "INSERT INTO keys (receiver, event, body, delivery, expires) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING",
            )?
            .execute((receiver, event, body, id.to_bytes(), expires))?;
        if inserted == 0 {
            return Ok(false);
        }
        self.ledger.change(receiver, |account| account.keys += 1);
        self.evict(receiver, now)?;
        Ok(true)
    }

    /// The oldest keys go when the receiver has too many.
    fn evict(&mut self, receiver: i64, now: i64) -> rusqlite::Result<()> {
        let Some(keys) = self.ledger.get(receiver).map(|account| account.keys) else { return Ok(()) };
        if keys <= self.most_keys {
            return Ok(());
        }
        let over = i64::try_from(keys - self.most_keys).unwrap_or(EVICTED).min(EVICTED);
        let mut select = self.connection.prepare_cached(FIRST_TO_EXPIRE)?;
        let (deleted, last) = delete_keys(&self.connection, &mut select, receiver, over)?;
        drop(select);
        self.ledger.change(receiver, |account| {
            account.keys = account.keys.saturating_sub(deleted);
            if last > now {
                account.shortened_until = account.shortened_until.max(last);
            }
        });
        Ok(())
    }

    /// The key goes with the delivery that it is of.
    pub(super) fn forget_key(
        &mut self,
        receiver: i64,
        event: &[u8],
        body: &[u8],
        id: DeliveryId,
    ) -> rusqlite::Result<()> {
        let deleted = self
            .connection
            .prepare_cached(
                "DELETE FROM keys WHERE receiver = ?1 AND event = ?2 AND body = ?3 AND delivery = ?4",
            )?
            .execute((receiver, event, body, id.to_bytes()))?;
        self.ledger.change(receiver, |account| account.keys = account.keys.saturating_sub(deleted as u64));
        Ok(())
    }

    /// Deletes some of the keys that have expired, and the accounts of receivers that have nothing any more.
    pub(super) fn forget_expired(&mut self, now: i64) -> rusqlite::Result<u64> {
        let mut forgotten = 0;
        let receivers: Vec<(i64, bool, i64)> = self
            .ledger
            .accounts()
            .map(|account| (account.receiver, account.keys > 0, account.shortened_until))
            .collect();
        for (receiver, has_keys, shortened_until) in receivers {
            if has_keys && forgotten < FORGOTTEN {
                let mut select = self.connection.prepare_cached(EXPIRED)?;
                let limit = i64::try_from(FORGOTTEN - forgotten).unwrap_or(0);
                let found = select.query_map((receiver, limit, now), key)?.collect::<Result<Vec<_>, _>>()?;
                let deleted = delete(&self.connection, receiver, &found)?;
                drop(select);
                forgotten += deleted;
                self.ledger.change(receiver, |account| account.keys = account.keys.saturating_sub(deleted));
            }
            let is_over = shortened_until <= now && self.ledger.get(receiver).is_some_and(|a| a.is_empty());
            if is_over {
                self.connection
                    .prepare_cached("DELETE FROM receivers WHERE receiver = ?1")?
                    .execute([receiver])?;
                self.ledger.remove(receiver);
            }
        }
        Ok(forgotten)
    }
}

type Key = (Vec<u8>, Vec<u8>, i64);

fn key(row: &rusqlite::Row<'_>) -> rusqlite::Result<Key> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

/// Deletes the keys that are selected; how many, and when the last of them would have expired.
fn delete_keys(
    connection: &rusqlite::Connection,
    select: &mut CachedStatement<'_>,
    receiver: i64,
    limit: i64,
) -> rusqlite::Result<(u64, i64)> {
    let found = select.query_map((receiver, limit), key)?.collect::<Result<Vec<_>, _>>()?;
    let last = found.last().map_or(0, |(_, _, expires)| *expires);
    Ok((delete(connection, receiver, &found)?, last))
}

fn delete(connection: &rusqlite::Connection, receiver: i64, keys: &[Key]) -> rusqlite::Result<u64> {
    let mut statement =
        connection.prepare_cached("DELETE FROM keys WHERE receiver = ?1 AND event = ?2 AND body = ?3")?;
    let mut deleted = 0;
    for (event, body, _) in keys {
        deleted += statement.execute((receiver, event, body))? as u64;
    }
    Ok(deleted)
}
