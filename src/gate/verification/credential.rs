//! What a receiver's Secrets hold, and which of it can be used.

use std::fmt;
use std::sync::Arc;

use crate::api::SecretKeyReference;
use crate::secret::SecretText;

/// The shortest credential that is believed, in bytes. An HMAC under an empty key is one that anybody
/// can make, and what is shorter than this can be tried out.
pub const SHORTEST: usize = 8;

/// The value of one key of a Secret, as it was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where it was read.
    pub reference: SecretKeyReference,
    /// What was read.
    pub text: SecretText,
}

/// Which credential a delivery carried. Fit to be shown: nothing secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The receiver asks for none.
    Nothing,
    /// The one in this key of a Secret.
    Secret(SecretKeyReference),
    /// A token of the receiver's source, by its fingerprint if that is known.
    Token(Option<Arc<str>>),
}

impl fmt::Display for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("none is asked for"),
            Self::Secret(reference) => {
                write!(formatter, "key {} of Secret {}", reference.key, reference.name)
            }
            Self::Token(Some(fingerprint)) => write!(formatter, "token {fingerprint}"),
            Self::Token(None) => formatter.write_str("a token whose fingerprint is not known"),
        }
    }
}

/// A credential that cannot be used. It matches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Which one.
    pub which: SecretKeyReference,
    /// Why, and what to do.
    pub why: Why,
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "key {} of Secret {}: {}", self.which.key, self.which.name, self.why)
    }
}

/// Why a credential cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// There is no such Secret, or it lacks the key.
    #[error("it is not there; create it, or take the reference out")]
    Missing,
    /// Nobody knows what is in it.
    #[error("it cannot be read at this moment, which is tried again: {0}")]
    Unread(String),
    /// There is nothing in it.
    #[error("it is empty; write the credential into it")]
    Empty,
    /// It can be tried out.
    #[error("the credential in it is shorter than {SHORTEST} bytes, so it can be guessed; use a longer one")]
    TooShort,
    /// It is no user and password.
    #[error("there is no colon in it; write `user:password`")]
    NoColon,
    /// No request can carry it.
    #[error(
        "there is a line break or another control character in it, which no header can carry; write the \
         credential alone, on one line"
    )]
    NotAHeaderValue,
    /// It is no key of Standard Webhooks.
    #[error("it is no base64; write the key as the platform shows it, such as `whsec_…`")]
    NotBase64,
}

/// The values of Secrets that can be used, if there are any, and what of them cannot.
pub(super) fn usable<T>(
    secrets: &[SecretKeyReference],
    loaded: &[Loaded],
    read: impl Fn(&SecretText) -> Result<T, Why>,
) -> (Option<Vec<(SecretKeyReference, T)>>, Vec<Unusable>) {
    let (mut known, mut unusable) = (Vec::new(), Vec::new());
    for reference in secrets {
        let value = loaded.iter().find(|loaded| loaded.reference == *reference).ok_or(Why::Missing);
        match value.and_then(|loaded| read(&loaded.text.clone().without_line_end())) {
            Ok(value) => known.push((reference.clone(), value)),
            Err(why) => unusable.push(Unusable { which: reference.clone(), why }),
        }
    }
    ((!known.is_empty()).then_some(known), unusable)
}

/// Whether a credential is long enough to be believed.
pub(super) fn long_enough(credential: &[u8]) -> Result<&[u8], Why> {
    match credential.len() {
        0 => Err(Why::Empty),
        length if length < SHORTEST => Err(Why::TooShort),
        _ => Ok(credential),
    }
}

/// A credential as a header carries it: blanks around it are no part of a header's value (RFC 9110,
/// section 5.5).
pub(super) fn as_header_value(credential: &str) -> Result<&[u8], Why> {
    let credential = credential.trim_matches([' ', '\t']);
    if credential.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
        return Err(Why::NotAHeaderValue);
    }
    long_enough(credential.as_bytes())
}
