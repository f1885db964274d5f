//! What `controller --observe` says: how things stand, while nothing is done about it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::info;

use crate::api::{ObjectKey, Reason};
use crate::engine::ports::{Gauges, Meter};

/// How often it is said while nothing changes.
const EVERY: Duration = Duration::from_secs(60);

/// Passes on what the engine reports, and says now and then how things stand.
pub(super) struct Observer {
    inner: Arc<dyn Meter>,
    last: Mutex<Option<(Instant, String)>>,
}

impl Observer {
    pub(super) fn new(inner: Arc<dyn Meter>) -> Self {
        Self { inner, last: Mutex::default() }
    }
}

impl Meter for Observer {
    fn rotation(&self, provider: &ObjectKey, outcome: Reason, lead: Option<f64>) {
        self.inner.rotation(provider, outcome, lead);
    }

    fn mint(&self, class: &'static str, took: Duration) {
        self.inner.mint(class, took);
    }

    fn provider_request(&self, operation: &'static str, class: &'static str, took: Duration) {
        self.inner.provider_request(operation, class, took);
    }

    fn provider_gone(&self, provider: &ObjectKey) {
        self.inner.provider_gone(provider);
    }

    fn gate_behind(&self) {
        self.inner.gate_behind();
    }

    fn gauges(&self, gauges: &Gauges) {
        self.inner.gauges(gauges);
        let report = report(gauges);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(at, said)| *said != report || at.elapsed() >= EVERY) {
            info!("observing only, nobody is called and nothing is written: {report}");
            *last = Some((Instant::now(), report));
        }
    }

    fn heartbeat(&self) {
        self.inner.heartbeat();
    }
}

/// How many subscriptions are in which state, and which token expires first.
fn report(gauges: &Gauges) -> String {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &gauges.subscriptions {
        *states.entry(row.state).or_default() += 1;
    }
    if states.is_empty() {
        return "no subscriptions".to_owned();
    }
    let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let first = gauges.subscriptions.iter().filter_map(|row| Some((row.expires?, &row.key))).min();
    let first =
        first.map(|(expires, key)| format!("; the first token to expire is that of {key}, at {expires:?}"));
    states.join(", ") + &first.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ports::SubscriptionGauge;

    #[test]
    fn states_are_counted_and_the_first_end_is_named() {
        let row = |name: &str, state, expires: Option<&str>| SubscriptionGauge {
            key: ObjectKey::new("hr", name),
            provider: ObjectKey::new("hr", "gupy"),
            state,
            reason: Reason::Rotated,
            expires: expires.map(|time| time.parse().unwrap()),
        };
        let subscriptions = vec![
            row("a", "ready", Some("2026-11-21T18:00:02Z")),
            row("b", "ready", Some("2026-11-21T17:00:02Z")),
            row("c", "suspended", None),
        ];
        let said = report(&Gauges { subscriptions, ..Gauges::default() });
        assert_eq!(
            said,
            "2 ready, 1 suspended; the first token to expire is that of hr/b, at 2026-11-21T17:00:02Z"
        );
        assert_eq!(report(&Gauges::default()), "no subscriptions");
    }
}
