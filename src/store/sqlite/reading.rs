//! What only reads, between two commits: it sees what is durable.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::OptionalExtension;

use super::deliveries::{PARKED, PENDING};
use super::engine::{Engine, Held};
use crate::store::columns::{micros, time, unsigned};
use crate::store::content::{Sealing, Written};
use crate::store::rows::{BodyRow, TakenRow};
use crate::store::{Claim, DeliveryId, LastFailure, Row, RowState, Selection, Usage};

/// Bytes of bodies after which no more deliveries are taken at once.
const TAKEN_AT_ONCE: u64 = 16 << 20;

/// Most rows of one list.
const LONGEST_LIST: usize = 10_000;

/// Rows of a receiver that are due.
pub(super) const DUE: &str = "SELECT delivery FROM deliveries WHERE state = 0 AND receiver = ?1 AND due <= ?2
     ORDER BY due, delivery";

/// Rows of a receiver in the order in which they are due.
pub(super) const NEXT_DUE: &str =
    "SELECT delivery, due FROM deliveries WHERE state = 0 AND receiver = ?1 ORDER BY due, delivery";

/// When the oldest row of a receiver that waits arrived.
pub(super) const OLDEST: &str =
    "SELECT arrived FROM deliveries WHERE receiver = ?1 AND state = 0 ORDER BY id LIMIT 1";

/// A page of all rows, and of those of a receiver in one state.
pub(super) const PAGE: &str = "SELECT delivery FROM deliveries WHERE id > ?1 ORDER BY id LIMIT ?2";
pub(super) const PAGE_OF_RECEIVER: &str = "SELECT id, delivery FROM deliveries
     WHERE receiver = ?1 AND state = ?2 AND id > ?3 ORDER BY id LIMIT ?4";

impl Engine {
    pub(super) fn take(
        &mut self,
        uid: &str,
        most: usize,
        now: DateTime<Utc>,
        lease: TimeDelta,
    ) -> rusqlite::Result<Vec<TakenRow>> {
        let Some(receiver) = self.ledger.by_uid(uid).map(|account| account.receiver) else {
            return Ok(Vec::new());
        };
        if !self.may_pick() {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                Some("nothing is picked, because what becomes of it could not be written down".to_owned()),
            ));
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        for row in self.free_rows(receiver, most, now)? {
            if bytes >= TAKEN_AT_ONCE {
                break;
            }
            let mut found = self.taken_row(receiver, row, now)?;
            self.last_claim += 1;
            found.claim = Claim(self.last_claim);
            bytes += found.written.body.len() as u64;
            self.claims.insert(row, Held { claim: found.claim, until: now + lease });
            taken.push(found);
        }
        Ok(taken)
    }

    /// Rows that are due and not under way, the oldest due first.
    fn free_rows(&self, receiver: i64, most: usize, now: DateTime<Utc>) -> rusqlite::Result<Vec<i64>> {
        let mut due = self.connection.prepare_cached(DUE)?;
        let mut rows = due.query((receiver, micros(now)))?;
        let mut free = Vec::new();
        while free.len() < most
            && let Some(row) = rows.next()?
        {
            let row = row.get(0)?;
            if self.claims.get(&row).is_none_or(|held| held.until <= now) {
                free.push(row);
            }
        }
        Ok(free)
    }

    fn taken_row(&self, receiver: i64, row: i64, now: DateTime<Utc>) -> rusqlite::Result<TakenRow> {
        let mut taken = self
            .connection
            .prepare_cached(
                "SELECT id, arrived, since, attempts, refusals, event, seal, salt, content_type,
                     content_encoding, event_time, body
                 FROM deliveries JOIN bodies USING (delivery) WHERE delivery = ?1",
            )?
            .query_row([row], |columns| {
                Ok(TakenRow {
                    id: DeliveryId::from_bytes(columns.get(0)?),
                    claim: Claim(0),
                    arrived: time(columns.get(1)?),
                    since: time(columns.get(2)?),
                    attempts: columns.get(3)?,
                    refusals: columns.get(4)?,
                    event: columns.get(5)?,
                    written: written(columns, 6)?,
                    duplicate_of: None,
                })
            })?;
        taken.duplicate_of =
            self.answered(receiver, &taken.event, micros(now))?.filter(|earlier| *earlier != taken.id);
        Ok(taken)
    }

    pub(super) fn next_due(&self, uid: &str) -> rusqlite::Result<Option<DateTime<Utc>>> {
        let Some(receiver) = self.ledger.by_uid(uid).map(|account| account.receiver) else { return Ok(None) };
        let mut due = self.connection.prepare_cached(NEXT_DUE)?;
        let mut rows = due.query([receiver])?;
        let mut next: Option<DateTime<Utc>> = None;
        while let Some(row) = rows.next()? {
            let held = self.claims.get(&row.get(0)?);
            let due = time(row.get(1)?);
            let when = held.map_or(due, |held| held.until.max(due));
            next = Some(next.map_or(when, |next| next.min(when)));
            // Those that follow are due later than this one.
            if held.is_none() || next <= Some(due) {
                break;
            }
        }
        Ok(next)
    }

    pub(super) fn give_back(&mut self, id: DeliveryId, claim: Claim) -> rusqlite::Result<()> {
        let row: Option<i64> = self
            .connection
            .prepare_cached("SELECT delivery FROM deliveries WHERE id = ?1")?
            .query_row([id.to_bytes()], |row| row.get(0))
            .optional()?;
        if let Some(row) = row
            && self.claims.get(&row).is_some_and(|held| held.claim == claim)
        {
            self.claims.remove(&row);
        }
        Ok(())
    }

    pub(super) fn list(
        &self,
        selection: &Selection,
        after: Option<DeliveryId>,
        most: usize,
    ) -> rusqlite::Result<Vec<Row>> {
        let most = most.min(LONGEST_LIST);
        let limit = i64::try_from(most).unwrap_or(0);
        // All ids come after the empty text.
        let after = after.map_or(Vec::new(), |id| id.to_bytes().to_vec());
        let mut rows: Vec<i64> = Vec::new();
        if *selection == Selection::default() {
            let mut statement = self.connection.prepare_cached(PAGE)?;
            rows.extend(
                statement.query_map((after, limit), |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?,
            );
        } else {
            let states = match selection.state {
                Some(state) => vec![state],
                None => vec![RowState::Pending, RowState::Parked],
            };
            let mut statement = self.connection.prepare_cached(PAGE_OF_RECEIVER)?;
            let mut found: Vec<([u8; 16], i64)> = Vec::new();
            for account in self.ledger.accounts() {
                if !selection.means(&account.owner) {
                    continue;
                }
                for state in &states {
                    let state = match state {
                        RowState::Pending => PENDING,
                        RowState::Parked => PARKED,
                    };
                    let some = statement.query_map((account.receiver, state, &after, limit), |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })?;
                    found.extend(some.collect::<Result<Vec<_>, _>>()?);
                }
                // What cannot be in the list any more is not kept.
                if found.len() > 4 * most {
                    found.sort_unstable();
                    found.truncate(most);
                }
            }
            found.sort_unstable();
            rows.extend(found.into_iter().take(most).map(|(_, row)| row));
        }
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            list.extend(self.row_where("delivery = ?1", row)?);
        }
        Ok(list)
    }

    pub(super) fn show(&self, id: DeliveryId) -> rusqlite::Result<Option<Row>> {
        self.row_where("id = ?1", id.to_bytes())
    }

    fn row_where(&self, condition: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<Option<Row>> {
        let row = self
            .connection
            .prepare_cached(&format!(
                "SELECT id, receiver, state, arrived, due, size, attempts, failed_at, failure FROM deliveries
                 WHERE {condition}"
            ))?
            .query_row([value], |row| {
                let failed_at: Option<i64> = row.get(7)?;
                let failure: Option<String> = row.get(8)?;
                let receiver: i64 = row.get(1)?;
                Ok(self.ledger.get(receiver).map(|account| {
                    Ok(Row {
                        id: DeliveryId::from_bytes(row.get(0)?),
                        owner: account.owner.clone(),
                        state: if row.get::<_, i64>(2)? == PARKED {
                            RowState::Parked
                        } else {
                            RowState::Pending
                        },
                        arrived: time(row.get(3)?),
                        due: time(row.get(4)?),
                        size: unsigned(row.get(5)?),
                        attempts: row.get(6)?,
                        failure: failed_at
                            .zip(failure)
                            .map(|(when, what)| LastFailure { what, when: time(when) }),
                    })
                }))
            })
            .optional()?;
        row.flatten().transpose()
    }

    pub(super) fn body(&self, id: DeliveryId) -> rusqlite::Result<Option<BodyRow>> {
        self.connection
            .prepare_cached(
                "SELECT uid, seal, salt, content_type, content_encoding, event_time, body
                 FROM deliveries JOIN bodies USING (delivery) JOIN receivers USING (receiver) WHERE id = ?1",
            )?
            .query_row([id.to_bytes()], |row| Ok(BodyRow { uid: row.get(0)?, written: written(row, 1)? }))
            .optional()
    }

    pub(super) fn usage(&self) -> rusqlite::Result<Vec<Usage>> {
        let mut oldest = self.connection.prepare_cached(OLDEST)?;
        let mut usage = Vec::new();
        for account in self.ledger.accounts() {
            let oldest: Option<i64> = oldest.query_row([account.receiver], |row| row.get(0)).optional()?;
            usage.push(Usage {
                owner: account.owner.clone(),
                pending: account.pending,
                parked: account.parked,
                oldest_pending: oldest.map(time),
                expected: account.expected,
                expected_parked: account.expected_parked,
                window_shortened_until: (account.shortened_until > 0).then(|| time(account.shortened_until)),
            });
        }
        usage.sort_by(|one, other| one.owner.cmp(&other.owner));
        Ok(usage)
    }
}

/// Six columns: seal, salt, type, encoding, date, body.
pub(super) fn written(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Written> {
    Ok(Written {
        sealing: Sealing { seal: row.get(first)?, salt: row.get(first + 1)? },
        content_type: row.get(first + 2)?,
        content_encoding: row.get(first + 3)?,
        event_time: row.get(first + 4)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(first + 5)?),
    })
}
