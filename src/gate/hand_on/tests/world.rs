//! A store, an application, receivers, and what was told of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::application::Application;
use super::memory::MemoryStore;
use crate::api::{DuplicateAction, Mode};
use crate::gate::clock::{Clock, SteadyClock};
use crate::gate::hand_on::{HandingOn, Nudge, Options, Receivers};
use crate::gate::known::Known;
use crate::gate::observer::{Fact, Observer};
use crate::gate::receiver::{Destination, Duplicates, EventName, Forward, Proof, Receiver};
use crate::store::{DeliveryId, EventKey, Extent, NewDelivery, Owner, Room, Store, StoreError};

pub(in crate::gate) fn owner(namespace: &str, name: &str) -> Owner {
    Owner { namespace: namespace.into(), name: name.into(), uid: format!("{namespace}-{name}").into() }
}

pub(in crate::gate) fn receiver(namespace: &str, name: &str) -> Receiver {
    let all = Extent { deliveries: 100_000, bytes: 1 << 30 };
    Receiver {
        owner: owner(namespace, name),
        generation: 1,
        created: None,
        path: format!("/{namespace}/{name}"),
        proof: Proof::None,
        source_ranges: Vec::new(),
        max_body: 1 << 20,
        max_pending: all,
        max_parked: all,
        hand_on: None,
        test_event: None,
        duplicates: Duplicates {
            key: EventName::Body,
            window: Duration::from_secs(600),
            action: DuplicateAction::Mark,
        },
        event_name: None,
        event_time: None,
        content_type: None,
        success: 200,
        mode: Mode::Stored,
        forward: Forward {
            to: Destination::Service { name: "billing".into(), port: 8080, path: format!("/{name}") },
            timeout: Duration::from_secs(10),
            max_concurrent: 10,
            max_attempts: 50,
            interval: Duration::from_secs(5),
            max_interval: Duration::from_secs(600),
        },
        retention: Duration::from_secs(72 * 3600),
        suspended: false,
        requests_per_second: 1_000,
        revoked_before: None,
        overlap: Duration::from_secs(7200),
        sealed_only: false,
        removed_after: None,
        fallback: None,
    }
}

/// What was told, in short words.
#[derive(Default)]
pub(in crate::gate) struct Told(Mutex<Vec<String>>);

impl Told {
    pub(in crate::gate) fn count(&self, word: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|told| told.starts_with(word)).count()
    }

    pub(in crate::gate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Told {
    fn saw(&self, owner: &Owner, fact: Fact<'_>) {
        let text = match fact {
            Fact::HandedOn { attempts, marked, .. } => format!("HandedOn after {attempts}, {marked}"),
            Fact::AttemptFailed { why, .. } => format!("AttemptFailed: {why}"),
            Fact::Parked { why, .. } => format!("Parked: {why}"),
            Fact::Paused { wait, why } => format!("Paused for {wait:?}: {why}"),
            Fact::Resumed => "Resumed".to_owned(),
            Fact::NotRecorded { why, .. } => format!("NotRecorded: {why}"),
            Fact::ParkedAll { count, why } => format!("ParkedAll: {count}: {why}"),
            other => format!("{other:?}"),
        };
        let _ = owner;
        self.0.lock().unwrap().push(text);
    }
}

pub(super) struct World {
    pub(super) clock: SteadyClock,
    pub(super) store: Arc<MemoryStore<SteadyClock>>,
    pub(super) application: Arc<Application>,
    pub(super) told: Arc<Told>,
    pub(super) nudge: Nudge,
    pub(super) receivers: watch::Sender<Receivers>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<Result<(), StoreError>>>,
    next: Mutex<u128>,
}

impl World {
    pub(super) fn start(application: &Arc<Application>, receivers: Vec<Receiver>) -> Self {
        Self::start_with(application, receivers, |_| {}, MemoryStore::new)
    }

    pub(super) fn start_with(
        application: &Arc<Application>,
        receivers: Vec<Receiver>,
        options: impl FnOnce(&mut Options),
        store: impl FnOnce(SteadyClock) -> MemoryStore<SteadyClock>,
    ) -> Self {
        let mut world = Self::prepare(application, receivers, store);
        world.go_on(options);
        world
    }

    /// Everything is there, and nothing runs.
    pub(super) fn prepare(
        application: &Arc<Application>,
        receivers: Vec<Receiver>,
        store: impl FnOnce(SteadyClock) -> MemoryStore<SteadyClock>,
    ) -> Self {
        let clock = SteadyClock::starting("2026-11-27T03:00:00Z".parse().unwrap());
        Self {
            clock,
            store: Arc::new(store(clock)),
            application: Arc::clone(application),
            told: Arc::default(),
            nudge: Nudge::default(),
            receivers: watch::Sender::new(by_uid(receivers)),
            stop: None,
            running: None,
            next: Mutex::new(0),
        }
    }

    pub(super) fn go_on(&mut self, options: impl FnOnce(&mut Options)) {
        let mut bits = 0_u64;
        let mut chosen = Options::default();
        // The same in each run.
        let numbers = Mutex::new(move || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bits >> 16
        });
        chosen.random = Arc::new(move || (*numbers.lock().unwrap())());
        options(&mut chosen);
        let handing_on = HandingOn::new(
            Arc::clone(&self.store) as Arc<dyn Store>,
            Arc::clone(&self.application),
            self.receivers.subscribe(),
            Arc::clone(&self.told) as Arc<dyn Observer>,
            Arc::new(self.clock),
            chosen,
        );
        self.nudge = handing_on.nudge();
        let (stop, stopped) = oneshot::channel();
        self.stop = Some(stop);
        self.running = Some(tokio::spawn(handing_on.run(async move {
            let _ = stopped.await;
        })));
    }

    pub(super) fn declare(&self, receivers: Vec<Receiver>) {
        self.receivers.send_replace(by_uid(receivers));
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// A delivery that was acknowledged.
    pub(super) async fn deliver(&self, owner: &Owner, body: &str) -> DeliveryId {
        let id = self.deliver_quietly(owner, body).await;
        self.nudge.stored(&owner.uid);
        id
    }

    /// The same, by another process.
    pub(super) async fn deliver_quietly(&self, owner: &Owner, body: &str) -> DeliveryId {
        self.deliver_of_event(owner, body, None).await
    }

    /// The same, of this event; without one, of an event of its own.
    pub(super) async fn deliver_of_event(&self, owner: &Owner, body: &str, event: Option<u8>) -> DeliveryId {
        let number = {
            let mut next = self.next.lock().unwrap();
            *next += 1;
            *next
        };
        let event = event.map_or([number, u128::MAX], |event| [event.into(), 0]);
        let event = event.map(u128::to_be_bytes).concat().try_into().unwrap();
        let random = number.to_be_bytes()[6..].try_into().unwrap();
        let all = Extent { deliveries: 1_000_000, bytes: 1 << 40 };
        let delivery = NewDelivery {
            id: DeliveryId::new(self.now(), random),
            owner: owner.clone(),
            arrived: self.now(),
            body: Bytes::from(body.to_owned()),
            content_type: Some("application/json".to_owned()),
            content_encoding: None,
            event_time: Some("2026-11-27".to_owned()),
            key: EventKey { event, body: [0; 32], window: Duration::ZERO, drop_repeated: false },
            room: Room { pending: all, parked: all, namespace: all, leaves_some: false },
        };
        let id = delivery.id;
        self.store.put(delivery).await.unwrap();
        id
    }

    /// Lets this much time pass.
    pub(super) async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    pub(super) fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(super) async fn stop(&mut self) -> Result<(), StoreError> {
        self.ask_to_stop();
        self.running.take().unwrap().await.unwrap()
    }

    pub(super) async fn ended(&mut self) -> Result<(), StoreError> {
        self.running.take().unwrap().await.unwrap()
    }
}

pub(in crate::gate) fn by_uid(receivers: Vec<Receiver>) -> Receivers {
    and_refused(receivers, &[])
}

/// These, and some that are there and have no valid version.
pub(in crate::gate) fn and_refused(receivers: Vec<Receiver>, refused: &[&str]) -> Receivers {
    let entry = |receiver: Receiver| (Arc::clone(&receiver.owner.uid), Arc::new(receiver));
    let refused: BTreeSet<_> = refused.iter().map(|uid| Arc::from(*uid)).collect();
    Arc::new(Known::new(receivers.into_iter().map(entry).collect(), refused))
}
