//! Gupy's rate limit: a web application firewall that looks back five minutes every 30 seconds.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// How often the firewall looks.
const CHECK: Duration = Duration::from_secs(30);

/// How many checks it looks back: five minutes.
const LOOK_BACK: u64 = 10;

/// Counts requests per source address. All times are the provider's.
///
/// As documented: checked every 30 s over the last 5 minutes, so a burst passes until the next
/// check and a block lasts until the five minutes behind a check are quiet enough. Blocked requests
/// count too.
pub(super) struct RateLimit {
    per_minute: Option<u32>,
    sources: HashMap<IpAddr, BTreeMap<u64, u32>>,
}

impl RateLimit {
    /// `per_minute` requests a minute on average over the window; `None` never blocks.
    pub(super) fn new(per_minute: Option<u32>) -> Self {
        Self { per_minute, sources: HashMap::new() }
    }

    /// Counts one request at `elapsed` provider time and says whether it is blocked.
    pub(super) fn blocks(&mut self, source: IpAddr, elapsed: Duration) -> bool {
        let Some(per_minute) = self.per_minute else {
            return false;
        };
        let current = elapsed.as_secs() / CHECK.as_secs();
        let counts = self.sources.entry(source).or_default();
        *counts = counts.split_off(&current.saturating_sub(LOOK_BACK));
        let seen: u64 = counts.range(..current).map(|(_, n)| u64::from(*n)).sum();
        let count = counts.entry(current).or_insert(0);
        *count = count.saturating_add(1);
        let window_minutes = LOOK_BACK * CHECK.as_secs() / 60;
        seen > u64::from(per_minute) * window_minutes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn ask(limit: &mut RateLimit, at_seconds: u64, times: u32) -> u32 {
        (0..times).map(|_| u32::from(limit.blocks(SOURCE, Duration::from_secs(at_seconds)))).sum()
    }

    #[test]
    fn a_steady_rate_at_the_limit_is_never_blocked() {
        let mut limit = RateLimit::new(Some(500));
        let blocked: u32 = (0..7200).map(|s| ask(&mut limit, s, 8)).sum();
        assert_eq!(blocked, 0);
    }

    #[test]
    fn a_burst_passes_until_the_next_check_and_blocks_for_five_minutes() {
        let mut limit = RateLimit::new(Some(500));
        assert_eq!(ask(&mut limit, 0, 2501), 0);
        assert_eq!(ask(&mut limit, 29, 1), 0);
        assert_eq!(ask(&mut limit, 30, 1), 1);
        assert_eq!(ask(&mut limit, 329, 1), 1);
        assert_eq!(ask(&mut limit, 330, 1), 0);
    }

    #[test]
    fn blocked_requests_keep_the_block_up() {
        let mut limit = RateLimit::new(Some(10));
        assert_eq!(ask(&mut limit, 0, 51), 0);
        for check in 1..40 {
            assert_eq!(ask(&mut limit, check * 30, 10), 10, "check {check}");
        }
    }

    #[test]
    fn sources_are_counted_apart() {
        let mut limit = RateLimit::new(Some(1));
        ask(&mut limit, 0, 100);
        let other = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
        assert!(!limit.blocks(other, Duration::from_secs(31)));
        assert!(limit.blocks(SOURCE, Duration::from_secs(31)));
    }

    #[test]
    fn without_a_limit_nothing_is_blocked() {
        let mut limit = RateLimit::new(None);
        assert_eq!(ask(&mut limit, 0, 10_000) + ask(&mut limit, 30, 10_000), 0);
    }
}
