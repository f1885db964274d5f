//! A store that forgets everything at its end, and fails when it is told to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::gate::clock::Clock;
use crate::store::{
    Adopted, Answer, Claim, DeliveryId, Expectation, Extent, KnownToken, LastFailure, NewDelivery, Owner,
    Put, Room, Row, RowState, Selection, Standstill, Store, StoreError, Taken, Usage,
};

#[derive(Clone)]
pub(in crate::gate) struct Kept {
    pub(in crate::gate) owner: Owner,
    pub(in crate::gate) state: RowState,
    pub(in crate::gate) due: DateTime<Utc>,
    pub(in crate::gate) attempts: u32,
    pub(in crate::gate) refusals: u32,
    pub(in crate::gate) failure: Option<LastFailure>,
    claim: Option<(u64, DateTime<Utc>)>,
    since: DateTime<Utc>,
    duplicate_of: Option<DeliveryId>,
    new: NewDelivery,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<DeliveryId, Kept>,
    expectations: BTreeMap<(String, String), Expectation>,
    standstills: HashMap<String, Vec<Standstill>>,
    tokens: HashMap<String, Vec<KnownToken>>,
    claims: u64,
    faults: HashMap<&'static str, StoreError>,
    calls: HashMap<&'static str, usize>,
}

pub(in crate::gate) struct MemoryStore<C> {
    clock: C,
    state: Mutex<State>,
    /// Where it is shorter than what is asked for.
    longest_lease: Duration,
    /// The method that has no answer yet.
    slow: watch::Sender<Option<&'static str>>,
}

impl<C: Clock> MemoryStore<C> {
    pub(in crate::gate) fn new(clock: C) -> Self {
        Self { clock, state: Mutex::default(), longest_lease: Duration::MAX, slow: watch::Sender::default() }
    }

    pub(in crate::gate) fn with_lease(clock: C, longest_lease: Duration) -> Self {
        Self { longest_lease, ..Self::new(clock) }
    }

    /// This method fails from now on, or no longer does.
    pub(in crate::gate) fn fail(&self, method: &'static str, error: Option<StoreError>) {
        let mut state = self.state.lock().unwrap();
        match error {
            Some(error) => state.faults.insert(method, error),
            None => state.faults.remove(method),
        };
    }

    /// This method has no answer from now on, and all have one that were asked before.
    pub(in crate::gate) fn is_slow(&self, method: Option<&'static str>) {
        self.slow.send_replace(method);
    }

    /// How often it succeeded.
    pub(in crate::gate) fn calls(&self, method: &str) -> usize {
        self.state.lock().unwrap().calls.get(method).copied().unwrap_or(0)
    }

    pub(in crate::gate) fn kept(&self) -> BTreeMap<DeliveryId, Kept> {
        self.state.lock().unwrap().rows.clone()
    }

    pub(in crate::gate) fn count(&self, state: RowState) -> usize {
        self.state.lock().unwrap().rows.values().filter(|row| row.state == state).count()
    }

    /// How many are taken by somebody at this moment.
    pub(in crate::gate) fn claimed(&self) -> usize {
        let now = self.clock.now();
        self.state.lock().unwrap().rows.values().filter(|row| row.is_claimed(now)).count()
    }

    pub(in crate::gate) fn mark(&self, id: DeliveryId, duplicate_of: DeliveryId) {
        self.state.lock().unwrap().rows.get_mut(&id).unwrap().duplicate_of = Some(duplicate_of);
    }

    fn act<T: Send + 'static>(
        &self,
        method: &'static str,
        act: impl FnOnce(&mut State, DateTime<Utc>) -> T,
    ) -> Answer<'_, T> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        let answer = match state.faults.get(method) {
            Some(error) => Err(error.clone()),
            None => {
                *state.calls.entry(method).or_default() += 1;
                Ok(act(&mut state, now))
            }
        };
        let mut slow = self.slow.subscribe();
        Box::pin(async move {
            tokio::task::yield_now().await;
            let _ = slow.wait_for(|slow| *slow != Some(method)).await;
            answer
        })
    }

    /// Changes a row that this claim has.
    fn settle(
        &self,
        method: &'static str,
        id: DeliveryId,
        claim: Claim,
        change: impl FnOnce(&mut Kept),
    ) -> Answer<'_, ()> {
        self.act(method, |state, _| {
            if let Some(row) = state.rows.get_mut(&id)
                && row.state == RowState::Pending
                && row.claim.is_some_and(|(own, _)| own == claim.0)
            {
                row.claim = None;
                change(row);
            }
        })
    }
}

impl Kept {
    fn is_claimed(&self, now: DateTime<Utc>) -> bool {
        self.claim.is_some_and(|(_, until)| until > now)
    }
}

impl<C: Clock> Store for MemoryStore<C> {
    fn digest_key(&self) -> &[u8; 32] {
        &[7; 32]
    }

    fn is_sealing(&self) -> bool {
        false
    }

    fn failed(&self) -> BoxFuture<'_, StoreError> {
        Box::pin(std::future::pending())
    }

    fn put(&self, delivery: NewDelivery) -> Answer<'_, Put> {
        self.act("put", |state, now| {
            let row = Kept {
                owner: delivery.owner.clone(),
                state: RowState::Pending,
                due: now,
                attempts: 0,
                refusals: 0,
                failure: None,
                claim: None,
                since: delivery.arrived,
                duplicate_of: None,
                new: delivery,
            };
            state.rows.insert(row.new.id, row);
            Put::Stored
        })
    }

    fn take<'a>(
        &'a self,
        uid: &'a str,
        most: usize,
        now: DateTime<Utc>,
        lease: Duration,
    ) -> Answer<'a, Vec<Taken>> {
        let lease = TimeDelta::from_std(lease.min(self.longest_lease)).unwrap();
        self.act("take", |state, _| {
            let is_due = |row: &Kept| {
                &*row.owner.uid == uid
                    && row.state == RowState::Pending
                    && row.due <= now
                    && !row.is_claimed(now)
            };
            let mut due: Vec<_> =
                state.rows.values().filter(|row| is_due(row)).map(|row| (row.due, row.new.id)).collect();
            due.sort_unstable();
            let take = |(_, id)| {
                state.claims += 1;
                let row = state.rows.get_mut(&id)?;
                row.claim = Some((state.claims, now + lease));
                Some(Taken {
                    id,
                    claim: Claim(state.claims),
                    arrived: row.new.arrived,
                    body: row.new.body.clone(),
                    content_type: row.new.content_type.clone(),
                    content_encoding: row.new.content_encoding.clone(),
                    event_time: row.new.event_time.clone(),
                    refusals: row.refusals,
                    attempts: row.attempts,
                    since: row.since,
                    event: row.new.key.event.to_vec(),
                    duplicate_of: row.duplicate_of,
                })
            };
            due.into_iter().take(most).filter_map(take).collect()
        })
    }

    fn next_due<'a>(&'a self, uid: &'a str) -> Answer<'a, Option<DateTime<Utc>>> {
        self.act("next_due", |state, now| {
            let waits = |row: &&Kept| {
                &*row.owner.uid == uid && row.state == RowState::Pending && !row.is_claimed(now)
            };
            state.rows.values().filter(waits).map(|row| row.due).min()
        })
    }

    fn done(&self, id: DeliveryId) -> Answer<'_, ()> {
        self.act("done", |state, _| {
            state.rows.remove(&id);
        })
    }

    fn retry(
        &self,
        id: DeliveryId,
        claim: Claim,
        due: DateTime<Utc>,
        refused: bool,
        failure: LastFailure,
    ) -> Answer<'_, ()> {
        self.settle("retry", id, claim, |row| {
            row.due = due;
            row.attempts += 1;
            row.refusals += u32::from(refused);
            row.failure = Some(failure);
        })
    }

    fn give_back(&self, id: DeliveryId, claim: Claim) -> Answer<'_, ()> {
        self.settle("give_back", id, claim, |_| {})
    }

    fn park(&self, id: DeliveryId, claim: Claim, failure: LastFailure) -> Answer<'_, ()> {
        self.settle("park", id, claim, |row| {
            row.state = RowState::Parked;
            row.failure = Some(failure);
        })
    }

    fn park_all<'a>(&'a self, uid: &'a str, failure: LastFailure) -> Answer<'a, u64> {
        self.act("park_all", |state, _| {
            let mut count = 0;
            for row in state.rows.values_mut() {
                if &*row.owner.uid == uid && row.state == RowState::Pending {
                    row.state = RowState::Parked;
                    row.failure = Some(failure.clone());
                    count += 1;
                }
            }
            count
        })
    }

    fn replay(&self, id: DeliveryId, now: DateTime<Utc>) -> Answer<'_, bool> {
        self.act("replay", |state, _| {
            let row = state.rows.get_mut(&id).filter(|row| row.state == RowState::Parked);
            let Some(row) = row else { return false };
            (row.state, row.due, row.since) = (RowState::Pending, now, now);
            (row.attempts, row.refusals, row.claim) = (0, 0, None);
            true
        })
    }

    fn adopt(&self, id: DeliveryId, by: Owner, _: Room, now: DateTime<Utc>) -> Answer<'_, Adopted> {
        self.act("adopt", |state, _| {
            let row = state.rows.get_mut(&id).filter(|row| row.state == RowState::Parked);
            let Some(row) = row else { return Adopted::Absent };
            (row.owner, row.state, row.due, row.since) = (by, RowState::Pending, now, now);
            (row.attempts, row.refusals, row.claim) = (0, 0, None);
            Adopted::Waits
        })
    }

    fn drop_parked(&self, id: DeliveryId) -> Answer<'_, bool> {
        self.act("drop_parked", |state, _| state.rows.remove(&id).is_some())
    }

    fn list<'a>(&'a self, _: &'a Selection, _: Option<DeliveryId>, _: usize) -> Answer<'a, Vec<Row>> {
        self.act("list", |_, _| Vec::new())
    }

    fn show(&self, _: DeliveryId) -> Answer<'_, Option<Row>> {
        self.act("show", |_, _| None)
    }

    fn body(&self, id: DeliveryId) -> Answer<'_, Option<Bytes>> {
        self.act("body", |state, _| state.rows.get(&id).map(|row| row.new.body.clone()))
    }

    fn usage(&self) -> Answer<'_, Vec<Usage>> {
        self.act("usage", |state, _| {
            let mut usages: BTreeMap<Owner, Usage> = BTreeMap::new();
            let none = |owner: &Owner| Usage {
                owner: owner.clone(),
                pending: Extent::default(),
                parked: Extent::default(),
                oldest_pending: None,
                expected: 0,
                expected_parked: 0,
                window_shortened_until: None,
            };
            for row in state.rows.values() {
                let usage = usages.entry(row.owner.clone()).or_insert_with(|| none(&row.owner));
                match row.state {
                    RowState::Pending => usage.pending.deliveries += 1,
                    RowState::Parked => usage.parked.deliveries += 1,
                }
            }
            for one in state.expectations.values() {
                let usage = usages.entry(one.owner.clone()).or_insert_with(|| none(&one.owner));
                *if one.parked { &mut usage.expected_parked } else { &mut usage.expected } += 1;
            }
            usages.into_values().collect()
        })
    }

    fn forget_expired(&self, _: DateTime<Utc>) -> Answer<'_, u64> {
        self.act("forget_expired", |_, _| 0)
    }

    fn expect(&self, mut expectation: Expectation, most: usize) -> Answer<'_, bool> {
        self.act("expect", |state, _| {
            let key = (expectation.owner.uid.to_string(), expectation.id.clone());
            let is_open = |one: &Expectation| *one.owner.uid == *key.0 && !one.parked;
            // Counting takes long where there are many.
            let has_room = state.expectations.len() < most
                || state.expectations.values().filter(|one| is_open(one)).count() < most;
            let open = state.expectations.get(&key).filter(|one| is_open(one));
            let may = has_room || open.is_some();
            if may {
                expectation.handed_on = open.map_or(expectation.handed_on, |open| open.handed_on);
                state.expectations.insert(key, expectation);
            }
            may
        })
    }

    fn expectations_due<'a>(
        &'a self,
        uid: &'a str,
        now: DateTime<Utc>,
        most: usize,
    ) -> Answer<'a, Vec<Expectation>> {
        self.act("expectations_due", |state, _| {
            let is_due = |one: &&Expectation| &*one.owner.uid == uid && !one.parked && one.due <= now;
            let mut due: Vec<Expectation> = state.expectations.values().filter(is_due).cloned().collect();
            due.sort_by_key(|one| one.due);
            due.truncate(most);
            due
        })
    }

    fn expectation<'a>(&'a self, uid: &'a str, id: &'a str) -> Answer<'a, Option<Expectation>> {
        self.act("expectation", |state, _| state.expectations.get(&(uid.to_owned(), id.to_owned())).cloned())
    }

    fn expectation_changed(&self, expectation: Expectation) -> Answer<'_, ()> {
        self.act("expectation_changed", |state, _| {
            let key = (expectation.owner.uid.to_string(), expectation.id.clone());
            if let Some(known) = state.expectations.get_mut(&key)
                && known.since == expectation.since
            {
                *known = expectation;
            }
        })
    }

    fn expectation_met<'a>(&'a self, uid: &'a str, id: &'a str) -> Answer<'a, ()> {
        self.act("expectation_met", |state, _| {
            state.expectations.remove(&(uid.to_owned(), id.to_owned()));
        })
    }

    fn expectations<'a>(&'a self, selection: &'a Selection, most: usize) -> Answer<'a, Vec<Expectation>> {
        self.act("expectations", |state, _| {
            let is_meant = |one: &&Expectation| {
                let is_in_state =
                    selection.state.is_none_or(|state| (state == RowState::Parked) == one.parked);
                selection.means(&one.owner) && is_in_state
            };
            state.expectations.values().filter(is_meant).take(most).cloned().collect()
        })
    }

    fn park_expectations<'a>(&'a self, uid: &'a str, now: DateTime<Utc>) -> Answer<'a, u64> {
        self.act("park_expectations", |state, _| {
            let is_open = |one: &&mut Expectation| &*one.owner.uid == uid && !one.parked;
            let open = state.expectations.values_mut().filter(is_open);
            open.map(|one| (one.parked, one.due) = (true, now)).count() as u64
        })
    }

    fn revive_expectations<'a>(&'a self, uid: &'a str, now: DateTime<Utc>, _: usize) -> Answer<'a, u64> {
        self.act("revive_expectations", |state, _| {
            let is_parked = |one: &&mut Expectation| &*one.owner.uid == uid && one.parked;
            let parked = state.expectations.values_mut().filter(is_parked);
            parked.map(|one| (one.parked, one.since, one.due) = (false, now, now)).count() as u64
        })
    }

    fn forget_expectations(&self, before: DateTime<Utc>) -> Answer<'_, u64> {
        self.act("forget_expectations", |state, _| {
            let all = state.expectations.len();
            state.expectations.retain(|_, one| !one.parked || one.due >= before);
            (all - state.expectations.len()) as u64
        })
    }

    fn tokens<'a>(&'a self, uid: &'a str) -> Answer<'a, Vec<KnownToken>> {
        self.act("tokens", |state, _| state.tokens.get(uid).cloned().unwrap_or_default())
    }

    fn set_tokens<'a>(&'a self, uid: &'a str, tokens: Vec<KnownToken>) -> Answer<'a, ()> {
        self.act("set_tokens", |state, _| drop(state.tokens.insert(uid.to_owned(), tokens)))
    }

    fn standstills<'a>(&'a self, uid: &'a str) -> Answer<'a, Vec<Standstill>> {
        self.act("standstills", |state, _| state.standstills.get(uid).cloned().unwrap_or_default())
    }

    fn set_standstills<'a>(&'a self, uid: &'a str, standstills: Vec<Standstill>) -> Answer<'a, ()> {
        self.act("set_standstills", |state, _| {
            state.standstills.insert(uid.to_owned(), standstills);
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        self.act("close", |_, _| ())
    }
}
