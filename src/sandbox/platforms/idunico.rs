//! IDUnico: `POST {id, status}` whenever the status of a process changes.
//!
//! Documented: authentication Basic, API key or none; a number of attempts, an interval with exponential
//! back-off, a time-out; at most 500 deliveries at once; errors slow it down; 2xx is success; the id
//! is the process, so it repeats with each of its statuses. Not documented, and therefore settings: the
//! numbers themselves. How much errors slow it down is a choice made here.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use axum::http::{HeaderName, header::AUTHORIZATION};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::sends::{Asked, Message, ProcessPlan, Sends, json_content};
use crate::sandbox::account::Expected;
use crate::sandbox::random::Random;
use crate::secret::SecretText;

/// The most that it has under way at the same time.
const AT_ONCE: usize = 500;
/// Processes it can be asked for; the oldest are forgotten.
const KNOWN: usize = 100_000;
/// Processes that still have statuses to come.
const OPEN: usize = 10_000;
/// How often one customer may ask for a process in one second.
const QUESTIONS_PER_SECOND: u32 = 10;

/// The status of a process that has no outcome yet.
const PROCESSING: u8 = 1;

/// The courses that processes take: 2 divergence, 3 finished, 4 cancelled, 5 error. One of them comes
/// back to what it was before.
const COURSES: [&[u8]; 5] = [&[3], &[2, 3], &[4], &[5], &[2, 5, 2]];

/// How a delivery shows where it comes from.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// `user:password` (RFC 7617).
    Basic(SecretText),
    /// `header:value`, split at the first colon, or a value that goes into `Authorization` as it is.
    ApiKey(SecretText),
    /// Not at all.
    None,
}

/// What is configured at IDUnico.
#[derive(Clone, Debug)]
pub struct IdUnico {
    /// How deliveries show where they come from.
    pub authentication: Authentication,
    /// How many attempts a delivery gets.
    pub attempts: u32,
    /// The wait after the first attempt, in the platform's time; each further wait is twice as long.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What its own API asks for in the header `APIKEY`.
    pub api_key: SecretText,
}

impl IdUnico {
    pub(super) fn credentials(&self) -> Vec<SecretText> {
        let mut all = vec![self.api_key.clone()];
        match &self.authentication {
            Authentication::Basic(pair) => {
                all.push(STANDARD.encode(pair.expose()).into());
                all.push(pair.clone());
            }
            Authentication::ApiKey(key) => all.push(split_key(key.expose()).1.into()),
            Authentication::None => {}
        }
        all
    }
}

pub(super) struct Sender {
    settings: IdUnico,
    /// Processes that somebody asked for, with their statuses to come; they come before all others.
    planned: VecDeque<(String, VecDeque<u8>)>,
    /// Other processes with statuses to come.
    open: VecDeque<(String, VecDeque<u8>)>,
    statuses: HashMap<String, u8>,
    /// The same, the oldest first.
    order: VecDeque<String>,
    at_once: usize,
    asked: (i64, u32),
}

impl Sender {
    pub(super) fn new(settings: IdUnico) -> Self {
        Self {
            settings,
            planned: VecDeque::new(),
            open: VecDeque::new(),
            statuses: HashMap::new(),
            order: VecDeque::new(),
            at_once: AT_ONCE,
            asked: (0, 0),
        }
    }

    /// Old processes and new ones in turn, so that the statuses of one are not all together.
    fn next_of_its_own(&mut self, random: &mut Random) -> (String, VecDeque<u8>) {
        let go_on = self.open.len() >= OPEN || random.below(2) == 0;
        let open = if go_on { self.open.pop_front() } else { None };
        open.unwrap_or_else(|| {
            let course = COURSES[random.below(COURSES.len())];
            (random.uuid(), course.iter().copied().collect())
        })
    }

    fn set_status(&mut self, id: &str, status: u8) {
        if self.statuses.insert(id.to_owned(), status).is_none() {
            self.order.push_back(id.to_owned());
            if self.order.len() > KNOWN
                && let Some(oldest) = self.order.pop_front()
            {
                self.statuses.remove(&oldest);
            }
        }
    }
}

/// The body of a delivery.
pub(in crate::sandbox) fn body(id: &str, status: u8) -> String {
    json!({"id": id, "status": status}).to_string()
}

impl Sends for Sender {
    fn event(&mut self, _now: DateTime<Utc>, random: &mut Random) -> Message {
        let planned = self.planned.pop_front();
        let is_planned = planned.is_some();
        let (id, mut statuses) = planned.unwrap_or_else(|| self.next_of_its_own(random));
        let status = statuses.pop_front().unwrap_or(3);
        self.set_status(&id, status);
        let body = body(&id, status);
        if !statuses.is_empty() {
            let open = if is_planned { &mut self.planned } else { &mut self.open };
            open.push_back((id, statuses));
        }
        Message { body, expected: Expected::Each }
    }

    fn headers(&self, _body: &str) -> Vec<(HeaderName, SecretText)> {
        let mut headers = vec![json_content()];
        match &self.settings.authentication {
            Authentication::Basic(pair) => {
                let value = format!("Basic {}", STANDARD.encode(pair.expose()));
                headers.push((AUTHORIZATION, value.into()));
            }
            Authentication::ApiKey(key) => {
                let (name, value) = split_key(key.expose());
                headers.push((name, value.into()));
            }
            Authentication::None => {}
        }
        headers
    }

    fn is_success(&self, status: u16) -> bool {
        (200..300).contains(&status)
    }

    fn wait_after(&self, attempt: u32) -> Option<Duration> {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        (attempt < self.settings.attempts).then(|| self.settings.interval.saturating_mul(doubled))
    }

    fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    fn at_once(&self) -> usize {
        self.at_once
    }

    fn learn(&mut self, success: bool) {
        // Halved by an error and won back one by one, as many protocols do it.
        self.at_once = if success { (self.at_once + 1).min(AT_ONCE) } else { (self.at_once / 2).max(1) };
    }

    fn begin(&mut self, plan: ProcessPlan) -> bool {
        if plan.statuses.is_empty() || self.planned.len() >= OPEN {
            return false;
        }
        self.set_status(&plan.id, PROCESSING);
        self.planned.push_back((plan.id, plan.statuses.into()));
        true
    }

    fn ask(&mut self, now: DateTime<Utc>, id: &str, api_key: Option<&str>) -> Option<Asked> {
        if api_key != Some(self.settings.api_key.expose()) {
            return Some(Asked::WrongKey);
        }
        let second = now.timestamp();
        if self.asked.0 != second {
            self.asked = (second, 0);
        }
        self.asked.1 = self.asked.1.saturating_add(1);
        if self.asked.1 > QUESTIONS_PER_SECOND {
            return Some(Asked::TooMany);
        }
        Some(self.statuses.get(id).map_or(Asked::Unknown, |status| Asked::Status(*status)))
    }
}

/// The header that an API key goes into, and its value.
fn split_key(key: &str) -> (HeaderName, &str) {
    key.split_once(':')
        .and_then(|(name, value)| Some((HeaderName::try_from(name).ok()?, value)))
        .unwrap_or((AUTHORIZATION, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(authentication: Authentication) -> IdUnico {
        IdUnico {
            authentication,
            attempts: 5,
            interval: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            api_key: "k".into(),
        }
    }

    fn sender() -> Sender {
        Sender::new(settings(Authentication::None))
    }

    fn header(authentication: Authentication) -> Option<(String, String)> {
        let headers = Sender::new(settings(authentication)).headers("{}");
        assert_eq!(headers[0].0, "content-type");
        headers.get(1).map(|(name, value)| (name.to_string(), value.expose().to_owned()))
    }

    #[test]
    fn the_three_ways_of_authentication_and_none() {
        let header = |authentication| header(authentication).map(|(name, value)| format!("{name}: {value}"));
        // Encoded by `base64` of the GNU core utilities.
        let basic = header(Authentication::Basic("user:pass:word".into()));
        assert_eq!(basic.as_deref(), Some("authorization: Basic dXNlcjpwYXNzOndvcmQ="));
        let key = |text: &str| header(Authentication::ApiKey(text.into()));
        assert_eq!(key("X-API-Key:abc").as_deref(), Some("x-api-key: abc"));
        assert_eq!(key("Authorization:Bearer a:b").as_deref(), Some("authorization: Bearer a:b"));
        assert_eq!(key("abc").as_deref(), Some("authorization: abc"));
        assert_eq!(header(Authentication::None), None);
    }

    #[test]
    fn the_interval_doubles_until_the_attempts_are_used_up() {
        let sender = sender();
        let waits: Vec<_> =
            (1..=5).map(|attempt| sender.wait_after(attempt).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits, [Some(3), Some(6), Some(12), Some(24), None]);
        assert_eq!(
            Sender::new(IdUnico { attempts: 1, ..settings(Authentication::None) }).wait_after(1),
            None
        );
    }

    #[test]
    fn errors_slow_it_down_and_successes_bring_it_back_to_500() {
        let mut sender = sender();
        assert_eq!(sender.at_once(), 500);
        sender.learn(false);
        assert_eq!(sender.at_once(), 250);
        (0..20).for_each(|_| sender.learn(false));
        assert_eq!(sender.at_once(), 1);
        (0..1000).for_each(|_| sender.learn(true));
        assert_eq!(sender.at_once(), 500);
    }

    #[test]
    fn every_2xx_is_a_success() {
        let sender = sender();
        let successes: Vec<u16> = (100..600).filter(|status| sender.is_success(*status)).collect();
        assert_eq!((successes.first(), successes.last(), successes.len()), (Some(&200), Some(&299), 100));
    }

    #[test]
    fn the_body_is_an_id_and_a_number_and_ids_come_again_with_other_statuses() {
        let mut sender = sender();
        let mut random = Random::seeded(1);
        let mut seen: HashMap<String, Vec<u64>> = HashMap::new();
        for _ in 0..500 {
            let message = sender.event(Utc::now(), &mut random);
            let body: serde_json::Value = serde_json::from_str(&message.body).unwrap();
            assert_eq!(body.as_object().unwrap().len(), 2);
            let id = body["id"].as_str().unwrap().to_owned();
            seen.entry(id).or_default().push(body["status"].as_u64().unwrap());
        }
        for course in COURSES {
            let course: Vec<u64> = course.iter().map(|status| u64::from(*status)).collect();
            assert!(seen.values().any(|statuses| *statuses == course), "{course:?}");
        }
    }

    #[test]
    fn a_process_can_be_asked_for_from_its_beginning() {
        let mut sender = sender();
        let now = DateTime::from_timestamp(1_000, 0).unwrap();
        assert_eq!(sender.ask(now, "p", Some("k")), Some(Asked::Unknown));
        assert_eq!(sender.ask(now, "p", Some("wrong")), Some(Asked::WrongKey));
        assert_eq!(sender.ask(now, "p", None), Some(Asked::WrongKey));
        assert!(sender.begin(ProcessPlan { id: "p".into(), statuses: vec![3] }));
        assert_eq!(sender.ask(now, "p", Some("k")), Some(Asked::Status(1)));
        let message = sender.event(now, &mut Random::seeded(1));
        assert_eq!(message.body, r#"{"id":"p","status":3}"#);
        let later = now + Duration::from_secs(2);
        assert_eq!(sender.ask(later, "p", Some("k")), Some(Asked::Status(3)));
        for _ in 0..9 {
            sender.ask(later, "p", Some("k"));
        }
        assert_eq!(sender.ask(later, "p", Some("k")), Some(Asked::TooMany));
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let mut sender = sender();
        for number in 0..=KNOWN {
            sender.set_status(&number.to_string(), 3);
        }
        assert_eq!((sender.statuses.len(), sender.order.len()), (KNOWN, KNOWN));
        assert!(!sender.statuses.contains_key("0"));
    }
}
