//! The metrics' text, made once for all who ask within a second: a crowd that asks costs what one does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::metrics::Metrics;

/// How old a text may be.
pub(super) const KEPT: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Scrapes {
    metrics: Metrics,
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl Scrapes {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, last: Arc::default() }
    }

    /// The text. Of several who ask at the same time one makes it and the others wait; all of them share
    /// its bytes.
    pub(super) async fn text(&self) -> Result<Bytes, fmt::Error> {
        let mut last = self.last.lock().await;
        if let Some((made, text)) = &*last
            && made.elapsed() < KEPT
        {
            return Ok(text.clone());
        }
        let text = Bytes::from(self.metrics.render()?);
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ports::Meter as _;
    use crate::ops::health::Heartbeat;

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_scrapes_within_a_second_costs_one_rendering() {
        let metrics = Metrics::new(Heartbeat::new(Duration::from_secs(30)), true);
        let scrapes = Scrapes::new(metrics.clone());
        let first = scrapes.text().await.unwrap();
        metrics.mint("2xx", Duration::from_millis(1));
        for _ in 0..300 {
            // Not only the same text: the same bytes.
            assert_eq!(scrapes.text().await.unwrap().as_ptr(), first.as_ptr());
        }
        tokio::time::advance(KEPT).await;
        let text = scrapes.text().await.unwrap();
        assert!(String::from_utf8_lossy(&text).contains("hookkeeper_mints_total{"));
    }
}
