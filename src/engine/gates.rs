//! Handing tokens to those that prove deliveries with them, before the provider has them.
//!
//! A delivery that carries a token which its gate does not know is refused, so a token is offered to
//! the gates first and applied when they have taken it in. That is waited for within reason only: a
//! gate that does not answer makes no rotation late, it is told of and the token is offered again until
//! it has been taken in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::calls::{About, Report};
use super::entry::Object;
use super::ids::{SourceId, SubscriptionId};
use super::ports::{GateFailure, Offered};
use super::state::{Source, SourceKey};
use super::timers::{Alarm, Milliseconds};
use crate::api::{Kind, ObjectKey, PublishTo, Reason};
use crate::rotation::backoff;
use crate::rotation::life::HeldToken;
use crate::rotation::time::{Moment, between};
use crate::rotation::wait::Wait;

/// How many tokens of a source are offered at the most that have not been taken in: those before them
/// have been replaced so often that nobody carries them.
const MOST_OPEN: usize = 8;
/// When a source's status that could not be written is written again, so that gates read its token.
const NAMED_AGAIN: Duration = Duration::from_secs(2);
/// The longest pause between two offers of a token.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a source's gates have not taken in.
#[derive(Debug, Default)]
pub(super) struct Offering {
    /// The tokens, the newest last.
    pub(super) open: Vec<Offered>,
    /// One is being handed over.
    pub(super) busy: bool,
    /// How often in a row that failed.
    pub(super) failures: u32,
    /// Fingerprint of the token that was applied last although it had not been taken in.
    pub(super) behind: Option<String>,
    pub(super) timer: Option<Milliseconds>,
}

impl Offering {
    fn holds(&self, fingerprint: &str) -> bool {
        self.open.iter().any(|offered| offered.fingerprint == fingerprint)
    }

    fn close(&mut self, fingerprint: &str) {
        self.open.retain(|offered| offered.fingerprint != fingerprint);
    }
}

impl Engine {
    /// The object that receivers name, and whether one of them is here.
    pub(super) fn served_source(&self, id: SourceId) -> Option<ObjectKey> {
        let source = self.state.source(id)?;
        match &source.key {
            SourceKey::Object(key) if self.reaches_gates(source) && self.ports.gates.serves(key) => {
                Some(key.clone())
            }
            _ => None,
        }
    }

    /// Whether its tokens can come to those who prove deliveries.
    pub(super) fn reaches_gates(&self, source: &Source) -> bool {
        let publishes = source.spec.as_ref().is_some_and(|spec| spec.publish_to.is_some());
        publishes || !self.ports.gates.read_published()
    }

    /// The held token is offered, unless it has been taken in. Until that is so nobody applies it,
    /// within reason: see `decide`.
    pub(super) fn offer_held(&mut self, id: SourceId, now: Moment) {
        let Some(key) = self.served_source(id) else {
            return;
        };
        let (pause, read_published) = (self.publishing_pause(id), self.ports.gates.read_published());
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let (Some(held), Some(token)) = (&source.state.held, &source.token) else {
            return;
        };
        if source.offering.holds(&held.fingerprint) {
            return self.start_offer(id);
        }
        if !self.ports.gates.wants(&key, &held.fingerprint) {
            return;
        }
        let offered = Offered {
            token: token.clone(),
            fingerprint: held.fingerprint.clone(),
            minted: held.minted.wall,
            expires: held.expires,
        };
        if read_published {
            // What stood published before is there no more.
            source.offering.open.clear();
        }
        source.offering.open.push(offered);
        if source.offering.open.len() > MOST_OPEN {
            source.offering.open.remove(0);
        }
        source.begin_to_wait_for_gates(now, pause);
        self.start_offer(id);
    }

    /// Hands over the newest token that has not been taken in, one at a time.
    fn start_offer(&mut self, id: SourceId) {
        if self.stopping || self.term.is_none() {
            return;
        }
        self.drop_known(id);
        let gates = Arc::clone(&self.ports.gates);
        let Some(source) = self.state.source_mut(id).filter(|source| !source.offering.busy) else {
            return;
        };
        let (SourceKey::Object(key), Some(offered)) =
            (source.key.clone(), source.offering.open.last().cloned())
        else {
            return;
        };
        source.offering.busy = true;
        self.offers += 1;
        // It takes no place from those that write: a gate that does not answer must hold nothing else up.
        self.spawn(About::Gates(id), async move {
            let result = gates.offer(&key, &offered).await;
            Report::Offered { fingerprint: offered.fingerprint, result }
        });
    }

    /// What nobody lacks any more is not offered.
    fn drop_known(&mut self, id: SourceId) {
        let gates = &self.ports.gates;
        if let Some(source) = self.state.sources.get_mut(id.0)
            && let SourceKey::Object(key) = &source.key
        {
            source.offering.open.retain(|offered| gates.wants(key, &offered.fingerprint));
        }
    }

    pub(super) fn offered(
        &mut self,
        id: SourceId,
        fingerprint: &str,
        result: Result<(), GateFailure>,
        now: Moment,
    ) {
        if let Err(failure) = result {
            return self.not_offered(id, &failure.to_string(), now);
        }
        self.offers = self.offers.saturating_sub(1);
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        source.offering.busy = false;
        source.offering.failures = 0;
        source.offering.close(fingerprint);
        self.gates_know(id);
        self.start_offer(id);
    }

    /// A token has not been taken in: it is offered again, for as long as somebody lacks it.
    pub(super) fn not_offered(&mut self, id: SourceId, what: &str, now: Moment) {
        self.offers = self.offers.saturating_sub(1);
        let random = self.ports.random.bits();
        let Some(source) = self.state.sources.get_mut(id.0) else {
            return;
        };
        let offering = &mut source.offering;
        offering.busy = false;
        if offering.open.is_empty() {
            return;
        }
        let wait = backoff::delay(offering.failures, LONGEST_PAUSE, random);
        offering.failures = offering.failures.saturating_add(1);
        if backoff::is_recorded(offering.failures) {
            tracing::warn!(source = %source.key, "a token could not be handed to the gate; it is tried again: {what}");
        }
        self.state.timers.file(&mut offering.timer, now.boot + wait, Alarm::Gates(id));
    }

    pub(super) fn gates_alarm(&mut self, id: SourceId, now: Moment) {
        let mut unrecorded = false;
        if let Some(source) = self.state.source_mut(id) {
            source.offering.timer = None;
            unrecorded = source.unrecorded;
        }
        if unrecorded {
            self.record_source(id, now);
        }
        self.start_offer(id);
        self.gates_know(id);
    }

    /// The status of the source could not be written, and those who prove deliveries read the newest token
    /// when it names that: it is written again soon.
    pub(super) fn name_to_gates_again(&mut self, id: SourceId, now: Moment) {
        if self.served_source(id).is_none() || !self.ports.gates.read_published() {
            return;
        }
        if let Some(source) = self.state.sources.get_mut(id.0) {
            self.state.timers.file(&mut source.offering.timer, now.boot + NAMED_AGAIN, Alarm::Gates(id));
        }
    }

    /// Nobody waits any more once the held token has been taken in, or there is nobody to take it.
    pub(super) fn gates_know(&mut self, id: SourceId) {
        self.drop_known(id);
        let readers_know = self.all_readers_know(id);
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let open = source.held_fingerprint().is_some_and(|held| source.offering.holds(held));
        let mut is_over = !open && source.state.for_gates.take().is_some();
        is_over |= readers_know && source.state.apply_after.take().is_some();
        if is_over {
            self.reconcile_users_of_source(id);
        }
    }

    /// Whether the held token stands published for those alone who prove deliveries, and all of them
    /// have it.
    fn all_readers_know(&self, id: SourceId) -> bool {
        let Some(source) = self.state.source(id) else {
            return false;
        };
        let publish_to = source.spec.as_ref().and_then(|spec| spec.publish_to.as_ref());
        let is_for_gates_alone = publish_to.is_some_and(PublishTo::is_for_gates_alone);
        let held = source.held_fingerprint().filter(|_| is_for_gates_alone && source.is_held_published());
        held.is_some_and(|held| self.served_source(id).is_some_and(|key| self.ports.gates.know(&key, held)))
    }

    /// Who proves deliveries is not who it was: they are offered what they lack. Where nobody has that
    /// any more, the rules ask for another token.
    pub(super) fn gates_changed(&mut self, source: &ObjectKey, now: Moment) {
        let Some(id) = self.state.source_by_key.get(&SourceKey::Object(source.clone())).copied() else {
            return;
        };
        self.state.carried_changed.insert(id);
        if !self.synced {
            return;
        }
        self.offer_held(id, now);
        self.start_offer(id);
        self.gates_know(id);
        self.keep_alive(id, now);
        self.reconcile_users_of_source(id);
    }

    /// Whether somebody who proves deliveries does not know the token that a subscription carries, and
    /// nobody has it any more to hand it over.
    pub(super) fn gate_lacks(&self, source: &Source, object: &Object) -> bool {
        let SourceKey::Object(key) = &source.key else {
            return false;
        };
        let state = &source.state;
        // What is read comes again by itself.
        if state.held.is_some() || state.polled || state.unread || !self.reaches_gates(source) {
            return false;
        }
        let carried = object.status.token_fingerprint.as_deref();
        carried.is_some_and(|carried| self.ports.gates.lacks(key, carried))
    }

    /// Where the token is applied now although it has not been taken in, people hear of it, once for
    /// each token.
    pub(super) fn note_gate_behind(&mut self, id: SubscriptionId, object: &Object, held: &HeldToken) {
        let Some(source_id) = self.state.entry(id).and_then(|entry| entry.source) else {
            return;
        };
        let Some(source) = self.state.source_mut(source_id) else {
            return;
        };
        let is_new = object.status.token_fingerprint.as_ref() != Some(&held.fingerprint);
        let emitted = source.offering.behind.as_ref() == Some(&held.fingerprint);
        if !is_new || emitted || !source.offering.holds(&held.fingerprint) {
            return;
        }
        source.offering.behind = Some(held.fingerprint.clone());
        let SourceKey::Object(key) = source.key.clone() else {
            return;
        };
        self.ports.meter.gate_behind();
        let names = self.ports.gates.behind(&key, &held.fingerprint);
        let who = who_is_behind(&names);
        tracing::warn!(source = %key, fingerprint = %held.fingerprint, "a token is applied although {who} not taken it in");
        let note = format!(
            "a new token is brought to the provider although {who} not taken it in; deliveries with it are refused there \
             until then; look for why in the gate's log, such as a full disk or a Secret that it may not read"
        );
        self.emit(Kind::TokenSource, &key, true, Reason::GateBehind, note);
    }

    /// Says which tokens are still carried, where that has changed.
    pub(super) fn tell_gates(&mut self, now: Moment) {
        for id in std::mem::take(&mut self.state.carried_changed) {
            if let Some(key) = self.served_source(id) {
                let carried = self.carried_tokens(id, now);
                self.ports.gates.carried(&key, &carried);
                let reads_status = self.ports.gates.read_published();
                if let Some(source) = self.state.source_mut(id).filter(|_| reads_status) {
                    source.carried_for_gates = Some(carried);
                    self.record_source(id, now);
                }
            }
        }
    }

    /// What the members carry; and what those carry that are left alone for now, for as long as it lives:
    /// their deliveries come in all the same.
    fn carried_tokens(&self, id: SourceId, now: Moment) -> BTreeSet<Arc<str>> {
        let Some(source) = self.state.source(id) else {
            return BTreeSet::new();
        };
        let mut carried: BTreeSet<Arc<str>> = source.carried.keys().cloned().collect();
        for entry in source.users.iter().filter_map(|user| self.state.entry(*user)) {
            if entry.carried.is_some() || entry.carries_a_strangers_token() {
                continue;
            }
            let status = entry.object().map(|object| object.status).unwrap_or_default();
            let lives = status.token_expiration_time.is_none_or(|end| end > now.wall);
            carried.extend(status.token_fingerprint.filter(|_| lives).map(Arc::from));
        }
        carried
    }
}

/// Who has not taken a token in; of many some are named.
fn who_is_behind(names: &[String]) -> String {
    match names {
        [] => "the gate has".to_owned(),
        [one] => format!("the gate {one} has"),
        [first, second] => format!("the gates {first} and {second} have"),
        [first, second, more @ ..] => format!("the gates {first}, {second} and {} more have", more.len()),
    }
}

impl Source {
    /// A token was offered: it is waited for those who lack it. Where it is published and on its way to
    /// subscriptions, the time counts from its mint, so that a new leader waits no longer than the one
    /// before would have.
    fn begin_to_wait_for_gates(&mut self, now: Moment, pause: Duration) {
        let mut wait = pause;
        if let Some(held) = self.state.held.as_ref().filter(|_| self.is_held_published()) {
            let is_on_its_way = self.carried.keys().any(|carried| **carried != *held.fingerprint);
            if is_on_its_way {
                let age = between(held.minted.wall, now.wall);
                wait = self.longest_wait_for_gates(pause).saturating_sub(age);
            }
        }
        self.state.for_gates = (!wait.is_zero()).then(|| Wait::starting(now.wall, wait));
    }

    /// How long after its publication a token is kept back at the longest.
    fn longest_wait_for_gates(&self, pause: Duration) -> Duration {
        if self.state.revokes_previous { pause } else { pause * 2 }
    }

    /// A token that was published is left for its readers first; then it is waited for those that prove
    /// deliveries with it, but not where the token before has been revoked with the mint.
    pub(super) fn wait_for_gates(&mut self, now: Moment, pause: Duration) {
        if self.state.for_gates.is_some() {
            let longest = self.longest_wait_for_gates(pause);
            self.state.for_gates = Some(Wait::starting(now.wall, longest));
        }
    }

    pub(super) fn held_fingerprint(&self) -> Option<&str> {
        self.state.held.as_ref().map(|held| held.fingerprint.as_str())
    }

    /// Whether nobody outside is being asked or told anything for it, but for mints.
    pub(super) fn is_unheard(&self) -> bool {
        !self.published.busy && !self.offering.busy
    }
}
