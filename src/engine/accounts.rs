//! Whose webhooks a provider object manages, without the credential that tells it.
//!
//! Ids of webhooks say nothing by themselves: two accounts at one host may both begin at 1. Who
//! claims an id claims it in an account, and no object can stand in the way of another account's.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::LazyLock;

use chrono::{DateTime, Utc};

use super::Engine;
use super::calls::{About, Report};
use super::entry::Object;
use super::ids::{ProviderId, SubscriptionId};
use super::judge::Judged;
use super::ports::{CallFailure, Refusal};
use super::state::State;
use crate::rotation::time::{Moment, between};

/// Drawn when the process begins: nobody can make two texts collide, or find a text by its digest.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A digest under a key that only this process has.
pub(super) fn keyed(value: impl Hash) -> u64 {
    KEY.hash_one(value)
}

/// Whose credential it is: a keyed digest of its value, which lives in memory only. Copies of one
/// Secret are one account.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Account(u64);

impl Account {
    /// The account of a credential, which is all of these texts together.
    #[must_use]
    pub fn of_credential(texts: &[&str]) -> Self {
        Self(keyed(("credential", texts)))
    }

    /// Without a credential nothing tells two authors at a provider apart but their namespaces.
    #[must_use]
    pub fn of_namespace(namespace: &str) -> Self {
        Self(keyed(("namespace", namespace)))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Account")
    }
}

/// So long after a credential has changed another change counts as a failure: who changes it all the
/// time is not tried again at once each time.
const SETTLED_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

/// The accounts of all credentials in use. A renewed credential is the same account as before: its
/// copies are not all renewed in the same moment.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    known: HashMap<Account, (u64, usize)>,
    last: u64,
}

impl Accounts {
    /// A provider's credential is this one now. Returns the number of its account.
    fn change(&mut self, from: Option<(Account, u64)>, to: Account) -> u64 {
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
    fn release(&mut self, from: Option<(Account, u64)>) {
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
enum Asked {
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
pub(super) struct Belonging {
    /// The credential that was read last, and the number of its account.
    credential: Option<(Account, u64)>,
    asked: Asked,
    /// When the credential last turned out to be another than before.
    changed: Option<DateTime<Utc>>,
    /// Those that cannot be decided on before it is known.
    waiting: BTreeSet<SubscriptionId>,
}

impl Belonging {
    /// The provider is another than it was: its credential may be, too.
    pub(super) fn ask_again(&mut self) {
        self.asked = Asked::No;
    }

    /// Whether nothing is waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.asked != Asked::Now
    }

    fn number(&self) -> Option<u64> {
        self.credential.map(|(_, number)| number)
    }
}

/// Whether two provider objects manage the webhooks of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    Yes,
    No,
    /// The credential of this one has to be read first.
    Unknown(ProviderId),
}

impl State {
    /// Whether two provider objects manage the webhooks of one account. Before that is known they do
    /// not, so that nobody stands in another's way; and before that is known, nothing is sent.
    pub(super) fn share_account(&self, one: ProviderId, other: ProviderId) -> Shared {
        if one == other {
            return Shared::Yes;
        }
        let unread = |id: ProviderId| {
            let provider = self.provider(id).filter(|provider| provider.client.is_some());
            provider.is_some_and(|provider| provider.belonging.asked != Asked::Yes)
        };
        if let Some(unread) = [one, other].into_iter().find(|id| unread(*id)) {
            return Shared::Unknown(unread);
        }
        let number = |id| self.provider(id).and_then(|provider| provider.belonging.number());
        match (number(one), number(other)) {
            (Some(one), Some(other)) if one == other => Shared::Yes,
            _ => Shared::No,
        }
    }

    /// Whether the credential of a provider has not been read yet.
    pub(super) fn is_unread(&self, id: ProviderId) -> bool {
        self.provider(id).is_some_and(|it| it.client.is_some() && it.belonging.asked != Asked::Yes)
    }

    /// A provider goes: what is known of its account goes too.
    pub(super) fn forget_account(&mut self, belonging: &mut Belonging) {
        self.accounts.release(belonging.credential.take());
    }
}

impl Engine {
    /// Reads the credentials that tell whose webhooks are meant, where a decision depends on it.
    /// Returns whether it does.
    pub(super) fn asks_whose(&mut self, id: SubscriptionId, judged: &Judged, now: Moment) -> bool {
        if judged.unread.is_empty() {
            return false;
        }
        let Some(namespace) = self.state.entry(id).map(|entry| entry.namespace) else {
            return false;
        };
        for provider_id in &judged.unread {
            let Some(provider) = self.state.provider_mut(*provider_id) else {
                continue;
            };
            let Some(remote) = provider.client.clone() else {
                continue;
            };
            provider.belonging.waiting.insert(id);
            if std::mem::replace(&mut provider.belonging.asked, Asked::Now) == Asked::Now {
                continue;
            }
            let provider_id = *provider_id;
            // The place is of whoever asks: what else the provider's own namespace does is not waited for.
            self.spawn_write(namespace, About::Account(provider_id), async move {
                if let Err(refusal) = remote.identify().await {
                    // Whoever calls next says the same to people.
                    tracing::debug!(%refusal, "the account of a provider is not known yet");
                }
                Report::Identified
            });
        }
        self.file_expiry(id, &judged.object, now);
        true
    }

    /// The credential of a provider has been read, or cannot be.
    pub(super) fn identified(&mut self, id: ProviderId, now: Moment) {
        self.learn_account(id, now);
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        if provider.belonging.asked == Asked::Now {
            provider.belonging.asked = Asked::Yes;
        }
        let waiting = std::mem::take(&mut provider.belonging.waiting);
        self.reconcile_each(waiting);
    }

    /// What a call has read of a provider's credential is known from now on: what is sent is sent for
    /// that account, and whoever claims the same webhooks is looked at again.
    pub(super) fn learn_account(&mut self, id: ProviderId, now: Moment) {
        let Some(provider) = self.state.providers.get_mut(id.0) else {
            return;
        };
        let Some((remote, account)) =
            provider.client.as_ref().and_then(|remote| Some((remote, remote.account()?)))
        else {
            return;
        };
        remote.act_for(account);
        provider.belonging.asked = Asked::Yes;
        let before = provider.belonging.credential;
        if before.is_some_and(|(known, _)| known == account) {
            return;
        }
        let number = self.state.accounts.change(before, account);
        provider.belonging.credential = Some((account, number));
        let waiting = std::mem::take(&mut provider.belonging.waiting);
        if before.is_some() {
            provider.belonging.changed = Some(now.wall);
        }
        let users: Vec<SubscriptionId> = provider.users.iter().copied().collect();
        self.reconcile_each(waiting);
        if before.map(|(_, number)| number) != Some(number) {
            for user in users {
                self.state.free_claimants(user, true);
            }
        }
    }

    /// Whether a call was not sent because the credential is another than the one that was known, and
    /// is to be decided on again at once. A credential that changes all the time is a failure.
    pub(super) fn is_about_account(
        &mut self,
        id: SubscriptionId,
        failure: &CallFailure,
        now: Moment,
    ) -> bool {
        if *failure != CallFailure::Refused(Refusal::AccountChanged) {
            return false;
        }
        let Some(provider_id) = self.state.entry(id).map(|entry| entry.provider) else {
            return false;
        };
        let changed = |engine: &Self| {
            engine.state.provider(provider_id).and_then(|provider| provider.belonging.changed)
        };
        let before = changed(self);
        self.learn_account(provider_id, now);
        before.is_none_or(|before| before > now.wall || between(before, now.wall) >= SETTLED_AFTER)
    }
}

/// What an object claims by an id, whatever the account: the place where the id is one.
pub(super) fn place_of(base_url: &str, id: &str) -> u64 {
    keyed(("place", base_url, id))
}

/// Where the id of an object lives: at its provider's base URL, or where its record says.
pub(super) fn base_of<'a>(object: &'a Object, profile: Option<&'a super::ports::ProviderProfile>) -> &'a str {
    let (origin, base_url) = profile.map_or(("", ""), |profile| (&profile.origin, &profile.base_url));
    match &object.status.webhook_origin {
        Some(recorded) if recorded != origin => recorded,
        _ => base_url,
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
