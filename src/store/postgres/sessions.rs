//! Connections that are lent: a bounded number of them, made when one is needed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connecting::Connector;
use super::error::Trouble;
use super::session::Session;
use crate::store::StoreError;

/// How long who asks waits for a free connection.
const FREE: Duration = Duration::from_secs(5);

/// Sessions, so many at most.
pub(super) struct Sessions {
    connector: Arc<Connector>,
    places: Semaphore,
    idle: Mutex<Vec<Session>>,
}

/// A session for as long as somebody uses it. Dropped without [`Lent::after`] its connection is closed, which
/// takes back what was begun in it.
pub(super) struct Lent<'a> {
    pub(super) session: Session,
    of: &'a Sessions,
    _place: SemaphorePermit<'a>,
}

impl Lent<'_> {
    /// It is not needed any more, after this came of it: others may have the session, if it can be used again.
    pub(super) fn after<T>(self, result: Result<T, Trouble>) -> Result<T, Trouble> {
        let is_left = result.as_ref().is_err_and(|trouble| !trouble.leaves_session());
        if !is_left && self.session.is_usable() {
            self.of.idle().push(self.session);
        }
        result
    }
}

impl Sessions {
    pub(super) fn new(connector: Arc<Connector>, most: usize) -> Self {
        Self { connector, places: Semaphore::new(most), idle: Mutex::default() }
    }

    /// One that is there already.
    pub(super) fn add(&self, session: Session) {
        self.idle().push(session);
    }

    /// A session, when there is a place.
    pub(super) async fn lend(&self) -> Result<Lent<'_>, Trouble> {
        let place = match timeout(FREE, self.places.acquire()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(Trouble::Store(StoreError::Unavailable("it is closed".to_owned()))),
            Err(_) => return Err(Trouble::Away("all connections to the database are in use".to_owned())),
        };
        loop {
            let Some(session) = self.idle().pop() else { break };
            if session.is_usable() {
                return Ok(Lent { session, of: self, _place: place });
            }
        }
        let session = self.connector.connect().await?;
        Ok(Lent { session, of: self, _place: place })
    }

    /// Nobody gets one any more.
    pub(super) fn close(&self) {
        self.places.close();
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
