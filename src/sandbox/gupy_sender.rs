//! Where Gupy's deliveries go, and what the answer means.

use std::time::Duration;

use axum::http::HeaderName;
use serde::{Deserialize, Serialize};
use url::Url;

use super::error::Error;
use super::ledger::Outcome;
use super::wire::{Load, Wire};
use super::world::Parcel;
use crate::secret::SecretText;

/// Gupy waits this long for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The body of the own receiver's answer, by which the sender learns why it was refused.
#[derive(Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
}

/// Where deliveries go.
#[derive(Clone)]
pub(super) struct GupySender {
    wire: Wire,
    own_receiver: bool,
}

impl GupySender {
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

    /// Sends it once; how it ended, and the status of the answer.
    pub(super) async fn send(&self, parcel: &Parcel) -> (Outcome, Option<u16>) {
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
