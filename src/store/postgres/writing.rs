//! Writes what was decided, inside of the transaction.

use super::batch::{Batch, Found, Writes};
use super::error::Trouble;
use super::jobs::Job;
use super::loading::bytes;
use super::session::Session;
use crate::store::DeliveryId;
use crate::store::columns::{micros, signed};
use crate::store::content::Written;

/// Most keys that go at once because a receiver has too many.
const EVICTED: u64 = 2000;

const DELETE_ROWS: &str = "DELETE FROM deliveries WHERE id = ANY($1)";

const DELETE_BODIES: &str = "DELETE FROM bodies WHERE id = ANY($1)";

const CHANGE_ROWS: &str = "UPDATE deliveries d SET receiver = n.receiver, state = n.state, due = n.due,
         since = n.since, attempts = n.attempts, refusals = n.refusals, failed_at = n.failed_at,
         failure = n.failure, claim = NULL, claimed_until = NULL
     FROM unnest($1::bytea[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[], $6::int[], $7::int[],
         $8::bigint[], $9::text[])
         AS n (id, receiver, state, due, since, attempts, refusals, failed_at, failure)
     WHERE d.id = n.id";

const ADD_ROWS: &str = "INSERT INTO deliveries (id, receiver, state, arrived, due, since, size, event, body_digest,
         key_expires)
     SELECT id, receiver, state, arrived, due, since, size, event, body_digest, key_expires
     FROM unnest($1::bytea[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
         $8::bytea[], $9::bytea[], $10::bigint[])
         AS n (id, receiver, state, arrived, due, since, size, event, body_digest, key_expires)";

const ADD_BODIES: &str =
    "INSERT INTO bodies (id, seal, salt, content_type, content_encoding, event_time, body)
     SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[],
         $7::bytea[])";

pub(super) const REWRITE_BODY: &str = "UPDATE bodies SET seal = $2, salt = $3, content_type = $4,
     content_encoding = $5, event_time = $6, body = $7 WHERE id = $1";

const FORGET_KEYS: &str = "DELETE FROM keys k
     USING unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS n (receiver, event, body)
     WHERE k.receiver = n.receiver AND k.event = n.event AND k.body = n.body";

const REMEMBER_KEYS: &str = "INSERT INTO keys (receiver, event, body, delivery, expires)
     SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bigint[])
     ON CONFLICT (receiver, event, body)
     DO UPDATE SET delivery = excluded.delivery, expires = excluded.expires";

/// The oldest keys of a receiver go.
pub(super) const EVICT_KEYS: &str = "WITH gone AS (
         DELETE FROM keys WHERE receiver = $1 AND (event, body) IN (
             SELECT event, body FROM keys WHERE receiver = $1 ORDER BY expires LIMIT $2)
         RETURNING expires)
     SELECT count(*), coalesce(max(expires), 0)::bigint FROM gone";

pub(super) const WRITE_ACCOUNTS: &str = "UPDATE receivers r SET pending = n.pending,
         pending_bytes = n.pending_bytes, parked = n.parked, parked_bytes = n.parked_bytes, keys = n.keys,
         expected = n.expected, expected_parked = n.expected_parked, shortened_until = n.shortened_until
     FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
         $7::bigint[], $8::bigint[], $9::bigint[])
         AS n (receiver, pending, pending_bytes, parked, parked_bytes, keys, expected, expected_parked,
             shortened_until)
     WHERE r.receiver = n.receiver";

/// Writes rows, bodies and keys.
pub(super) async fn write(session: &mut Session, batch: &Batch, jobs: &[&Job]) -> Result<(), Trouble> {
    let writes = batch.writes();
    delete(session, &writes).await?;
    change(session, &writes.changed).await?;
    add(session, &writes.added, jobs).await?;
    for (id, number) in writes.rewritten {
        if let Some(written) = jobs.get(*number).and_then(|job| job.written()) {
            rewrite(session, *id, written).await?;
        }
    }
    keys(session, &writes).await
}

async fn delete(session: &mut Session, writes: &Writes<'_>) -> Result<(), Trouble> {
    if writes.deleted.is_empty() {
        return Ok(());
    }
    let ids = bytes(writes.deleted.iter().copied());
    session.execute(DELETE_ROWS, &[&ids]).await?;
    session.execute(DELETE_BODIES, &[&ids]).await?;
    Ok(())
}

async fn change(session: &mut Session, changed: &[(DeliveryId, &Found)]) -> Result<(), Trouble> {
    if changed.is_empty() {
        return Ok(());
    }
    let ids = bytes(changed.iter().map(|(id, _)| *id));
    let receivers: Vec<i64> = changed.iter().map(|(_, row)| row.receiver).collect();
    let states: Vec<i16> = changed.iter().map(|(_, row)| row.state).collect();
    let due: Vec<i64> = changed.iter().map(|(_, row)| row.due).collect();
    let since: Vec<i64> = changed.iter().map(|(_, row)| row.since).collect();
    let attempts: Vec<i32> = changed.iter().map(|(_, row)| row.attempts).collect();
    let refusals: Vec<i32> = changed.iter().map(|(_, row)| row.refusals).collect();
    let failed_at: Vec<Option<i64>> = changed.iter().map(|(_, row)| row.failed_at).collect();
    let failures: Vec<Option<&str>> = changed.iter().map(|(_, row)| row.failure.as_deref()).collect();
    session
        .execute(
            CHANGE_ROWS,
            &[&ids, &receivers, &states, &due, &since, &attempts, &refusals, &failed_at, &failures],
        )
        .await?;
    Ok(())
}

async fn add(
    session: &mut Session,
    added: &[(DeliveryId, &Found, usize)],
    jobs: &[&Job],
) -> Result<(), Trouble> {
    let mut new = Vec::with_capacity(added.len());
    for (id, row, number) in added {
        if let Some(Job::Put(put)) = jobs.get(*number) {
            new.push((*id, *row, put));
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    let ids = bytes(new.iter().map(|(id, ..)| *id));
    let receivers: Vec<i64> = new.iter().map(|(_, row, _)| row.receiver).collect();
    let states: Vec<i16> = new.iter().map(|(_, row, _)| row.state).collect();
    let arrived: Vec<i64> = new.iter().map(|(.., put)| micros(put.arrived)).collect();
    let due: Vec<i64> = new.iter().map(|(_, row, _)| row.due).collect();
    let since: Vec<i64> = new.iter().map(|(_, row, _)| row.since).collect();
    let sizes: Vec<i64> = new.iter().map(|(_, row, _)| signed(row.size)).collect();
    let events: Vec<&[u8]> = new.iter().map(|(_, row, _)| row.event.as_slice()).collect();
    let digests: Vec<&[u8]> = new.iter().map(|(_, row, _)| row.body_digest.as_slice()).collect();
    let expires: Vec<i64> = new.iter().map(|(_, row, _)| row.key_expires).collect();
    session
        .execute(
            ADD_ROWS,
            &[&ids, &receivers, &states, &arrived, &due, &since, &sizes, &events, &digests, &expires],
        )
        .await?;
    let written: Vec<&Written> = new.iter().map(|(.., put)| &put.written).collect();
    let seals: Vec<i64> = written.iter().map(|written| written.sealing.seal).collect();
    let salts: Vec<Option<&[u8]>> =
        written.iter().map(|written| written.sealing.salt.as_ref().map(<[u8; 24]>::as_slice)).collect();
    let types: Vec<Option<&[u8]>> = written.iter().map(|written| written.content_type.as_deref()).collect();
    let encodings: Vec<Option<&[u8]>> =
        written.iter().map(|written| written.content_encoding.as_deref()).collect();
    let times: Vec<Option<&[u8]>> = written.iter().map(|written| written.event_time.as_deref()).collect();
    let bodies: Vec<&[u8]> = written.iter().map(|written| &*written.body).collect();
    session.execute(ADD_BODIES, &[&ids, &seals, &salts, &types, &encodings, &times, &bodies]).await?;
    Ok(())
}

/// Writes the content of a row again, sealed in another way.
pub(super) async fn rewrite(session: &mut Session, id: DeliveryId, written: &Written) -> Result<(), Trouble> {
    let salt = written.sealing.salt.as_ref().map(<[u8; 24]>::as_slice);
    session
        .execute(
            REWRITE_BODY,
            &[
                &id.to_bytes().as_slice(),
                &written.sealing.seal,
                &salt,
                &written.content_type,
                &written.content_encoding,
                &written.event_time,
                &&*written.body,
            ],
        )
        .await?;
    Ok(())
}

async fn keys(session: &mut Session, writes: &Writes<'_>) -> Result<(), Trouble> {
    if !writes.forgotten.is_empty() {
        let receivers: Vec<i64> = writes.forgotten.iter().map(|name| name.receiver).collect();
        let events: Vec<&[u8]> = writes.forgotten.iter().map(|name| name.event.as_slice()).collect();
        let bodies: Vec<&[u8]> = writes.forgotten.iter().map(|name| name.body.as_slice()).collect();
        session.execute(FORGET_KEYS, &[&receivers, &events, &bodies]).await?;
    }
    if !writes.known.is_empty() {
        let receivers: Vec<i64> = writes.known.iter().map(|(name, _)| name.receiver).collect();
        let events: Vec<&[u8]> = writes.known.iter().map(|(name, _)| name.event.as_slice()).collect();
        let bodies: Vec<&[u8]> = writes.known.iter().map(|(name, _)| name.body.as_slice()).collect();
        let deliveries = bytes(writes.known.iter().map(|(_, key)| key.delivery));
        let expires: Vec<i64> = writes.known.iter().map(|(_, key)| key.expires).collect();
        session.execute(REMEMBER_KEYS, &[&receivers, &events, &bodies, &deliveries, &expires]).await?;
    }
    Ok(())
}

/// The oldest keys go of receivers that have too many; `now` says which of them would still have counted.
pub(super) async fn evict(
    session: &mut Session,
    batch: &mut Batch,
    most_keys: u64,
    now: i64,
) -> Result<(), Trouble> {
    let over: Vec<(i64, u64)> = batch
        .ledger
        .changed()
        .iter()
        .filter(|account| account.keys > most_keys)
        .map(|account| (account.receiver, (account.keys - most_keys).min(EVICTED)))
        .collect();
    for (receiver, over) in over {
        let Some(row) = session.query_opt(EVICT_KEYS, &[&receiver, &signed(over)]).await? else { continue };
        let (gone, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        batch.ledger.change(receiver, |account| {
            account.keys = account.keys.saturating_sub(gone.unsigned_abs());
            if last > now {
                account.shortened_until = account.shortened_until.max(last);
            }
        });
    }
    Ok(())
}

/// Writes the counts that have changed.
pub(super) async fn write_accounts(session: &mut Session, batch: &Batch) -> Result<(), Trouble> {
    let changed = batch.ledger.changed();
    if changed.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&crate::store::ledger::Account) -> i64| -> Vec<i64> {
        changed.iter().map(|account| of(account)).collect()
    };
    let receivers = column(|account| account.receiver);
    let pending = column(|account| signed(account.pending.deliveries));
    let pending_bytes = column(|account| signed(account.pending.bytes));
    let parked = column(|account| signed(account.parked.deliveries));
    let parked_bytes = column(|account| signed(account.parked.bytes));
    let keys = column(|account| signed(account.keys));
    let expected = column(|account| signed(account.expected));
    let expected_parked = column(|account| signed(account.expected_parked));
    let shortened = column(|account| account.shortened_until);
    session
        .execute(
            WRITE_ACCOUNTS,
            &[
                &receivers,
                &pending,
                &pending_bytes,
                &parked,
                &parked_bytes,
                &keys,
                &expected,
                &expected_parked,
                &shortened,
            ],
        )
        .await?;
    Ok(())
}
