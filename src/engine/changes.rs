//! Taking in what the shell says of the desired state.

use std::sync::Arc;

use super::Engine;
use super::change::Change;
use super::entry::{Entry, Object};
use super::ids::{ProviderId, SourceId, SubscriptionId};
use super::judge::is_of_mint;
use super::ports::Invalid;
use super::state::{Provider, SourceKey, State};
use crate::api::{
    ConditionStatus, ConditionType, Declared, DeletionPolicy, Identity, Kind, ObjectKey, Reason,
    SubscriptionStatus, TokenSourceSpec, WebhookSubscriptionSpec, recorded_request,
};
use crate::rotation::backoff;
use crate::rotation::observed::{self, Observed};
use crate::rotation::status;
use crate::rotation::time::{Moment, between};
use crate::rotation::wait::Wait;

impl Engine {
    pub(super) fn change(&mut self, change: Change) {
        let now = self.ports.clock.now();
        // What is recorded is believed from others only while another process leads.
        self.watch_leadership(now);
        match change {
            Change::Subscription(declared) => self.upsert_subscription(*declared, now),
            Change::TokenSource(declared) => self.upsert_source(*declared),
            Change::Provider(declared) => self.upsert_provider(*declared, now),
            Change::Invalid { kind, identity, problem, status } => {
                self.invalid(kind, identity, &problem, status, now)
            }
            Change::Gone { kind: Kind::WebhookSubscription, key, prune } => {
                self.subscription_gone(&key, prune, now)
            }
            Change::Gone { kind: Kind::TokenSource, key, .. } => self.source_gone(&key),
            Change::Gone { kind: Kind::WebhookProvider, key, .. } => self.provider_gone(&key),
            // The gate's.
            Change::Gone { kind: Kind::WebhookReceiver, .. } => {}
            Change::Evidence(evidence) => self.evidence(&evidence),
            Change::Gates(source) => self.gates_changed(&source, now),
            Change::Synced => self.synced(now),
            Change::Mark(taken_in) => taken_in.notify_one(),
        }
    }

    /// All objects are known: only now can members be compared and claims be judged.
    fn synced(&mut self, now: Moment) {
        self.synced = true;
        for id in self.state.sources.numbers() {
            self.begin_source(SourceId(id), now);
        }
        for id in self.state.providers.numbers() {
            self.begin_provider(ProviderId(id), now);
        }
        self.reconcile_all();
    }

    fn upsert_subscription(
        &mut self,
        mut declared: Declared<WebhookSubscriptionSpec, SubscriptionStatus>,
        now: Moment,
    ) {
        declared.identity.rotate_requested =
            declared.identity.rotate_requested.as_deref().map(recorded_request);
        let Some(id) = self.state.by_key.get(&declared.identity.key).copied() else {
            self.add_subscription(Object::from(declared), now);
            return;
        };
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let Some(before) = entry.object() else { return };
        // An object of which no version was valid has not found its provider yet.
        if before.identity.uid != declared.identity.uid || before.spec.is_none() {
            // Another object of the same name: it waits until the old one's running step has ended.
            if entry.is_busy() {
                entry.successor = Some(Box::new(Change::Subscription(Box::new(declared))));
            } else {
                self.remove_subscription(id);
                self.add_subscription(Object::from(declared), now);
            }
            return;
        }
        let leading = self.term.is_some();
        let status = if leading { before.status.clone() } else { declared.status };
        let mut object = Object { identity: declared.identity, spec: Some(declared.spec), status };
        let problem = self.problem_of(id, &object, before.spec.as_ref());
        if problem.is_some() && before.spec.is_some() {
            object.spec.clone_from(&before.spec);
        }
        let spec_changed = object.spec != before.spec;
        let asked = spec_changed || object.identity.rotate_requested != before.identity.rotate_requested;
        let receiver = |object: &Object| object.spec.as_ref().and_then(|spec| spec.receiver_ref.clone());
        let has_another_receiver = receiver(&object) != receiver(&before);
        if has_another_receiver {
            observed::begin_anew(&mut object.status.conditions, now.wall);
        }
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        entry.gone = false;
        entry.let_go &= object.identity.deleted.is_some();
        entry.invalid = problem.map(|problem| problem.to_string().into());
        let request = object.identity.rotate_requested.clone();
        entry.remember(|memory| {
            memory.deleting_since = None;
            if has_another_receiver {
                memory.observed = Observed::default();
            }
            let seen = memory.deletion_seen.unwrap_or(now.wall);
            memory.deletion_seen = object.identity.deleted.map(|_| seen);
            if spec_changed && object.status.webhook_id.is_none() {
                memory.listing_after = Some(now.wall);
            }
            note_request(&mut memory.request_seen, request, now);
        });
        entry.store(&object);
        self.place_in_source(id, &object, now);
        self.state.index(id, &object);
        if asked {
            let source = self.state.entry(id).and_then(|entry| entry.source);
            if let Some(source) = source.and_then(|source| self.state.source_mut(source))
                && source.state.failing.is_some()
            {
                source.end_back_off(now);
            }
        }
        self.reconcile_soon(id);
    }

    /// The first rule of the provider's that a new version breaks, as far as the provider is known.
    fn problem_of(
        &self,
        id: SubscriptionId,
        object: &Object,
        before: Option<&WebhookSubscriptionSpec>,
    ) -> Option<Invalid> {
        let spec = object.spec.as_ref()?;
        if before.is_some_and(|before| before.provider_ref != spec.provider_ref) {
            return Some(Invalid {
                field: "spec.providerRef".to_owned(),
                problem: "cannot be changed; delete this object and create another one".to_owned(),
            });
        }
        let remote = self.state.provider(self.state.entry(id)?.provider)?.client.as_ref()?;
        remote.check(spec).err()
    }

    fn add_subscription(&mut self, mut object: Object, now: Moment) {
        let (namespace, name) = self.state.namespaces.enter(&object.identity.key.namespace);
        let key = ObjectKey { namespace: name, name: Arc::clone(&object.identity.key.name) };
        let provider_name = object.spec.as_ref().map_or("", |spec| spec.provider_ref.name.as_str());
        let provider = self.state.provider_for(&key.sibling(provider_name), now.boot);
        let is_new = object.status.observed_generation.is_none_or(|seen| seen < 0);
        if let Some(request) = object.identity.rotate_requested.as_deref().filter(|_| is_new) {
            object.status = status::request_noted(&object.status, request);
        }
        let mut entry = Entry::new(&object, key.clone(), provider, namespace);
        // A mint before this process began: its boot time follows from the wall clock of now.
        entry.minted_boot = object
            .status
            .token_minted_time
            .filter(|minted| *minted <= now.wall)
            .map(|minted| now.boot.saturating_sub(between(minted, now.wall)));
        let request = object.identity.rotate_requested.clone();
        let (status, has_id) = (&object.status, object.status.webhook_id.is_some());
        let is_received = object.spec.as_ref().is_some_and(|spec| spec.receiver_ref.is_some());
        let is_deleted = object.identity.deleted.is_some();
        entry.remember(|memory| {
            memory.listing_after = (!has_id).then_some(now.wall);
            memory.deletion_seen = is_deleted.then_some(now.wall);
            if is_received {
                memory.observed = Observed::resumed(status, now.wall);
            }
            note_request(&mut memory.request_seen, request, now);
            if let Some(failures) = status.failures.as_ref().filter(|of| !is_of_mint(of)) {
                let cap = backoff::LONGEST_LONG_WAIT;
                memory.failures = u32::try_from(failures.count).unwrap_or(0);
                memory.failing = Some((failures.reason, health_message(status)));
                memory.wait =
                    Wait::recorded(now.wall, failures.next_attempt_time, cap).zip(failures.inputs.clone());
            }
        });
        let id = SubscriptionId(self.state.subscriptions.insert(entry));
        self.state.by_key.insert(key, id);
        if let Some(provider) = self.state.provider_mut(provider) {
            provider.users.insert(id);
        }
        self.place_in_source(id, &object, now);
        self.restore_mint_failure(id, &object, now);
        self.state.index(id, &object);
        self.reconcile_soon(id);
    }

    /// A mint's back-off is recorded in the members: it does not start from nothing.
    fn restore_mint_failure(&mut self, id: SubscriptionId, object: &Object, now: Moment) {
        let Some(failures) = object.status.failures.as_ref().filter(|of| is_of_mint(of)) else {
            return;
        };
        let source = self.state.entry(id).and_then(|entry| entry.source);
        if let Some(source) = source.and_then(|source| self.state.source_mut(source))
            && source.state.wait.is_none()
        {
            let until = failures.next_attempt_time;
            let cap = match failures.reason {
                Reason::RateLimited => backoff::LONGEST_RETRY_AFTER,
                Reason::LifetimeUnknown => backoff::LONGEST_LONG_WAIT,
                _ => backoff::LONGEST_WAIT,
            };
            if failures.reason == Reason::RateLimited {
                source.hold.restore(now.wall, until, failures.reason);
            }
            source.state.wait = Wait::recorded(now.wall, until, cap);
            source.state.failing = Some((failures.reason, health_message(&object.status)));
            source.failures = u32::try_from(failures.count).unwrap_or(0);
        }
    }

    /// Moves a subscription to the source its spec names.
    fn place_in_source(&mut self, id: SubscriptionId, object: &Object, now: Moment) {
        let Some(entry) = self.state.entry(id) else {
            return;
        };
        let key = entry.key.clone();
        let wanted = object.spec.as_ref().and_then(|spec| State::source_key(&key, spec));
        let wanted_id = wanted.as_ref().map(|wanted| self.state.source_for(wanted));
        let before = self.state.entry(id).and_then(|entry| entry.source);
        if before == wanted_id {
            return;
        }
        let provider = self.state.entry(id).map(|entry| entry.provider);
        self.state.unindex(id);
        if let Some(provider) = provider.and_then(|provider| self.state.provider_mut(provider)) {
            provider.users.insert(id);
        }
        if let Some(entry) = self.state.entry_mut(id) {
            entry.source = wanted_id;
            if before.is_some() && object.status.token_fingerprint.is_some() {
                entry.remember(|memory| memory.strangers_token = true);
            }
        }
        if let Some(source_id) = wanted_id {
            let inline = object.spec.as_ref().and_then(WebhookSubscriptionSpec::inline_source);
            let mut is_new = false;
            if let Some(source) = self.state.source_mut(source_id) {
                source.users.insert(id);
                if let (SourceKey::Inline { .. }, None, Some(inline)) = (&source.key, &source.spec, inline) {
                    source.set_spec(inline);
                    is_new = true;
                }
            }
            if is_new && self.synced {
                self.begin_source(source_id, now);
            }
        }
        if let Some(before) = before {
            self.leave_unused_source(before, now);
        }
    }

    /// Takes a subscription out of the state, with everything that points at it.
    pub(super) fn remove_subscription(&mut self, id: SubscriptionId) {
        self.leave_line(id);
        self.state.unindex(id);
        let Some(mut entry) = self.state.subscriptions.remove(id.0) else {
            return;
        };
        self.state.timers.unfile(&mut entry.timer, super::timers::Alarm::Subscription(id));
        self.state.by_key.remove(&entry.key);
        self.state.namespaces.leave(entry.namespace);
        let origin = self.state.provider(entry.provider).and_then(Provider::origin).map(str::to_owned);
        if let Some(origin) = origin.and_then(|origin| self.state.origins.get_mut(&origin)) {
            for tenant in origin.tenants_mut() {
                tenant.breaker.forget(id);
            }
        }
        if let Some(source) = entry.source {
            let now = self.ports.clock.now();
            self.leave_unused_source(source, now);
        }
    }

    fn subscription_gone(&mut self, key: &ObjectKey, prune: bool, now: Moment) {
        let Some(id) = self.state.by_key.get(key).copied() else {
            return;
        };
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let Some(mut object) = entry.object() else {
            return;
        };
        let follows = object.spec.as_ref().map(WebhookSubscriptionSpec::deletion_policy);
        // Whoever leads tells of it; that what was let go is gone is no news.
        let unexpected = !prune && !entry.let_go && self.term.is_some();
        let left_behind = object
            .status
            .webhook_id
            .clone()
            .filter(|_| unexpected && follows == Some(DeletionPolicy::Delete));
        if let Some(spec) = object.spec.as_mut().filter(|_| !prune) {
            spec.deletion_policy = Some(DeletionPolicy::Orphan);
        }
        entry.gone = true;
        entry.remember(|memory| {
            memory.deleting_since = Some(memory.deleting_since.unwrap_or(now.wall));
            // A back-off was for what was wanted before.
            memory.wait = None;
        });
        entry.store(&object);
        self.state.index(id, &object);
        if let Some(remote) = left_behind {
            let note = format!(
                "the object is gone without having been deleted; webhook {remote} stays at the provider"
            );
            self.emit(Kind::WebhookSubscription, key, true, Reason::RemoteOrphaned, note);
        }
        self.reconcile_soon(id);
    }

    /// An object that breaks a rule: its last valid version stays in force.
    fn invalid(
        &mut self,
        kind: Kind,
        identity: Identity,
        problem: &Invalid,
        recorded: serde_json::Value,
        now: Moment,
    ) {
        let key = identity.key.clone();
        match kind {
            Kind::WebhookSubscription => self.invalid_subscription(identity, problem, recorded, now),
            Kind::TokenSource => {
                let id = self.state.source_for(&SourceKey::Object(key));
                if let Some(source) = self.state.source_mut(id) {
                    source.invalid = Some(problem.to_string());
                    let status = serde_json::from_value(recorded).unwrap_or_default();
                    let status = source.object.take().map_or(status, |(_, status)| status);
                    source.object = Some((identity, status));
                }
                self.record_source(id, now);
                self.reconcile_users_of_source(id);
            }
            Kind::WebhookProvider => {
                let id = self.state.provider_for(&key, now.boot);
                if let Some(provider) = self.state.provider_mut(id) {
                    provider.invalid = Some(problem.to_string());
                    let status = serde_json::from_value(recorded).unwrap_or_default();
                    if let Some((before, _, _)) = &mut provider.declared {
                        *before = identity;
                    } else {
                        provider.declared = Some((identity, Arc::default(), status));
                    }
                }
                self.record_provider(id, now);
                self.reconcile_users_of_provider(id);
            }
            // The gate's.
            Kind::WebhookReceiver => {}
        }
    }

    fn invalid_subscription(
        &mut self,
        mut identity: Identity,
        problem: &Invalid,
        recorded: serde_json::Value,
        now: Moment,
    ) {
        identity.rotate_requested = identity.rotate_requested.as_deref().map(recorded_request);
        let key = identity.key.clone();
        let known = self.state.by_key.get(&key).copied();
        let before = known.and_then(|id| self.state.entry(id)?.object());
        if let (Some(id), Some(before)) = (known, before)
            && before.identity.uid != identity.uid
        {
            // Another object of the same name: it waits until the old one's running step has ended.
            if let Some(entry) = self.state.entry_mut(id).filter(|entry| entry.is_busy()) {
                entry.successor = Some(Box::new(Change::Invalid {
                    kind: Kind::WebhookSubscription,
                    identity,
                    problem: problem.clone(),
                    status: recorded,
                }));
                return;
            }
            self.remove_subscription(id);
        }
        if !self.state.by_key.contains_key(&key) {
            let object = Object {
                identity: identity.clone(),
                spec: None,
                status: serde_json::from_value(recorded).unwrap_or_default(),
            };
            self.add_subscription(object, now);
        }
        let Some(id) = self.state.by_key.get(&key).copied() else {
            return;
        };
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let Some(mut object) = entry.object() else {
            return;
        };
        let request = identity.rotate_requested.clone();
        object.identity = identity;
        entry.gone = false;
        entry.let_go &= object.identity.deleted.is_some();
        entry.invalid = Some(problem.to_string().into());
        entry.remember(|memory| {
            memory.deleting_since = None;
            note_request(&mut memory.request_seen, request, now);
        });
        entry.store(&object);
        self.state.index(id, &object);
        self.reconcile_soon(id);
    }

    pub(super) fn reconcile_users_of_source(&mut self, id: SourceId) {
        if let Some(source) = self.state.source(id) {
            let users = source.users.clone();
            self.reconcile_each(users);
        }
    }

    pub(super) fn reconcile_users_of_provider(&mut self, id: ProviderId) {
        if let Some(provider) = self.state.provider(id) {
            let users = provider.users.clone();
            self.reconcile_each(users);
        }
    }

    /// These are looked at soon. Namespaces take turns.
    pub(super) fn reconcile_each(&mut self, ids: impl IntoIterator<Item = SubscriptionId>) {
        for id in ids {
            if let Some(entry) = self.state.entry(id) {
                self.arrivals += 1;
                self.reconcile_queue.put(entry.namespace, self.arrivals, id);
            }
        }
    }

    pub(super) fn reconcile_soon(&mut self, id: SubscriptionId) {
        self.reconcile_each([id]);
    }
}

fn note_request(
    seen: &mut Option<(String, chrono::DateTime<chrono::Utc>)>,
    request: Option<String>,
    now: Moment,
) {
    match request {
        Some(request) if seen.as_ref().is_none_or(|(known, _)| *known != request) => {
            *seen = Some((request, now.wall))
        }
        Some(_) => {}
        None => *seen = None,
    }
}

fn health_message(status: &SubscriptionStatus) -> String {
    status
        .conditions
        .iter()
        .find(|condition| {
            condition.kind == ConditionType::RotationHealthy && condition.status == ConditionStatus::False
        })
        .map_or_else(
            || "an attempt failed before this process began".to_owned(),
            |condition| condition.message.clone(),
        )
}

impl super::state::Source {
    pub(super) fn set_spec(&mut self, spec: TokenSourceSpec) {
        self.state.revokes_previous = spec.revokes_previous();
        self.state.timeout = spec.timeout();
        self.state.polled = spec.secret.is_some();
        self.spec = Some(Arc::new(spec));
    }
}
