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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn published() -> Published {
        Published {
            current: "t-2".into(),
            previous: Some("t-1".into()),
            previous_fingerprint: Some("f-1".to_owned()),
            fingerprint: "f-2".to_owned(),
            minted: time("2027-01-15T08:00:00.123Z"),
            expires: Some(time("2027-01-15T09:00:00Z")),
            allowed_hosts: None,
        }
    }

    fn written(published: &Published) -> BTreeMap<&'static str, SecretText> {
        published.entries().into_iter().collect()
    }

    fn read(entries: &BTreeMap<&'static str, SecretText>) -> Result<Published, Changed> {
        Published::from_entries(|key| entries.get(key).cloned())
    }

    #[test]
    fn receivers_find_each_value_under_its_key() {
        let entries = written(&published());
        let texts: Vec<_> = entries.iter().map(|(key, text)| (*key, text.expose())).collect();
        assert_eq!(
            texts,
            [
                ("current", "t-2"),
                ("expiresAt", "2027-01-15T09:00:00Z"),
                ("fingerprint", "f-2"),
                ("mintedTime", "2027-01-15T08:00:00.123Z"),
                ("previous", "t-1"),
                ("previousFingerprint", "f-1"),
            ]
        );
        assert!(entries.keys().all(|key| KEYS.contains(key)));
    }

    #[test]
    fn what_was_written_is_read_again() {
        let first = Published { previous: None, previous_fingerprint: None, expires: None, ..published() };
        let of_an_earlier_release = Published { previous_fingerprint: None, ..published() };
        for published in [published(), first, of_an_earlier_release] {
            assert_eq!(read(&written(&published)), Ok(published));
        }
    }

    #[test]
    fn a_fingerprint_stands_for_no_previous_token_that_is_not_there() {
        let published = Published { previous: None, ..published() };
        assert!(!written(&published).contains_key(PREVIOUS_FINGERPRINT));
    }

    /// The hosts that it may be sent to are kept beside the keys.
    #[test]
    fn hosts_are_no_key() {
        let published = Published { allowed_hosts: Some(vec!["api.example.com".to_owned()]), ..published() };
        let again = read(&written(&published)).unwrap();
        assert_eq!(again, Published { allowed_hosts: None, ..published });
    }

    #[test]
    fn the_key_that_somebody_has_changed_is_named() {
        for key in [CURRENT, FINGERPRINT, MINTED_TIME] {
            let mut entries = written(&published());
            entries.remove(key);
            assert_eq!(read(&entries), Err(Changed(key)), "it is missing");
        }
        for key in [MINTED_TIME, EXPIRES_AT] {
            let mut entries = written(&published());
            entries.insert(key, "yesterday".into());
            assert_eq!(read(&entries), Err(Changed(key)), "it is no time");
        }
        assert_eq!(Changed(CURRENT).to_string(), "current is missing or has been changed");
    }
}
