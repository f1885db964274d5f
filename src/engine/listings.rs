//! Listings: one serves everybody who waits for it, and compares what is on record with what the
//! provider shows. Also whose turn it is for a call.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Engine;
use super::calls::{About, Report};
use super::finish::{OriginNews, class_of, origin_news};
use super::ids::{ProviderId, SubscriptionId};
use super::ports::{CallFailure, Listing};
use super::ready::Allowance;
use super::state::{Owners, Provider, claim_of_id, shown};
use super::timers::Alarm;
use crate::api::{
    Condition, ConditionStatus, ConditionType, Kind, Reason, WebhookProviderStatus, set_condition,
};
use crate::rotation::answers::{Hold, Judgement, Operation, judge_call};
use crate::rotation::backoff::{self, Wait};
use crate::rotation::facts::{Drift, Listed, ListingView, OwnerOf};
use crate::rotation::target::target;
use crate::rotation::time::{Moment, subtract};

/// So many ids must be missing before it is suspected that the credential is another account's.
const SUSPICIOUS: usize = 3;

fn provider_mismatch(provider: Option<&Provider>) -> bool {
    provider
        .and_then(|provider| provider.listing.as_ref())
        .is_some_and(|listing| listing.mismatch)
}

impl Engine {
    /// A provider has come into use, or has changed.
    pub(super) fn begin_provider(&mut self, id: ProviderId, now: Moment) {
        let random = self.ports.random.bits();
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        let Some(remote) = provider.remote.clone() else {
            return self.record_provider(id, now);
        };
        let interval = remote.profile().verify_interval;
        if !interval.is_zero() && remote.profile().can_list && provider.next_verification.is_none()
        {
            // Not everybody's at once: between half an interval and a whole one from now.
            let part =
                f64::from(u32::try_from(random >> 33).unwrap_or(0)) / f64::from(u32::MAX >> 1);
            let first = interval.mul_f64(0.5 + part / 2.0);
            provider.next_verification = Some(now.boot + first);
        }
        let generation = provider
            .declared
            .as_ref()
            .map(|(identity, ..)| identity.generation);
        let seen = provider
            .declared
            .as_ref()
            .and_then(|(_, _, status)| status.observed_generation);
        if provider.users.is_empty() && remote.profile().can_list && generation != seen {
            provider.wanted = Some(now.wall);
        }
        self.file_provider(id, now);
        self.record_provider(id, now);
    }

    fn file_provider(&mut self, id: ProviderId, now: Moment) {
        let Some(provider) = self.state.providers.get_mut(id.0) else {
            return;
        };
        let listing = provider.wanted.map(|_| {
            match provider.list_wait.and_then(|wait| wait.pending(now.wall)) {
                Some(until) => now.boot + crate::rotation::time::between(now.wall, until),
                None => now.boot,
            }
        });
        let held = provider
            .hold
            .pending(now.wall)
            .map(|(until, _)| now.boot + crate::rotation::time::between(now.wall, until));
        let at = [listing, held, provider.next_verification]
            .into_iter()
            .flatten()
            .min();
        match at {
            Some(at) => self
                .state
                .timers
                .file(&mut provider.timer, at, Alarm::Provider(id)),
            None => self
                .state
                .timers
                .unfile(&mut provider.timer, Alarm::Provider(id)),
        }
    }

    pub(super) fn provider_alarm(&mut self, id: ProviderId, now: Moment) {
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        provider.timer = None;
        let interval = provider
            .remote
            .as_ref()
            .map_or(Duration::ZERO, |remote| remote.profile().verify_interval);
        if provider.next_verification.is_some_and(|at| at <= now.boot) {
            provider.next_verification = (!interval.is_zero()).then(|| now.boot + interval);
            if !provider.users.is_empty() && !provider.suspended {
                provider.wanted = provider.wanted.or(Some(now.wall));
            }
        }
        self.record_provider(id, now);
        let blocked = self
            .state
            .provider_mut(id)
            .map(|provider| std::mem::take(&mut provider.blocked));
        self.attention.extend(blocked.unwrap_or_default());
        self.start_listing(id, now);
    }

    /// A subscription needs a complete listing, begun at this time or later.
    pub(super) fn want_listing(
        &mut self,
        id: SubscriptionId,
        begun_after: DateTime<Utc>,
        now: Moment,
    ) {
        let Some(provider_id) = self.state.entry(id).map(|entry| entry.provider) else {
            return;
        };
        let Some(provider) = self.state.provider_mut(provider_id) else {
            return;
        };
        provider.waiting.insert(id);
        provider.wanted = Some(
            provider
                .wanted
                .map_or(begun_after, |before| before.max(begun_after))
                .min(now.wall),
        );
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
        let waits = provider
            .list_wait
            .is_some_and(|wait| wait.pending(now.wall).is_some());
        if provider.wanted.is_none()
            || provider.is_listing()
            || provider.suspended
            || waits
            || !remote.profile().can_list
        {
            return;
        }
        let Some(origin) = self.state.origins.get_mut(&remote.profile().origin) else {
            return;
        };
        let held = origin
            .hold
            .pending(now.wall)
            .or_else(|| provider.hold.pending(now.wall));
        // A verification gives way to rotations: the timer brings it back.
        let gives_way = provider.waiting.is_empty()
            && !origin.ready.is_empty()
            && !origin.hold.probes(now.wall);
        let retry = if let Some((until, _)) = held {
            Some(now.boot + crate::rotation::time::between(now.wall, until))
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
            self.state
                .timers
                .file(&mut provider.timer, at, Alarm::Provider(id));
            return;
        }
        origin.probing = origin.hold.probes(now.wall);
        origin.bucket.take(1);
        origin.calls += 1;
        provider.listing_at = Some(remote.profile().origin.as_str().into());
        provider.wanted = None;
        let guard = self.guard();
        self.spawn(About::Listing(id), async move {
            Report::Listed {
                started: now,
                result: remote.list(&guard).await,
            }
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

    fn listing_arrived(&mut self, id: ProviderId, listing: Listing, started: Moment, now: Moment) {
        let remotes: BTreeMap<String, Listed> = listing
            .subscriptions
            .into_iter()
            .map(|remote| {
                let target = target(
                    remote.action.as_deref(),
                    remote.postback_url.as_deref().unwrap_or_default(),
                );
                (
                    remote.id,
                    Listed {
                        target,
                        active: remote.active,
                    },
                )
            })
            .collect();
        let Some(provider) = self.state.provider_mut(id) else {
            return;
        };
        let origin = provider.origin().unwrap_or_default().to_owned();
        let seen: HashMap<u64, Option<u64>> = remotes
            .iter()
            .map(|(id, listed)| {
                let shown = listed.active.map(|active| shown(&listed.target, active));
                (claim_of_id(&origin, id), shown)
            })
            .collect();
        provider.list_forbidden = false;
        provider.list_failures = 0;
        provider.list_wait = None;
        let (users, asked) = (provider.users.clone(), provider.waiting.clone());
        // By the clock as it is now: it may have been set back since the listing began.
        let took = now.boot.saturating_sub(started.boot);
        let begun = started.wall.min(subtract(now.wall, took));
        let (mut on_record, mut missing) = (0, 0);
        for user in &users {
            let expected = self.state.entry(*user).and_then(|entry| entry.expected);
            // One that was applied since says nothing of whose account this is.
            if let Some(expected) = expected
                && expected.applied <= begun.timestamp_millis()
            {
                on_record += 1;
                missing += usize::from(!seen.contains_key(&expected.id));
            }
        }
        let mismatch = missing >= SUSPICIOUS && missing * 2 > on_record;
        let was_mismatch = provider_mismatch(self.state.provider(id));
        let view = Arc::new(ListingView {
            begun,
            remotes,
            mismatch,
        });
        if let Some(provider) = self.state.provider_mut(id) {
            provider.listing = Some(Arc::clone(&view));
        }
        let reason = (
            ConditionStatus::True,
            Reason::Valid,
            "the provider takes our calls".to_owned(),
        );
        if let Some(provider) = self.state.provider_mut(id) {
            provider.answered = Some(reason);
            provider.hold.close();
        }
        self.record_provider(id, now);
        if mismatch != was_mismatch {
            // Those without an id wait for nothing else.
            let without_id = users.iter().copied().filter(|user| {
                (self.state.entry(*user)).is_some_and(|entry| entry.expected.is_none())
            });
            self.attention.extend(without_id);
        }
        for user in users {
            let as_expected = self.state.entry(user).is_some_and(|entry| {
                let expected = entry.expected.filter(|expected| !expected.secrets);
                entry.is_calm()
                    && expected.is_some_and(|is| seen.get(&is.id) == Some(&Some(is.shown)))
            });
            if as_expected && !asked.contains(&user) {
                continue;
            }
            self.compare(user, &view, asked.contains(&user), now);
        }
    }

    /// Compares one subscription with what the provider shows.
    fn compare(&mut self, id: SubscriptionId, view: &ListingView, asked: bool, now: Moment) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let Some(object) = entry.object() else { return };
        let (Some(remote_id), Some(spec)) = (object.status.webhook_id.clone(), object.spec.clone())
        else {
            return;
        };
        let applied = entry
            .memory()
            .listing_after
            .or(object.status.last_rotated_time);
        if entry.is_busy() || applied.is_some_and(|applied| view.begun < applied) {
            // It was begun before the last apply had ended: it says nothing about this one.
            return;
        }
        let wanted = target(spec.action.as_deref(), &spec.postback_url);
        let missing = object.status.missing_since.is_some();
        let mut changed = missing;
        let mut duplicates = Vec::new();
        match view.remotes.get(&remote_id) {
            Some(listed) => {
                let differs = listed.target != wanted
                    || listed
                        .active
                        .is_some_and(|active| active != spec.is_active());
                entry.remember(|memory| {
                    let drift = match (differs, memory.drift) {
                        (false, _) => None,
                        (true, None | Some(Drift::Seen)) => Some(Drift::Seen),
                        (true, Some(_)) => Some(Drift::Persists),
                    };
                    changed |= drift != memory.drift || memory.absent;
                    memory.drift = drift;
                    memory.absent = false;
                    memory.lacked_since = None;
                });
            }
            None => entry.remember(|memory| {
                changed = true;
                if missing {
                    memory.lacked_since = memory.lacked_since.or(Some(view.begun));
                } else {
                    memory.absent = true;
                }
            }),
        }
        if asked && !missing {
            let others = view
                .remotes
                .iter()
                .filter(|(other, listed)| listed.target == wanted && **other != remote_id);
            duplicates.extend(others.map(|(other, _)| other.clone()));
        }
        let uses_secrets = spec.client_headers.iter().any(|header| {
            header
                .value_from
                .as_ref()
                .is_some_and(|source| source.secret_key_ref.is_some())
        });
        let (key, provider) = (object.identity.key.clone(), entry.provider);
        if !duplicates.is_empty() {
            let origin = self
                .state
                .provider(provider)
                .and_then(|provider| provider.origin().map(str::to_owned))
                .unwrap_or_default();
            let owners = Owners {
                state: &self.state,
                origin: &origin,
                subject: id,
            };
            duplicates.retain(|other| owners.owner(other).is_none());
        }
        if !duplicates.is_empty() {
            let note = format!(
                "besides webhook {remote_id} the provider shows {} with the same action and postback URL; delete it there",
                duplicates.join(", ")
            );
            self.tell(
                Kind::WebhookSubscription,
                &key,
                true,
                Reason::DuplicateFound,
                note,
            );
        }
        if uses_secrets && !missing {
            self.compare_secrets(id, now);
        } else if changed {
            self.attend_soon(id);
        }
    }

    fn compare_secrets(&mut self, id: SubscriptionId, _now: Moment) {
        let Some(entry) = self.state.entry(id).filter(|entry| !entry.is_busy()) else {
            return;
        };
        let Some(object) = entry.object() else { return };
        let remote = self
            .state
            .provider(entry.provider)
            .and_then(|provider| provider.remote.clone());
        let (Some(remote), Some(spec)) = (remote, object.spec) else {
            return;
        };
        self.leave_line(id);
        self.begin(id, None);
        self.spawn(About::Subscription(id), async move {
            Report::Secrets(
                remote
                    .document_secrets(&object.identity.key.namespace, &spec)
                    .await,
            )
        });
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
            provider.answered = Some((
                ConditionStatus::False,
                judgement.reason,
                judgement.message.clone(),
            ));
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
            if self
                .state
                .entry(waiting)
                .is_some_and(|entry| !entry.is_busy())
            {
                self.fail(waiting, &judgement, Operation::List, now);
            }
        }
    }

    pub(super) fn listing_broken(&mut self, id: ProviderId, what: &str, now: Moment) {
        let failure = CallFailure::Unanswered {
            what: what.to_owned(),
        };
        let mut judgement = judge_call(Operation::List, &failure);
        judgement.reason = Reason::InternalError;
        let provider = self.state.provider_mut(id);
        if let Some(origin) = provider.and_then(|provider| provider.listing_at.take()) {
            self.origin_news(&origin, None, OriginNews::Unknown, now);
        }
        self.listing_failed(id, &judgement, now);
        self.file_provider(id, now);
    }

    /// Hands calls to free workers, as far as the origins' budgets go.
    pub(super) fn start_calls(&mut self, now: Moment) {
        if self.term.is_none() {
            return;
        }
        let origins: Vec<String> = self
            .state
            .origins
            .iter()
            .filter(|(_, origin)| !origin.ready.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        let mut progress = true;
        while progress && self.calls_running < self.options.workers {
            progress = false;
            for origin in &origins {
                if self.calls_running >= self.options.workers {
                    break;
                }
                progress |= self.start_call(origin, now);
            }
        }
    }

    /// Takes one piece of work of an origin. Returns whether there may be more.
    fn start_call(&mut self, name: &str, now: Moment) -> bool {
        let busy = &self.state.busy_by_namespace;
        let Some(origin) = self.state.origins.get_mut(name) else {
            return false;
        };
        if origin.hold.pending(now.wall).is_some() || !origin.bucket.has(now.boot) {
            return false;
        }
        let probes = origin.hold.probes(now.wall);
        if probes && (origin.probing || origin.calls > 0) {
            return false;
        }
        #[allow(clippy::cast_precision_loss)]
        let scarce = origin.bucket.available(now.boot) < origin.ready.len() as f64;
        let allowance = Allowance {
            now: now.wall.timestamp_millis(),
            failing: origin.failing_bucket.has(now.boot),
            scarce,
        };
        let Some((id, failing)) = origin.ready.take(allowance, |namespace| {
            busy.get(&namespace).copied().unwrap_or(0)
        }) else {
            return false;
        };
        let Some(provider_id) = self.state.entry(id).map(|entry| entry.provider) else {
            return true;
        };
        let Some(provider) = self.state.providers.get_mut(provider_id.0) else {
            return true;
        };
        let limit = provider
            .remote
            .as_ref()
            .map_or(1, |remote| remote.profile().max_concurrent);
        let at_limit = provider.calls >= limit;
        let over_budget = !provider.bucket.has(now.boot);
        if at_limit || over_budget {
            provider.blocked.insert(id);
            if over_budget {
                let at = provider.bucket.ready_at(now.boot);
                self.state
                    .timers
                    .file(&mut provider.timer, at, Alarm::Provider(provider_id));
            }
            if let Some(entry) = self.state.entry_mut(id) {
                entry.place = None;
            }
            return true;
        }
        if self.attend_with_turn(id, now) {
            if let Some(origin) = self.state.origins.get_mut(name) {
                origin.bucket.take(1);
                origin.calls += 1;
                origin.probing = probes;
                if failing {
                    origin.failing_bucket.take(1);
                }
            }
            if let Some(provider) = self.state.provider_mut(provider_id) {
                provider.bucket.take(1);
            }
        }
        true
    }

    /// When the next call could be begun, if budget is all that lacks.
    pub(super) fn next_budget(&mut self, now: Duration) -> Option<Duration> {
        if self.calls_running >= self.options.workers || self.stopping {
            return None;
        }
        let wall = self.ports.clock.now().wall;
        self.state
            .origins
            .values_mut()
            .filter(|origin| !origin.ready.is_empty() && !origin.probing)
            .filter_map(|origin| {
                if let Some((until, _)) = origin.hold.pending(wall) {
                    return Some(now + crate::rotation::time::between(wall, until));
                }
                if origin.hold.probes(wall) && origin.calls > 0 {
                    return None;
                }
                let own = origin.bucket.ready_at(now);
                let only_failing = !origin.ready.has(Allowance {
                    now: 0,
                    failing: false,
                    scarce: true,
                });
                Some(if only_failing {
                    own.max(origin.failing_bucket.ready_at(now))
                } else {
                    own
                })
            })
            .min()
    }

    /// A 401 holds back the provider object whose credential it was.
    pub(super) fn hold_provider(&mut self, id: SubscriptionId, judgement: &Judgement, now: Moment) {
        let Some(provider_id) = self.state.entry(id).map(|entry| entry.provider) else {
            return;
        };
        let Some(provider) = self.state.provider_mut(provider_id) else {
            return;
        };
        provider.hold.open(now.wall, None, judgement.reason);
        provider.answered = Some((
            ConditionStatus::False,
            judgement.reason,
            judgement.message.clone(),
        ));
        self.record_provider(provider_id, now);
        self.file_provider(provider_id, now);
    }

    pub(super) fn provider_answered(
        &mut self,
        id: SubscriptionId,
        holds: ConditionStatus,
        reason: Reason,
        message: &str,
        now: Moment,
    ) {
        let Some(provider_id) = self.state.entry(id).map(|entry| entry.provider) else {
            return;
        };
        let Some(provider) = self.state.provider_mut(provider_id) else {
            return;
        };
        let same = provider
            .answered
            .as_ref()
            .is_some_and(|before| before.0 == holds && before.1 == reason && before.2 == message);
        if !provider.hold.close() && same {
            return;
        }
        provider.answered = Some((holds, reason, message.to_owned()));
        self.record_provider(provider_id, now);
    }

    /// The hold-back of an origin shows in the status of its providers.
    pub(super) fn record_held_providers(&mut self, origin: &str, now: Moment) {
        let of_origin: Vec<ProviderId> = self
            .state
            .providers
            .iter()
            .filter(|(_, provider)| provider.origin() == Some(origin))
            .map(|(id, _)| ProviderId(id))
            .collect();
        for id in of_origin {
            self.record_provider(id, now);
        }
    }

    /// Brings a provider's status in line and writes it when it differs, one write at a time.
    pub(super) fn record_provider(&mut self, id: ProviderId, now: Moment) {
        if self.term.is_none() {
            return;
        }
        let Some(provider) = self
            .state
            .provider(id)
            .filter(|provider| !provider.recording)
        else {
            return;
        };
        let Some((identity, _, before)) = &provider.declared else {
            return;
        };
        let of_origin = provider
            .origin()
            .and_then(|origin| self.state.origins.get(origin));
        let held = of_origin
            .and_then(|origin| origin.hold.pending(now.wall))
            .into_iter()
            .chain(provider.hold.pending(now.wall))
            .max_by_key(|(until, _)| *until);
        let generation = identity.generation;
        let current = before
            .conditions
            .iter()
            .find(|condition| condition.kind == ConditionType::Ready);
        let (holds, reason, message) = match (&provider.invalid, &provider.answered) {
            (Some(problem), _) => (ConditionStatus::False, Reason::InvalidSpec, problem.clone()),
            (None, Some(answered)) => answered.clone(),
            (None, None) => match current.filter(|ready| {
                before.observed_generation == Some(generation)
                    && ready.reason != Reason::InvalidSpec
            }) {
                Some(ready) => (ready.status, ready.reason, ready.message.clone()),
                None => {
                    let can_list = provider
                        .remote
                        .as_ref()
                        .is_some_and(|remote| remote.profile().can_list);
                    let holds = if can_list {
                        ConditionStatus::Unknown
                    } else {
                        ConditionStatus::True
                    };
                    (
                        holds,
                        Reason::NotVerified,
                        "valid; the provider has not been called yet".to_owned(),
                    )
                }
            },
        };
        let stalled = (reason == Reason::InvalidSpec).then(|| message.clone());
        let condition = |kind, status, reason, message| Condition {
            kind,
            status,
            reason,
            message,
            observed_generation: Some(generation),
            last_transition_time: now.wall,
        };
        let mut status = WebhookProviderStatus {
            observed_generation: Some(generation),
            held_back_until: held.map(|(until, _)| until),
            conditions: before.conditions.clone(),
        };
        let ready = condition(ConditionType::Ready, holds, reason, message);
        set_condition(&mut status.conditions, ConditionType::Ready, Some(ready));
        let stalled = stalled.map(|message| {
            condition(
                ConditionType::Stalled,
                ConditionStatus::True,
                Reason::InvalidSpec,
                message,
            )
        });
        set_condition(&mut status.conditions, ConditionType::Stalled, stalled);
        if status == *before {
            return;
        }
        if let Some(provider) = self.state.provider_mut(id) {
            provider.recording = true;
            if let Some((_, _, before)) = &mut provider.declared {
                *before = status.clone();
            }
        }
        self.call_record_provider(id, status);
    }

    pub(super) fn provider_recorded(&mut self, id: ProviderId, now: Moment) {
        if let Some(provider) = self.state.provider_mut(id) {
            provider.recording = false;
        }
        self.record_provider(id, now);
    }
}
