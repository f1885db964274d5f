//! A published token as keys and values, the same in a Secret and in a folder.

use chrono::{DateTime, SecondsFormat, Utc};

use super::outcome::Published;
use crate::secret::SecretText;

/// The newest token.
pub const CURRENT: &str = "current";
/// The token before, while it may still arrive.
pub const PREVIOUS: &str = "previous";
/// When [`CURRENT`] ends, in RFC 3339.
pub const EXPIRES_AT: &str = "expiresAt";
/// Fingerprint of [`CURRENT`].
pub const FINGERPRINT: &str = "fingerprint";
/// When [`CURRENT`] was asked for, in RFC 3339.
pub const MINTED_TIME: &str = "mintedTime";
/// Fingerprint of [`PREVIOUS`].
pub const PREVIOUS_FINGERPRINT: &str = "previousFingerprint";
/// All of them.
pub const KEYS: [&str; 6] = [CURRENT, PREVIOUS, EXPIRES_AT, FINGERPRINT, MINTED_TIME, PREVIOUS_FINGERPRINT];

/// A value that we write is missing or cannot be read: somebody has changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is missing or has been changed")]
pub struct Changed(pub &'static str);

impl Published {
    /// What is written, but for the hosts: they are an annotation, or a file of their own.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, SecretText)> {
        let time = |time: DateTime<Utc>| SecretText::new(time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        let mut entries = vec![
            (CURRENT, self.current.clone()),
            (FINGERPRINT, SecretText::from(self.fingerprint.as_str())),
            (MINTED_TIME, time(self.minted)),
        ];
        entries.extend(self.previous.clone().map(|previous| (PREVIOUS, previous)));
        let of_previous = self.previous_fingerprint.as_deref().filter(|_| self.previous.is_some());
        entries.extend(of_previous.map(|of_previous| (PREVIOUS_FINGERPRINT, SecretText::from(of_previous))));
        entries.extend(self.expires.map(|expires| (EXPIRES_AT, time(expires))));
        entries
    }

    /// Reads what was written, but for the hosts, which are no key.
    ///
    /// # Errors
    /// The first key whose value cannot be used.
    pub fn from_entries(mut value: impl FnMut(&str) -> Option<SecretText>) -> Result<Self, Changed> {
        let mut time = |key: &'static str| {
            let text = value(key);
            text.map(|text| DateTime::parse_from_rfc3339(text.expose()).map(|time| time.to_utc()))
                .transpose()
                .map_err(|_| Changed(key))
        };
        let (minted, expires) = (time(MINTED_TIME)?.ok_or(Changed(MINTED_TIME))?, time(EXPIRES_AT)?);
        let fingerprint = value(FINGERPRINT).ok_or(Changed(FINGERPRINT))?;
        Ok(Self {
            current: value(CURRENT).ok_or(Changed(CURRENT))?,
            previous: value(PREVIOUS),
            previous_fingerprint: value(PREVIOUS_FINGERPRINT).map(|text| text.expose().to_owned()),
            fingerprint: fingerprint.expose().to_owned(),
            minted,
            expires,
            allowed_hosts: None,
        })
    }
}
