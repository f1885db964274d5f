//! Pulpo: `{event, timestamp, payload}` with a token that the platform itself has made.
//!
//! Documented: the envelope, the header `X-Webhook-Token`, the test event `SampleEvent`. No retries are
//! documented, so there are none here: what fails is gone.

use std::time::Duration;

use axum::http::HeaderName;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::sends::{Message, Sends, json_content, timestamp};
use crate::sandbox::account::Expected;
use crate::sandbox::random::Random;
use crate::secret::SecretText;

/// How long an answer may take; not documented.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Deliveries under way at the same time; not documented.
const AT_ONCE: usize = 64;

/// What Pulpo shows in a webhook's details.
#[derive(Clone, Debug)]
pub struct Pulpo {
    /// The token that it has made for this webhook.
    pub token: SecretText,
    /// Whether its test event has to reach the application.
    pub sample_is_handed_on: bool,
}

pub(super) struct Sender {
    settings: Pulpo,
}

impl Sender {
    pub(super) fn new(settings: Pulpo) -> Self {
        Self { settings }
    }
}

impl Sends for Sender {
    fn event(&mut self, now: DateTime<Utc>, random: &mut Random) -> Message {
        let event = ["RecordCreated", "RecordUpdated", "RecordDeleted"][random.below(3)];
        let body = json!({
            "event": event,
            "timestamp": timestamp(now),
            "payload": {"id": random.uuid(), "name": "made by the sandbox"},
        });
        Message { body: body.to_string(), expected: Expected::Each }
    }

    fn sample(&mut self, now: DateTime<Utc>, random: &mut Random) -> Option<Message> {
        let body = json!({
            "event": "SampleEvent",
            "timestamp": timestamp(now),
            "payload": {"id": random.uuid(), "message": "a test"},
        });
        let expected = if self.settings.sample_is_handed_on { Expected::Each } else { Expected::Nothing };
        Some(Message { body: body.to_string(), expected })
    }

    fn headers(&self, _body: &str) -> Vec<(HeaderName, SecretText)> {
        let token = (HeaderName::from_static("x-webhook-token"), self.settings.token.clone());
        vec![json_content(), token]
    }

    fn is_success(&self, status: u16) -> bool {
        (200..300).contains(&status)
    }

    fn wait_after(&self, _attempt: u32) -> Option<Duration> {
        None
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    fn at_once(&self) -> usize {
        AT_ONCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_the_test_event_and_the_token() {
        let mut sender = Sender::new(Pulpo { token: "minted".into(), sample_is_handed_on: false });
        let mut random = Random::seeded(1);
        let now = DateTime::from_timestamp_millis(1_700_000_000_123).unwrap();
        let event = sender.event(now, &mut random);
        let sample = sender.sample(now, &mut random).unwrap();
        for message in [&event, &sample] {
            let body: serde_json::Value = serde_json::from_str(&message.body).unwrap();
            let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
            assert_eq!(fields, ["event", "payload", "timestamp"]);
            assert_eq!(body["timestamp"], "2023-11-14T22:13:20.123Z");
        }
        assert!(sample.body.contains(r#""event":"SampleEvent""#));
        assert_eq!((event.expected, sample.expected), (Expected::Each, Expected::Nothing));
        let headers = sender.headers(&event.body);
        assert!(headers.iter().any(|(name, value)| name == "x-webhook-token" && value.expose() == "minted"));
        assert_eq!(sender.wait_after(1), None);
    }
}
