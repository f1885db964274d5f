//! What the trait asks for, in sessions and jobs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

use super::error::Trouble;
use super::jobs::{Expecting, Job, Outcome};
use super::reading::Taking;
use super::tidying::AT_ONCE;
use super::{PostgresStore, asking, random, reading, tidying};
use crate::store::columns::{micros, window_micros};
use crate::store::content::expectation_digest;
use crate::store::rows::Arriving;
use crate::store::seal::{Field, RowName};
use crate::store::{
    Adopted, Answer, Claim, DeliveryId, Expectation, KnownToken, LastFailure, NewDelivery, Owner, Put, Room,
    Row, Selection, Standstill, Store, StoreError, Taken, Usage,
};

/// Most deliveries that are taken at once.
const MOST_TAKEN: usize = 1000;

/// Asks in a session of those that read: `ask!(self, function, values…)`.
macro_rules! ask {
    ($store:expr, $function:path $(, $value:expr)* $(,)?) => {{
        let store = $store;
        if store.is_closed.load(Ordering::Relaxed) {
            return Err(store.refusal());
        }
        match store.reading.lend().await {
            Ok(mut lent) => {
                let answer = $function(&mut lent.session $(, $value)*).await;
                lent.after(answer).map_err(|trouble: Trouble| trouble.meaning())
            }
            Err(trouble) => Err(trouble.meaning()),
        }
    }};
}

impl PostgresStore {
    async fn put_sealed(&self, delivery: NewDelivery) -> Result<Put, StoreError> {
        let size = delivery.body.len();
        let arriving = Arriving::of(delivery, &self.seals)?;
        let owner = arriving.owner.clone();
        match self.add(&owner, size, Job::Put(arriving)).await? {
            Outcome::Put(put) => Ok(put),
            other => Err(mixed_up(other)),
        }
    }

    async fn take_opened(
        &self,
        uid: &str,
        most: usize,
        now: DateTime<Utc>,
        lease: Duration,
    ) -> Result<Vec<Taken>, StoreError> {
        let mut claims = vec![0; most.min(MOST_TAKEN)];
        for claim in &mut claims {
            // Drawn and not counted: a database that has lost its last commits counts them again.
            *claim = i64::from_be_bytes(random().map_err(StoreError::Unavailable)?) & i64::MAX;
        }
        if self.seen.is_time(uid) && ask!(self, tidying::seen, uid, self.holder)? {
            self.seen.now(uid);
        }
        let seals = self.seals.can_be_opened();
        let (claims, seals) = (claims.as_slice(), seals.as_slice());
        let clock = self.clock.at(now);
        // Longer than any lease is meant to be, and short enough to be added to a time.
        let lease = window_micros(lease.min(Duration::from_secs(365 * 24 * 3600)));
        let rows = ask!(self, reading::take, &Taking { uid, seals, claims, now, lease, clock })?;
        let mut taken = Vec::with_capacity(rows.len());
        for row in rows {
            let (id, claim) = (row.id, row.claim);
            match row.open(uid, &self.seals, now) {
                Ok(opened) => taken.push(opened),
                Err(failure) => self.park(id, claim, failure).await?,
            }
        }
        Ok(taken)
    }

    fn gone<'a>(&self, uid: &'a str) -> tidying::Gone<'a> {
        tidying::Gone { uid, holder: self.holder, after: window_micros(self.clock.patience()) }
    }

    async fn adopt_sealed(
        &self,
        id: DeliveryId,
        by: Owner,
        room: Room,
        now: DateTime<Utc>,
    ) -> Result<Adopted, StoreError> {
        let Some(row) = ask!(self, reading::body, id)? else { return Ok(Adopted::Absent) };
        let content = self.seals.read(&row.uid, id, row.written)?;
        let written = Box::new(self.seals.write(&by.uid, id, &content)?);
        match self.change(Job::Adopt { id, by, room, written, now: micros(now) }).await? {
            Outcome::Adopted(adopted) => Ok(adopted),
            other => Err(mixed_up(other)),
        }
    }

    async fn expect_sealed(&self, expectation: Expectation, most: usize) -> Result<bool, StoreError> {
        let owner = expectation.owner.clone();
        let digest = expectation_digest(&self.digest_key, &owner.uid, &expectation.id);
        let name = RowName { uid: &owner.uid, row: &digest };
        let (sealing, id) = self.seals.write_one(Field::ExpectedId, name, expectation.id.as_bytes())?;
        let size = id.len();
        let expecting = Expecting { expectation, digest, sealing, id, most };
        // Something new: it waits for its turn.
        was(self.add(&owner, size, Job::Expect(expecting)).await?)
    }

    async fn find_due(
        &self,
        uid: &str,
        until: DateTime<Utc>,
        most: usize,
    ) -> Result<Vec<Expectation>, StoreError> {
        let seals = self.seals.can_be_opened();
        let looking = asking::Looking {
            uid,
            until: micros(until),
            now: micros(Utc::now()),
            holder: self.holder,
            most,
            seals: &seals,
        };
        let rows = ask!(self, asking::due, &looking)?;
        rows.into_iter().map(|row| row.open(&self.seals)).collect()
    }
}

fn was(outcome: Outcome) -> Result<bool, StoreError> {
    match outcome {
        Outcome::Was(was) => Ok(was),
        other => Err(mixed_up(other)),
    }
}

fn mixed_up(outcome: Outcome) -> StoreError {
    StoreError::Unavailable(format!("{outcome:?} is no answer to that, which is a defect; please report it"))
}

impl Store for PostgresStore {
    fn digest_key(&self) -> &[u8; 32] {
        &self.digest_key
    }

    fn is_sealing(&self) -> bool {
        self.seals.is_sealing()
    }

    fn failed(&self) -> BoxFuture<'_, StoreError> {
        // The server ends itself when it cannot make anything durable, and comes back as it was.
        Box::pin(std::future::pending())
    }

    fn put(&self, delivery: NewDelivery) -> Answer<'_, Put> {
        Box::pin(self.put_sealed(delivery))
    }

    fn take<'a>(
        &'a self,
        uid: &'a str,
        most: usize,
        now: DateTime<Utc>,
        lease: Duration,
    ) -> Answer<'a, Vec<Taken>> {
        Box::pin(self.take_opened(uid, most, now, lease))
    }

    fn next_due<'a>(&'a self, uid: &'a str) -> Answer<'a, Option<DateTime<Utc>>> {
        Box::pin(async move {
            let seals = self.seals.can_be_opened();
            ask!(self, reading::next_due, uid, &seals, self.clock.of_caller())
        })
    }

    fn done(&self, id: DeliveryId) -> Answer<'_, ()> {
        Box::pin(async move { self.change(Job::Done(id)).await.map(drop) })
    }

    fn retry(
        &self,
        id: DeliveryId,
        claim: Claim,
        due: DateTime<Utc>,
        refused: bool,
        failure: LastFailure,
    ) -> Answer<'_, ()> {
        let job = Job::Retry { id, claim, due: micros(due), refused, failure };
        Box::pin(async move { self.change(job).await.map(drop) })
    }

    fn give_back(&self, id: DeliveryId, claim: Claim) -> Answer<'_, ()> {
        Box::pin(async move { ask!(self, reading::give_back, id, claim) })
    }

    fn park(&self, id: DeliveryId, claim: Claim, failure: LastFailure) -> Answer<'_, ()> {
        let job = Job::Park { id, claim, failure };
        Box::pin(async move { self.change(job).await.map(drop) })
    }

    fn park_all<'a>(&'a self, uid: &'a str, failure: LastFailure) -> Answer<'a, u64> {
        Box::pin(async move {
            let mut parked = 0;
            loop {
                let some = ask!(self, tidying::park_some, self.gone(uid), &failure)?;
                parked += some;
                if some < AT_ONCE.unsigned_abs() {
                    return Ok(parked);
                }
            }
        })
    }

    fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Answer<'_, bool> {
        let job = Job::Replay { id, now: micros(now) };
        Box::pin(async move { was(self.change(job).await?) })
    }

    fn adopt(&self, id: DeliveryId, by: Owner, room: Room, now: DateTime<Utc>) -> Answer<'_, Adopted> {
        Box::pin(self.adopt_sealed(id, by, room, now))
    }

    fn drop_parked(&self, id: DeliveryId) -> Answer<'_, bool> {
        Box::pin(async move { was(self.change(Job::Drop(id)).await?) })
    }

    fn list<'a>(
        &'a self,
        selection: &'a Selection,
        after: Option<DeliveryId>,
        most: usize,
    ) -> Answer<'a, Vec<Row>> {
        Box::pin(async move { ask!(self, reading::list, selection, after, most) })
    }

    fn show(&self, id: DeliveryId) -> Answer<'_, Option<Row>> {
        Box::pin(async move { ask!(self, reading::show, id) })
    }

    fn body(&self, id: DeliveryId) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            let Some(row) = ask!(self, reading::body, id)? else { return Ok(None) };
            self.seals.read(&row.uid, id, row.written).map(|content| Some(content.body))
        })
    }

    fn usage(&self) -> Answer<'_, Vec<Usage>> {
        Box::pin(async move { ask!(self, reading::usage) })
    }

    fn forget_expired(&self, now: DateTime<Utc>) -> Answer<'_, u64> {
        Box::pin(async move { ask!(self, tidying::forget_expired, micros(now)) })
    }

    fn expect(&self, expectation: Expectation, most: usize) -> Answer<'_, bool> {
        Box::pin(self.expect_sealed(expectation, most))
    }

    fn expectations_due<'a>(
        &'a self,
        uid: &'a str,
        now: DateTime<Utc>,
        most: usize,
    ) -> Answer<'a, Vec<Expectation>> {
        Box::pin(self.find_due(uid, now, most))
    }

    fn expectation<'a>(&'a self, uid: &'a str, id: &'a str) -> Answer<'a, Option<Expectation>> {
        let digest = expectation_digest(&self.digest_key, uid, id);
        Box::pin(async move {
            let row = ask!(self, asking::one, uid, &digest)?;
            row.map(|row| row.open(&self.seals)).transpose()
        })
    }

    fn expectation_changed(&self, expectation: Expectation) -> Answer<'_, ()> {
        let digest = expectation_digest(&self.digest_key, &expectation.owner.uid, &expectation.id);
        Box::pin(async move { self.change(Job::ExpectationChanged { expectation, digest }).await.map(drop) })
    }

    fn expectation_met<'a>(&'a self, uid: &'a str, id: &'a str) -> Answer<'a, ()> {
        let digest = expectation_digest(&self.digest_key, uid, id);
        Box::pin(
            async move { self.change(Job::ExpectationMet { uid: uid.to_owned(), digest }).await.map(drop) },
        )
    }

    fn expectations<'a>(&'a self, selection: &'a Selection, most: usize) -> Answer<'a, Vec<Expectation>> {
        Box::pin(async move {
            let rows = ask!(self, asking::list, selection, most)?;
            rows.into_iter().map(|row| row.open(&self.seals)).collect()
        })
    }

    fn park_expectations<'a>(&'a self, uid: &'a str, now: DateTime<Utc>) -> Answer<'a, u64> {
        Box::pin(async move {
            let mut parked = 0;
            loop {
                let some = ask!(self, tidying::park_expectations, self.gone(uid), micros(now))?;
                parked += some;
                if some < AT_ONCE.unsigned_abs() {
                    return Ok(parked);
                }
            }
        })
    }

    fn revive_expectations<'a>(&'a self, uid: &'a str, now: DateTime<Utc>, most: usize) -> Answer<'a, u64> {
        Box::pin(async move {
            let mut revived = 0;
            loop {
                let some = ask!(self, tidying::revive_expectations, uid, micros(now), most)?;
                revived += some;
                if some < AT_ONCE.unsigned_abs() {
                    return Ok(revived);
                }
            }
        })
    }

    fn forget_expectations(&self, before: DateTime<Utc>) -> Answer<'_, u64> {
        Box::pin(async move { ask!(self, tidying::forget_expectations, micros(before)) })
    }

    fn tokens<'a>(&'a self, uid: &'a str) -> Answer<'a, Vec<KnownToken>> {
        Box::pin(async move { ask!(self, tidying::tokens, uid) })
    }

    fn set_tokens<'a>(&'a self, uid: &'a str, tokens: Vec<KnownToken>) -> Answer<'a, ()> {
        Box::pin(async move { ask!(self, tidying::set_tokens, uid, &tokens) })
    }

    fn standstills<'a>(&'a self, uid: &'a str) -> Answer<'a, Vec<Standstill>> {
        Box::pin(async move { ask!(self, tidying::standstills, uid) })
    }

    fn set_standstills<'a>(&'a self, uid: &'a str, standstills: Vec<Standstill>) -> Answer<'a, ()> {
        Box::pin(async move { ask!(self, tidying::set_standstills, uid, &standstills) })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.end().await;
            Ok(())
        })
    }
}
