//! The senders of the platforms without an API, each with a task of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::post::Post;
use super::shared::Shared;
use super::wire::{Load, Wire};

/// The loop looks again after this long even if nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Sends until it is aborted.
pub(super) async fn run(shared: Arc<Shared>, post: Arc<Post>) {
    let mut in_flight = JoinSet::new();
    loop {
        let wire = post.wire().clone();
        let wait = wire.map_or(IDLE, |wire| start_what_is_due(&shared, &post, &wire, &mut in_flight));
        tokio::select! {
            () = post.woken() => {}
            Some(_) = in_flight.join_next(), if !in_flight.is_empty() => {}
            () = tokio::time::sleep(wait) => {}
        }
        while in_flight.try_join_next().is_some() {}
    }
}

/// Returns how long nothing is due.
fn start_what_is_due(
    shared: &Arc<Shared>,
    post: &Arc<Post>,
    wire: &Wire,
    in_flight: &mut JoinSet<()>,
) -> Duration {
    let now = shared.clock.now();
    let mut desk = post.desk();
    while let Some(parcel) = desk.take(now) {
        let (shared, post, wire) = (Arc::clone(shared), Arc::clone(post), wire.clone());
        in_flight.spawn(async move {
            let answer = wire
                .send(Load {
                    headers: &parcel.headers,
                    body: parcel.body(),
                    timeout: parcel.timeout,
                    breakage: parcel.breakage,
                })
                .await;
            let now = shared.clock.now();
            post.desk().done(now, &parcel.attempt, answer.status, |platform| shared.clock.real(platform));
        });
    }
    desk.next_due().map_or(IDLE, |due| (due - now).to_std().unwrap_or_default().min(IDLE))
}
