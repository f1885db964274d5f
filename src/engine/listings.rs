//! Listings: one serves everybody who waits for it, and compares what is on record with what the
//! provider shows.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Engine;
use super::calls::{About, Report};
use super::failures::{class_of, origin_news};
use super::finish::OriginNews;
use super::ids::{ProviderId, SubscriptionId};
use super::ports::{CallFailure, Listing};
use super::timers::Alarm;
use crate::api::{ConditionStatus, Reason};
use crate::rotation::answers::{Hold, Judgement, Operation, judge_call};
use crate::rotation::backoff::{self, Wait};
use crate::rotation::time::Moment;

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
        let listing = provider.wanted.filter(|_| possible).map(|_| {
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
        let at = [listing, held, unkept, provider.next_verification].into_iter().flatten().min();
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
            if !provider.users.is_empty() && !provider.suspended {
                provider.wanted = provider.wanted.or(Some(now.wall));
            }
        }
        self.keep_provider(id, now);
        self.record_provider(id, now);
        let blocked = self.state.provider_mut(id).map(|provider| std::mem::take(&mut provider.blocked));
        self.attention.extend(blocked.unwrap_or_default());
        self.start_listing(id, now);
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
        provider.wanted =
            Some(provider.wanted.map_or(begun_after, |before| before.max(begun_after)).min(now.wall));
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

    /// Begins a listing when it is wanted and nothing stands in its way.
    fn start_listing(&mut self, id: ProviderId, now: Moment) {
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
        if provider.wanted.is_none()
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
        } else if gives_way {
            Some(now.boot + Duration::from_secs(1))
        } else {
            None
        };
        if let Some(at) = retry {
            self.state.timers.file(&mut provider.timer, at, Alarm::Provider(id));
            return;
        }
        origin.probing = origin.breaker.probes(now.wall);
        origin.bucket.take(1);
        origin.calls += 1;
        provider.listing_at = Some(remote.profile().origin.as_str().into());
        provider.wanted = None;
        let guard = self.guard();
        self.spawn(About::Listing(id), async move {
            Report::Listed { started: now, result: remote.list(&guard).await }
        });
    }

    pub(super) fn listed(
        &mut self,
        id: ProviderId,
        started: Moment,
        result: Result<Listing, CallFailure>,
        now: Moment,
    ) {
        let class = class_of(result.as_ref().err());
        self.ports.meter.provider_request(
            Operation::List.as_str(),
            class,
            now.boot.saturating_sub(started.boot),
        );
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        let origin = provider.listing_at.take();
        match result {
            Ok(listing) => {
                if let Some(origin) = &origin {
                    if let Some(state) = self.state.origins.get_mut(&**origin) {
                        state.bucket.take(listing.requests.saturating_sub(1));
                    }
                    self.origin_news(origin, None, OriginNews::Answers, now);
                }
                self.listing_arrived(id, listing, started, now);
            }
            Err(failure) => {
                let judgement = judge_call(Operation::List, &failure);
                if let Some(origin) = &origin {
                    self.origin_news(origin, None, origin_news(&failure, &judgement), now);
                }
                self.listing_failed(id, &judgement, now);
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
        // Those who wait for it are told; a verification is tried again at its next time.
        let waiting: Vec<SubscriptionId> = provider.waiting.iter().copied().collect();
        if !waiting.is_empty() {
            provider.wanted = Some(now.wall);
        }
        self.record_provider(id, now);
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
        if let Some(origin) = provider.and_then(|provider| provider.listing_at.take()) {
            self.origin_news(&origin, None, OriginNews::Unknown, now);
        }
        self.listing_failed(id, &judgement, now);
        self.file_provider(id, now);
    }
}
