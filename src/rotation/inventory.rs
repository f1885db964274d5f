//! What a listing shows, gathered page by page and then put in order.
//!
//! Of each remote subscription only the id, digests and a flag are kept. Whoever answers decides how
//! many there are, so whatever is looked for is found by halving and not by reading it all: by id, by
//! the digest of an id, or by what a remote is about.

use std::mem::size_of;

use sha2::{Digest, Sha256};

use super::target::{Target, digest_of_id, former, with_other_slash};

/// A remote subscription as the last complete listing showed it, in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is about.
    pub target: Target,
    /// Its digests as earlier releases recorded them, for either spelling of the URL's end.
    pub former: [u64; 2],
    /// Whether the provider delivers, where the listing shows it.
    pub active: Option<bool>,
}

impl Listed {
    /// What is kept of a remote with this action and postback URL, each where the listing shows it.
    #[must_use]
    pub fn new(action: Option<&str>, postback_url: Option<&str>, active: Option<bool>) -> Self {
        let target = match postback_url {
            Some(url) => Target::new(action, url),
            None => Target::without_url(action),
        };
        let url = postback_url.unwrap_or_default();
        Self { target, former: [former(action, url), former(action, &with_other_slash(url))], active }
    }
}

/// One remote subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    digest: u64,
    /// Where its id stands among the ids.
    start: u32,
    length: u16,
    listed: Listed,
}

impl Shown {
    fn id<'a>(&self, ids: &'a str) -> &'a str {
        let start = self.start as usize;
        ids.get(start..start + usize::from(self.length)).unwrap_or_default()
    }
}

/// What pages have shown so far, in the order in which they did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gathered {
    /// All ids, one behind the other.
    ids: String,
    shown: Vec<Shown>,
}

impl Gathered {
    /// How many remotes were shown; one that was shown twice counts twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// Whether none was shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// How many bytes the ids take.
    #[must_use]
    pub fn id_bytes(&self) -> usize {
        self.ids.len()
    }

    /// How many bytes are set aside for it.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.ids.capacity() + self.shown.capacity() * size_of::<Shown>()
    }

    /// Adds a remote; false when its id is too long to be kept. No more room is set aside than for so
    /// many remotes and so many bytes of ids, if no more than that are added.
    pub fn push(&mut self, id: &str, listed: Listed, most: usize, most_bytes: usize) -> bool {
        let (Ok(start), Ok(length)) = (u32::try_from(self.ids.len()), u16::try_from(id.len())) else {
            return false;
        };
        let room = self.ids.capacity();
        if self.ids.len() + id.len() > room {
            let larger = room.saturating_mul(2).min(most_bytes).max(self.ids.len() + id.len());
            self.ids.reserve_exact(larger - self.ids.len());
        }
        if self.shown.len() == self.shown.capacity() {
            let larger = (self.shown.len() * 2).max(16).min(most).max(self.shown.len() + 1);
            self.shown.reserve_exact(larger - self.shown.len());
        }
        self.ids.push_str(id);
        self.shown.push(Shown { digest: digest_of_id(id), start, length, listed });
        true
    }
}

/// What a complete listing shows.
///
/// ```
/// use hookkeeper::rotation::inventory::Listed;
/// use hookkeeper::rotation::inventory::Inventory;
/// use hookkeeper::rotation::target::Target;
/// let url = "https://example.com/in";
/// let shown = Listed::new(Some("job.published"), Some(url), None);
/// let inventory: Inventory = [("a".to_owned(), shown)].into_iter().collect();
/// assert!(inventory.contains("a") && !inventory.contains("b"));
/// assert_eq!(inventory.alike(Target::new(Some("job.published"), url)).count(), 1);
/// assert_eq!(inventory.alike(Target::new(Some("job.closed"), url)).count(), 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    ids: Box<str>,
    /// By digest, then by id.
    shown: Box<[Shown]>,
    /// Their numbers, by target, then by id.
    by_target: Box<[u32]>,
    /// Twice their numbers, plus which of the two former digests it is, by that digest.
    by_former: Box<[u32]>,
    /// The numbers of those without an action.
    without_action: Box<[u32]>,
}

impl From<Gathered> for Inventory {
    /// Puts in order what was gathered. Of one that was shown twice, what was shown last counts.
    fn from(gathered: Gathered) -> Self {
        let Gathered { ids: gathered, mut shown } = gathered;
        let key = |one: &Shown| (one.digest, one.id(&gathered));
        shown.sort_by(|one, other| key(one).cmp(&key(other)));
        shown.dedup_by(|later, kept| {
            let is_same = key(later) == key(kept);
            if is_same {
                kept.listed = later.listed;
            }
            is_same
        });
        let mut ids = String::with_capacity(shown.iter().map(|one| usize::from(one.length)).sum());
        for one in &mut shown {
            let id = one.id(&gathered);
            // It is no longer than what was gathered, whose length has been counted in as many bits.
            one.start = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            ids.push_str(id);
        }
        drop(gathered);
        let numbers = 0..u32::try_from(shown.len()).unwrap_or(u32::MAX / 2).min(u32::MAX / 2);
        let at = |number: u32| &shown[number as usize];
        let mut by_target: Box<[u32]> = numbers.clone().collect();
        by_target.sort_by(|one, other| {
            let key = |number: u32| (at(number).listed.target, at(number).id(&ids));
            key(*one).cmp(&key(*other))
        });
        let former = |number: u32| at(number / 2).listed.former[number as usize % 2];
        let mut by_former: Box<[u32]> = numbers.clone().flat_map(|one| [one * 2, one * 2 + 1]).collect();
        by_former.sort_by_key(|number| former(*number));
        let without_action = numbers.filter(|number| !at(*number).listed.target.has_action()).collect();
        Self {
            ids: ids.into_boxed_str(),
            shown: shown.into_boxed_slice(),
            by_target,
            by_former,
            without_action,
        }
    }
}

impl FromIterator<(String, Listed)> for Inventory {
    fn from_iter<Remotes: IntoIterator<Item = (String, Listed)>>(remotes: Remotes) -> Self {
        let mut gathered = Gathered::default();
        for (id, listed) in remotes {
            gathered.push(&id, listed, 0, 0);
        }
        gathered.into()
    }
}

impl Inventory {
    /// How many remotes it shows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// Whether it shows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// How many bytes it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let numbers = self.by_target.len() + self.by_former.len() + self.without_action.len();
        self.ids.len() + self.shown.len() * size_of::<Shown>() + numbers * size_of::<u32>()
    }

    /// What it shows of the remote with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Listed> {
        let wanted = (digest_of_id(id), id);
        let found = self.shown.binary_search_by(|one| (one.digest, one.id(&self.ids)).cmp(&wanted));
        found.ok().and_then(|number| self.shown.get(number)).map(|one| &one.listed)
    }

    /// What it shows of the remote whose id has this digest: see [`digest_of_id`].
    #[must_use]
    pub fn by_digest(&self, digest: u64) -> Option<&Listed> {
        let first = self.shown.partition_point(|one| one.digest < digest);
        self.shown.get(first).filter(|one| one.digest == digest).map(|one| &one.listed)
    }

    /// Whether it shows the remote with this id.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.get(id).is_some()
    }

    /// All that it shows.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Listed)> {
        self.shown.iter().map(|one| (one.id(&self.ids), &one.listed))
    }

    /// Those that are [`Same`](super::target::Likeness::Same) as the target, which names its URL.
    pub fn alike(&self, target: Target) -> impl Iterator<Item = (&str, &Listed)> {
        let ranges = target.url.map(|url| self.with(Some(url), target.action));
        self.look_up(ranges.into_iter().flatten().flatten())
    }

    /// Those of which it is [`Unknown`](super::target::Likeness::Unknown) whether they are the same as
    /// the target, which names its URL.
    pub fn perhaps_alike(&self, target: Target) -> impl Iterator<Item = (&str, &Listed)> {
        self.look_up(self.with(None, target.action).into_iter().flatten())
    }

    /// Those with this digest as earlier releases recorded it.
    pub fn with_former(&self, digest: u64) -> impl Iterator<Item = (&str, &Listed)> {
        let former = |number: u32| {
            self.shown.get(number as usize / 2).map(|one| one.listed.former[number as usize % 2])
        };
        let first = self.by_former.partition_point(|number| former(*number) < Some(digest));
        let after = self.by_former.get(first..).unwrap_or_default();
        let length = after.partition_point(|number| former(*number) == Some(digest));
        self.look_up(after.iter().take(length).map(|number| *number / 2))
    }

    /// Those that show no action.
    pub fn without_action(&self) -> impl Iterator<Item = (&str, &Listed)> {
        self.look_up(self.without_action.iter().copied())
    }

    /// The numbers of those with this URL and an action that does not differ.
    fn with(&self, url: Option<u64>, action: Option<u64>) -> [impl Iterator<Item = u32> + use<'_>; 2] {
        let target = |number: u32| self.shown.get(number as usize).map(|one| one.listed.target);
        let range = |from: Option<Target>, is_within: &dyn Fn(Target) -> bool| {
            let first = self.by_target.partition_point(|number| target(*number) < from);
            let after = self.by_target.get(first..).unwrap_or_default();
            let length = after.partition_point(|number| target(*number).is_some_and(is_within));
            after.iter().take(length).copied()
        };
        let lowest = Some(Target { url, action: None });
        match action {
            None => [range(lowest, &|target| target.url == url), range(None, &|_| false)],
            Some(_) => [
                range(lowest, &|target| target == Target { url, action: None }),
                range(Some(Target { url, action }), &|target| target == Target { url, action }),
            ],
        }
    }

    fn look_up(&self, numbers: impl Iterator<Item = u32>) -> impl Iterator<Item = (&str, &Listed)> {
        numbers.filter_map(|number| {
            let one = self.shown.get(number as usize)?;
            Some((one.id(&self.ids), &one.listed))
        })
    }

    /// Differs between two listings that do not show the same ids.
    #[must_use]
    pub fn digest_of_ids(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for (id, _) in self.iter() {
            hasher.update((id.len() as u64).to_be_bytes());
            hasher.update(id.as_bytes());
        }
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rotation::target::{Likeness, compared};

    fn about(number: u64) -> Target {
        let part = |part: u64| (part > 0).then_some(part);
        Target { url: part(number / 3), action: part(number % 3) }
    }

    fn inventory(shown: &[(u8, u64)]) -> Inventory {
        let listed = |number| Listed { target: about(number), former: [number, number + 1], active: None };
        shown.iter().map(|(id, number)| (format!("id-{id}"), listed(*number))).collect()
    }

    fn ids<'a>(found: impl Iterator<Item = (&'a str, &'a Listed)>) -> Vec<String> {
        let mut ids: Vec<_> = found.map(|(id, _)| id.to_owned()).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    proptest! {
        /// Whatever is looked up is what reading it all would find.
        #[test]
        fn what_is_looked_up_is_what_reading_it_all_finds(
            shown in proptest::collection::vec((0_u8..20, 0_u64..12), 0..30),
            wanted in 3_u64..12,
            id in 0_u8..20,
        ) {
            let inventory = inventory(&shown);
            let target = about(wanted);
            let all = |of: &dyn Fn(&Listed) -> bool| ids(inventory.iter().filter(|(_, listed)| of(listed)));
            prop_assert_eq!(
                ids(inventory.alike(target)),
                all(&|listed| target.likeness(listed.target) == Likeness::Same)
            );
            prop_assert_eq!(
                ids(inventory.perhaps_alike(target)),
                all(&|listed| target.likeness(listed.target) == Likeness::Unknown)
            );
            prop_assert_eq!(ids(inventory.with_former(wanted)), all(&|listed| listed.former.contains(&wanted)));
            prop_assert_eq!(ids(inventory.without_action()), all(&|listed| !listed.target.has_action()));
            let last = shown.iter().rev().find(|(of, _)| *of == id).map(|(_, number)| about(*number));
            let id = format!("id-{id}");
            prop_assert_eq!(inventory.get(&id).map(|listed| listed.target), last);
            prop_assert_eq!(inventory.by_digest(digest_of_id(&id)).map(|listed| listed.target), last);
        }
    }

    #[test]
    fn what_was_gathered_is_counted() {
        let mut gathered = Gathered::default();
        assert!(gathered.is_empty() && Inventory::default().is_empty());
        for number in 0..3 {
            let listed = Listed { target: about(number), former: [0, 1], active: None };
            assert!(gathered.push(&format!("id-{number}"), listed, 10, 100));
        }
        assert_eq!((gathered.is_empty(), gathered.len(), gathered.id_bytes()), (false, 3, 12));
        let inventory = Inventory::from(gathered);
        assert_eq!((inventory.is_empty(), inventory.len()), (false, 3));
    }

    /// What is set aside for so many remotes with ids of four bytes.
    fn set_aside(count: usize, most: usize, most_bytes: usize) -> (usize, usize) {
        let mut gathered = Gathered::default();
        for number in 0..count {
            let listed = Listed { target: about(1), former: [0, 1], active: None };
            assert!(gathered.push(&format!("{number:04}"), listed, most, most_bytes));
        }
        let remotes = (gathered.weight() - gathered.ids.capacity()) / size_of::<Shown>();
        (gathered.ids.capacity(), remotes)
    }

    #[test]
    fn memory_doubles_and_grows_no_further_than_is_said() {
        for (count, expected) in [(1, (4, 16)), (2, (8, 16)), (3, (16, 16)), (4, (16, 16)), (17, (128, 32))] {
            assert_eq!(set_aside(count, 1_000, 1_000), expected, "{count}");
        }
        assert_eq!(set_aside(3, 3, 12), (12, 3), "no more than will be needed");
        assert_eq!(set_aside(2, 0, 0), (8, 2), "where that is not known, what is needed now");
    }

    #[test]
    fn an_inventory_weighs_what_it_holds() {
        let inventory = inventory(&[(1, 3), (2, 4), (3, 5)]);
        assert_eq!(inventory.without_action().count(), 1);
        let numbers = 3 + 2 * 3 + 1;
        assert_eq!(
            inventory.weight(),
            3 * "id-1".len() + 3 * size_of::<Shown>() + numbers * size_of::<u32>()
        );
    }

    #[test]
    fn the_digest_of_ids_is_that_of_the_set() {
        let one = inventory(&[(1, 3), (2, 4), (1, 5)]);
        assert_eq!(one.len(), 2);
        assert_eq!(one.digest_of_ids(), inventory(&[(2, 7), (1, 8)]).digest_of_ids());
        assert_ne!(one.digest_of_ids(), inventory(&[(2, 7), (3, 8)]).digest_of_ids());
        assert_ne!(one.digest_of_ids(), inventory(&[]).digest_of_ids());
    }

    #[test]
    fn of_a_hundred_thousand_a_look_up_compares_none_but_those_that_match() {
        let listed = |number: u64| Listed {
            target: Target { url: Some(number / 2), action: Some(1) },
            former: [number, number],
            active: None,
        };
        let many: Inventory = (0..100_000).map(|number| (format!("id-{number}"), listed(number))).collect();
        let before = compared();
        assert_eq!(many.alike(Target { url: Some(7), action: None }).count(), 2);
        assert_eq!(many.with_former(7).count(), 2, "once for each of its spellings");
        assert!(many.get("id-99999").is_some() && many.get("id-100000").is_none());
        assert_eq!(compared(), before, "no likeness is judged to find them");
        // Ids of 256 bytes come on top of that.
        assert!(many.weight() < 12 * 1024 * 1024, "{} bytes", many.weight());
    }
}
