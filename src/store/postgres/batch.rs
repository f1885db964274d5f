//! What becomes of the rows of some receivers in one commit. It is decided here, without the database: who
//! calls has locked the receivers, and has read everything that is needed of them.

use std::collections::{BTreeMap, HashMap};

use super::jobs::{Job, Outcome};
use crate::store::columns::{micros, window_micros};
use crate::store::content::Written;
use crate::store::ledger::{Ledger, add, subtract};
use crate::store::rows::Arriving;
use crate::store::{Adopted, Bound, Claim, DeliveryId, LastFailure, Owner, Put, Room};

/// In the place of a body's digest: the event was answered with success.
pub(super) const ANSWERED: [u8; 0] = [];

pub(super) const PENDING: i16 = 0;
pub(super) const PARKED: i16 = 1;

/// What a key is found by. Sorted: two gates that write the same ones must do it in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct KeyName {
    pub(super) receiver: i64,
    pub(super) event: Vec<u8>,
    /// Digest of the body, or [`ANSWERED`].
    pub(super) body: Vec<u8>,
}

impl KeyName {
    pub(super) fn new(receiver: i64, event: &[u8], body: &[u8]) -> Self {
        Self { receiver, event: event.to_vec(), body: body.to_vec() }
    }
}

/// What a key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) delivery: DeliveryId,
    pub(super) expires: i64,
}

/// A row as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) receiver: i64,
    pub(super) state: i16,
    pub(super) size: u64,
    pub(super) due: i64,
    pub(super) since: i64,
    pub(super) attempts: i32,
    pub(super) refusals: i32,
    pub(super) failed_at: Option<i64>,
    pub(super) failure: Option<String>,
    pub(super) event: Vec<u8>,
    pub(super) body_digest: Vec<u8>,
    pub(super) key_expires: i64,
    pub(super) claim: Option<i64>,
}

/// A row, and what has been done to it.
struct Row {
    found: Found,
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Changed,
    Deleted,
    /// Put by the job of this number.
    New(usize),
    /// Put, and deleted again.
    NeverWas,
}

/// Rows and keys of receivers, and what is to be written of them.
pub(super) struct Batch {
    pub(super) ledger: Ledger,
    rows: HashMap<DeliveryId, Row>,
    before: HashMap<KeyName, Key>,
    keys: BTreeMap<KeyName, Option<Key>>,
    /// Rows whose content is written again, and the job that brings it.
    rewritten: Vec<(DeliveryId, usize)>,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Writes<'a> {
    pub(super) deleted: Vec<DeliveryId>,
    pub(super) changed: Vec<(DeliveryId, &'a Found)>,
    /// New rows, and the numbers of the jobs that brought them.
    pub(super) added: Vec<(DeliveryId, &'a Found, usize)>,
    pub(super) rewritten: &'a [(DeliveryId, usize)],
    pub(super) forgotten: Vec<&'a KeyName>,
    pub(super) known: Vec<(&'a KeyName, Key)>,
}

impl Batch {
    pub(super) fn new(
        ledger: Ledger,
        rows: impl IntoIterator<Item = (DeliveryId, Found)>,
        keys: HashMap<KeyName, Key>,
    ) -> Self {
        let rows = rows.into_iter().map(|(id, found)| (id, Row { found, change: Change::None }));
        Self { ledger, rows: rows.collect(), before: keys, keys: BTreeMap::new(), rewritten: Vec::new() }
    }

    /// Decides on one job; `None` when it is none about deliveries, or its receiver is not among those that
    /// were locked: it may have gone over to another one meanwhile.
    pub(super) fn decide(&mut self, number: usize, job: &Job) -> Option<Outcome> {
        let row = job.delivery().and_then(|id| self.rows.get(&id));
        if row.is_some_and(|row| self.ledger.get(row.found.receiver).is_none()) {
            return None;
        }
        Some(match job {
            Job::Put(arriving) => Outcome::Put(self.put(number, arriving)?),
            Job::Done(id) => Outcome::Was(self.done(*id)),
            Job::Retry { id, claim, due, refused, failure } => {
                Outcome::Was(self.retry(*id, *claim, *due, *refused, failure))
            }
            Job::Park { id, claim, failure } => Outcome::Was(self.park(*id, *claim, failure)),
            Job::Replay { id, now } => Outcome::Was(self.replay(*id, *now)),
            Job::Drop(id) => Outcome::Was(self.drop_parked(*id)),
            Job::Adopt { id, by, room, now, .. } => {
                Outcome::Adopted(self.adopt(number, *id, by, room, *now)?)
            }
            Job::Expect(_) | Job::ExpectationChanged { .. } | Job::ExpectationMet { .. } => return None,
        })
    }

    fn put(&mut self, number: usize, arriving: &Arriving) -> Option<Put> {
        let receiver = self.ledger.by_uid(&arriving.owner.uid)?.receiver;
        let key = &arriving.key;
        let arrived = micros(arriving.arrived);
        let name = KeyName::new(receiver, &key.event, &key.body);
        if let Some(earlier) = self.known(&name, arrived).map(|key| key.delivery) {
            // One that is only marked is stored beside it: what was acknowledged twice is handed on twice.
            let parked = self.parked(earlier).map(|found| found.size);
            if let Some(size) = parked.filter(|_| key.drop_repeated) {
                if !self.ledger.can_wait(receiver, &arriving.room, size) {
                    return Some(Put::Full(Bound::Pending));
                }
                self.revive(earlier, arrived);
                return Some(Put::Revived(earlier));
            }
            if key.drop_repeated && earlier != arriving.id {
                return Some(Put::Repeated(earlier));
            }
        }
        if let Some(bound) = self.ledger.bound(receiver, &arriving.room, arriving.size) {
            return Some(Put::Full(bound));
        }
        // The same call a second time, after an answer that was lost between us and the caller.
        if self.rows.contains_key(&arriving.id) {
            return Some(Put::Stored);
        }
        let key_expires = arrived.saturating_add(window_micros(key.window));
        let found = Found {
            receiver,
            state: PENDING,
            size: arriving.size,
            due: arrived,
            since: arrived,
            attempts: 0,
            refusals: 0,
            failed_at: None,
            failure: None,
            event: key.event.to_vec(),
            body_digest: key.body.to_vec(),
            key_expires,
            claim: None,
        };
        self.rows.insert(arriving.id, Row { found, change: Change::New(number) });
        self.ledger.change(receiver, |account| add(&mut account.pending, arriving.size));
        if key_expires > arrived {
            self.remember(name, Key { delivery: arriving.id, expires: key_expires });
        }
        Some(Put::Stored)
    }

    fn done(&mut self, id: DeliveryId) -> bool {
        let Some(found) = self.delete(id) else { return false };
        let name = KeyName::new(found.receiver, &found.event, &ANSWERED);
        self.remember_answer(name, Key { delivery: id, expires: found.key_expires });
        true
    }

    fn retry(
        &mut self,
        id: DeliveryId,
        claim: Claim,
        due: i64,
        refused: bool,
        failure: &LastFailure,
    ) -> bool {
        self.claimed(id, claim, |found| {
            found.due = due;
            found.refusals = found.refusals.saturating_add(i32::from(refused));
            failed(found, failure);
        })
        .is_some()
    }

    fn park(&mut self, id: DeliveryId, claim: Claim, failure: &LastFailure) -> bool {
        let parked = self.claimed(id, claim, |found| {
            found.state = PARKED;
            failed(found, failure);
        });
        let Some((receiver, size)) = parked else { return false };
        self.ledger.change(receiver, |account| {
            subtract(&mut account.pending, size);
            add(&mut account.parked, size);
        });
        true
    }

    fn replay(&mut self, id: DeliveryId, now: i64) -> bool {
        self.parked(id).is_some() && self.revive(id, now)
    }

    fn drop_parked(&mut self, id: DeliveryId) -> bool {
        if self.parked(id).is_none() {
            return false;
        }
        let Some(found) = self.delete(id) else { return false };
        self.forget_key(KeyName::new(found.receiver, &found.event, &found.body_digest), id);
        true
    }

    fn adopt(&mut self, number: usize, id: DeliveryId, by: &Owner, room: &Room, now: i64) -> Option<Adopted> {
        let to = self.ledger.by_uid(&by.uid)?.receiver;
        let Some(found) = self.parked(id).cloned() else { return Some(Adopted::Absent) };
        let is_successor = self.ledger.get(found.receiver).is_some_and(|account| {
            (&account.owner.namespace, &account.owner.name) == (&by.namespace, &by.name)
        });
        if !is_successor {
            return Some(Adopted::Absent);
        }
        if to == found.receiver {
            if !self.ledger.can_wait(to, room, found.size) {
                return Some(Adopted::Full(Bound::Pending));
            }
            self.revive(id, now);
            return Some(Adopted::Waits);
        }
        if let Some(bound) = self.ledger.bound_for_adopted(to, room, found.size) {
            return Some(Adopted::Full(bound));
        }
        self.change(id, |found| found.receiver = to);
        self.rewritten.push((id, number));
        self.ledger.change(found.receiver, |account| subtract(&mut account.parked, found.size));
        self.ledger.change(to, |account| add(&mut account.parked, found.size));
        self.hand_over_keys(id, &found, to, now);
        self.revive(id, now);
        Some(Adopted::Waits)
    }

    /// What is known of a delivery and its event goes over to another receiver, together with the delivery.
    /// That its event was answered stays known of the former one, too: other copies may still be there.
    fn hand_over_keys(&mut self, id: DeliveryId, found: &Found, to: i64, now: i64) {
        self.forget_key(KeyName::new(found.receiver, &found.event, &found.body_digest), id);
        let name = KeyName::new(to, &found.event, &found.body_digest);
        if found.key_expires > now && self.known(&name, now).is_none() {
            self.remember(name, Key { delivery: id, expires: found.key_expires });
        }
        if let Some(answered) = self.known(&KeyName::new(found.receiver, &found.event, &ANSWERED), now) {
            self.remember_answer(KeyName::new(to, &found.event, &ANSWERED), answered);
        }
    }

    fn there(&self, id: DeliveryId) -> Option<&Found> {
        let row = self.rows.get(&id)?;
        (!matches!(row.change, Change::Deleted | Change::NeverWas)).then_some(&row.found)
    }

    fn parked(&self, id: DeliveryId) -> Option<&Found> {
        self.there(id).filter(|found| found.state == PARKED)
    }

    /// Changes a row; nobody has it under way any more.
    fn change(&mut self, id: DeliveryId, change: impl FnOnce(&mut Found)) -> Option<(i64, u64)> {
        self.there(id)?;
        let row = self.rows.get_mut(&id)?;
        change(&mut row.found);
        row.found.claim = None;
        if row.change == Change::None {
            row.change = Change::Changed;
        }
        Some((row.found.receiver, row.found.size))
    }

    /// Changes a row, if this claim is still its claim.
    fn claimed(
        &mut self,
        id: DeliveryId,
        claim: Claim,
        change: impl FnOnce(&mut Found),
    ) -> Option<(i64, u64)> {
        let found = self.there(id)?;
        let is_held = found.claim.is_some_and(|held| held.unsigned_abs() == claim.0);
        if found.state != PENDING || !is_held {
            return None;
        }
        self.change(id, change)
    }

    fn revive(&mut self, id: DeliveryId, now: i64) -> bool {
        let revived = self.change(id, |found| {
            (found.state, found.due, found.since) = (PENDING, now, now);
            (found.attempts, found.refusals) = (0, 0);
        });
        let Some((receiver, size)) = revived else { return false };
        self.ledger.change(receiver, |account| {
            subtract(&mut account.parked, size);
            add(&mut account.pending, size);
        });
        true
    }

    fn delete(&mut self, id: DeliveryId) -> Option<Found> {
        self.there(id)?;
        let row = self.rows.get_mut(&id)?;
        row.change = match row.change {
            Change::New(_) | Change::NeverWas => Change::NeverWas,
            _ => Change::Deleted,
        };
        let found = row.found.clone();
        self.rewritten.retain(|(rewritten, _)| *rewritten != id);
        self.ledger.change(found.receiver, |account| {
            let extent = if found.state == PARKED { &mut account.parked } else { &mut account.pending };
            subtract(extent, found.size);
        });
        Some(found)
    }

    fn key(&self, name: &KeyName) -> Option<Key> {
        match self.keys.get(name) {
            Some(key) => *key,
            None => self.before.get(name).copied(),
        }
    }

    fn known(&self, name: &KeyName, now: i64) -> Option<Key> {
        self.key(name).filter(|key| key.expires > now)
    }

    /// The latest delivery of a key counts; one that has expired is taken over.
    fn remember(&mut self, name: KeyName, new: Key) {
        let expires = self.key(&name).map_or(new.expires, |old| old.expires.max(new.expires));
        self.set(name, Key { expires, ..new });
    }

    /// The first delivery that was answered stays.
    fn remember_answer(&mut self, name: KeyName, new: Key) {
        let delivery = self.key(&name).map_or(new.delivery, |old| old.delivery);
        let expires = self.key(&name).map_or(new.expires, |old| old.expires.max(new.expires));
        self.set(name, Key { delivery, expires });
    }

    fn set(&mut self, name: KeyName, key: Key) {
        if self.key(&name).is_none() {
            self.ledger.change(name.receiver, |account| account.keys += 1);
        }
        self.keys.insert(name, Some(key));
    }

    /// The key goes with the delivery that it is of.
    fn forget_key(&mut self, name: KeyName, id: DeliveryId) {
        if self.key(&name).is_some_and(|key| key.delivery == id) {
            self.ledger.change(name.receiver, |account| account.keys = account.keys.saturating_sub(1));
            self.keys.insert(name, None);
        }
    }

    /// What of all this is to be written, in the order in which it is written.
    pub(super) fn writes(&self) -> Writes<'_> {
        let mut writes = Writes { rewritten: &self.rewritten, ..Writes::default() };
        for (id, row) in &self.rows {
            match row.change {
                Change::None | Change::NeverWas => {}
                Change::Changed => writes.changed.push((*id, &row.found)),
                Change::Deleted => writes.deleted.push(*id),
                Change::New(number) => writes.added.push((*id, &row.found, number)),
            }
        }
        writes.deleted.sort_unstable();
        writes.changed.sort_unstable_by_key(|(id, _)| *id);
        writes.added.sort_unstable_by_key(|(_, _, number)| *number);
        for (name, key) in &self.keys {
            match key {
                Some(key) if self.before.get(name) != Some(key) => writes.known.push((name, *key)),
                None if self.before.contains_key(name) => writes.forgotten.push(name),
                _ => {}
            }
        }
        writes
    }
}

impl Job {
    /// The content that it brings.
    pub(super) fn written(&self) -> Option<&Written> {
        match self {
            Self::Put(arriving) => Some(&arriving.written),
            Self::Adopt { written, .. } => Some(written),
            _ => None,
        }
    }
}

fn failed(found: &mut Found, failure: &LastFailure) {
    found.failed_at = Some(micros(failure.when));
    // A text of the database holds no zero byte.
    found.failure = Some(crate::store::columns::shortened(&failure.what).replace('\0', ""));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Extent;
    use crate::store::content::{CLEAR, Sealing};
    use crate::store::ledger::Account;
    use crate::store::suite::{at, delivery, failure, id, room};

    const RECEIVER: i64 = 7;

    fn arriving(number: u8, drops: bool) -> Job {
        let new = delivery(number);
        let sealing = Sealing { seal: CLEAR, salt: None };
        let written = Written {
            sealing,
            body: new.body.clone(),
            content_type: None,
            content_encoding: None,
            event_time: None,
        };
        let key = crate::store::EventKey { drop_repeated: drops, ..delivery(1).key };
        let (id, owner, arrived, size) = (new.id, new.owner, new.arrived, new.body.len() as u64);
        Job::Put(Arriving { id, owner, arrived, size, written, key, room: room() })
    }

    fn batch() -> Batch {
        let ledger = Ledger::of(vec![Account::new(RECEIVER, delivery(1).owner)]);
        Batch::new(ledger, Vec::new(), HashMap::new())
    }

    /// What is written, and what a later batch finds.
    fn written(batch: &Batch) -> (Vec<DeliveryId>, Vec<DeliveryId>, usize) {
        let writes = batch.writes();
        let added = writes.added.iter().map(|(id, ..)| *id).collect();
        (added, writes.deleted.clone(), writes.known.len())
    }

    #[test]
    fn copies_in_one_batch_know_each_other() {
        let mut batch = batch();
        assert_eq!(batch.decide(0, &arriving(1, true)), Some(Outcome::Put(Put::Stored)));
        assert_eq!(
            batch.decide(1, &arriving(1, true)),
            Some(Outcome::Put(Put::Stored)),
            "the same call again"
        );
        assert_eq!(batch.decide(1, &arriving(2, true)), Some(Outcome::Put(Put::Repeated(id(1)))));
        assert_eq!(batch.decide(2, &arriving(3, false)), Some(Outcome::Put(Put::Stored)));
        // One key, of the latest of them.
        assert_eq!(written(&batch), (vec![id(1), id(3)], vec![], 1));
        let account = batch.ledger.get(RECEIVER).cloned().unwrap();
        assert_eq!((account.pending, account.keys), (Extent { deliveries: 2, bytes: 12 }, 1));
    }

    #[test]
    fn what_came_and_went_in_one_batch_leaves_its_key() {
        let mut batch = batch();
        batch.decide(0, &arriving(1, true));
        assert_eq!(batch.decide(1, &Job::Done(id(1))), Some(Outcome::Was(true)));
        assert_eq!(batch.decide(2, &Job::Done(id(1))), Some(Outcome::Was(false)));
        assert_eq!(written(&batch), (vec![], vec![], 2));
        let account = batch.ledger.get(RECEIVER).cloned().unwrap();
        assert_eq!((account.pending, account.keys), (Extent::default(), 2));
    }

    #[test]
    fn only_the_claim_that_is_the_rows_changes_it_and_only_once() {
        let mut batch = batch();
        batch.decide(0, &arriving(1, true));
        let mut found = batch.rows.remove(&id(1)).unwrap().found;
        found.claim = Some(5);
        let mut batch = Batch::new(batch.ledger, [(id(1), found)], HashMap::new());
        let park = |claim| Job::Park { id: id(1), claim: Claim(claim), failure: failure("gave up") };
        assert_eq!(batch.decide(0, &park(4)), Some(Outcome::Was(false)));
        assert!(batch.writes().changed.is_empty());
        assert_eq!(batch.decide(1, &park(5)), Some(Outcome::Was(true)));
        assert_eq!(batch.decide(2, &park(5)), Some(Outcome::Was(false)));
        let replay = Job::Replay { id: id(1), now: micros(at(9)) };
        assert_eq!(batch.decide(3, &replay), Some(Outcome::Was(true)));
        assert_eq!(batch.decide(4, &replay), Some(Outcome::Was(false)));
        let writes = batch.writes();
        let (changed, row) = writes.changed[0];
        assert_eq!((changed, row.state, row.due, row.claim), (id(1), PENDING, micros(at(9)), None));
    }

    #[test]
    fn what_belongs_to_a_receiver_that_is_not_locked_is_left_alone() {
        let mut batch = batch();
        batch.decide(0, &arriving(1, true));
        let mut found = batch.rows.remove(&id(1)).unwrap().found;
        found.receiver = RECEIVER + 1;
        let mut batch = Batch::new(batch.ledger, [(id(1), found)], HashMap::new());
        assert_eq!(batch.decide(0, &Job::Done(id(1))), None);
        assert!(batch.writes().deleted.is_empty());
    }
}
