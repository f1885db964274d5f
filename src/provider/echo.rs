//! Texts of answers that hold a secret that was sent.
//!
//! A provider may show what it was sent, and whoever describes it may point at that place as if it
//! were the webhook's id. An id stands in status, logs and events, so none may hold a token or a
//! Secret's value, as it is or encoded, nor a large part of one. Kept are keyed digests, no texts.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::secret::SecretText;

/// So many secrets that were sent last are known.
const MAX_SECRETS: usize = 32;
/// Shorter parts are found in a text by chance.
const PART: usize = 16;
/// The shortest secret that is looked for inside a text; of a shorter one the whole text must be it.
const SHORTEST: usize = 8;
/// A run of so many characters is always found, however long the secret is.
const LONGEST_RUN: usize = 64;

/// Digests of one secret's parts.
struct Parts {
    whole: u64,
    parts: BTreeSet<u64>,
    /// Secrets that are shorter than a part: length and digest.
    short: Vec<(usize, u64)>,
}

/// The secrets that were sent to one provider last.
#[derive(Default)]
pub(super) struct Sent {
    key: RandomState,
    known: Mutex<VecDeque<Parts>>,
}

impl Sent {
    /// A secret is being sent.
    pub(super) fn note(&self, secret: &SecretText) {
        let whole = self.key.hash_one(secret.expose());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if secret.is_empty() || known.iter().any(|parts| parts.whole == whole) {
            return;
        }
        if known.len() >= MAX_SECRETS {
            known.pop_front();
        }
        known.push_back(self.parts_of(secret.expose(), whole));
    }

    fn parts_of(&self, secret: &str, whole: u64) -> Parts {
        let mut parts = Parts { whole, parts: BTreeSet::new(), short: Vec::new() };
        // The signature of a JWT is worth as much as all of it.
        let segments =
            secret.split('.').filter(|segment| segment.len() >= PART && segment.len() < secret.len());
        for text in std::iter::once(secret).chain(segments) {
            for form in forms(text) {
                let bytes = form.as_bytes();
                if bytes.len() < PART {
                    parts.short.push((bytes.len(), self.key.hash_one(bytes)));
                    continue;
                }
                let run = (bytes.len() / 3).clamp(PART, LONGEST_RUN);
                let windows = bytes.windows(PART).step_by(run - PART + 1);
                parts.parts.extend(windows.map(|window| self.key.hash_one(window)));
            }
        }
        parts
    }

    /// Whether a text holds a secret that was sent, or a large part of one.
    pub(super) fn is_in(&self, text: &str) -> bool {
        if is_json_web_token(text) {
            return true;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        readings(text).iter().any(|reading| {
            let bytes = reading.as_bytes();
            let found = bytes
                .windows(PART)
                .map(|window| self.key.hash_one(window))
                .any(|digest| known.iter().any(|secret| secret.parts.contains(&digest)));
            found
                || known.iter().flat_map(|secret| &secret.short).any(|(length, digest)| {
                    let is = |window: &[u8]| self.key.hash_one(window) == *digest;
                    if *length >= SHORTEST { bytes.windows(*length).any(is) } else { is(bytes) }
                })
        })
    }
}

/// A text in which neither case nor the alphabet of base64 makes a difference.
fn plain(text: &str) -> Zeroizing<String> {
    let same = |c: char| match c {
        '-' => '+',
        '_' => '/',
        c => c.to_ascii_lowercase(),
    };
    Zeroizing::new(text.chars().map(same).collect())
}

/// A secret as it is, in hexadecimal, and in base64 wherever it begins in what was encoded.
fn forms(secret: &str) -> Vec<Zeroizing<String>> {
    use std::fmt::Write as _;
    let mut forms = vec![plain(secret)];
    let mut hexadecimal = Zeroizing::new(String::with_capacity(2 * secret.len()));
    for byte in secret.bytes() {
        // Writing to a text does not fail.
        let _ = write!(hexadecimal, "{byte:02x}");
    }
    forms.push(hexadecimal);
    for before in 0..3_usize {
        let padded = Zeroizing::new([&vec![0; before][..], secret.as_bytes()].concat());
        let encoded = Zeroizing::new(STANDARD_NO_PAD.encode(&*padded));
        // The first and the last characters hold bits of what stands beside.
        let (first, last) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        forms.extend(encoded.get(first..last).filter(|text| text.len() >= SHORTEST).map(plain));
    }
    forms
}

/// A text as it is, and with percent-encoding and JSON's escapes undone.
fn readings(text: &str) -> Vec<Zeroizing<String>> {
    let mut readings = vec![plain(text)];
    let mut current = Zeroizing::new(text.to_owned());
    // What is encoded twice is undone twice.
    for _ in 0..2 {
        let decoded = Zeroizing::new(percent_decode_str(&current).decode_utf8_lossy().into_owned());
        let unescaped: Option<String> = serde_json::from_str(&format!("\"{}\"", &*decoded)).ok();
        let next = unescaped.map_or(decoded, Zeroizing::new);
        if *next == *current {
            break;
        }
        readings.push(plain(&next));
        current = next;
    }
    readings
}

/// Whether a text has the form of a signed JWT (RFC 7519): such an id is a token, whoever has sent it.
fn is_json_web_token(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    matches!(parts[..], [header, claims, _] if header.starts_with("eyJ") && claims.starts_with("eyJ"))
}

/// The password of a Basic credential, which is encoded with the user's name before it.
pub(super) fn password_of(pair: &str) -> Option<SecretText> {
    let decoded = Zeroizing::new(STANDARD.decode(pair).ok()?);
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "s3cr3t-Canary/of+the_tests~0123456789";

    fn sent() -> Sent {
        let sent = Sent::default();
        sent.note(&TOKEN.into());
        sent
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        let sent = sent();
        let encoded = STANDARD.encode(TOKEN);
        let beside = STANDARD.encode(format!("user:{TOKEN}!"));
        let hexadecimal: String = TOKEN.bytes().map(|byte| format!("{byte:02X}")).collect();
        let percent: String = TOKEN.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let escaped: String = TOKEN.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        for text in [
            TOKEN.to_owned(),
            format!("wh-{TOKEN}-1"),
            TOKEN.to_uppercase(),
            TOKEN[..20].to_owned(),
            TOKEN[15..].to_owned(),
            TOKEN.replace('/', "%2F").replace('+', "%252B"),
            encoded.replace('+', "-").replace('/', "_"),
            encoded,
            beside,
            hexadecimal,
            percent,
            escaped,
            TOKEN.replace('/', "\\/"),
        ] {
            assert!(sent.is_in(&text), "{text}");
        }
    }

    #[test]
    fn an_id_that_only_resembles_a_secret_is_one() {
        let sent = sent();
        sent.note(&"1234".into());
        for text in
            ["1", "12345", "s3cr3t-Canary", "d5b2c6f0-8a2b-4f4e-9d39-1f2e3d4c5b6a", "0123456789", "%", "\\"]
        {
            assert!(!sent.is_in(text), "{text}");
        }
        assert!(sent.is_in("1234"), "a short secret is found where the text is nothing else");
    }

    #[test]
    fn a_large_part_of_a_long_secret_is_found_and_so_is_a_signature() {
        let sent = Sent::default();
        let body: String = (0..400).map(|number| format!("{:x}", number * 7919)).collect();
        let signature = "kq3Vw8Zt1nPbLr5Yx0MdHc7Fg2JsAu9EiOoQ6TyWzXe";
        sent.note(&format!("header.{body}.{signature}").into());
        for start in 0..100 {
            assert!(sent.is_in(&body[start..start + LONGEST_RUN]), "{start}");
        }
        assert!(sent.is_in(signature));
        assert!(sent.is_in("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."), "a token is never an id");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let sent = sent();
        for number in 0..MAX_SECRETS {
            sent.note(&format!("another secret with the number {number}").into());
        }
        assert!(!sent.is_in(TOKEN));
        assert_eq!(sent.known.lock().unwrap().len(), MAX_SECRETS);
    }

    #[test]
    fn the_password_of_a_pair_is_a_secret_of_its_own() {
        let pair = STANDARD.encode("user:hunter2-and-more");
        assert_eq!(password_of(&pair).unwrap().expose(), "hunter2-and-more");
    }
}
