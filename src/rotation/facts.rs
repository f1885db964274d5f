//! What a decision is made from.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::inventory::Inventory;
use super::life::{HeldToken, Remark};
use super::observed::Observed;
use super::target::Target;
use super::time::written;
use super::wait::Wait;
use crate::api::{Identity, ObjectKey, Reason, SubscriptionStatus, WebhookSubscriptionSpec};

/// What must be known of a provider to plan calls to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderProfile {
    /// Scheme, host and port: what a rate limit counts.
    pub origin: String,
    /// The URL that the ids of webhooks belong to, without a slash at its end.
    pub base_url: String,
    /// Requests a minute; at least 1.
    pub requests_per_minute: u32,
    /// The limit of a preset for its own origin, which can only be narrowed.
    pub preset_requests_per_minute: Option<u32>,
    /// Requests at the same time; at least 1.
    pub max_concurrent: u32,
    /// How long one request may take.
    pub timeout: Duration,
    /// Default of the subscriptions' `rotation.overlap`.
    pub overlap: Duration,
    /// How often the listing is compared with what is on record; zero means never.
    pub verify_interval: Duration,
    /// How long the provider may take to show what it did.
    pub settle: Duration,
    /// Whether there is an operation to list.
    pub can_list: bool,
    /// Whether there is an operation to create.
    pub can_create: bool,
    /// Whether there is an operation to delete.
    pub can_delete: bool,
    /// Whether a listing shows actions; otherwise the postback URL alone tells webhooks apart.
    pub lists_actions: bool,
    /// Whether a listing shows postback URLs; otherwise none can be found in it but by its id.
    pub lists_urls: bool,
}

impl ProviderProfile {
    /// What a webhook of this subscription is about, as far as listings of the provider can show it.
    #[must_use]
    pub fn target_of(&self, spec: &WebhookSubscriptionSpec) -> Target {
        Target::new(spec.action.as_deref().filter(|_| self.lists_actions), &spec.postback_url)
    }

    /// What the provider's webhooks are told apart by, in words.
    #[must_use]
    pub fn compared(&self) -> &'static str {
        if self.lists_actions { "the same action and postback URL" } else { "the same postback URL" }
    }
}

/// The subscription that is decided on.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Who it is.
    pub identity: &'a Identity,
    /// Its last valid version; `None` when this process has seen none.
    pub spec: Option<&'a WebhookSubscriptionSpec>,
    /// What is recorded of it.
    pub status: &'a SubscriptionStatus,
}

/// The provider a subscription refers to.
#[derive(Clone, Copy, Debug)]
pub enum ProviderFact<'a> {
    /// There is none of that name.
    NotFound,
    /// There is one, and no valid version of it is known.
    Invalid(&'a str),
    /// It can be called.
    Usable {
        /// What must be known to plan calls.
        profile: &'a ProviderProfile,
        /// Whether it is suspended.
        suspended: bool,
        /// Whether its listing was refused with 403.
        list_forbidden: bool,
        /// Digest of the document this subscription should have.
        desired_digest: &'a str,
    },
}

/// The token source a subscription takes its tokens from.
#[derive(Clone, Copy, Debug)]
pub enum SourceFact<'a> {
    /// There is none of that name.
    NotFound,
    /// There is one, and no valid version of it is known.
    Invalid(&'a str),
    /// Tokens can be asked for.
    Usable(&'a SourceState),
}

/// What is known of a source's tokens.
#[derive(Clone, Debug, Default)]
pub struct SourceState {
    /// The newest token, when this process holds it.
    pub held: Option<HeldToken>,
    /// Fingerprint of the newest token, when it is known.
    pub newest: Option<String>,
    /// The members carry different tokens and none is held: a fan-out was cut short.
    pub split: bool,
    /// How many subscriptions the next token must be brought to.
    pub members: u32,
    /// Whether issuing a token revokes the previous one.
    pub revokes_previous: bool,
    /// How long a mint may take.
    pub timeout: Duration,
    /// Fixed for the source.
    pub jitter_seed: u64,
    /// The source is read, not minted: never due.
    pub polled: bool,
    /// What is published has not been read yet.
    pub unread: bool,
    /// No mint before this time, and why.
    pub wait: Option<Wait>,
    /// Why the last mint failed.
    pub failing: Option<(Reason, String)>,
    /// A published token is left for its readers until this time.
    pub apply_after: Option<Wait>,
    /// The held token is left until then for those that prove deliveries with it.
    pub for_gates: Option<Wait>,
    /// Whether the source returned the held token, without a new life, when asked last.
    pub not_renewed: bool,
    /// What people should know of the life of the held token.
    pub remark: Option<Remark>,
}

/// The last complete listing of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingView {
    /// When its first request was sent; what happened later may be missing in it.
    pub begun: DateTime<Utc>,
    /// What it shows.
    pub remotes: Inventory,
    /// Three or more, and over half, of the ids on record are missing.
    pub mismatch: bool,
}

/// Calls pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// Until then.
    pub until: DateTime<Utc>,
    /// What they pause for.
    pub reason: Reason,
    /// Whether an answer asked for it. Such a pause may outlast a token, and is then interrupted by
    /// one last attempt; the others are never that long.
    pub asked: bool,
}

impl HeldBack {
    /// What people are told while calls pause.
    pub(super) fn message(&self) -> String {
        let until = written(self.until);
        match self.reason {
            Reason::RateLimited => {
                format!("the provider asked for fewer requests (429, or Retry-After); calls to its origin pause until {until}; lower spec.limits if it happens often")
            }
            Reason::ProviderRefusedCredentials => {
                "the provider refuses the credential (401); renew it in the provider's Secret".to_owned()
            }
            _ if self.asked => {
                format!("the provider asked to be left alone (Retry-After); calls to its origin pause until {until}")
            }
            _ => "the provider does not answer; calls to its origin pause and are tried again; if that goes on, check spec.baseUrl of the provider and its server".to_owned(),
        }
    }
}

/// Everything besides the subscription itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its provider.
    pub provider: ProviderFact<'a>,
    /// Its token source.
    pub source: SourceFact<'a>,
    /// Somebody who proves deliveries does not know the token in place, and nobody has it any more.
    pub gate_lacks: bool,
    /// Another object that comes before this one at the same remote.
    pub rival: Option<&'a ObjectKey>,
    /// Another object that waits for this one's remote.
    pub heir: Option<&'a ObjectKey>,
    /// The origin or the provider is held back until then.
    pub held_back: Option<HeldBack>,
    /// The last complete listing of the provider.
    pub listing: Option<&'a ListingView>,
    /// Who owns an id of the provider.
    pub owner_of: &'a dyn OwnerOf,
    /// How long a deletion may be held up by a provider that cannot be called or does not delete.
    pub grace: Duration,
}

/// Finds the object that owns a remote.
pub trait OwnerOf {
    /// Another object that comes before this one at this id: it has it on record, or it gives the id
    /// in its spec and wins over the subject.
    fn owner(&self, id: &str) -> Option<&ObjectKey>;
}

impl std::fmt::Debug for dyn OwnerOf + '_ {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OwnerOf")
    }
}

/// What this process remembers of a subscription besides its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// A listing begun before this time says nothing about the object.
    pub listing_after: Option<DateTime<Utc>>,
    /// Since when it is being deleted, where the identity does not say.
    pub deleting_since: Option<DateTime<Utc>>,
    /// Since when this process knows that it is being deleted, where the identity says since when it is.
    pub deletion_seen: Option<DateTime<Utc>>,
    /// The wait after a failed attempt, and what the attempt was made with.
    pub wait: Option<(Wait, String)>,
    /// How often in a row it failed, and why.
    pub failures: u32,
    /// Whether it failed last when nothing arrived at the provider from anybody.
    pub failed_with_others: bool,
    /// The last failure, for the conditions.
    pub failing: Option<(Reason, String)>,
    /// When the pending manual request was first seen.
    pub request_seen: Option<(String, DateTime<Utc>)>,
    /// The remote differs from the document, as a listing after the last apply shows.
    pub drift: Option<Drift>,
    /// A complete listing lacks the id.
    pub absent: bool,
    /// Updates do not find it although complete listings show it.
    pub listed_not_found: bool,
    /// An id that the spec gives and that an update did not find: nothing is recorded of it and nothing
    /// claimed by it.
    pub not_there: Option<String>,
    /// Begin of the first complete listing that lacks an id that an update did not find.
    pub lacked_since: Option<DateTime<Utc>>,
    /// The token in place is from another source, or from another version of it, than it is to be from.
    pub strangers_token: bool,
    /// A Secret in the document has changed since it was applied.
    pub secrets_changed: bool,
    /// Updates with these documents have an unknown outcome, and may land until then at least; two
    /// are enough to know that there is one besides any other.
    pub unsettled: Vec<(String, Wait)>,
    /// The end of the token for whose sake a last attempt was made although calls pause.
    pub last_attempt: Option<DateTime<Utc>>,
    /// An older request may land late: apply once more at this time.
    pub resend: Option<Wait>,
    /// Look for a second match of a create at this time.
    pub duplicate_check: Option<DateTime<Utc>>,
    /// What has been seen of its tokens in deliveries.
    pub observed: Observed,
    /// How often in a row it could not be let go.
    pub unreleased: u32,
    /// Boot time of the applied token's mint.
    pub minted_boot: Option<Duration>,
}

impl Memory {
    /// The clock was set back to this time: what happened later by the old clock happened now.
    pub fn clamp(&mut self, now: DateTime<Utc>) {
        let times = [
            &mut self.listing_after,
            &mut self.deleting_since,
            &mut self.deletion_seen,
            &mut self.lacked_since,
        ];
        for time in times.into_iter().flatten() {
            *time = (*time).min(now);
        }
        if let Some((_, seen)) = &mut self.request_seen {
            *seen = (*seen).min(now);
        }
        self.observed.clamp(now);
    }
}

/// The remote differs from what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// It was seen for the first time.
    Seen,
    /// It was applied again because of it.
    Reapplied,
    /// It is there again after that.
    Persists(Difference),
}

/// What differs although it was applied again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The action or the postback URL.
    Target,
    /// The provider shows it inactive.
    Inactive,
    /// The provider shows it active.
    Active,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    /// A time that lies ahead would make us wait for it, and it has been.
    #[test]
    fn what_is_remembered_of_a_time_that_lies_ahead_is_of_now() {
        let remembered = |seconds| Memory {
            listing_after: Some(at(seconds)),
            deleting_since: Some(at(seconds)),
            deletion_seen: Some(at(seconds)),
            lacked_since: Some(at(seconds)),
            request_seen: Some(("please".into(), at(seconds))),
            ..Memory::default()
        };
        let mut memory = remembered(60);
        memory.clamp(at(0));
        assert_eq!(memory, remembered(0));
        let mut memory = remembered(-60);
        memory.clamp(at(0));
        assert_eq!(memory, remembered(-60));
    }
}
