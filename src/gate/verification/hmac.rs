//! An HMAC of the raw body in a header (RFC 2104).

use std::sync::Arc;

use aws_lc_rs::hmac::{Algorithm, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, HMAC_SHA512, Key, sign};
use hyper::HeaderMap;

use super::credential::{Credential, Why, long_enough};
use super::encoding::{base64, hex};
use super::field::only;
use super::{Prefix, ProcessKey};
use crate::api::{HmacAlgorithm, HmacEncoding, SecretKeyReference};
use crate::gate::digest::position;
use crate::gate::refusal::Refusal;
use crate::http::HeaderName;
use crate::secret::SecretText;
use crate::store::Digest;

fn algorithm(named: HmacAlgorithm) -> Algorithm {
    match named {
        HmacAlgorithm::Sha1 => HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HmacAlgorithm::Sha256 => HMAC_SHA256,
        HmacAlgorithm::Sha512 => HMAC_SHA512,
    }
}

/// The key that a Secret holds: its bytes as they are.
pub(super) fn read(named: HmacAlgorithm, text: &SecretText) -> Result<Key, Why> {
    long_enough(text.expose().as_bytes()).map(|key| Key::new(algorithm(named), key))
}

/// How the signature is written.
pub(super) struct Form {
    header: HeaderName,
    prefix: Prefix,
    encoding: HmacEncoding,
    length: usize,
}

impl Form {
    pub(super) fn new(
        header: &HeaderName,
        named: HmacAlgorithm,
        encoding: HmacEncoding,
        prefix: &str,
    ) -> Self {
        let length = algorithm(named).digest_algorithm().output_len();
        Self { header: header.clone(), prefix: Prefix::new(header, prefix), encoding, length }
    }

    /// The bytes of the signature, if the value has its form.
    pub(super) fn decoded(&self, value: &[u8]) -> Option<Vec<u8>> {
        let text = self.prefix.strip(value)?;
        let bytes = match self.encoding {
            HmacEncoding::Hex => hex(text),
            HmacEncoding::Base64 => base64(text),
        };
        bytes.filter(|bytes| bytes.len() == self.length)
    }
}

pub(super) struct Keys {
    form: Form,
    known: Vec<(SecretKeyReference, Key)>,
    key: ProcessKey,
}

pub(super) struct Presented {
    signature: Digest,
    keys: Arc<Keys>,
}

impl Keys {
    pub(super) fn new(form: Form, known: Vec<(SecretKeyReference, Key)>, key: ProcessKey) -> Self {
        Self { form, known, key }
    }

    /// The signature of the head of a request.
    pub(super) fn present(self: &Arc<Self>, headers: &HeaderMap) -> Result<Presented, Refusal> {
        let value = only(headers, &self.form.header)?;
        let signature = self.form.decoded(value).ok_or(Refusal::CredentialMalformed)?;
        Ok(Presented { signature: self.key.digest(&signature), keys: self.clone() })
    }
}

impl Presented {
    pub(super) fn judge(&self, body: &[u8]) -> Option<Credential> {
        let Keys { known, key, .. } = &*self.keys;
        let expected: Vec<Digest> =
            known.iter().map(|(_, secret)| key.digest(sign(secret, body).as_ref())).collect();
        let found = position(&self.signature, &expected)?;
        known.get(found).map(|(reference, _)| Credential::Secret(reference.clone()))
    }
}
