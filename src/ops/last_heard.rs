//! When the watch was last heard of, asked for whenever metrics are read.

use std::fmt;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

/// Tells when something was last heard of; `None` before the first time.
pub type LastHeard = Box<dyn Fn() -> Option<DateTime<Utc>> + Send + Sync>;

/// When the watch was last heard of, where there is one.
#[derive(Clone, Default)]
pub(super) struct WatchCollector(Arc<OnceLock<LastHeard>>);

impl fmt::Debug for WatchCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WatchCollector")
    }
}

impl WatchCollector {
    /// From now on it is shown.
    pub(super) fn follow(&self, last_heard: LastHeard) {
        // Whoever came first stays: there is one watch in a process.
        drop(self.0.set(last_heard));
    }
}

impl Collector for WatchCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(last) = self.0.get().and_then(|last_heard| last_heard()) else {
            return Ok(());
        };
        let gauge = ConstGauge::new(last.timestamp());
        let help = "When the watch that has been silent for longest was last heard of";
        let name = "hookkeeper_watch_last_event_timestamp_seconds";
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
    }
}
