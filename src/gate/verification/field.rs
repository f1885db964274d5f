//! Reading the one header that holds a credential.

use hyper::HeaderMap;

use crate::gate::refusal::Refusal;
use crate::http::HeaderName;

/// The value of a header that has to be there once. Two of them would leave it to each reader which one
/// counts, and the application may read another than we.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a [u8], Refusal> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Refusal::NoCredential)?;
    if values.next().is_some() {
        return Err(Refusal::CredentialTwice);
    }
    match trimmed(value.as_bytes()) {
        [] => Err(Refusal::CredentialMalformed),
        value => Ok(value),
    }
}

/// Without the blanks around it.
pub(super) fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
