//! Looking at one subscription: asking the rules, and doing what they say.

use std::sync::Arc;

use super::Engine;
use super::calls::Then;
use super::entry::Object;
use super::ids::SubscriptionId;
use super::judge::{Judged, Shown, is_deleting};
use super::ports::{Notice, ProviderClient};
use super::ready::Line;
use super::timers::Alarm;
use crate::api::{Kind, ObjectKey, Reason};
use crate::rotation::decide;
use crate::rotation::facts::Subject;
use crate::rotation::step::{Step, TokenChoice, WaitReason};
use crate::rotation::time::{Moment, add, between};

impl Engine {
    /// Decides what a subscription needs and does it, but for calls, which wait for their turn.
    pub(super) fn reconcile(&mut self, id: SubscriptionId, now: Moment) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        if entry.is_busy() {
            entry.dirty = true;
            return;
        }
        self.check_for_duplicates(id, now);
        let Some(mut judged) = self.judge(id, now) else {
            return;
        };
        if judged.is_held_back()
            && self.hasten(id, now)
            && let Some(sooner) = self.judge(id, now)
        {
            judged = sooner;
        }
        tracing::trace!(subscription = %judged.object.identity.key, step = ?judged.step, "decided");
        if self.record_first(id, &judged, now) {
            return;
        }
        self.leave_line(id);
        self.file(id, None, now);
        self.act(id, judged, now);
        if let Some(entry) = self.state.entry_mut(id).filter(|entry| !entry.is_busy()) {
            entry.pack();
        }
    }

    /// A subscription's turn for a call has come. Returns whether a call was begun.
    pub(super) fn reconcile_with_turn(&mut self, id: SubscriptionId, now: Moment) -> bool {
        if let Some(entry) = self.state.entry_mut(id) {
            entry.place = None;
        }
        let Some(judged) = self.judge(id, now) else {
            return false;
        };
        match &judged.step {
            _ if !judged.unread.is_empty() => {
                self.reconcile_soon(id);
                false
            }
            Step::Rotate { token: TokenChoice::Take, .. }
            | Step::Create { token: TokenChoice::Take, .. }
            | Step::Delete { .. } => self.call(id, judged, now),
            _ => {
                self.reconcile_soon(id);
                false
            }
        }
    }

    /// A status that is not durable is written before anything new is begun that depends on it, and
    /// tried again after a while otherwise.
    fn record_first(&mut self, id: SubscriptionId, judged: &Judged, now: Moment) -> bool {
        let Some((wait, _)) = self.state.entry(id).and_then(|entry| entry.unrecorded) else {
            return false;
        };
        if self.term.is_none() {
            return false;
        }
        let waits = wait.pending(now.wall).is_some();
        // A delete can be repeated, and in a namespace that is going nothing may be recorded any more.
        let depends = matches!(judged.step, Step::Create { .. } | Step::HandOver);
        if waits && depends {
            self.file(id, Some(wait.until), now);
            return true;
        }
        if waits {
            return false;
        }
        self.record(id, judged.object.status.clone(), Then::Reconcile);
        true
    }

    /// Once, some time after a create, a listing shows whether there is a second one.
    fn check_for_duplicates(&mut self, id: SubscriptionId, now: Moment) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        if entry.memory().duplicate_check.is_none_or(|at| at > now.wall) {
            return;
        }
        entry.remember(|memory| memory.duplicate_check = None);
        let can_list = self.client_of(id).is_some_and(|remote| remote.profile().can_list);
        if can_list {
            self.want_listing(id, now.wall, now);
        }
    }

    fn act(&mut self, id: SubscriptionId, judged: Judged, now: Moment) {
        if self.term.is_none() {
            // Another process leads: nothing is written and nothing is called.
            return;
        }
        if self.keep_finalizer(id, &judged.object, now) || self.asks_whose(id, &judged, now) {
            return;
        }
        match judged.step {
            Step::Wait { until, ref reason } => {
                let fields = self.without_past_failure(id, &judged.object.status);
                let status =
                    self.presented(id, &judged.object, &judged.document, &fields, &Shown::as_it(reason), now);
                let recorded = judged.recorded.as_ref();
                if status == *recorded.unwrap_or(&judged.object.status) {
                    self.file(id, until, now);
                } else {
                    if recorded.is_some() {
                        self.follow_held(id);
                    }
                    self.announce(&judged.object, &status);
                    self.record(id, status, Then::Reconcile);
                }
            }
            Step::List { begun_after } => {
                if let Some(entry) = self.state.entry_mut(id) {
                    // A time that lies ahead was written before the clock was set back, and no
                    // listing would ever be late enough for it.
                    entry.remember(|memory| {
                        let remembered = memory.listing_after.filter(|after| *after <= now.wall);
                        memory.listing_after = remembered.or(Some(begun_after));
                    });
                }
                if !self.lapse(id, &judged, now) {
                    self.want_listing(id, begun_after, now);
                    self.file_expiry(id, &judged.object, now);
                }
            }
            Step::Rotate { token: TokenChoice::Mint, .. } | Step::Create { token: TokenChoice::Mint, .. } => {
                if !self.lapse(id, &judged, now) {
                    self.want_mint(id, &judged.object, now);
                    self.file_expiry(id, &judged.object, now);
                }
            }
            Step::Rotate { .. } | Step::Create { .. } | Step::Delete { .. } => {
                if !self.lapse(id, &judged, now) {
                    self.line_up(id, &judged, now);
                    self.file_expiry(id, &judged.object, now);
                }
            }
            Step::HandOver => self.hand_over(id, &judged.object, now),
            Step::Release { orphaned } => self.release(id, &judged.object, orphaned),
        }
    }

    /// The token in place has another life: what is known of it on boot time goes with that.
    fn follow_held(&mut self, id: SubscriptionId) {
        let Some(entry) = self.state.entry(id) else {
            return;
        };
        let source = entry.source.and_then(|source| self.state.source(source));
        let minted = source.and_then(|source| source.state.held.as_ref()).map(|held| held.minted.boot);
        if let Some(entry) = self.state.entry_mut(id) {
            entry.minted_boot = minted;
        }
    }

    /// While a call or a mint is waited for, the token may end: that is shown at once. Returns
    /// whether a record was begun.
    fn lapse(&mut self, id: SubscriptionId, judged: &Judged, now: Moment) -> bool {
        let object = &judged.object;
        let expired = object.status.token_expiration_time.is_some_and(|end| end <= now.wall);
        let shown = object.status.conditions.iter().any(|condition| condition.reason == Reason::TokenExpired);
        if !expired || shown || is_deleting(object, false) {
            return false;
        }
        let shown = Shown::as_it(&WaitReason::Settled);
        let status = self.presented(id, object, &judged.document, &object.status, &shown, now);
        if status == object.status {
            return false;
        }
        self.announce(object, &status);
        self.record(id, status, Then::Reconcile);
        true
    }

    /// Whatever is waited for, a token's end is shown at once, and the end of the grace of a deletion
    /// changes what is done.
    pub(super) fn file_expiry(&mut self, id: SubscriptionId, object: &Object, now: Moment) {
        let ends = [object.status.token_expiration_time, self.grace_ends(id, object)];
        self.file(id, ends.into_iter().flatten().filter(|end| *end > now.wall).min(), now);
    }

    /// Until when a deletion that has begun may be held up.
    fn grace_ends(&self, id: SubscriptionId, object: &Object) -> Option<chrono::DateTime<chrono::Utc>> {
        let since = object.identity.deleted.or_else(|| self.state.entry(id)?.memory().deleting_since)?;
        Some(add(since, self.options.grace))
    }

    /// Puts a call in line at its origin.
    fn line_up(&mut self, id: SubscriptionId, judged: &Judged, now: Moment) {
        let Some(entry) = self.state.entry(id) else {
            return;
        };
        let namespace = entry.namespace;
        let keeps_failing = entry.keeps_failing();
        let source = entry.source.and_then(|source| self.state.source(source));
        let subject = Subject {
            identity: &judged.object.identity,
            spec: judged.object.spec.as_ref(),
            status: &judged.object.status,
        };
        let deadline = source.map_or(now.wall, |source| decide::deadline(now, &subject, &source.state));
        let deadline = deadline.timestamp_millis();
        let grace_over = self.grace_ends(id, &judged.object).filter(|ends| *ends <= now.wall);
        let line = match judged.step {
            // Under lasting load whoever comes last never has a turn.
            Step::Delete { .. } => {
                grace_over.map_or(Line::Last, |ends| Line::Deadline(ends.timestamp_millis()))
            }
            _ if keeps_failing => Line::Failing(deadline),
            _ => Line::Deadline(deadline),
        };
        let Some(provider) = self.state.provider(entry.provider) else {
            return;
        };
        // The rules let nothing else through while calls pause.
        let line = if self.held_back(provider, now).is_some() && !matches!(judged.step, Step::Delete { .. }) {
            Line::LastAttempt(deadline)
        } else {
            line
        };
        let Some(origin) = provider.origin().map(str::to_owned) else {
            return;
        };
        let Some(origin) = self.state.origins.get_mut(&origin) else {
            return;
        };
        let place = origin.tenant_for(namespace, now.boot).ready.put(id, line);
        if let Some(entry) = self.state.entry_mut(id) {
            entry.place = Some(place);
        }
    }

    pub(super) fn leave_line(&mut self, id: SubscriptionId) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let (place, provider, namespace) = (entry.place.take(), entry.provider, entry.namespace);
        let Some(provider) = self.state.providers.get_mut(provider.0) else {
            return;
        };
        provider.blocked.remove(id);
        if let (Some(place), Some(origin)) = (place, provider.origin())
            && let Some(origin) = self.state.origins.get_mut(origin)
            && let Some(tenant) = origin.tenant_mut(namespace)
        {
            tenant.ready.remove(id, place);
        }
    }

    pub(super) fn client_of(&self, id: SubscriptionId) -> Option<Arc<dyn ProviderClient>> {
        self.state.provider(self.state.entry(id)?.provider)?.client.clone()
    }

    /// Files a subscription under the time of its next look, which is no later than that of the next
    /// attempt to write down what could not be written.
    pub(super) fn file(
        &mut self,
        id: SubscriptionId,
        until: Option<chrono::DateTime<chrono::Utc>>,
        now: Moment,
    ) {
        let Some(entry) = self.state.subscriptions.get_mut(id.0) else {
            return;
        };
        let unrecorded = entry.unrecorded.map(|(wait, _)| wait.until);
        match until.into_iter().chain(unrecorded).min() {
            Some(until) => {
                let at = now.boot + between(now.wall, until);
                self.state.timers.file(&mut entry.timer, at, Alarm::Subscription(id));
            }
            None => self.state.timers.unfile(&mut entry.timer, Alarm::Subscription(id)),
        }
    }

    pub(super) fn emit(&self, kind: Kind, key: &ObjectKey, warning: bool, reason: Reason, note: String) {
        self.ports.notices.emit(Notice { kind, key: key.clone(), warning, reason, note });
    }
}
