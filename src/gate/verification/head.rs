//! What the head of a request says, and what its body has to say after it.

use std::fmt;
use std::sync::Arc;

use super::credential::Credential;
use super::{hmac, standard_webhooks};
use crate::gate::refusal::Refusal;

/// The credential that a delivery carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Which one.
    pub credential: Credential,
    /// Its fingerprint, if it is a token of a source whose fingerprint is known.
    pub fingerprint: Option<Arc<str>>,
}

/// What the head of a request says.
#[derive(Debug)]
pub enum Head {
    /// The delivery is genuine.
    Accepted(Matched),
    /// It has a signature, and its body decides.
    NeedsBody(Presented),
    /// It is refused; with the fingerprint of the retired token that it carried.
    Refused(Refusal, Option<Arc<str>>),
}

impl From<Refusal> for Head {
    fn from(reason: Refusal) -> Self {
        Self::Refused(reason, None)
    }
}

/// What a request presents whose body decides.
pub struct Presented(pub(super) Signature);

pub(super) enum Signature {
    Hmac(hmac::Presented),
    StandardWebhooks(standard_webhooks::Presented),
}

impl Presented {
    /// Judges the delivery by its whole body, as it came.
    ///
    /// # Errors
    /// [`Refusal::UnknownCredential`] when no usable credential made the signature.
    pub fn judge(&self, body: &[u8]) -> Result<Matched, Refusal> {
        let credential = match &self.0 {
            Signature::Hmac(presented) => presented.judge(body),
            Signature::StandardWebhooks(presented) => presented.judge(body),
        };
        credential
            .map(|credential| Matched { credential, fingerprint: None })
            .ok_or(Refusal::UnknownCredential)
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Presented")
    }
}
