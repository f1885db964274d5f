//! A sender of a platform without an API: how it is set up, changed and shown.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use url::Url;

use super::account::DeliveryLedger;
use super::desk::{Desk, Rhythm, SenderCounts};
use super::disturbances::Disturbances;
use super::error::Error;
use super::platforms::{Platform, ProcessPlan};
use super::random::Random;
use super::wire::Wire;

/// The fastest rhythm: what one task can do at all is far below.
const FASTEST: f64 = 1e6;

/// A sender that starts with the sandbox.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// How it is called; one name, one sender.
    pub name: String,
    /// Which platform it is.
    pub platform: Platform,
    /// Where it sends to; without, it waits until it is told.
    pub target: Option<Url>,
    /// From one event to the next in real time; `None` for no events.
    pub interval: Option<Duration>,
    /// How many events there are; `None` for no end.
    pub events: Option<u64>,
    /// What goes wrong.
    pub disturbances: Disturbances,
}

impl SenderConfig {
    /// A sender that is called as its platform, and does nothing yet.
    #[must_use]
    pub fn of(platform: Platform) -> Self {
        Self {
            name: platform.name().to_owned(),
            platform,
            target: None,
            interval: None,
            events: None,
            disturbances: Disturbances::default(),
        }
    }
}

/// A change to a sender while the sandbox runs; what is absent stays. The sender `gupy` knows the first
/// three.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SenderChange {
    /// Where it sends to.
    pub target: Option<Url>,
    /// How many events there are in a second, for Gupy's with each webhook; 0 for none.
    pub per_second: Option<f64>,
    /// What goes wrong from now on.
    pub disturbances: Option<Disturbances>,
    /// How many events there are before it stops.
    pub events: Option<u64>,
    /// So many of the next events are kept back.
    pub lose: Option<u64>,
    /// Send the platform's test event, now.
    pub sample: bool,
    /// A process with statuses that are known beforehand; its events come before all others.
    pub process: Option<ProcessPlan>,
}

impl SenderChange {
    /// Why it makes no sense, if it does not.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.per_second.is_some_and(|rate| !(0.0..=FASTEST).contains(&rate)) {
            return Some("per_second must be from 0 to 1000000");
        }
        self.disturbances.as_ref().and_then(Disturbances::problem)
    }

    /// The interval that was asked for.
    pub(super) fn interval(&self) -> Option<Option<Duration>> {
        let rate = self.per_second?;
        Some(Duration::try_from_secs_f64(1.0 / rate).ok().filter(|interval| !interval.is_zero()))
    }

    /// Whether it asks for what Gupy's deliveries do not know.
    pub(super) fn is_for_others(&self) -> bool {
        self.events.is_some() || self.lose.is_some() || self.sample || self.process.is_some()
    }
}

/// A sender as `GET /admin/senders` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SenderView {
    /// How it is called.
    pub name: String,
    /// What it has done.
    #[serde(flatten)]
    pub counts: SenderCounts,
}

/// A running sender.
pub(super) struct Post {
    name: String,
    desk: Mutex<Desk>,
    wire: Mutex<Option<Wire>>,
    wake: Notify,
}

impl Post {
    /// A sender whose first event is one interval away from `now`.
    pub(super) fn new(
        config: &SenderConfig,
        now: DateTime<Utc>,
        ledger: Arc<DeliveryLedger>,
    ) -> Result<Self, Error> {
        if config.interval.is_some_and(|interval| interval.is_zero()) {
            return Err(Error::Setting("the interval of a sender must not be zero"));
        }
        if let Some(problem) = config.disturbances.problem() {
            return Err(Error::Setting(problem));
        }
        let platform = config.platform.clone().into_sends();
        let disturbances = config.disturbances.clone();
        let mut desk = Desk::new(platform, Random::from_system()?, disturbances, ledger);
        desk.beat(now, Rhythm { interval: config.interval, events: config.events });
        Ok(Self {
            name: config.name.clone(),
            desk: Mutex::new(desk),
            wire: Mutex::new(config.target.clone().map(Wire::to).transpose()?),
            wake: Notify::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wire(&self) -> MutexGuard<'_, Option<Wire>> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Until somebody wakes it.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn view(&self) -> SenderView {
        SenderView { name: self.name.clone(), counts: self.desk().counts() }
    }

    /// Changes it; the error says what it cannot do.
    pub(super) fn change(&self, now: DateTime<Utc>, change: SenderChange) -> Result<(), &'static str> {
        if let Some(problem) = change.problem() {
            return Err(problem);
        }
        let interval = change.interval();
        if let Some(target) = change.target {
            let wire = Wire::to(target).map_err(|_| "the target must be an http or https URL")?;
            *self.wire() = Some(wire);
        }
        let mut desk = self.desk();
        if let Some(disturbances) = change.disturbances {
            desk.disturb(disturbances);
        }
        if let Some(events) = change.lose {
            desk.lose(events);
        }
        if let Some(plan) = change.process
            && !desk.begin(plan)
        {
            return Err("there are no processes here, too many of them, or none of its statuses");
        }
        if change.sample && !desk.sample(now) {
            return Err("this platform has no test event");
        }
        if interval.is_some() || change.events.is_some() {
            let interval = interval.unwrap_or(desk.rhythm().interval);
            desk.beat(now, Rhythm { interval, events: change.events });
        }
        drop(desk);
        self.wake();
        Ok(())
    }
}
