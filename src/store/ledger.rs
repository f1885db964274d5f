//! What each receiver has, counted: in memory, in step with the commits, and durable beside the rows, so
//! that a start costs by receivers and not by rows.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Bound, Extent, Owner, Room};

/// The counts of one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// Number of the receiver in the rows.
    pub(super) receiver: i64,
    pub(super) owner: Owner,
    pub(super) pending: Extent,
    pub(super) parked: Extent,
    pub(super) keys: u64,
    /// Expectations that somebody is asked for.
    pub(super) expected: u64,
    /// Expectations that nobody is asked for any more.
    pub(super) expected_parked: u64,
    /// When the last key that went too early would have expired, in microseconds; 0 for never.
    pub(super) shortened_until: i64,
}

impl Account {
    pub(super) fn new(receiver: i64, owner: Owner) -> Self {
        Self {
            receiver,
            owner,
            pending: Extent::default(),
            parked: Extent::default(),
            keys: 0,
            expected: 0,
            expected_parked: 0,
            shortened_until: 0,
        }
    }

    /// Whether nothing belongs to it any more.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.deliveries == 0
            && self.parked.deliveries == 0
            && self.keys == 0
            && self.expected == 0
            && self.expected_parked == 0
    }
}

/// All accounts, and what they were before the transaction that is open.
#[derive(Default)]
pub(super) struct Ledger {
    accounts: HashMap<i64, Account>,
    by_uid: HashMap<Arc<str>, i64>,
    namespaces: HashMap<Arc<str>, Extent>,
    before: HashMap<i64, Option<Account>>,
    /// The bytes that are left on the disk for new deliveries, as it was last seen.
    left: Option<u64>,
}

impl Ledger {
    pub(super) fn of(accounts: Vec<Account>) -> Self {
        let mut ledger = Self::default();
        for account in accounts {
            ledger.set(account.receiver, Some(account));
        }
        ledger
    }

    pub(super) fn get(&self, receiver: i64) -> Option<&Account> {
        self.accounts.get(&receiver)
    }

    pub(super) fn by_uid(&self, uid: &str) -> Option<&Account> {
        self.by_uid.get(uid).and_then(|receiver| self.accounts.get(receiver))
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    pub(super) fn insert(&mut self, account: Account) {
        self.remember(account.receiver);
        self.set(account.receiver, Some(account));
    }

    pub(super) fn remove(&mut self, receiver: i64) {
        self.remember(receiver);
        self.set(receiver, None);
    }

    /// Changes an account; the change counts when the transaction is committed.
    pub(super) fn change(&mut self, receiver: i64, change: impl FnOnce(&mut Account)) {
        let Some(mut account) = self.accounts.get(&receiver).cloned() else { return };
        self.remember(receiver);
        change(&mut account);
        self.set(receiver, Some(account));
    }

    /// The accounts that the open transaction changed.
    pub(super) fn changed(&self) -> Vec<&Account> {
        self.before.keys().filter_map(|receiver| self.accounts.get(receiver)).collect()
    }

    pub(super) fn commit(&mut self) {
        self.before.clear();
    }

    pub(super) fn roll_back(&mut self) {
        for (receiver, account) in std::mem::take(&mut self.before) {
            self.set(receiver, account);
        }
    }

    /// Which bound a delivery of this size would break.
    pub(super) fn bound(&self, receiver: i64, room: &Room, size: u64) -> Option<Bound> {
        let account = self.accounts.get(&receiver)?;
        if let Some(bound) = bound_of_receiver(account, room, size) {
            return Some(bound);
        }
        let namespace = self.namespaces.get(&account.owner.namespace).copied().unwrap_or_default();
        let leaves_enough = !room.leaves_some
            || self.left.is_none_or(|left| on_disk(namespace).saturating_add(size + ROW) <= left);
        (!fits(namespace, room.namespace, size) || !leaves_enough).then_some(Bound::Namespace)
    }

    /// What receivers of a namespace hold whose accounts are not here.
    pub(super) fn beside(&mut self, namespace: Arc<str>, held: Extent) {
        let all = self.namespaces.entry(namespace).or_default();
        all.deliveries += held.deliveries;
        all.bytes += held.bytes;
    }

    /// So many bytes are left on the disk for new deliveries.
    pub(super) fn left(&mut self, bytes: u64) {
        self.left = Some(bytes);
    }

    /// Whether one that is parked can wait again: its namespace has as much as before.
    pub(super) fn can_wait(&self, receiver: i64, room: &Room, size: u64) -> bool {
        self.accounts.get(&receiver).is_some_and(|account| fits(account.pending, room.pending, size))
    }

    /// Which bound a parked delivery of this size would break that comes over from another receiver of the
    /// same namespace: the namespace has as much as before.
    pub(super) fn bound_for_adopted(&self, receiver: i64, room: &Room, size: u64) -> Option<Bound> {
        self.accounts.get(&receiver).and_then(|account| bound_of_receiver(account, room, size))
    }

    fn remember(&mut self, receiver: i64) {
        let account = self.accounts.get(&receiver);
        self.before.entry(receiver).or_insert_with(|| account.cloned());
    }

    fn set(&mut self, receiver: i64, account: Option<Account>) {
        let after = account.as_ref().map(held).unwrap_or_default();
        let owner = account.as_ref().map(|account| account.owner.clone());
        let old = match account {
            Some(account) => self.accounts.insert(receiver, account),
            None => self.accounts.remove(&receiver),
        };
        let before = old.as_ref().map(held).unwrap_or_default();
        let Some(owner) = owner.or_else(|| old.as_ref().map(|account| account.owner.clone())) else { return };
        if self.accounts.contains_key(&receiver) {
            self.by_uid.insert(owner.uid, receiver);
        } else {
            self.by_uid.remove(&owner.uid);
        }
        let namespace = self.namespaces.entry(Arc::clone(&owner.namespace)).or_default();
        namespace.deliveries = (namespace.deliveries + after.deliveries).saturating_sub(before.deliveries);
        namespace.bytes = (namespace.bytes + after.bytes).saturating_sub(before.bytes);
        if *namespace == Extent::default() {
            self.namespaces.remove(&owner.namespace);
        }
    }
}

/// What a row takes on the disk beside its body, in bytes.
const ROW: u64 = 1024;

/// What so much takes on the disk.
fn on_disk(extent: Extent) -> u64 {
    extent.bytes.saturating_add(extent.deliveries.saturating_mul(ROW))
}

fn held(account: &Account) -> Extent {
    Extent {
        deliveries: account.pending.deliveries + account.parked.deliveries,
        bytes: account.pending.bytes + account.parked.bytes,
    }
}

fn bound_of_receiver(account: &Account, room: &Room, size: u64) -> Option<Bound> {
    // What waits may have to be parked, and nothing that is parked is deleted to make room.
    if !fits(account.parked, room.parked, 0) {
        return Some(Bound::Parked);
    }
    (!fits(account.pending, room.pending, size)).then_some(Bound::Pending)
}

fn fits(held: Extent, room: Extent, size: u64) -> bool {
    held.deliveries < room.deliveries && held.bytes.saturating_add(size) <= room.bytes
}

/// One delivery more.
pub(super) fn add(extent: &mut Extent, size: u64) {
    extent.deliveries += 1;
    extent.bytes += size;
}

/// One delivery less.
pub(super) fn subtract(extent: &mut Extent, size: u64) {
    extent.deliveries = extent.deliveries.saturating_sub(1);
    extent.bytes = extent.bytes.saturating_sub(size);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(namespace: &str, uid: &str) -> Owner {
        Owner { namespace: namespace.into(), name: "name".into(), uid: uid.into() }
    }

    fn extent(deliveries: u64, bytes: u64) -> Extent {
        Extent { deliveries, bytes }
    }

    #[test]
    fn each_bound_is_told_by_its_name() {
        let mut ledger = Ledger::of(vec![
            Account::new(1, owner("a", "one")),
            Account::new(2, owner("a", "two")),
            Account::new(3, owner("b", "three")),
        ]);
        let room = Room {
            pending: extent(2, 10),
            parked: extent(1, 10),
            namespace: extent(3, 15),
            leaves_some: false,
        };
        ledger.change(1, |account| account.pending = extent(1, 8));
        assert_eq!(ledger.bound(1, &room, 2), None);
        assert_eq!(ledger.bound(1, &room, 3), Some(Bound::Pending));
        assert_eq!(ledger.bound(2, &room, 7), None);
        assert_eq!(ledger.bound(2, &room, 8), Some(Bound::Namespace));
        assert_eq!(ledger.bound(3, &room, 8), None);
        ledger.change(1, |account| account.pending = extent(2, 8));
        assert_eq!(ledger.bound(1, &room, 0), Some(Bound::Pending));
        ledger.change(1, |account| {
            account.pending = extent(1, 1);
            account.parked = extent(1, 1);
        });
        assert_eq!(ledger.bound(1, &room, 0), Some(Bound::Parked));
        assert!(ledger.can_wait(1, &room, 9));
        assert!(!ledger.can_wait(1, &room, 10));
    }

    #[test]
    fn a_namespace_leaves_as_much_of_the_disk_as_it_holds() {
        let accounts = vec![Account::new(1, owner("a", "one")), Account::new(2, owner("b", "two"))];
        let mut ledger = Ledger::of(accounts);
        let plenty = extent(u64::MAX, u64::MAX);
        let room = |leaves_some| Room { pending: plenty, parked: plenty, namespace: plenty, leaves_some };
        ledger.change(1, |account| account.pending = extent(3, 7 * 1024));
        ledger.left(12 * 1024);
        assert_eq!(ledger.bound(1, &room(true), 1024), None);
        assert_eq!(ledger.bound(1, &room(true), 1025), Some(Bound::Namespace));
        // Alone it may have all, and nobody else pays for what it has.
        assert_eq!(ledger.bound(1, &room(false), 1025), None);
        assert_eq!(ledger.bound(2, &room(true), 10 * 1024), None);
    }

    #[test]
    fn what_is_rolled_back_was_never_counted() {
        let mut ledger = Ledger::of(vec![Account::new(1, owner("a", "one"))]);
        ledger.change(1, |account| add(&mut account.pending, 5));
        ledger.commit();
        let committed = ledger.get(1).cloned();
        ledger.change(1, |account| add(&mut account.pending, 5));
        ledger.change(1, |account| subtract(&mut account.pending, 1));
        ledger.insert(Account::new(2, owner("b", "two")));
        ledger.remove(1);
        assert_eq!(ledger.by_uid("one"), None);
        ledger.roll_back();
        assert_eq!(ledger.get(1).cloned(), committed);
        assert_eq!(ledger.by_uid("one").cloned(), committed);
        assert_eq!(ledger.by_uid("two"), None);
        assert_eq!(ledger.namespaces.len(), 1);
        assert_eq!(ledger.namespaces["a"], extent(1, 5));
    }
}
