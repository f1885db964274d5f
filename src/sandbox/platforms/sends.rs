//! What a platform does: its events, its headers, when it tries again, and how it answers.

use std::time::Duration;

use axum::http::HeaderName;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::sandbox::account::Expected;
use crate::sandbox::random::Random;
use crate::secret::SecretText;

/// What a platform does, one event after the other. Nothing here waits or reads a clock.
pub(in crate::sandbox) trait Sends: Send {
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
pub(in crate::sandbox) struct Message {
    pub(in crate::sandbox) body: String,
    pub(in crate::sandbox) expected: Expected,
}

/// A process whose statuses are known beforehand.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessPlan {
    /// Its id.
    pub id: String,
    /// Its statuses, in the order in which they come.
    pub statuses: Vec<u8>,
}

/// What a question for a process comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Asked {
    /// Its status.
    Status(u8),
    /// The header `APIKEY` is missing or wrong.
    WrongKey,
    /// There is no such process.
    Unknown,
    /// Too many questions in this second.
    TooMany,
}

/// Milliseconds and `Z`, as these platforms write times.
pub(super) fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

const JSON: &str = "application/json";

/// The header that says that the body is JSON.
pub(super) fn json_content() -> (HeaderName, SecretText) {
    (axum::http::header::CONTENT_TYPE, JSON.into())
}
