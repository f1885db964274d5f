//! Who claims which webhook, and who comes first.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::api::ObjectKey;
use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::engine::state::State;
use crate::engine::state::same_account::{Shared, place_of};
use crate::engine::state::subscription::{Entry, Object};
use crate::rotation::claims;
use crate::rotation::facts::OwnerOf;
use crate::rotation::target::digest_of_id;

/// Who owns the remotes of a provider's account, from one subscription's point of view.
pub(crate) struct Owners<'a> {
    state: &'a State,
    subject: SubscriptionId,
    /// Credentials that have to be read before an answer holds.
    unread: RefCell<BTreeSet<ProviderId>>,
}

impl<'a> Owners<'a> {
    pub(crate) fn new(state: &'a State, subject: SubscriptionId) -> Self {
        Self { state, subject, unread: RefCell::default() }
    }

    pub(crate) fn into_unread(self) -> BTreeSet<ProviderId> {
        self.unread.into_inner()
    }
}

impl OwnerOf for Owners<'_> {
    fn owner(&self, id: &str) -> Option<&ObjectKey> {
        let entry = self.state.entry(self.subject)?;
        let provider = self.state.provider(entry.provider)?;
        let claim = place_of(&provider.client.as_ref()?.profile().base_url, id);
        let mut others = self.state.others(Some(claim), self.subject).peekable();
        others.peek()?;
        let digest = digest_of_id(id);
        let subject = entry.object()?;
        let recorded = |object: &Object| object.status.webhook_id.as_deref() == Some(id);
        others.find_map(|other| {
            let other = self.state.entry(other)?;
            // What is on record is known without reading the objects, of which there may be many.
            let is_expected = other.expected.is_some_and(|expected| expected.id == digest);
            match self.state.share_account(entry.provider, other.provider) {
                Shared::Yes if is_expected => return Some(&other.key),
                Shared::Yes => {}
                Shared::No => return None,
                Shared::Unknown(provider) => {
                    if is_expected || other.object().is_some_and(|theirs| recorded(&theirs)) {
                        self.unread.borrow_mut().insert(provider);
                    }
                    return None;
                }
            }
            let theirs = other.object()?;
            let has_it = recorded(&theirs);
            let wins =
                has_it || claims::beats((&theirs.identity, has_it), (&subject.identity, recorded(&subject)));
            wins.then_some(&other.key)
        })
    }
}

impl State {
    pub(crate) fn give_up(&mut self, id: SubscriptionId, claims: [Option<u64>; 2]) {
        for claim in claims.into_iter().flatten() {
            self.claims.remove(&(claim, id));
            self.free(claim, id);
        }
    }

    /// Those that may claim the same webhook are looked at again.
    pub(crate) fn free(&mut self, claim: u64, id: SubscriptionId) {
        let Some(provider) = self.entry(id).map(|entry| entry.provider) else {
            return;
        };
        let shares = |other: &SubscriptionId| {
            let other = self.entry(*other).map(|other| other.provider);
            other.is_some_and(|other| self.share_account(provider, other) != Shared::No)
        };
        let freed: Vec<SubscriptionId> = self.others(Some(claim), id).filter(shares).collect();
        self.freed.extend(freed);
    }

    /// Those of other provider objects that claim the same id as a subscription, and the subscription
    /// itself, are looked at again.
    pub(crate) fn free_claimants(&mut self, id: SubscriptionId, of_any_account: bool) {
        let Some((by_id, provider)) = self.entry(id).map(|entry| (entry.claims[0], entry.provider)) else {
            return;
        };
        let of_another = |other: &SubscriptionId| {
            self.entry(*other).is_some_and(|other| {
                let shares = || self.share_account(provider, other.provider) != Shared::No;
                other.provider != provider && (of_any_account || shares())
            })
        };
        let others: Vec<SubscriptionId> = self.others(by_id, id).filter(of_another).collect();
        if !others.is_empty() {
            self.looked_at_again.extend(others);
            self.looked_at_again.insert(id);
        }
    }

    pub(crate) fn others(
        &self,
        claim: Option<u64>,
        besides: SubscriptionId,
    ) -> impl Iterator<Item = SubscriptionId> {
        let range = claim.map(|claim| (claim, SubscriptionId(0))..=(claim, SubscriptionId(u32::MAX)));
        range
            .into_iter()
            .flat_map(|range| self.claims.range(range))
            .map(|(_, id)| *id)
            .filter(move |id| *id != besides)
    }

    /// The id that an object claims: the one it gives, otherwise the one on record.
    pub(crate) fn claimed_id(object: &Object) -> Option<&String> {
        object.spec.as_ref().and_then(|spec| spec.webhook_id.as_ref()).or(object.status.webhook_id.as_ref())
    }

    /// Whether the very remote that an object claims is on its record. A claim without an id is as
    /// good as recorded when there is a remote on record.
    pub(crate) fn has_on_record(object: &Object) -> bool {
        object.status.webhook_id.is_some() && object.status.webhook_id.as_ref() == Self::claimed_id(object)
    }

    /// The object that comes before this one at the same remote. Credentials that have to be read before that
    /// can be said are noted.
    pub(crate) fn rival(
        &self,
        id: SubscriptionId,
        object: &Object,
        unread: &mut BTreeSet<ProviderId>,
    ) -> Option<ObjectKey> {
        let entry = self.entry(id)?;
        let claim = match Self::claimed_id(object) {
            Some(_) => entry.claims[0],
            None => entry.claims[1],
        };
        self.others(claim, id).find_map(|other_id| {
            let other = self.entry(other_id)?;
            match self.share_account(entry.provider, other.provider) {
                Shared::Yes => {}
                Shared::No => return None,
                Shared::Unknown(provider) => {
                    // Whoever has nothing on record cannot stand in the way before it is known whose it is.
                    if other.object().is_some_and(|theirs| Self::has_on_record(&theirs)) {
                        unread.insert(provider);
                    }
                    return None;
                }
            }
            let theirs = other.object()?;
            let recorded = Self::has_on_record(object);
            // A call of one that has come to be known first has begun: its outcome is waited for.
            let is_first = !recorded && other.calling.is_some() && other.provider != entry.provider;
            let wins =
                claims::beats((&theirs.identity, Self::has_on_record(&theirs)), (&object.identity, recorded));
            (wins || is_first).then(|| other.key.clone())
        })
    }

    /// The object that waits for this one's remote.
    pub(crate) fn heir(&self, id: SubscriptionId) -> Option<(SubscriptionId, ObjectKey)> {
        let entry = self.entry(id)?;
        let [by_id, by_target] = entry.claims;
        let same_provider = |other: &Entry| other.provider == entry.provider;
        let mut heirs: Vec<(SubscriptionId, Object)> = self
            .others(by_target, id)
            .chain(self.others(by_id, id))
            .filter_map(|other_id| {
                let other = self.entry(other_id).filter(|other| same_provider(other) && !other.gone)?;
                let object = other.object()?;
                let alive = object.identity.deleted.is_none();
                (alive && object.status.webhook_id.is_none() && object.spec.is_some())
                    .then_some((other_id, object))
            })
            .collect();
        heirs.sort_by(|(_, one), (_, other)| {
            if claims::beats((&one.identity, false), (&other.identity, false)) {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Greater
            }
        });
        heirs.first().map(|(id, object)| (*id, object.identity.key.clone()))
    }
}
