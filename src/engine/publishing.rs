//! Publishing tokens for receivers: `current` before it is applied, `previous` while it may still
//! arrive.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::calls::{About, Report};
use super::ids::{SourceId, SubscriptionId};
use super::ports::{PublishFailure, Published};
use super::state::{Source, SourceKey};
use crate::api::{ObjectKey, Reason};
use crate::rotation::backoff;
use crate::rotation::life::HeldToken;
use crate::rotation::schedule;
use crate::rotation::time::{Moment, between};
use crate::rotation::wait::Wait;

impl Engine {
    fn publication_of(&self, id: SourceId) -> Option<(ObjectKey, String)> {
        let source = self.state.source(id)?;
        let SourceKey::Object(key) = &source.key else {
            return None;
        };
        let publish_to = source.spec.as_ref()?.publish_to.as_ref()?;
        Some((key.clone(), publish_to.secret_name.clone()))
    }

    pub(super) fn read_published(&mut self, id: SourceId) {
        // Who may not act keeps no tokens.
        let Some((key, secret_name)) = self.publication_of(id).filter(|_| self.term.is_some()) else {
            return;
        };
        let Some(source) = self.state.source_mut(id).filter(|source| !source.published.busy) else {
            return;
        };
        source.published.busy = true;
        let (publish, forgotten) = (Arc::clone(&self.ports.publish), source.published.forgotten);
        let namespace = source.namespace;
        self.spawn_write(namespace, About::Publishing(id), async move {
            Report::PublishedRead { forgotten, result: publish.read(&key, &secret_name).await }
        });
    }

    /// A published token that is alive is held: it is applied, and nothing new is minted.
    pub(super) fn published_read(
        &mut self,
        id: SourceId,
        forgotten: u64,
        result: Result<Option<Published>, PublishFailure>,
        now: Moment,
    ) {
        if self.is_forgotten(id, forgotten) {
            return;
        }
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        source.published.busy = false;
        match result {
            Ok(found) => {
                source.state.unread = false;
                source.published.failures = 0;
                let of_publishing = |reason| matches!(reason, Reason::Conflict | Reason::InternalError);
                source.state.failing =
                    source.state.failing.take().filter(|(reason, _)| !of_publishing(*reason));
                if let Some(tokens) = found {
                    let alive = tokens.expires.is_none_or(|expires| expires > now.wall);
                    // What a Secret holds is read from there, with the hosts it may be sent to.
                    if alive && source.state.held.is_none() && !source.state.polled {
                        let age = between(tokens.minted, now.wall);
                        source.state.held = Some(HeldToken {
                            fingerprint: tokens.fingerprint.clone(),
                            minted: Moment { wall: tokens.minted, boot: now.boot.saturating_sub(age) },
                            expires: tokens.expires,
                            confirmed: tokens.minted,
                        });
                        source.token = Some(tokens.current.clone());
                        source.last_lifetime = tokens.expires.map(|expires| between(tokens.minted, expires));
                    }
                    source.published.tokens = Some(tokens);
                }
                source.refresh();
                self.leave_for_readers(id, now);
                self.offer_held(id, now);
                self.gates_know(id);
                self.keep_alive(id, now);
                self.plan_tending(id, now);
                self.publish_hosts(id);
            }
            Err(failure) => {
                source.publishing_failed("read", &failure);
                let wait = backoff::delay(source.published.failures, Duration::from_secs(30), 0);
                self.alarm_source(id, now.boot + wait);
            }
        }
        self.record_source(id, now);
        self.reconcile_users_of_source(id);
    }

    /// A token that was published a moment ago, by this process or by another, is still left for its
    /// readers: they do not read faster because somebody else leads.
    fn leave_for_readers(&mut self, id: SourceId, now: Moment) {
        let pause = self.publishing_pause(id);
        if let Some(source) = self.state.source_mut(id)
            && let Some(held) = &source.state.held
        {
            let left = pause.saturating_sub(between(held.minted.wall, now.wall));
            source.state.apply_after = (!left.is_zero()).then(|| Wait::starting(now.wall, left));
        }
    }

    /// Whether what was known of the Secret has been forgotten since a read or a write of it began: what
    /// it brings is dropped, and what stands there is read again.
    fn is_forgotten(&mut self, id: SourceId, forgotten: u64) -> bool {
        let Some(source) = self.state.source_mut(id).filter(|source| source.published.forgotten != forgotten)
        else {
            return false;
        };
        source.published.busy = false;
        self.tend_publication(id);
        true
    }

    /// A new token is published before it is applied.
    pub(super) fn publish_held(&mut self, id: SourceId, now: Moment) {
        if self.publication_of(id).is_none() {
            return;
        }
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let (Some(held), Some(token)) = (&source.state.held, &source.token) else {
            return;
        };
        // `previous` is the last token that was recorded as applied, not the last one minted.
        let applied =
            source.published.applied.as_ref().map(|(of, token)| (token.clone(), Some(of.to_string())));
        let stood = source.published.tokens.as_ref();
        let carried = |fingerprint: &str| source.carried.keys().any(|carried| **carried == *fingerprint);
        let previous = applied.or_else(|| {
            stood.and_then(|stood| {
                if carried(&stood.fingerprint) {
                    return Some((stood.current.clone(), Some(stood.fingerprint.clone())));
                }
                Some((stood.previous.clone()?, stood.previous_fingerprint.clone()))
            })
        });
        let (previous, previous_fingerprint) = previous.unzip();
        source.published.pending = Some(Published {
            current: token.clone(),
            previous,
            previous_fingerprint: previous_fingerprint.flatten(),
            fingerprint: held.fingerprint.clone(),
            minted: held.minted.wall,
            expires: held.expires,
            allowed_hosts: source.bounds().hosts(),
        });
        // Until it is published nobody applies it, within reason: see `decide`.
        source.state.apply_after = Some(Wait::starting(now.wall, Duration::from_secs(3_600)));
        self.write_published(id);
    }

    /// The published token has another life: its readers are told, and nobody waits for them.
    pub(super) fn publish_life(&mut self, id: SourceId) {
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let (publication, Some(held)) = (&mut source.published, &source.state.held) else {
            return;
        };
        let newest = publication.pending.as_ref().or(publication.tokens.as_ref());
        let Some(newest) = newest.filter(|newest| newest.fingerprint == held.fingerprint) else {
            return;
        };
        let tokens = Published { minted: held.minted.wall, expires: held.expires, ..newest.clone() };
        publication.pending = Some(tokens);
        self.write_published(id);
    }

    /// The copy may go where its token may: what is said of that goes along, whenever it changes.
    pub(super) fn publish_hosts(&mut self, id: SourceId) {
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        // Without a held token nobody knows what the Secret says that it is read from.
        if source.state.held.is_none() {
            return;
        }
        let allowed_hosts = source.bounds().hosts();
        let publication = &mut source.published;
        let newest = publication.pending.as_ref().or(publication.tokens.as_ref());
        let Some(newest) = newest.filter(|newest| newest.allowed_hosts != allowed_hosts) else {
            return;
        };
        publication.pending = Some(Published { allowed_hosts, ..newest.clone() });
        self.write_published(id);
    }

    fn write_published(&mut self, id: SourceId) {
        let Some((key, secret_name)) = self.publication_of(id) else {
            return;
        };
        let Some(source) = self.state.source_mut(id).filter(|source| !source.published.busy) else {
            return;
        };
        let Some(tokens) = source.published.pending.clone() else {
            return;
        };
        source.published.busy = true;
        let (publish, forgotten) = (Arc::clone(&self.ports.publish), source.published.forgotten);
        let namespace = source.namespace;
        self.spawn_write(namespace, About::Publishing(id), async move {
            let result = publish.write(&key, &secret_name, &tokens).await;
            Report::PublishedWritten { forgotten, tokens: Box::new(tokens), result }
        });
    }

    pub(super) fn published_written(
        &mut self,
        id: SourceId,
        forgotten: u64,
        tokens: Published,
        result: Result<(), PublishFailure>,
        now: Moment,
    ) {
        if self.is_forgotten(id, forgotten) {
            return;
        }
        let pause = self.publishing_pause(id);
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        source.published.busy = false;
        match result {
            Ok(()) => {
                source.published.failures = 0;
                let is_new = source
                    .published
                    .tokens
                    .as_ref()
                    .is_none_or(|before| before.fingerprint != tokens.fingerprint);
                let newer_waits = source.published.pending.as_ref().is_some_and(|pending| *pending != tokens);
                source.published.tokens = Some(tokens);
                if newer_waits {
                    self.write_published(id);
                } else {
                    source.published.pending = None;
                    if is_new {
                        source.state.apply_after = Some(Wait::starting(now.wall, pause));
                        source.wait_for_gates(now, pause);
                    }
                    source.state.failing = None;
                    self.record_source(id, now);
                    self.gates_know(id);
                    self.reconcile_users_of_source(id);
                }
            }
            Err(failure) => {
                source.publishing_failed("written", &failure);
                let wait = backoff::delay(source.published.failures, Duration::from_secs(30), 0);
                self.record_source(id, now);
                self.alarm_source(id, now.boot + wait);
            }
        }
    }

    pub(super) fn publishing_broken(&mut self, id: SourceId, what: &str, now: Moment) {
        if let Some(source) = self.state.source_mut(id) {
            source.published.busy = false;
            tracing::error!(source = %source.key, "{what}");
        }
        self.alarm_source(id, now.boot + backoff::LONGEST_WAIT);
    }

    /// How long kubelets get to bring the published token to its readers.
    pub(super) fn publishing_pause(&self, id: SourceId) -> Duration {
        let Some(source) = self.state.source(id) else {
            return Duration::ZERO;
        };
        let Some(held) = &source.state.held else {
            return Duration::ZERO;
        };
        let Some(expires) = held.expires else {
            return schedule::publishing_pause(Duration::MAX);
        };
        let lead = source.users.iter().find_map(|user| {
            let entry = self.state.entry(*user)?;
            let object = entry.object()?;
            let remote = self.state.provider(entry.provider)?.client.as_ref()?;
            let terms = schedule::terms(object.spec.as_ref()?, remote.profile(), &source.state);
            Some(schedule::plan(held.minted.wall, expires, &terms).lead)
        });
        schedule::publishing_pause(lead.unwrap_or_default())
    }

    /// A token has been recorded as applied: from now on it is what `previous` will be.
    pub(super) fn remember_applied(&mut self, id: SubscriptionId, held: &HeldToken) {
        let Some(source_id) = self.state.entry(id).and_then(|entry| entry.source) else {
            return;
        };
        if self.publication_of(source_id).is_none() {
            return;
        }
        let Some(source) = self.state.source_mut(source_id) else {
            return;
        };
        if source.holds_token(held)
            && let Some(token) = &source.token
        {
            source.published.applied = Some((Arc::from(held.fingerprint.as_str()), token.clone()));
        }
    }

    /// After an apply: once all members have moved, `previous` goes when the overlap is over.
    pub(super) fn after_apply(&mut self, id: SubscriptionId, now: Moment) {
        if let Some(source) = self.state.entry(id).and_then(|entry| entry.source) {
            self.plan_tending(source, now);
        }
    }

    fn plan_tending(&mut self, id: SourceId, now: Moment) {
        let Some(source) = self.state.source(id) else {
            return;
        };
        if source.drops_previous() && !source.carried.is_empty() {
            let overlap = self.longest_overlap(id);
            self.alarm_source(id, now.boot + overlap);
        }
    }

    fn longest_overlap(&self, id: SourceId) -> Duration {
        let Some(source) = self.state.source(id) else {
            return Duration::ZERO;
        };
        source
            .users
            .iter()
            .filter_map(|user| {
                let entry = self.state.entry(*user)?;
                let object = entry.object()?;
                let remote = self.state.provider(entry.provider)?.client.as_ref()?;
                Some(schedule::terms(object.spec.as_ref()?, remote.profile(), &source.state).overlap)
            })
            .max()
            .unwrap_or_default()
    }

    /// The source's time has come: write what could not be written, read what could not be read, or
    /// drop a `previous` that nobody needs any more.
    pub(super) fn tend_publication(&mut self, id: SourceId) {
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        if source.state.unread {
            return self.read_published(id);
        }
        if source.published.pending.is_some() {
            return self.write_published(id);
        }
        if !source.drops_previous() {
            return;
        }
        if let Some(tokens) = source.published.tokens.clone() {
            source.published.pending =
                Some(Published { previous: None, previous_fingerprint: None, ..tokens });
            self.write_published(id);
        }
    }
}

impl Source {
    fn publishing_failed(&mut self, done: &str, failure: &PublishFailure) {
        let reason = match failure {
            PublishFailure::Conflict(_) => Reason::Conflict,
            PublishFailure::Unavailable(_) => Reason::InternalError,
        };
        let message = format!("the published token could not be {done}: {failure}");
        tracing::warn!(source = %self.key, %reason, "{message}");
        self.published.failures += 1;
        self.state.failing = Some((reason, message));
    }

    /// Whether the held token is the one that stands published.
    pub(super) fn is_held_published(&self) -> bool {
        let stands = self.published.tokens.as_ref().map(|tokens| tokens.fingerprint.as_str());
        stands.is_some() && stands == self.held_fingerprint()
    }

    /// Whether a previous token stands published that no member carries any more.
    fn drops_previous(&self) -> bool {
        self.published.tokens.as_ref().is_some_and(|tokens| {
            tokens.previous.is_some() && self.carried.keys().all(|carried| **carried == *tokens.fingerprint)
        })
    }
}
