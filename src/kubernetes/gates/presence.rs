//! Which gates are there, at a moment of boot time. Pure.
//!
//! A gate is live for some time after its Lease was **seen** to change: what others' clocks say is not
//! believed. One whose Lease is deleted is gone at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::api::ObjectKey;
use crate::kubernetes::gate_lease::{GateRecord, LIVE_FOR};

/// How long this process waits for the first gate to appear before it says that there is none.
pub(super) const FIRST_APPEARANCE: Duration = Duration::from_secs(30);
/// A gate whose Lease has not changed for so long does not come back under its name without saying so.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(300);
/// How many gates are looked at; Leases of more are left alone.
pub(super) const MOST_GATES: usize = 256;

/// A gate as its Lease was seen last.
#[derive(Clone, Debug)]
struct Seen {
    record: GateRecord,
    /// The resourceVersion.
    version: String,
    /// When that was seen first.
    changed: Duration,
    /// It was taken for live when that was judged last.
    was_live: bool,
}

/// What has changed with a gate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// Gates that have come or gone.
    pub(super) gates: BTreeSet<String>,
    /// Sources that somebody serves who did not, or of which somebody holds other tokens than before.
    pub(super) sources: BTreeSet<ObjectKey>,
    /// It is not known any more, or again, which sources those are that a gate serves.
    pub(super) any_source: bool,
}

impl Changed {
    fn gate(&mut self, record: &GateRecord) {
        self.gates.insert(record.gate.clone());
        self.sources.extend(record.serves.keys().cloned());
        self.any_source |= !record.is_complete;
    }

    pub(super) fn add(&mut self, other: Self) {
        self.gates.extend(other.gates);
        self.sources.extend(other.sources);
        self.any_source |= other.any_source;
    }
}

/// The gates that are known.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    began: Duration,
    /// All Leases have been listed once.
    is_listed: bool,
    gates: BTreeMap<String, Seen>,
    has_seen_one: bool,
    /// The time in which the first gate may appear was over when that was judged last.
    was_settled: bool,
}

impl Presence {
    /// Nobody has been seen; `began` is the boot time of now.
    pub(super) fn new(began: Duration) -> Self {
        Self { began, is_listed: false, gates: BTreeMap::new(), has_seen_one: false, was_settled: false }
    }

    /// A Lease was seen in this version. `None` when there are too many gates to look at this one.
    pub(super) fn see(&mut self, record: GateRecord, version: &str, now: Duration) -> Option<Changed> {
        let mut changed = Changed::default();
        let is_full = self.gates.len() >= MOST_GATES;
        match self.gates.get_mut(&record.gate) {
            Some(seen) if seen.version == version => return Some(changed),
            Some(seen) => {
                let before = std::mem::replace(&mut seen.record, record);
                seen.version = version.to_owned();
                seen.changed = now;
                if !std::mem::replace(&mut seen.was_live, true) {
                    changed.gate(&before);
                    changed.gate(&seen.record);
                } else if before != seen.record {
                    let all = before.serves.keys().chain(seen.record.serves.keys());
                    let differs =
                        |source: &&ObjectKey| before.serves.get(*source) != seen.record.serves.get(*source);
                    changed.sources.extend(all.filter(differs).cloned());
                    changed.any_source = before.is_complete != seen.record.is_complete;
                }
            }
            None if is_full => return None,
            None => {
                changed.gate(&record);
                let seen = Seen { record, version: version.to_owned(), changed: now, was_live: true };
                self.gates.insert(seen.record.gate.clone(), seen);
            }
        }
        self.has_seen_one = true;
        Some(changed)
    }

    /// A Lease is gone.
    pub(super) fn lose(&mut self, gate: &str) -> Changed {
        let mut changed = Changed::default();
        if let Some(seen) = self.gates.remove(gate) {
            changed.gate(&seen.record);
        }
        changed
    }

    /// All Leases have been listed, and these are there.
    pub(super) fn listed(&mut self, present: &BTreeSet<String>) -> Changed {
        self.is_listed = true;
        let mut changed = Changed::default();
        let gone: Vec<String> = self.gates.keys().filter(|gate| !present.contains(*gate)).cloned().collect();
        for gate in gone {
            changed.add(self.lose(&gate));
        }
        changed
    }

    /// Time has passed: those that are no longer live, and whether it is known now that there is none.
    pub(super) fn pass(&mut self, now: Duration) -> Changed {
        let mut changed = Changed::default();
        for seen in self.gates.values_mut() {
            if seen.was_live && !is_live(seen, now) {
                seen.was_live = false;
                changed.gate(&seen.record);
            }
        }
        if !self.was_settled && self.is_settled(now) {
            self.was_settled = true;
            changed.any_source = true;
        }
        changed
    }

    /// Whether it is known who is there: all were listed, and one has been seen, or would have been.
    pub(super) fn is_settled(&self, now: Duration) -> bool {
        let waited = now.saturating_sub(self.began) >= FIRST_APPEARANCE;
        self.is_listed && (self.has_seen_one || waited)
    }

    /// Those that are there.
    pub(super) fn live(&self, now: Duration) -> impl Iterator<Item = &GateRecord> {
        self.gates.values().filter(move |seen| is_live(seen, now)).map(|seen| &seen.record)
    }

    /// From when on the gate of this name is gone for good, if nothing is heard of it: nobody clears up
    /// after one that is silent for a moment. `noticed` is when this process first knew its name. `None`
    /// while Leases have not been listed.
    pub(super) fn gone_at(&self, gate: &str, noticed: Duration) -> Option<Duration> {
        match self.gates.get(gate) {
            Some(seen) => Some(seen.changed + GONE_AFTER),
            None if !self.is_listed => None,
            // Its Lease may be on its way to us.
            None if self.has_seen_one => Some(noticed + LIVE_FOR),
            None => Some((noticed + LIVE_FOR).max(self.began + FIRST_APPEARANCE)),
        }
    }

    /// When something changes by itself, if nothing else happens.
    pub(super) fn next(&self, now: Duration) -> Option<Duration> {
        let ends = self.gates.values().filter(|seen| seen.was_live).map(|seen| seen.changed + LIVE_FOR);
        let waits = self.is_listed && !self.has_seen_one && !self.was_settled;
        let settled = waits.then(|| (self.began + FIRST_APPEARANCE).max(now));
        ends.chain(settled).min()
    }
}

fn is_live(seen: &Seen, now: Duration) -> bool {
    now.saturating_sub(seen.changed) < LIVE_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Duration = Duration::from_secs(1_000);

    fn after(seconds: u64) -> Duration {
        BEGAN + Duration::from_secs(seconds)
    }

    fn record(gate: &str, sources: &[(&str, &[&str])]) -> GateRecord {
        let serves = sources.iter().map(|(source, held)| {
            (ObjectKey::new("hr", source), held.iter().map(|one| (*one).to_owned()).collect())
        });
        GateRecord { gate: gate.to_owned(), serves: serves.collect(), is_complete: true }
    }

    fn names(presence: &Presence, now: Duration) -> Vec<String> {
        presence.live(now).map(|record| record.gate.clone()).collect()
    }

    fn sources(changed: &Changed) -> Vec<&str> {
        changed.sources.iter().map(|source| &*source.name).collect()
    }

    #[test]
    fn a_gate_is_live_for_half_a_minute_after_its_lease_was_seen_to_change() {
        let mut presence = Presence::new(BEGAN);
        let first = presence.see(record("a", &[("gupy", &["1"])]), "7", after(0)).unwrap();
        assert_eq!((first.gates.len(), sources(&first)), (1, vec!["gupy"]));
        presence.listed(&BTreeSet::from(["a".to_owned()]));
        // The same version again is no sign of life, however often it is seen.
        for second in 1..30 {
            let again = presence.see(record("a", &[("gupy", &["1"])]), "7", after(second)).unwrap();
            assert_eq!(again, Changed::default());
            assert_eq!(names(&presence, after(second)), ["a"]);
        }
        assert_eq!(presence.next(after(1)), Some(after(30)));
        assert!(names(&presence, after(30)).is_empty());
        let gone = presence.pass(after(30));
        assert_eq!((gone.gates.len(), sources(&gone)), (1, vec!["gupy"]));
        assert_eq!(presence.pass(after(31)), Changed::default(), "told once");
        let back = presence.see(record("a", &[("gupy", &["1"])]), "8", after(40)).unwrap();
        assert_eq!((back.gates.len(), sources(&back)), (1, vec!["gupy"]));
        assert_eq!(names(&presence, after(41)), ["a"]);
        let renewed = presence.see(record("a", &[("gupy", &["1"])]), "9", after(50)).unwrap();
        assert_eq!(renewed, Changed::default(), "a renewal is no news");
        assert_eq!(presence.gone_at("a", after(0)), Some(after(350)), "longer than it may be silent");
    }

    #[test]
    fn what_a_gate_holds_is_news_by_source() {
        let mut presence = Presence::new(BEGAN);
        presence.see(record("a", &[("gupy", &["1"]), ("other", &["5"])]), "1", after(0));
        let changed = presence.see(record("a", &[("gupy", &["1", "2"]), ("other", &["5"])]), "2", after(1));
        let changed = changed.unwrap();
        assert_eq!((changed.gates.len(), sources(&changed), changed.any_source), (0, vec!["gupy"], false));
        let changed = presence.see(record("a", &[("other", &["5"])]), "3", after(2)).unwrap();
        assert_eq!(sources(&changed), ["gupy"], "it serves it no more");
        let less = GateRecord { is_complete: false, ..record("a", &[("other", &["5"])]) };
        assert!(presence.see(less, "4", after(3)).unwrap().any_source);
    }

    #[test]
    fn one_whose_lease_is_deleted_is_gone_at_once() {
        let mut presence = Presence::new(BEGAN);
        presence.see(record("a", &[("gupy", &[])]), "1", after(0));
        presence.see(record("b", &[("other", &[])]), "2", after(0));
        presence.listed(&BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(sources(&presence.lose("a")), ["gupy"]);
        assert_eq!(names(&presence, after(1)), ["b"]);
        assert_eq!(presence.lose("a"), Changed::default());
        // A list that does not contain it is as good.
        assert_eq!(sources(&presence.listed(&BTreeSet::new())), ["other"]);
        assert!(names(&presence, after(1)).is_empty());
        // Its share is left for a moment: a watch may be ahead of another.
        assert_eq!(presence.gone_at("a", after(1)), Some(after(31)));
    }

    #[test]
    fn that_there_is_none_is_known_after_half_a_minute() {
        let mut presence = Presence::new(BEGAN);
        assert!(!presence.is_settled(after(60)), "nothing has been listed");
        assert_eq!(presence.gone_at("old", after(0)), None);
        presence.listed(&BTreeSet::new());
        assert!(!presence.is_settled(after(29)));
        assert_eq!(presence.gone_at("old", Duration::ZERO), Some(after(30)));
        assert_eq!(presence.next(after(1)), Some(after(30)));
        assert!(!presence.pass(after(29)).any_source);
        assert!(presence.pass(after(30)).any_source && presence.is_settled(after(30)));
        assert!(!presence.pass(after(31)).any_source, "told once");
        assert_eq!(presence.next(after(31)), None);
        let mut presence = Presence::new(BEGAN);
        presence.see(record("a", &[]), "1", after(1));
        presence.listed(&BTreeSet::from(["a".to_owned()]));
        assert!(presence.is_settled(after(1)), "one is there");
        presence.lose("a");
        assert!(presence.is_settled(after(2)), "and was");
    }

    #[test]
    fn not_more_are_looked_at_than_anybody_runs() {
        let mut presence = Presence::new(BEGAN);
        for number in 0..MOST_GATES {
            assert!(presence.see(record(&format!("gate-{number}"), &[]), "1", after(0)).is_some());
        }
        assert_eq!(presence.see(record("one-more", &[]), "1", after(0)), None);
        assert!(presence.see(record("gate-0", &[]), "2", after(1)).is_some());
        presence.lose("gate-0");
        assert!(presence.see(record("one-more", &[]), "1", after(2)).is_some());
    }
}
