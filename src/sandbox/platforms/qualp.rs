//! QualP: a message when the credits run low, signed with a secret of the user.
//!
//! Documented: the header `signature`, lowercase hex of the HMAC-SHA256 of the raw body; the type
//! `low-credits-webhook`; that the body holds the user's living access token and tax id. Not
//! documented, and made up here: the names of most fields. No retries are documented.

use std::time::Duration;

use aws_lc_rs::hmac;
use axum::http::HeaderName;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::sends::{Message, Sends, json_content, timestamp};
use crate::sandbox::account::Expected;
use crate::sandbox::random::{Random, hex};
use crate::secret::SecretText;

/// How long an answer may take; not documented.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Deliveries under way at the same time; not documented.
const AT_ONCE: usize = 64;

/// What is registered at QualP.
#[derive(Clone, Debug)]
pub struct QualP {
    /// The secret that bodies are signed with.
    pub secret: SecretText,
    /// The access token in the bodies.
    pub access_token: SecretText,
    /// The tax id (CPF or CNPJ) in the bodies.
    pub tax_id: SecretText,
}

pub(super) struct Sender {
    settings: QualP,
    /// Events so far; no two bodies are the same.
    number: u64,
}

impl Sender {
    pub(super) fn new(settings: QualP) -> Self {
        Self { settings, number: 0 }
    }
}

/// Lowercase hex of the HMAC-SHA256 (RFC 2104).
fn signature(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex(hmac::sign(&key, body).as_ref())
}

impl Sends for Sender {
    fn event(&mut self, now: DateTime<Utc>, _random: &mut Random) -> Message {
        self.number += 1;
        let body = json!({
            "type": "low-credits-webhook",
            "date": timestamp(now),
            "notification": self.number,
            "credits": 50,
            "user": {
                "name": "Transportadora Sandbox",
                "cpf_cnpj": self.settings.tax_id.expose(),
                "access_token": self.settings.access_token.expose(),
            },
        });
        Message { body: body.to_string(), expected: Expected::Each }
    }

    fn headers(&self, body: &str) -> Vec<(HeaderName, SecretText)> {
        let value = signature(self.settings.secret.expose(), body.as_bytes());
        vec![json_content(), (HeaderName::from_static("signature"), value.into())]
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
    fn signatures_are_those_of_the_standard() {
        // RFC 4231, section 4.3.
        assert_eq!(
            signature("Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        // Computed by Python's hmac module.
        assert_eq!(
            signature(
                "sandbox-qualp-webhook-secret",
                "{\"type\":\"low-credits-webhook\",\"x\":\"\u{e7}\"}".as_bytes()
            ),
            "6ce006203f18f20c71118a65d2a67071de8727cf72ddf1ef864847bd5e3e0697"
        );
    }

    #[test]
    fn the_body_holds_what_nobody_may_see_and_is_never_the_same() {
        let mut sender = Sender::new(QualP {
            secret: "s".into(),
            access_token: "living token".into(),
            tax_id: "11222333000181".into(),
        });
        let mut random = Random::seeded(1);
        let now = Utc::now();
        let [first, second] = [(); 2].map(|()| sender.event(now, &mut random).body);
        assert_ne!(first, second);
        let body: serde_json::Value = serde_json::from_str(&first).unwrap();
        assert_eq!(body["type"], "low-credits-webhook");
        assert_eq!(body["user"]["access_token"], "living token");
        assert_eq!(body["user"]["cpf_cnpj"], "11222333000181");
        let headers = sender.headers(&first);
        assert_eq!(headers[1].0, "signature");
        assert_eq!(headers[1].1.expose(), signature("s", first.as_bytes()));
    }
}
