//! Writing one figure with its labels.

use std::fmt;

use prometheus_client::encoding::{EncodeGaugeValue, MetricEncoder};

/// One row of a gauge.
///
/// # Errors
/// Of whoever writes.
pub(super) fn labelled<const N: usize>(
    encoder: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: &impl EncodeGaugeValue,
) -> fmt::Result {
    encoder.encode_family(labels)?.encode_gauge(value)
}
