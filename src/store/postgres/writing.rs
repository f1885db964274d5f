//! Writes what was decided, inside of the transaction.

use tokio_postgres::types::ToSql;

use super::batch::{Batch, Found, Writes};
use super::error::Trouble;
use super::jobs::Job;
use super::loading::bytes;
use super::session::{Session, Together, Value};
use crate::store::DeliveryId;
use crate::store::columns::{micros, signed};
use crate::store::content::Written;

/// Most keys that go at once because a receiver has too many.
const EVICTED: u64 = 2000;

pub(super) const DELETE_ROWS: &str = "DELETE FROM deliveries WHERE id = ANY($1)";

pub(super) const DELETE_BODIES: &str = "DELETE FROM bodies WHERE id = ANY($1)";

pub(super) const CHANGE_ROWS: &str =
    "UPDATE deliveries d SET receiver = n.receiver, state = n.state, due = n.due,
         since = n.since, attempts = n.attempts, refusals = n.refusals, failed_at = n.failed_at,
         failure = n.failure, claim = NULL, claimed_until = NULL
     FROM unnest($1::bytea[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[], $6::int[], $7::int[],
         $8::bigint[], $9::text[])
         AS n (id, receiver, state, due, since, attempts, refusals, failed_at, failure)
     WHERE d.id = n.id AND d.id = ANY($1)";

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
         DELETE FROM keys WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM keys WHERE receiver = $1 AND expires + 0 > 0
             ORDER BY expires LIMIT $2))
         RETURNING expires)
     SELECT count(*), coalesce(max(expires), 0)::bigint FROM gone";

pub(super) const WRITE_ACCOUNTS: &str = "UPDATE receivers r SET pending = n.pending,
         pending_bytes = n.pending_bytes, parked = n.parked, parked_bytes = n.parked_bytes, keys = n.keys,
         expected = n.expected, expected_parked = n.expected_parked, shortened_until = n.shortened_until
     FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
         $7::bigint[], $8::bigint[], $9::bigint[])
         AS n (receiver, pending, pending_bytes, parked, parked_bytes, keys, expected, expected_parked,
             shortened_until)
     WHERE r.receiver = n.receiver AND r.receiver = ANY($1)";

/// Writes all that was decided. Keys that are too many for a receiver go; `now` says which of them would still
/// have counted.
pub(super) async fn write(
    session: &mut Session,
    batch: &mut Batch,
    jobs: &[&Job],
    most_keys: u64,
    now: i64,
) -> Result<(), Trouble> {
    let is_over = batch.ledger.changed().iter().any(|account| account.keys > most_keys);
    let mut together = Together::default();
    let writes = batch.writes();
    delete(&mut together, &writes);
    change(&mut together, &writes.changed);
    add(&mut together, &writes.added, jobs);
    for (id, number) in writes.rewritten {
        if let Some(written) = jobs.get(*number).and_then(|job| job.written()) {
            together.add(REWRITE_BODY, rewritten(*id, written));
        }
    }
    keys(&mut together, &writes);
    if is_over {
        together.execute(session).await?;
        evict(session, batch, most_keys, now).await?;
        let mut counts = Together::default();
        accounts(&mut counts, batch);
        return counts.execute(session).await;
    }
    accounts(&mut together, batch);
    together.execute(session).await
}

/// A value of a statement.
fn value<'a>(value: impl ToSql + Sync + Send + 'a) -> Value<'a> {
    Box::new(value)
}

fn delete(together: &mut Together<'_>, writes: &Writes<'_>) {
    if writes.deleted.is_empty() {
        return;
    }
    let ids = bytes(writes.deleted.iter().copied());
    together.add(DELETE_ROWS, vec![value(ids.clone())]);
    together.add(DELETE_BODIES, vec![value(ids)]);
}

fn change<'a>(together: &mut Together<'a>, changed: &[(DeliveryId, &'a Found)]) {
    if changed.is_empty() {
        return;
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
    let values = vec![
        value(ids),
        value(receivers),
        value(states),
        value(due),
        value(since),
        value(attempts),
        value(refusals),
        value(failed_at),
        value(failures),
    ];
    together.add(CHANGE_ROWS, values);
}

fn add<'a>(together: &mut Together<'a>, added: &[(DeliveryId, &'a Found, usize)], jobs: &[&'a Job]) {
    let mut new = Vec::with_capacity(added.len());
    for (id, row, number) in added {
        if let Some(Job::Put(put)) = jobs.get(*number) {
            new.push((*id, *row, put));
        }
    }
    if new.is_empty() {
        return;
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
    let values = vec![
        value(ids.clone()),
        value(receivers),
        value(states),
        value(arrived),
        value(due),
        value(since),
        value(sizes),
        value(events),
        value(digests),
        value(expires),
    ];
    together.add(ADD_ROWS, values);
    let written: Vec<&Written> = new.iter().map(|(.., put)| &put.written).collect();
    let seals: Vec<i64> = written.iter().map(|written| written.sealing.seal).collect();
    let salts: Vec<Option<&[u8]>> =
        written.iter().map(|written| written.sealing.salt.as_ref().map(<[u8; 24]>::as_slice)).collect();
    let types: Vec<Option<&[u8]>> = written.iter().map(|written| written.content_type.as_deref()).collect();
    let encodings: Vec<Option<&[u8]>> =
        written.iter().map(|written| written.content_encoding.as_deref()).collect();
    let times: Vec<Option<&[u8]>> = written.iter().map(|written| written.event_time.as_deref()).collect();
    let bodies: Vec<&[u8]> = written.iter().map(|written| &*written.body).collect();
    let values = vec![
        value(ids),
        value(seals),
        value(salts),
        value(types),
        value(encodings),
        value(times),
        value(bodies),
    ];
    together.add(ADD_BODIES, values);
}

/// Writes the content of a row again, sealed in another way.
pub(super) async fn rewrite(session: &mut Session, id: DeliveryId, written: &Written) -> Result<(), Trouble> {
    let mut together = Together::default();
    together.add(REWRITE_BODY, rewritten(id, written));
    together.execute(session).await
}

fn rewritten(id: DeliveryId, written: &Written) -> Vec<Value<'_>> {
    vec![
        value(id.to_bytes().to_vec()),
        value(written.sealing.seal),
        value(written.sealing.salt.as_ref().map(<[u8; 24]>::as_slice)),
        value(written.content_type.as_deref()),
        value(written.content_encoding.as_deref()),
        value(written.event_time.as_deref()),
        value(&*written.body),
    ]
}

fn keys<'a>(together: &mut Together<'a>, writes: &Writes<'a>) {
    if !writes.forgotten.is_empty() {
        let receivers: Vec<i64> = writes.forgotten.iter().map(|name| name.receiver).collect();
        let events: Vec<&[u8]> = writes.forgotten.iter().map(|name| name.event.as_slice()).collect();
        let bodies: Vec<&[u8]> = writes.forgotten.iter().map(|name| name.body.as_slice()).collect();
        together.add(FORGET_KEYS, vec![value(receivers), value(events), value(bodies)]);
    }
    if !writes.known.is_empty() {
        let receivers: Vec<i64> = writes.known.iter().map(|(name, _)| name.receiver).collect();
        let events: Vec<&[u8]> = writes.known.iter().map(|(name, _)| name.event.as_slice()).collect();
        let bodies: Vec<&[u8]> = writes.known.iter().map(|(name, _)| name.body.as_slice()).collect();
        let deliveries = bytes(writes.known.iter().map(|(_, key)| key.delivery));
        let expires: Vec<i64> = writes.known.iter().map(|(_, key)| key.expires).collect();
        let values = vec![value(receivers), value(events), value(bodies), value(deliveries), value(expires)];
        together.add(REMEMBER_KEYS, values);
    }
}

/// The oldest keys go of receivers that have too many.
async fn evict(session: &mut Session, batch: &mut Batch, most_keys: u64, now: i64) -> Result<(), Trouble> {
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
fn accounts(together: &mut Together<'_>, batch: &Batch) {
    let changed = batch.ledger.changed();
    if changed.is_empty() {
        return;
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
    let values = vec![
        value(receivers),
        value(pending),
        value(pending_bytes),
        value(parked),
        value(parked_bytes),
        value(keys),
        value(expected),
        value(expected_parked),
        value(shortened),
    ];
    together.add(WRITE_ACCOUNTS, values);
}
