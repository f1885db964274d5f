//! Looking at one subscription: asking the rules, and doing what they say.

use std::sync::Arc;

use super::Engine;
use super::calls::{About, Applying, Creating, Report, Sent, Then};
use super::entry::{Object, Work};
use super::hold_back::HoldBack;
use super::ids::SubscriptionId;
use super::ports::{Document, Notice, Remote};
use super::ready::Line;
use super::state::{Owners, Provider, Source};
use super::timers::Alarm;
use crate::api::{DeletionPolicy, Failures, Kind, ObjectKey, Reason, SubscriptionStatus};
use crate::rotation::conditions::View;
use crate::rotation::decide::{self, Standing, Step, TokenChoice};
use crate::rotation::facts::{Drift, Facts, Hand, ProviderFact, SourceFact, Subject};
use crate::rotation::status;
use crate::rotation::time::{Moment, between};
use crate::secret::SecretText;

/// A subscription with what the rules say of it.
pub(super) struct Judged {
    pub(super) object: Object,
    pub(super) step: Step,
    pub(super) document: Wanted,
}

/// What a provider says of the document that a subscription asks for.
pub(super) struct Wanted {
    /// Its digest; `None` while the provider cannot say.
    pub(super) desired: Option<String>,
    /// The rule of the provider's that it breaks.
    pub(super) refused: Option<String>,
}

/// How a subscription is shown.
pub(super) struct Shown<'a> {
    pub(super) standing: &'a Standing,
    /// What happened just now.
    pub(super) happened: Option<Reason>,
}

impl<'a> Shown<'a> {
    /// Nothing has happened.
    pub(super) fn as_it(standing: &'a Standing) -> Self {
        Self {
            standing,
            happened: None,
        }
    }
}

impl Engine {
    /// Decides what a subscription needs and does it, but for calls, which wait for their turn.
    pub(super) fn attend(&mut self, id: SubscriptionId, now: Moment) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        if entry.is_busy() {
            entry.dirty = true;
            return;
        }
        self.check_for_duplicates(id, now);
        let Some(judged) = self.judge(id, now) else {
            return;
        };
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
    pub(super) fn attend_with_turn(&mut self, id: SubscriptionId, now: Moment) -> bool {
        if let Some(entry) = self.state.entry_mut(id) {
            entry.place = None;
        }
        let Some(judged) = self.judge(id, now) else {
            return false;
        };
        match &judged.step {
            Step::Rotate {
                token: TokenChoice::Take,
                ..
            }
            | Step::Create {
                token: TokenChoice::Take,
                ..
            }
            | Step::Delete { .. } => self.call(id, judged, now),
            _ => {
                self.attend_soon(id);
                false
            }
        }
    }

    /// Asks the rules.
    pub(super) fn judge(&self, id: SubscriptionId, now: Moment) -> Option<Judged> {
        let entry = self.state.entry(id)?;
        let object = entry.object()?;
        let provider = self.state.provider(entry.provider)?;
        let source = entry.source.and_then(|source| self.state.source(source));
        let document = self.document_of(id, &object);
        let invalid = entry.invalid.as_deref().or(document.refused.as_deref());
        let memory = entry.memory();
        let owners = Owners {
            state: &self.state,
            origin: provider.origin().unwrap_or_default(),
            subject: id,
        };
        let rival = self.state.rival(id, &object);
        let heir = is_deleting(&object, entry.gone)
            .then(|| self.state.heir(id))
            .flatten()
            .map(|(_, key)| key);
        let facts = Facts {
            provider: provider_fact(provider, document.desired.as_deref()),
            source: source_fact(source),
            rival: rival.as_ref(),
            heir: heir.as_ref(),
            held_back: self.held_back(provider, now),
            listing: provider.listing.as_deref(),
            owner_of: &owners,
            grace: self.options.grace,
        };
        // A document that the provider's rules refuse is not sent; a deletion sends none.
        let deleting = is_deleting(&object, entry.gone);
        let spec = (object.spec.as_ref()).filter(|_| document.refused.is_none() || deleting);
        let subject = Subject {
            identity: &object.identity,
            spec,
            invalid,
            status: &object.status,
        };
        let step = decide::decide(now, &subject, &facts, &memory);
        Some(Judged {
            object,
            step,
            document,
        })
    }

    /// Asks the provider of the document that a subscription asks for.
    pub(super) fn document_of(&self, id: SubscriptionId, object: &Object) -> Wanted {
        let provider = (self.state.entry(id)).and_then(|entry| self.state.provider(entry.provider));
        let remote = provider.and_then(|provider| provider.remote.as_ref());
        let Some((remote, spec)) = remote.zip(object.spec.as_ref()) else {
            return Wanted {
                desired: None,
                refused: None,
            };
        };
        Wanted {
            desired: Some(remote.document_digest(spec)),
            refused: remote.check(spec).err().map(|problem| problem.to_string()),
        }
    }

    fn held_back(
        &self,
        provider: &Provider,
        now: Moment,
    ) -> Option<(chrono::DateTime<chrono::Utc>, Reason)> {
        let of_origin = provider
            .origin()
            .and_then(|origin| self.state.origins.get(origin))
            .map(|origin| &origin.hold);
        let pending = |hold: &HoldBack| hold.pending(now.wall);
        of_origin
            .and_then(pending)
            .into_iter()
            .chain(pending(&provider.hold))
            .max_by_key(|(until, _)| *until)
    }

    /// The status for these fields, with conditions that are true now.
    pub(super) fn presented(
        &self,
        id: SubscriptionId,
        object: &Object,
        document: &Wanted,
        fields: &SubscriptionStatus,
        shown: &Shown<'_>,
        now: Moment,
    ) -> SubscriptionStatus {
        let Some(entry) = self.state.entry(id) else {
            return fields.clone();
        };
        let memory = entry.memory();
        let provider = self.state.provider(entry.provider);
        let remote = provider.and_then(|provider| provider.remote.as_ref());
        let source = entry.source.and_then(|source| self.state.source(source));
        let subject = Subject {
            identity: &object.identity,
            spec: object.spec.as_ref(),
            invalid: None,
            status: fields,
        };
        let polled = source.is_some_and(|source| source.state.polled);
        let plan = match (object.spec.as_ref(), remote, source) {
            (Some(spec), Some(remote), Some(source)) if !polled => {
                decide::planned(now, &subject, spec, remote.profile(), &source.state)
            }
            _ => None,
        };
        let view = View {
            now,
            generation: object.identity.generation,
            standing: shown.standing,
            desired_digest: document.desired.as_deref(),
            invalid: entry.invalid.as_deref().or(document.refused.as_deref()),
            plan: plan.as_ref(),
            failing: memory.failing.as_ref(),
            list_forbidden: provider.is_some_and(|provider| provider.list_forbidden),
            not_renewed: source.is_some_and(|source| source.state.not_renewed),
            drift_persists: memory.drift == Some(Drift::Persists),
            happened: shown.happened,
        };
        status::present(fields, &view)
    }

    /// A status that is not durable is written before anything new is begun that depends on it, and
    /// tried again after a while otherwise.
    fn record_first(&mut self, id: SubscriptionId, judged: &Judged, now: Moment) -> bool {
        let Some((wait, _)) = self.state.entry(id).and_then(|entry| entry.unrecorded) else {
            return false;
        };
        let waits = wait.pending(now.wall).is_some();
        let depends = matches!(
            judged.step,
            Step::Create { .. } | Step::Delete { .. } | Step::HandOver { .. }
        );
        if waits && depends {
            self.file(id, Some(wait.until), now);
            return true;
        }
        if waits {
            return false;
        }
        self.record(id, judged.object.status.clone(), Then::Attend);
        true
    }

    /// Once, some time after a create, a listing shows whether there is a second one.
    fn check_for_duplicates(&mut self, id: SubscriptionId, now: Moment) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        if entry
            .memory()
            .duplicate_check
            .is_none_or(|at| at > now.wall)
        {
            return;
        }
        entry.remember(|memory| memory.duplicate_check = None);
        let can_list = self
            .remote_of(id)
            .is_some_and(|remote| remote.profile().can_list);
        if can_list {
            self.want_listing(id, now.wall, now);
        }
    }

    fn act(&mut self, id: SubscriptionId, judged: Judged, now: Moment) {
        if self.term.is_none() {
            // Another process leads: nothing is written and nothing is called.
            return;
        }
        match judged.step {
            Step::Wait {
                until,
                ref standing,
            } => {
                let fields = self.without_past_failure(id, &judged.object.status);
                let status = self.presented(
                    id,
                    &judged.object,
                    &judged.document,
                    &fields,
                    &Shown::as_it(standing),
                    now,
                );
                if status == judged.object.status {
                    self.file(id, until, now);
                } else {
                    self.announce(&judged.object, &status);
                    self.record(id, status, Then::Attend);
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
            Step::Rotate {
                token: TokenChoice::Mint,
                ..
            }
            | Step::Create {
                token: TokenChoice::Mint,
                ..
            } => {
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
            Step::HandOver { .. } => self.hand_over(id, &judged.object, now),
            Step::Release { orphaned } => self.release(id, &judged.object, orphaned),
        }
    }

    /// While a call or a mint is waited for, the token may end: that is shown at once. Returns
    /// whether a record was begun.
    fn lapse(&mut self, id: SubscriptionId, judged: &Judged, now: Moment) -> bool {
        let object = &judged.object;
        let expired = object
            .status
            .token_expiration_time
            .is_some_and(|end| end <= now.wall);
        let shown = object
            .status
            .conditions
            .iter()
            .any(|condition| condition.reason == Reason::TokenExpired);
        if !expired || shown || is_deleting(object, false) {
            return false;
        }
        let shown = Shown::as_it(&Standing::Settled);
        let status = self.presented(id, object, &judged.document, &object.status, &shown, now);
        if status == object.status {
            return false;
        }
        self.announce(object, &status);
        self.record(id, status, Then::Attend);
        true
    }

    /// Whatever is waited for, a token's end is shown at once.
    fn file_expiry(&mut self, id: SubscriptionId, object: &Object, now: Moment) {
        let expiry = object.status.token_expiration_time;
        self.file(id, expiry.filter(|end| *end > now.wall), now);
    }

    /// A mint's failure is over when its source says so, although nothing was applied since.
    fn without_past_failure(
        &self,
        id: SubscriptionId,
        status: &SubscriptionStatus,
    ) -> SubscriptionStatus {
        let mut fields = status.clone();
        let source = self.state.entry(id).and_then(|entry| entry.source);
        let failing = source
            .and_then(|source| self.state.source(source))
            .is_some_and(|source| source.state.failing.is_some());
        if !failing {
            fields.failures = fields.failures.filter(|failures| !is_of_mint(failures));
        }
        fields
    }

    /// Puts a call in line at its origin.
    fn line_up(&mut self, id: SubscriptionId, judged: &Judged, now: Moment) {
        let Some(entry) = self.state.entry(id) else {
            return;
        };
        let namespace = entry.namespace;
        let failures = entry.failures();
        let source = entry.source.and_then(|source| self.state.source(source));
        let subject = Subject {
            identity: &judged.object.identity,
            spec: judged.object.spec.as_ref(),
            invalid: None,
            status: &judged.object.status,
        };
        let deadline = source.map_or(now.wall, |source| {
            decide::deadline(now, &subject, &source.state)
        });
        let deadline = deadline.timestamp_millis();
        let line = match judged.step {
            Step::Delete { .. } => Line::Last,
            _ if failures >= 3 => Line::Failing(deadline),
            _ => Line::Deadline(deadline),
        };
        let provider = entry.provider;
        let Some(origin) = self
            .state
            .provider(provider)
            .and_then(|provider| provider.origin().map(str::to_owned))
        else {
            return;
        };
        let Some(origin) = self.state.origins.get_mut(&origin) else {
            return;
        };
        let place = origin.ready.put(id, namespace, line);
        if let Some(entry) = self.state.entry_mut(id) {
            entry.place = Some(place);
        }
    }

    pub(super) fn leave_line(&mut self, id: SubscriptionId) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let (place, provider) = (entry.place.take(), entry.provider);
        let Some(provider) = self.state.providers.get_mut(provider.0) else {
            return;
        };
        provider.blocked.remove(&id);
        if let (Some(place), Some(origin)) = (place, provider.origin())
            && let Some(origin) = self.state.origins.get_mut(origin)
        {
            origin.ready.remove(id, place);
        }
    }

    /// Begins the call that was decided on. Returns whether one was begun.
    fn call(&mut self, id: SubscriptionId, judged: Judged, now: Moment) -> bool {
        let Some(remote) = self.remote_of(id) else {
            return false;
        };
        let Judged {
            object,
            step,
            document: wanted,
        } = judged;
        let origin: Arc<str> = remote.profile().origin.as_str().into();
        match step {
            Step::Rotate {
                id: remote_id,
                ownership,
                why,
                ..
            } => {
                let guards = object
                    .spec
                    .as_ref()
                    .is_some_and(|spec| spec.deletion_policy() == DeletionPolicy::Delete)
                    && !object.identity.guarded;
                if guards {
                    self.guard_object(id, &object);
                    return false;
                }
                let Some((document, hand)) = self.document(id, &object) else {
                    return false;
                };
                let sent = Sent {
                    hand,
                    digest: wanted.desired.unwrap_or_default(),
                    origin: Arc::clone(&origin),
                };
                self.begin(id, Some(origin));
                self.call_update(
                    id,
                    remote,
                    document,
                    Applying {
                        id: remote_id,
                        ownership,
                        why,
                        sent,
                    },
                );
                true
            }
            Step::Create { target, .. } => {
                let guards = object
                    .spec
                    .as_ref()
                    .is_some_and(|spec| spec.deletion_policy() == DeletionPolicy::Delete)
                    && !object.identity.guarded;
                if guards {
                    self.guard_object(id, &object);
                    return false;
                }
                let Some((_, hand)) = self.document(id, &object) else {
                    return false;
                };
                let opened = status::creation_opened(&object.status, &target, now.wall);
                let standing = Standing::Settling("the webhook is being created".to_owned());
                let opened =
                    self.presented(id, &object, &wanted, &opened, &Shown::as_it(&standing), now);
                // The turn is kept while the record is written: the create follows at once.
                self.begin(id, Some(Arc::clone(&origin)));
                let sent = Sent {
                    hand,
                    digest: wanted.desired.unwrap_or_default(),
                    origin,
                };
                self.record(id, opened, Then::Create(Creating { sent }));
                true
            }
            Step::Delete { id: remote_id } => {
                let Some(spec) = object.spec else {
                    return false;
                };
                let (guard, started) = (self.guard(), now);
                self.begin(id, Some(origin));
                self.spawn(About::Call(id), async move {
                    let result = remote.delete(&spec, &remote_id, &guard).await;
                    Report::Deleted {
                        id: remote_id,
                        started,
                        result,
                    }
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
        match (self.remote_of(id), document) {
            (Some(remote), Some((document, hand)))
                if hand == creating.sent.hand
                    && remote.profile().origin == *creating.sent.origin
                    && remote.document_digest(&document.spec) == creating.sent.digest =>
            {
                self.call_create(id, remote, document, creating);
            }
            // What it was to be made with has changed: the record says that nothing was sent.
            _ => {
                self.end_call(id, None);
                if let Some(object) = object {
                    self.record(id, status::creation_closed(&object.status), Then::Attend);
                }
            }
        }
    }

    pub(super) fn remote_of(&self, id: SubscriptionId) -> Option<Arc<dyn Remote>> {
        self.state
            .provider(self.state.entry(id)?.provider)?
            .remote
            .clone()
    }

    /// What is to be sent, with the token in hand.
    fn document(&self, id: SubscriptionId, object: &Object) -> Option<(Document, Hand)> {
        let source = self.state.source(self.state.entry(id)?.source?)?;
        let token: SecretText = source.token.clone()?;
        let hand = source.state.hand.clone()?;
        let spec = Arc::new(object.spec.clone()?);
        let token_hosts = source.token_hosts.clone();
        Some((
            Document {
                namespace: Arc::clone(&object.identity.key.namespace),
                spec,
                token,
                token_hosts,
            },
            hand,
        ))
    }

    fn guard_object(&mut self, id: SubscriptionId, object: &Object) {
        let record = Arc::clone(&self.ports.record);
        let (key, uid) = (object.identity.key.clone(), object.identity.uid.clone());
        self.begin(id, None);
        let call = async move { record.guard(&key, &uid).await };
        self.spawn_record(id, call, Report::Guarded);
    }

    fn release(&mut self, id: SubscriptionId, object: &Object, orphaned: Option<String>) {
        if let Some(why) = orphaned {
            let remote = object
                .status
                .webhook_id
                .as_deref()
                .unwrap_or("of an open create");
            let note = format!(
                "webhook {remote} stays at the provider although the policy is Delete: {why}"
            );
            self.tell(
                Kind::WebhookSubscription,
                &object.identity.key,
                true,
                Reason::RemoteOrphaned,
                note,
            );
        }
        self.begin(id, None);
        self.let_go(id, object);
    }

    /// Gives the remote to the object that waits for it, and lets this one go when that is durable.
    fn hand_over(&mut self, id: SubscriptionId, object: &Object, now: Moment) {
        let Some((heir_id, heir_key)) = self.state.heir(id) else {
            return self.attend_soon(id);
        };
        let Some(heir) = self
            .state
            .entry(heir_id)
            .filter(|heir| !heir.is_busy())
            .and_then(super::entry::Entry::object)
        else {
            return self.file(id, Some(now.wall + chrono::TimeDelta::seconds(1)), now);
        };
        tracing::info!(from = %object.identity.key, to = %heir_key, "the webhook is handed over");
        self.leave_line(heir_id);
        let fields = status::handed_over(&heir.status, &object.status);
        let wanted = self.document_of(heir_id, &heir);
        let shown = Shown::as_it(&Standing::Settled);
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
            self.calls_running += 1;
            *self.state.busy_by_namespace.entry(namespace).or_default() += 1;
            if let Some(provider) = self.state.provider_mut(provider) {
                provider.calls += 1;
            }
        }
    }

    /// Files a subscription under the time of its next look.
    pub(super) fn file(
        &mut self,
        id: SubscriptionId,
        until: Option<chrono::DateTime<chrono::Utc>>,
        now: Moment,
    ) {
        let Some(entry) = self.state.subscriptions.get_mut(id.0) else {
            return;
        };
        match until {
            Some(until) => {
                let at = now.boot + between(now.wall, until);
                self.state
                    .timers
                    .file(&mut entry.timer, at, Alarm::Subscription(id));
            }
            None => self
                .state
                .timers
                .unfile(&mut entry.timer, Alarm::Subscription(id)),
        }
    }

    pub(super) fn tell(
        &self,
        kind: Kind,
        key: &ObjectKey,
        warning: bool,
        reason: Reason,
        note: String,
    ) {
        self.ports.notices.tell(Notice {
            kind,
            key: key.clone(),
            warning,
            reason,
            note,
        });
    }
}

/// What the back-off of a mint is recorded with, to tell it from the object's own.
pub(super) const OF_MINT: &str = "mint";

pub(super) fn is_of_mint(failures: &Failures) -> bool {
    failures.inputs.as_deref() == Some(OF_MINT)
}

fn is_deleting(object: &Object, gone: bool) -> bool {
    gone || object.identity.deleted.is_some()
}

fn provider_fact<'a>(provider: &'a Provider, desired: Option<&'a str>) -> ProviderFact<'a> {
    match (&provider.remote, desired) {
        (Some(remote), desired) => ProviderFact::Usable {
            profile: remote.profile(),
            suspended: provider.suspended,
            list_forbidden: provider.list_forbidden,
            desired_digest: desired.unwrap_or_default(),
        },
        (None, _) => match &provider.invalid {
            Some(problem) => ProviderFact::Invalid(problem),
            None => ProviderFact::NotFound,
        },
    }
}

fn source_fact(source: Option<&Source>) -> SourceFact<'_> {
    match source {
        Some(source) if source.spec.is_some() => SourceFact::Usable(&source.state),
        Some(source) => match &source.invalid {
            Some(problem) => SourceFact::Invalid(problem),
            None => SourceFact::NotFound,
        },
        None => SourceFact::NotFound,
    }
}
