//! What is done from time to time: clocks that were set, what nobody needs any more, numbers for the metrics.

pub(crate) mod clocks;
pub(crate) mod gauges;
pub(crate) mod tidying;
