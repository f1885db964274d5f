//! Sends what is due, over real connections, to the own receiver or elsewhere.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, Method, header::USER_AGENT};
use tokio::task::JoinSet;
use url::Url;

use super::Error;
use super::ledger::Outcome;
use super::receiver::Verdict;
use super::server::Shared;
use super::world::Parcel;
use crate::http;
use crate::secret::bounds::Bounds;

/// Deliveries in flight at the same time.
const AT_ONCE: usize = 64;

/// Gupy waits this long for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The loop looks again after this long even if nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Where deliveries go.
#[derive(Clone)]
pub(super) struct Sender {
    client: http::Client,
    url: Url,
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
        // The one destination that whoever runs the sandbox named, or the sandbox itself.
        let place = url[url::Position::BeforeScheme..url::Position::AfterPort].trim_start_matches("https://");
        let allowed = place.parse().map_err(|_| Error::Setting("deliveries need an http or https URL"))?;
        let config = http::Config {
            destinations: http::DestinationPolicy::new(vec![allowed]),
            ..http::Config::default()
        };
        let client = http::Client::new(config).map_err(|e| Error::Deliveries(e.to_string()))?;
        Ok(Self { client, url, own_receiver })
    }

    async fn send(&self, parcel: &Parcel) -> (Outcome, Option<u16>) {
        let Some(request) = self.request(parcel) else {
            return (Outcome::Unanswered, None);
        };
        let answer = match self.client.send(request).await {
            Ok(answer) => answer,
            Err(http::Error::Redirect { status, .. }) => return (Outcome::Refused, Some(status)),
            Err(_) => return (Outcome::Unanswered, None),
        };
        let outcome = match answer.status {
            200 => Outcome::Accepted,
            401 if self.own_receiver => {
                let body = answer.body.unwrap_or_default();
                serde_json::from_slice(body.as_bytes())
                    .map_or(Outcome::Refused, |verdict: Verdict| verdict.outcome)
            }
            _ => Outcome::Refused,
        };
        (outcome, Some(answer.status))
    }

    fn request(&self, parcel: &Parcel) -> Option<http::Request> {
        let url =
            if self.own_receiver { self.url.join(&parcel.attempt.webhook).ok()? } else { self.url.clone() };
        let mut headers = Vec::with_capacity(parcel.load.headers.len() + 1);
        for (name, value) in &parcel.load.headers {
            headers.push((HeaderName::try_from(name).ok()?, value.clone()));
        }
        if !headers.iter().any(|(name, _)| name == USER_AGENT) {
            headers.push((USER_AGENT, "hookkeeper-sandbox".into()));
        }
        Some(http::Request {
            bounds: Bounds::default(),
            method: Method::POST,
            url,
            headers,
            // No content type of its own: whether there is one depends on the stored headers.
            body: Some((String::new(), parcel.body.as_str().into())),
            timeout: TIMEOUT,
        })
    }
}

/// Sends until it is aborted.
pub(super) async fn run(shared: Arc<Shared>, sender: Sender) {
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
            in_flight.spawn(deliver(Arc::clone(&shared), sender.clone(), parcel));
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
