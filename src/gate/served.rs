//! Which sources' tokens the receivers of a process need, and what for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::live::Live;
use crate::api::ObjectKey;

/// How many tokens of a source are remembered to have been handed over.
const MOST_HANDED: usize = 8;

/// What the tokens of one source are needed for.
#[derive(Default)]
struct Uses {
    /// Receivers that accept them.
    accepted_by: Vec<Arc<Live>>,
    /// A platform is asked with them.
    asks: bool,
}

/// The sources in use.
#[derive(Default)]
pub(super) struct Served(HashMap<ObjectKey, Uses>);

impl Served {
    /// This receiver accepts the tokens of the source.
    pub(super) fn accepts(&mut self, source: ObjectKey, live: &Arc<Live>) {
        self.0.entry(source).or_default().accepted_by.push(Arc::clone(live));
    }

    /// A receiver's platform is asked with the tokens of the source.
    pub(super) fn asks(&mut self, source: ObjectKey) {
        self.0.entry(source).or_default().asks = true;
    }

    pub(super) fn contains(&self, source: &ObjectKey) -> bool {
        self.0.contains_key(source)
    }

    pub(super) fn asks_with(&self, source: &ObjectKey) -> bool {
        self.0.get(source).is_some_and(|uses| uses.asks)
    }

    /// Whether a receiver that accepts the source's tokens does not know the one with this fingerprint.
    pub(super) fn lacks(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        let mut lives = self.0.get(source).into_iter().flat_map(|uses| &uses.accepted_by);
        lives.any(|live| live.book().is_some_and(|book| !book.knows(fingerprint)))
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &ObjectKey> {
        self.0.keys()
    }
}

/// The fingerprints of the tokens that the engine of this process has handed over, the newest last.
#[derive(Default)]
pub(super) struct Handed(HashMap<ObjectKey, Vec<String>>);

impl Handed {
    pub(super) fn note(&mut self, source: &ObjectKey, fingerprint: &str) {
        let known = self.0.entry(source.clone()).or_default();
        known.retain(|before| before != fingerprint);
        known.push(fingerprint.to_owned());
        if known.len() > MOST_HANDED {
            known.remove(0);
        }
    }

    pub(super) fn contains(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.0.get(source).is_some_and(|known| known.iter().any(|known| known == fingerprint))
    }

    /// Keeps what is known of these sources alone.
    pub(super) fn retain(&mut self, sources: &BTreeSet<ObjectKey>) {
        self.0.retain(|source, _| sources.contains(source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_known_while_its_source_is_there_and_bounded() {
        let (one, two) = (ObjectKey::new("hr", "one"), ObjectKey::new("hr", "two"));
        let mut handed = Handed::default();
        for number in 0..=MOST_HANDED {
            handed.note(&one, &number.to_string());
        }
        handed.note(&two, "a");
        assert!(!handed.contains(&one, "0"), "the oldest of too many");
        assert!(handed.contains(&one, "1") && handed.contains(&two, "a"));
        handed.retain(&BTreeSet::from([one.clone()]));
        assert!(handed.contains(&one, "8") && !handed.contains(&two, "a"));
    }
}
