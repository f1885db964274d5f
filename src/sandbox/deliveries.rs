//! Sends Gupy's deliveries when they are due, over real connections, to the own receiver or elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::gupy_sender::GupySender;
use super::shared::Shared;
use super::world::Parcel;

/// Deliveries in flight at the same time.
const AT_ONCE: usize = 64;

/// The loop looks again after this long even if nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Sends until it is aborted.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut in_flight = JoinSet::new();
    loop {
        let mut wait = IDLE;
        while in_flight.len() < AT_ONCE {
            let (mut world, now) = shared.lock_now();
            let Some(parcel) = world.next_parcel(now) else {
                let due = world.schedule.next_due();
                wait = due.map_or(IDLE, |due| (due - now).to_std().unwrap_or_default());
                break;
            };
            drop(world);
            in_flight.spawn(deliver(Arc::clone(&shared), shared.gupy().clone(), parcel));
        }
        tokio::select! {
            () = shared.wake.notified() => {}
            Some(_) = in_flight.join_next(), if !in_flight.is_empty() => {}
            () = tokio::time::sleep(wait.min(IDLE)) => {}
        }
    }
}

async fn deliver(shared: Arc<Shared>, sender: GupySender, parcel: Parcel) {
    let (outcome, answer) = sender.send(&parcel).await;
    let real = |provider| shared.clock.real(provider);
    let (mut world, now) = shared.lock_now();
    world.delivered(now, parcel, outcome, answer, real);
}
