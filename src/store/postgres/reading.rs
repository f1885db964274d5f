//! What only reads, and taking: all of it is one statement each, and sees what is durable.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio_postgres::Row as Columns;

use super::batch::{PARKED, PENDING};
use super::error::Trouble;
use super::loading::{account, delivery_id};
use super::session::Session;
use crate::store::columns::{micros, time, unsigned};
use crate::store::content::{Sealing, Written};
use crate::store::rows::{BodyRow, TakenRow};
use crate::store::{Claim, DeliveryId, LastFailure, Owner, Row, RowState, Selection, StoreError, Usage};

/// Bytes of bodies after which no more deliveries are taken at once.
const TAKEN_AT_ONCE: i64 = 16 << 20;

/// Most rows of one list.
const LONGEST_LIST: usize = 10_000;

/// Takes what is due. Rows that another gate is just taking are passed over. Until when they are taken is
/// said and judged by the clock of the database alone, which all gates share; the eighth value is another
/// clock's time, for tests. What is sealed with a key that this process does not know is left to others.
///
/// Rows of other tables are looked up one by one, and never joined: see the schema for what the planner may
/// believe of a table.
pub(super) const TAKE: &str = "WITH clock AS (
         SELECT coalesce($8::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now),
     due AS (
         SELECT d.id, d.due, d.size FROM deliveries d
         WHERE d.receiver = (SELECT receiver FROM receivers WHERE uid = $1) AND d.state = 0 AND d.due <= $2
             AND (d.claim IS NULL OR d.claimed_until <= (SELECT now FROM clock))
             AND (SELECT b.seal FROM bodies b WHERE b.id = d.id) = ANY($3)
         ORDER BY d.due, d.id LIMIT $4 FOR UPDATE SKIP LOCKED),
     counted AS (
         SELECT id, row_number() OVER oldest AS number, sum(size) OVER oldest - size AS before
         FROM due WINDOW oldest AS (ORDER BY due, id)),
     taken AS (
         UPDATE deliveries d SET claim = ($5::bigint[])[c.number], attempts = d.attempts + 1,
             claimed_until = (SELECT now FROM clock) + $6::bigint
         FROM counted c WHERE d.id = c.id AND c.before < $7::bigint AND d.id = ANY(ARRAY(SELECT id FROM counted))
         RETURNING d.id, d.claim, d.arrived, d.refusals, d.attempts, d.since, d.receiver, d.event, d.due)
     SELECT t.id, t.claim, t.arrived, t.refusals, t.attempts, t.since, k.delivery,
         b.seal, b.salt, b.content_type, b.content_encoding, b.event_time, b.body, t.event
     FROM taken t CROSS JOIN LATERAL (SELECT * FROM bodies WHERE id = t.id LIMIT 1) b
     LEFT JOIN LATERAL (
         SELECT delivery FROM keys
         WHERE receiver = t.receiver AND event = t.event AND body = ''::bytea AND expires > $2 LIMIT 1) k ON true
     ORDER BY t.due, t.id";

/// When the next one is due. All that is taken was due when it was taken, so that what stands before the first
/// one that is free is no more than what is under way. Ends of claims are told by the caller's clock, which
/// says that it is now `$3`.
///
/// The order and the limit, which is far beyond what is ever under way, are for the planner: without them it finds
/// the other index of the table as good, and goes through all that waits for the receiver.
pub(super) const NEXT_DUE: &str = "WITH clock AS (
         SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now),
     mine AS (SELECT receiver FROM receivers WHERE uid = $1),
     first AS (
         SELECT d.due FROM deliveries d
         WHERE d.receiver = (SELECT receiver FROM mine) AND d.state = 0 AND d.claim IS NULL
             AND (SELECT b.seal FROM bodies b WHERE b.id = d.id) = ANY($2)
         ORDER BY d.due, d.id LIMIT 1),
     held AS (
         SELECT min(greatest(d.due, d.claimed_until + coalesce($3::bigint - (SELECT now FROM clock), 0))) AS due
         FROM (SELECT id, due, claimed_until FROM deliveries
               WHERE receiver = (SELECT receiver FROM mine) AND state = 0 AND claim IS NOT NULL
                   AND due <= coalesce((SELECT due FROM first), 9223372036854775807)
               ORDER BY due, id LIMIT 100000) d
         WHERE (SELECT b.seal FROM bodies b WHERE b.id = d.id) = ANY($2))
     SELECT least((SELECT due FROM first), (SELECT due FROM held))";

/// It is given back as it was.
const GIVE_BACK: &str =
    "UPDATE deliveries SET claim = NULL, claimed_until = NULL, attempts = greatest(attempts - 1, 0)
     WHERE id = $1 AND claim = $2 AND state <> 1";

macro_rules! row_columns {
    () => {
        "SELECT d.id, r.namespace, r.name, r.uid, d.state, d.arrived, d.due, d.size, d.attempts, d.failed_at, d.failure "
    };
}

const SHOW: &str =
    concat!(row_columns!(), "FROM deliveries d JOIN receivers r ON r.receiver = d.receiver WHERE d.id = $1");

/// A page of all rows.
pub(super) const PAGE: &str = concat!(
    row_columns!(),
    "FROM deliveries d JOIN receivers r ON r.receiver = d.receiver WHERE d.id > $1 ORDER BY d.id LIMIT $2"
);

/// A page of those of some receivers in some states.
pub(super) const PAGE_OF_RECEIVERS: &str = concat!(
    row_columns!(),
    "FROM receivers r CROSS JOIN unnest($3::smallint[]) AS s (state)
     CROSS JOIN LATERAL (
         SELECT * FROM deliveries d WHERE d.receiver = r.receiver AND d.state = s.state AND d.receiver + 0 > 0 AND d.id > $1
         ORDER BY d.id LIMIT $2) d
     WHERE ($4::text IS NULL OR r.namespace = $4) AND ($5::text IS NULL OR r.name = $5) ORDER BY d.id LIMIT $2"
);

const BODY: &str = "SELECT r.uid, b.seal, b.salt, b.content_type, b.content_encoding, b.event_time, b.body
     FROM deliveries d JOIN bodies b ON b.id = d.id JOIN receivers r ON r.receiver = d.receiver WHERE d.id = $1";

/// What receivers have, and when the oldest that waits arrived.
pub(super) const USAGE: &str = "SELECT r.receiver, r.uid, r.namespace, r.name, r.pending, r.pending_bytes, r.parked,
         r.parked_bytes, r.keys, r.expected, r.expected_parked, r.shortened_until,
         (SELECT d.arrived FROM deliveries d WHERE d.receiver = r.receiver AND d.state = 0 AND d.receiver + 0 > 0
             ORDER BY d.id LIMIT 1)
     FROM receivers r";

/// What is to be taken.
pub(super) struct Taking<'a> {
    pub(super) uid: &'a str,
    /// Numbers of the keys that this process can open.
    pub(super) seals: &'a [i64],
    /// A claim for each that may be taken.
    pub(super) claims: &'a [i64],
    pub(super) now: DateTime<Utc>,
    /// In microseconds.
    pub(super) lease: i64,
    /// What claims are judged by; `None` for the database's own clock.
    pub(super) clock: Option<i64>,
}

pub(super) async fn take(session: &mut Session, taking: &Taking<'_>) -> Result<Vec<TakenRow>, Trouble> {
    let most = i64::try_from(taking.claims.len()).unwrap_or(i64::MAX);
    let rows = session
        .query(
            TAKE,
            &[
                &taking.uid,
                &micros(taking.now),
                &taking.seals,
                &most,
                &taking.claims,
                &taking.lease,
                &TAKEN_AT_ONCE,
                &taking.clock,
            ],
        )
        .await?;
    rows.iter().map(taken).collect()
}

fn taken(row: &Columns) -> Result<TakenRow, Trouble> {
    let duplicate_of = match row.try_get::<_, Option<&[u8]>>(6)? {
        Some(_) => Some(delivery_id(row, 6)?),
        None => None,
    };
    let id = delivery_id(row, 0)?;
    Ok(TakenRow {
        id,
        claim: Claim(row.try_get::<_, i64>(1)?.unsigned_abs()),
        arrived: time(row.try_get(2)?),
        refusals: count(row, 3)?,
        // This one is counted already, so that one in which the process ends is counted as well.
        attempts: count(row, 4)?.saturating_sub(1),
        since: time(row.try_get(5)?),
        event: row.try_get(13)?,
        duplicate_of: duplicate_of.filter(|earlier| *earlier != id),
        written: written(row, 7)?,
    })
}

pub(super) async fn next_due(
    session: &mut Session,
    uid: &str,
    seals: &[i64],
    clock: Option<i64>,
) -> Result<Option<DateTime<Utc>>, Trouble> {
    let row = session.query_opt(NEXT_DUE, &[&uid, &seals, &clock]).await?;
    let due: Option<i64> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    Ok(due.map(time))
}

pub(super) async fn give_back(session: &mut Session, id: DeliveryId, claim: Claim) -> Result<(), Trouble> {
    let claim = i64::try_from(claim.0).unwrap_or(-1);
    session.execute(GIVE_BACK, &[&id.to_bytes().as_slice(), &claim]).await?;
    Ok(())
}

pub(super) async fn list(
    session: &mut Session,
    selection: &Selection,
    after: Option<DeliveryId>,
    most: usize,
) -> Result<Vec<Row>, Trouble> {
    let most = i64::try_from(most.min(LONGEST_LIST)).unwrap_or(0);
    // All ids come after the empty text.
    let after = after.map_or(Vec::new(), |id| id.to_bytes().to_vec());
    let rows = if *selection == Selection::default() {
        session.query(PAGE, &[&after, &most]).await?
    } else {
        let states = match selection.state {
            Some(RowState::Pending) => vec![PENDING],
            Some(RowState::Parked) => vec![PARKED],
            None => vec![PENDING, PARKED],
        };
        let (namespace, name) = (&selection.namespace, &selection.receiver);
        session.query(PAGE_OF_RECEIVERS, &[&after, &most, &states, namespace, name]).await?
    };
    rows.iter().map(shown).collect()
}

pub(super) async fn show(session: &mut Session, id: DeliveryId) -> Result<Option<Row>, Trouble> {
    let row = session.query_opt(SHOW, &[&id.to_bytes().as_slice()]).await?;
    row.as_ref().map(shown).transpose()
}

fn shown(row: &Columns) -> Result<Row, Trouble> {
    let text = |column: usize| row.try_get::<_, String>(column).map(std::sync::Arc::<str>::from);
    let failed_at: Option<i64> = row.try_get(9)?;
    let failure: Option<String> = row.try_get(10)?;
    Ok(Row {
        id: delivery_id(row, 0)?,
        owner: Owner { namespace: text(1)?, name: text(2)?, uid: text(3)? },
        state: if row.try_get::<_, i16>(4)? == PARKED { RowState::Parked } else { RowState::Pending },
        arrived: time(row.try_get(5)?),
        due: time(row.try_get(6)?),
        size: unsigned(row.try_get(7)?),
        attempts: count(row, 8)?,
        failure: failed_at.zip(failure).map(|(when, what)| LastFailure { what, when: time(when) }),
    })
}

pub(super) async fn body(session: &mut Session, id: DeliveryId) -> Result<Option<BodyRow>, Trouble> {
    let row = session.query_opt(BODY, &[&id.to_bytes().as_slice()]).await?;
    row.map(|row| Ok(BodyRow { uid: row.try_get(0)?, written: written(&row, 1)? })).transpose()
}

pub(super) async fn usage(session: &mut Session) -> Result<Vec<Usage>, Trouble> {
    let mut usage = Vec::new();
    for row in session.query(USAGE, &[]).await? {
        let account = account(&row)?;
        let oldest: Option<i64> = row.try_get(12)?;
        usage.push(Usage {
            owner: account.owner,
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

/// Six columns: seal, salt, type, encoding, date, body.
pub(super) fn written(row: &Columns, first: usize) -> Result<Written, Trouble> {
    Ok(Written {
        sealing: sealing(row, first)?,
        content_type: row.try_get(first + 2)?,
        content_encoding: row.try_get(first + 3)?,
        event_time: row.try_get(first + 4)?,
        body: Bytes::from(row.try_get::<_, Vec<u8>>(first + 5)?),
    })
}

/// Two columns: seal, salt.
pub(super) fn sealing(row: &Columns, first: usize) -> Result<Sealing, Trouble> {
    let salt: Option<&[u8]> = row.try_get(first + 1)?;
    let salt = salt.map(<[u8; 24]>::try_from).transpose();
    let salt =
        salt.map_err(|_| StoreError::Unavailable("a salt in the database has another length".to_owned()))?;
    Ok(Sealing { seal: row.try_get(first)?, salt })
}

fn count(row: &Columns, column: usize) -> Result<u32, Trouble> {
    Ok(u32::try_from(row.try_get::<_, i32>(column)?).unwrap_or(0))
}
