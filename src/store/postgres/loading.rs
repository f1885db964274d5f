//! What has to be known of receivers, rows and keys before a batch is decided. Whoever changes anything of a
//! receiver holds its row in `receivers`, so that gates that share the database do it one after the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::future::try_join3;
use tokio_postgres::Row;

use super::batch::{Batch, Found, Key, KeyName};
use super::error::Trouble;
use super::jobs::Job;
use super::session::{Session, in_time};
use crate::store::columns::unsigned;
use crate::store::ledger::{Account, Ledger};
use crate::store::{DeliveryId, Extent, Owner, StoreError};

/// Locks the receivers of these uids and of these deliveries, in the order of their numbers.
pub(super) const LOCK: &str =
    "SELECT receiver, uid, namespace, name, pending, pending_bytes, parked, parked_bytes,
         keys, expected, expected_parked, shortened_until
     FROM receivers WHERE receiver = ANY(ARRAY(
         SELECT receiver FROM receivers WHERE uid = ANY($1)
         UNION SELECT receiver FROM deliveries WHERE id = ANY($2)))
     ORDER BY receiver FOR UPDATE";

/// The same, without those that somebody else holds.
pub(super) const LOCK_FREE: &str = "SELECT receiver, uid, namespace, name, pending, pending_bytes, parked,
         parked_bytes, keys, expected, expected_parked, shortened_until
     FROM receivers WHERE receiver = ANY(ARRAY(
         SELECT receiver FROM receivers WHERE uid = ANY($1)
         UNION SELECT receiver FROM deliveries WHERE id = ANY($2)))
     ORDER BY receiver FOR UPDATE SKIP LOCKED";

/// Makes accounts of receivers that have none.
const ADD_ACCOUNTS: &str = "INSERT INTO receivers (uid, namespace, name)
     SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS new (uid, namespace, name) ORDER BY uid
     ON CONFLICT (uid) DO NOTHING";

/// Keys by their names; of these deliveries, and of those for another receiver.
pub(super) const KEYS: &str = "SELECT w.receiver, w.event, w.body, k.delivery, k.expires
     FROM (SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS named (receiver, event, body)
           UNION SELECT receiver, event, body_digest FROM deliveries WHERE id = ANY($4)
           UNION SELECT receiver, event, ''::bytea FROM deliveries WHERE id = ANY($4)
           UNION SELECT a.receiver, d.event, d.body_digest
               FROM unnest($5::bytea[], $6::bigint[]) AS a (id, receiver)
               CROSS JOIN LATERAL (SELECT event, body_digest FROM deliveries WHERE id = a.id LIMIT 1) d
           UNION SELECT a.receiver, d.event, ''::bytea
               FROM unnest($5::bytea[], $6::bigint[]) AS a (id, receiver)
               CROSS JOIN LATERAL (SELECT event FROM deliveries WHERE id = a.id LIMIT 1) d) AS w
     CROSS JOIN LATERAL (
         SELECT delivery, expires FROM keys
         WHERE receiver = w.receiver AND event = w.event AND body = w.body LIMIT 1) k";

/// Rows by their ids, and those that keys name.
pub(super) const ROWS: &str = "SELECT id, receiver, state, size, due, since, attempts, refusals, failed_at, failure,
         event, body_digest, key_expires, claim
     FROM deliveries WHERE id = ANY(ARRAY(
         SELECT unnest($1::bytea[])
         UNION SELECT k.delivery FROM unnest($2::bigint[], $3::bytea[], $4::bytea[]) AS w (receiver, event, body)
             CROSS JOIN LATERAL (
                 SELECT delivery FROM keys
                 WHERE receiver = w.receiver AND event = w.event AND body = w.body LIMIT 1) k))
     ORDER BY id FOR UPDATE";

/// What other receivers of these namespaces hold.
const BESIDE: &str =
    "SELECT namespace, sum(pending + parked)::bigint, sum(pending_bytes + parked_bytes)::bigint
     FROM receivers WHERE namespace = ANY($1) AND receiver <> ALL($2) GROUP BY namespace";

/// What becomes of jobs whose receivers somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// They are waited for, as long as the server lets us.
    Wait,
    /// They are left out.
    LeaveOut,
}

/// The receivers that are locked.
pub(super) struct Locked {
    accounts: Vec<Account>,
}

impl Locked {
    pub(super) fn has(&self, uid: &str) -> bool {
        self.accounts.iter().any(|account| &*account.owner.uid == uid)
    }

    fn number(&self, uid: &str) -> Option<i64> {
        self.accounts.iter().find(|account| &*account.owner.uid == uid).map(|account| account.receiver)
    }
}

/// Ids as the database has them.
pub(super) fn bytes(ids: impl IntoIterator<Item = DeliveryId>) -> Vec<Vec<u8>> {
    ids.into_iter().map(|id| id.to_bytes().to_vec()).collect()
}

/// The id in a column.
pub(super) fn delivery_id(row: &Row, column: usize) -> Result<DeliveryId, Trouble> {
    let bytes: &[u8] = row.try_get(column)?;
    let bytes = <[u8; 16]>::try_from(bytes)
        .map_err(|_| StoreError::Unavailable("an id in the database has another length".to_owned()))?;
    Ok(DeliveryId::from_bytes(bytes))
}

/// An account in the first twelve columns.
pub(super) fn account(row: &Row) -> Result<Account, Trouble> {
    let text = |column: usize| row.try_get::<_, String>(column).map(Arc::<str>::from);
    let count = |column: usize| row.try_get::<_, i64>(column).map(unsigned);
    let owner = Owner { uid: text(1)?, namespace: text(2)?, name: text(3)? };
    Ok(Account {
        pending: Extent { deliveries: count(4)?, bytes: count(5)? },
        parked: Extent { deliveries: count(6)?, bytes: count(7)? },
        keys: count(8)?,
        expected: count(9)?,
        expected_parked: count(10)?,
        shortened_until: row.try_get(11)?,
        ..Account::new(row.try_get(0)?, owner)
    })
}

/// Makes the accounts that jobs need, outside of any transaction: nobody waits for another one's new
/// receivers while they hold others.
pub(super) async fn add_accounts(session: &mut Session, owners: &[&Owner]) -> Result<(), Trouble> {
    let owners: BTreeMap<&str, &Owner> = owners.iter().map(|owner| (&*owner.uid, *owner)).collect();
    let uids: Vec<&str> = owners.keys().copied().collect();
    let namespaces: Vec<&str> = owners.values().map(|owner| &*owner.namespace).collect();
    let names: Vec<&str> = owners.values().map(|owner| &*owner.name).collect();
    session.execute(ADD_ACCOUNTS, &[&uids, &namespaces, &names]).await?;
    Ok(())
}

/// Opens a transaction and locks the receivers of these jobs.
pub(super) async fn lock(
    session: &mut Session,
    jobs: &[&Job],
    patience: Patience,
) -> Result<Locked, Trouble> {
    let uids: BTreeSet<&str> = jobs.iter().filter_map(|job| job.uid()).collect();
    let uids: Vec<&str> = uids.into_iter().collect();
    let ids = bytes(jobs.iter().filter_map(|job| job.delivery()));
    let sql = if patience == Patience::Wait { LOCK } else { LOCK_FREE };
    let rows = session.begin_with(sql, &[&uids, &ids]).await?;
    Ok(Locked { accounts: rows.iter().map(account).collect::<Result<_, _>>()? })
}

/// Whether the receiver of each job is among those that are locked.
pub(super) async fn free(
    session: &mut Session,
    locked: &Locked,
    jobs: &[&Job],
) -> Result<Vec<bool>, Trouble> {
    let ids = bytes(jobs.iter().filter_map(|job| job.delivery()));
    let mut held = BTreeSet::new();
    for row in session.query("SELECT id, receiver FROM deliveries WHERE id = ANY($1)", &[&ids]).await? {
        let receiver: i64 = row.try_get(1)?;
        if !locked.accounts.iter().any(|account| account.receiver == receiver) {
            held.insert(delivery_id(&row, 0)?);
        }
    }
    let is_free = |job: &&Job| {
        job.uid().is_none_or(|uid| locked.has(uid)) && job.delivery().is_none_or(|id| !held.contains(&id))
    };
    Ok(jobs.iter().map(is_free).collect())
}

/// Reads everything that these jobs are decided on.
pub(super) async fn load(session: &mut Session, locked: Locked, jobs: &[&Job]) -> Result<Batch, Trouble> {
    let mut names: BTreeSet<KeyName> = BTreeSet::new();
    let mut adopted: Vec<(DeliveryId, i64)> = Vec::new();
    for job in jobs {
        match job {
            Job::Put(put) => {
                let receiver = locked.number(&put.owner.uid);
                names.extend(receiver.map(|receiver| KeyName::new(receiver, &put.key.event, &put.key.body)));
            }
            Job::Adopt { id, by, .. } => adopted.extend(locked.number(&by.uid).map(|to| (*id, to))),
            _ => {}
        }
    }
    let receivers: Vec<i64> = names.iter().map(|name| name.receiver).collect();
    let events: Vec<&[u8]> = names.iter().map(|name| name.event.as_slice()).collect();
    let bodies: Vec<&[u8]> = names.iter().map(|name| name.body.as_slice()).collect();
    let there = bytes(jobs.iter().filter_map(|job| job.delivery()));
    let new = jobs.iter().filter_map(|job| match job {
        Job::Put(put) => Some(put.id),
        _ => None,
    });
    let ids: Vec<Vec<u8>> = there.iter().cloned().chain(bytes(new)).collect();
    let adopted_ids = bytes(adopted.iter().map(|(id, _)| *id));
    let adopted_by: Vec<i64> = adopted.iter().map(|(_, to)| *to).collect();
    let namespaces: BTreeSet<&str> =
        locked.accounts.iter().map(|account| &*account.owner.namespace).collect();
    let namespaces: Vec<&str> = namespaces.into_iter().collect();
    let numbers: Vec<i64> = locked.accounts.iter().map(|account| account.receiver).collect();

    let (keys, rows) = (session.prepare(KEYS).await?, session.prepare(ROWS).await?);
    let beside = session.prepare(BESIDE).await?;
    let client = &session.client;
    // The three are on their way together.
    let (keys, rows, beside) = in_time(try_join3(
        client.query(&keys, &[&receivers, &events, &bodies, &there, &adopted_ids, &adopted_by]),
        client.query(&rows, &[&ids, &receivers, &events, &bodies]),
        client.query(&beside, &[&namespaces, &numbers]),
    ))
    .await?;

    let mut known = HashMap::new();
    for row in &keys {
        let name = KeyName { receiver: row.try_get(0)?, event: row.try_get(1)?, body: row.try_get(2)? };
        known.insert(name, Key { delivery: delivery_id(row, 3)?, expires: row.try_get(4)? });
    }
    let rows = rows.iter().map(found).collect::<Result<Vec<_>, _>>()?;
    let mut ledger = Ledger::of(locked.accounts);
    for row in &beside {
        let held = Extent { deliveries: unsigned(row.try_get(1)?), bytes: unsigned(row.try_get(2)?) };
        ledger.beside(row.try_get::<_, String>(0)?.into(), held);
    }
    Ok(Batch::new(ledger, rows, known))
}

fn found(row: &Row) -> Result<(DeliveryId, Found), Trouble> {
    let found = Found {
        receiver: row.try_get(1)?,
        state: row.try_get(2)?,
        size: unsigned(row.try_get(3)?),
        due: row.try_get(4)?,
        since: row.try_get(5)?,
        attempts: row.try_get(6)?,
        refusals: row.try_get(7)?,
        failed_at: row.try_get(8)?,
        failure: row.try_get(9)?,
        event: row.try_get(10)?,
        body_digest: row.try_get(11)?,
        key_expires: row.try_get(12)?,
        claim: row.try_get(13)?,
    };
    Ok((delivery_id(row, 0)?, found))
}
