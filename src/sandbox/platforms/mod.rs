//! The platforms that have no API to manage subscriptions: what they send, and when.
//!
//! Each file follows the platform's own document and nothing else. It must not look at what the gate
//! takes such a platform to be, for it is the judge of that.

mod idunico;
mod pulpo;
mod qualp;

use std::time::Duration;

use axum::http::HeaderName;
use chrono::{DateTime, Utc};

pub use idunico::{Authentication, IdUnico, ProcessPlan};
pub use pulpo::Pulpo;
pub use qualp::QualP;

pub(super) use idunico::{Asked, body as status_body};

use super::account::Expected;
use super::random::Random;
use crate::secret::SecretText;

/// A platform that sends, with what its users type into it.
#[derive(Clone, Debug)]
pub enum Platform {
    /// Digital identity: the status of a process, `{id, status}`.
    IdUnico(IdUnico),
    /// A no-code platform: `{event, timestamp, payload}`.
    Pulpo(Pulpo),
    /// Routes and tolls: low credits, signed.
    QualP(QualP),
}

impl Platform {
    /// The platform's name in lower case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::IdUnico(_) => "idunico",
            Self::Pulpo(_) => "pulpo",
            Self::QualP(_) => "qualp",
        }
    }

    pub(super) fn into_sends(self) -> Box<dyn Sends> {
        match self {
            Self::IdUnico(settings) => Box::new(idunico::Sender::new(settings)),
            Self::Pulpo(settings) => Box::new(pulpo::Sender::new(settings)),
            Self::QualP(settings) => Box::new(qualp::Sender::new(settings)),
        }
    }

    /// What must never reach an application.
    pub(super) fn credentials(&self) -> Vec<SecretText> {
        match self {
            Self::IdUnico(settings) => settings.credentials(),
            Self::Pulpo(settings) => vec![settings.token.clone()],
            Self::QualP(settings) => vec![settings.secret.clone()],
        }
    }
}

/// What a platform does, one event after the other. Nothing here waits or reads a clock.
pub(super) trait Sends: Send {
    /// What happens next.
    fn event(&mut self, now: DateTime<Utc>, random: &mut Random) -> Message;

    /// The platform's test event, where it has one.
    fn sample(&mut self, _now: DateTime<Utc>, _random: &mut Random) -> Option<Message> {
        None
    }

    /// The headers of a delivery with this body.
    fn headers(&self, body: &str) -> Vec<(HeaderName, SecretText)>;

    /// Whether an answer of this status ends the attempts.
    fn is_success(&self, status: u16) -> bool;

    /// How long to wait after attempt number `attempt` (from 1) has failed; `None` when it was the last.
    fn wait_after(&self, attempt: u32) -> Option<Duration>;

    /// How long an answer may take.
    fn timeout(&self) -> Duration;

    /// How many deliveries may be under way at this moment.
    fn at_once(&self) -> usize;

    /// An attempt has ended.
    fn learn(&mut self, _success: bool) {}

    /// Begins a process; false where the platform has none, or too many, or the plan is empty.
    fn begin(&mut self, _plan: ProcessPlan) -> bool {
        false
    }

    /// Answers the platform's own API for one process, where it has one.
    fn ask(&mut self, _now: DateTime<Utc>, _id: &str, _api_key: Option<&str>) -> Option<Asked> {
        None
    }
}

/// One event, as it is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) body: String,
    pub(super) expected: Expected,
}

/// Milliseconds and `Z`, as these platforms write times.
fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

const JSON: &str = "application/json";

fn json_content() -> (HeaderName, SecretText) {
    (axum::http::header::CONTENT_TYPE, JSON.into())
}
