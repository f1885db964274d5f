//! What applications wait for, and the tokens that receivers know.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, named_params};

use super::deliveries::PARKED_AT_ONCE;
use super::engine::Engine;
use crate::store::columns::{micros, signed, time};
use crate::store::content::Sealing;
use crate::store::seal::{Field, RowName};
use crate::store::{Digest, Expectation, KnownToken, Owner, RowState, Selection, StoreError};

/// Expectations of a receiver that are due.
pub(super) const EXPECTATIONS_DUE: &str =
    "SELECT digest, seal, salt, id, since, due, handed_on, parked FROM expectations
     WHERE receiver = ?1 AND parked = 0 AND due <= ?2 ORDER BY due LIMIT ?3";

/// Expectations of a receiver in one state.
pub(super) const EXPECTATIONS: &str =
    "SELECT digest, seal, salt, id, since, due, handed_on, parked FROM expectations
     WHERE receiver = ?1 AND parked = ?2 ORDER BY due LIMIT ?3";

/// The rows of those, and of those of them that are older than a time.
pub(super) const ROWS_OF_EXPECTATIONS: &str = "SELECT expectation FROM expectations
     WHERE receiver = ?1 AND parked = ?2 ORDER BY due LIMIT ?3";
pub(super) const OLD_EXPECTATIONS: &str = "SELECT expectation FROM expectations
     WHERE receiver = ?1 AND parked = 1 AND due < ?2 LIMIT ?3";

/// An expectation, its id as it is written.
pub(super) struct ExpectationRow {
    digest: Vec<u8>,
    sealing: Sealing,
    id: Vec<u8>,
    owner: Owner,
    since: DateTime<Utc>,
    due: DateTime<Utc>,
    handed_on: Option<Digest>,
    parked: bool,
}

impl ExpectationRow {
    /// The expectation, if its id can be read.
    pub(super) fn open(self, seals: &crate::store::content::Seals) -> Result<Expectation, StoreError> {
        let name = RowName { uid: &self.owner.uid, row: &self.digest };
        let id = seals
            .read_one(Field::ExpectedId, name, self.sealing, self.id)
            .ok()
            .and_then(|id| String::from_utf8(id).ok())
            .ok_or_else(|| {
                StoreError::Unavailable(format!(
                    "an expectation of {}/{} is damaged or was sealed with another key",
                    self.owner.namespace, self.owner.name
                ))
            })?;
        Ok(Expectation {
            id,
            owner: self.owner,
            since: self.since,
            due: self.due,
            handed_on: self.handed_on,
            parked: self.parked,
        })
    }
}

impl Engine {
    pub(super) fn expect(
        &mut self,
        expectation: &Expectation,
        digest: &Digest,
        sealing: Sealing,
        id: &[u8],
        most: usize,
    ) -> rusqlite::Result<bool> {
        let receiver = self.account(&expectation.owner)?;
        let known = self.expectation_state(receiver, digest)?;
        let Some(account) = self.ledger.get(receiver) else { return Ok(false) };
        if known != Some(false) && account.expected >= most as u64 {
            return Ok(false);
        }
        // Those that nobody is asked for any more are bounded as well: the oldest one goes.
        if account.expected_parked >= most as u64 {
            let deleted = self
                .connection
                .prepare_cached(
                    "DELETE FROM expectations WHERE expectation = (SELECT expectation FROM expectations
                         WHERE receiver = ?1 AND parked = 1 AND digest <> ?2 ORDER BY due LIMIT 1)",
                )?
                .execute((receiver, digest))?;
            self.ledger.change(receiver, |account| {
                account.expected_parked -= (deleted as u64).min(account.expected_parked)
            });
        }
        self.count_expectation(receiver, known, Some(expectation.parked));
        self.connection
            .prepare_cached(
                "INSERT INTO expectations (receiver, digest, seal, salt, id, since, due, handed_on, parked)
                 VALUES (:receiver, :digest, :seal, :salt, :id, :since, :due, :handed_on, :parked)
                 ON CONFLICT (receiver, digest) DO UPDATE SET seal = excluded.seal, salt = excluded.salt,
                     id = excluded.id, since = excluded.since, due = excluded.due,
                     handed_on = CASE parked WHEN 0 THEN handed_on ELSE excluded.handed_on END,
                     parked = excluded.parked",
            )?
            .execute(named_params! {
                ":receiver": receiver,
                ":digest": digest,
                ":seal": sealing.seal,
                ":salt": sealing.salt,
                ":id": id,
                ":since": micros(expectation.since),
                ":due": micros(expectation.due),
                ":handed_on": expectation.handed_on,
                ":parked": expectation.parked,
            })?;
        Ok(true)
    }

    pub(super) fn expectations_due(
        &self,
        uid: &str,
        now: i64,
        most: usize,
    ) -> rusqlite::Result<Vec<ExpectationRow>> {
        let Some(account) = self.ledger.by_uid(uid) else { return Ok(Vec::new()) };
        self.connection
            .prepare_cached(EXPECTATIONS_DUE)?
            .query_map((account.receiver, now, limit(most)), |row| expectation(&account.owner, row))?
            .collect()
    }

    pub(super) fn expectation(&self, uid: &str, digest: &Digest) -> rusqlite::Result<Option<ExpectationRow>> {
        let Some(account) = self.ledger.by_uid(uid) else { return Ok(None) };
        self.connection
            .prepare_cached(
                "SELECT digest, seal, salt, id, since, due, handed_on, parked FROM expectations
                 WHERE receiver = ?1 AND digest = ?2",
            )?
            .query_row((account.receiver, digest), |row| expectation(&account.owner, row))
            .optional()
    }

    pub(super) fn expectation_changed(
        &mut self,
        expectation: &Expectation,
        digest: &Digest,
    ) -> rusqlite::Result<()> {
        let Some(receiver) = self.ledger.by_uid(&expectation.owner.uid).map(|account| account.receiver)
        else {
            return Ok(());
        };
        let Some(was_parked) = self.expectation_state(receiver, digest)? else { return Ok(()) };
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE expectations SET due = ?3, handed_on = ?4, parked = ?5
                 WHERE receiver = ?1 AND digest = ?2 AND since = ?6",
            )?
            .execute((
                receiver,
                digest,
                micros(expectation.due),
                expectation.handed_on,
                expectation.parked,
                micros(expectation.since),
            ))?;
        if changed > 0 {
            self.count_expectation(receiver, Some(was_parked), Some(expectation.parked));
        }
        Ok(())
    }

    pub(super) fn expectation_met(&mut self, uid: &str, digest: &Digest) -> rusqlite::Result<()> {
        let Some(receiver) = self.ledger.by_uid(uid).map(|account| account.receiver) else { return Ok(()) };
        let Some(was_parked) = self.expectation_state(receiver, digest)? else { return Ok(()) };
        self.count_expectation(receiver, Some(was_parked), None);
        self.connection
            .prepare_cached("DELETE FROM expectations WHERE receiver = ?1 AND digest = ?2")?
            .execute((receiver, digest))?;
        Ok(())
    }

    pub(super) fn expectations(
        &self,
        selection: &Selection,
        most: usize,
    ) -> rusqlite::Result<Vec<ExpectationRow>> {
        let mut accounts: Vec<_> =
            self.ledger.accounts().filter(|account| selection.means(&account.owner)).collect();
        accounts.sort_by(|one, other| one.owner.cmp(&other.owner));
        let states = match selection.state {
            Some(state) => vec![state == RowState::Parked],
            None => vec![false, true],
        };
        let mut select = self.connection.prepare_cached(EXPECTATIONS)?;
        let mut found = Vec::new();
        for account in accounts {
            for parked in &states {
                let left = limit(most.saturating_sub(found.len()));
                let rows = select
                    .query_map((account.receiver, parked, left), |row| expectation(&account.owner, row))?;
                found.extend(rows.collect::<Result<Vec<_>, _>>()?);
            }
        }
        Ok(found)
    }

    /// Parks some of the receiver's; how many.
    pub(super) fn park_expectations(&mut self, uid: &str, now: i64) -> rusqlite::Result<u64> {
        let Some(receiver) = self.ledger.by_uid(uid).map(|account| account.receiver) else { return Ok(0) };
        let rows = self.expectation_rows(ROWS_OF_EXPECTATIONS, (receiver, false, PARKED_AT_ONCE))?;
        let mut park = self
            .connection
            .prepare_cached("UPDATE expectations SET parked = 1, due = ?2 WHERE expectation = ?1")?;
        for row in &rows {
            park.execute((row, now))?;
        }
        drop(park);
        let count = rows.len() as u64;
        self.ledger.change(receiver, |account| {
            account.expected = account.expected.saturating_sub(count);
            account.expected_parked += count;
        });
        Ok(count)
    }

    /// Opens some of the receiver's parked ones; how many.
    pub(super) fn revive_expectations(&mut self, uid: &str, now: i64, most: usize) -> rusqlite::Result<u64> {
        let Some((receiver, open)) =
            self.ledger.by_uid(uid).map(|account| (account.receiver, account.expected))
        else {
            return Ok(0);
        };
        let room = limit(most).saturating_sub(signed(open)).clamp(0, PARKED_AT_ONCE);
        let rows = self.expectation_rows(ROWS_OF_EXPECTATIONS, (receiver, true, room))?;
        let mut revive = self.connection.prepare_cached(
            "UPDATE expectations SET parked = 0, since = ?2, due = ?2 WHERE expectation = ?1",
        )?;
        for row in &rows {
            revive.execute((row, now))?;
        }
        drop(revive);
        let count = rows.len() as u64;
        self.ledger.change(receiver, |account| {
            account.expected += count;
            account.expected_parked = account.expected_parked.saturating_sub(count);
        });
        Ok(count)
    }

    /// Deletes some that were parked before this time; how many.
    pub(super) fn forget_expectations(&mut self, before: i64) -> rusqlite::Result<u64> {
        let with_parked = self.ledger.accounts().filter(|account| account.expected_parked > 0);
        let receivers: Vec<i64> = with_parked.map(|account| account.receiver).collect();
        let mut forgotten = 0;
        for receiver in receivers {
            let left = PARKED_AT_ONCE - signed(forgotten);
            let rows = self.expectation_rows(OLD_EXPECTATIONS, (receiver, before, left))?;
            let mut delete =
                self.connection.prepare_cached("DELETE FROM expectations WHERE expectation = ?1")?;
            for row in &rows {
                delete.execute([row])?;
            }
            drop(delete);
            let count = rows.len() as u64;
            forgotten += count;
            self.ledger.change(receiver, |account| {
                account.expected_parked = account.expected_parked.saturating_sub(count);
            });
            if signed(forgotten) >= PARKED_AT_ONCE {
                break;
            }
        }
        Ok(forgotten)
    }

    fn expectation_rows(&self, select: &str, values: impl rusqlite::Params) -> rusqlite::Result<Vec<i64>> {
        self.connection.prepare_cached(select)?.query_map(values, |row| row.get(0))?.collect()
    }

    /// Whether it is parked; `None` when there is no such expectation.
    fn expectation_state(&self, receiver: i64, digest: &Digest) -> rusqlite::Result<Option<bool>> {
        self.connection
            .prepare_cached("SELECT parked FROM expectations WHERE receiver = ?1 AND digest = ?2")?
            .query_row((receiver, digest), |row| row.get(0))
            .optional()
    }

    fn count_expectation(&mut self, receiver: i64, before: Option<bool>, after: Option<bool>) {
        self.ledger.change(receiver, |account| {
            match before {
                Some(true) => account.expected_parked = account.expected_parked.saturating_sub(1),
                Some(false) => account.expected = account.expected.saturating_sub(1),
                None => {}
            }
            match after {
                Some(true) => account.expected_parked += 1,
                Some(false) => account.expected += 1,
                None => {}
            }
        });
    }

    pub(super) fn tokens(&self, uid: &str) -> rusqlite::Result<Vec<KnownToken>> {
        self.connection
            .prepare_cached(
                "SELECT digest, fingerprint, minted, retired FROM tokens WHERE uid = ?1 ORDER BY minted",
            )?
            .query_map([uid], |row| {
                Ok(KnownToken {
                    digest: row.get(0)?,
                    fingerprint: row.get(1)?,
                    minted: time(row.get(2)?),
                    retired: row.get::<_, Option<i64>>(3)?.map(time),
                })
            })?
            .collect()
    }

    pub(super) fn set_tokens(&mut self, uid: &str, tokens: &[KnownToken]) -> rusqlite::Result<()> {
        self.connection.prepare_cached("DELETE FROM tokens WHERE uid = ?1")?.execute([uid])?;
        let mut insert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO tokens (uid, digest, fingerprint, minted, retired) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for token in tokens {
            insert.execute((
                uid,
                token.digest,
                &token.fingerprint,
                micros(token.minted),
                token.retired.map(micros),
            ))?;
        }
        Ok(())
    }
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

fn expectation(owner: &Owner, row: &rusqlite::Row<'_>) -> rusqlite::Result<ExpectationRow> {
    Ok(ExpectationRow {
        owner: owner.clone(),
        digest: row.get(0)?,
        sealing: Sealing { seal: row.get(1)?, salt: row.get(2)? },
        id: row.get(3)?,
        since: time(row.get(4)?),
        due: time(row.get(5)?),
        handed_on: row.get(6)?,
        parked: row.get(7)?,
    })
}
