//! When a receiver's application is asked again after it took nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::attempt::Sign;
use crate::store::DeliveryId;

/// The first pause; each further one is twice as long.
pub(in crate::gate) const SHORTEST: Duration = Duration::from_secs(1);
/// The longest one, unless the application asks for more.
pub(in crate::gate) const LONGEST: Duration = Duration::from_secs(60);

/// Whether the application of one receiver takes deliveries.
#[derive(Debug, Default)]
pub(in crate::gate) struct Pause {
    /// Counts changes: an attempt that began before the last one says little.
    pub(in crate::gate) epoch: u64,
    shut: Option<Shut>,
}

#[derive(Debug)]
struct Shut {
    since: Instant,
    until: Instant,
    wait: Duration,
    /// The one delivery that all attempts since the last answer were made with.
    only: Option<DeliveryId>,
    asked: bool,
}

/// What may be handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) enum Door {
    /// As much as there are places for.
    Open,
    /// One delivery, to see what happens.
    Probe,
    /// Nothing before this time.
    Shut(Instant),
}

impl Pause {
    /// What may be handed on now.
    pub(in crate::gate) fn door(&self, now: Instant) -> Door {
        match &self.shut {
            None => Door::Open,
            Some(shut) if shut.until <= now => Door::Probe,
            Some(shut) => Door::Shut(shut.until),
        }
    }

    /// Until when nothing may be handed on.
    pub(in crate::gate) fn shut_until(&self, now: Instant) -> Option<Instant> {
        match self.door(now) {
            Door::Shut(until) => Some(until),
            Door::Open | Door::Probe => None,
        }
    }

    /// Whether there is a pause, even one whose time is over.
    pub(in crate::gate) fn is_on(&self) -> bool {
        self.shut.is_some()
    }

    /// An attempt of this epoch with this delivery found the application away. Returns how long the
    /// pause is that begins by it; `None` when one has begun already since the attempt did.
    pub(in crate::gate) fn found_away(
        &mut self,
        now: Instant,
        epoch: u64,
        id: DeliveryId,
        sign: Sign,
    ) -> Option<Duration> {
        let asked = match sign {
            Sign::Asked(wait) => wait,
            _ => None,
        };
        if epoch != self.epoch {
            match &mut self.shut {
                Some(shut) => {
                    shut.until = asked.map_or(shut.until, |asked| shut.until.max(now + asked));
                    shut.only = shut.only.filter(|only| *only == id);
                    return None;
                }
                // It has answered others since. What it says itself counts.
                None if asked.is_none() => return None,
                None => {}
            }
        }
        self.epoch += 1;
        let before = self.shut.take();
        let doubled = before.as_ref().map_or(SHORTEST, |shut| (shut.wait * 2).clamp(SHORTEST, LONGEST));
        let wait = asked.map_or(doubled, |asked| asked.max(SHORTEST));
        let is_only = before.is_none_or(|shut| shut.only == Some(id));
        self.shut = Some(Shut {
            since: now,
            until: now + wait,
            wait: doubled,
            only: (is_only && sign.may_be_the_delivery()).then_some(id),
            asked: asked.is_some(),
        });
        Some(wait)
    }

    /// The application answered an attempt that began in this epoch. Returns whether that ends a pause.
    ///
    /// Where the application asked for the pause, answers to what it had before do not end it.
    pub(in crate::gate) fn found_alive(&mut self, epoch: u64) -> bool {
        if epoch != self.epoch && self.shut.as_ref().is_some_and(|shut| shut.asked) {
            return false;
        }
        self.reset()
    }

    /// Whatever was found no longer counts. Returns whether that ends a pause.
    pub(in crate::gate) fn reset(&mut self) -> bool {
        if self.shut.take().is_none() {
            return false;
        }
        self.epoch += 1;
        true
    }

    /// Another delivery is there. If all that is known comes from one delivery, which may be the cause
    /// itself, the other one may try.
    pub(in crate::gate) fn another_came(&mut self) {
        if let Some(shut) = &mut self.shut
            && shut.only.is_some()
            && !shut.asked
        {
            shut.until = shut.until.min(shut.since + SHORTEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> DeliveryId {
        DeliveryId::from_bytes([number; 16])
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Fails as often as there are expected waits, each time as soon as it may.
    fn waits(sign: Sign, count: usize) -> Vec<u64> {
        let mut pause = Pause::default();
        let mut now = Instant::now();
        (0..count)
            .map(|number| {
                let id = id(u8::try_from(number).unwrap());
                let wait = pause.found_away(now, pause.epoch, id, sign).unwrap();
                assert_eq!(pause.door(now), Door::Shut(now + wait));
                now += wait;
                assert_eq!(pause.door(now), Door::Probe);
                wait.as_secs()
            })
            .collect()
    }

    #[test]
    fn pauses_double_from_a_second_to_a_minute() {
        for sign in [Sign::Unreached, Sign::Silent, Sign::Asked(None)] {
            assert_eq!(waits(sign, 9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        }
    }

    #[test]
    fn what_the_application_asks_for_is_obeyed() {
        assert_eq!(waits(Sign::Asked(Some(seconds(7))), 3), [7, 7, 7]);
        assert_eq!(waits(Sign::Asked(Some(seconds(3600))), 2), [3600, 3600]);
        assert_eq!(waits(Sign::Asked(Some(Duration::ZERO)), 2), [1, 1]);
    }

    #[test]
    fn attempts_that_fail_together_pause_once() {
        let now = Instant::now();
        let mut pause = Pause::default();
        assert_eq!(pause.found_away(now, 0, id(1), Sign::Silent), Some(SHORTEST));
        assert_eq!(pause.found_away(now, 0, id(2), Sign::Silent), None);
        assert_eq!(pause.door(now), Door::Shut(now + SHORTEST));
        // One of them may ask for more all the same.
        assert_eq!(pause.found_away(now, 0, id(3), Sign::Asked(Some(seconds(9)))), None);
        assert_eq!(pause.door(now), Door::Shut(now + seconds(9)));
    }

    #[test]
    fn an_answer_ends_a_pause_unless_it_was_asked_for_later() {
        let now = Instant::now();
        let mut pause = Pause::default();
        assert!(!pause.found_alive(0), "there was none");
        pause.found_away(now, 0, id(1), Sign::Silent);
        assert!(pause.found_alive(0));
        assert_eq!(pause.door(now), Door::Open);
        let epoch = pause.epoch;
        pause.found_away(now, epoch, id(1), Sign::Asked(Some(seconds(5))));
        assert!(!pause.found_alive(epoch));
        assert!(pause.found_alive(pause.epoch));
        // And the next one is a first one again.
        assert_eq!(pause.found_away(now, pause.epoch, id(1), Sign::Silent), Some(SHORTEST));
    }

    #[test]
    fn one_delivery_alone_does_not_hold_up_another() {
        let mut now = Instant::now();
        let mut pause = Pause::default();
        for _ in 0..5 {
            now += pause.found_away(now, pause.epoch, id(1), Sign::Silent).unwrap();
        }
        assert_eq!(pause.found_away(now, pause.epoch, id(1), Sign::Silent), Some(seconds(32)));
        pause.another_came();
        assert_eq!(pause.door(now + SHORTEST), Door::Probe);
        // It fails as well, so it is not the delivery.
        let later = now + SHORTEST;
        let wait = pause.found_away(later, pause.epoch, id(2), Sign::Silent).unwrap();
        pause.another_came();
        assert_eq!(pause.door(later + SHORTEST), Door::Shut(later + wait));
    }

    #[test]
    fn where_no_delivery_can_be_the_cause_nobody_is_let_through_early() {
        for sign in [Sign::Unreached, Sign::Asked(Some(seconds(40)))] {
            let now = Instant::now();
            let mut pause = Pause::default();
            let wait =
                (0..6).map(|_| pause.found_away(now, pause.epoch, id(1), sign).unwrap()).last().unwrap();
            pause.another_came();
            assert_eq!(pause.door(now + SHORTEST), Door::Shut(now + wait), "{sign:?}");
        }
    }
}
