//! Listings: one serves everybody who waits for it, and compares what is on record with what the
//! provider shows.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Engine;
use super::calls::{About, Report};
use super::class::class_of;
use super::failures::origin_news;
use super::finish::OriginNews;
use super::ids::{ProviderId, SubscriptionId};
use super::ports::{CallFailure, Listing, Reading};
use super::ready::Allowance;
use super::state::Origin;
use super::timers::Alarm;
use crate::api::{ConditionStatus, Reason};
use crate::rotation::answers::{Hold, Judgement, Operation, judge_call};
use crate::rotation::backoff::{self, Wait};
use crate::rotation::reading::goes_on_after;
use crate::rotation::time::Moment;

/// So often in a row a page may fail before the listing begins anew: what was read gets old.
const MAX_PAGE_FAILURES: u32 = 10;
/// Where there is less budget than work, a listing that is waited for gets every third place.
pub(super) const CALLS_BETWEEN_PAGES: u32 = 2;

/// A listing between two of its pages.
#[derive(Debug)]
pub(super) struct Paused {
    reading: Reading,
    /// When its first page was asked for.
    started: Moment,
    /// How often in a row the page that is to come has failed.
    failures: u32,
    /// Of the provider, when it was begun.
    epoch: u32,
}

impl Paused {
    fn new(started: Moment, epoch: u32) -> Self {
        Self { reading: Reading::default(), started, failures: 0, epoch }
    }

    /// What is kept after a failure; `None` when the listing has to begin anew.
    fn after(mut self, failure: &CallFailure) -> Option<Self> {
        self.failures += 1;
        let goes_on = self.reading.has_begun() && goes_on_after(failure) && self.failures < MAX_PAGE_FAILURES;
        goes_on.then_some(self)
    }
}

/// Whether a page has to let other work of the origin go first, where there is not enough for both.
fn lets_others_go(origin: &mut Origin, now: Moment) -> bool {
    let failing = origin.failing_bucket.has(now.boot);
    let others = origin.ready.has(Allowance { now: 0, failing, scarce: true });
    #[allow(clippy::cast_precision_loss)]
    let scarce = origin.bucket.available(now.boot) < (origin.ready.len() + 1) as f64;
    others && scarce && origin.calls_since_page < CALLS_BETWEEN_PAGES
}

impl Engine {
    /// A provider has come into use, or has changed.
    pub(super) fn begin_provider(&mut self, id: ProviderId, now: Moment) {
        let random = self.ports.random.bits();
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        let Some(remote) = provider.remote.clone() else {
            self.keep_provider(id, now);
            return self.record_provider(id, now);
        };
        let interval = remote.profile().verify_interval;
        if !interval.is_zero() && remote.profile().can_list && provider.next_verification.is_none() {
            // Not everybody's at once: between half an interval and a whole one from now.
            let part = f64::from(u32::try_from(random >> 33).unwrap_or(0)) / f64::from(u32::MAX >> 1);
            let first = interval.mul_f64(0.5 + part / 2.0);
            provider.next_verification = Some(now.boot + first);
        }
        let generation = provider.declared.as_ref().map(|(identity, ..)| identity.generation);
        let seen = provider.declared.as_ref().and_then(|(_, _, status)| status.observed_generation);
        if provider.users.is_empty() && remote.profile().can_list && generation != seen {
            provider.wanted = Some(now.wall);
        }
        self.keep_provider(id, now);
        self.file_provider(id, now);
        self.record_provider(id, now);
    }

    pub(super) fn file_provider(&mut self, id: ProviderId, now: Moment) {
        let leads = self.term.is_some();
        let Some(provider) = self.state.providers.get_mut(id.0) else {
            return;
        };
        // What cannot be begun now is filed when that changes, or this would go round and round.
        let possible = leads && !provider.suspended && !provider.is_listing() && provider.can_list();
        let asked_for = provider.wanted.is_some() || provider.paused.is_some();
        let listing = (possible && asked_for).then(|| {
            match provider.list_wait.and_then(|wait| wait.pending(now.wall)) {
                Some(until) => now.boot + crate::rotation::time::between(now.wall, until),
                None => now.boot,
            }
        });
        let held = provider
            .hold
            .pending(now.wall)
            .map(|held| now.boot + crate::rotation::time::between(now.wall, held.until));
        let unkept = (provider.keeping.pause.and_then(|(wait, _)| wait.pending(now.wall)))
            .filter(|_| leads)
            .map(|until| now.boot + crate::rotation::time::between(now.wall, until));
        let budget = provider.budget_at(now.boot);
        let unwritten = provider.pace.owed().filter(|at| *at > now.boot);
        let at = [listing, held, unkept, budget, unwritten, provider.next_verification]
            .into_iter()
            .flatten()
            .min();
        match at {
            Some(at) => self.state.timers.file(&mut provider.timer, at, Alarm::Provider(id)),
            None => self.state.timers.unfile(&mut provider.timer, Alarm::Provider(id)),
        }
    }

    pub(super) fn provider_alarm(&mut self, id: ProviderId, now: Moment) {
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        provider.timer = None;
        let interval =
            provider.remote.as_ref().map_or(Duration::ZERO, |remote| remote.profile().verify_interval);
        if provider.next_verification.is_some_and(|at| at <= now.boot) {
            provider.next_verification = (!interval.is_zero()).then(|| now.boot + interval);
            let is_read = provider.listing_since.is_some();
            if !provider.users.is_empty() && !provider.suspended && !is_read {
                provider.wanted = provider.wanted.or(Some(now.wall));
            }
        }
        self.keep_provider(id, now);
        self.record_provider(id, now);
        let blocked = self.state.provider_mut(id).map(|provider| std::mem::take(&mut provider.blocked));
        let blocked = blocked.unwrap_or_default();
        let others = !blocked.is_empty();
        self.attention.extend(blocked);
        self.start_listing(id, others, now);
    }

    /// A subscription needs a complete listing, begun at this time or later.
    pub(super) fn want_listing(&mut self, id: SubscriptionId, begun_after: DateTime<Utc>, now: Moment) {
        let Some(provider_id) = self.state.entry(id).map(|entry| entry.provider) else {
            return;
        };
        let Some(provider) = self.state.provider_mut(provider_id) else {
            return;
        };
        provider.waiting.insert(id);
        // The one that is being read will do, unless it was begun too early.
        if provider.listing_since.is_none_or(|since| since < begun_after) {
            provider.wanted =
                Some(provider.wanted.map_or(begun_after, |before| before.max(begun_after)).min(now.wall));
        }
        if !provider.is_listing() {
            self.file_provider(provider_id, now);
        }
    }

    /// A listing is to be read for what it shows of this subscription; nothing waits for it.
    pub(super) fn verify_soon(&mut self, id: SubscriptionId, now: Moment) {
        let Some(provider_id) = self.state.entry(id).map(|entry| entry.provider) else {
            return;
        };
        let Some(provider) = self.state.provider_mut(provider_id).filter(|it| !it.list_forbidden) else {
            return;
        };
        provider.wanted = Some(now.wall);
        if !provider.is_listing() {
            self.file_provider(provider_id, now);
        }
    }

    /// Asks for a listing's next page when one is wanted and nothing stands in its way. Each takes its
    /// place in the budgets before it is asked for. `others` wait for a place in the provider's.
    fn start_listing(&mut self, id: ProviderId, others: bool, now: Moment) {
        self.file_provider(id, now);
        if self.stopping || self.term.is_none() {
            return;
        }
        let Some(provider) = self.state.providers.get_mut(id.0) else {
            return;
        };
        let Some(remote) = provider.remote.clone() else {
            return;
        };
        let waits = provider.list_wait.is_some_and(|wait| wait.pending(now.wall).is_some());
        if (provider.wanted.is_none() && provider.paused.is_none())
            || provider.is_listing()
            || provider.suspended
            || waits
            || !provider.can_list()
        {
            return;
        }
        let Some(origin) = self.state.origins.get_mut(&remote.profile().origin) else {
            return;
        };
        let held = origin.breaker.pending(now.wall).or_else(|| provider.hold.pending(now.wall));
        // A verification gives way to rotations: the timer brings it back.
        let gives_way =
            provider.waiting.is_empty() && !origin.ready.is_empty() && !origin.breaker.probes(now.wall);
        let retry = if let Some(held) = held {
            Some(now.boot + crate::rotation::time::between(now.wall, held.until))
        } else if origin.probing {
            Some(now.boot + Duration::from_secs(1))
        } else if !origin.bucket.has(now.boot) {
            Some(origin.bucket.ready_at(now.boot))
        } else if !provider.bucket.has(now.boot) {
            Some(provider.bucket.ready_at(now.boot))
        } else if gives_way {
            Some(now.boot + Duration::from_secs(1))
        } else if lets_others_go(origin, now) || (others && provider.lets_others_go(now.boot)) {
            Some(now.boot + Duration::from_millis(250))
        } else {
            None
        };
        if let Some(at) = retry {
            let at = at.min(provider.budget_at(now.boot).unwrap_or(at));
            self.state.timers.file(&mut provider.timer, at, Alarm::Provider(id));
            return;
        }
        origin.probing = origin.breaker.probes(now.wall);
        origin.bucket.take(1);
        origin.calls += 1;
        origin.calls_since_page = 0;
        provider.bucket.take(1);
        provider.calls_since_page = 0;
        provider.listing_at = Some(remote.profile().origin.as_str().into());
        let mut paused = provider.paused.take().unwrap_or_else(|| {
            provider.wanted = None;
            provider.listing_since = Some(now.wall);
            Paused::new(now, provider.listing_epoch)
        });
        let guard = self.guard();
        self.spawn(About::Listing(id), async move {
            let result = remote.list(&mut paused.reading, &guard).await;
            Report::Listed { started: now, paused, result }
        });
    }

    /// A page has been answered.
    pub(super) fn listed(
        &mut self,
        id: ProviderId,
        started: Moment,
        paused: Paused,
        result: Result<Option<Listing>, CallFailure>,
        now: Moment,
    ) {
        let class = class_of(&result);
        self.ports.meter.provider_request(
            Operation::List.as_str(),
            class,
            now.boot.saturating_sub(started.boot),
        );
        let judgement = result.as_ref().err().map(|failure| judge_call(Operation::List, failure));
        let news = match (&result, &judgement) {
            (Err(failure), Some(judgement)) => origin_news(failure, judgement),
            _ => OriginNews::Answers,
        };
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        let origin = provider.listing_at.take();
        let is_outdated = paused.epoch != provider.listing_epoch;
        if let Some(origin) = &origin {
            self.origin_news(origin, None, news, now);
        }
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        match (result, judgement) {
            // The provider has changed, or another process has led: whoever waits asks again.
            _ if is_outdated => {}
            (Ok(None), _) => {
                if paused.failures > 0 {
                    provider.list_failures = 0;
                }
                provider.list_wait = None;
                provider.paused = Some(Paused { failures: 0, ..paused });
                let others = !provider.blocked.is_empty();
                return self.start_listing(id, others, now);
            }
            (Ok(Some(listing)), _) => {
                provider.listing_since = None;
                self.listing_arrived(id, listing, paused.started, now);
            }
            (Err(failure), judgement) => {
                provider.paused = paused.after(&failure);
                if provider.paused.is_none() {
                    provider.listing_since = None;
                }
                if let Some(judgement) = judgement {
                    self.listing_failed(id, &judgement, now);
                }
            }
        }
        if let Some(provider) = self.state.provider_mut(id)
            && !provider.waiting.is_empty()
        {
            let waiting = std::mem::take(&mut provider.waiting);
            self.attention.extend(waiting);
        }
        self.file_provider(id, now);
    }

    fn listing_failed(&mut self, id: ProviderId, judgement: &Judgement, now: Moment) {
        let random = self.ports.random.bits();
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        tracing::warn!(provider = %provider.key, reason = %judgement.reason, "{}", judgement.message);
        if judgement.reason == Reason::ListForbidden {
            provider.list_forbidden = true;
            provider.wanted = None;
            let users = provider.users.clone();
            self.attention.extend(users);
            return;
        }
        if judgement.hold == Hold::Provider {
            provider.hold.open(now.wall, None, judgement.reason);
        }
        let wait = backoff::delay(provider.list_failures, backoff::LONGEST_WAIT, random);
        provider.list_failures = provider.list_failures.saturating_add(1);
        provider.list_wait = Some(Wait::starting(now.wall, wait));
        if judgement.hold == Hold::Nothing || judgement.hold == Hold::Provider {
            provider.answered = Some((ConditionStatus::False, judgement.reason, judgement.message.clone()));
        }
        // Those who wait for it are told; a verification is tried again at its next time, unless it
        // goes on where it failed.
        let goes_on = provider.paused.is_some();
        let waiting: Vec<SubscriptionId> = provider.waiting.iter().copied().collect();
        if !waiting.is_empty() && !goes_on {
            provider.wanted = Some(now.wall);
        }
        self.record_provider(id, now);
        if goes_on && matches!(judgement.hold, Hold::Origin(_)) {
            // They wait for the origin, and show that.
            return;
        }
        let mut judgement = judgement.clone();
        judgement.hold = Hold::Nothing;
        for waiting in waiting {
            if self.state.entry(waiting).is_some_and(|entry| !entry.is_busy()) {
                self.fail(waiting, &judgement, Operation::List, now);
            }
        }
    }

    pub(super) fn listing_broken(&mut self, id: ProviderId, what: &str, now: Moment) {
        let failure = CallFailure::Unanswered { what: what.to_owned() };
        let mut judgement = judge_call(Operation::List, &failure);
        judgement.reason = Reason::InternalError;
        let provider = self.state.provider_mut(id);
        let origin = provider.and_then(|provider| {
            provider.forget_reading();
            provider.listing_at.take()
        });
        if let Some(origin) = origin {
            self.origin_news(&origin, None, OriginNews::Unknown, now);
        }
        self.listing_failed(id, &judgement, now);
        self.file_provider(id, now);
    }
}
