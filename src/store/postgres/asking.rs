//! Which expectations are to be asked for, and reading them.
//!
//! Gates that share the database must not both ask for one. Whoever finds one that is due holds it for a while;
//! it sees it again when it looks again, and others do not. A change of the expectation ends that.

use std::time::Duration;

use tokio_postgres::Row;

use super::error::Trouble;
use super::reading::sealing;
use super::session::Session;
use crate::store::columns::time;
use crate::store::content::{Sealing, Seals};
use crate::store::seal::{Field, RowName};
use crate::store::{Digest, Expectation, Owner, RowState, Selection, StoreError};

/// How long a gate holds what it has found: a question and handing on its answer take up to a minute each, and
/// it looks again every 30 s. One that ends without a word holds others up for no longer.
const HELD: Duration = Duration::from_secs(180);

/// What is due so soon is held as well: time passes until it is begun.
const SOON: Duration = Duration::from_secs(5);

/// Expectations of a receiver up to a time that no other gate holds; those of them that are due are held from
/// now on. `$3` says who looks, `$4` how many, and `$5` until when one counts as due.
pub(super) const DUE: &str =
    "WITH clock AS (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now),
     found AS (
         SELECT e.receiver, e.digest, e.due FROM expectations e
         WHERE e.receiver = (SELECT receiver FROM receivers WHERE uid = $1) AND NOT e.parked AND e.due <= $2
             AND (e.holder IS NULL OR e.holder = $3 OR e.held_until <= (SELECT now FROM clock))
             AND e.seal = ANY($7)
         ORDER BY e.due, e.digest LIMIT $4 FOR UPDATE SKIP LOCKED),
     held AS (
         UPDATE expectations e SET holder = $3, held_until = (SELECT now FROM clock) + $6::bigint
         FROM found f WHERE e.receiver = f.receiver AND e.digest = f.digest AND f.due <= $5)
     SELECT e.digest, e.seal, e.salt, e.id, e.since, e.due, e.handed_on, e.parked, r.namespace, r.name, r.uid
     FROM found f JOIN expectations e ON e.receiver = f.receiver AND e.digest = f.digest
     JOIN receivers r ON r.receiver = e.receiver ORDER BY e.due, e.digest";

const ONE: &str =
    "SELECT e.digest, e.seal, e.salt, e.id, e.since, e.due, e.handed_on, e.parked, r.namespace, r.name,
         r.uid
     FROM expectations e JOIN receivers r ON r.receiver = e.receiver WHERE r.uid = $1 AND e.digest = $2";

/// Expectations of some receivers in some states.
pub(super) const LIST: &str = "SELECT e.digest, e.seal, e.salt, e.id, e.since, e.due, e.handed_on, e.parked,
         r.namespace, r.name, r.uid
     FROM receivers r CROSS JOIN unnest($1::boolean[]) AS s (parked)
     CROSS JOIN LATERAL (
         SELECT * FROM expectations e WHERE e.receiver = r.receiver AND e.parked = s.parked
         ORDER BY e.due, e.digest LIMIT $2) e
     WHERE ($3::text IS NULL OR r.namespace = $3) AND ($4::text IS NULL OR r.name = $4)
     ORDER BY r.namespace COLLATE \"C\", r.name COLLATE \"C\", r.uid COLLATE \"C\", e.parked, e.due, e.digest LIMIT $2";

/// An expectation, its id as it is written.
pub(super) struct ExpectationRow {
    digest: Vec<u8>,
    sealing: Sealing,
    id: Vec<u8>,
    /// All but the id.
    rest: Expectation,
}

impl ExpectationRow {
    fn of(row: &Row) -> Result<Self, Trouble> {
        let text = |column: usize| row.try_get::<_, String>(column).map(std::sync::Arc::<str>::from);
        let handed_on: Option<&[u8]> = row.try_get(6)?;
        let handed_on = handed_on
            .map(Digest::try_from)
            .transpose()
            .map_err(|_| StoreError::Unavailable("a digest in the database has another length".to_owned()))?;
        Ok(Self {
            digest: row.try_get(0)?,
            sealing: sealing(row, 1)?,
            id: row.try_get(3)?,
            rest: Expectation {
                owner: Owner { namespace: text(8)?, name: text(9)?, uid: text(10)? },
                id: String::new(),
                since: time(row.try_get(4)?),
                due: time(row.try_get(5)?),
                handed_on,
                parked: row.try_get(7)?,
            },
        })
    }

    /// The expectation, if its id can be read.
    pub(super) fn open(self, seals: &Seals) -> Result<Expectation, StoreError> {
        let owner = self.rest.owner.clone();
        let name = RowName { uid: &owner.uid, row: &self.digest };
        let id = seals.read_one(Field::ExpectedId, name, self.sealing, self.id).ok();
        let id = id.and_then(|id| String::from_utf8(id).ok()).ok_or_else(|| {
            StoreError::Unavailable(format!(
                "an expectation of {}/{} is damaged or was sealed with another key",
                owner.namespace, owner.name
            ))
        })?;
        Ok(Expectation { id, ..self.rest })
    }
}

/// What is looked for.
pub(super) struct Looking<'a> {
    pub(super) uid: &'a str,
    /// In microseconds: up to when.
    pub(super) until: i64,
    /// In microseconds: what time it is for who looks.
    pub(super) now: i64,
    /// Who looks.
    pub(super) holder: i64,
    pub(super) most: usize,
    /// Numbers of the keys that this process can open.
    pub(super) seals: &'a [i64],
}

pub(super) async fn due(
    session: &mut Session,
    looking: &Looking<'_>,
) -> Result<Vec<ExpectationRow>, Trouble> {
    let soon = looking.now.saturating_add(crate::store::columns::window_micros(SOON));
    let rows = session
        .query(
            DUE,
            &[
                &looking.uid,
                &looking.until,
                &looking.holder,
                &limit(looking.most),
                &soon,
                &crate::store::columns::window_micros(HELD),
                &looking.seals,
            ],
        )
        .await?;
    rows.iter().map(ExpectationRow::of).collect()
}

pub(super) async fn one(
    session: &mut Session,
    uid: &str,
    digest: &Digest,
) -> Result<Option<ExpectationRow>, Trouble> {
    let row = session.query_opt(ONE, &[&uid, &digest.as_slice()]).await?;
    row.as_ref().map(ExpectationRow::of).transpose()
}

pub(super) async fn list(
    session: &mut Session,
    selection: &Selection,
    most: usize,
) -> Result<Vec<ExpectationRow>, Trouble> {
    let states = match selection.state {
        Some(state) => vec![state == RowState::Parked],
        None => vec![false, true],
    };
    let values: super::session::Values<'_> =
        &[&states, &limit(most), &selection.namespace, &selection.receiver];
    session.query(LIST, values).await?.iter().map(ExpectationRow::of).collect()
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}
