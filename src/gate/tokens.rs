//! The token book of a receiver: which tokens of its source it accepts, and which it only recognises.
//!
//! A source publishes its current token and the one before. That is not enough for a sender that
//! repeats with the header it began with: where a token of one hour is replaced every 20 minutes, there
//! are up to seven that may still arrive within an overlap of two hours. So each token that was loaded
//! is kept, as a keyed digest, for as long as it may arrive and for a week more, in which it is refused
//! by name: who still sends it has not taken an update.
//!
//! | a token | is |
//! |---|---|
//! | is the current one, or stopped being it not longer ago than the overlap | accepted |
//! | was minted before the receiver's `revokedBefore` | retired at once |
//! | stopped being the current one up to [`RECOGNISED`] before the overlap | retired |
//! | is anything else | unknown |

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::digest::{DigestKey, position};
use super::verification::{Prefix, Why, as_header_value};
use crate::secret::SecretText;
use crate::store::{Digest, KnownToken};

/// How many tokens a receiver knows at most. Of more, those that stopped being current first go.
pub const MOST_TOKENS: usize = 64;
/// How long a token is recognised after it is no longer accepted: 7 days.
pub const RECOGNISED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A token as its source publishes it.
#[derive(Clone, Debug)]
pub struct PublishedToken<'a> {
    /// The token.
    pub text: &'a SecretText,
    /// Its fingerprint; of the token before the current one it may not be known.
    pub fingerprint: Option<&'a str>,
    /// When it was minted; of the token before the current one this may not be known.
    pub minted: Option<DateTime<Utc>>,
}

/// What a presented token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is accepted. With its fingerprint, if that is known.
    Accepted(Option<Arc<str>>),
    /// It was accepted once.
    Retired(Option<Arc<str>>),
    /// It is none of this receiver's.
    Unknown,
}

#[derive(Clone, Debug)]
struct Entry {
    digest: Digest,
    fingerprint: Arc<str>,
    minted: DateTime<Utc>,
    retired: Option<DateTime<Utc>>,
}

/// The tokens of one receiver.
#[derive(Clone, Debug)]
pub struct TokenBook {
    key: DigestKey,
    uid: Arc<str>,
    entries: Vec<Entry>,
}

/// A token of a source as it stands after the prefix of its header.
///
/// # Errors
/// Why it cannot be used: it is empty, too short, or no header can carry it.
pub fn usable_token<'a>(prefix: &Prefix, token: &'a SecretText) -> Result<&'a [u8], Why> {
    as_header_value(prefix.credential(token.expose()))
}

fn end(retired: DateTime<Utc>, after: Duration) -> DateTime<Utc> {
    let after = TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX);
    retired.checked_add_signed(after).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

impl Entry {
    /// Whether it is accepted at this time; `None` when it is not even recognised.
    fn accepted(
        &self,
        now: DateTime<Utc>,
        overlap: Duration,
        revoked_before: Option<DateTime<Utc>>,
    ) -> Option<bool> {
        let recognised = overlap.saturating_add(RECOGNISED);
        if self.retired.is_some_and(|retired| now > end(retired, recognised)) {
            return None;
        }
        let revoked = revoked_before.is_some_and(|time| self.minted < time);
        Some(!revoked && self.retired.is_none_or(|retired| now <= end(retired, overlap)))
    }
}

impl TokenBook {
    /// The book of a receiver as the store has it, under the key of the store
    /// ([`crate::store::Store::digest_key`]).
    #[must_use]
    pub fn new(key: DigestKey, uid: Arc<str>, known: Vec<KnownToken>) -> Self {
        let mut book = Self { key, uid, entries: known.into_iter().map(Entry::from).collect() };
        book.forget_the_oldest();
        book
    }

    /// The tokens as the store keeps them.
    #[must_use]
    pub fn known(&self) -> Vec<KnownToken> {
        self.entries.iter().map(KnownToken::from).collect()
    }

    /// Takes in what the source publishes; returns whether anything has changed, so that it has to be
    /// stored. `prefix` is what stands before a token in its header.
    ///
    /// The token before the current one stops being it now, if that was not known yet: when exactly the
    /// current one was published is not said, and a token that is wrongly refused is the worse mistake.
    /// One that is neither had its successor before the current one was minted. A token that cannot be
    /// used ([`usable_token`]) is left out.
    pub fn learn(
        &mut self,
        prefix: &Prefix,
        current: &PublishedToken<'_>,
        previous: Option<&PublishedToken<'_>>,
        now: DateTime<Utc>,
        overlap: Duration,
    ) -> bool {
        let before = self.known();
        let digest_of =
            |token: &PublishedToken<'_>| usable_token(prefix, token.text).ok().map(|text| self.digest(text));
        let current = digest_of(current).map(|digest| (digest, current));
        let previous = previous.and_then(|previous| digest_of(previous).map(|digest| (digest, previous)));
        let previous = previous.filter(|(digest, _)| current.is_none_or(|(other, _)| other != *digest));
        let replaced = match (previous, current) {
            (Some(_), Some((_, current))) => current.minted.map_or(now, |minted| minted.min(now)),
            _ => now,
        };
        if let Some((digest, previous)) = previous {
            let entry = self.entry(digest, previous);
            entry.retired = entry.retired.or(Some(now));
        }
        let current = current.map(|(digest, current)| {
            self.entry(digest, current).retired = None;
            digest
        });
        for entry in self.entries.iter_mut().filter(|entry| Some(entry.digest) != current) {
            entry.retired = entry.retired.or(Some(replaced.max(entry.minted).min(now)));
        }
        self.entries.retain(|entry| entry.accepted(now, overlap, None).is_some());
        self.forget_the_oldest();
        before != self.known()
    }

    /// Judges a presented token, as it stands after the prefix.
    #[must_use]
    pub fn judge(
        &self,
        presented: &[u8],
        now: DateTime<Utc>,
        overlap: Duration,
        revoked_before: Option<DateTime<Utc>>,
    ) -> Judgement {
        let digest = self.digest(presented);
        let found = position(&digest, self.entries.iter().map(|entry| &entry.digest));
        let Some(entry) = found.and_then(|index| self.entries.get(index)) else { return Judgement::Unknown };
        let fingerprint = Some(&entry.fingerprint).filter(|text| !text.is_empty()).cloned();
        match entry.accepted(now, overlap, revoked_before) {
            Some(true) => Judgement::Accepted(fingerprint),
            Some(false) => Judgement::Retired(fingerprint),
            None => Judgement::Unknown,
        }
    }

    /// Whether any token at all is accepted at this time.
    #[must_use]
    pub fn accepts_any(
        &self,
        now: DateTime<Utc>,
        overlap: Duration,
        revoked_before: Option<DateTime<Utc>>,
    ) -> bool {
        self.entries.iter().any(|entry| entry.accepted(now, overlap, revoked_before) == Some(true))
    }

    fn digest(&self, token: &[u8]) -> Digest {
        self.key.digest("token", &[self.uid.as_bytes(), token])
    }

    /// The entry of this token, made if there is none, with what is known of it now.
    fn entry(&mut self, digest: Digest, token: &PublishedToken<'_>) -> &mut Entry {
        let index = position(&digest, self.entries.iter().map(|entry| &entry.digest));
        let index = index.unwrap_or_else(|| {
            // Not knowing when it was minted, any revocation is taken to mean it.
            let minted = DateTime::UNIX_EPOCH;
            self.entries.push(Entry { digest, fingerprint: "".into(), minted, retired: None });
            self.entries.len() - 1
        });
        let entry = &mut self.entries[index];
        if let Some(fingerprint) = token.fingerprint.filter(|text| **text != *entry.fingerprint) {
            entry.fingerprint = fingerprint.into();
        }
        if let Some(minted) = token.minted {
            entry.minted = minted;
        }
        entry
    }

    fn forget_the_oldest(&mut self) {
        while self.entries.len() > MOST_TOKENS {
            let oldest =
                self.entries.iter().enumerate().min_by_key(|(_, entry)| {
                    (entry.retired.unwrap_or(DateTime::<Utc>::MAX_UTC), entry.minted)
                });
            let Some((index, _)) = oldest else { return };
            self.entries.remove(index);
        }
    }
}

impl From<KnownToken> for Entry {
    fn from(known: KnownToken) -> Self {
        let KnownToken { digest, fingerprint, minted, retired } = known;
        Self { digest, fingerprint: fingerprint.into(), minted, retired }
    }
}

impl From<&Entry> for KnownToken {
    fn from(entry: &Entry) -> Self {
        let Entry { digest, fingerprint, minted, retired } = entry;
        Self { digest: *digest, fingerprint: fingerprint.to_string(), minted: *minted, retired: *retired }
    }
}
