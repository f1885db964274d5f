//! Events of which the application has just taken a delivery, for as long as the store may not know it: a copy that
//! is taken from the store meanwhile is marked all the same. Making it durable takes milliseconds as a rule, and
//! seconds where a disk or a database is slow.

use std::collections::HashMap;

use crate::store::DeliveryId;

/// Those of one receiver.
#[derive(Debug, Default)]
pub(super) struct Answered(HashMap<Vec<u8>, Entry>);

#[derive(Debug)]
struct Entry {
    first: DeliveryId,
    /// How many of its deliveries are being written down.
    unrecorded: usize,
}

impl Answered {
    /// The application has taken this delivery of an event.
    pub(super) fn took(&mut self, event: &[u8], id: DeliveryId) {
        let entry = self.0.entry(event.to_vec()).or_insert(Entry { first: id, unrecorded: 0 });
        entry.unrecorded += 1;
    }

    /// Another delivery of the event that the application has taken.
    pub(super) fn other_than(&self, event: &[u8], id: DeliveryId) -> Option<DeliveryId> {
        self.0.get(event).map(|entry| entry.first).filter(|first| *first != id)
    }

    /// One delivery of the event is written down. What is being looked for at this moment may have been found
    /// before.
    pub(super) fn recorded(&mut self, event: &[u8], is_looking: bool) {
        let Some(entry) = self.0.get_mut(event) else { return };
        entry.unrecorded = entry.unrecorded.saturating_sub(1);
        if entry.unrecorded == 0 && !is_looking {
            self.0.remove(event);
        }
    }

    /// What was found by a look has been begun with.
    pub(super) fn looked(&mut self) {
        self.0.retain(|_, entry| entry.unrecorded > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> DeliveryId {
        DeliveryId::from_bytes([number; 16])
    }

    #[test]
    fn an_event_is_known_until_the_store_knows_it_and_nobody_looks_who_began_before() {
        let mut answered = Answered::default();
        answered.took(b"a", id(1));
        assert_eq!(answered.other_than(b"a", id(2)), Some(id(1)));
        assert_eq!(answered.other_than(b"a", id(1)), None, "it is no copy of itself");
        assert_eq!(answered.other_than(b"b", id(2)), None);
        answered.took(b"a", id(2));
        answered.recorded(b"a", false);
        assert_eq!(answered.other_than(b"a", id(3)), Some(id(1)), "the second one is not written down yet");
        answered.recorded(b"a", true);
        assert_eq!(answered.other_than(b"a", id(3)), Some(id(1)), "it may have been found before");
        answered.looked();
        assert_eq!(answered.other_than(b"a", id(3)), None);
        answered.took(b"a", id(4));
        answered.recorded(b"a", false);
        assert!(answered.0.is_empty());
    }
}
