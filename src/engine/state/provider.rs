//! A provider and its users.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::api::{ConditionStatus, Identity, ObjectKey, Reason, WebhookProviderSpec, WebhookProviderStatus};
use crate::engine::ids::SubscriptionId;
use crate::engine::ports::ProviderClient;
use crate::engine::queue::blocked::Blocked;
use crate::engine::queue::call_place::CallPlace;
use crate::engine::queue::hold_back::HoldBack;
use crate::engine::queue::line::{CALLS_BETWEEN_PAGES, PagePlace};
use crate::engine::queue::pace::Pace;
use crate::engine::queue::timers::Milliseconds;
use crate::engine::reading::Paused;
use crate::engine::state::accounts::Belonging;
use crate::engine::state::keeping::Keeping;
use crate::rotation::facts::ListingView;
use crate::shares::NamespaceId;
use crate::shares::budget::Bucket;

/// How soon others are woken that wait for a provider's own limits, when nobody calls.
const WAKES_AGAIN: Duration = Duration::from_secs(1);

/// A provider and its users.
pub(crate) struct Provider {
    pub(crate) key: ObjectKey,
    pub(crate) namespace: NamespaceId,
    pub(crate) declared: Option<(Identity, Arc<WebhookProviderSpec>, WebhookProviderStatus)>,
    /// What was asked for before its object was deleted: what it ran into still holds for the same.
    pub(crate) deleted: Option<Arc<WebhookProviderSpec>>,
    /// The last valid version, ready to be called.
    pub(crate) client: Option<Arc<dyn ProviderClient>>,
    pub(crate) invalid: Option<String>,
    pub(crate) suspended: bool,
    pub(crate) users: BTreeSet<SubscriptionId>,
    pub(crate) listing: Option<Arc<ListingView>>,
    /// A listing begun at this time or later is asked for, and by whom.
    pub(crate) wanted: Option<DateTime<Utc>>,
    pub(crate) waiting: BTreeSet<SubscriptionId>,
    /// What the page of a listing takes that is under way.
    pub(crate) listing_at: Option<Box<CallPlace>>,
    /// A listing between two of its pages.
    pub(crate) paused: Option<Paused>,
    /// The origin at which a page waits for its turn, and where in line.
    pub(crate) page: Option<(Arc<str>, PagePlace)>,
    /// Whether it has one of the places of listings that are being read.
    pub(crate) reads: bool,
    /// Where it stands among those that wait for such a place.
    pub(crate) reads_next: Option<u64>,
    /// When the listing that is under way, or paused, was begun.
    pub(crate) listing_since: Option<DateTime<Utc>>,
    /// Differs between listings that must not go on as each other's.
    pub(crate) listing_epoch: u32,
    pub(crate) list_forbidden: bool,
    pub(crate) list_failures: u32,
    pub(crate) list_wait: Option<crate::rotation::wait::Wait>,
    pub(crate) next_verification: Option<Duration>,
    /// Opened by a 401, and by answers that ask for a pause.
    pub(crate) hold: HoldBack,
    pub(crate) calls: u32,
    /// Calls that were begun since the last page of a listing.
    pub(crate) calls_since_page: u32,
    pub(crate) bucket: Bucket,
    /// Those that wait for a place among `maxConcurrent`, or for the provider's own budget.
    pub(crate) blocked: Blocked,
    pub(crate) answered: Option<(ConditionStatus, Reason, String)>,
    pub(crate) recording: bool,
    pub(crate) keeping: Keeping,
    pub(crate) belonging: Belonging,
    pub(crate) pace: Pace,
    pub(crate) timer: Option<Milliseconds>,
}

impl Provider {
    pub(crate) fn origin(&self) -> Option<&str> {
        self.client.as_ref().map(|remote| remote.profile().origin.as_str())
    }

    pub(crate) fn can_list(&self) -> bool {
        self.client.as_ref().is_some_and(|remote| remote.profile().can_list)
    }

    /// Whether a page of a listing is under way.
    pub(crate) fn is_listing(&self) -> bool {
        self.listing_at.is_some()
    }

    /// When those that wait for the provider's own limits are woken; `None` while nobody waits, or a
    /// call's end will wake them.
    pub(crate) fn wakes_at(&mut self, now: Duration) -> Option<Duration> {
        if self.blocked.is_empty() {
            None
        } else if !self.bucket.has(now) {
            Some(self.bucket.ready_at(now))
        } else {
            // Whoever was woken last may have had no use for it.
            (self.calls == 0).then(|| now + WAKES_AGAIN)
        }
    }

    /// How many calls may be under way at the same time.
    pub(crate) fn limit(&self, now: DateTime<Utc>) -> u32 {
        // After a pause that was asked for, one call shows whether it is over.
        if self.hold.probes(now) {
            return 1;
        }
        self.client.as_ref().map_or(1, |remote| remote.profile().max_concurrent)
    }

    /// Whether a page of a listing has to let calls go first, where the provider's own budget is not
    /// enough for both.
    pub(crate) fn lets_others_go(&mut self, now: Duration) -> bool {
        self.bucket.available(now) < 2.0 && self.calls_since_page < CALLS_BETWEEN_PAGES
    }

    /// What has been read of a listing, or will have been, is of no use any more.
    pub(crate) fn forget_reading(&mut self) {
        self.paused = None;
        self.listing_since = None;
        self.listing_epoch = self.listing_epoch.wrapping_add(1);
    }
}

impl Provider {
    /// Whether nothing declares it, nothing uses it and nothing is under way for it.
    pub(crate) fn is_idle(&self) -> bool {
        let is_called = self.calls > 0 || self.is_listing() || !self.belonging.is_idle();
        let is_written = self.recording || self.keeping.writing;
        self.users.is_empty() && self.declared.is_none() && !is_called && !is_written
    }
}
