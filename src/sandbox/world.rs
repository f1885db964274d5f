//! Everything the sandbox knows, behind one lock, and the changes to it.
//!
//! No function here waits or reads a clock: each takes the present moment, which makes days of
//! provider time testable in microseconds.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::account::{DeliveryLedger, EventKey, Expected, Reply};
use super::clock::after;
use super::config::Config;
use super::disturbances::{Breakage, Unrest};
use super::document::{Document, Status};
use super::error::Error;
use super::faults::{Fault, FaultBook, Subject};
use super::ledger::{Delivery, Event, Ledger, LedgerSummary, Outcome, Vanishing};
use super::random::Random;
use super::rate_limit::RateLimit;
use super::schedule::{Attempt, Job, Load, REMOVAL, Schedule};
use super::tokens::{Death, TokenServer};
use super::webhooks::{Change, Late, Webhooks};
use crate::secret::SecretText;

/// The state of a sandbox.
pub(super) struct World {
    pub(super) random: Random,
    pub(super) tokens: TokenServer,
    pub(super) webhooks: Webhooks,
    pub(super) ledger: Ledger,
    pub(super) faults: FaultBook,
    pub(super) management_token: SecretText,
    pub(super) schedule: Schedule,
    pub(super) account: Arc<DeliveryLedger>,
    /// Whether deliveries go to somebody who hands them on.
    pub(super) is_handed_on: bool,
    pub(super) unrest: Unrest,
    rate_limit: RateLimit,
    delivery_interval: Option<Duration>,
    retries_repeat_headers: bool,
    /// `REMOVAL` in real time.
    removal: Duration,
}

/// A delivery ready to be sent.
pub(super) struct Parcel {
    pub(super) attempt: Attempt,
    pub(super) load: Load,
    pub(super) body: String,
    pub(super) breakage: Breakage,
}

impl World {
    pub(super) fn new(config: &Config, real: impl Fn(Duration) -> Duration) -> Result<Self, Error> {
        Ok(Self {
            random: Random::from_system()?,
            tokens: TokenServer::new(config.clients.clone()),
            webhooks: Webhooks::default(),
            ledger: Ledger::default(),
            faults: FaultBook::default(),
            management_token: config.management_token.clone(),
            schedule: Schedule::default(),
            account: Arc::default(),
            is_handed_on: config.deliver_to.is_some(),
            unrest: Unrest::new(config.disturbances.clone()),
            rate_limit: RateLimit::new(config.requests_per_minute),
            delivery_interval: config.delivery_interval,
            retries_repeat_headers: config.retries_repeat_headers,
            removal: real(REMOVAL),
        })
    }

    /// The fault that strikes this request, noted in the ledger.
    pub(super) fn strike(&mut self, now: DateTime<Utc>, subject: &Subject) -> Option<Fault> {
        let (fault, effect) = self.faults.strike(subject, now)?;
        let target = subject.target;
        self.ledger.record(now, Event::Fault { fault, target });
        Some(effect)
    }

    /// Whether the rate limit refuses a request, which counts it.
    pub(super) fn rate_limited(&mut self, source: IpAddr, provider_elapsed: Duration) -> bool {
        self.rate_limit.blocks(source, provider_elapsed)
    }

    /// Stores a new webhook and files its first delivery.
    pub(super) fn create(&mut self, now: DateTime<Utc>, document: Document) -> Change {
        let id = self.random.uuid();
        if let Some(interval) = self.delivery_interval {
            let webhook = id.clone();
            self.schedule.file(after(now, interval), Job::Fresh { webhook });
        }
        self.webhooks.create(now, id, document, &self.tokens)
    }

    /// Replaces a webhook; `None` when there is none of that id.
    pub(super) fn replace(&mut self, now: DateTime<Utc>, id: &str, document: Document) -> Option<Change> {
        let mut change = self.webhooks.replace(now, id, document, &self.tokens)?;
        if let Some(late) = change.late.take() {
            self.ledger.record(now, Event::Late(late));
        }
        Some(change)
    }

    /// Removes a webhook; false when there is none of that id.
    pub(super) fn remove(&mut self, now: DateTime<Utc>, id: &str) -> bool {
        let Some(webhook) = self.webhooks.remove(id) else {
            return false;
        };
        if let Some(late) = webhook.late(now) {
            self.ledger.record(now, Event::Late(late));
        }
        true
    }

    /// Removes a webhook without a word to anybody; false when there is none of that id.
    pub(super) fn vanish(&mut self, now: DateTime<Utc>, id: &str, cause: Vanishing) -> bool {
        let removed = self.remove(now, id);
        if removed {
            let webhook = id.to_owned();
            self.ledger.record(now, Event::Vanished { webhook, cause });
        }
        removed
    }

    /// Sets how often each webhook has an event from now on.
    pub(super) fn set_delivery_interval(&mut self, now: DateTime<Utc>, interval: Option<Duration>) {
        self.delivery_interval = interval;
        self.schedule.forget_events();
        let Some(interval) = interval else { return };
        for webhook in self.webhooks.iter() {
            self.schedule.file(after(now, interval), Job::Fresh { webhook: webhook.id.clone() });
        }
    }

    /// The next delivery that is due, if one is.
    pub(super) fn next_parcel(&mut self, now: DateTime<Utc>) -> Option<Parcel> {
        loop {
            let attempt = match self.schedule.take(now)? {
                Job::Again(attempt) => attempt,
                Job::Fresh { webhook } => {
                    if self.webhooks.get(&webhook).is_none() {
                        continue;
                    }
                    if let Some(interval) = self.delivery_interval {
                        let next = Job::Fresh { webhook: webhook.clone() };
                        self.schedule.file(after(now, interval), next);
                    }
                    let event = self.random.uuid();
                    let attempt = Attempt { webhook, event, date: now, number: 1, kept: None, copy: false };
                    match self.hold_back(now, attempt) {
                        Some(attempt) => attempt,
                        None => continue,
                    }
                }
            };
            // A webhook that is gone or inactive by now gets nothing, retries included.
            if let Some(mut parcel) = self.pack(attempt) {
                parcel.breakage = self.unrest.breaks();
                if self.is_handed_on {
                    // Gupy documents its id as what tells duplicates, so one of them is enough.
                    self.account.sent(EventKey::of(parcel.body.as_bytes()), Expected::Once);
                }
                return Some(parcel);
            }
        }
    }

    /// What is left of a new event: some are lost on request, some come later.
    fn hold_back(&mut self, now: DateTime<Utc>, attempt: Attempt) -> Option<Attempt> {
        if self.unrest.loses() {
            if let Some(parcel) = self.pack(attempt) {
                self.account.withheld(EventKey::of(parcel.body.as_bytes()));
            }
            return None;
        }
        let Some(intervals) = self.unrest.holds_back() else {
            return Some(attempt);
        };
        let later = self.delivery_interval.unwrap_or_default().mul_f64(intervals);
        self.schedule.file(after(now, later), Job::Again(attempt));
        None
    }

    fn pack(&self, attempt: Attempt) -> Option<Parcel> {
        let webhook = self.webhooks.get(&attempt.webhook)?;
        let document = &webhook.document;
        if document.status == Status::Inactive {
            return None;
        }
        let body = json!({
            "companyName": "Sandbox",
            "id": attempt.event,
            "event": document.action,
            "date": attempt.date.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            "data": {"note": "made by the sandbox"},
        });
        let load = attempt.kept.clone().unwrap_or_else(|| Load {
            headers: document.delivery_headers(),
            token: webhook.token.as_ref().map(|token| token.label.clone()),
        });
        Some(Parcel { load, body: body.to_string(), attempt, breakage: Breakage::None })
    }

    /// Notes what became of a delivery, files the retry, removes a webhook that only ever fails.
    pub(super) fn delivered(
        &mut self,
        now: DateTime<Utc>,
        parcel: Parcel,
        outcome: Outcome,
        answer: Option<u16>,
        real: impl Fn(Duration) -> Duration,
    ) {
        let Parcel { mut attempt, load, body, .. } = parcel;
        let token = load.token.clone();
        let failed = outcome != Outcome::Accepted;
        if self.is_handed_on {
            let reply = match outcome {
                Outcome::Accepted => Reply::Acknowledged,
                Outcome::Unanswered => Reply::Unanswered,
                _ => Reply::Refused,
            };
            self.account.answered(EventKey::of(body.as_bytes()), reply);
        }
        if self.retries_repeat_headers {
            attempt.kept = Some(load);
        }
        if !failed && !attempt.copy && self.unrest.repeats() {
            let copy = Attempt { copy: true, number: 1, ..attempt.clone() };
            self.schedule.file(after(now, self.delivery_interval.unwrap_or_default()), Job::Again(copy));
        }
        let lost = failed && !self.schedule.retry(now, &attempt, real) && !attempt.copy;
        let removed = self.webhooks.get_mut(&attempt.webhook).is_some_and(|webhook| {
            webhook.failing_since = failed.then(|| webhook.failing_since.unwrap_or(now));
            webhook.failing_since.is_some_and(|since| after(since, self.removal) <= now)
        });
        let delivery = Delivery {
            webhook: attempt.webhook.clone(),
            event: attempt.event,
            attempt: attempt.number,
            token,
            outcome,
            answer,
            lost,
        };
        self.ledger.record(now, Event::Delivery(delivery));
        if removed {
            self.vanish(now, &attempt.webhook, Vanishing::FailedDeliveries);
        }
    }

    /// The own receiver's verdict on a delivery's headers: one living token is enough.
    pub(super) fn verdict<'a>(
        &self,
        now: DateTime<Utc>,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Outcome {
        let mut verdict = Outcome::Missing;
        for (name, value) in headers {
            match self.tokens.find(value).map(|token| token.dead(now)) {
                Some(None) => return Outcome::Accepted,
                Some(Some(Death::Expired)) => verdict = Outcome::Expired,
                Some(Some(Death::Revoked)) => verdict = Outcome::Revoked,
                None if verdict == Outcome::Missing && names_a_token(name) => {
                    verdict = Outcome::Unknown;
                }
                None => {}
            }
        }
        verdict
    }

    /// Late times under way.
    pub(super) fn late_now(&self, now: DateTime<Utc>) -> Vec<Late> {
        self.webhooks.iter().filter_map(|w| w.late(now)).collect()
    }

    /// The sums, with late times under way counted up to now.
    pub(super) fn summary(&self, now: DateTime<Utc>) -> LedgerSummary {
        let mut summary = self.ledger.sums();
        for late in self.late_now(now) {
            summary.count_late(&late);
            summary.late_now += 1;
        }
        summary.webhooks = self.webhooks.len() as u64;
        summary
    }
}

/// Whether a header of this name is where a token would be.
fn names_a_token(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "authorization" || name.contains("token")
}

#[cfg(test)]
mod tests;
