//! Which of the remotes that a listing shows nobody owns.
//!
//! Whoever answers decides how many there are, so no more are looked at than it takes to decide and
//! to tell people.

use super::facts::OwnerOf;

/// So many ids are enough to tell people, and to know that none stands out.
const FEW: usize = 5;
/// So many remotes that are alike are looked at. Those that are owned are passed over, and are no
/// more than there are objects.
const MOST_LOOKED_AT: usize = 10_000;

/// Those of some remotes that nobody owns: the first few of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclaimed<'a> {
    ids: Vec<&'a str>,
    /// There may be others.
    more: bool,
}

impl<'a> Unclaimed<'a> {
    /// Those that no other object owns.
    #[must_use]
    pub fn among(ids: impl Iterator<Item = &'a str>, owners: &dyn OwnerOf) -> Self {
        Self::unless(ids, |id| owners.owner(id).is_some())
    }

    /// Those of which this is not true.
    pub(super) fn unless(ids: impl Iterator<Item = &'a str>, mut is_owned: impl FnMut(&str) -> bool) -> Self {
        let mut unclaimed = Self { ids: Vec::new(), more: false };
        for (number, id) in ids.enumerate() {
            if number >= MOST_LOOKED_AT {
                unclaimed.more = true;
                break;
            }
            if unclaimed.ids.contains(&id) || is_owned(id) {
                continue;
            }
            if unclaimed.ids.len() >= FEW {
                unclaimed.more = true;
                break;
            }
            unclaimed.ids.push(id);
        }
        unclaimed
    }

    /// Whether there is certainly none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && !self.more
    }

    /// The id, where there is exactly one.
    #[must_use]
    pub fn only(&self) -> Option<&'a str> {
        match self.ids[..] {
            [id] if !self.more => Some(id),
            _ => None,
        }
    }

    /// How many there are, in words.
    #[must_use]
    pub fn count(&self) -> String {
        match (self.ids.len(), self.more) {
            (count, false) => count.to_string(),
            (FEW, true) => format!("more than {FEW}"),
            (_, true) => "very many".to_owned(),
        }
    }

    /// The first few ids, in words; `None` when none is known.
    #[must_use]
    pub fn named(&self) -> Option<String> {
        let others = if self.more { " and others" } else { "" };
        (!self.ids.is_empty()).then(|| format!("{}{others}", self.ids.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_looked_at_than_it_takes() {
        let ids: Vec<String> = (0..100_000).map(|number| format!("id-{number}")).collect();
        let ids = || ids.iter().map(String::as_str);
        let mut looked_at = 0;
        let mut look = |owned: bool| {
            looked_at = 0;
            let unclaimed = Unclaimed::unless(ids(), |_| {
                looked_at += 1;
                owned
            });
            (unclaimed, looked_at)
        };
        let (all, looked_at) = look(false);
        assert_eq!((all.count().as_str(), looked_at), ("more than 5", 6));
        assert_eq!(all.named().as_deref(), Some("id-0, id-1, id-2, id-3, id-4 and others"));
        assert_eq!(all.only(), None);
        let (none, looked_at) = look(true);
        assert_eq!((none.is_empty(), none.only(), looked_at), (false, None, MOST_LOOKED_AT));
        assert_eq!((none.count().as_str(), none.named()), ("very many", None));
    }

    #[test]
    fn one_among_too_many_to_look_at_is_not_said_to_be_the_only_one() {
        let ids: Vec<String> = (0..=MOST_LOOKED_AT).map(|number| format!("id-{number}")).collect();
        let unclaimed = Unclaimed::unless(ids.iter().map(String::as_str), |id| id != "id-7");
        assert_eq!((unclaimed.only(), unclaimed.is_empty()), (None, false));
        assert_eq!(unclaimed.count(), "very many");
        assert_eq!(unclaimed.named().as_deref(), Some("id-7 and others"));
    }

    #[test]
    fn a_few_are_named_each_once() {
        let ids = ["a", "mine", "a", "b"];
        let unclaimed = Unclaimed::unless(ids.into_iter(), |id| id == "mine");
        assert_eq!((unclaimed.count().as_str(), unclaimed.named().as_deref()), ("2", Some("a, b")));
        let one = Unclaimed::unless(ids.into_iter(), |id| id != "b");
        assert_eq!((one.only(), one.is_empty()), (Some("b"), false));
        assert!(Unclaimed::unless(ids.into_iter(), |_| true).is_empty());
    }
}
