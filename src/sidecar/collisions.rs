//! Names of Secrets that are one to the sidecar: spelled as a variable or as a flat file, two of them
//! may come to the same.
//!
//! One of the two could be sent where only the other may go, so a process that would read both from
//! one place does not start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::names;
use crate::api::SecretKeyReference;

/// Two names of one value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Collision {
    /// Secret and key of the one.
    pub first: (String, String),
    /// Secret and key of the other.
    pub second: (String, String),
    /// Where both are found.
    pub place: Place,
}

/// Where a value is found that belongs to no manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The variable of this name.
    Variable(String),
    /// The file of this name in the folder of Secrets.
    File(String),
}

impl fmt::Display for Collision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((first, first_key), (second, second_key)) = (&self.first, &self.second);
        let place = match &self.place {
            Place::Variable(name) => format!("the variable {name}"),
            Place::File(name) => format!("the file {name}"),
        };
        write!(
            formatter,
            "key {first_key} of Secret {first} and key {second_key} of Secret {second} are both {place}; rename one \
             of them, or give both as files SECRET/KEY below --secrets-dir"
        )
    }
}

/// What of these would be found in one place, if it is there.
#[must_use]
pub fn among<'a>(references: impl IntoIterator<Item = &'a SecretKeyReference>) -> Vec<Collision> {
    let mut places: BTreeMap<Place, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for SecretKeyReference { name, key } in references {
        if names::is_secret_name(name) && names::is_secret_key(key) {
            for place in places_of(name, key) {
                places.entry(place).or_default().insert((name, key));
            }
        }
    }
    let own = |(name, key): (&str, &str)| (name.to_owned(), key.to_owned());
    let collisions = places.into_iter().filter_map(|(place, names)| {
        let mut names = names.into_iter();
        // Two keys of one Secret go to the same hosts.
        let first = names.next()?;
        let second = names.find(|(name, _)| *name != first.0)?;
        Some(Collision { first: own(first), second: own(second), place })
    });
    collisions.collect()
}

/// The places that names do not tell apart. Not every file system tells letters of either case apart.
fn places_of(name: &str, key: &str) -> [Place; 2] {
    let flat = names::flat_file(name, key).to_ascii_lowercase();
    [Place::Variable(names::variable(name, key)), Place::File(flat)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(name: &str, key: &str) -> SecretKeyReference {
        SecretKeyReference { name: name.to_owned(), key: key.to_owned() }
    }

    fn said(references: &[(&str, &str)]) -> Vec<String> {
        let references: Vec<_> = references.iter().map(|(name, key)| reference(name, key)).collect();
        among(&references).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_that_are_one_variable_or_one_file_are_both_named() {
        assert_eq!(
            said(&[("gupy-api", "token"), ("gupy", "api-token"), ("other", "token")]),
            ["key api-token of Secret gupy and key token of Secret gupy-api are both the variable \
              HOOKKEEPER_SECRET_GUPY_API_TOKEN; rename one of them, or give both as files SECRET/KEY below \
              --secrets-dir"]
        );
        let of_flat = said(&[("a", "b.c"), ("a.b", "C")]);
        assert_eq!(of_flat.len(), 2, "{of_flat:?}");
        assert!(of_flat.iter().any(|line| line.contains("are both the file a.b.c")), "{of_flat:?}");
    }

    #[test]
    fn names_that_stay_apart_are_no_collision() {
        let none: Vec<String> = Vec::new();
        assert_eq!(said(&[("a", "token"), ("a", "Token"), ("a", "token"), ("b", "token")]), none);
        assert_eq!(said(&[("../a", "token"), ("..-a", "token")]), none);
    }
}
