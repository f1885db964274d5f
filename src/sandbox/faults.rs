//! Faults on request: what to disturb, how often, and how.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clock::after;
use super::random::Draws;

/// Which requests a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Requests for a token, at both endpoints.
    Token,
    /// Listings.
    List,
    /// Creates.
    Create,
    /// Updates.
    Update,
    /// Deletes.
    Delete,
    /// Deliveries at the sandbox's own receiver.
    Receive,
    /// Deliveries handed on to the application behind a gate.
    Application,
    /// Questions for a process of IDUnico's.
    Process,
}

/// The body of an answer that a fault gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultBody {
    /// Gupy's `{title, detail, status}`.
    #[default]
    Gupy,
    /// A page as proxies write it.
    Html,
    /// None.
    Empty,
}

/// A fault. The first one that matches a request and has not been used up takes hold.
///
/// `status`, `lose_answer`, `hang` and `malformed_body` exclude each other; `delay_ms`,
/// `retry_after` and `location` go with any of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests.
    pub target: Target,
    /// How many requests; without it, until faults are cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Let this many matching requests through first.
    #[serde(default)]
    pub skip: u32,
    /// Only this share of the matching requests, from 0 to 1; without it, all. Which ones depends on
    /// `seed` alone, so that a run can be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Draws the requests that `share` speaks of.
    #[serde(default)]
    pub seed: u64,
    /// Only for this long (real time) after the first request that it hits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Only requests about this webhook id; at the application, about the event of this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// Only requests about this action; at the application, about events of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only requests of this client of the token server; at the application, to this path below
    /// `/application/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Wait this long (real time). Before the effect, or after it with `after_effect`. A client
    /// that gives up meanwhile does not undo the request: it is queued and still takes effect.
    #[serde(default)]
    pub delay_ms: u64,
    /// Answer with this status code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body that goes with `status`.
    #[serde(default)]
    pub body: FaultBody,
    /// Close the connection without an answer.
    #[serde(default)]
    pub lose_answer: bool,
    /// Never answer, and keep the connection open.
    #[serde(default)]
    pub hang: bool,
    /// Cut the body short in the middle, under a matching length.
    #[serde(default)]
    pub malformed_body: bool,
    /// A `Retry-After` header for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// A `Location` header for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Replaces the body of a token answer: a text is sent as it is, anything else as JSON. In its
    /// texts `$TOKEN` becomes the issued token; a text that is nothing but `$EXPIRES_IN`,
    /// `$EXPIRES_AT`, `$EXPIRES_AT_S` or `$EXPIRES_AT_MS` becomes the seconds left, the time in
    /// RFC 3339, or the epoch in seconds or milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_answer: Option<Value>,
    /// Whether the request does what it asks for before the fault strikes. By default it does with
    /// `lose_answer`, `malformed_body`, `token_answer` and a mere delay, and does not with `status`
    /// and `hang`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_effect: Option<bool>,
}

impl Fault {
    /// A fault without any effect yet, for every request to `target`.
    #[must_use]
    pub fn at(target: Target) -> Self {
        Self {
            target,
            times: None,
            skip: 0,
            share: None,
            seed: 0,
            for_ms: None,
            webhook: None,
            action: None,
            client: None,
            delay_ms: 0,
            status: None,
            body: FaultBody::Gupy,
            lose_answer: false,
            hang: false,
            malformed_body: false,
            retry_after: None,
            location: None,
            token_answer: None,
            after_effect: None,
        }
    }

    /// Answers with `status` and no effect.
    #[must_use]
    pub fn status(target: Target, status: u16) -> Self {
        Self { status: Some(status), ..Self::at(target) }
    }

    /// Takes effect and closes the connection without an answer.
    #[must_use]
    pub fn lose_answer(target: Target) -> Self {
        Self { lose_answer: true, ..Self::at(target) }
    }

    /// Limits the fault to so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Limits the fault to a share of the requests, from 0 to 1, drawn by a seed.
    #[must_use]
    pub fn share(mut self, share: f64, seed: u64) -> Self {
        self.share = Some(share);
        self.seed = seed;
        self
    }

    /// Why this fault makes no sense, if it does not.
    fn problem(&self) -> Option<&'static str> {
        let kinds = [self.status.is_some(), self.lose_answer, self.hang, self.malformed_body];
        if kinds.into_iter().filter(|kind| *kind).count() > 1 {
            return Some("status, lose_answer, hang and malformed_body exclude each other");
        }
        if self.status.is_some_and(|code| !(200..=599).contains(&code)) {
            return Some("status must be from 200 to 599");
        }
        if self.token_answer.is_some() && self.target != Target::Token {
            return Some("token_answer goes with target token");
        }
        if self.share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Some("share must be from 0 to 1");
        }
        let headers = [&self.retry_after, &self.location];
        if headers.into_iter().flatten().any(|text| axum::http::HeaderValue::try_from(text).is_err()) {
            return Some("retry_after and location must be usable as header values");
        }
        let nothing = !kinds.contains(&true)
            && self.delay_ms == 0
            && self.retry_after.is_none()
            && self.location.is_none()
            && self.token_answer.is_none();
        nothing.then_some("a fault needs an effect, such as status or delay_ms")
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// Whether the request does what it asks for.
    pub(super) fn takes_effect(&self) -> bool {
        self.after_effect.unwrap_or(self.status.is_none() && !self.hang)
    }

    /// Whether the delay comes after the effect instead of before it.
    pub(super) fn delays_answer(&self) -> bool {
        self.after_effect == Some(true)
    }

    /// The status code that the client sees instead of `real`, if it sees any.
    pub(super) fn seen(&self, real: u16) -> Option<u16> {
        if self.lose_answer || self.hang {
            return None;
        }
        Some(self.status.unwrap_or(real))
    }
}

/// A request as faults see it.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) target: Target,
    pub(super) webhook: Option<String>,
    pub(super) action: Option<String>,
    pub(super) client: Option<String>,
}

impl Subject {
    pub(super) fn new(target: Target) -> Self {
        Self { target, webhook: None, action: None, client: None }
    }

    fn is_hit_by(&self, fault: &Fault) -> bool {
        let allows = |wanted: &Option<String>, is: &Option<String>| {
            wanted.is_none() || wanted.as_deref() == is.as_deref()
        };
        fault.target == self.target
            && allows(&fault.webhook, &self.webhook)
            && allows(&fault.action, &self.action)
            && allows(&fault.client, &self.client)
    }
}

/// A fault that waits or has struck, as `GET /admin/faults` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultState {
    /// Its number.
    pub id: u64,
    /// How many requests it still hits; without it, any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,
    /// How many requests it has hit.
    pub hits: u64,
    /// What was asked for.
    pub fault: Fault,
    /// When it is over, once it has begun.
    #[serde(skip)]
    ends: Option<DateTime<Utc>>,
    #[serde(skip)]
    draws: Draws,
}

/// All faults asked for, in that order.
#[derive(Default)]
pub(super) struct FaultBook {
    last_id: u64,
    faults: Vec<FaultState>,
}

impl FaultBook {
    pub(super) fn add(&mut self, fault: Fault) -> Result<u64, &'static str> {
        if let Some(problem) = fault.problem() {
            return Err(problem);
        }
        self.last_id += 1;
        let draws = Draws::seeded(fault.seed);
        let (id, remaining) = (self.last_id, fault.times);
        self.faults.push(FaultState { id, remaining, hits: 0, fault, ends: None, draws });
        Ok(self.last_id)
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
    }

    pub(super) fn list(&self) -> Vec<FaultState> {
        self.faults.clone()
    }

    /// The fault that strikes this request, used up by one.
    pub(super) fn strike(&mut self, subject: &Subject, now: DateTime<Utc>) -> Option<(u64, Fault)> {
        for state in &mut self.faults {
            let over = state.remaining == Some(0) || state.ends.is_some_and(|end| end <= now);
            if over || !subject.is_hit_by(&state.fault) {
                continue;
            }
            if state.fault.skip > 0 {
                state.fault.skip -= 1;
                continue;
            }
            if let Some(share) = state.fault.share
                && state.draws.next_share() >= share
            {
                continue;
            }
            let for_ms = state.fault.for_ms.filter(|_| state.ends.is_none());
            if let Some(milliseconds) = for_ms {
                state.ends = Some(after(now, Duration::from_millis(milliseconds)));
            }
            state.remaining = state.remaining.map(|remaining| remaining - 1);
            state.hits += 1;
            return Some((state.id, state.fault.clone()));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_as_often_as_asked_and_in_order() {
        let mut book = FaultBook::default();
        let first = book.add(Fault::status(Target::List, 500).times(2)).unwrap();
        let second = book.add(Fault::status(Target::List, 429)).unwrap();
        let list = Subject::new(Target::List);
        let struck: Vec<u64> = (0..4).map(|_| book.strike(&list, Utc::now()).unwrap().0).collect();
        assert_eq!(struck, [first, first, second, second]);
        assert!(book.strike(&Subject::new(Target::Create), Utc::now()).is_none());
        assert_eq!(book.list()[0].remaining, Some(0));
        assert_eq!(book.list()[1].hits, 2);
        book.clear();
        assert!(book.strike(&list, Utc::now()).is_none());
    }

    #[test]
    fn a_fault_can_wait_for_its_turn_and_pick_its_victim() {
        let mut book = FaultBook::default();
        let mut fault = Fault::lose_answer(Target::Update).times(1);
        fault.skip = 1;
        fault.webhook = Some("w".into());
        book.add(fault).unwrap();
        let mut other = Subject::new(Target::Update);
        assert!(book.strike(&other, Utc::now()).is_none());
        other.webhook = Some("v".into());
        assert!(book.strike(&other, Utc::now()).is_none());
        other.webhook = Some("w".into());
        assert!(book.strike(&other, Utc::now()).is_none());
        assert!(book.strike(&other, Utc::now()).is_some());
        assert!(book.strike(&other, Utc::now()).is_none());
    }

    #[test]
    fn a_share_is_kept_steadily_and_its_seed_repeats_it() {
        let struck = |share, seed| {
            let mut book = FaultBook::default();
            book.add(Fault::status(Target::Update, 502).share(share, seed)).unwrap();
            let update = Subject::new(Target::Update);
            (0..1_000).map(|_| book.strike(&update, Utc::now()).is_some()).collect::<Vec<_>>()
        };
        let count = |share| struck(share, 7).into_iter().filter(|struck| *struck).count();
        for (share, least, most) in
            [(0.0, 0, 0), (0.03, 15, 50), (0.12, 90, 150), (0.6, 550, 650), (1.0, 1_000, 1_000)]
        {
            assert!((least..=most).contains(&count(share)), "{share}: {}", count(share));
        }
        assert_eq!(struck(0.5, 1), struck(0.5, 1));
        assert_ne!(struck(0.5, 1), struck(0.5, 2));
    }

    #[test]
    fn a_fault_for_a_while_ends_by_itself_from_its_first_hit_on() {
        let mut book = FaultBook::default();
        let mut fault = Fault::status(Target::Application, 503);
        fault.for_ms = Some(10_000);
        book.add(fault).unwrap();
        let application = Subject::new(Target::Application);
        let start = Utc::now();
        let mut strikes =
            |second| book.strike(&application, after(start, Duration::from_secs(second))).is_some();
        assert_eq!([100, 105, 109, 110, 111].map(&mut strikes), [true, true, true, false, false]);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut book = FaultBook::default();
        let mut two = Fault::status(Target::List, 500);
        two.hang = true;
        let mut header = Fault::at(Target::List);
        header.retry_after = Some("a\nb".into());
        let mut answer = Fault::at(Target::List);
        answer.token_answer = Some(Value::Null);
        let code = Fault::status(Target::List, 99);
        let shares = [1.5, -0.1, f64::NAN].map(|share| Fault::status(Target::List, 500).share(share, 1));
        for fault in [Fault::at(Target::List), two, header, answer, code].into_iter().chain(shares) {
            assert!(book.add(fault).is_err());
        }
    }

    #[test]
    fn what_takes_effect_by_default() {
        assert!(Fault::lose_answer(Target::Create).takes_effect());
        assert!(!Fault::status(Target::Create, 500).takes_effect());
        let mut after = Fault::status(Target::Create, 500);
        after.after_effect = Some(true);
        assert!(after.takes_effect());
        let mut delayed = Fault::at(Target::Create);
        delayed.delay_ms = 5;
        assert!(delayed.takes_effect());
        assert!(!delayed.delays_answer());
    }
}
