//! Listings: one serves everybody who waits for it, and compares what is on record with what the
//! provider shows.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Engine;
use super::calls::{About, Report};
use super::class::class_of;
use super::failures::origin_news;
use super::finish::OriginNews;
use super::ids::{ProviderId, SubscriptionId};
use super::ports::{CallFailure, Listing, Reading};
use super::timers::Alarm;
use crate::api::{ConditionStatus, Reason};
use crate::rotation::answers::{Hold, Judgement, Operation, judge_call};
use crate::rotation::backoff;
use crate::rotation::reading::goes_on_after;
use crate::rotation::time::{Moment, between};
use crate::rotation::wait::Wait;

/// So often in a row a page may fail before the listing begins again: what was read gets old.
const MAX_PAGE_FAILURES: u32 = 10;
/// When a page is looked at again that has let calls of its provider go first.
const LETS_GO_FOR: Duration = Duration::from_millis(250);

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

    /// What is kept after a failure; `None` when the listing has to begin again.
    fn after(mut self, failure: &CallFailure) -> Option<Self> {
        self.failures += 1;
        let goes_on = self.reading.has_begun() && goes_on_after(failure) && self.failures < MAX_PAGE_FAILURES;
        goes_on.then_some(self)
    }
}

impl Engine {
    /// A provider has come into use, or has changed.
    pub(super) fn begin_provider(&mut self, id: ProviderId, now: Moment) {
        let random = self.ports.random.bits();
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        let Some(remote) = provider.client.clone() else {
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

    /// Files a provider under the time of its next look, and puts the next page of its listing in line
    /// when one is wanted and can be had now.
    pub(super) fn file_provider(&mut self, id: ProviderId, now: Moment) {
        self.file_provider_at(id, None, now);
    }

    /// The same; `later`: a page is not put in line before then.
    fn file_provider_at(&mut self, id: ProviderId, later: Option<Duration>, now: Moment) {
        self.end_reading(id, now);
        let page_at = later.or_else(|| self.page_at(id, now));
        let line_up = page_at.is_some_and(|at| at <= now.boot);
        self.line_page_up(id, line_up, now);
        let leads = self.term.is_some();
        let Some(provider) = self.state.providers.get_mut(id.0) else {
            return;
        };
        let held = provider.hold.pending(now.wall).map(|held| now.boot + between(now.wall, held.until));
        let unkept = (provider.keeping.pause.and_then(|(wait, _)| wait.pending(now.wall)))
            .filter(|_| leads)
            .map(|until| now.boot + between(now.wall, until));
        let wakes = provider.wakes_at(now.boot);
        let unwritten = provider.pace.owed().filter(|at| *at > now.boot);
        let page = page_at.filter(|_| !line_up);
        let at =
            [page, held, unkept, wakes, unwritten, provider.next_verification].into_iter().flatten().min();
        match at {
            Some(at) => self.state.timers.file(&mut provider.timer, at, Alarm::Provider(id)),
            None => self.state.timers.unfile(&mut provider.timer, Alarm::Provider(id)),
        }
    }

    /// When the next page of a listing can be put in line; `None` when none is wanted, or something
    /// stands in its way that no time takes away.
    fn page_at(&self, id: ProviderId, now: Moment) -> Option<Duration> {
        let provider = self.state.provider(id)?;
        // What cannot be begun now is filed when that changes, or this would go round and round.
        let possible =
            self.term.is_some() && !provider.suspended && !provider.is_listing() && provider.can_list();
        let asked_for = provider.wanted.is_some() || provider.paused.is_some();
        if !possible || !asked_for {
            return None;
        }
        let waits = provider.list_wait.and_then(|wait| wait.pending(now.wall));
        let held = self.held_back(provider, now).map(|held| held.until);
        Some(waits.max(held).map_or(now.boot, |until| now.boot + between(now.wall, until)))
    }

    /// Puts a page in line at its origin, or takes it out.
    fn line_page_up(&mut self, id: ProviderId, wanted: bool, now: Moment) {
        let Some(provider) = self.state.providers.get_mut(id.0) else {
            return;
        };
        let namespace = provider.namespace;
        if !wanted && let Some(place) = provider.reads_next.take() {
            self.reading_queue.remove(namespace, &place);
        }
        let waited_for = !provider.waiting.is_empty();
        let origin =
            provider.origin().map(Arc::<str>::from).filter(|_| wanted && provider.reads_next.is_none());
        if let Some((before, place)) = &provider.page {
            if origin.as_ref() == Some(before) && place.waited_for == waited_for {
                return;
            }
            let tenant =
                self.state.origins.get_mut(&**before).and_then(|origin| origin.tenant_mut(namespace));
            if let Some(tenant) = tenant {
                tenant.ready.remove_page(id, *place);
            }
            provider.page = None;
        }
        if let Some(name) = origin
            && let Some(origin) = self.state.origins.get_mut(&*name)
        {
            let place = origin.tenant_for(namespace, now.boot).ready.put_page(id, waited_for);
            provider.page = Some((name, place));
        }
    }

    pub(super) fn provider_alarm(&mut self, id: ProviderId, now: Moment) {
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        provider.timer = None;
        let interval =
            provider.client.as_ref().map_or(Duration::ZERO, |remote| remote.profile().verify_interval);
        if provider.next_verification.is_some_and(|at| at <= now.boot) {
            provider.next_verification = (!interval.is_zero()).then(|| now.boot + interval);
            let is_read = provider.listing_since.is_some();
            if !provider.users.is_empty() && !provider.suspended && !is_read {
                provider.wanted = provider.wanted.or(Some(now.wall));
            }
        }
        self.keep_provider(id, now);
        self.record_provider(id, now);
        self.wake_blocked(id, now);
        self.file_provider(id, now);
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

    /// A listing's turn for its next page. Returns whether it was asked for.
    pub(super) fn page_in_turn(&mut self, id: ProviderId, now: Moment) -> bool {
        let alone = self.state.is_alone();
        if let Some(provider) = self.state.provider_mut(id) {
            provider.page = None;
        }
        let is_due = self.page_at(id, now).is_some_and(|at| at <= now.boot);
        let others = self.has_calls(id);
        let Some(provider) = self.state.providers.get_mut(id.0) else {
            return false;
        };
        let Some(remote) = provider.client.clone().filter(|_| is_due && !self.stopping) else {
            self.file_provider(id, now);
            return false;
        };
        let namespace = provider.namespace;
        if provider.calls >= provider.limit(now.wall) && provider.hold.is_open() {
            // A call is trying whether the pause is over.
            self.file_provider_at(id, Some(now.boot + LETS_GO_FOR), now);
            return false;
        }
        if !provider.bucket.has(now.boot) || (others && provider.lets_others_go(now.boot)) {
            let at = provider.bucket.ready_at(now.boot).max(now.boot + LETS_GO_FOR);
            self.file_provider_at(id, Some(at), now);
            return false;
        }
        if !provider.reads {
            if !self.readings.free_for(namespace, alone) {
                self.arrivals += 1;
                provider.reads_next = Some(self.arrivals);
                self.reading_queue.put(namespace, self.arrivals, id);
                return false;
            }
            provider.reads = true;
            self.readings.take(namespace);
        }
        self.workers.take(namespace);
        provider.listing_at = Some(remote.profile().origin.as_str().into());
        let mut paused = provider.paused.take().unwrap_or_else(|| {
            provider.wanted = None;
            provider.listing_since = Some(now.wall);
            Paused::new(now, provider.listing_epoch)
        });
        let fence = self.fence();
        self.spawn(About::Listing(id), async move {
            let result = remote.list(&mut paused.reading, &fence).await;
            Report::Listed { started: now, paused, result }
        });
        true
    }

    /// Whether calls wait that may be the provider's.
    fn has_calls(&self, id: ProviderId) -> bool {
        let Some(provider) = self.state.provider(id) else {
            return false;
        };
        let origin = provider.origin().and_then(|origin| self.state.origins.get(origin));
        let tenant = origin.and_then(|origin| origin.tenant(provider.namespace));
        !provider.blocked.is_empty() || tenant.is_some_and(|tenant| tenant.ready.calls() > 0)
    }

    /// Gives the place of a listing back that is not read any more, and lets the next one begin.
    fn end_reading(&mut self, id: ProviderId, now: Moment) {
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        if !provider.reads || provider.paused.is_some() || provider.is_listing() {
            return;
        }
        provider.reads = false;
        let namespace = provider.namespace;
        self.readings.give_back(namespace);
        let alone = self.state.is_alone();
        let readings = &self.readings;
        if let Some((_, _, next)) = self.reading_queue.next(|namespace| readings.free_for(namespace, alone)) {
            if let Some(provider) = self.state.provider_mut(next) {
                provider.reads_next = None;
            }
            self.file_provider(next, now);
        }
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
        let namespace = provider.namespace;
        if let Some(origin) = &origin {
            self.origin_news(origin, namespace, None, news, now);
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
                return self.file_provider(id, now);
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
            self.reconcile_each(waiting);
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
            self.reconcile_each(users);
            return;
        }
        let wait = backoff::delay(provider.list_failures, backoff::LONGEST_WAIT, random);
        provider.list_failures = provider.list_failures.saturating_add(1);
        provider.list_wait = Some(Wait::starting(now.wall, wait));
        if judgement.hold == Hold::Nothing {
            provider.answered = Some((ConditionStatus::False, judgement.reason, judgement.message.clone()));
        }
        // Those who wait for it are told; a verification is tried again at its next time, unless it
        // goes on where it failed.
        let goes_on = provider.paused.is_some();
        let waiting: Vec<SubscriptionId> = provider.waiting.iter().copied().collect();
        if !waiting.is_empty() && !goes_on {
            provider.wanted = Some(now.wall);
        }
        self.hold_provider(id, judgement, now);
        self.record_provider(id, now);
        if goes_on && matches!(judgement.hold, Hold::Asked(_)) {
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
        let under_way = provider.and_then(|provider| {
            provider.forget_reading();
            Some((provider.listing_at.take()?, provider.namespace))
        });
        if let Some((origin, namespace)) = under_way {
            self.origin_news(&origin, namespace, None, OriginNews::Unknown, now);
        }
        self.listing_failed(id, &judgement, now);
        self.file_provider(id, now);
    }
}
