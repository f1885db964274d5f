//! A token in a header, from Secrets.

use hyper::HeaderMap;

use super::credential::{Credential, Why, as_header_value};
use super::field::only;
use super::{Prefix, ProcessKey};
use crate::api::SecretKeyReference;
use crate::gate::digest::position;
use crate::gate::refusal::Refusal;
use crate::http::HeaderName;
use crate::secret::SecretText;
use crate::store::Digest;

pub(super) struct Tokens {
    header: HeaderName,
    prefix: Prefix,
    known: Vec<(SecretKeyReference, Digest)>,
    key: ProcessKey,
}

/// The digest of a token as a header carries it after the prefix.
pub(super) fn read(prefix: &Prefix, text: &SecretText, key: &ProcessKey) -> Result<Digest, Why> {
    as_header_value(prefix.credential(text.expose())).map(|token| key.digest(token))
}

/// The token in its header.
pub(super) fn presented<'a>(
    headers: &'a HeaderMap,
    header: &HeaderName,
    prefix: &Prefix,
) -> Result<&'a [u8], Refusal> {
    prefix.strip(only(headers, header)?).ok_or(Refusal::CredentialMalformed)
}

impl Tokens {
    pub(super) fn new(
        header: HeaderName,
        prefix: Prefix,
        known: Vec<(SecretKeyReference, Digest)>,
        key: ProcessKey,
    ) -> Self {
        Self { header, prefix, known, key }
    }

    pub(super) fn judge(&self, headers: &HeaderMap) -> Result<Credential, Refusal> {
        let presented = self.key.digest(presented(headers, &self.header, &self.prefix)?);
        let found = position(&presented, self.known.iter().map(|(_, digest)| digest));
        let (reference, _) =
            found.and_then(|index| self.known.get(index)).ok_or(Refusal::UnknownCredential)?;
        Ok(Credential::Secret(reference.clone()))
    }
}
