//! What follows when a call or a record has ended.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Engine;
use super::breaker::Failed;
use super::calls::{About, Done, Report};
use super::class::class_of;
use super::entry::{Entry, Work};
use super::failures::internal;
use super::ids::SubscriptionId;
use super::namespaces::NamespaceId;
use super::ports::{Applied, CallFailure, Refusal};
use crate::rotation::answers::Operation;
use crate::rotation::backoff;
use crate::rotation::time::{Moment, between};

/// How the origin took a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OriginNews {
    /// It answered as it should, or at least answered.
    Answers,
    /// It did not answer, or with a fault of its own.
    Fails,
    /// It asks for a pause.
    Pauses,
    /// Nothing was sent.
    Unknown,
}

impl Engine {
    pub(super) fn finish(&mut self, done: Done) {
        let now = self.ports.clock.now();
        if let Some(namespace) = done.wrote_for {
            self.recorders.give_back(namespace);
        }
        let provider = match done.about {
            About::Call(id) => self.state.entry(id).map(|entry| entry.provider),
            About::Listing(id) => Some(id),
            _ => None,
        };
        let is_refused = done.report.refusal() == Some(&Refusal::AccountChanged);
        if let Some(provider) = provider.filter(|_| !is_refused) {
            self.learn_account(provider, now);
        }
        match (done.about, done.report) {
            (About::Subscription(id), Report::Recorded { status, then, result }) => {
                self.recorded(id, &status, then, result, now);
            }
            (About::Call(id), Report::Applied { applying, decided, started, result }) => {
                self.count_request(Operation::Update, &result, started, now);
                self.took(id, &result, started, now);
                if self.is_overtaken(id, &decided) {
                    return self.overtaken(id, Operation::Update, result, now);
                }
                self.applied(id, &applying, result, now);
            }
            (About::Call(id), Report::Created { creating, decided, started, result }) => {
                self.count_request(Operation::Create, &result, started, now);
                self.took(id, &result, started, now);
                if self.is_overtaken(id, &decided) {
                    return self.overtaken(id, Operation::Create, result, now);
                }
                self.created(id, &creating, result, now);
            }
            (About::Call(id), Report::Deleted { id: remote, started, result }) => {
                self.count_request(Operation::Delete, &result, started, now);
                self.deleted(id, &remote, result, now);
            }
            (About::Subscription(id), Report::FinalizerWritten { wanted, result }) => {
                self.finalizer_written(id, wanted, result, now);
            }
            (About::Subscription(id), Report::Released(result)) => self.released(id, result, now),
            (About::Subscription(id), Report::Secrets(result)) => self.secrets_compared(id, result),
            (About::Mint(id), Report::Minted { term, spec, started, result }) => {
                let outdated = term != self.term || !self.asks_like(id, &spec);
                self.minted(id, outdated, started, result, now);
            }
            (About::Publishing(id), Report::PublishedRead { forgotten, result }) => {
                self.published_read(id, forgotten, result, now);
            }
            (About::Publishing(id), Report::PublishedWritten { forgotten, tokens, result }) => {
                self.published_written(id, forgotten, *tokens, result, now);
            }
            (About::Gates(id), Report::Offered { fingerprint, result }) => {
                self.offered(id, &fingerprint, result, now);
            }
            (About::Listing(id), Report::Listed { started, paused, result }) => {
                self.listed(id, started, paused, result, now);
            }
            (_, Report::SourceRecorded { id, before, durable }) => {
                self.source_recorded(id, *before, durable, now);
            }
            (_, Report::ProviderRecorded(id)) => self.provider_recorded(id, now),
            (_, Report::CredentialKept(id)) => {
                self.learn_account(id, now);
                self.credential_kept(id);
            }
            (About::Account(id), Report::Identified) => self.identified(id, now),
            (_, Report::ProviderFinalizerWritten { id, uid, wanted, result }) => {
                self.provider_finalizer_written(id, &uid, wanted, &result, now);
            }
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
            About::Gates(id) => self.not_offered(id, what, now),
            About::Listing(id) => self.listing_broken(id, what, now),
            About::Account(id) => self.identified(id, now),
            About::Aside => {}
        }
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
        self.reconcile_soon(id);
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
        self.state.free_claimants(id, false);
        if let Some(provider) = self.state.provider_mut(provider_id) {
            provider.calls = provider.calls.saturating_sub(1);
        }
        self.origin_news(&origin, namespace, Some(id), news.unwrap_or(OriginNews::Unknown), now);
        self.wake_blocked(provider_id, now);
    }

    /// A request has ended: its places are given back, and the namespace's breaker at the origin
    /// opens or closes.
    pub(super) fn origin_news(
        &mut self,
        origin: &str,
        namespace: NamespaceId,
        of: Option<SubscriptionId>,
        news: OriginNews,
        now: Moment,
    ) {
        self.workers.give_back(namespace);
        let kept_failing = of.and_then(|id| self.state.entry(id)).is_some_and(Entry::keeps_failing);
        let (mut cap, mut users) = (Duration::ZERO, 0);
        if news == OriginNews::Fails {
            cap = self.bearable_pause(origin, namespace, of, now);
            let providers = self.tenants_providers(origin, namespace).into_iter();
            users = providers.filter_map(|id| self.state.provider(id)).map(|it| it.users.len()).sum();
        }
        let Some(state) = self.state.origins.get_mut(origin) else {
            return;
        };
        state.ended(namespace);
        let Some(tenant) = state.tenant_mut(namespace) else {
            return;
        };
        let breaker = &mut tenant.breaker;
        let changed = match news {
            OriginNews::Answers => {
                let ended = breaker.answered();
                if ended {
                    let namespace = self.state.namespaces.name(namespace);
                    tracing::info!(origin, namespace, "the origin answers again");
                }
                ended
            }
            OriginNews::Fails => {
                let failed = Failed { of, kept_failing };
                let was_shown = breaker.shown(now.wall).is_some();
                let paused = breaker.failed(now.wall, &failed, cap, users);
                let shown = paused && breaker.shown(now.wall).is_some();
                if shown && !was_shown {
                    let namespace = self.state.namespaces.name(namespace);
                    tracing::warn!(
                        origin,
                        namespace,
                        "nothing arrives at the origin; the namespace's calls to it pause"
                    );
                }
                shown
            }
            OriginNews::Pauses | OriginNews::Unknown => false,
        };
        if changed {
            self.record_held_providers(origin, namespace, now);
        }
    }

    /// The longest pause that a namespace's work that waits at an origin can bear; `failed` has just
    /// failed there.
    fn bearable_pause(
        &self,
        origin: &str,
        namespace: NamespaceId,
        failed: Option<SubscriptionId>,
        now: Moment,
    ) -> Duration {
        let of_failed = failed.and_then(|id| self.bearable_for(id, now));
        let tenant = self.state.origins.get(origin).and_then(|origin| origin.tenant(namespace));
        let waiting = tenant.and_then(|tenant| tenant.ready.next_deadline(now.wall));
        let of_waiting = waiting.map(|rest| backoff::bearable_pause(rest, None));
        of_failed.into_iter().chain(of_waiting).min().unwrap_or(Duration::MAX)
    }

    /// The longest pause that one subscription can bear.
    fn bearable_for(&self, id: SubscriptionId, now: Moment) -> Option<Duration> {
        let object = self.state.entry(id)?.object()?;
        let rest = between(now.wall, object.status.token_expiration_time?);
        Some(backoff::bearable_pause(rest, self.lead_of(id, &object).map(|(lead, _)| lead)))
    }

    /// A pause in which nothing arrives was measured by those who waited then: one that is due now
    /// and can bear less makes it shorter. Returns whether there is such a pause.
    pub(super) fn hasten(&mut self, id: SubscriptionId, now: Moment) -> bool {
        let provider = self.state.entry(id).and_then(|entry| self.state.provider(entry.provider));
        let Some((origin, namespace)) =
            provider.and_then(|provider| Some((provider.origin()?.to_owned(), provider.namespace)))
        else {
            return false;
        };
        let tenant = self.state.origins.get(&origin).and_then(|origin| origin.tenant(namespace));
        if tenant.is_none_or(|tenant| tenant.breaker.pending(now.wall).is_none()) {
            return false;
        }
        let Some(cap) = self.bearable_for(id, now) else {
            return false;
        };
        let tenant = self.state.origins.get_mut(&origin).and_then(|origin| origin.tenant_mut(namespace));
        if let Some(tenant) = tenant {
            tenant.breaker.hasten(cap);
        }
        true
    }

    /// How long a call took tells how long the next one's answer is waited for.
    fn took(
        &mut self,
        id: SubscriptionId,
        result: &Result<Applied, CallFailure>,
        started: Moment,
        now: Moment,
    ) {
        let answered = match result {
            Ok(_) => true,
            Err(CallFailure::Unanswered { .. }) => false,
            Err(_) => return,
        };
        let Some((origin, namespace)) =
            self.state.entry(id).and_then(|entry| Some((entry.calling.clone()?, entry.namespace)))
        else {
            return;
        };
        if let Some(tenant) =
            self.state.origins.get_mut(&*origin).and_then(|origin| origin.tenant_mut(namespace))
        {
            tenant.breaker.took(now.boot.saturating_sub(started.boot), answered);
        }
    }

    pub(super) fn timeout_of(&self, id: SubscriptionId) -> Duration {
        self.profile_of(id, |profile| profile.timeout).unwrap_or(Duration::from_secs(10))
    }

    pub(super) fn settle_of(&self, id: SubscriptionId) -> chrono::TimeDelta {
        let settle = self.profile_of(id, |profile| profile.settle).unwrap_or(Duration::from_secs(300));
        chrono::TimeDelta::from_std(settle).unwrap_or(chrono::TimeDelta::minutes(5))
    }

    pub(super) fn profile_of<T>(
        &self,
        id: SubscriptionId,
        read: impl Fn(&super::ports::ProviderProfile) -> T,
    ) -> Option<T> {
        let provider = self.state.provider(self.state.entry(id)?.provider)?;
        provider.client.as_ref().map(|remote| read(remote.profile()))
    }

    pub(super) fn provider_key(&self, id: SubscriptionId) -> Option<crate::api::ObjectKey> {
        Some(self.state.provider(self.state.entry(id)?.provider)?.key.clone())
    }

    fn count_request<T>(
        &self,
        operation: Operation,
        result: &Result<T, CallFailure>,
        started: Moment,
        now: Moment,
    ) {
        let class = class_of(result);
        self.ports.meter.provider_request(operation.as_str(), class, now.boot.saturating_sub(started.boot));
    }

    /// How long a rotation is overdue for the metrics: since when it could have begun.
    pub(super) fn overdue(due: Option<DateTime<Utc>>, now: Moment) -> f64 {
        due.map_or(0.0, |due| between(due, now.wall).as_secs_f64())
    }
}
