//! When each receiver is looked after, and whose turn it is.
//!
//! A receiver is *wanted* when it may have something that is due, *queued* while it waits for its turn, and
//! *looked at* while the store is asked what it has. Nothing here asks the store or waits.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::fairness::Fairness;
use super::timers::Timers;
use crate::shares::NamespaceId;

/// How one receiver stands.
#[derive(Debug)]
pub(super) struct Standing {
    /// Its namespace.
    pub(super) namespace: NamespaceId,
    /// Places that it holds.
    pub(super) held: usize,
    /// Whether it is no longer there.
    pub(super) is_gone: bool,
    /// The store is being asked.
    pub(super) is_looking: bool,
    /// There may be something that is due.
    pub(super) is_wanted: bool,
    /// It waits for its turn.
    is_queued: bool,
}

impl Standing {
    /// A receiver that has just come.
    pub(super) fn new(namespace: NamespaceId) -> Self {
        Self { namespace, held: 0, is_gone: false, is_looking: false, is_wanted: true, is_queued: false }
    }
}

/// A receiver that is looked after.
pub(super) trait Waits {
    /// How it stands.
    fn standing(&self) -> &Standing;
    /// The same, to be changed.
    fn standing_mut(&mut self) -> &mut Standing;
    /// How many places more it may have now.
    fn room(&mut self, now: Instant) -> usize;
    /// When it may have one, where time is all that it lacks.
    fn shut_until(&self, now: Instant) -> Option<Instant>;
}

/// The receivers, when each is looked after, and the order among them.
pub(super) struct Turns<L> {
    pub(super) lines: HashMap<Arc<str>, L>,
    pub(super) fairness: Fairness,
    pub(super) timers: Timers,
    /// Whether receivers that are gone are forgotten once they hold nothing.
    forgets: bool,
    namespaces: HashMap<Arc<str>, Arc<str>>,
}

impl<L: Waits> Turns<L> {
    pub(super) fn new(fairness: Fairness, forgets: bool) -> Self {
        Self {
            lines: HashMap::new(),
            fairness,
            timers: Timers::default(),
            forgets,
            namespaces: HashMap::new(),
        }
    }

    /// A receiver has come.
    pub(super) fn enter(
        &mut self,
        uid: &Arc<str>,
        namespace: &Arc<str>,
        line: impl FnOnce(NamespaceId) -> L,
    ) {
        let line = line(self.fairness.enter(namespace));
        self.namespaces.insert(Arc::clone(uid), Arc::clone(namespace));
        self.lines.insert(Arc::clone(uid), line);
    }

    /// The receiver may have something that is due.
    pub(super) fn want(&mut self, uid: &Arc<str>) {
        if let Some(line) = self.lines.get_mut(uid) {
            line.standing_mut().is_wanted = true;
            self.consider(uid);
        }
    }

    /// Wants those whose time has come.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(uid) = self.timers.due(now) {
            self.want(&uid);
        }
    }

    /// The receiver whose turn it is, if there is one that may have anything.
    pub(super) fn next(&mut self) -> Option<Arc<str>> {
        loop {
            let uid = self.fairness.next()?;
            if let Some(line) = self.lines.get_mut(&uid) {
                line.standing_mut().is_queued = false;
                return Some(uid);
            }
        }
    }

    /// Lets the receiver wait for its turn, if it may have something and has room for it. Returns whether it
    /// was forgotten instead.
    pub(super) fn consider(&mut self, uid: &Arc<str>) -> bool {
        let now = Instant::now();
        let Some(line) = self.lines.get_mut(uid) else { return false };
        let standing = line.standing();
        // One that waits for its turn is forgotten when it has it.
        if standing.is_queued || standing.is_looking {
            return false;
        }
        if standing.is_gone && standing.held == 0 && self.forgets {
            self.forget(uid);
            return true;
        }
        if !standing.is_wanted {
            return false;
        }
        if line.room(now) > 0 {
            let standing = line.standing_mut();
            standing.is_queued = true;
            self.fairness.queue(standing.namespace, Arc::clone(uid));
        } else if let Some(until) = line.shut_until(now) {
            self.timers.arm(uid, until);
        }
        false
    }

    fn forget(&mut self, uid: &Arc<str>) {
        self.lines.remove(uid);
        self.timers.disarm(uid);
        if let Some(namespace) = self.namespaces.remove(uid) {
            self.fairness.leave(&namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Line {
        standing: Standing,
        most: usize,
        shut: Option<Instant>,
    }

    impl Waits for Line {
        fn standing(&self) -> &Standing {
            &self.standing
        }

        fn standing_mut(&mut self) -> &mut Standing {
            &mut self.standing
        }

        fn room(&mut self, _: Instant) -> usize {
            if self.shut.is_some() { 0 } else { self.most.saturating_sub(self.standing.held) }
        }

        fn shut_until(&self, _: Instant) -> Option<Instant> {
            self.shut
        }
    }

    fn turns(forgets: bool) -> (Turns<Line>, Arc<str>) {
        let mut turns = Turns::new(Fairness::new(10, 1_000), forgets);
        let uid: Arc<str> = "one".into();
        let line = |namespace| Line { standing: Standing::new(namespace), most: 1, shut: None };
        turns.enter(&uid, &"hr".into(), line);
        (turns, uid)
    }

    #[test]
    fn who_is_wanted_has_a_turn_and_only_one_at_a_time() {
        let (mut turns, uid) = turns(true);
        turns.consider(&uid);
        turns.want(&uid);
        assert_eq!(turns.next(), Some(Arc::clone(&uid)));
        assert_eq!(turns.next(), None);
        // Not while the store is asked, and not without a place.
        turns.lines.get_mut(&uid).unwrap().standing.is_looking = true;
        turns.want(&uid);
        assert_eq!(turns.next(), None);
        let line = turns.lines.get_mut(&uid).unwrap();
        (line.standing.is_looking, line.standing.held) = (false, 1);
        turns.want(&uid);
        assert_eq!(turns.next(), None);
        turns.lines.get_mut(&uid).unwrap().standing.held = 0;
        turns.consider(&uid);
        assert_eq!(turns.next(), Some(uid));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_shut_comes_back_when_it_is_over() {
        let (mut turns, uid) = turns(true);
        let until = Instant::now() + Duration::from_secs(5);
        turns.lines.get_mut(&uid).unwrap().shut = Some(until);
        turns.consider(&uid);
        assert_eq!((turns.next(), turns.timers.first()), (None, Some(until)));
        turns.lines.get_mut(&uid).unwrap().shut = None;
        turns.wake(until - Duration::from_millis(1));
        assert_eq!(turns.next(), None);
        turns.wake(until);
        assert_eq!(turns.next(), Some(uid));
    }

    #[test]
    fn who_is_gone_is_forgotten_when_nothing_is_under_way_or_never() {
        for forgets in [true, false] {
            let (mut turns, uid) = turns(forgets);
            turns.want(&uid);
            let line = turns.lines.get_mut(&uid).unwrap();
            (line.standing.is_gone, line.standing.held, line.most) = (true, 1, 0);
            turns.consider(&uid);
            assert_eq!(turns.next(), Some(Arc::clone(&uid)), "it waits for its turn");
            turns.consider(&uid);
            assert!(turns.lines.contains_key(&uid), "it holds a place");
            turns.lines.get_mut(&uid).unwrap().standing.held = 0;
            turns.consider(&uid);
            assert_eq!(turns.lines.contains_key(&uid), !forgets);
            assert_eq!(turns.namespaces.len(), usize::from(!forgets));
        }
    }
}
