//! What follows when a call or a record has ended.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Engine;
use super::attend::{Judged, Shown};
use super::calls::{About, Applying, Creating, Done, Report, Sent, Then};
use super::entry::{Object, Work};
use super::ids::SubscriptionId;
use super::ports::{Applied, CallFailure, RecordFailure, Refusal};
use crate::api::{ConditionStatus, ConditionType, Kind, Ownership, Reason, SubscriptionStatus};
use crate::rotation::answers::{Hold, Judgement, Operation, Pace, judge_call};
use crate::rotation::backoff::{self, Wait};
use crate::rotation::decide::{self, Standing, Why};
use crate::rotation::facts::{Drift, Subject};
use crate::rotation::status::{self, Rotated};
use crate::rotation::time::{Moment, between, subtract};

/// How the origin took a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OriginNews {
    /// It answered as it should, or at least answered.
    Answers,
    /// It did not answer, or with a fault of its own.
    Fails,
    /// It asks for fewer calls.
    Held(Option<Duration>),
    /// Nothing was sent.
    Unknown,
}

/// A document that is in place.
struct Success<'a> {
    remote_id: &'a str,
    ownership: Ownership,
    sent: &'a Sent,
    /// Digest of the identity of each Secret in it.
    secrets: Option<String>,
    happened: Reason,
}

/// How many distinct objects must fail in a row before their whole origin is held back.
const DISTINCT_FAILURES: usize = 3;

impl Engine {
    pub(super) fn finish(&mut self, done: Done) {
        let now = self.ports.clock.now();
        match (done.about, done.report) {
            (
                About::Subscription(id),
                Report::Recorded {
                    status,
                    then,
                    result,
                },
            ) => {
                self.recorded(id, &status, then, result, now);
            }
            (
                About::Call(id),
                Report::Applied {
                    applying,
                    started,
                    result,
                },
            ) => {
                self.count_request(Operation::Update, &result, started, now);
                self.applied(id, &applying, result, now);
            }
            (
                About::Call(id),
                Report::Created {
                    creating,
                    started,
                    result,
                },
            ) => {
                self.count_request(Operation::Create, &result, started, now);
                self.created(id, &creating, result, now);
            }
            (
                About::Call(id),
                Report::Deleted {
                    id: remote,
                    started,
                    result,
                },
            ) => {
                self.count_request(Operation::Delete, &result, started, now);
                self.deleted(id, &remote, result, now);
            }
            (About::Subscription(id), Report::Guarded(result)) => self.guarded(id, result, now),
            (About::Subscription(id), Report::Released(result)) => self.released(id, result, now),
            (About::Subscription(id), Report::Secrets(result)) => self.secrets_compared(id, result),
            (About::Mint(id), Report::Minted { started, result }) => {
                self.minted(id, started, result, now)
            }
            (About::Publishing(id), Report::PublishedRead(result)) => {
                self.published_read(id, result, now)
            }
            (About::Publishing(id), Report::PublishedWritten { tokens, result }) => {
                self.published_written(id, *tokens, result, now);
            }
            (About::Listing(id), Report::Listed { started, result }) => {
                self.listed(id, started, result, now)
            }
            (_, Report::ProviderRecorded(id)) => self.provider_recorded(id, now),
            (about, Report::Broken(broken)) => self.broken(about, &broken.to_string(), now),
            (_, _) => {}
        }
    }

    /// A fault of our own stays with the object it happened to.
    fn broken(&mut self, about: About, what: &str, now: Moment) {
        tracing::error!(?about, "{what}");
        match about {
            About::Call(id) => {
                self.end_call(id, Some(OriginNews::Unknown));
                // What the step had done is not known: an open creation record stays open.
                self.fail(id, &internal(what), Operation::Update, now);
            }
            About::Subscription(id) => self.rest(id),
            About::Mint(id) => self.mint_broken(id, what, now),
            About::Publishing(id) => self.publishing_broken(id, what, now),
            About::Listing(id) => self.listing_broken(id, what, now),
            About::Aside => {}
        }
    }

    /// Begins to make a status durable; the entry carries it from now on.
    pub(super) fn record(&mut self, id: SubscriptionId, status: SubscriptionStatus, then: Then) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let Some(mut object) = entry.object() else {
            return;
        };
        object.status = status;
        entry.store(&object);
        entry.work = Work::Busy;
        self.state.index(id, &object);
        self.record_queue
            .push_back((id, Arc::new(object.status), then));
        self.start_records();
    }

    pub(super) fn start_records(&mut self) {
        while self.records_running < self.options.recorders {
            let Some((id, status, then)) = self.record_queue.pop_front() else {
                break;
            };
            let Some(object) = self.state.entry(id).and_then(super::entry::Entry::object) else {
                continue;
            };
            self.records_running += 1;
            let record = Arc::clone(&self.ports.record);
            let written = Arc::clone(&status);
            let call = async move {
                let identity = &object.identity;
                record
                    .subscription(&identity.key, &identity.uid, &written)
                    .await
            };
            self.spawn_record(id, call, move |result| Report::Recorded {
                status,
                then,
                result,
            });
        }
    }

    fn recorded(
        &mut self,
        id: SubscriptionId,
        status: &SubscriptionStatus,
        then: Then,
        result: Result<(), RecordFailure>,
        now: Moment,
    ) {
        self.records_running = self.records_running.saturating_sub(1);
        let durable = matches!(result, Ok(()) | Err(RecordFailure::Gone));
        if let Err(failure) = &result
            && !durable
            && let Some(entry) = self.state.entry_mut(id)
        {
            let failed = entry.unrecorded.map_or(0, |(_, failed)| failed);
            let wait = backoff::delay(failed, Duration::from_secs(30), self.ports.random.bits());
            entry.unrecorded = Some((Wait::starting(now.wall, wait), failed + 1));
            tracing::warn!(subscription = %entry.key, %failure, "the status could not be recorded; it is tried again");
        } else if let Some(entry) = self.state.entry_mut(id) {
            entry.unrecorded = None;
        }
        match then {
            Then::Attend => self.rest(id),
            Then::Create(creating) if result.is_ok() => self.create_now(id, creating),
            Then::Create(_) => {
                // Whether the record is there is not known, but nothing was sent and nothing will be.
                self.end_call(id, None);
                self.put_status(id, &status::creation_closed(status));
                self.rest(id);
            }
            Then::Release(owner) => {
                self.rest(id);
                let object = self
                    .state
                    .entry(owner)
                    .and_then(super::entry::Entry::object);
                match object {
                    Some(object) if durable => self.let_go(owner, &object),
                    _ => self.rest(owner),
                }
            }
        }
        if let Some(at) = self
            .state
            .entry(id)
            .and_then(|entry| entry.unrecorded)
            .map(|(wait, _)| wait.until)
        {
            self.file(id, Some(at), now);
        }
    }

    pub(super) fn let_go(&mut self, id: SubscriptionId, object: &Object) {
        let record = Arc::clone(&self.ports.record);
        let (key, uid) = (object.identity.key.clone(), object.identity.uid.clone());
        let call = async move { record.release(&key, &uid).await };
        self.spawn_record(id, call, Report::Released);
    }

    /// Changes the status in memory only.
    fn put_status(&mut self, id: SubscriptionId, status: &SubscriptionStatus) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let Some(mut object) = entry.object() else {
            return;
        };
        object.status = status.clone();
        entry.store(&object);
        self.state.index(id, &object);
    }

    /// A subscription's step has ended: it is looked at again, or makes room for its successor.
    pub(super) fn rest(&mut self, id: SubscriptionId) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        entry.work = Work::None;
        entry.dirty = false;
        if let Some(successor) = entry.successor.take() {
            self.remove_subscription(id);
            self.change(*successor);
            return;
        }
        self.attend_soon(id);
    }

    /// Gives a call's place back and notes how the origin took it.
    pub(super) fn end_call(&mut self, id: SubscriptionId, news: Option<OriginNews>) {
        let now = self.ports.clock.now();
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let Some(origin) = entry.calling.take() else {
            return;
        };
        let (provider_id, namespace) = (entry.provider, entry.namespace);
        self.calls_running = self.calls_running.saturating_sub(1);
        if let Some(busy) = self.state.busy_by_namespace.get_mut(&namespace) {
            *busy = busy.saturating_sub(1);
            if *busy == 0 {
                self.state.busy_by_namespace.remove(&namespace);
            }
        }
        let Some(provider) = self.state.provider_mut(provider_id) else {
            return;
        };
        provider.calls = provider.calls.saturating_sub(1);
        let blocked = std::mem::take(&mut provider.blocked);
        self.attention.extend(blocked);
        self.origin_news(&origin, Some(id), news.unwrap_or(OriginNews::Unknown), now);
    }

    /// Opens and closes the hold-back of an origin.
    pub(super) fn origin_news(
        &mut self,
        origin: &str,
        of: Option<SubscriptionId>,
        news: OriginNews,
        now: Moment,
    ) {
        let Some(state) = self.state.origins.get_mut(origin) else {
            return;
        };
        state.calls = state.calls.saturating_sub(1);
        let was_probe = std::mem::take(&mut state.probing);
        let changed = match news {
            OriginNews::Answers => {
                state.failing.clear();
                let closed = state.hold.close();
                if closed {
                    tracing::info!(origin, "the origin answers again");
                }
                closed
            }
            OriginNews::Held(asked) => {
                state.hold.open(now.wall, asked, Reason::RateLimited);
                true
            }
            OriginNews::Fails => {
                state.failing.extend(of);
                let opens = was_probe
                    || (state.failing.len() >= DISTINCT_FAILURES && !state.hold.probes(now.wall));
                let opens = opens && state.hold.pending(now.wall).is_none();
                if opens {
                    state.hold.open(now.wall, None, Reason::ProviderUnavailable);
                    tracing::warn!(origin, "the origin does not answer; calls to it pause");
                }
                opens
            }
            OriginNews::Unknown => false,
        };
        if changed {
            self.record_held_providers(origin, now);
        }
    }

    fn applied(
        &mut self,
        id: SubscriptionId,
        applying: &Applying,
        result: Result<Applied, CallFailure>,
        now: Moment,
    ) {
        let Some(object) = self.state.entry(id).and_then(super::entry::Entry::object) else {
            return self.end_call(id, None);
        };
        let sent = &applying.sent;
        let document = format!("{}/{}", sent.digest, sent.hand.fingerprint);
        match result {
            Ok(applied) => {
                self.end_call(id, Some(OriginNews::Answers));
                let ownership = applying.ownership;
                let happened = match applying.why {
                    Why::Adopting if ownership == Ownership::Adopted => Reason::Adopted,
                    // The outcome of a create has been found out.
                    Why::Adopting => Reason::Created,
                    _ => Reason::Rotated,
                };
                let success = Success {
                    remote_id: &applying.id,
                    ownership,
                    sent,
                    secrets: applied.secrets,
                    happened,
                };
                self.in_place(id, &object, success, now);
                let timeout = self.timeout_of(id);
                if let Some(entry) = self.state.entry_mut(id) {
                    entry.remember(|memory| {
                        // An older request may still be queued at the provider and land last.
                        let unsettled = std::mem::take(&mut memory.unsettled);
                        let other = unsettled.iter().any(|unsettled| *unsettled != document);
                        memory.resend = other.then(|| decide::resend_wait(now, timeout));
                    });
                }
            }
            Err(failure) => {
                let judgement = judge_call(Operation::Update, &failure);
                self.end_call(id, Some(origin_news(&failure, &judgement)));
                if let Some(entry) = self.state.entry_mut(id) {
                    entry.remember(|memory| {
                        memory.listing_after = Some(now.wall);
                        if judgement.outcome_unknown
                            && memory.unsettled.len() < 2
                            && !memory.unsettled.contains(&document)
                        {
                            memory.unsettled.push(document);
                        }
                    });
                }
                if judgement.missing {
                    self.gone_missing(id, &object, now);
                } else {
                    self.fail(id, &judgement, Operation::Update, now);
                }
            }
        }
    }

    /// A document is in place with this token: the only way to `Ready`.
    fn in_place(&mut self, id: SubscriptionId, object: &Object, success: Success<'_>, now: Moment) {
        let Success {
            remote_id,
            ownership,
            sent,
            secrets,
            happened,
        } = success;
        let Sent {
            hand,
            digest,
            origin,
        } = sent;
        let mut recovered = false;
        let mut handled = None;
        if let Some(entry) = self.state.entry_mut(id) {
            entry.remember(|memory| {
                recovered = memory.failing.is_some();
                handled = memory
                    .request_seen
                    .as_ref()
                    .filter(|(_, seen)| hand.confirmed.max(hand.minted.wall) >= *seen)
                    .map(|(request, _)| request.clone());
                memory.wait = None;
                memory.failures = 0;
                memory.failing = None;
                memory.absent = false;
                memory.lacked_since = None;
                memory.secrets_changed = false;
                memory.listing_after = Some(now.wall);
                memory.drift = match memory.drift {
                    Some(Drift::Seen) => Some(Drift::Reapplied),
                    other => other,
                };
            });
            entry.minted_boot = Some(hand.minted.boot);
        }
        let before = object.status.token_expiration_time;
        let fields = status::rotated(
            &object.status,
            &Rotated {
                id: remote_id,
                origin,
                ownership,
                hand,
                digest,
                secrets,
                handled_request: handled.as_deref(),
                at: now.wall,
            },
        );
        let seen = self.document_of(id, object);
        let shown = Shown {
            standing: &Standing::Settled,
            happened: Some(happened),
        };
        let status = self.presented(id, object, &seen, &fields, &shown, now);
        let lead = before.map(|end| (end - now.wall).as_seconds_f64());
        if let Some(provider) = self.provider_key(id) {
            self.ports.meter.rotation(&provider, happened, lead);
        }
        tracing::info!(
            subscription = %object.identity.key,
            webhook = remote_id,
            fingerprint = %hand.fingerprint,
            expires = ?hand.expires,
            next = ?status.next_rotation_time,
            "a token is in place"
        );
        self.remember_applied(id, hand);
        let warning = self
            .remote_of(id)
            .zip(object.spec.as_ref())
            .and_then(|(remote, spec)| remote.warning(spec));
        match (happened, recovered) {
            (Reason::Rotated, true) => {
                self.tell(
                    Kind::WebhookSubscription,
                    &object.identity.key,
                    false,
                    Reason::Recovered,
                    "a rotation succeeded again".into(),
                );
            }
            (Reason::Rotated, false) => {}
            _ => {
                let note = format!("webhook {remote_id} is kept fresh from now on");
                self.tell(
                    Kind::WebhookSubscription,
                    &object.identity.key,
                    false,
                    happened,
                    note,
                );
                if let Some(warning) = warning {
                    self.tell(
                        Kind::WebhookSubscription,
                        &object.identity.key,
                        true,
                        happened,
                        warning,
                    );
                }
            }
        }
        self.provider_answered(
            id,
            ConditionStatus::True,
            Reason::Valid,
            "the provider takes our calls",
            now,
        );
        self.record(id, status, Then::Attend);
        self.after_apply(id, now);
    }

    fn created(
        &mut self,
        id: SubscriptionId,
        creating: &Creating,
        result: Result<Applied, CallFailure>,
        now: Moment,
    ) {
        let Some(object) = self.state.entry(id).and_then(super::entry::Entry::object) else {
            return;
        };
        let failure = match result {
            Ok(Applied {
                id: Some(remote_id),
                secrets,
            }) => {
                self.end_call(id, Some(OriginNews::Answers));
                let settle = self.settle_of(id);
                if let Some(entry) = self.state.entry_mut(id) {
                    entry.remember(|memory| memory.duplicate_check = Some(now.wall + settle));
                }
                let again = object.status.missing_since.is_some();
                let happened = if again {
                    Reason::Recreated
                } else {
                    Reason::Created
                };
                let success = Success {
                    remote_id: &remote_id,
                    ownership: Ownership::Created,
                    sent: &creating.sent,
                    secrets,
                    happened,
                };
                return self.in_place(id, &object, success, now);
            }
            Ok(Applied { id: None, .. }) => CallFailure::Unreadable {
                what: "no id in the answer to a create".into(),
            },
            Err(failure) => failure,
        };
        let judgement = judge_call(Operation::Create, &failure);
        self.end_call(id, Some(origin_news(&failure, &judgement)));
        if let Some(entry) = self.state.entry_mut(id) {
            entry.remember(|memory| memory.listing_after = Some(now.wall));
        }
        if !judgement.outcome_unknown {
            let closed = status::creation_closed(&object.status);
            self.put_status(id, &closed);
            if let Some(entry) = self.state.entry_mut(id) {
                // The record is to go, whatever else is written.
                entry.unrecorded = Some((Wait::starting(now.wall, Duration::ZERO), 0));
            }
        }
        self.fail(id, &judgement, Operation::Create, now);
    }

    fn deleted(
        &mut self,
        id: SubscriptionId,
        remote: &str,
        result: Result<(), CallFailure>,
        now: Moment,
    ) {
        let Some(object) = self.state.entry(id).and_then(super::entry::Entry::object) else {
            return;
        };
        let missing =
            matches!(&result, Err(failure) if judge_call(Operation::Delete, failure).missing);
        match result {
            Err(failure) if !missing => {
                let judgement = judge_call(Operation::Delete, &failure);
                self.end_call(id, Some(origin_news(&failure, &judgement)));
                self.fail(id, &judgement, Operation::Delete, now);
            }
            _ => {
                self.end_call(id, Some(OriginNews::Answers));
                let note = format!("webhook {remote} was deleted at the provider");
                self.tell(
                    Kind::WebhookSubscription,
                    &object.identity.key,
                    false,
                    Reason::Deleted,
                    note,
                );
                self.let_go(id, &object);
            }
        }
    }

    fn guarded(&mut self, id: SubscriptionId, result: Result<(), RecordFailure>, now: Moment) {
        match result {
            Ok(()) => {
                if let Some(entry) = self.state.entry_mut(id)
                    && let Some(mut object) = entry.object()
                {
                    object.identity.guarded = true;
                    entry.store(&object);
                }
                self.rest(id);
            }
            Err(failure) => {
                let what = format!("the finalizer could not be added: {failure}");
                self.fail(
                    id,
                    &Judgement {
                        reason: Reason::InternalError,
                        ..internal(&what)
                    },
                    Operation::Create,
                    now,
                );
            }
        }
    }

    fn released(&mut self, id: SubscriptionId, result: Result<(), RecordFailure>, now: Moment) {
        match result {
            Ok(()) | Err(RecordFailure::Gone) => {
                let successor = self
                    .state
                    .entry_mut(id)
                    .and_then(|entry| entry.successor.take());
                // Whoever waited for this one's remote is looked at again: see `State::freed`.
                self.remove_subscription(id);
                if let Some(successor) = successor {
                    self.change(*successor);
                }
            }
            Err(failure) => {
                tracing::warn!(%failure, "a deleted object could not be let go; it is tried again");
                if let Some(entry) = self.state.entry_mut(id) {
                    entry.work = Work::None;
                }
                self.file(id, Some(now.wall + chrono::TimeDelta::seconds(5)), now);
            }
        }
    }

    fn gone_missing(&mut self, id: SubscriptionId, object: &Object, now: Moment) {
        if let Some(entry) = self.state.entry_mut(id) {
            entry.remember(|memory| {
                memory.absent = false;
                memory.drift = None;
                memory.resend = None;
                memory.wait = None;
                memory.failing = None;
                memory.failures = 0;
            });
        }
        let note = "the provider says that there is no such webhook (404)".to_owned();
        self.tell(
            Kind::WebhookSubscription,
            &object.identity.key,
            true,
            Reason::RemoteMissing,
            note,
        );
        let mut fields = status::missing(&object.status, now.wall);
        if object
            .spec
            .as_ref()
            .is_some_and(|spec| spec.webhook_id.is_some())
        {
            // A given id that is not there stays on record, so that it is not asked for again and again.
            fields.webhook_id = object
                .spec
                .as_ref()
                .and_then(|spec| spec.webhook_id.clone());
            fields.webhook_origin = fields.webhook_origin.or_else(|| self.origin_of(id));
        }
        let standing = Standing::Settling("the webhook is being looked for".to_owned());
        let seen = self.document_of(id, object);
        let status = self.presented(id, object, &seen, &fields, &Shown::as_it(&standing), now);
        self.record(id, status, Then::Attend);
    }

    /// An attempt failed: when the next one comes, and what is shown meanwhile.
    pub(super) fn fail(
        &mut self,
        id: SubscriptionId,
        judgement: &Judgement,
        operation: Operation,
        now: Moment,
    ) {
        let Some(Judged {
            object, document, ..
        }) = self.judge(id, now)
        else {
            return self.rest(id);
        };
        if let Some(provider) = self.provider_key(id) {
            self.ports.meter.rotation(&provider, judgement.reason, None);
        }
        if judgement.hold == Hold::Provider {
            self.hold_provider(id, judgement, now);
        }
        if judgement.hold != Hold::Nothing {
            // Not the object's own failure: it waits for what was held back and takes its turn again.
            tracing::warn!(subscription = %object.identity.key, operation = operation.as_str(), reason = %judgement.reason, "{}", judgement.message);
            return self.rest(id);
        }
        let lead = self.lead_of(id, &object, now);
        let cap = match judgement.pace {
            Pace::Soon => backoff::cap(lead.map(|(lead, _)| lead)),
            Pace::Rarely => backoff::LONGEST_LONG_WAIT,
        };
        let random = self.ports.random.bits();
        let subject = Subject {
            identity: &object.identity,
            spec: None,
            invalid: None,
            status: &object.status,
        };
        let desired = document.desired.as_deref().unwrap_or_default();
        let inputs = decide::attempt_inputs(&subject, desired);
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let mut told = false;
        let mut count = 0;
        let mut until = now.wall;
        entry.remember(|memory| {
            let wait = backoff::delay(memory.failures, cap, random);
            let mut wait = Wait::starting(now.wall, wait);
            if let (Pace::Rarely, Some((_, last_chance))) = (judgement.pace, lead)
                && last_chance > now.wall
            {
                wait.until = wait.until.min(last_chance);
            }
            memory.failures = memory.failures.saturating_add(1);
            count = memory.failures;
            until = wait.until;
            memory.wait = Some((wait, inputs.clone()));
            let changed = memory
                .failing
                .as_ref()
                .is_none_or(|(reason, _)| *reason != judgement.reason);
            told = changed || backoff::is_recorded(count);
            if told {
                memory.failing = Some((judgement.reason, judgement.message.clone()));
            }
        });
        tracing::warn!(
            subscription = %object.identity.key,
            operation = operation.as_str(),
            reason = %judgement.reason,
            failures = count,
            next = %until,
            "{}", judgement.message
        );
        if !told {
            self.rest(id);
            return;
        }
        let fields = status::failed(
            &object.status,
            count,
            judgement.reason,
            &inputs,
            now.wall,
            until,
        );
        let standing = Standing::BackingOff(judgement.reason, judgement.message.clone());
        let status = self.presented(
            id,
            &object,
            &document,
            &fields,
            &Shown::as_it(&standing),
            now,
        );
        self.announce(&object, &status);
        self.record(id, status, Then::Attend);
    }

    /// The lead of the token in place and the last moment at which an attempt can still succeed.
    fn lead_of(
        &self,
        id: SubscriptionId,
        object: &Object,
        now: Moment,
    ) -> Option<(Duration, DateTime<Utc>)> {
        let entry = self.state.entry(id)?;
        let spec = object.spec.as_ref()?;
        let remote = self.state.provider(entry.provider)?.remote.as_ref()?;
        let source = self.state.source(entry.source?)?;
        let subject = Subject {
            identity: &object.identity,
            spec: Some(spec),
            invalid: None,
            status: &object.status,
        };
        let plan = decide::planned(now, &subject, spec, remote.profile(), &source.state)?;
        Some((plan.lead, subtract(plan.expires, plan.safety)))
    }

    fn timeout_of(&self, id: SubscriptionId) -> Duration {
        self.profile_of(id, |profile| profile.timeout)
            .unwrap_or(Duration::from_secs(10))
    }

    fn settle_of(&self, id: SubscriptionId) -> chrono::TimeDelta {
        let settle = self
            .profile_of(id, |profile| profile.settle)
            .unwrap_or(Duration::from_secs(300));
        chrono::TimeDelta::from_std(settle).unwrap_or(chrono::TimeDelta::minutes(5))
    }

    fn profile_of<T>(
        &self,
        id: SubscriptionId,
        read: impl Fn(&super::ports::ProviderProfile) -> T,
    ) -> Option<T> {
        let provider = self.state.provider(self.state.entry(id)?.provider)?;
        provider
            .remote
            .as_ref()
            .map(|remote| read(remote.profile()))
    }

    fn origin_of(&self, id: SubscriptionId) -> Option<String> {
        self.profile_of(id, |profile| profile.origin.clone())
    }

    pub(super) fn provider_key(&self, id: SubscriptionId) -> Option<crate::api::ObjectKey> {
        Some(
            self.state
                .provider(self.state.entry(id)?.provider)?
                .key
                .clone(),
        )
    }

    /// Tells people of a transition, by comparing what was shown with what is shown now.
    pub(super) fn announce(&self, object: &Object, after: &SubscriptionStatus) {
        let shown = |status: &SubscriptionStatus, kind| {
            status
                .conditions
                .iter()
                .find(|condition| condition.kind == kind)
                .map(|condition| {
                    (
                        condition.status,
                        condition.reason,
                        condition.message.clone(),
                    )
                })
        };
        let key = &object.identity.key;
        for (kind, bad) in [
            (ConditionType::Stalled, ConditionStatus::True),
            (ConditionType::RotationHealthy, ConditionStatus::False),
            (ConditionType::Ready, ConditionStatus::False),
        ] {
            let (was, is) = (shown(&object.status, kind), shown(after, kind));
            let Some((holds, reason, message)) = is.filter(|is| is.0 == bad) else {
                continue;
            };
            if was.is_some_and(|was| was.0 == holds && was.1 == reason) {
                continue;
            }
            let speaks = match kind {
                ConditionType::Ready => matches!(reason, Reason::TokenExpired | Reason::Conflict),
                _ => true,
            };
            if speaks {
                tracing::warn!(subscription = %key, %reason, "{message}");
                self.tell(Kind::WebhookSubscription, key, true, reason, message);
            }
        }
    }

    fn secrets_compared(&mut self, id: SubscriptionId, result: Result<Option<String>, Refusal>) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let Some(object) = entry.object() else { return };
        if let Ok(secrets) = result
            && object.status.applied_secrets.is_some()
            && secrets != object.status.applied_secrets
        {
            entry.remember(|memory| memory.secrets_changed = true);
        }
        self.rest(id);
    }

    fn count_request<T>(
        &self,
        operation: Operation,
        result: &Result<T, CallFailure>,
        started: Moment,
        now: Moment,
    ) {
        let class = class_of(result.as_ref().err());
        self.ports.meter.provider_request(
            operation.as_str(),
            class,
            now.boot.saturating_sub(started.boot),
        );
    }

    /// How long a rotation is overdue for the metrics: since when it could have begun.
    pub(super) fn overdue(due: Option<DateTime<Utc>>, now: Moment) -> f64 {
        due.map_or(0.0, |due| between(due, now.wall).as_secs_f64())
    }
}

/// A failed call's class, as a metric label has it.
pub(super) fn class_of(failure: Option<&CallFailure>) -> &'static str {
    match failure {
        None => "2xx",
        Some(CallFailure::Status { code, .. } | CallFailure::Redirect { code }) => {
            class_of_code(*code)
        }
        Some(CallFailure::NotSent { .. }) => "unreachable",
        Some(CallFailure::Unanswered { .. }) => "timeout",
        Some(CallFailure::Unreadable { .. }) => "invalid",
        Some(CallFailure::Refused(_)) => "refused",
    }
}

/// The class of a status code.
pub(super) fn class_of_code(code: u16) -> &'static str {
    match code {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

pub(super) fn origin_news(failure: &CallFailure, judgement: &Judgement) -> OriginNews {
    match (&judgement.hold, failure) {
        (Hold::Origin(asked), _) => OriginNews::Held(*asked),
        (_, CallFailure::Refused(_)) => OriginNews::Unknown,
        _ if judgement.counts_against_origin => OriginNews::Fails,
        _ => OriginNews::Answers,
    }
}

fn internal(what: &str) -> Judgement {
    let failure = CallFailure::Unanswered {
        what: what.to_owned(),
    };
    let mut judgement = judge_call(Operation::Update, &failure);
    judgement.reason = Reason::InternalError;
    judgement.message = format!("{what}; please report it with the log around this time");
    judgement.counts_against_origin = false;
    judgement
}
