//! Handing on: from the store to the application, again and again until it has taken each delivery.
//!
//! One task decides, and nothing in it waits for an application or for the store. Which receiver is
//! looked at next is a matter of turns ([`fairness`]), what may be taken of its own pause ([`pause`]),
//! and what becomes of a delivery of what its attempt meant ([`attempt`], [`line`]).
//!
//! | the application | the delivery | the receiver |
//! |---|---|---|
//! | answers 2xx | is done, whatever else has become of it | goes on |
//! | answers anything else but 429 and 503 | was refused: tried again, twice as late each time, then parked | goes on |
//! | answers 429 or 503, or not at all | is tried again, and that does not count | pauses, then asks with one delivery |
//! | cannot be reached, or must not be | is tried again, and that does not count | pauses, then asks with one delivery |
//!
//! A delivery that makes its application fail holds no other one up: it goes behind those that wait,
//! and while it is the only one that is known to fail, any other may try at once.

mod answered;
pub(in crate::gate) mod attempt;
pub(in crate::gate) mod fairness;
mod line;
pub(in crate::gate) mod pause;
mod ports;
mod record;
pub(in crate::gate) mod request;
mod retention;
mod scheduler;
pub(in crate::gate) mod sending;
#[cfg(test)]
pub(in crate::gate) mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub use self::ports::{ByName, Exchange, LARGEST_ANSWER, Locate, NOT_ALLOWED, Place, url_of_service};
use self::scheduler::Scheduler;
use crate::gate::clock::Clock;
pub use crate::gate::known::Receivers;
use crate::gate::observer::Observer;
use crate::store::{Store, StoreError};

/// How deliveries are handed on; the defaults are those of a production process.
#[derive(Clone)]
pub struct Options {
    /// How many deliveries may be under way, to all applications together. A namespace may have as many
    /// as it leaves to the next.
    pub most: usize,
    /// How many bytes of bodies they may hold together, in the same way.
    pub most_bytes: u64,
    /// A receiver is looked after at least so often, though nothing says that there is anything.
    pub look_every: Duration,
    /// How often it is looked whether something waits for a receiver that is gone.
    pub tidy_every: Duration,
    /// What becomes of deliveries whose receiver is no longer there.
    pub gone: Gone,
    /// Whether all receivers of a namespace are known. What waits for a receiver that was never there waits
    /// until this is so.
    pub knows_all_of: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Random bits, so that deliveries that failed together do not come back together.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            most: 512,
            most_bytes: 128 << 20,
            look_every: Duration::from_secs(30),
            tidy_every: Duration::from_secs(60),
            gone: Gone::Wait,
            knows_all_of: Arc::new(|_| true),
            random: Arc::new(|| getrandom::u64().unwrap_or_default()),
        }
    }
}

/// What becomes of deliveries whose receiver is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// They wait, as under `suspend`: a file that is missing may come back.
    Wait,
    /// They are parked: an object was deleted, and whoever takes its name gets nothing of it.
    Park,
}

/// Says that something is due, without waiting. Cheap to clone.
#[derive(Clone, Default)]
pub struct Nudge {
    shared: Arc<Nudged>,
}

#[derive(Default)]
struct Nudged {
    uids: Mutex<HashSet<Arc<str>>>,
    notify: Notify,
}

impl Nudge {
    /// A delivery was stored for the receiver of this uid, or waits again.
    pub fn stored(&self, uid: &Arc<str>) {
        let mut uids = self.shared.uids.lock().unwrap_or_else(PoisonError::into_inner);
        if uids.contains(uid) {
            return;
        }
        uids.insert(Arc::clone(uid));
        if uids.len() == 1 {
            self.shared.notify.notify_one();
        }
    }

    fn take(&self) -> HashSet<Arc<str>> {
        std::mem::take(&mut *self.shared.uids.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What handing on works with.
#[derive(Clone)]
struct Parts {
    store: Arc<dyn Store>,
    exchange: Arc<dyn Exchange>,
    locate: Arc<dyn Locate>,
    observer: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    options: Options,
}

/// Hands deliveries on.
pub struct HandingOn {
    parts: Parts,
    receivers: watch::Receiver<Receivers>,
    nudge: Nudge,
}

impl HandingOn {
    /// What is in the store goes to the applications of these receivers. The first value of `receivers`
    /// has to be all of them: with [`Gone::Park`], what waits for others is parked.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        exchange: impl Exchange + 'static,
        receivers: watch::Receiver<Receivers>,
        observer: Arc<dyn Observer>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        let (exchange, locate) = (Arc::new(exchange), Arc::new(ByName));
        let parts = Parts { store, exchange, locate, observer, clock, options };
        Self { parts, receivers, nudge: Nudge::default() }
    }

    /// The same, with somebody else who knows where Services are.
    #[must_use]
    pub fn locating_with(mut self, locate: Arc<dyn Locate>) -> Self {
        self.parts.locate = locate;
        self
    }

    /// To be told of what was stored.
    #[must_use]
    pub fn nudge(&self) -> Nudge {
        self.nudge.clone()
    }

    /// Works until `stop` ends. Then nothing more is begun; attempts that are under way end within
    /// their time-outs, and what was taken and not begun is given back.
    ///
    /// # Errors
    /// [`StoreError::Broken`]: nothing can be made durable any more, and the process has to end.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), StoreError> {
        Scheduler::new(self.parts, self.receivers, self.nudge).run(stop).await
    }
}
