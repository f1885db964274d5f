//! One remote, one owner: rule 4 of [`super::decide`].

use std::cmp::Ordering;
use std::fmt;

use crate::api::{Identity, ObjectKey};

/// Another object that claims the same remote, as the author of one may know it: what is in another
/// namespace is not named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimant {
    /// One in the same namespace.
    Named(ObjectKey),
    /// One in another namespace.
    Elsewhere,
}

impl Claimant {
    /// The second of two objects, as the author of the first may know it.
    #[must_use]
    pub fn seen_from(one: &ObjectKey, other: &ObjectKey) -> Self {
        if one.namespace == other.namespace { Self::Named(other.clone()) } else { Self::Elsewhere }
    }
}

impl fmt::Display for Claimant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(key) => key.fmt(formatter),
            Self::Elsewhere => formatter.write_str("another object in another namespace"),
        }
    }
}

/// Whether the first of two objects that claim the same remote comes before the other.
///
/// An object with the id on record beats one without; then the older one wins, then the smaller
/// UID; without a cluster there is neither, and namespace and name decide.
#[must_use]
pub fn beats(first: (&Identity, bool), second: (&Identity, bool)) -> bool {
    let (one, one_recorded) = first;
    let (other, other_recorded) = second;
    let order = other_recorded
        .cmp(&one_recorded)
        .then_with(|| match (one.created, other.created) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => Ordering::Equal,
        })
        .then_with(|| match (one.created, other.created) {
            (Some(_), Some(_)) => one.uid.cmp(&other.uid),
            _ => Ordering::Equal,
        })
        .then_with(|| one.key.cmp(&other.key));
    order == Ordering::Less
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn object(name: &str) -> Identity {
        Identity {
            key: ObjectKey::new("default", name),
            uid: format!("uid-{name}"),
            generation: 1,
            created: None,
            deleted: None,
            has_finalizer: false,
            rotate_requested: None,
            force_orphan: false,
        }
    }

    #[test]
    fn a_recorded_id_wins_over_age() {
        let old = Identity { created: Some(DateTime::UNIX_EPOCH), ..object("old") };
        let new = Identity { created: Some(DateTime::UNIX_EPOCH + TimeDelta::days(9)), ..object("new") };
        assert!(beats((&new, true), (&old, false)));
        assert!(beats((&old, false), (&new, false)));
        assert!(!beats((&new, false), (&old, false)));
    }

    #[test]
    fn the_older_one_wins_and_of_the_same_age_the_smaller_uid() {
        let of = |uid: &str, name: &str, days| Identity {
            uid: uid.to_owned(),
            created: Some(DateTime::UNIX_EPOCH + TimeDelta::days(days)),
            ..object(name)
        };
        assert!(beats((&of("2", "b", 1), true), (&of("1", "a", 2), true)), "it is older");
        assert!(beats((&of("1", "b", 1), true), (&of("2", "a", 1), true)), "its UID is smaller");
        assert!(beats((&of("1", "a", 1), true), (&of("1", "b", 1), true)), "its name is");
        let ageless = object("a");
        assert!(beats((&ageless, true), (&of("0", "b", 1), true)), "of one nobody knows the age");
    }

    #[test]
    fn what_is_in_another_namespace_is_not_named() {
        let own = ObjectKey::new("hr", "own");
        let told = |namespace| Claimant::seen_from(&own, &ObjectKey::new(namespace, "other")).to_string();
        assert_eq!(told("hr"), "hr/other");
        assert_eq!(told("payroll"), "another object in another namespace");
    }

    #[test]
    fn without_times_the_name_decides() {
        assert!(beats((&object("a"), false), (&object("b"), false)));
        assert!(!beats((&object("b"), false), (&object("a"), false)));
    }

    #[test]
    fn exactly_one_of_two_wins() {
        let (a, b) = (object("a"), object("b"));
        for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
            assert_ne!(beats((&a, first), (&b, second)), beats((&b, second), (&a, first)));
        }
    }
}
