//! HTTP Basic authentication (RFC 7617).

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::credential::{Credential, Why, long_enough};
use super::encoding::base64;
use super::field::only;
use super::{Prefix, ProcessKey};
use crate::api::SecretKeyReference;
use crate::gate::digest::position;
use crate::gate::refusal::Refusal;
use crate::secret::SecretText;
use crate::store::Digest;

pub(super) struct Basic {
    scheme: Prefix,
    known: Vec<(SecretKeyReference, Digest)>,
    key: ProcessKey,
}

/// The digest of `user:password`, the whole of it: who splits at another colon is not misled.
pub(super) fn read(text: &SecretText, key: &ProcessKey) -> Result<Digest, Why> {
    let credential = long_enough(text.expose().as_bytes())?;
    if !credential.contains(&b':') {
        return Err(Why::NoColon);
    }
    Ok(key.digest(credential))
}

/// `user:password` of the value of `Authorization`.
pub(super) fn decoded(scheme: &Prefix, value: &[u8]) -> Option<Vec<u8>> {
    base64(scheme.strip(value)?).filter(|credential| credential.contains(&b':'))
}

impl Basic {
    pub(super) fn new(known: Vec<(SecretKeyReference, Digest)>, key: ProcessKey) -> Self {
        Self { scheme: Prefix::new(&AUTHORIZATION, "Basic "), known, key }
    }

    pub(super) fn judge(&self, headers: &HeaderMap) -> Result<Credential, Refusal> {
        let value = only(headers, &AUTHORIZATION)?;
        let presented = decoded(&self.scheme, value).ok_or(Refusal::CredentialMalformed)?;
        let presented = self.key.digest(&presented);
        let found = position(&presented, self.known.iter().map(|(_, digest)| digest));
        let (reference, _) =
            found.and_then(|index| self.known.get(index)).ok_or(Refusal::UnknownCredential)?;
        Ok(Credential::Secret(reference.clone()))
    }
}
