//! Tells systemd how the process fares, where it was started as a unit with `Type=notify`:
//! `READY=1` when nothing is missing any more, `STOPPING=1` when the process is to end, and
//! `WATCHDOG=1` as long as the scheduler goes round, if the unit has a `WatchdogSec`. The protocol is
//! that of [sd_notify(3)](https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html).

use std::sync::Arc;
use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tracing::warn;

use super::health::{Heartbeat, Readiness};
use super::shutdown::Shutdown;

/// Keeps the service manager informed until the process ends. Does nothing where none asked for it.
pub async fn keep_informed(readiness: Readiness, heartbeat: Arc<Heartbeat>, shutdown: Shutdown) {
    let watchdog = keep_awake(heartbeat, watchdog_enabled());
    let states = async {
        tokio::select! {
            () = readiness.complete() => {
                tell(&NotifyState::Ready);
                shutdown.asked().await;
            }
            () = shutdown.asked() => {}
        }
        tell(&NotifyState::Stopping);
    };
    tokio::join!(watchdog, states);
}

/// Twice within the time that the service manager allows, as its documentation asks.
async fn keep_awake(heartbeat: Arc<Heartbeat>, limit: Option<Duration>) {
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else { return };
    let mut ticks = tokio::time::interval(limit / 2);
    loop {
        ticks.tick().await;
        if heartbeat.is_alive() {
            tell(&NotifyState::Watchdog);
        }
    }
}

fn tell(state: &NotifyState<'_>) {
    // Without `NOTIFY_SOCKET` this does nothing.
    if let Err(error) = notify(std::slice::from_ref(state)) {
        warn!(%error, "systemd cannot be told: {state}");
    }
}
