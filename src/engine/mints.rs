//! Obtaining tokens: one mint at a time for each source, and what it brings for all its members.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Engine;
use super::calls::{About, Report};
use super::class::class_of;
use super::entry::Object;
use super::ids::{SourceId, SubscriptionId};
use super::judge::{OF_MINT, Shown};
use super::ports::{MintFailure, Minted};
use super::state::{Source, SourceKey};
use super::timers::Alarm;
use crate::api::{ConditionStatus, Reason, TokenSourceSpec, TokenSourceStatus};
use crate::rotation::answers::{Hold, judge_mint};
use crate::rotation::backoff;
use crate::rotation::conditions;
use crate::rotation::facts::Subject;
use crate::rotation::life::{self, HeldToken, Remark};
use crate::rotation::schedule::{self, Plan};
use crate::rotation::status;
use crate::rotation::step::WaitReason;
use crate::rotation::target::short_digest;
use crate::rotation::time::{Moment, add, between, written};
use crate::rotation::wait::Wait;

/// How many tokens before the newest are named in a status: as many as it may hold.
const MOST_CARRIED: usize = 16;

impl Engine {
    /// A source has come into use: what is published is read, and what is polled is read too.
    pub(super) fn begin_source(&mut self, id: SourceId, now: Moment) {
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let Some(spec) = source.spec.clone() else {
            return self.record_source(id, now);
        };
        source.refresh();
        let (is_read, has_held) = (source.published.tokens.is_some(), source.state.held.is_some());
        let is_on_its_way = source.published.pending.is_some() || source.is_held_published();
        if spec.publish_to.is_some() && !has_held && !is_read {
            source.state.unread = true;
            self.read_published(id);
        } else if spec.publish_to.is_some() && has_held && !is_on_its_way {
            // It was minted before the source was to publish, or to publish there.
            self.publish_held(id, now);
        }
        if spec.secret.is_some() {
            self.alarm_source(id, now.boot);
        }
        self.offer_held(id, now);
        self.keep_alive(id, now);
        self.record_source(id, now);
    }

    pub(super) fn alarm_source(&mut self, id: SourceId, at: Duration) {
        if let Some(source) = self.state.sources.get_mut(id.0) {
            self.state.timers.file(&mut source.timer, at, Alarm::Source(id));
        }
    }

    pub(super) fn source_alarm(&mut self, id: SourceId, now: Moment) {
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        source.timer = None;
        if source.state.polled {
            self.queue_mint(id, now.wall.timestamp_millis());
            let poll = self.options.secret_poll_interval;
            self.alarm_source(id, now.boot + poll);
            return;
        }
        self.tend_publication(id);
        self.reconcile_users_of_source(id);
    }

    /// A member needs a new token: the mint is queued, and everybody who asks meanwhile waits for it.
    pub(super) fn want_mint(&mut self, id: SubscriptionId, object: &Object, now: Moment) {
        let Some(source_id) = self.state.entry(id).and_then(|entry| entry.source) else {
            return;
        };
        let Some(source) = self.state.source_mut(source_id) else {
            return;
        };
        source.waiting.insert(id);
        if source.minting {
            return;
        }
        // Who has no token yet has nothing to lose, and comes after those whose token is about to end.
        let end = object.status.token_expiration_time.filter(|end| *end > now.wall);
        self.queue_mint(source_id, end.map_or(i64::MAX, |end| end.timestamp_millis()));
    }

    /// Puts a mint in line, by its deadline in epoch milliseconds.
    pub(super) fn queue_mint(&mut self, id: SourceId, deadline: i64) {
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        if source.wanted.is_some_and(|before| before <= deadline) {
            return;
        }
        let before = source.wanted.replace(deadline);
        let namespace = source.namespace;
        if let Some(before) = before {
            self.mint_queue.remove(namespace, &(before, id));
        }
        self.mint_queue.put(namespace, (deadline, id), ());
    }

    /// Hands waiting mints to free workers: namespaces take turns, and inside of one the earliest
    /// deadline comes first.
    pub(super) fn start_mints(&mut self, now: Moment) {
        if self.term.is_none() {
            return;
        }
        let alone = self.state.is_alone();
        loop {
            let minters = &self.minters;
            let next = self.mint_queue.next(|namespace| minters.free_for(namespace, alone));
            let Some((namespace_id, (_, id), ())) = next else {
                break;
            };
            let Some(source) = self.state.source_mut(id) else {
                continue;
            };
            source.wanted = None;
            let Some(spec) = source.spec.clone().filter(|_| !source.minting) else {
                continue;
            };
            if !source.state.polled && source.state.wait.is_some_and(|wait| wait.pending(now.wall).is_some())
            {
                // Something else has just minted: those who waited decide again.
                let waiting = std::mem::take(&mut source.waiting);
                self.reconcile_each(waiting);
                continue;
            }
            source.minting = true;
            self.minters.take(namespace_id);
            let namespace = Arc::clone(source.key.namespace());
            let slowest = source.slowest;
            let (minter, term) = (Arc::clone(&self.ports.minter), self.term);
            let left = self.first_end(id).map(|end| between(now.wall, end));
            let fence = match left.and_then(|left| backoff::call_patience(left, slowest)) {
                Some(patience) => self.fence().within(patience),
                None => self.fence(),
            };
            self.spawn(About::Mint(id), async move {
                let result = minter.mint(&namespace, &spec, &fence).await;
                Report::Minted { term, spec, started: now, result }
            });
        }
    }

    /// Whether the source still asks for its tokens as this version of it did.
    pub(super) fn asks_like(&self, id: SourceId, spec: &TokenSourceSpec) -> bool {
        let current = self.state.source(id).and_then(|source| source.spec.as_ref());
        current.is_some_and(|current| current.asks_like(spec))
    }

    /// A mint has ended. What an older term or another version of the source asked for is of no use:
    /// those who waited for it decide again.
    pub(super) fn minted(
        &mut self,
        id: SourceId,
        outdated: bool,
        started: Moment,
        result: Result<Minted, MintFailure>,
        now: Moment,
    ) {
        let class = class_of(&result);
        self.ports.meter.mint(class, now.boot.saturating_sub(started.boot));
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        source.minting = false;
        self.minters.give_back(source.namespace);
        if matches!(&result, Ok(_) | Err(MintFailure::Unanswered { .. })) {
            let took = now.boot.saturating_sub(started.boot);
            source.slowest = backoff::slowest(source.slowest, took, result.is_ok());
        }
        match result {
            _ if outdated => {
                if let (Err(failure), None) = (&result, &source.spec) {
                    source.keep_hold(failure, now);
                }
                let waiting = std::mem::take(&mut source.waiting);
                self.reconcile_each(waiting);
            }
            Ok(minted) => self.token_arrived(id, minted, started, now),
            Err(failure) => self.mint_failed(id, &failure, now),
        }
        self.keep_alive(id, now);
    }

    fn token_arrived(&mut self, id: SourceId, minted: Minted, started: Moment, now: Moment) {
        let previous_life = self.previous_lifetime(id);
        let random = self.ports.random.bits();
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let polled = source.state.polled;
        source.token_bounds = minted.bounds;
        let same = source.token.as_ref() == Some(&minted.token) && source.state.held.is_some();
        if same
            && !(polled
                && minted.version.as_deref().map(|version| short_digest(&[version])) != source.fingerprint())
        {
            self.token_repeated(id, minted.lifetime, started, now);
            self.publish_hosts(id);
            return;
        }
        let assumed = minted.lifetime.length().is_none() && !polled;
        let lifetime = minted.lifetime.length().or(previous_life.filter(|_| assumed));
        if lifetime.is_none() && !polled {
            self.lifetime_unknown(id, now);
            return;
        }
        let source_fingerprint = match &minted.version {
            Some(version) => short_digest(&[version]),
            None => format!("{random:016x}"),
        };
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let held = HeldToken {
            fingerprint: source_fingerprint,
            minted: started,
            expires: lifetime.map(|lifetime| add(started.wall, lifetime.min(life::LONGEST_LIFETIME))),
            confirmed: started.wall,
        };
        tracing::info!(source = %source.key, fingerprint = %held.fingerprint, expires = held.expires.map(written), "a new token");
        source.state.remark = if assumed { Some(Remark::LikeBefore) } else { Remark::of(minted.lifetime) };
        if let Some(remark) = source.state.remark {
            tracing::warn!(source = %source.key, "{remark}");
        }
        source.last_lifetime = lifetime.or(source.last_lifetime);
        source.failures = 0;
        source.hold.close(now.wall);
        source.state.failing = None;
        source.state.not_renewed = false;
        source.state.apply_after = None;
        source.state.for_gates = None;
        source.state.wait = (!polled).then(|| Wait::starting(started.wall, schedule::mint_spacing(lifetime)));
        source.state.held = Some(held);
        source.token = Some(minted.token);
        source.waiting.clear();
        source.refresh();
        self.record_source(id, now);
        self.publish_held(id, now);
        self.offer_held(id, now);
        self.reconcile_users_of_source(id);
    }

    /// The members that asked are looked at; a polled source may have lived on for everybody.
    pub(super) fn reconcile_waiting_or_users(&mut self, id: SourceId, everybody: bool) {
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let waiting = std::mem::take(&mut source.waiting);
        if !everybody {
            self.reconcile_each(waiting);
        } else if !waiting.is_empty() {
            self.reconcile_users_of_source(id);
        }
    }

    /// How long the source's tokens lived before, for an answer that does not say.
    fn previous_lifetime(&self, id: SourceId) -> Option<Duration> {
        let source = self.state.source(id)?;
        let life = |minted: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>| Some(between(minted?, end?));
        let of_object = source
            .object
            .as_ref()
            .and_then(|(_, status)| life(status.token_minted_time, status.token_expiration_time));
        source.last_lifetime.or(of_object).or_else(|| {
            source.users.iter().find_map(|user| {
                let status = self.state.entry(*user)?.object()?.status;
                life(status.token_minted_time, status.token_expiration_time)
            })
        })
    }

    fn lifetime_unknown(&mut self, id: SourceId, now: Moment) {
        let message =
            "the token source does not say how long its tokens live; set assumedLifetime on the token source";
        self.mint_did_not_help(
            id,
            Reason::LifetimeUnknown,
            message.to_owned(),
            backoff::LONGEST_LONG_WAIT,
            now,
        );
    }

    fn mint_failed(&mut self, id: SourceId, failure: &MintFailure, now: Moment) {
        let random = self.ports.random.bits();
        let plans: Vec<Plan> = self.plans(id).collect();
        let cap = match failure {
            // The source answers, with what is over: asked often, it answers that often.
            MintFailure::ExpiredOnArrival | MintFailure::NoLife { .. } => backoff::LONGEST_WAIT,
            _ => backoff::cap(plans.iter().map(|plan| plan.lead).min()),
        };
        let first_end = plans.iter().map(|plan| plan.expires).min();
        let rest = first_end.map_or(Duration::ZERO, |end| between(now.wall, end));
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let judgement = judge_mint(failure, source.spec.as_deref().unwrap_or(&TokenSourceSpec::default()));
        let wait = match judgement.hold {
            Hold::Source(asked) => {
                source.hold.open(now.wall, asked, judgement.reason);
                let until = source.hold.pending(now.wall).map_or(now.wall, |held| held.until);
                // A pause that outlasts a token is interrupted once.
                let outlasted = plans.iter().filter(|plan| plan.is_outlasted_by(until));
                let last_attempt = outlasted.map(Plan::last_attempt).filter(|last| *last > now.wall).min();
                between(now.wall, last_attempt.unwrap_or(until))
            }
            _ => backoff::delay(source.failures, backoff::hurried(cap, source.failures, rest), random),
        };
        tracing::info!(source = %source.key, reason = %judgement.reason, "{}", judgement.message);
        self.mint_did_not_help(id, judgement.reason, judgement.message, wait, now);
    }

    pub(super) fn mint_broken(&mut self, id: SourceId, what: &str, now: Moment) {
        if let Some(source) = self.state.source_mut(id) {
            source.minting = false;
            self.minters.give_back(source.namespace);
        }
        let message = format!("{what}; please report it with the log around this time");
        self.mint_did_not_help(id, Reason::InternalError, message, backoff::LONGEST_WAIT, now);
        self.keep_alive(id, now);
    }

    /// No token came: the source waits, and the members that asked say why.
    pub(super) fn mint_did_not_help(
        &mut self,
        id: SourceId,
        reason: Reason,
        message: String,
        wait: Duration,
        now: Moment,
    ) {
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let wait = Wait::starting(now.wall, wait.max(Duration::from_millis(100)));
        source.failures = source.failures.saturating_add(1);
        source.state.wait = Some(wait);
        let changed = source.state.failing.as_ref().is_none_or(|(before, _)| *before != reason);
        let count = source.failures;
        let emitted = changed || backoff::is_recorded(count);
        if emitted {
            source.state.failing = Some((reason, message.clone()));
        }
        let waiting = std::mem::take(&mut source.waiting);
        if emitted {
            self.record_source(id, now);
        }
        for member in waiting {
            // Each is a rotation that did not come about; the mint itself is counted once.
            if let Some(provider) = self.provider_key(member) {
                self.ports.meter.rotation(&provider, reason, None);
            }
            if emitted {
                self.note_mint_failure(member, count, reason, &message, wait, now);
            } else {
                self.reconcile_soon(member);
            }
        }
    }

    /// A mint's failure is recorded in the members that waited for it.
    fn note_mint_failure(
        &mut self,
        id: SubscriptionId,
        count: u32,
        reason: Reason,
        message: &str,
        wait: Wait,
        now: Moment,
    ) {
        let Some(entry) = self.state.entry(id).filter(|entry| !entry.is_busy()) else {
            return;
        };
        let Some(object) = entry.object() else {
            return;
        };
        let wanted = self.document_of(id, &object);
        let fields = status::failed(&object.status, count, reason, OF_MINT, now.wall, wait.until);
        let reason = if reason == Reason::LifetimeUnknown && object.status.webhook_id.is_none() {
            WaitReason::Stalled(reason, message.to_owned())
        } else {
            WaitReason::BackingOff(reason, message.to_owned())
        };
        let status = self.presented(id, &object, &wanted, &fields, &Shown::as_it(&reason), now);
        self.announce(&object, &status);
        self.record(id, status, super::calls::Then::Reconcile);
    }

    /// The plans of some of the members: their patience sets the pace of attempts.
    fn plans(&self, id: SourceId) -> impl Iterator<Item = Plan> {
        let source = self.state.source(id);
        source
            .into_iter()
            .flat_map(|source| source.users.iter().take(32).map(move |user| (source, user)))
            .filter_map(|(source, user)| {
                let entry = self.state.entry(*user)?;
                let object = entry.object()?;
                let spec = object.spec.as_ref()?;
                let remote = self.state.provider(entry.provider)?.client.as_ref()?;
                let subject =
                    Subject { identity: &object.identity, spec: Some(spec), status: &object.status };
                schedule::planned(&subject, spec, remote.profile(), &source.state)
            })
    }

    /// When the first of the members' tokens ends.
    fn first_end(&self, id: SourceId) -> Option<DateTime<Utc>> {
        self.plans(id).map(|plan| plan.expires).min()
    }

    /// Brings a `TokenSource` object's status in line and writes it when it differs.
    pub(super) fn record_source(&mut self, id: SourceId, now: Moment) {
        if self.term.is_none() {
            return;
        }
        // One write at a time: of two, the older might arrive last.
        let Some(source) = self.state.source_mut(id).filter(|source| !source.recording) else {
            return;
        };
        let Some((identity, before)) = source.object.clone() else {
            return;
        };
        let status = source.presented(&before, identity.generation, now);
        if status == before {
            return;
        }
        source.unrecorded = false;
        source.recording = true;
        source.object = Some((identity, status.clone()));
        self.call_record_source(id, before, status);
    }

    /// What could not be written is written again when a member's status has been: after a restart its
    /// fingerprint counts with theirs. What has changed meanwhile is written now.
    pub(super) fn source_recorded(
        &mut self,
        id: SourceId,
        before: TokenSourceStatus,
        durable: bool,
        now: Moment,
    ) {
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        source.recording = false;
        if durable {
            self.record_source(id, now);
        } else {
            if let Some((_, status)) = &mut source.object {
                *status = before;
                source.unrecorded = true;
            }
            self.name_to_gates_again(id, now);
        }
    }
}

impl Source {
    /// Somebody asks for another attempt: the back-off after a failure ends, but neither a wait that
    /// the source itself asked for nor the spacing after a mint.
    pub(super) fn end_back_off(&mut self, now: Moment) {
        if self.hold.pending(now.wall).is_some() {
            return;
        }
        let spacing = self.state.held.as_ref().map(|held| {
            let life = (held.expires).map(|end| between(held.minted.wall, end));
            Wait::starting(held.minted.wall, schedule::mint_spacing(life))
        });
        self.state.wait = spacing.filter(|_| !self.state.polled);
    }

    /// Nobody asks any more, and the source is left alone all the same for as long as it asked for.
    fn keep_hold(&mut self, failure: &MintFailure, now: Moment) {
        let judgement = judge_mint(failure, &TokenSourceSpec::default());
        if let Hold::Source(asked) = judgement.hold {
            self.hold.open(now.wall, asked, judgement.reason);
            let until = self.hold.pending(now.wall).map_or(now.wall, |held| held.until);
            self.state.wait = Some(Wait::starting(now.wall, between(now.wall, until)));
            self.state.failing = Some((judgement.reason, judgement.message));
        }
    }

    fn fingerprint(&self) -> Option<String> {
        self.state.held.as_ref().map(|held| held.fingerprint.clone())
    }

    fn presented(&self, before: &TokenSourceStatus, generation: i64, now: Moment) -> TokenSourceStatus {
        let mut status = before.clone();
        status.observed_generation = Some(generation);
        let publishes = self.spec.as_ref().is_some_and(|spec| spec.publish_to.is_some());
        match &self.state.held {
            Some(held) if !publishes || self.is_held_published() => {
                status.token_fingerprint = Some(held.fingerprint.clone());
                status.token_minted_time = Some(status::to_milliseconds(held.minted.wall));
                status.token_expiration_time = held.expires.map(status::to_milliseconds);
            }
            // Gates read the Secret when the status names another token than before: it names none that
            // does not stand there yet.
            Some(held) if status.token_fingerprint.as_ref() == Some(&held.fingerprint) => {
                status.token_fingerprint = None;
                status.token_minted_time = None;
                status.token_expiration_time = None;
            }
            _ => {}
        }
        if let Some(carried) = &self.carried_for_gates {
            let named = status.token_fingerprint.as_deref();
            let others = carried.iter().filter(|carried| Some(&***carried) != named);
            status.carried_fingerprints =
                others.take(MOST_CARRIED).map(|carried| carried.to_string()).collect();
        }
        let verdict = match (&self.invalid, &self.state.failing) {
            (Some(problem), _) => (ConditionStatus::False, Reason::InvalidSpec, problem.clone()),
            (None, Some((reason, message))) => (ConditionStatus::False, *reason, message.clone()),
            (None, None) => {
                let message = match self.state.remark {
                    Some(remark) => remark.to_string(),
                    None => "valid, and the last mint, if any, succeeded".to_owned(),
                };
                (ConditionStatus::True, Reason::Valid, message)
            }
        };
        conditions::of_dependency(&mut status.conditions, verdict, generation, now.wall);
        status
    }
}

impl std::fmt::Display for SourceKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Object(key) => write!(formatter, "{key}"),
            Self::Inline { namespace, digest } => {
                write!(formatter, "{namespace}/(inline {digest})")
            }
        }
    }
}
