//! Whose webhooks a provider object manages, without the credential that tells it.
//!
//! Ids of webhooks say nothing by themselves: two accounts at one host may both begin at 1. Who
//! claims an id claims it in an account, and no object can stand in the way of another account's.

use crate::engine::account::Account;
use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::engine::ids::SubscriptionId;

/// The accounts of all credentials in use. A renewed credential is the same account as before: its
/// copies are not all renewed in the same moment.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    known: HashMap<Account, (u64, usize)>,
    last: u64,
}

impl Accounts {
    /// A provider's credential is this one now. Returns the number of its account.
    pub(crate) fn change(&mut self, from: Option<(Account, u64)>, to: Account) -> u64 {
        let number = match (self.known.get(&to).map(|(number, _)| *number), from) {
            (Some(number), _) | (None, Some((_, number))) => number,
            (None, None) => {
                self.last += 1;
                self.last
            }
        };
        self.known.entry(to).or_insert((number, 0)).1 += 1;
        self.release(from);
        number
    }

    /// A provider has this credential no more.
    pub(crate) fn release(&mut self, from: Option<(Account, u64)>) {
        if let Some((account, _)) = from
            && let Some((_, holders)) = self.known.get_mut(&account)
        {
            *holders -= 1;
            if *holders == 0 {
                self.known.remove(&account);
            }
        }
    }
}

/// How far it is known whose webhooks a provider object manages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Its credential has not been read.
    #[default]
    No,
    /// It is being read.
    Now,
    /// It has been read, or cannot be.
    Yes,
}

/// Whose webhooks a provider object manages.
#[derive(Debug, Default)]
pub(crate) struct Belonging {
    /// The credential that was read last, and the number of its account.
    pub(crate) credential: Option<(Account, u64)>,
    pub(crate) asked: Asked,
    /// When the credential last turned out to be another than before.
    pub(crate) changed: Option<DateTime<Utc>>,
    /// Those that cannot be decided on before it is known.
    pub(crate) waiting: BTreeSet<SubscriptionId>,
}

impl Belonging {
    /// The provider is another than it was: its credential may be, too.
    pub(crate) fn ask_again(&mut self) {
        self.asked = Asked::No;
    }

    /// Whether nothing is waited for.
    pub(crate) fn is_idle(&self) -> bool {
        self.asked != Asked::Now
    }

    pub(crate) fn number(&self) -> Option<u64> {
        self.credential.map(|(_, number)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_credential_are_one_account_and_show_nothing_of_it() {
        let (one, other) = (Account::of_credential(&["canary"]), Account::of_credential(&["other"]));
        assert_eq!(one, Account::of_credential(&["canary"]));
        assert_ne!(one, other);
        assert_ne!(Account::of_credential(&["ab", "c"]), Account::of_credential(&["a", "bc"]));
        assert_ne!(Account::of_namespace("canary"), one);
        assert_eq!(format!("{one:?}"), "Account");
    }

    #[test]
    fn a_renewed_credential_is_the_same_account_for_its_copies_too() {
        let mut accounts = Accounts::default();
        let [old, new, other] = ["old", "new", "other"].map(|text| Account::of_credential(&[text]));
        let mut one = (old, accounts.change(None, old));
        let mut copy = (old, accounts.change(None, old));
        let stranger = (other, accounts.change(None, other));
        assert_eq!(one.1, copy.1);
        assert_ne!(one.1, stranger.1);
        one = (new, accounts.change(Some(one), new));
        assert_eq!(one.1, copy.1, "one copy is renewed before the other");
        copy = (new, accounts.change(Some(copy), new));
        assert_eq!(one.1, copy.1);
        let moved = accounts.change(Some(stranger), new);
        assert_eq!(moved, one.1, "whoever has the same credential now is the same account");
        for _ in 0..3 {
            accounts.release(Some((new, one.1)));
        }
        assert!(accounts.known.is_empty(), "nothing is kept that nobody uses");
        assert_eq!(copy.1, moved);
    }
}
