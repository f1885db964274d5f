//! Sends Gupy's deliveries when they are due, over real connections, to the own receiver or elsewhere.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderName;
use tokio::task::JoinSet;
use url::Url;

use super::Error;
use super::ledger::Outcome;
use super::receiver::Verdict;
use super::server::Shared;
use super::wire::{Load, Wire};
use super::world::Parcel;
use crate::secret::SecretText;

/// Deliveries in flight at the same time.
const AT_ONCE: usize = 64;

/// Gupy waits this long for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The loop looks again after this long even if nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Where deliveries go.
#[derive(Clone)]
pub(super) struct Sender {
    wire: Wire,
    own_receiver: bool,
}

impl Sender {
    /// `elsewhere`, or the own receiver at `base_url`.
    pub(super) fn new(elsewhere: Option<Url>, base_url: &str) -> Result<Self, Error> {
        let own_receiver = elsewhere.is_none();
        let url = match elsewhere {
            Some(url) => url,
            None => Url::parse(&format!("{base_url}/receive/"))
                .map_err(|_| Error::Setting("the address makes no URL"))?,
        };
        Ok(Self { wire: Wire::to(url)?, own_receiver })
    }

    async fn send(&self, parcel: &Parcel) -> (Outcome, Option<u16>) {
        let Some((wire, headers)) = self.way(parcel) else {
            return (Outcome::Unanswered, None);
        };
        let load =
            Load { headers: &headers, body: &parcel.body, timeout: TIMEOUT, breakage: parcel.breakage };
        let answer = wire.send(load).await;
        let outcome = match answer.status {
            Some(200) => Outcome::Accepted,
            Some(401) if self.own_receiver => {
                let body = answer.body.unwrap_or_default();
                serde_json::from_slice(body.as_bytes())
                    .map_or(Outcome::Refused, |verdict: Verdict| verdict.outcome)
            }
            Some(_) => Outcome::Refused,
            None => Outcome::Unanswered,
        };
        (outcome, answer.status)
    }

    fn way(&self, parcel: &Parcel) -> Option<(Wire, Vec<(HeaderName, SecretText)>)> {
        let wire =
            if self.own_receiver { self.wire.below(&parcel.attempt.webhook)? } else { self.wire.clone() };
        let named =
            |(name, value): &(String, SecretText)| Some((HeaderName::try_from(name).ok()?, value.clone()));
        let headers = parcel.load.headers.iter().map(named).collect::<Option<_>>()?;
        Some((wire, headers))
    }
}

/// Sends until it is aborted.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut in_flight = JoinSet::new();
    loop {
        let mut wait = IDLE;
        while in_flight.len() < AT_ONCE {
            let (mut world, now) = shared.lock_now();
            let Some(parcel) = world.next_parcel(now) else {
                let due = world.schedule.next_due();
                wait = due.map_or(IDLE, |due| (due - now).to_std().unwrap_or_default());
                break;
            };
            drop(world);
            in_flight.spawn(deliver(Arc::clone(&shared), shared.gupy().clone(), parcel));
        }
        tokio::select! {
            () = shared.wake.notified() => {}
            Some(_) = in_flight.join_next(), if !in_flight.is_empty() => {}
            () = tokio::time::sleep(wait.min(IDLE)) => {}
        }
    }
}

async fn deliver(shared: Arc<Shared>, sender: Sender, parcel: Parcel) {
    let (outcome, answer) = sender.send(&parcel).await;
    let real = |provider| shared.clock.real(provider);
    let (mut world, now) = shared.lock_now();
    world.delivered(now, parcel, outcome, answer, real);
}
