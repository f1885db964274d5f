//! The ledger: everything that happened, and the sums of it.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::faults::Target;
use super::webhooks::Late;

/// Entries kept in detail; the sums count forever.
pub const DETAILED_ENTRIES: usize = 100_000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Counts up by one from 1.
    pub sequence: u64,
    /// The sandbox's clock.
    pub time: DateTime<Utc>,
    /// What it was.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A request to the token server.
    TokenRequest(TokenRequest),
    /// A request to the provider's API.
    ProviderCall(ProviderCall),
    /// One attempt at a delivery.
    Delivery(Delivery),
    /// A request to the application behind a gate.
    HandedOn(HandedOn),
    /// A late time that has ended.
    Late(Late),
    /// The provider removed a webhook without a word.
    Vanished {
        /// Its id.
        webhook: String,
        /// What removed it.
        cause: Vanishing,
    },
    /// A webhook made by hand, past the API.
    HandMade {
        /// Its id.
        webhook: String,
        /// Its action.
        action: String,
        /// Its URL.
        postback_url: String,
    },
    /// A client of the token server was changed by hand.
    ClientChanged {
        /// Its id.
        client: String,
    },
    /// A fault took hold.
    Fault {
        /// The number it got when it was asked for.
        fault: u64,
        /// What it hit.
        target: Target,
    },
}

impl Event {
    /// Notes what the client was answered.
    pub(super) fn set_answer(&mut self, code: Option<u16>) {
        match self {
            Self::TokenRequest(request) => request.answer = code,
            Self::ProviderCall(call) => call.answer = code,
            Self::HandedOn(request) => request.answer = code,
            _ => {}
        }
    }
}

/// A request to the token server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenRequest {
    /// The client it named.
    pub client: Option<String>,
    /// The label of the token that was issued, whether or not the answer arrived.
    pub token: Option<String>,
    /// When that token expires.
    pub expires: Option<DateTime<Utc>>,
    /// The status code of the answer; none when there was no answer.
    pub answer: Option<u16>,
}

/// What a request to the provider asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `GET /api/v1/webhooks`
    List,
    /// `POST /api/v1/webhooks`
    Create,
    /// `PUT /api/v1/webhooks/{id}`
    Update,
    /// `DELETE /api/v1/webhooks/{id}`
    Delete,
}

/// A request to the provider's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderCall {
    /// What it asked for.
    pub operation: Operation,
    /// The webhook it named or made.
    pub webhook: Option<String>,
    /// The action in the document.
    pub action: Option<String>,
    /// The URL in the document.
    pub postback_url: Option<String>,
    /// The label of the token in the document's headers.
    pub token: Option<String>,
    /// The label of the token it replaced.
    pub previous_token: Option<String>,
    /// Whether it did what it asked for, whatever was answered.
    pub effect: bool,
    /// Whether a second webhook with the same action and URL came into being by it.
    pub doubles: bool,
    /// Whether the rate limit refused it.
    pub rate_limited: bool,
    /// The status code of the answer; none when there was no answer.
    pub answer: Option<u16>,
}

impl ProviderCall {
    pub(super) fn new(operation: Operation) -> Self {
        Self {
            operation,
            webhook: None,
            action: None,
            postback_url: None,
            token: None,
            previous_token: None,
            effect: false,
            doubles: false,
            rate_limited: false,
            answer: None,
        }
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered with 200, which is all that Gupy counts as a success.
    Accepted,
    /// Refused: the token had expired.
    Expired,
    /// Refused: the token had been revoked.
    Revoked,
    /// Refused: a token this server never issued.
    Unknown,
    /// Refused: no token at all.
    Missing,
    /// Any other answer.
    Refused,
    /// No answer.
    Unanswered,
}

/// One attempt at a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// The webhook's id.
    pub webhook: String,
    /// The event's id, the same in every attempt.
    pub event: String,
    /// 1 for the first attempt.
    pub attempt: usize,
    /// The label of the token it carried.
    pub token: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// The status code of the answer; none when there was no answer.
    pub answer: Option<u16>,
    /// Whether the event is lost: this attempt failed and no other follows.
    pub lost: bool,
}

/// A request to the application behind a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HandedOn {
    /// The path below `/application/`.
    pub path: String,
    /// Its `Hookkeeper-Delivery`.
    pub delivery: Option<String>,
    /// Its `Hookkeeper-Attempt`.
    pub attempt: Option<u64>,
    /// The event's own id.
    pub event: Option<String>,
    /// The event's name.
    pub name: Option<String>,
    /// Its `Hookkeeper-Duplicate-Of`.
    pub duplicate_of: Option<String>,
    /// Whether it tells what the platform was asked for.
    pub polled: bool,
    /// Whether the application processed it, whatever was answered.
    pub processed: bool,
    /// The status code of the answer; none when there was no answer.
    pub answer: Option<u16>,
}

/// What made a webhook vanish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Vanishing {
    /// Nothing but failed deliveries for seven days of provider time.
    FailedDeliveries,
    /// Somebody asked for it.
    ByHand,
}

/// The sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LedgerSummary {
    /// Requests to the token server, whatever the answer.
    pub token_requests: u64,
    /// Tokens issued, whether or not the answer arrived.
    pub mints: u64,
    /// Requests to the provider, whatever the answer, refused ones included.
    pub provider_calls: u64,
    /// Those of them that the rate limit refused.
    pub rate_limited: u64,
    /// Webhooks created.
    pub creates: u64,
    /// Webhooks replaced.
    pub updates: u64,
    /// Webhooks deleted.
    pub deletes: u64,
    /// Pages listed.
    pub lists: u64,
    /// Updates that brought another token than the one before.
    pub rotations: u64,
    /// Updates that repeated the token that was there.
    pub surplus_updates: u64,
    /// Webhooks beyond the first at the same action and normalised URL that a client brought about.
    pub doubled: u64,
    /// Late times, ended or under way: an active webhook carried a dead token.
    pub late: u64,
    /// Those of them that began with a revocation; the others began with an expiry.
    pub late_by_revocation: u64,
    /// Those of them still under way.
    pub late_now: u64,
    /// All late times together, in milliseconds.
    pub late_total_ms: u64,
    /// The longest late time, in milliseconds.
    pub late_longest_ms: u64,
    /// Delivery attempts answered with 200.
    pub deliveries_accepted: u64,
    /// Delivery attempts answered with anything else.
    pub deliveries_refused: u64,
    /// Delivery attempts without an answer.
    pub deliveries_unanswered: u64,
    /// Events of which no attempt succeeded.
    pub events_lost: u64,
    /// Webhooks that the provider removed by itself, or that were removed by hand.
    pub vanished: u64,
    /// Times a fault took hold.
    pub faults: u64,
    /// Webhooks stored at this moment.
    pub webhooks: u64,
}

impl LedgerSummary {
    /// Counts one event.
    fn count(&mut self, event: &Event) {
        match event {
            Event::TokenRequest(request) => {
                self.token_requests += 1;
                self.mints += u64::from(request.token.is_some());
            }
            Event::ProviderCall(call) => self.count_call(call),
            Event::Delivery(delivery) => {
                match delivery.outcome {
                    Outcome::Accepted => self.deliveries_accepted += 1,
                    Outcome::Unanswered => self.deliveries_unanswered += 1,
                    _ => self.deliveries_refused += 1,
                }
                self.events_lost += u64::from(delivery.lost);
            }
            Event::Late(late) => self.count_late(late),
            Event::Vanished { .. } => self.vanished += 1,
            Event::Fault { .. } => self.faults += 1,
            // The account of deliveries counts these.
            Event::HandedOn(_) => {}
            Event::HandMade { .. } | Event::ClientChanged { .. } => {}
        }
    }

    fn count_call(&mut self, call: &ProviderCall) {
        self.provider_calls += 1;
        self.rate_limited += u64::from(call.rate_limited);
        if !call.effect {
            return;
        }
        self.doubled += u64::from(call.doubles);
        match call.operation {
            Operation::List => self.lists += 1,
            Operation::Create => self.creates += 1,
            Operation::Delete => self.deletes += 1,
            Operation::Update => {
                self.updates += 1;
                if call.token.is_some() {
                    let same = call.token == call.previous_token;
                    self.surplus_updates += u64::from(same);
                    self.rotations += u64::from(!same);
                }
            }
        }
    }

    /// Counts one late time.
    pub(super) fn count_late(&mut self, late: &Late) {
        let length = (late.end - late.start).num_milliseconds().unsigned_abs();
        self.late += 1;
        self.late_by_revocation += u64::from(late.death == super::tokens::Death::Revoked);
        self.late_total_ms += length;
        self.late_longest_ms = self.late_longest_ms.max(length);
    }
}

/// What happened so far.
#[derive(Default)]
pub(super) struct Ledger {
    sequence: u64,
    entries: VecDeque<Entry>,
    sums: LedgerSummary,
}

impl Ledger {
    pub(super) fn record(&mut self, time: DateTime<Utc>, event: Event) {
        self.sums.count(&event);
        self.sequence += 1;
        if self.entries.len() == DETAILED_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { sequence: self.sequence, time, event });
    }

    /// The sums of what has been recorded; what is still under way is not among it.
    pub(super) fn sums(&self) -> LedgerSummary {
        self.sums.clone()
    }

    /// The entries after `sequence`, oldest first.
    pub(super) fn since(&self, sequence: u64) -> Vec<Entry> {
        let first = self.entries.partition_point(|e| e.sequence <= sequence);
        self.entries.range(first..).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(token: Option<&str>, previous: Option<&str>) -> Event {
        let mut call = ProviderCall::new(Operation::Update);
        call.effect = true;
        call.token = token.map(str::to_owned);
        call.previous_token = previous.map(str::to_owned);
        Event::ProviderCall(call)
    }

    #[test]
    fn an_update_is_a_rotation_only_with_another_token() {
        let mut ledger = Ledger::default();
        let now = Utc::now();
        ledger.record(now, update(Some("b"), Some("a")));
        ledger.record(now, update(Some("b"), None));
        ledger.record(now, update(Some("b"), Some("b")));
        ledger.record(now, update(None, Some("b")));
        ledger.record(now, update(None, None));
        let sums = ledger.sums();
        assert_eq!((sums.updates, sums.rotations, sums.surplus_updates), (5, 2, 1));
    }

    #[test]
    fn a_call_without_effect_counts_as_a_call_only() {
        let mut ledger = Ledger::default();
        let mut call = ProviderCall::new(Operation::Create);
        call.answer = Some(500);
        ledger.record(Utc::now(), Event::ProviderCall(call));
        let expected = LedgerSummary { provider_calls: 1, ..LedgerSummary::default() };
        assert_eq!(ledger.sums(), expected);
    }

    #[test]
    fn detail_is_bounded_and_the_sums_are_not() {
        let mut ledger = Ledger::default();
        let now = Utc::now();
        for _ in 0..DETAILED_ENTRIES + 5 {
            ledger.record(now, update(None, None));
        }
        let kept = ledger.since(0);
        assert_eq!(kept.len(), DETAILED_ENTRIES);
        assert_eq!(kept[0].sequence, 6);
        assert_eq!(ledger.since(DETAILED_ENTRIES as u64 + 4).len(), 1);
        assert_eq!(ledger.sums().updates, DETAILED_ENTRIES as u64 + 5);
    }
}
