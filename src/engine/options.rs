//! How the engine works.

use std::time::Duration;

/// How the engine works; the defaults are those of a production process.
#[derive(Clone, Debug)]
pub struct Options {
    /// Calls to providers and token sources at the same time, each.
    pub workers: usize,
    /// Records at the same time.
    pub recorders: usize,
    /// The engine looks at the clocks at least this often.
    pub tick: Duration,
    /// How long a deletion may be held up by a provider that cannot be called or does not delete.
    pub grace: Duration,
    /// How often `secret` sources are read.
    pub secret_poll_interval: Duration,
    /// Numbers for the metrics are gathered no more often than this.
    pub gauges_every: Duration,
    /// How long running steps may take to end when the engine is asked to stop.
    pub shutdown_limit: Duration,
}

impl Options {
    /// How many calls may be under way at the same time, all of them to one host in the worst case.
    #[must_use]
    pub fn calls(&self) -> usize {
        // Providers and token sources, each.
        self.workers.saturating_mul(2)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 16,
            recorders: 64,
            tick: Duration::from_secs(1),
            grace: Duration::from_secs(600),
            secret_poll_interval: Duration::from_secs(60),
            gauges_every: Duration::from_secs(5),
            shutdown_limit: Duration::from_secs(20),
        }
    }
}
