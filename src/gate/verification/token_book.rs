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

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::credential::{Why, as_header_value};
use super::prefix::Prefix;
use crate::gate::digest::{DigestKey, position};
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
    /// The current one, once it was learnt.
    current: Option<Digest>,
    /// Fingerprints of those that subscriptions still carry.
    carried: BTreeSet<Arc<str>>,
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
        let entries = known.into_iter().map(Entry::from).collect();
        let mut book = Self { key, uid, entries, current: None, carried: BTreeSet::new() };
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
    /// One that is neither had its successor before the current one was minted. Those that subscriptions
    /// still carry ([`Self::carried`]) have not stopped at all. A token that cannot be used
    /// ([`usable_token`]) is left out.
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
        if let Some((digest, current)) = current {
            self.entry(digest, current).retired = None;
        }
        if let Some((digest, previous)) = previous {
            self.entry(digest, previous);
        }
        self.current = current.map(|(digest, _)| digest);
        let previous = previous.map(|(digest, _)| digest);
        for entry in &mut self.entries {
            let is_over = Some(entry.digest) != self.current && !self.carried.contains(&entry.fingerprint);
            if is_over && entry.retired.is_none() {
                let is_previous = Some(entry.digest) == previous;
                entry.retired = Some(if is_previous { now } else { replaced.max(entry.minted).min(now) });
            }
        }
        self.entries.retain(|entry| entry.accepted(now, overlap, None).is_some());
        self.forget_the_oldest();
        before != self.known()
    }

    /// Takes in what another gate has kept and this one does not know; returns whether that was anything.
    pub fn take_over(&mut self, known: Vec<KnownToken>, now: DateTime<Utc>, overlap: Duration) -> bool {
        let before = self.entries.len();
        for entry in known.into_iter().map(Entry::from) {
            let is_new = self.entries.iter().all(|one| one.digest != entry.digest);
            if is_new && entry.accepted(now, overlap, None).is_some() {
                self.entries.push(entry);
            }
        }
        let has_more = self.entries.len() > before;
        self.forget_the_oldest();
        has_more
    }

    /// Whether the token with this fingerprint is in it.
    #[must_use]
    pub fn knows(&self, fingerprint: &str) -> bool {
        self.entries.iter().any(|entry| *entry.fingerprint == *fingerprint)
    }

    /// Takes in which tokens subscriptions still carry, by fingerprint; returns whether anything has
    /// changed. Deliveries with them go on, so none of them has stopped being current, until it is told
    /// otherwise; of the others only the current one is.
    pub fn carried(&mut self, fingerprints: &BTreeSet<Arc<str>>, now: DateTime<Utc>) -> bool {
        self.carried.clone_from(fingerprints);
        let newest = self.entries.iter().max_by_key(|entry| entry.minted).map(|entry| entry.digest);
        let current = self.current.or(newest);
        let mut changed = false;
        for entry in &mut self.entries {
            let retired = match entry.retired {
                Some(_) if fingerprints.contains(&entry.fingerprint) => None,
                None if !fingerprints.contains(&entry.fingerprint) && Some(entry.digest) != current => {
                    Some(now)
                }
                as_it_was => as_it_was,
            };
            changed |= retired != entry.retired;
            entry.retired = retired;
        }
        changed
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

    /// Fingerprints of the tokens that are accepted at this time, the newest first. One whose fingerprint is
    /// not known is left out.
    #[must_use]
    pub fn accepted(
        &self,
        now: DateTime<Utc>,
        overlap: Duration,
        revoked_before: Option<DateTime<Utc>>,
    ) -> Vec<Arc<str>> {
        let is_told = |entry: &&Entry| {
            !entry.fingerprint.is_empty() && entry.accepted(now, overlap, revoked_before) == Some(true)
        };
        let mut accepted: Vec<&Entry> = self.entries.iter().filter(is_told).collect();
        accepted.sort_by_key(|entry| {
            let is_current = Some(entry.digest) == self.current;
            std::cmp::Reverse((is_current, entry.minted))
        });
        accepted.into_iter().map(|entry| Arc::clone(&entry.fingerprint)).collect()
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

#[cfg(test)]
#[path = "token_book_tests.rs"]
mod tests;
