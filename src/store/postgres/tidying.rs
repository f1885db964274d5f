//! Changes of many rows at once, each a transaction of its own, and what is replaced as a whole.

use super::error::Trouble;
use super::session::Session;
use crate::store::columns::{micros, shortened, time};
use crate::store::{KnownToken, LastFailure, Standstill, StoreError};

/// Rows that are changed in one go, so that others get their turn between them.
pub(super) const AT_ONCE: i64 = 500;

/// Keys that are deleted in one go when they have expired.
const FORGOTTEN: i64 = 2000;

/// Receivers that are looked at in one go.
const RECEIVERS: i64 = 500;

const LOCK_ONE: &str = "SELECT receiver, expected FROM receivers WHERE uid = $1 FOR UPDATE";

/// The receiver, unless another gate was at work for it so short a time ago: one that comes to know receivers
/// later than others, or not all of them, does not take them for gone.
const LOCK_GONE: &str = "SELECT receiver FROM receivers WHERE uid = $1
         AND (seen_at IS NULL OR seen_by = $2
             OR seen_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $3::bigint)
     FOR UPDATE";

/// A gate is at work for a receiver. Nobody waits for that to be written.
const SEEN: &str =
    "UPDATE receivers SET seen_by = $2, seen_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
     WHERE receiver = (SELECT receiver FROM receivers WHERE uid = $1 FOR UPDATE SKIP LOCKED)";

const PARK_SOME: &str = "WITH picked AS (
         SELECT id FROM deliveries WHERE receiver = $1 AND state = 0 ORDER BY due, id LIMIT $2 FOR UPDATE),
     parked AS (
         UPDATE deliveries d SET state = 1, failed_at = $3, failure = $4, claim = NULL, claimed_until = NULL
         WHERE d.id = ANY(ARRAY(SELECT id FROM picked)) RETURNING d.size)
     SELECT count(*), coalesce(sum(size), 0)::bigint FROM parked";

const MOVE_TO_PARKED: &str =
    "UPDATE receivers SET pending = pending - $2, pending_bytes = pending_bytes - $3,
     parked = parked + $2, parked_bytes = parked_bytes + $3 WHERE receiver = $1";

/// Receivers with keys that have expired, and those that have nothing any more.
pub(super) const LOCK_EXPIRED: &str = "SELECT receiver FROM receivers r
     WHERE keys > 0 AND EXISTS (SELECT 1 FROM keys k WHERE k.receiver = r.receiver AND k.expires <= $1
             AND k.expires + 0 > 0)
         OR shortened_until <= $1 AND pending = 0 AND parked = 0 AND keys = 0 AND expected = 0
             AND expected_parked = 0
     ORDER BY receiver LIMIT $2 FOR UPDATE SKIP LOCKED";

pub(super) const FORGET_KEYS: &str = "WITH gone AS (
         DELETE FROM keys k WHERE k.ctid = ANY(ARRAY(
             SELECT o.ctid FROM unnest($1::bigint[]) AS r (receiver)
             CROSS JOIN LATERAL (
                 SELECT ctid FROM keys
                 WHERE receiver = r.receiver AND expires <= $2 AND expires + 0 > 0
                 ORDER BY expires LIMIT $3) o
             LIMIT $3))
         RETURNING k.receiver),
     counted AS (SELECT receiver, count(*) AS gone FROM gone GROUP BY receiver),
     changed AS (
         UPDATE receivers r SET keys = greatest(r.keys - c.gone, 0) FROM counted c WHERE r.receiver = c.receiver)
     SELECT coalesce(sum(gone), 0)::bigint FROM counted";

const FORGET_ACCOUNTS: &str = "DELETE FROM receivers WHERE receiver = ANY($1) AND shortened_until <= $2
     AND pending = 0 AND parked = 0 AND keys = 0 AND expected = 0 AND expected_parked = 0";

const PARK_EXPECTATIONS: &str =
    "UPDATE expectations e SET parked = true, due = $3, holder = NULL, held_until = NULL
     FROM (SELECT digest FROM expectations WHERE receiver = $1 AND NOT parked ORDER BY due LIMIT $2) picked
     WHERE e.receiver = $1 AND e.digest = picked.digest";

const REVIVE_EXPECTATIONS: &str =
    "UPDATE expectations e SET parked = false, since = $3, due = $3, holder = NULL,
         held_until = NULL
     FROM (SELECT digest FROM expectations WHERE receiver = $1 AND parked ORDER BY due LIMIT $2) picked
     WHERE e.receiver = $1 AND e.digest = picked.digest";

const COUNT_PARKED: &str = "UPDATE receivers SET expected = greatest(expected - $2, 0),
     expected_parked = greatest(expected_parked + $2, 0) WHERE receiver = $1";

const LOCK_WITH_PARKED: &str = "SELECT receiver FROM receivers r WHERE expected_parked > 0
         AND EXISTS (SELECT 1 FROM expectations e WHERE e.receiver = r.receiver AND e.parked AND e.due < $1)
     ORDER BY receiver LIMIT $2 FOR UPDATE SKIP LOCKED";

const FORGET_EXPECTATIONS: &str = "WITH gone AS (
         DELETE FROM expectations e USING (
             SELECT o.receiver, o.digest FROM unnest($1::bigint[]) AS r (receiver)
             CROSS JOIN LATERAL (
                 SELECT receiver, digest FROM expectations WHERE receiver = r.receiver AND parked AND due < $2
                 ORDER BY due LIMIT $3) o
             LIMIT $3) o
         WHERE e.receiver = o.receiver AND e.digest = o.digest RETURNING e.receiver),
     counted AS (SELECT receiver, count(*) AS gone FROM gone GROUP BY receiver),
     changed AS (
         UPDATE receivers r SET expected_parked = greatest(r.expected_parked - c.gone, 0)
         FROM counted c WHERE r.receiver = c.receiver)
     SELECT coalesce(sum(gone), 0)::bigint FROM counted";

/// A receiver that is gone for one gate, and how long ago another one must have been at work for it, in
/// microseconds.
#[derive(Clone, Copy)]
pub(super) struct Gone<'a> {
    pub(super) uid: &'a str,
    pub(super) holder: i64,
    pub(super) after: i64,
}

impl Gone<'_> {
    /// Its number, locked, if it is gone for all.
    async fn lock(self, session: &mut Session) -> Result<Option<i64>, Trouble> {
        let row = session.query_opt(LOCK_GONE, &[&self.uid, &self.holder, &self.after]).await?;
        row.map(|row| Ok(row.try_get(0)?)).transpose()
    }
}

/// Says that this gate is at work for a receiver; false when that could not be written at once.
pub(super) async fn seen(session: &mut Session, uid: &str, holder: i64) -> Result<bool, Trouble> {
    Ok(session.execute(SEEN, &[&uid, &holder]).await? > 0)
}

/// Parks some of what waits for a receiver; how many.
pub(super) async fn park_some(
    session: &mut Session,
    gone: Gone<'_>,
    failure: &LastFailure,
) -> Result<u64, Trouble> {
    session.begin().await?;
    let done = parked(session, gone, failure).await;
    session.settled(done).await
}

async fn parked(session: &mut Session, gone: Gone<'_>, failure: &LastFailure) -> Result<u64, Trouble> {
    let Some(receiver) = gone.lock(session).await? else { return Ok(0) };
    let what = shortened(&failure.what).replace('\0', "");
    let values: super::session::Values<'_> = &[&receiver, &AT_ONCE, &micros(failure.when), &what];
    let Some(row) = session.query_opt(PARK_SOME, values).await? else { return Ok(0) };
    let (count, bytes): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    session.execute(MOVE_TO_PARKED, &[&receiver, &count, &bytes]).await?;
    Ok(count.unsigned_abs())
}

/// Deletes some of the keys that have expired, and the accounts of receivers that have nothing any more.
pub(super) async fn forget_expired(session: &mut Session, now: i64) -> Result<u64, Trouble> {
    session.begin().await?;
    let done = forgotten(session, now).await;
    session.settled(done).await
}

async fn forgotten(session: &mut Session, now: i64) -> Result<u64, Trouble> {
    let rows = session.query(LOCK_EXPIRED, &[&now, &RECEIVERS]).await?;
    let receivers: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if receivers.is_empty() {
        return Ok(0);
    }
    let row = session.query_opt(FORGET_KEYS, &[&receivers, &now, &FORGOTTEN]).await?;
    let gone: i64 = row.map(|row| row.try_get(0)).transpose()?.unwrap_or(0);
    session.execute(FORGET_ACCOUNTS, &[&receivers, &now]).await?;
    Ok(gone.unsigned_abs())
}

/// Parks some of the receiver's expectations; how many.
pub(super) async fn park_expectations(
    session: &mut Session,
    gone: Gone<'_>,
    now: i64,
) -> Result<u64, Trouble> {
    session.begin().await?;
    let done = async {
        let Some(receiver) = gone.lock(session).await? else { return Ok(0) };
        let count = session.execute(PARK_EXPECTATIONS, &[&receiver, &AT_ONCE, &now]).await?;
        session.execute(COUNT_PARKED, &[&receiver, &crate::store::columns::signed(count)]).await?;
        Ok(count)
    };
    let done = done.await;
    session.settled(done).await
}

/// Opens some of the receiver's parked expectations, as far as `most` may be open; how many.
pub(super) async fn revive_expectations(
    session: &mut Session,
    uid: &str,
    now: i64,
    most: usize,
) -> Result<u64, Trouble> {
    session.begin().await?;
    let done = async {
        let Some(row) = session.query_opt(LOCK_ONE, &[&uid]).await? else { return Ok(0) };
        let (receiver, open): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let room = most.saturating_sub(open).clamp(0, AT_ONCE);
        let count = session.execute(REVIVE_EXPECTATIONS, &[&receiver, &room, &now]).await?;
        session.execute(COUNT_PARKED, &[&receiver, &-crate::store::columns::signed(count)]).await?;
        Ok(count)
    };
    let done = done.await;
    session.settled(done).await
}

/// Deletes some expectations that were parked before this time; how many.
pub(super) async fn forget_expectations(session: &mut Session, before: i64) -> Result<u64, Trouble> {
    session.begin().await?;
    let done = async {
        let rows = session.query(LOCK_WITH_PARKED, &[&before, &RECEIVERS]).await?;
        let receivers: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        if receivers.is_empty() {
            return Ok(0);
        }
        let row = session.query_opt(FORGET_EXPECTATIONS, &[&receivers, &before, &AT_ONCE]).await?;
        let gone: i64 = row.map(|row| row.try_get(0)).transpose()?.unwrap_or(0);
        Ok(gone.unsigned_abs())
    };
    let done = done.await;
    session.settled(done).await
}

pub(super) async fn tokens(session: &mut Session, uid: &str) -> Result<Vec<KnownToken>, Trouble> {
    let rows = session
        .query(
            "SELECT digest, fingerprint, minted, retired FROM tokens WHERE uid = $1 ORDER BY minted",
            &[&uid],
        )
        .await?;
    let token = |row: &tokio_postgres::Row| {
        let digest: &[u8] = row.try_get(0)?;
        let digest = digest.try_into();
        Ok(KnownToken {
            digest: digest.map_err(|_| {
                StoreError::Unavailable("a digest in the database has another length".to_owned())
            })?,
            fingerprint: row.try_get(1)?,
            minted: time(row.try_get(2)?),
            retired: row.try_get::<_, Option<i64>>(3)?.map(time),
        })
    };
    rows.iter().map(token).collect()
}

pub(super) async fn set_tokens(
    session: &mut Session,
    uid: &str,
    tokens: &[KnownToken],
) -> Result<(), Trouble> {
    let digests: Vec<&[u8]> = tokens.iter().map(|token| token.digest.as_slice()).collect();
    let fingerprints: Vec<&str> = tokens.iter().map(|token| token.fingerprint.as_str()).collect();
    let minted: Vec<i64> = tokens.iter().map(|token| micros(token.minted)).collect();
    let retired: Vec<Option<i64>> = tokens.iter().map(|token| token.retired.map(micros)).collect();
    session.begin().await?;
    let done = async {
        one_after_the_other(session, uid).await?;
        session.execute("DELETE FROM tokens WHERE uid = $1", &[&uid]).await?;
        session
            .execute(
                "INSERT INTO tokens (uid, digest, fingerprint, minted, retired)
                 SELECT DISTINCT ON (digest) $1, digest, fingerprint, minted, retired
                 FROM unnest($2::bytea[], $3::text[], $4::bigint[], $5::bigint[]) WITH ORDINALITY
                     AS n (digest, fingerprint, minted, retired, number)
                 ORDER BY digest, number DESC",
                &[&uid, &digests, &fingerprints, &minted, &retired],
            )
            .await?;
        Ok(())
    };
    let done = done.await;
    session.settled(done).await
}

pub(super) async fn standstills(session: &mut Session, uid: &str) -> Result<Vec<Standstill>, Trouble> {
    let rows =
        session.query("SELECT began, ended FROM standstills WHERE uid = $1 ORDER BY began", &[&uid]).await?;
    let standstill = |row: &tokio_postgres::Row| {
        let ended: Option<i64> = row.try_get(1)?;
        Ok(Standstill { began: time(row.try_get(0)?), ended: ended.map(time) })
    };
    rows.iter().map(standstill).collect()
}

pub(super) async fn set_standstills(
    session: &mut Session,
    uid: &str,
    standstills: &[Standstill],
) -> Result<(), Trouble> {
    let began: Vec<i64> = standstills.iter().map(|standstill| micros(standstill.began)).collect();
    let ended: Vec<Option<i64>> = standstills.iter().map(|standstill| standstill.ended.map(micros)).collect();
    session.begin().await?;
    let done = async {
        one_after_the_other(session, uid).await?;
        session.execute("DELETE FROM standstills WHERE uid = $1", &[&uid]).await?;
        session
            .execute(
                "INSERT INTO standstills (uid, began, ended)
                 SELECT DISTINCT ON (began) $1, began, ended
                 FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS n (began, ended, number)
                 ORDER BY began, number DESC",
                &[&uid, &began, &ended],
            )
            .await?;
        Ok(())
    };
    let done = done.await;
    session.settled(done).await
}

/// Gates that replace the same rows do it one after the other: a receiver may have no account that could be
/// locked.
async fn one_after_the_other(session: &mut Session, uid: &str) -> Result<(), Trouble> {
    session.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))::text", &[&uid]).await?;
    Ok(())
}
