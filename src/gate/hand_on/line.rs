//! One receiver's deliveries on their way: what may be taken, and what becomes of an attempt.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::answered::Answered;
use super::attempt::{Meaning, Sign, back_off};
use super::pause::{Door, Pause};
use super::record::Record;
use super::retention::Standstills;
use crate::gate::observer::Fact;
use crate::gate::receiver::Receiver;
use crate::gate::turns::{Standing, Waits};
use crate::shares::NamespaceId;
use crate::store::{Claim, DeliveryId, LastFailure, Standstill, StoreError, Taken};

/// What time it is on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) wall: DateTime<Utc>,
    pub(super) steady: Instant,
}

/// What is remembered of a delivery while it is under way.
#[derive(Clone, Debug)]
pub(super) struct UnderWay {
    pub(super) id: DeliveryId,
    pub(super) claim: Claim,
    /// Of the receiver's pause, when the delivery was taken.
    pub(super) epoch: u64,
    pub(super) began: Instant,
    /// The size of its body.
    pub(super) bytes: u64,
    arrived: DateTime<Utc>,
    since: DateTime<Utc>,
    refusals: u32,
    attempts: u32,
    event: Vec<u8>,
    marked: bool,
}

impl UnderWay {
    pub(super) fn of(taken: &Taken, epoch: u64, began: Instant) -> Self {
        Self {
            id: taken.id,
            claim: taken.claim,
            epoch,
            began,
            bytes: u64::try_from(taken.body.len()).unwrap_or(u64::MAX),
            arrived: taken.arrived,
            since: taken.since,
            refusals: taken.refusals,
            attempts: taken.attempts,
            event: taken.event.clone(),
            marked: taken.duplicate_of.is_some(),
        }
    }
}

/// What is asked of the store about the times in which a receiver stood still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// What it knows.
    Recall,
    /// That it keeps them, together with what other gates have kept.
    Keep(Standstills),
    /// That nothing of them is kept any more.
    Forget,
}

/// A receiver.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) receiver: Arc<Receiver>,
    /// Places are held for deliveries that are under way, and for those that are being looked for.
    pub(super) standing: Standing,
    /// Those places that were taken in the present epoch.
    held_in_epoch: usize,
    counted_epoch: u64,
    pub(super) pause: Pause,
    standstills: Standstills,
    /// The store has said when the receiver stood still before this process began.
    is_recalled: bool,
    /// The store does not know yet how that has gone on.
    is_unkept: bool,
    /// The store is being asked about it.
    is_asking: bool,
    /// When the application answered last.
    alive: Option<Instant>,
    answered: Answered,
}

impl Line {
    pub(super) fn new(receiver: Arc<Receiver>, namespace: NamespaceId) -> Self {
        Self {
            receiver,
            standing: Standing::new(namespace),
            held_in_epoch: 0,
            counted_epoch: 0,
            pause: Pause::default(),
            standstills: Standstills::default(),
            is_recalled: false,
            is_unkept: false,
            is_asking: false,
            alive: None,
            answered: Answered::default(),
        }
    }

    /// The receiver is as its object says now. Whatever was found about another way to the application
    /// no longer counts. Returns whether that ends a pause.
    pub(super) fn change(&mut self, receiver: Arc<Receiver>, now: DateTime<Utc>) -> bool {
        let has_other_way = self.receiver.forward != receiver.forward;
        self.standing.is_gone = false;
        self.standing.is_wanted = true;
        self.receiver = receiver;
        self.stand(now);
        has_other_way && self.pause.reset()
    }

    /// The receiver is no longer there.
    pub(super) fn go(&mut self, now: DateTime<Utc>) {
        self.standing.is_gone = true;
        self.stand(now);
    }

    /// Nothing is handed on from now on, or something is again.
    fn stand(&mut self, now: DateTime<Utc>) {
        if self.is_recalled {
            let before = self.standstills.clone();
            self.standstills.set(self.standing.is_gone || self.receiver.suspended, now);
            self.is_unkept |= self.standstills != before;
        }
    }

    /// What is to be asked of the store about the times in which the receiver stood still. It counts as
    /// under way from now on.
    pub(super) fn ask_of_standstills(&mut self) -> Option<Asking> {
        if self.is_asking || self.is_recalled && !self.is_unkept {
            return None;
        }
        self.is_asking = true;
        if !self.is_recalled {
            return Some(Asking::Recall);
        }
        self.is_unkept = false;
        Some(Asking::Keep(self.standstills.clone()))
    }

    /// The store has answered that; with what it knew.
    pub(super) fn standstills_asked(
        &mut self,
        answered: Result<Option<Vec<Standstill>>, &StoreError>,
        now: DateTime<Utc>,
    ) {
        self.is_asking = false;
        match answered {
            // What has happened here meanwhile is kept the next time.
            Ok(Some(kept)) if self.is_recalled => self.standstills = self.standstills.joined(&kept),
            Ok(Some(kept)) => {
                let stands = self.standing.is_gone || self.receiver.suspended;
                self.standstills = Standstills::recalled(kept.clone(), stands, now);
                self.is_recalled = true;
                self.is_unkept = self.standstills.to_keep() != kept;
            }
            Ok(None) => {}
            Err(_) => self.is_unkept = self.is_recalled,
        }
    }

    /// Whether deliveries that were taken in this epoch may be sent.
    pub(super) fn may_send(&self, epoch: u64, now: Instant) -> bool {
        let may = match self.pause.door(now) {
            Door::Open => true,
            Door::Probe => epoch == self.pause.epoch,
            Door::Shut(_) => false,
        };
        may && !self.standing.is_gone && !self.receiver.suspended
    }

    /// Places are held.
    pub(super) fn hold(&mut self, places: usize) {
        self.count_epoch();
        self.standing.held += places;
        self.held_in_epoch += places;
    }

    /// Places that were held since this epoch are held no longer.
    pub(super) fn let_go(&mut self, places: usize, epoch: u64) {
        self.count_epoch();
        self.standing.held = self.standing.held.saturating_sub(places);
        if epoch == self.pause.epoch {
            self.held_in_epoch = self.held_in_epoch.saturating_sub(places);
        }
    }

    fn count_epoch(&mut self) {
        if self.counted_epoch != self.pause.epoch {
            self.counted_epoch = self.pause.epoch;
            self.held_in_epoch = 0;
        }
    }

    /// The delivery that this one repeats, which the application has taken and the store does not know yet.
    pub(super) fn repeats(&self, taken: &Taken) -> Option<DeliveryId> {
        let knows_repeated = !self.receiver.duplicates.window.is_zero();
        knows_repeated.then(|| self.answered.other_than(&taken.event, taken.id)).flatten()
    }

    /// What became of a delivery is in the store; `was_taken` says whether the application has taken it.
    pub(super) fn recorded(&mut self, delivery: &UnderWay, was_taken: bool) {
        if was_taken {
            self.answered.recorded(&delivery.event, self.is_looking);
        }
    }

    /// All that a look has found has been begun with.
    pub(super) fn looked(&mut self) {
        self.answered.looked();
    }

    fn end(&self, delivery: &UnderWay, now: DateTime<Utc>) -> DateTime<Utc> {
        self.standstills.end(delivery.since, self.receiver.retention, now)
    }

    /// What to do with a delivery without an attempt: while the application takes nothing, those whose
    /// retention is over are parked. Otherwise each gets an attempt first, however long it has waited.
    pub(super) fn park_untried(
        &self,
        delivery: &UnderWay,
        now: DateTime<Utc>,
        tell: &mut dyn FnMut(Fact<'_>),
    ) -> Option<Record> {
        let is_over = self.pause.is_on() && self.end(delivery, now) <= now;
        is_over.then(|| {
            let retention = words(self.receiver.retention);
            let what = format!(
                "it could not be handed on within its retention of {retention}; the application takes nothing"
            );
            park(delivery.id, what, now, tell)
        })
    }

    /// What becomes of a delivery after an attempt. `bits` are random.
    pub(super) fn judge(
        &mut self,
        delivery: &UnderWay,
        meaning: Meaning,
        now: Now,
        bits: u64,
        tell: &mut dyn FnMut(Fact<'_>),
    ) -> Record {
        let id = delivery.id;
        let (what, next) = match meaning {
            Meaning::Taken => {
                self.found_alive(delivery, now, tell);
                let age = (now.wall - delivery.arrived).to_std().unwrap_or_default();
                let attempts = delivery.attempts.saturating_add(1);
                tell(Fact::HandedOn { id, attempts, age, marked: delivery.marked });
                self.answered.took(&delivery.event, id);
                return Record::Done;
            }
            Meaning::Refused { what, wait } => {
                self.found_alive(delivery, now, tell);
                tell(Fact::AttemptFailed { id, why: &what });
                let refusals = delivery.refusals.saturating_add(1);
                if refusals >= self.receiver.forward.max_attempts {
                    let times = if refusals == 1 { "once".to_owned() } else { format!("{refusals} times") };
                    let what = format!("it was refused {times}: {what}");
                    return park(id, what, now.wall, tell);
                }
                let wait = self.back_off(refusals, bits).max(wait.unwrap_or_default());
                (what, Some((later(now.wall, wait), true)))
            }
            Meaning::Away { what, sign } => {
                tell(Fact::AttemptFailed { id, why: &what });
                let next = self.found_away(delivery, &what, sign, now, bits, tell);
                (what, next.map(|due| (due, false)))
            }
        };
        let end = self.end(delivery, now.wall);
        if end <= now.wall {
            let retention = words(self.receiver.retention);
            let what = format!("it could not be handed on within its retention of {retention}: {what}");
            return park(id, what, now.wall, tell);
        }
        if self.standing.is_gone {
            // Whoever takes it out of the store has parked it, or keeps it.
            return Record::GiveBack;
        }
        match next {
            Some((due, refused)) => {
                let failure = LastFailure { what, when: now.wall };
                Record::Retry { due: due.min(end), refused, failure }
            }
            None => Record::GiveBack,
        }
    }

    fn found_alive(&mut self, delivery: &UnderWay, now: Now, tell: &mut dyn FnMut(Fact<'_>)) {
        self.alive = Some(now.steady);
        if self.pause.found_alive(delivery.epoch) {
            tell(Fact::Resumed);
        }
    }

    /// When a delivery is tried again whose attempt found the application away; `None` for giving it
    /// back as it was: nothing was sent, and the reason stands with another delivery.
    fn found_away(
        &mut self,
        delivery: &UnderWay,
        what: &str,
        sign: Sign,
        now: Now,
        bits: u64,
        tell: &mut dyn FnMut(Fact<'_>),
    ) -> Option<DateTime<Utc>> {
        let unanswered = delivery.attempts.saturating_sub(delivery.refusals);
        let alone = later(now.wall, self.back_off(unanswered.saturating_add(1), bits));
        // It has answered others meanwhile: this delivery is the cause, or chance is.
        let is_alive = self.alive.is_some_and(|alive| alive > delivery.began);
        if is_alive && !matches!(sign, Sign::Asked(_)) {
            return Some(alone);
        }
        let was_on = self.pause.is_on();
        let begun = self.pause.found_away(now.steady, delivery.epoch, delivery.id, sign);
        if let Some(wait) = begun {
            tell(Fact::Paused { wait, why: what });
        }
        let until = match self.pause.door(now.steady) {
            Door::Shut(until) => until.saturating_duration_since(now.steady),
            Door::Open | Door::Probe => Duration::ZERO,
        };
        let until = later(now.wall, until);
        match (begun, sign) {
            (None, Sign::Unreached) => None,
            // It stays the first of its receiver, and says why it waits.
            (Some(_), Sign::Unreached) => Some(delivery.arrived.min(now.wall)),
            // It began a pause before, others were answered since, and now it does so again.
            (Some(_), _) if !was_on && unanswered > 0 => Some(alone.max(until)),
            _ if !self.pause.is_on() => Some(alone),
            _ => Some(until),
        }
    }

    fn back_off(&self, failed: u32, bits: u64) -> Duration {
        let forward = &self.receiver.forward;
        back_off(forward.interval, forward.max_interval, failed, bits)
    }
}

impl Waits for Line {
    fn standing(&self) -> &Standing {
        &self.standing
    }

    fn standing_mut(&mut self) -> &mut Standing {
        &mut self.standing
    }

    fn room(&mut self, now: Instant) -> usize {
        // Whose retention is over cannot be said before it is known how long it stood still.
        if self.standing.is_gone || self.receiver.suspended || !self.is_recalled {
            return 0;
        }
        self.count_epoch();
        let free = self.receiver.forward.max_concurrent.saturating_sub(self.standing.held);
        match self.pause.door(now) {
            Door::Open => free,
            Door::Probe => free.min(1_usize.saturating_sub(self.held_in_epoch)),
            Door::Shut(_) => 0,
        }
    }

    fn shut_until(&self, now: Instant) -> Option<Instant> {
        self.pause.shut_until(now)
    }
}

fn park(id: DeliveryId, what: String, when: DateTime<Utc>, tell: &mut dyn FnMut(Fact<'_>)) -> Record {
    tell(Fact::Parked { id, why: &what });
    Record::Park(LastFailure { what, when })
}

fn later(now: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(wait)
        .ok()
        .and_then(|wait| now.checked_add_signed(wait))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A time in the largest unit that is whole: `72h`, `90s`.
fn words(time: Duration) -> String {
    let milliseconds = time.as_millis();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds >= length && milliseconds.is_multiple_of(length) {
            return format!("{}{unit}", milliseconds / length);
        }
    }
    format!("{milliseconds}ms")
}
