//! How much a receiver takes in each second.

use tokio::time::Instant;

/// So many each second on average, and a second's worth at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, left: per_second, at: Instant::now() }
    }

    /// Whether one more is taken in.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.per_second);
        self.at = self.at.max(now);
        let admitted = self.left >= 1.0;
        if admitted {
            self.left -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_brings_what_a_second_may_have() {
        let mut rate = Rate::new(10);
        let admitted = |rate: &mut Rate| (0..100).filter(|_| rate.admits(Instant::now())).count();
        assert_eq!(admitted(&mut rate), 10);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(admitted(&mut rate), 2);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(admitted(&mut rate), 10);
    }
}
