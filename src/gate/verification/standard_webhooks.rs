//! Standard Webhooks (<https://www.standardwebhooks.com>), symmetric signatures `v1`.
//!
//! Signed is `id.timestamp.body`, with HMAC-SHA256 under the bytes that the base64 after `whsec_` is.
//! The header holds one or more signatures with their versions, with blanks between.

use std::sync::Arc;

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use chrono::{DateTime, Utc};
use hyper::HeaderMap;

use super::ProcessKey;
use super::credential::{Credential, Why, long_enough};
use super::encoding::base64;
use super::field::only;
use crate::api::SecretKeyReference;
use crate::gate::digest::position;
use crate::gate::refusal::Refusal;
use crate::http::HeaderName;
use crate::secret::SecretText;
use crate::store::Digest;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How far the sender's time may be from ours, either way, in seconds. The reference libraries have the
/// same.
const TOLERANCE: u64 = 300;
/// How many signatures of version `v1` are looked at. There are as many as the sender has keys at the
/// same time; each costs a comparison.
const MOST_SIGNATURES: usize = 16;
/// Length of a signature in bytes.
const LENGTH: usize = 32;

/// The key that a Secret holds.
pub(super) fn read(text: &SecretText) -> Result<Key, Why> {
    let text = text.expose();
    let encoded = text.strip_prefix("whsec_").unwrap_or(text);
    let key = base64(encoded.as_bytes()).ok_or(Why::NotBase64)?;
    long_enough(&key).map(|key| Key::new(HMAC_SHA256, key))
}

pub(super) struct Keys {
    known: Vec<(SecretKeyReference, Key)>,
    key: ProcessKey,
}

pub(super) struct Presented {
    signed: Vec<u8>,
    signatures: Vec<Digest>,
    keys: Arc<Keys>,
}

/// A part of what is signed, which has to be there when there is a signature.
fn part<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a [u8], Refusal> {
    only(headers, name).map_err(|reason| match reason {
        Refusal::CredentialTwice => reason,
        _ => Refusal::CredentialMalformed,
    })
}

/// Seconds since 1970, of digits alone.
pub(super) fn seconds(timestamp: &[u8]) -> Option<i64> {
    let digits = timestamp.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(timestamp).ok().filter(|_| digits)?.parse().ok()
}

/// The signatures of version `v1`; others are of versions that we do not know. `None` when there are
/// none, or too many.
pub(super) fn signatures(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let entries = value.split(|byte| matches!(byte, b' ' | b'\t'));
    for (index, entry) in entries.filter_map(|entry| entry.strip_prefix(b"v1,")).enumerate() {
        if index == MOST_SIGNATURES {
            return None;
        }
        found.extend(base64(entry).filter(|signature| signature.len() == LENGTH));
    }
    (!found.is_empty()).then_some(found)
}

impl Keys {
    pub(super) fn new(known: Vec<(SecretKeyReference, Key)>, key: ProcessKey) -> Self {
        Self { known, key }
    }

    /// The signatures of the head of a request.
    pub(super) fn present(
        self: &Arc<Self>,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Result<Presented, Refusal> {
        let value = only(headers, &SIGNATURE)?;
        let (id, timestamp) = (part(headers, &ID)?, part(headers, &TIMESTAMP)?);
        let signatures = signatures(value).ok_or(Refusal::CredentialMalformed)?;
        let sent = seconds(timestamp).ok_or(Refusal::CredentialMalformed)?;
        if now.timestamp().abs_diff(sent) > TOLERANCE {
            return Err(Refusal::StaleTimestamp);
        }
        Ok(Presented {
            signed: [id, b".", timestamp, b"."].concat(),
            signatures: signatures.iter().map(|signature| self.key.digest(signature)).collect(),
            keys: self.clone(),
        })
    }
}

impl Presented {
    pub(super) fn judge(&self, body: &[u8]) -> Option<Credential> {
        let mut matched = None;
        for (reference, secret) in &self.keys.known {
            let mut context = Context::with_key(secret);
            context.update(&self.signed);
            context.update(body);
            let expected = self.keys.key.digest(context.sign().as_ref());
            let found = position(&expected, &self.signatures);
            matched = matched.or(found.map(|_| reference));
        }
        matched.map(|reference| Credential::Secret(reference.clone()))
    }
}
