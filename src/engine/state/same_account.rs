//! Whether two provider objects manage the webhooks of one account, and where an id is one.

use crate::engine::account::keyed;
use crate::engine::ids::ProviderId;
use crate::engine::state::State;
use crate::engine::state::accounts::{Asked, Belonging};
use crate::engine::state::subscription::Object;
use crate::rotation::facts::ProviderProfile;

/// Whether two provider objects manage the webhooks of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    Yes,
    No,
    /// The credential of this one has to be read first.
    Unknown(ProviderId),
}

impl State {
    /// Whether two provider objects manage the webhooks of one account. Before that is known they do
    /// not, so that nobody stands in another's way; and before that is known, nothing is sent.
    pub(crate) fn share_account(&self, one: ProviderId, other: ProviderId) -> Shared {
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
    pub(crate) fn is_unread(&self, id: ProviderId) -> bool {
        self.provider(id).is_some_and(|it| it.client.is_some() && it.belonging.asked != Asked::Yes)
    }

    /// A provider goes: what is known of its account goes too.
    pub(crate) fn forget_account(&mut self, belonging: &mut Belonging) {
        self.accounts.release(belonging.credential.take());
    }
}

/// What an object claims by an id, whatever the account: the place where the id is one.
pub(crate) fn place_of(base_url: &str, id: &str) -> u64 {
    keyed(("place", base_url, id))
}

/// Where the id of an object lives: at its provider's base URL, or where its record says.
pub(crate) fn base_of<'a>(object: &'a Object, profile: Option<&'a ProviderProfile>) -> &'a str {
    let (origin, base_url) = profile.map_or(("", ""), |profile| (&profile.origin, &profile.base_url));
    match &object.status.webhook_origin {
        Some(recorded) if recorded != origin => recorded,
        _ => base_url,
    }
}
