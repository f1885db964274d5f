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
mod tests {
    use hyper::header::AUTHORIZATION;
    use proptest::prelude::*;

    use super::*;

    const OVERLAP: Duration = Duration::from_secs(2 * 3_600);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn bearer() -> Prefix {
        Prefix::new(&AUTHORIZATION, "Bearer ")
    }

    fn book() -> TokenBook {
        TokenBook::new(DigestKey::new(&[1; 32]), "uid-1".into(), Vec::new())
    }

    fn text(number: usize) -> SecretText {
        SecretText::new(format!("token-{number:04}"))
    }

    fn name(number: usize) -> String {
        format!("fingerprint-{number}")
    }

    /// The gate learns that this token was minted and published now.
    fn learn(book: &mut TokenBook, number: usize, previous: bool, now: i64) -> bool {
        let (token, fingerprint) = (text(number), name(number));
        let current = PublishedToken { text: &token, fingerprint: Some(&fingerprint), minted: Some(at(now)) };
        let before = text(number.saturating_sub(1));
        let before = PublishedToken { text: &before, fingerprint: None, minted: None };
        let previous = Some(&before).filter(|_| previous && number > 0);
        book.learn(&bearer(), &current, previous, at(now), OVERLAP)
    }

    fn judge(book: &TokenBook, number: usize, now: i64) -> Judgement {
        book.judge(text(number).expose().as_bytes(), at(now), OVERLAP, None)
    }

    fn accepted(number: usize) -> Judgement {
        Judgement::Accepted(Some(name(number).into()))
    }

    fn retired(number: usize) -> Judgement {
        Judgement::Retired(Some(name(number).into()))
    }

    #[test]
    fn a_token_of_an_hour_that_is_replaced_every_20_minutes_is_accepted_for_the_whole_overlap() {
        let mut book = book();
        for number in 0..40 {
            let now = i64::try_from(number).unwrap() * 1_200;
            assert!(learn(&mut book, number, true, now));
            // Six replaced ones may still arrive, and the one that was replaced two hours ago just now.
            for known in 0..=number {
                let expected = if number - known <= 7 { accepted(known) } else { retired(known) };
                assert_eq!(judge(&book, known, now), expected, "{known} after {number}");
            }
            assert_eq!(judge(&book, number + 1, now), Judgement::Unknown);
        }
    }

    #[test]
    fn it_is_accepted_until_the_overlap_is_over_and_recognised_for_a_week_more() {
        let mut book = book();
        learn(&mut book, 0, true, 0);
        learn(&mut book, 1, true, 100);
        let (overlap, week) = (100 + 7_200, 100 + 7_200 + 7 * 86_400);
        for (now, expected) in [
            (100, accepted(0)),
            (overlap, accepted(0)),
            (overlap + 1, retired(0)),
            (week, retired(0)),
            (week + 1, Judgement::Unknown),
        ] {
            assert_eq!(judge(&book, 0, now), expected, "{now}");
            assert_eq!(judge(&book, 1, now), accepted(1), "{now}");
        }
        learn(&mut book, 2, true, week + 1);
        assert_eq!(book.known().len(), 2);
    }

    #[test]
    fn those_that_are_accepted_are_told_the_newest_first() {
        let mut book = book();
        for (number, now) in [(0, 0), (1, 100), (2, 200)] {
            learn(&mut book, number, true, now);
        }
        let told = |now: i64, revoked_before: Option<i64>| {
            let told = book.accepted(at(now), OVERLAP, revoked_before.map(at));
            told.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(200, None), [name(2), name(1), name(0)]);
        assert_eq!(told(100 + 7_201, None), [name(2), name(1)]);
        assert_eq!(told(200, Some(150)), [name(2)]);
    }

    #[test]
    fn what_another_gate_has_kept_is_taken_over_as_far_as_it_still_counts() {
        let mut other = book();
        for (number, now) in [(0, 0), (1, 100), (2, 200), (3, 300)] {
            learn(&mut other, number, true, now);
        }
        // This one could not read what was published between.
        let mut own = book();
        learn(&mut own, 0, false, 0);
        learn(&mut own, 3, false, 300);
        assert_eq!(judge(&own, 1, 310), Judgement::Unknown);
        let before = own.known();
        assert!(own.take_over(other.known(), at(310), OVERLAP));
        for number in 0..=3 {
            assert_eq!(judge(&own, number, 310), accepted(number), "{number}");
        }
        assert_eq!(own.known()[..2], before, "what it knows itself stays as it was");
        assert_eq!(*own.accepted(at(310), OVERLAP, None)[0], *name(3));
        assert!(!own.take_over(other.known(), at(310), OVERLAP));

        let mut late = book();
        learn(&mut late, 4, false, 0);
        let over = 300 + 7_200 + 8 * 86_400;
        assert!(late.take_over(other.known(), at(over), OVERLAP), "the newest has no end yet");
        assert_eq!(late.known().len(), 2);
    }

    #[test]
    fn a_revocation_ends_acceptance_at_once_and_not_recognition() {
        let mut book = book();
        learn(&mut book, 0, true, 0);
        learn(&mut book, 1, true, 100);
        let judge = |book: &TokenBook, number, before: i64| {
            book.judge(text(number).expose().as_bytes(), at(150), OVERLAP, Some(at(before)))
        };
        assert_eq!(judge(&book, 0, 0), accepted(0));
        assert_eq!(judge(&book, 0, 1), retired(0));
        assert_eq!(judge(&book, 1, 100), accepted(1));
        assert_eq!(judge(&book, 1, 101), retired(1));
        assert!(book.accepts_any(at(150), OVERLAP, Some(at(100))));
        assert!(!book.accepts_any(at(150), OVERLAP, Some(at(101))));
        learn(&mut book, 2, true, 140);
        assert!(book.accepts_any(at(150), OVERLAP, Some(at(101))));

        // Of a token that was only ever seen as the one before, nobody knows when it was minted.
        let mut book = super::tests::book();
        learn(&mut book, 1, true, 100);
        assert_eq!(judge(&book, 0, -1_000_000), Judgement::Retired(None));
        let never = book.judge(text(0).expose().as_bytes(), at(150), OVERLAP, None);
        assert_eq!(never, Judgement::Accepted(None));
    }

    #[test]
    fn what_was_missed_counts_from_when_it_can_have_been_replaced() {
        let mut book = book();
        learn(&mut book, 0, true, 0);
        // Away for ten hours, in which 1 and 2 were published; 2 was minted 5 hours before the end.
        let (current, fingerprint, before) = (text(2), name(2), text(1));
        let current =
            PublishedToken { text: &current, fingerprint: Some(&fingerprint), minted: Some(at(5 * 3_600)) };
        let before = PublishedToken { text: &before, fingerprint: Some("fingerprint-1"), minted: None };
        let now = 10 * 3_600;
        book.learn(&bearer(), &current, Some(&before), at(now), OVERLAP);
        assert_eq!(judge(&book, 0, now), retired(0));
        assert_eq!(judge(&book, 1, now), accepted(1));
        assert_eq!(judge(&book, 1, now + 7_201), retired(1));
        assert_eq!(judge(&book, 2, now), accepted(2));
    }

    #[test]
    fn a_token_that_was_published_late_replaces_the_one_before_only_then() {
        let mut book = book();
        learn(&mut book, 0, true, 0);
        let (current, fingerprint) = (text(1), name(1));
        let current =
            PublishedToken { text: &current, fingerprint: Some(&fingerprint), minted: Some(at(100)) };
        // Three hours after it was minted.
        book.learn(&bearer(), &current, None, at(3 * 3_600), OVERLAP);
        assert_eq!(judge(&book, 0, 5 * 3_600), accepted(0));
        assert_eq!(judge(&book, 0, 5 * 3_600 + 1), retired(0));
    }

    #[test]
    fn reading_the_same_again_gives_no_token_more_time() {
        let mut book = book();
        learn(&mut book, 0, true, 0);
        let (current, fingerprint, before) = (text(1), name(1), text(0));
        let current =
            PublishedToken { text: &current, fingerprint: Some(&fingerprint), minted: Some(at(100)) };
        let before = PublishedToken { text: &before, fingerprint: None, minted: None };
        for now in (100..10_000).step_by(100) {
            let previous = Some(&before).filter(|_| now % 200 == 0);
            assert_eq!(book.learn(&bearer(), &current, previous, at(now), OVERLAP), now == 100, "{now}");
            let expected = if now <= 7_300 { accepted(0) } else { retired(0) };
            assert_eq!(judge(&book, 0, now), expected, "{now}");
        }
    }

    #[test]
    fn a_token_that_comes_back_is_the_current_one_again() {
        let mut book = book();
        learn(&mut book, 0, false, 0);
        learn(&mut book, 1, false, 100);
        learn(&mut book, 0, false, 200);
        assert_eq!(judge(&book, 0, 1_000_000), accepted(0));
        assert_eq!(judge(&book, 1, 1_000_000), Judgement::Unknown);
        assert!(!learn(&mut book, 0, false, 200), "nothing has changed");
        assert!(learn(&mut book, 0, false, 1_000_000), "the other one is forgotten");
    }

    #[test]
    fn what_subscriptions_still_carry_is_not_over_however_long_that_lasts() {
        let carrying = |numbers: &[usize]| -> BTreeSet<Arc<str>> {
            numbers.iter().map(|number| name(*number).into()).collect()
        };
        let mut book = book();
        learn(&mut book, 0, true, 0);
        assert!(!book.carried(&carrying(&[0]), at(10)));
        learn(&mut book, 1, true, 100);
        learn(&mut book, 2, true, 200);
        let month = 30 * 86_400;
        assert_eq!(judge(&book, 0, month), accepted(0));
        assert_eq!(judge(&book, 1, 200 + 7_201), retired(1));
        // Reading the same again changes nothing, and a restart does not either.
        let known = book.known();
        for restart in [false, true] {
            if restart {
                book = TokenBook::new(DigestKey::new(&[1; 32]), "uid-1".into(), book.known());
                assert!(!book.carried(&carrying(&[0]), at(month)));
            }
            let (current, fingerprint, before) = (text(2), name(2), text(1));
            let current =
                PublishedToken { text: &current, fingerprint: Some(&fingerprint), minted: Some(at(200)) };
            let before = PublishedToken { text: &before, fingerprint: None, minted: None };
            book.learn(&bearer(), &current, Some(&before), at(300), OVERLAP);
            assert_eq!(book.known(), known);
        }
        // The last subscription has taken the update: from now on the overlap counts.
        assert!(book.carried(&carrying(&[2]), at(month)));
        assert_eq!(judge(&book, 0, month + 7_200), accepted(0));
        assert_eq!(judge(&book, 0, month + 7_201), retired(0));
        // One that had stopped already is carried again.
        assert!(book.carried(&carrying(&[0]), at(month + 8_000)));
        assert_eq!(judge(&book, 0, 2 * month), accepted(0));
        assert_eq!(judge(&book, 2, 2 * month), accepted(2));
    }

    #[test]
    fn an_older_token_that_is_current_again_stays_it_though_nobody_carries_it_yet() {
        let mut book = book();
        learn(&mut book, 0, false, 0);
        learn(&mut book, 1, false, 100);
        let (current, fingerprint) = (text(0), name(0));
        let current = PublishedToken { text: &current, fingerprint: Some(&fingerprint), minted: Some(at(0)) };
        book.learn(&bearer(), &current, None, at(200), OVERLAP);
        assert!(!book.carried(&BTreeSet::new(), at(300)));
        assert_eq!(judge(&book, 0, 1_000_000), accepted(0));
    }

    #[test]
    fn the_same_token_as_current_and_previous_is_current() {
        let mut book = book();
        let (token, fingerprint) = (text(0), name(0));
        let token = PublishedToken { text: &token, fingerprint: Some(&fingerprint), minted: Some(at(0)) };
        book.learn(&bearer(), &token, Some(&token), at(0), OVERLAP);
        assert_eq!(judge(&book, 0, 1_000_000), accepted(0));
        assert_eq!(book.known().len(), 1);
    }

    #[test]
    fn a_token_is_learnt_as_it_is_sent_and_only_if_it_can_be() {
        let mut book = book();
        let learn = |book: &mut TokenBook, text: &str| {
            let text = SecretText::from(text);
            let token = PublishedToken { text: &text, fingerprint: None, minted: None };
            book.learn(&bearer(), &token, None, at(0), OVERLAP)
        };
        for unusable in ["", "Bearer ", "short", "Bearer short", "two\nlines-here", "token-\u{0}-token"] {
            assert!(!learn(&mut book, unusable), "{unusable:?}");
        }
        assert!(!book.accepts_any(at(0), OVERLAP, None));
        assert!(learn(&mut book, "Bearer token-0000"));
        assert_eq!(judge(&book, 0, 0), Judgement::Accepted(None));
        assert!(!learn(&mut book, "token-0000"), "the same, without its scheme");
    }

    #[test]
    fn of_too_many_those_that_were_replaced_first_go() {
        let mut book = book();
        for number in 0..100 {
            learn(&mut book, number, true, i64::try_from(number).unwrap());
            assert!(book.known().len() <= MOST_TOKENS);
        }
        for number in 0..100 {
            let expected = if number < 36 { Judgement::Unknown } else { accepted(number) };
            assert_eq!(judge(&book, number, 100), expected, "{number}");
        }
        let mut more = book.known();
        more.extend(more.clone());
        let restored = TokenBook::new(DigestKey::new(&[1; 32]), "uid-1".into(), more);
        assert_eq!(restored.known().len(), MOST_TOKENS);
        assert_eq!(judge(&restored, 99, 1_000_000), accepted(99));
    }

    #[test]
    fn another_receiver_or_store_knows_nothing_and_nothing_secret_is_kept() {
        let mut book = book();
        learn(&mut book, 0, true, 0);
        for (key, uid) in [([1; 32], "uid-2"), ([2; 32], "uid-1")] {
            let other = TokenBook::new(DigestKey::new(&key), uid.into(), book.known());
            assert_eq!(judge(&other, 0, 0), Judgement::Unknown);
        }
        assert!(!format!("{book:?} {:?}", book.known()).contains("token-0000"));
    }

    /// What a source and time do to a gate.
    #[derive(Clone, Debug)]
    enum Step {
        Rotate { tells_previous: bool },
        Read,
        Restart,
        Wait(i64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => any::<bool>().prop_map(|tells_previous| Step::Rotate { tells_previous }),
            1 => Just(Step::Read),
            1 => Just(Step::Restart),
            3 => prop_oneof![0_i64..30, 600_i64..2_400, 0_i64..9_000, 500_000_i64..700_000].prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_all_that_may_arrive_is_accepted_and_nothing_else(
            steps in prop::collection::vec(any_step(), 1..160),
        ) {
            let mut book = book();
            let (mut now, mut replaced) = (0, Vec::<i64>::new());
            learn(&mut book, 0, false, now);
            for step in steps {
                match step {
                    Step::Wait(seconds) => now += seconds,
                    Step::Rotate { tells_previous } => {
                        replaced.push(now);
                        learn(&mut book, replaced.len(), tells_previous, now);
                    }
                    Step::Read => {
                        let (token, fingerprint) = (text(replaced.len()), name(replaced.len()));
                        let minted = Some(at(replaced.last().copied().unwrap_or_default()));
                        let token = PublishedToken { text: &token, fingerprint: Some(&fingerprint), minted };
                        book.learn(&bearer(), &token, None, at(now), OVERLAP);
                    }
                    Step::Restart => {
                        book = TokenBook::new(DigestKey::new(&[1; 32]), "uid-1".into(), book.known());
                    }
                }
                prop_assert!(book.known().len() <= MOST_TOKENS);
                let current = replaced.len();
                prop_assert_eq!(judge(&book, current, now), accepted(current));
                prop_assert_eq!(judge(&book, current + 1, now), Judgement::Unknown);
                for (number, replaced) in replaced.iter().enumerate() {
                    let expected = match now - replaced {
                        // At one and the same moment nobody can say which of them was replaced first.
                        _ if current - number >= MOST_TOKENS => continue,
                        0..=7_200 => accepted(number),
                        7_201..=612_000 => retired(number),
                        _ => Judgement::Unknown,
                    };
                    prop_assert_eq!(judge(&book, number, now), expected, "{} of {}", number, current);
                }
            }
        }
    }
}
