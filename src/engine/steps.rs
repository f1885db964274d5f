//! Carrying out a step whose turn has come.

use std::sync::Arc;

use super::Engine;
use super::calls::{About, Applying, Creating, Report, Sent, Then};
use super::entry::{Object, Work};
use super::ids::SubscriptionId;
use super::judge::{Judged, Shown, is_deleting};
use super::ports::Document;
use super::records::is_of_finalizer;
use crate::api::{DeletionPolicy, Kind, Reason};
use crate::rotation::life::HeldToken;
use crate::rotation::status;
use crate::rotation::step::{Step, WaitReason};
use crate::rotation::time::Moment;
use crate::secret::SecretText;

impl Engine {
    /// Begins the call that was decided on. Returns whether one was begun.
    pub(super) fn call(&mut self, id: SubscriptionId, judged: Judged, now: Moment) -> bool {
        let Some(remote) = self.client_of(id) else {
            return false;
        };
        let Judged { object, step, document: wanted, .. } = judged;
        let deletes =
            object.spec.as_ref().is_some_and(|spec| spec.deletion_policy() == DeletionPolicy::Delete);
        if deletes && !object.identity.has_finalizer && !matches!(step, Step::Delete { .. }) {
            // Before there is anything to delete, the object is kept from going without it.
            self.write_finalizer(id, &object, true);
            return false;
        }
        if deletes && matches!(step, Step::Create { .. }) && self.waits_for_keeping(id) {
            return false;
        }
        let origin: Arc<str> = remote.profile().origin.as_str().into();
        match step {
            Step::Rotate { id: remote_id, ownership, why, .. } => {
                let Some((document, held)) = self.document(id, &object) else {
                    return false;
                };
                let sent =
                    Sent { held, digest: wanted.desired.unwrap_or_default(), origin: Arc::clone(&origin) };
                self.note_gate_behind(id, &object, &sent.held);
                let pauses = self.is_held_back(id, now);
                if let Some(entry) = self.state.entry_mut(id).filter(|_| pauses) {
                    entry.remember(|memory| memory.last_attempt = object.status.token_expiration_time);
                }
                self.begin(id, Some(origin));
                self.call_update(id, remote, document, Applying { id: remote_id, ownership, why, sent });
                true
            }
            Step::Create { target, .. } => {
                let Some((_, held)) = self.document(id, &object) else {
                    return false;
                };
                self.note_gate_behind(id, &object, &held);
                let opened = status::creation_opened(&object.status, &target, now.wall);
                let reason = WaitReason::Settling("the webhook is being created".to_owned());
                let opened = self.presented(id, &object, &wanted, &opened, &Shown::as_it(&reason), now);
                // The turn is kept while the record is written: the create follows at once.
                self.begin(id, Some(Arc::clone(&origin)));
                let sent = Sent { held, digest: wanted.desired.unwrap_or_default(), origin };
                self.record(id, opened, Then::Create(Creating { term: self.term, sent }));
                true
            }
            Step::Delete { id: remote_id } => {
                let Some(spec) = object.spec else {
                    return false;
                };
                let (fence, started) = (self.fence(), now);
                self.begin(id, Some(origin));
                self.spawn(About::Call(id), async move {
                    let result = remote.delete(&spec, &remote_id, &fence).await;
                    Report::Deleted { id: remote_id, started, result }
                });
                true
            }
            _ => false,
        }
    }

    /// The creation record is durable: the create is sent.
    pub(super) fn create_now(&mut self, id: SubscriptionId, creating: Creating) {
        let object = self.state.entry(id).and_then(super::entry::Entry::object);
        let document = object.as_ref().and_then(|object| self.document(id, object));
        match (self.client_of(id), document) {
            (Some(remote), Some((document, held)))
                if creating.term == self.term
                    && held == creating.sent.held
                    && remote.profile().origin == *creating.sent.origin
                    && remote.document_digest(&document.spec) == creating.sent.digest =>
            {
                self.call_create(id, remote, document, creating);
            }
            // What it was to be made with has changed, or another process may have led meanwhile: the
            // record says that nothing was sent.
            _ => {
                self.end_call(id, None);
                if let Some(object) = object {
                    self.record(id, status::creation_closed(&object.status), Then::Reconcile);
                }
            }
        }
    }

    /// What is to be sent, with the held token.
    pub(super) fn document(&self, id: SubscriptionId, object: &Object) -> Option<(Document, HeldToken)> {
        let source = self.state.source(self.state.entry(id)?.source?)?;
        let token: SecretText = source.token.clone()?;
        let held = source.state.held.clone()?;
        let spec = Arc::new(object.spec.as_ref()?.as_sent(&object.identity.key.name).into_owned());
        let token_bounds = source.bounds();
        Some((
            Document { namespace: Arc::clone(&object.identity.key.namespace), spec, token, token_bounds },
            held,
        ))
    }

    /// Puts our finalizer on, or takes it off.
    pub(super) fn write_finalizer(&mut self, id: SubscriptionId, object: &Object, wanted: bool) {
        let record = Arc::clone(&self.ports.record);
        let (key, uid) = (object.identity.key.clone(), object.identity.uid.clone());
        self.begin(id, None);
        let call = async move { record.set_finalizer(&key, &uid, wanted).await };
        self.spawn_record(id, call, move |result| Report::FinalizerWritten { wanted, result });
    }

    /// A policy that is changed, or a remote that is handed over, needs no call, and yet there is
    /// something to delete now, or not any more. Returns whether the finalizer is being written.
    pub(super) fn keep_finalizer(&mut self, id: SubscriptionId, object: &Object, now: Moment) -> bool {
        let Some((entry, spec)) = self.state.entry(id).zip(object.spec.as_ref()) else {
            return false;
        };
        let memory = entry.memory();
        let waits = memory.wait.as_ref().is_some_and(|(wait, _)| wait.pending(now.wall).is_some());
        if is_deleting(object, entry.gone) || (is_of_finalizer(&memory) && waits) {
            return false;
        }
        let has_remote = object.status.webhook_id.is_some() || object.status.creation.is_some();
        match (spec.deletion_policy() == DeletionPolicy::Delete, object.identity.has_finalizer) {
            (true, false) if has_remote => self.write_finalizer(id, object, true),
            (false, true) => self.write_finalizer(id, object, false),
            _ => return false,
        }
        true
    }

    pub(super) fn release(&mut self, id: SubscriptionId, object: &Object, orphaned: Option<String>) {
        if let Some(why) = orphaned {
            let remote = object.status.webhook_id.as_deref().unwrap_or("of an open create");
            let note = format!("webhook {remote} stays at the provider although the policy is Delete: {why}");
            self.emit(Kind::WebhookSubscription, &object.identity.key, true, Reason::RemoteOrphaned, note);
        }
        self.begin(id, None);
        self.let_go(id, object);
    }

    /// Gives the remote to the object that waits for it, and lets this one go when that is durable.
    pub(super) fn hand_over(&mut self, id: SubscriptionId, object: &Object, now: Moment) {
        let Some((heir_id, heir_key)) = self.state.heir(id) else {
            return self.reconcile_soon(id);
        };
        let Some(heir) =
            self.state.entry(heir_id).filter(|heir| !heir.is_busy()).and_then(super::entry::Entry::object)
        else {
            return self.file(id, Some(now.wall + chrono::TimeDelta::seconds(1)), now);
        };
        tracing::info!(from = %object.identity.key, to = %heir_key, "the webhook is handed over");
        self.leave_line(heir_id);
        let fields = status::handed_over(&heir.status, &object.status);
        let wanted = self.document_of(heir_id, &heir);
        let shown = Shown::as_it(&WaitReason::Settled);
        let status = self.presented(heir_id, &heir, &wanted, &fields, &shown, now);
        let minted_boot = self.state.entry(id).and_then(|entry| entry.minted_boot);
        if let Some(heir) = self.state.entry_mut(heir_id) {
            heir.minted_boot = minted_boot;
        }
        self.begin(id, None);
        self.record(heir_id, status, Then::Release(id));
    }

    /// Marks a subscription as being worked on; with an origin, a call's place there is taken until
    /// [`Engine::end_call`].
    pub(super) fn begin(&mut self, id: SubscriptionId, call: Option<Arc<str>>) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        entry.work = Work::Busy;
        let (provider, namespace) = (entry.provider, entry.namespace);
        if call.is_some() {
            debug_assert!(entry.calling.is_none(), "one call at a time");
            entry.calling = call;
            self.workers.take(namespace);
            if let Some(provider) = self.state.provider_mut(provider) {
                provider.calls += 1;
            }
        }
    }
}
