//! The end of the process, asked for by a signal.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

/// Says whether the process is to end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Asks the process to end. Dropping it asks for nothing.
#[derive(Clone, Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

impl Shutdown {
    /// A handle and what it listens to.
    #[must_use]
    pub fn new() -> (ShutdownTrigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(sender), Self(receiver))
    }

    /// A handle that SIGTERM and SIGINT trigger. A second signal ends the process at once, as it
    /// would have without us.
    ///
    /// # Errors
    /// When the signals cannot be listened to.
    pub fn on_signals() -> io::Result<(ShutdownTrigger, Self)> {
        let (trigger, shutdown) = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let asked = trigger.clone();
        tokio::spawn(async move {
            loop {
                let (name, number) = tokio::select! {
                    _ = terminate.recv() => ("SIGTERM", 15),
                    _ = interrupt.recv() => ("SIGINT", 2),
                };
                if *asked.0.borrow() {
                    // As shells report a process that a signal ended.
                    std::process::exit(128 + number);
                }
                info!(signal = name, "ending; a second signal ends at once");
                asked.ask();
            }
        });
        Ok((trigger, shutdown))
    }

    /// Ends when the process is to end; never, when nobody can ask for it any more.
    pub async fn asked(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the process is to end.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}

impl ShutdownTrigger {
    /// Asks the process to end; asking again changes nothing.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn everybody_hears_of_it_also_those_who_ask_late() {
        let (trigger, shutdown) = Shutdown::new();
        let other = shutdown.clone();
        assert!(other.asked().now_or_never().is_none());
        trigger.ask();
        trigger.ask();
        shutdown.asked().await;
        other.asked().await;
        assert!(shutdown.clone().is_asked());
    }

    #[tokio::test]
    async fn a_lost_trigger_asks_for_nothing() {
        let (trigger, shutdown) = Shutdown::new();
        drop(trigger);
        assert!(shutdown.asked().now_or_never().is_none());
        assert!(!shutdown.is_asked());
    }
}
