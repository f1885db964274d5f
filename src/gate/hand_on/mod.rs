//! Handing on: from the store to the application, again and again until it has taken each delivery.
//!
//! One task decides, and nothing in it waits for an application or for the store. Which receiver is
//! looked at next is a matter of turns ([`turns`](super::turns)), what may be taken of its own pause ([`pause`]),
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
mod line;
mod nudge;
mod parts;
pub(in crate::gate) mod pause;
mod ports;
mod record;
pub(in crate::gate) mod request;
mod retention;
mod scheduler;
pub(in crate::gate) mod sending;
#[cfg(test)]
pub(in crate::gate) mod tests;

use std::sync::Arc;

use tokio::sync::watch;

pub use self::nudge::Nudge;
use self::parts::Parts;
pub use self::parts::{Gone, Options};
pub use self::ports::{ByName, Exchange, LARGEST_ANSWER, Locate, NOT_ALLOWED, Place, url_of_service};
use self::scheduler::Scheduler;
use crate::gate::clock::Clock;
pub use crate::gate::known::Receivers;
use crate::gate::observer::Observer;
use crate::store::{Store, StoreError};

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
