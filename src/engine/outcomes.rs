//! What follows from a call to a provider that has ended.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};

use super::Engine;
use super::calls::{Applying, Creating, Decided, Sent, Then};
use super::entry::Object;
use super::failures::origin_news;
use super::finish::OriginNews;
use super::hold_back::HoldBack;
use super::ids::SubscriptionId;
use super::judge::Shown;
use super::ports::{Applied, CallFailure, Refusal};
use crate::api::{ConditionStatus, Kind, Ownership, Reason};
use crate::rotation::answers::{Operation, judge_call, judge_listed_but_not_found};
use crate::rotation::decide;
use crate::rotation::facts::Drift;
use crate::rotation::life::HeldToken;
use crate::rotation::status::{self, Rotated};
use crate::rotation::step::{WaitReason, Why};
use crate::rotation::time::{Moment, written};
use crate::rotation::wait::Wait;

/// A document that is in place.
struct Success<'a> {
    remote_id: &'a str,
    ownership: Ownership,
    sent: &'a Sent,
    /// Digest of the identity of each Secret in it.
    secrets: Option<String>,
    happened: Reason,
}

/// The next whole minute: one listing then serves everything that was created within a minute.
fn whole_minute(time: DateTime<Utc>) -> DateTime<Utc> {
    let into = time.timestamp().rem_euclid(60);
    (time + chrono::TimeDelta::seconds(60 - into)).trunc_subsecs(0)
}

impl Engine {
    /// Whether another leader has recorded something since a call was decided on in an older term:
    /// that one knows better than the call's outcome what stands at the provider.
    pub(super) fn is_overtaken(&self, id: SubscriptionId, decided: &Decided) -> bool {
        let object = self.state.entry(id).and_then(super::entry::Entry::object);
        decided.term != self.term && object.is_some_and(|object| object.status != decided.status)
    }

    /// The outcome is not recorded. What was sent may have landed after what the other leader sent.
    pub(super) fn overtaken(
        &mut self,
        id: SubscriptionId,
        operation: Operation,
        result: Result<Applied, CallFailure>,
        now: Moment,
    ) {
        let (news, sent) = match &result {
            Ok(_) => (OriginNews::Answers, true),
            Err(failure) => {
                let judgement = judge_call(operation, failure);
                (origin_news(failure, &judgement), judgement.outcome_unknown)
            }
        };
        self.end_call(id, Some(news));
        if let (Err(failure), Some(entry)) = (&result, self.state.entry(id)) {
            let provider = entry.provider;
            self.hold_provider(provider, &judge_call(operation, failure), now);
        }
        let (timeout, settle) = (self.timeout_of(id), self.settle_of(id));
        if let Some(entry) = self.state.entry_mut(id).filter(|_| sent) {
            tracing::warn!(subscription = %entry.key, "another process has led meanwhile; what this one sent is not recorded");
            entry.remember(|memory| {
                memory.listing_after = Some(now.wall);
                match operation {
                    Operation::Create => memory.duplicate_check = Some(whole_minute(now.wall + settle)),
                    _ => memory.resend = Some(decide::resend_wait(now, timeout)),
                }
            });
        }
        self.rest(id);
    }

    pub(super) fn applied(
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
        let document = format!("{}/{}", sent.digest, sent.held.fingerprint);
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
                let success =
                    Success { remote_id: &applying.id, ownership, sent, secrets: applied.secrets, happened };
                self.end_refusal(id);
                self.in_place(id, &object, success, now);
                let timeout = self.timeout_of(id);
                if let Some(entry) = self.state.entry_mut(id) {
                    entry.remember(|memory| {
                        // An older request may still be queued at the provider and land last. One with
                        // this document does no harm yet, but would if another one followed soon.
                        let unsettled = &mut memory.unsettled;
                        let other = unsettled.iter().any(|(unsettled, _)| *unsettled != document);
                        unsettled
                            .retain(|(same, lands)| *same == document && lands.pending(now.wall).is_some());
                        memory.resend = other.then(|| decide::resend_wait(now, timeout));
                    });
                }
            }
            Err(failure) if self.is_about_account(id, &failure, now) => {
                self.end_call(id, None);
                self.rest(id);
            }
            Err(failure) => {
                let judgement = judge_call(Operation::Update, &failure);
                self.end_call(id, Some(origin_news(&failure, &judgement)));
                let timeout = self.timeout_of(id);
                if let Some(entry) = self.state.entry_mut(id) {
                    entry.remember(|memory| {
                        memory.listing_after = Some(now.wall);
                        if judgement.outcome_unknown {
                            memory.unsettled.retain(|(before, _)| *before != document);
                            memory.unsettled.truncate(1);
                            memory.unsettled.push((document, decide::resend_wait(now, timeout)));
                        }
                    });
                }
                if judgement.missing && self.is_shown_nevertheless(id, &object) {
                    self.listed_but_not_found(id, &object, &failure, now);
                } else if judgement.missing {
                    self.gone_missing(id, &object, now);
                } else {
                    self.fail(id, &judgement, Operation::Update, now);
                }
            }
        }
    }

    /// A last attempt that was made although a 401 holds its provider back, and succeeded: the
    /// credential is taken after all.
    fn end_refusal(&mut self, id: SubscriptionId) {
        let Some(entry) = self.state.entry(id).filter(|entry| entry.memory().last_attempt.is_some()) else {
            return;
        };
        let provider = entry.provider;
        if let Some(provider) = self.state.provider_mut(provider)
            && provider.hold.is_refusal()
        {
            provider.hold = HoldBack::default();
        }
    }

    /// A document is in place with this token: the only way to `Ready`.
    fn in_place(&mut self, id: SubscriptionId, object: &Object, success: Success<'_>, now: Moment) {
        let Success { remote_id, ownership, sent, secrets, happened } = success;
        let Sent { held, digest, origin } = sent;
        let of_its_source = self.is_held(id, held);
        let is_received = object.spec.as_ref().is_some_and(|spec| spec.receiver_ref.is_some());
        let carried = object.status.token_fingerprint.as_deref();
        let replaced = carried.filter(|carried| is_received && *carried != held.fingerprint);
        let mut recovered = false;
        let mut handled = None;
        if let Some(entry) = self.state.entry_mut(id) {
            entry.remember(|memory| {
                recovered = memory.failing.is_some();
                handled = memory
                    .request_seen
                    .as_ref()
                    .filter(|(_, seen)| held.confirmed.max(held.minted.wall) >= *seen)
                    .map(|(request, _)| request.clone());
                memory.wait = None;
                memory.failures = 0;
                memory.failed_with_others = false;
                memory.failing = None;
                memory.absent = false;
                memory.listed_not_found = false;
                memory.not_there = None;
                memory.lacked_since = None;
                memory.last_attempt = None;
                memory.secrets_changed = false;
                memory.strangers_token &= !of_its_source;
                if let Some(before) = replaced {
                    memory.observed.replaced(before, now.wall);
                }
                memory.listing_after = Some(now.wall);
                memory.drift = match memory.drift {
                    Some(Drift::Seen) => Some(Drift::Reapplied),
                    other => other,
                };
            });
            entry.minted_boot = Some(held.minted.boot);
        }
        let before = object.status.token_expiration_time;
        let fields = status::rotated(
            &object.status,
            &Rotated {
                id: remote_id,
                origin,
                ownership,
                held,
                digest,
                secrets,
                handled_request: handled.as_deref(),
                at: now.wall,
            },
        );
        let seen = self.document_of(id, object);
        let shown = Shown { reason: &WaitReason::Settled, happened: Some(happened) };
        let status = self.presented(id, object, &seen, &fields, &shown, now);
        let lead = before.map(|end| (end - now.wall).as_seconds_f64());
        if let Some(provider) = self.provider_key(id) {
            self.ports.meter.rotation(&provider, happened, lead);
        }
        tracing::info!(
            subscription = %object.identity.key,
            webhook = remote_id,
            fingerprint = %held.fingerprint,
            expires = held.expires.map(written),
            next = status.next_rotation_time.map(written),
            "a token is in place"
        );
        self.remember_applied(id, held);
        let warning =
            self.client_of(id).zip(object.spec.as_ref()).and_then(|(remote, spec)| remote.warning(spec));
        match (happened, recovered) {
            (Reason::Rotated, true) => {
                self.emit(
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
                self.emit(Kind::WebhookSubscription, &object.identity.key, false, happened, note);
                if let Some(warning) = warning {
                    self.emit(Kind::WebhookSubscription, &object.identity.key, true, happened, warning);
                }
            }
        }
        self.provider_answered(id, ConditionStatus::True, Reason::Valid, "the provider takes our calls", now);
        self.record(id, status, Then::Reconcile);
        self.after_apply(id, now);
    }

    /// Whether this is the token that the subscription's source holds.
    fn is_held(&self, id: SubscriptionId, held: &HeldToken) -> bool {
        let source = self.state.entry(id).and_then(|entry| self.state.source(entry.source?));
        source.is_some_and(|source| source.holds_token(held))
    }

    pub(super) fn created(
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
            Ok(Applied { id: Some(remote_id), secrets }) => {
                self.end_call(id, Some(OriginNews::Answers));
                let settle = self.settle_of(id);
                if let Some(entry) = self.state.entry_mut(id) {
                    let at = whole_minute(now.wall + settle);
                    entry.remember(|memory| memory.duplicate_check = Some(at));
                }
                let again = object.status.missing_since.is_some();
                let happened = if again { Reason::Recreated } else { Reason::Created };
                let success = Success {
                    remote_id: &remote_id,
                    ownership: Ownership::Created,
                    sent: &creating.sent,
                    secrets,
                    happened,
                };
                return self.in_place(id, &object, success, now);
            }
            Ok(Applied { id: None, .. }) => {
                CallFailure::Unreadable { what: "no id in the answer to a create".into() }
            }
            Err(failure) => failure,
        };
        if self.is_about_account(id, &failure, now) {
            self.end_call(id, None);
            return self.record(id, status::creation_closed(&object.status), Then::Reconcile);
        }
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

    pub(super) fn deleted(
        &mut self,
        id: SubscriptionId,
        remote: &str,
        result: Result<(), CallFailure>,
        now: Moment,
    ) {
        let Some(object) = self.state.entry(id).and_then(super::entry::Entry::object) else {
            return;
        };
        let missing = matches!(&result, Err(failure) if judge_call(Operation::Delete, failure).missing);
        match result {
            Err(failure) if self.is_about_account(id, &failure, now) => {
                self.end_call(id, None);
                self.rest(id);
            }
            Err(failure) if !missing => {
                let judgement = judge_call(Operation::Delete, &failure);
                self.end_call(id, Some(origin_news(&failure, &judgement)));
                self.fail(id, &judgement, Operation::Delete, now);
            }
            _ => {
                self.end_call(id, Some(OriginNews::Answers));
                let note = format!("webhook {remote} was deleted at the provider");
                self.emit(Kind::WebhookSubscription, &object.identity.key, false, Reason::Deleted, note);
                self.let_go(id, &object);
            }
        }
    }

    pub(super) fn gone_missing(&mut self, id: SubscriptionId, object: &Object, now: Moment) {
        if let Some(entry) = self.state.entry_mut(id) {
            entry.remember(|memory| {
                memory.absent = false;
                memory.drift = None;
                memory.resend = None;
                memory.wait = None;
                let failing = memory.failing.take();
                memory.listed_not_found = false;
                // One that was listed and not found is perhaps found to be so again.
                if failing.is_none_or(|(reason, _)| reason != Reason::ProviderRefusedDocument) {
                    memory.failures = 0;
                }
            });
        }
        let note = "the provider says that there is no such webhook (404)".to_owned();
        self.emit(Kind::WebhookSubscription, &object.identity.key, true, Reason::RemoteMissing, note);
        let given = object.spec.as_ref().and_then(|spec| spec.webhook_id.as_ref());
        let not_there = given.filter(|given| object.status.webhook_id.as_ref() != Some(given));
        let fields = match not_there {
            // It was never this object's: a claim to it would only keep others from it.
            Some(_) => object.status.clone(),
            None => status::missing(&object.status, now.wall),
        };
        if let Some(entry) = self.state.entry_mut(id).filter(|_| not_there.is_some()) {
            entry.remember(|memory| memory.not_there = not_there.cloned());
        }
        let reason = WaitReason::Settling("the webhook is being looked for".to_owned());
        let seen = self.document_of(id, object);
        let status = self.presented(id, object, &seen, &fields, &Shown::as_it(&reason), now);
        self.record(id, status, Then::Reconcile);
        self.verify_soon(id, now);
    }

    /// Whether a complete listing has shown the remote since an update did not find it.
    fn is_shown_nevertheless(&self, id: SubscriptionId, object: &Object) -> bool {
        let Some(entry) = self.state.entry(id) else {
            return false;
        };
        let memory = entry.memory();
        if memory.listed_not_found && !memory.absent {
            return true;
        }
        let listing = self.state.provider(entry.provider).and_then(|provider| provider.listing.as_ref());
        listing.zip(object.status.missing_since).zip(object.status.webhook_id.as_ref()).is_some_and(
            |((listing, since), remote)| listing.begun >= since && listing.remotes.contains(remote),
        )
    }

    /// The remote is there, and an update says that it is not: nothing has gone missing, and another
    /// attempt at once would be answered in the same way. Another listing tells whether that changes.
    fn listed_but_not_found(
        &mut self,
        id: SubscriptionId,
        object: &Object,
        failure: &CallFailure,
        now: Moment,
    ) {
        if object.status.missing_since.is_some() {
            self.put_status(id, &status::found(&object.status));
        }
        if let Some(entry) = self.state.entry_mut(id) {
            entry.remember(|memory| {
                memory.listed_not_found = true;
                memory.absent = false;
            });
            if object.status.missing_since.is_some() {
                entry.unrecorded = Some((Wait::starting(now.wall, Duration::ZERO), 0));
            }
        }
        self.fail(id, &judge_listed_but_not_found(failure), Operation::Update, now);
        self.verify_soon(id, now);
    }

    pub(super) fn secrets_compared(&mut self, id: SubscriptionId, result: Result<Option<String>, Refusal>) {
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
}
