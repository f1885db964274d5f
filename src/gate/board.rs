//! What has happened at each receiver since the process began, as far as its status tells of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use super::clock::Clock;
use super::observer::{Asked, Fact, Observer};
use super::registry::View;
use super::status::{Happened, resumed};
use crate::store::Owner;

/// Keeps the last of what happened, one entry for each receiver.
pub struct Board {
    clock: Arc<dyn Clock>,
    changed: Notify,
    receivers: Mutex<HashMap<Arc<str>, Happened>>,
}

impl Board {
    /// A board on which nothing stands.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, changed: Notify::new(), receivers: Mutex::default() }
    }

    /// Waits until an application or a platform has gone away or come back since it ended last. To be waited
    /// for by one task alone.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What has happened at this receiver.
    #[must_use]
    pub fn of(&self, uid: &str) -> Happened {
        let receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.get(uid).cloned().unwrap_or_default()
    }

    /// What had happened at this receiver before the process began.
    pub fn resume(&self, view: &View) {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        if !receivers.contains_key(view.identity.uid.as_str()) {
            let removed_after = view.receiver.as_ref().and_then(|receiver| receiver.removed_after);
            receivers.insert(view.identity.uid.as_str().into(), resumed(&view.recorded, removed_after));
        }
    }

    /// Forgets those that are no longer there.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.retain(|uid, _| is_there(uid));
    }
}

impl Observer for Board {
    fn saw(&self, owner: &Owner, fact: Fact<'_>) {
        let now: DateTime<Utc> = self.clock.now();
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        let happened = match receivers.get_mut(&owner.uid) {
            Some(happened) => happened,
            None => receivers.entry(Arc::clone(&owner.uid)).or_default(),
        };
        let before = (happened.paused.is_some(), happened.unanswered.is_some());
        happened.risk.saw(&fact, now);
        match fact {
            Fact::Accepted { .. } => happened.accepted = Some(now),
            Fact::Refused { recognised: true, .. } => happened.refused = Some(now),
            Fact::Paused { why, .. } => {
                let since = happened.paused.as_ref().map_or(now, |(since, _)| *since);
                happened.paused = Some((since, why.to_owned()));
            }
            Fact::Resumed | Fact::HandedOn { .. } => happened.paused = None,
            Fact::Asked(Asked::NoAnswer(why)) => {
                let since = happened.unanswered.as_ref().map_or(now, |(since, _)| *since);
                happened.unanswered = Some((since, why.to_owned()));
            }
            Fact::Asked(_) => happened.unanswered = None,
            _ => {}
        }
        if before != (happened.paused.is_some(), happened.unanswered.is_some()) {
            self.changed.notify_one();
        }
    }
}

/// Tells each fact to several.
pub struct Observers(pub Vec<Arc<dyn Observer>>);

impl Observer for Observers {
    fn saw(&self, owner: &Owner, fact: Fact<'_>) {
        for observer in &self.0 {
            observer.saw(owner, fact.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;
    use crate::gate::clock::SteadyClock;
    use crate::gate::refusal::Refusal;

    #[tokio::test(start_paused = true)]
    async fn the_last_of_each_kind_stands_there() {
        let began = DateTime::UNIX_EPOCH;
        let board = Board::new(Arc::new(SteadyClock::starting(began)));
        let owner = Owner { namespace: "a".into(), name: "b".into(), uid: "c".into() };
        let refused = |recognised| Fact::Refused {
            reason: Refusal::RetiredToken,
            recognised,
            fingerprint: None,
            subscription: None,
        };
        board.saw(&owner, refused(false));
        assert_eq!(board.of("c"), Happened::default());
        let paused = |why| Fact::Paused { wait: Duration::from_secs(1), why };
        board.saw(&owner, paused("connection refused"));
        tokio::time::advance(Duration::from_secs(60)).await;
        board.saw(&owner, paused("no answer"));
        assert_eq!(board.of("c").paused, Some((began, "no answer".to_owned())));
        assert!(board.changed().now_or_never().is_some(), "whoever tells of it is told");
        assert!(board.changed().now_or_never().is_none(), "once");
        board.saw(&owner, Fact::Resumed);
        board.saw(&owner, refused(true));
        board.saw(&owner, Fact::Accepted { fingerprint: None, event: None, subscription: None });
        let now = began + chrono::TimeDelta::seconds(60);
        let happened = board.of("c");
        assert_eq!((happened.accepted, happened.refused, happened.paused), (Some(now), Some(now), None));
        let asked = |asked| board.saw(&owner, Fact::Asked(asked));
        asked(Asked::NoAnswer("401"));
        tokio::time::advance(Duration::from_secs(60)).await;
        asked(Asked::NoAnswer("403"));
        assert_eq!(board.of("c").unanswered, Some((now, "403".to_owned())));
        asked(Asked::Nothing);
        assert_eq!(board.of("c").unanswered, None);
        board.retain(|_| false);
        assert_eq!(board.of("c"), Happened::default());
    }
}
