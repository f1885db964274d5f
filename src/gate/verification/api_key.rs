//! An API key in a header that the Secret itself may name.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::ProcessKey;
use super::credential::{Credential, Loaded, Why, as_header_value};
use super::field::only;
use crate::api::SecretKeyReference;
use crate::gate::digest::position;
use crate::gate::refusal::Refusal;
use crate::http::HeaderName;
use crate::secret::SecretText;
use crate::store::Digest;

pub(super) struct ApiKeys {
    known: Vec<(SecretKeyReference, ApiKey)>,
    headers: Vec<HeaderName>,
    key: ProcessKey,
}

pub(super) struct ApiKey {
    header: HeaderName,
    digest: Digest,
}

/// Where a Secret says its value goes, and the value: `header:value`, or a value alone for
/// `Authorization`. What precedes the first colon is a header only if it can be the name of one.
fn split<'a>(header: Option<&HeaderName>, text: &'a str) -> (HeaderName, &'a str) {
    if let Some(header) = header {
        return (header.clone(), text);
    }
    let named = text
        .split_once(':')
        .and_then(|(name, value)| HeaderName::from_bytes(name.as_bytes()).ok().map(|header| (header, value)));
    named.unwrap_or((AUTHORIZATION, text))
}

/// An API key as a header carries it.
pub(super) fn read(header: Option<&HeaderName>, text: &SecretText, key: &ProcessKey) -> Result<ApiKey, Why> {
    if text.is_empty() {
        return Err(Why::Empty);
    }
    let (header, value) = split(header, text.expose());
    as_header_value(value).map(|value| ApiKey { header, digest: key.digest(value) })
}

/// The headers that these Secrets name, those that cannot be used among them: what is in such a header
/// may be a credential all the same.
pub(super) fn headers(
    header: Option<&HeaderName>,
    secrets: &[SecretKeyReference],
    loaded: &[Loaded],
) -> Vec<HeaderName> {
    let mut headers: Vec<HeaderName> = loaded
        .iter()
        .filter(|loaded| secrets.contains(&loaded.reference))
        .map(|loaded| split(header, loaded.text.expose()).0)
        .collect();
    headers.extend(header.cloned());
    without_repetitions(headers)
}

fn without_repetitions(mut headers: Vec<HeaderName>) -> Vec<HeaderName> {
    headers.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    headers.dedup();
    headers
}

impl ApiKeys {
    pub(super) fn new(known: Vec<(SecretKeyReference, ApiKey)>, key: ProcessKey) -> Self {
        let headers = without_repetitions(known.iter().map(|(_, known)| known.header.clone()).collect());
        Self { known, headers, key }
    }

    /// Secrets may name different headers, while one is exchanged for another. Each header that is there
    /// has to be there once and is compared with the keys that belong into it; one that matches is enough.
    pub(super) fn judge(&self, headers: &HeaderMap) -> Result<Credential, Refusal> {
        let mut presented = Vec::new();
        let mut reason = Refusal::NoCredential;
        for header in &self.headers {
            match only(headers, header) {
                Ok(value) => presented.push((header, self.key.digest(value))),
                Err(Refusal::NoCredential) => {}
                Err(Refusal::CredentialTwice) => return Err(Refusal::CredentialTwice),
                Err(malformed) => reason = malformed,
            }
        }
        if presented.is_empty() {
            return Err(reason);
        }
        let mut matched = None;
        for (header, digest) in &presented {
            let known: Vec<_> = self.known.iter().filter(|(_, known)| known.header == *header).collect();
            let found = position(digest, known.iter().map(|(_, known)| &known.digest));
            matched = matched.or(found.and_then(|index| known.get(index)).map(|(which, _)| which));
        }
        matched.map(|which| Credential::Secret(which.clone())).ok_or(Refusal::UnknownCredential)
    }
}
