//! What all requests share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};

use super::account::DeliveryLedger;
use super::clock::Clock;
use super::config::Config;
use super::error::Error;
use super::gupy_sender::GupySender;
use super::post::Post;
use super::received::Received;
use super::world::World;
use crate::secret::SecretText;

/// What all requests share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    world: Mutex<World>,
    /// What became of deliveries that were handed on.
    pub(super) account: Arc<DeliveryLedger>,
    pub(super) senders: Vec<Arc<Post>>,
    /// What must never reach the application.
    pub(super) credentials: Vec<SecretText>,
    gupy: Mutex<GupySender>,
    received: Mutex<VecDeque<Received>>,
    /// Rings when something may be due earlier than before.
    pub(super) wake: Notify,
    pub(super) closing: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(config: &Config, base_url: &str) -> Result<Self, Error> {
        let clock = Clock::new(config.time_scale);
        let world = World::new(config, |provider| clock.real(provider))?;
        let account = Arc::clone(&world.account);
        let mut credentials = vec![config.management_token.clone()];
        credentials.extend(config.clients.iter().map(|client| client.secret.clone()));
        credentials.extend(config.senders.iter().flat_map(|sender| sender.platform.credentials()));
        let post = |sender| Post::new(sender, clock.now(), Arc::clone(&account)).map(Arc::new);
        Ok(Self {
            senders: config.senders.iter().map(post).collect::<Result<_, _>>()?,
            gupy: Mutex::new(GupySender::new(config.deliver_to.clone(), base_url)?),
            received: Mutex::default(),
            world: Mutex::new(world),
            clock,
            account,
            credentials,
            wake: Notify::new(),
            closing: watch::Sender::new(false),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where Gupy's deliveries go.
    pub(super) fn gupy(&self) -> MutexGuard<'_, GupySender> {
        self.gupy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the application got last.
    pub(super) fn received(&self) -> MutexGuard<'_, VecDeque<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world and the present moment, read in this order so that changes carry rising times.
    pub(super) fn lock_now(&self) -> (MutexGuard<'_, World>, DateTime<Utc>) {
        let world = self.lock();
        let now = self.clock.now();
        (world, now)
    }

    /// Resolves when the sandbox shuts down.
    pub(super) async fn closed(&self) {
        // An error would mean that the sender is gone, which it is not while `self` is here.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }
}
