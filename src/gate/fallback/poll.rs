//! Asking for one id, and handing on what is new.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::parts::Parts;
use super::question;
use super::settle::Outcome;
use crate::gate::acceptance::{self, Reading};
use crate::gate::hand_on::attempt::{LONGEST_ASKED, Meaning, Sign};
use crate::gate::hand_on::request::Notes;
use crate::gate::hand_on::sending::{GRACE, send};
use crate::gate::receiver::{Fallback, Receiver};
use crate::http::Answer;
use crate::store::{DeliveryId, Digest, Expectation, StoreError};

/// What came of it, and how the application was found, if it was asked.
pub(super) struct Result {
    pub(super) outcome: Outcome,
    pub(super) application: Option<(DeliveryId, Application)>,
}

/// How the application was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Application {
    Alive,
    Away(Sign),
}

impl From<Outcome> for Result {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, application: None }
    }
}

/// Asks for one id. `overtaken` is set when a delivery comes meanwhile.
///
/// # Errors
/// Of the store.
pub(super) async fn poll(
    parts: &Parts,
    receiver: &Receiver,
    fallback: &Fallback,
    expectation: &Expectation,
    overtaken: &AtomicBool,
) -> std::result::Result<Result, StoreError> {
    let answer = match ask(parts, receiver, fallback, &expectation.id).await {
        Ok(answer) => answer,
        Err((why, wait)) => return Ok(Outcome::NoAnswer { why, wait }.into()),
    };
    let no_answer = |why: &str| Ok(Outcome::NoAnswer { why: why.to_owned(), wait: None }.into());
    let body = match &answer.body {
        Ok(body) => Bytes::copy_from_slice(body.as_bytes()),
        Err(error) => return no_answer(&error.to_string()),
    };
    let reading = acceptance::read(&body, receiver);
    let Some(polled) = &reading.polled else {
        return no_answer("the platform's answer holds no id or no status where spec.fallback.fields says");
    };
    if polled.id != expectation.id {
        return no_answer("the platform's answer is about another id");
    }
    let status = parts.status_digest(&polled.status);
    let is_final = fallback.until.contains(&polled.status);
    if !reading.hand_on || expectation.handed_on == Some(status) {
        return Ok(Outcome::Nothing { is_final }.into());
    }
    // A delivery that came while the platform was asked knows better, here or at another gate.
    let known = parts.store.expectation(&receiver.owner.uid, &expectation.id).await?;
    if overtaken.load(Ordering::Acquire) || known.as_ref() != Some(expectation) {
        return Ok(Outcome::Overtaken.into());
    }
    let id = delivery_id(parts, expectation, &status);
    let (outcome, application) = match hand_on(parts, receiver, id, answer, &reading, body).await {
        Meaning::Taken => (Outcome::HandedOn { status, is_final }, Application::Alive),
        Meaning::Refused { what, wait } => (Outcome::NotTaken { why: what, wait }, Application::Alive),
        Meaning::Away { what, sign } => {
            let wait = if let Sign::Asked(wait) = sign { wait } else { None };
            (Outcome::NotTaken { why: what, wait }, Application::Away(sign))
        }
    };
    Ok(Result { outcome, application: Some((id, application)) })
}

/// Asks the platform. An answer that is none comes back as why, and how long the platform asks to wait.
async fn ask(
    parts: &Parts,
    receiver: &Receiver,
    fallback: &Fallback,
    id: &str,
) -> std::result::Result<Answer, (String, Option<Duration>)> {
    let asking = async {
        let request = question::compose(&*parts.means, receiver, fallback, id).await;
        let request = request.map_err(|why| (why, None))?;
        let limit = request.timeout;
        let answered = timeout(limit + GRACE, parts.asking.ask(&receiver.owner.namespace, request)).await;
        let answered =
            answered.map_err(|_| (format!("the platform did not answer within {limit:?}"), None))?;
        answered.map_err(|error| (error.to_string(), None))
    };
    let answer = asking.await?;
    let why = || format!("the platform answered {}", answer.status);
    let wait = answer.retry_after.map(|wait| wait.min(LONGEST_ASKED));
    match answer.status {
        200..=299 => Ok(answer),
        429 | 503 => Err((why(), Some(wait.unwrap_or_default()))),
        _ => Err((why(), wait)),
    }
}

/// The id of what is handed on: the same for each attempt with one status.
fn delivery_id(parts: &Parts, expectation: &Expectation, status: &Digest) -> DeliveryId {
    let uid = expectation.owner.uid.as_bytes();
    let digest = parts.digests.digest("polled delivery", &[uid, expectation.id.as_bytes(), status]);
    let mut random = [0; 10];
    for (to, from) in random.iter_mut().zip(digest) {
        *to = from;
    }
    DeliveryId::new(expectation.since, random)
}

async fn hand_on(
    parts: &Parts,
    receiver: &Receiver,
    id: DeliveryId,
    answer: Answer,
    reading: &Reading,
    body: Bytes,
) -> Meaning {
    let notes = Notes {
        id,
        attempt: 1,
        owner: &receiver.owner,
        event_time: reading.event_time.as_deref(),
        duplicate_of: None,
        polled: true,
    };
    let content_type = answer.content_type.or_else(|| receiver.content_type.clone());
    send(&*parts.exchange, &*parts.locate, receiver, notes.headers(), content_type, body).await
}
