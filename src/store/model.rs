//! Random sequences of calls, with crashes between them, beside a model that is a handful of maps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::suite::{Ground, at, digest, owner};
use super::*;

/// One call. Numbers of deliveries count those that were put.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Put { receiver: u8, event: u8, body: u8, drops: bool, is_tight: bool },
    Take { receiver: u8, most: usize },
    Done { delivery: usize },
    Retry { taken: usize, after: i64, refused: bool },
    Park { taken: usize },
    GiveBack { taken: usize },
    ParkAll { receiver: u8 },
    Replay { delivery: usize },
    Adopt { delivery: usize, by: u8, is_tight: bool },
    Drop { delivery: usize },
    Forget,
    Pass { seconds: i64 },
    Crash,
}

pub(super) fn calls() -> impl Strategy<Value = Vec<Call>> {
    prop::collection::vec(call(), 1..80)
}

fn call() -> impl Strategy<Value = Call> {
    let which = 0..40usize;
    prop_oneof![
        8 => (0..3u8, 0..4u8, 0..2u8, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
            |(receiver, event, body, drops, is_tight)| Call::Put { receiver, event, body, drops, is_tight }
        ),
        5 => (0..3u8, 1..4usize).prop_map(|(receiver, most)| Call::Take { receiver, most }),
        3 => which.clone().prop_map(|delivery| Call::Done { delivery }),
        3 => (which.clone(), 0..200i64, any::<bool>())
            .prop_map(|(taken, after, refused)| Call::Retry { taken, after, refused }),
        3 => which.clone().prop_map(|taken| Call::Park { taken }),
        1 => which.clone().prop_map(|taken| Call::GiveBack { taken }),
        1 => (0..3u8).prop_map(|receiver| Call::ParkAll { receiver }),
        2 => which.clone().prop_map(|delivery| Call::Replay { delivery }),
        2 => (which.clone(), 0..3u8, prop::bool::weighted(0.2))
            .prop_map(|(delivery, by, is_tight)| Call::Adopt { delivery, by, is_tight }),
        2 => which.prop_map(|delivery| Call::Drop { delivery }),
        1 => Just(Call::Forget),
        2 => (0..400i64).prop_map(|seconds| Call::Pass { seconds }),
        1 => Just(Call::Crash),
    ]
}

const WINDOW: i64 = 600;
const LEASE: i64 = 60;

const TIGHT: Room = Room {
    pending: Extent { deliveries: 3, bytes: 40 },
    parked: Extent { deliveries: 2, bytes: 30 },
    namespace: Extent { deliveries: 4, bytes: 60 },
    leaves_some: false,
};

#[derive(Clone, Debug, PartialEq)]
struct ModelRow {
    receiver: u8,
    event: u8,
    body: u8,
    key_expires: i64,
    is_parked: bool,
    due: i64,
    since: i64,
    size: u64,
    attempts: u32,
    refusals: u32,
    claim: Option<(Claim, i64)>,
    /// Order of arrival, for those that are due at the same time.
    order: usize,
}

#[derive(Default)]
struct Model {
    now: i64,
    put: Vec<DeliveryId>,
    taken: Vec<(DeliveryId, Claim)>,
    rows: BTreeMap<DeliveryId, ModelRow>,
    bodies: BTreeMap<(u8, u8, u8), (DeliveryId, i64)>,
    answered: BTreeMap<(u8, u8), (DeliveryId, i64)>,
}

/// The second has the name of the first.
fn receiver(number: u8) -> Owner {
    Owner { uid: number.to_string().into(), ..owner(if number == 2 { "b" } else { "a" }, "one") }
}

fn full(held: Extent, room: Extent, size: u64) -> bool {
    held.deliveries >= room.deliveries || held.bytes + size > room.bytes
}

fn namespace(number: u8) -> bool {
    number == 2
}

fn failure() -> LastFailure {
    LastFailure { what: "answered 500".to_owned(), when: at(0) }
}

impl Model {
    fn crash(&mut self, ground: &dyn Ground) {
        if ground.claims_end_with_the_process() {
            self.rows.values_mut().for_each(|row| row.claim = None);
        }
    }

    fn held(&self, is_meant: impl Fn(&ModelRow) -> bool) -> Extent {
        let rows = self.rows.values().filter(|row| is_meant(row));
        rows.fold(Extent::default(), |sum, row| Extent {
            deliveries: sum.deliveries + 1,
            bytes: sum.bytes + row.size,
        })
    }

    fn expected_put(&mut self, new: &NewDelivery, receiver: u8, event: u8, body: u8) -> Put {
        let known =
            self.bodies.get(&(receiver, event, body)).filter(|(_, expires)| *expires > self.now).copied();
        let pending = self.held(|row| row.receiver == receiver && !row.is_parked);
        if let Some((earlier, _)) = known {
            let drops = new.key.drop_repeated;
            if let Some(row) = self.rows.get_mut(&earlier).filter(|row| drops && row.is_parked) {
                if full(pending, new.room.pending, row.size) {
                    return Put::Full(Bound::Pending);
                }
                (row.is_parked, row.due, row.since) = (false, self.now, self.now);
                (row.attempts, row.refusals) = (0, 0);
                return Put::Revived(earlier);
            }
            if new.key.drop_repeated {
                return Put::Repeated(earlier);
            }
        }
        let size = new.body.len() as u64;
        if full(self.held(|row| row.receiver == receiver && row.is_parked), new.room.parked, 0) {
            return Put::Full(Bound::Parked);
        }
        if full(pending, new.room.pending, size) {
            return Put::Full(Bound::Pending);
        }
        if full(self.held(|row| namespace(row.receiver) == namespace(receiver)), new.room.namespace, size) {
            return Put::Full(Bound::Namespace);
        }
        let row = ModelRow {
            receiver,
            event,
            body,
            key_expires: self.now + WINDOW,
            is_parked: false,
            due: self.now,
            since: self.now,
            size,
            attempts: 0,
            refusals: 0,
            claim: None,
            order: self.put.len(),
        };
        self.rows.insert(new.id, row);
        self.bodies.insert((receiver, event, body), (new.id, self.now + WINDOW));
        Put::Stored
    }

    fn expected_adopt(&mut self, id: DeliveryId, by: u8, room: Room) -> Adopted {
        let Some(row) = self.rows.get(&id).filter(|row| row.is_parked).cloned() else {
            return Adopted::Absent;
        };
        if namespace(row.receiver) != namespace(by) {
            return Adopted::Absent;
        }
        let parked = self.held(|other| other.receiver == by && other.is_parked);
        if row.receiver != by && full(parked, room.parked, 0) {
            return Adopted::Full(Bound::Parked);
        }
        if full(self.held(|other| other.receiver == by && !other.is_parked), room.pending, row.size) {
            return Adopted::Full(Bound::Pending);
        }
        if row.receiver != by {
            let of = |receiver| (receiver, row.event, row.body);
            if self.bodies.get(&of(row.receiver)).is_some_and(|(key, _)| *key == id) {
                self.bodies.remove(&of(row.receiver));
            }
            let is_known = self.bodies.get(&of(by)).is_some_and(|(_, expires)| *expires > self.now);
            if !is_known && row.key_expires > self.now {
                self.bodies.insert(of(by), (id, row.key_expires));
            }
            let answered = self.answered.get(&(row.receiver, row.event)).copied();
            if let Some((answered, expires)) = answered.filter(|(_, expires)| *expires > self.now) {
                let there = self.answered.entry((by, row.event)).or_insert((answered, expires));
                there.1 = there.1.max(expires);
            }
        }
        let (now, receiver) = (self.now, by);
        let revived = ModelRow { receiver, is_parked: false, due: now, since: now, ..row };
        self.rows.insert(id, ModelRow { attempts: 0, refusals: 0, ..revived });
        Adopted::Waits
    }

    /// What is taken, in its order.
    fn expected_take(&self, receiver: u8, most: usize) -> Vec<DeliveryId> {
        let mut due: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, row)| row.receiver == receiver && !row.is_parked && row.due <= self.now)
            .filter(|(_, row)| row.claim.is_none_or(|(_, until)| until <= self.now))
            .map(|(id, row)| (row.due, row.order, *id))
            .collect();
        due.sort();
        due.into_iter().take(most).map(|(.., id)| id).collect()
    }

    fn claimed(&mut self, id: DeliveryId, claim: Claim) -> Option<&mut ModelRow> {
        let row = self.rows.get_mut(&id)?;
        (!row.is_parked && row.claim.is_some_and(|(held, _)| held == claim)).then_some(row)
    }

    fn done(&mut self, id: DeliveryId) {
        if let Some(row) = self.rows.remove(&id) {
            let answer = self.answered.entry((row.receiver, row.event)).or_insert((id, row.key_expires));
            answer.1 = answer.1.max(row.key_expires);
        }
    }

    fn drop_parked(&mut self, id: DeliveryId) -> bool {
        let Some(row) = self.rows.get(&id).filter(|row| row.is_parked).cloned() else { return false };
        self.rows.remove(&id);
        let key = (row.receiver, row.event, row.body);
        if self.bodies.get(&key).is_some_and(|(of, _)| *of == id) {
            self.bodies.remove(&key);
        }
        true
    }

    fn duplicate_of(&self, row: &ModelRow) -> Option<DeliveryId> {
        self.answered
            .get(&(row.receiver, row.event))
            .filter(|(_, expires)| *expires > self.now)
            .map(|(id, _)| *id)
    }
}

fn body(event: u8, body: u8) -> String {
    format!("event {event} body {body}{}", "x".repeat(usize::from(body) * 7))
}

async fn apply(call: Call, model: &mut Model, open: &mut Option<Arc<dyn Store>>, ground: &dyn Ground) {
    let store = match open {
        Some(store) => store,
        None => open.insert(ground.open().await),
    };
    let pick = |index: usize, length: usize| (length > 0).then(|| index % length);
    let now = at(model.now);
    match call {
        Call::Put { receiver: number, event, body: which, drops, is_tight } => {
            let count = u32::try_from(model.put.len()).unwrap();
            let mut random = [0; 10];
            random[6..].copy_from_slice(&count.to_be_bytes());
            let room = if is_tight { TIGHT } else { crate::store::suite::room() };
            let new = NewDelivery {
                id: DeliveryId::new(now, random),
                owner: receiver(number),
                arrived: now,
                body: body(event, which).into(),
                content_type: None,
                content_encoding: None,
                event_time: None,
                key: EventKey {
                    event: digest(&event.to_string()),
                    body: digest(&body(event, which)),
                    window: Duration::from_secs(WINDOW.unsigned_abs()),
                    drop_repeated: drops,
                },
                room,
            };
            let expected = model.expected_put(&new, number, event, which);
            model.put.push(new.id);
            assert_eq!(store.put(new).await, Ok(expected));
        }
        Call::Take { receiver: number, most } => {
            let expected = model.expected_take(number, most);
            let lease = Duration::from_secs(LEASE.unsigned_abs());
            let taken = store.take(&receiver(number).uid, most, now, lease).await.unwrap();
            assert_eq!(taken.iter().map(|taken| taken.id).collect::<Vec<_>>(), expected);
            for taken in taken {
                let duplicate_of = model.duplicate_of(&model.rows[&taken.id]);
                let row = model.rows.get_mut(&taken.id).unwrap();
                assert_eq!(taken.body, body(row.event, row.body));
                assert_eq!(
                    (taken.attempts, taken.refusals, taken.since),
                    (row.attempts, row.refusals, at(row.since))
                );
                assert_eq!(taken.duplicate_of, duplicate_of);
                row.claim = Some((taken.claim, model.now + LEASE));
                row.attempts += u32::from(ground.counts_what_is_taken());
                model.taken.push((taken.id, taken.claim));
            }
        }
        Call::Done { delivery } => {
            let Some(index) = pick(delivery, model.put.len()) else { return };
            let id = model.put[index];
            model.done(id);
            store.done(id).await.unwrap();
        }
        Call::Retry { taken, after, refused } => {
            let Some(index) = pick(taken, model.taken.len()) else { return };
            let (id, claim) = model.taken[index];
            let due = model.now + after;
            if let Some(row) = model.claimed(id, claim) {
                row.due = due;
                row.attempts += u32::from(!ground.counts_what_is_taken());
                row.refusals += u32::from(refused);
                row.claim = None;
            }
            store.retry(id, claim, at(due), refused, failure()).await.unwrap();
        }
        Call::Park { taken } => {
            let Some(index) = pick(taken, model.taken.len()) else { return };
            let (id, claim) = model.taken[index];
            if let Some(row) = model.claimed(id, claim) {
                row.is_parked = true;
                row.attempts += u32::from(!ground.counts_what_is_taken());
                row.claim = None;
            }
            store.park(id, claim, failure()).await.unwrap();
        }
        Call::GiveBack { taken } => {
            let Some(index) = pick(taken, model.taken.len()) else { return };
            let (id, claim) = model.taken[index];
            if let Some(row) = model.claimed(id, claim) {
                row.claim = None;
                row.attempts -= u32::from(ground.counts_what_is_taken());
            }
            store.give_back(id, claim).await.unwrap();
        }
        Call::ParkAll { receiver: number } => {
            let mut parked = 0;
            for row in model.rows.values_mut().filter(|row| row.receiver == number && !row.is_parked) {
                row.is_parked = true;
                row.claim = None;
                parked += 1;
            }
            assert_eq!(store.park_all(&receiver(number).uid, failure()).await, Ok(parked));
        }
        Call::Replay { delivery } => {
            let Some(index) = pick(delivery, model.put.len()) else { return };
            let id = model.put[index];
            let row = model.rows.get_mut(&id).filter(|row| row.is_parked);
            let expected = row.is_some();
            if let Some(row) = row {
                (row.is_parked, row.due, row.since) = (false, model.now, model.now);
                (row.attempts, row.refusals) = (0, 0);
            }
            assert_eq!(store.replay(id, now).await, Ok(expected));
        }
        Call::Adopt { delivery, by, is_tight } => {
            let Some(index) = pick(delivery, model.put.len()) else { return };
            let id = model.put[index];
            let room = if is_tight { TIGHT } else { crate::store::suite::room() };
            let expected = model.expected_adopt(id, by, room);
            assert_eq!(store.adopt(id, receiver(by), room, now).await, Ok(expected));
        }
        Call::Drop { delivery } => {
            let Some(index) = pick(delivery, model.put.len()) else { return };
            let id = model.put[index];
            let expected = model.drop_parked(id);
            assert_eq!(store.drop_parked(id).await, Ok(expected));
        }
        Call::Forget => {
            let before = model.bodies.len() + model.answered.len();
            model.bodies.retain(|_, (_, expires)| *expires > model.now);
            model.answered.retain(|_, (_, expires)| *expires > model.now);
            let forgotten = before - model.bodies.len() - model.answered.len();
            assert_eq!(store.forget_expired(now).await, Ok(forgotten as u64));
        }
        Call::Pass { seconds } => model.now += seconds,
        Call::Crash => {
            // The next call opens it again.
            *open = None;
            model.crash(ground);
        }
    }
}

/// All rows, and that what is counted is what is there.
async fn compare(model: &Model, store: &dyn Store) {
    let rows = store.list(&Selection::default(), None, 1000).await.unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.id, row.owner.clone(), row.state == RowState::Parked, row.size, row.attempts))
        .collect();
    let expected: Vec<_> = model
        .rows
        .iter()
        .map(|(id, row)| (*id, receiver(row.receiver), row.is_parked, row.size, row.attempts))
        .collect();
    assert_eq!(found, expected);
    for number in 0..3 {
        let usage = store.usage().await.unwrap().into_iter().find(|usage| usage.owner == receiver(number));
        let (pending, parked) = usage.map_or_else(Default::default, |usage| (usage.pending, usage.parked));
        assert_eq!(pending, model.held(|row| row.receiver == number && !row.is_parked));
        assert_eq!(parked, model.held(|row| row.receiver == number && row.is_parked));
    }
}

/// Does all of it on fresh ground, and looks at what is left.
pub(super) async fn follow(ground: &dyn Ground, calls: Vec<Call>) {
    let mut open = None;
    let mut model = Model::default();
    for call in calls {
        apply(call, &mut model, &mut open, ground).await;
    }
    if let Some(store) = open {
        compare(&model, &*store).await;
    }
    model.crash(ground);
    let store = ground.open().await;
    compare(&model, &*store).await;
    drop(store);
    let expected = (model.bodies.len() + model.answered.len()) as u64;
    assert_eq!(ground.keys().await, (expected, expected));
}
