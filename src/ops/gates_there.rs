//! Which gates are there, asked for whenever metrics are read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::labelled::labelled;

/// Gates, and who has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatesSeen {
    /// How many gate processes are there.
    pub live: usize,
    /// Receivers that no gate serves, by namespace; a row for each that has receivers.
    pub without: BTreeMap<Arc<str>, usize>,
}

/// Tells which gates are there; `None` as long as that is not known.
pub type GatesThere = Box<dyn Fn() -> Option<GatesSeen> + Send + Sync>;

/// Which gates are there, where they are processes of their own.
#[derive(Clone, Default)]
pub(super) struct GatesCollector(Arc<OnceLock<GatesThere>>);

impl fmt::Debug for GatesCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("GatesCollector")
    }
}

impl GatesCollector {
    /// From now on they are shown.
    pub(super) fn follow(&self, gates: GatesThere) {
        // Whoever came first stays: a process knows gates in one way.
        drop(self.0.set(gates));
    }
}

impl Collector for GatesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(seen) = self.0.get().and_then(|gates| gates()) else {
            return Ok(());
        };
        let live = ConstGauge::new(i64::try_from(seen.live).unwrap_or(i64::MAX));
        let help = "Gate processes whose Lease has changed lately";
        live.encode(encoder.encode_descriptor("hookkeeper_gates_live", help, None, live.metric_type())?)?;
        let help = "Receivers that no gate serves";
        let name = "hookkeeper_receivers_without_gate";
        let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        seen.without
            .iter()
            .try_for_each(|(namespace, count)| labelled(&mut encoder, &[("namespace", &**namespace)], count))
    }
}
