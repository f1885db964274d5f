//! Time, and unpredictable numbers.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::rotation::time::Moment;

/// Time: what it is, and waiting for it to pass.
pub trait Clock: Send + Sync {
    /// The current moment on both clocks.
    fn now(&self) -> Moment;
    /// Ends after the time has passed. Never asked for more than some minutes.
    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()>;
}

/// Unpredictable numbers for fingerprints and back-off; seeded in the simulation.
pub trait Random: Send + Sync {
    /// 64 random bits.
    fn bits(&self) -> u64;
}
