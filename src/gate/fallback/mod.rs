//! The fallback: where a platform's deliveries fail, the platform is asked.
//!
//! The application says what it waits for ([`desk`]). If no delivery with this id came in time, the gate
//! asks the platform for it, again and again ([`polling`]), and hands on what it is told, but nothing that
//! was handed on already. What was asked for is not stored: an attempt that fails asks again, so that
//! what goes out is always the newest that is known.
//!
//! | what happens | the expectation |
//! |---|---|
//! | the application says that it waits for an id | begins, or starts again; asked after `after` |
//! | a delivery with a status of `until` comes | is met |
//! | any other delivery with this id comes | goes on; asked after `after` from now |
//! | the platform answers with a status that was not handed on, and the application takes it | is met with a status of `until`; else asked after `every` |
//! | the platform answers with a status that was handed on | the same, and nothing goes out |
//! | the platform does not answer, or the application does not take it | asked after `every` |
//! | `giveUpAfter` is over, the receiver is gone, or it has no fallback any more | is parked: nobody is asked |
//! | it was parked for a week | is forgotten |

mod budget;
mod desk;
mod line;
mod news;
mod parts;
mod poll;
mod polling;
mod ports;
mod question;
mod settle;
#[cfg(test)]
mod tests;
mod writing;

use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::{mpsc, watch};

pub use self::budget::{Budget, Others, Questions};
pub use self::desk::{Desk, MOST_OPEN, Reply};
use self::news::News;
pub use self::parts::Options;
use self::parts::Parts;
use self::polling::Polling;
pub use self::ports::{Asking, Means};
use super::acceptance::Polled;
use super::clock::Clock;
use super::digest::DigestKey;
use super::hand_on::{ByName, Exchange, Locate, Receivers};
use super::observer::Observer;
use super::ports::Credentials;
use super::receiver::Receiver;
use crate::store::{Store, StoreError};

/// Those that nobody is asked for any more are kept so long, for people to see.
pub const PARKED_FOR: TimeDelta = TimeDelta::days(7);
/// What is told of deliveries and expectations waits here. More is left out, and costs a question.
const MOST_NEWS: usize = 8_192;

/// Asks platforms for what they did not deliver.
pub struct Fallbacks {
    parts: Parts,
    receivers: watch::Receiver<Receivers>,
    sender: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
}

impl Fallbacks {
    /// Asks for these receivers, as far as they have a `fallback`; `client` goes to the platforms and to
    /// the applications.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        client: impl Asking + Exchange + Clone + 'static,
        receivers: watch::Receiver<Receivers>,
        means: Arc<dyn Means>,
        observer: Arc<dyn Observer>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        let (sender, news) = mpsc::channel(MOST_NEWS);
        let parts = Parts {
            digests: DigestKey::new(store.digest_key()),
            store,
            asking: Arc::new(client.clone()),
            exchange: Arc::new(client),
            locate: Arc::new(ByName),
            means,
            budget: Arc::new(Questions::default()),
            observer,
            clock,
            options,
        };
        Self { parts, receivers, sender, news }
    }

    /// The same, with somebody else who knows where Services are.
    #[must_use]
    pub fn locating_with(mut self, locate: Arc<dyn Locate>) -> Self {
        self.parts.locate = locate;
        self
    }

    /// The same, with another budget for the platforms.
    #[must_use]
    pub fn within(mut self, budget: Arc<dyn Budget>) -> Self {
        self.parts.budget = budget;
        self
    }

    /// Where applications say what they wait for. `random` is a key of this process.
    #[must_use]
    pub fn desk(&self, credentials: Arc<dyn Credentials>, random: &[u8; 32]) -> Arc<Desk> {
        let (parts, news) = (&self.parts, self.sender.clone());
        let (store, clock) = (Arc::clone(&parts.store), Arc::clone(&parts.clock));
        Arc::new(Desk::new(store, self.receivers.clone(), credentials, clock, DigestKey::new(random), news))
    }

    /// To be told of deliveries.
    #[must_use]
    pub fn told(&self) -> Told {
        Told { news: self.sender.clone() }
    }

    /// Works until `stop` ends. Questions that are under way end within their time-outs.
    ///
    /// # Errors
    /// [`StoreError::Broken`]: nothing can be made durable any more, and the process has to end.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), StoreError> {
        Polling::new(self.parts, self.receivers, self.news).run(stop).await
    }
}

/// Tells of deliveries, without waiting. Cheap to clone.
#[derive(Clone)]
pub struct Told {
    news: mpsc::Sender<News>,
}

impl Told {
    /// Something of the receiver with this uid may be due.
    pub fn due(&self, uid: &Arc<str>) {
        let _ = self.news.try_send(News::Expected(Arc::clone(uid)));
    }

    /// A delivery was stored for this receiver.
    pub fn delivered(&self, receiver: &Receiver, polled: Option<&Polled>) {
        self.came(receiver, polled, true);
    }

    /// A delivery came for this receiver, and is not handed on.
    pub fn left_out(&self, receiver: &Receiver, polled: Option<&Polled>) {
        self.came(receiver, polled, false);
    }

    fn came(&self, receiver: &Receiver, polled: Option<&Polled>, is_handed_on: bool) {
        if receiver.fallback.is_some()
            && let Some(polled) = polled.filter(|polled| desk::is_id(&polled.id)).cloned()
        {
            let uid = Arc::clone(&receiver.owner.uid);
            // One that has no place here costs a question, and perhaps a status that comes twice.
            let _ = self.news.try_send(News::Came { uid, polled, is_handed_on });
        }
    }
}
