//! One receiver that has a fallback, and what is under way for one of its expectations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::question::origin;
use super::settle::Came;
use crate::gate::hand_on::pause::{Door, Pause};
use crate::gate::receiver::{Fallback, Receiver};
use crate::gate::turns::{Standing, Waits};
use crate::shares::NamespaceId;

/// A receiver that has a fallback.
pub(super) struct Line {
    pub(super) receiver: Arc<Receiver>,
    pub(super) fallback: Arc<Fallback>,
    /// What its questions count against.
    pub(super) origin: String,
    standing: Standing,
    /// So many questions may be under way.
    most: usize,
    /// Of its application.
    pub(super) pause: Pause,
}

impl Line {
    pub(super) fn new(
        receiver: Arc<Receiver>,
        fallback: Arc<Fallback>,
        most: usize,
        namespace: NamespaceId,
    ) -> Self {
        Self {
            origin: origin(&fallback.request),
            receiver,
            fallback,
            standing: Standing::new(namespace),
            most,
            pause: Pause::default(),
        }
    }

    /// The receiver is as its object says now.
    pub(super) fn change(&mut self, receiver: &Arc<Receiver>, fallback: &Arc<Fallback>) {
        if self.receiver.forward != receiver.forward {
            self.pause.reset();
        }
        self.origin = origin(&fallback.request);
        self.receiver = Arc::clone(receiver);
        self.fallback = Arc::clone(fallback);
        (self.standing.is_wanted, self.standing.is_gone) = (true, false);
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
        if self.standing.is_gone || self.receiver.suspended {
            return 0;
        }
        // What was asked is handed on at once, so that there are no more than the application can stand.
        let most = self.most.min(self.receiver.forward.max_concurrent);
        match self.pause.door(now) {
            Door::Open => most.saturating_sub(self.standing.held),
            Door::Probe => 1_usize.saturating_sub(self.standing.held),
            Door::Shut(_) => 0,
        }
    }

    fn shut_until(&self, now: Instant) -> Option<Instant> {
        self.pause.shut_until(now)
    }
}

/// Work on an expectation that is under way. There is one at a time for each.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) overtaken: Arc<AtomicBool>,
    /// The deliveries that came meanwhile.
    pub(super) came: Option<Came>,
}

impl Slot {
    /// A delivery came: what is being asked for is old.
    pub(super) fn overtake(&mut self, came: Came) {
        self.overtaken.store(true, Ordering::Release);
        self.came = Some(self.came.unwrap_or_default().and(came));
    }
}
