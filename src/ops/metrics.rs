//! Metrics in the OpenMetrics text format, under the names that dashboards and alerts use.
//!
//! Labels are bounded: `provider` is `namespace/name` of a provider object, `outcome` and `reason`
//! are the reasons of conditions; its series go with the object. A subscription's name stands in one
//! metric only, which can be switched off. Of one namespace's objects so many have series of their own
//! and no more ([`super::series`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::engine_state::StateCollector;
use super::gates_there::{GatesCollector, GatesThere};
use super::health::Heartbeat;
use super::last_heard::{LastHeard, WatchCollector};
use super::process::ProcessCollector;
use super::series::ProviderSeries;
use crate::api::{ObjectKey, Reason};
use crate::engine::ports::{Gauges, Meter};

/// Media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Life left, in seconds. The first bucket holds the late ones, with nothing left.
const LEAD_BUCKETS: [f64; 16] = [
    0.0,
    1.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3_600.0,
    7_200.0,
    14_400.0,
    43_200.0,
    86_400.0,
    259_200.0,
    604_800.0,
    2_592_000.0,
    8_640_000.0,
];

/// Duration of a request in seconds; the longest timeouts are some minutes.
const REQUEST_BUCKETS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Counts what the engine reports. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    rotations: Family<RotationLabels, Counter>,
    /// The outcomes that are counted of each provider, to let them go with it.
    outcomes: Mutex<BTreeMap<String, BTreeSet<Reason>>>,
    /// Which providers have series of their own.
    providers: Arc<Mutex<ProviderSeries>>,
    lead: Family<ProviderLabel, Histogram, fn() -> Histogram>,
    mints: Family<CallLabels, Counter>,
    gate_behind: Counter,
    requests: Family<CallLabels, Counter>,
    durations: Family<OperationLabel, Histogram, fn() -> Histogram>,
    state: StateCollector,
    watch: WatchCollector,
    gates: GatesCollector,
    heartbeat: Arc<Heartbeat>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RotationLabels {
    provider: String,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabel {
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    operation: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

impl Metrics {
    /// Begins at zero. `per_object` switches `hookkeeper_token_expiry_timestamp_seconds`, one
    /// series for each subscription, on; the engine's beats go to `heartbeat`.
    #[must_use]
    pub fn new(heartbeat: Arc<Heartbeat>, per_object: bool) -> Self {
        Self::with(Registry::default(), heartbeat, per_object)
    }

    /// Begins at zero, beside what is registered already.
    #[must_use]
    pub fn with(mut registry: Registry, heartbeat: Arc<Heartbeat>, per_object: bool) -> Self {
        let rotations = Family::default();
        registry.register("hookkeeper_rotations", "Rotations that came to an end", rotations.clone());
        let lead: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(LEAD_BUCKETS));
        registry.register(
            "hookkeeper_rotation_lead_seconds",
            "Life left in the old token when the new one was in place; 0 when it had expired",
            lead.clone(),
        );
        let mints = Family::default();
        registry.register("hookkeeper_mints", "Mints that came to an end", mints.clone());
        let gate_behind = Counter::default();
        registry.register(
            "hookkeeper_gate_behind",
            "Tokens that were applied although the gate had not taken them in",
            gate_behind.clone(),
        );
        let requests = Family::default();
        registry.register(
            "hookkeeper_provider_requests",
            "Requests to providers that came to an end",
            requests.clone(),
        );
        let durations: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS));
        registry.register(
            "hookkeeper_request_duration_seconds",
            "Duration of mints and requests to providers",
            durations.clone(),
        );
        registry.register(
            "hookkeeper_build",
            "The release",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let providers: Arc<Mutex<ProviderSeries>> = Arc::default();
        let state = StateCollector::new(per_object, Arc::clone(&heartbeat), Arc::clone(&providers));
        registry.register_collector(Box::new(state.clone()));
        let watch = WatchCollector::default();
        registry.register_collector(Box::new(watch.clone()));
        let gates = GatesCollector::default();
        registry.register_collector(Box::new(gates.clone()));
        registry.register_collector(Box::new(ProcessCollector::new()));
        Self(Arc::new(Inner {
            registry,
            rotations,
            outcomes: Mutex::default(),
            providers,
            lead,
            mints,
            gate_behind,
            requests,
            durations,
            state,
            watch,
            gates,
            heartbeat,
        }))
    }

    /// Shows when the watch was last heard of, as `hookkeeper_watch_last_event_timestamp_seconds`.
    pub fn follow_watch(&self, last_heard: LastHeard) {
        self.0.watch.follow(last_heard);
    }

    /// Shows which gates are there, as `hookkeeper_gates_live` and `hookkeeper_receivers_without_gate`.
    pub fn follow_gates(&self, gates: GatesThere) {
        self.0.gates.follow(gates);
    }

    /// Everything, as [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// None that anybody has seen: writing into a text does not fail.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut written = String::new();
        text::encode(&mut written, &self.0.registry)?;
        Ok(written)
    }

    fn took(&self, operation: &'static str, took: Duration) {
        self.0.durations.get_or_create(&OperationLabel { operation }).observe(took.as_secs_f64());
    }
}

impl Meter for Metrics {
    fn rotation(&self, provider: &ObjectKey, outcome: Reason, lead: Option<f64>) {
        let provider = lock(&self.0.providers).counted(provider);
        if let Some(lead) = lead {
            // A histogram's sum is a counter (OpenMetrics 1.0, "Histogram"), so nothing negative
            // goes in: late is late, and how late is shown by the gauges.
            self.0.lead.get_or_create(&ProviderLabel { provider: provider.clone() }).observe(lead.max(0.0));
        }
        let mut outcomes = lock(&self.0.outcomes);
        outcomes.entry(provider.clone()).or_default().insert(outcome);
        let labels = RotationLabels { provider, outcome: outcome.to_string() };
        self.0.rotations.get_or_create(&labels).inc();
    }

    fn provider_gone(&self, provider: &ObjectKey) {
        let labels = lock(&self.0.providers).gone(provider);
        let mut outcomes = lock(&self.0.outcomes);
        for provider in labels {
            for outcome in outcomes.remove(&provider).unwrap_or_default() {
                let labels = RotationLabels { provider: provider.clone(), outcome: outcome.to_string() };
                self.0.rotations.remove(&labels);
            }
            self.0.lead.remove(&ProviderLabel { provider });
        }
    }

    fn mint(&self, class: &'static str, took: Duration) {
        let operation = "mint";
        let labels = CallLabels { operation, class };
        self.0.mints.get_or_create(&labels).inc();
        self.took(operation, took);
    }

    fn provider_request(&self, operation: &'static str, class: &'static str, took: Duration) {
        let labels = CallLabels { operation, class };
        self.0.requests.get_or_create(&labels).inc();
        self.took(operation, took);
    }

    fn gate_behind(&self) {
        self.0.gate_behind.inc();
    }

    fn gauges(&self, gauges: &Gauges) {
        self.0.state.replace(gauges);
    }

    fn heartbeat(&self) {
        self.0.heartbeat.beat();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};

    use super::*;
    use crate::engine::ports::{Kept, SubscriptionGauge, TokensSeen};
    use crate::ops::series::EXPIRY_SERIES;

    fn metrics(per_object: bool) -> Metrics {
        Metrics::new(Heartbeat::new(Duration::from_secs(30)), per_object)
    }

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }

    #[test]
    fn counters_and_histograms_have_the_documented_names() {
        let metrics = metrics(true);
        let provider = ObjectKey::new("hr", "gupy");
        metrics.rotation(&provider, Reason::Rotated, Some(1_200.0));
        metrics.rotation(&provider, Reason::Rotated, Some(-5.0));
        metrics.rotation(&provider, Reason::ProviderUnavailable, None);
        metrics.mint("2xx", Duration::from_millis(120));
        metrics.provider_request("update", "timeout", Duration::from_secs(10));
        let text = metrics.render().unwrap();
        has(&text, r#"hookkeeper_rotations_total{provider="hr/gupy",outcome="Rotated"} 2"#);
        has(&text, r#"hookkeeper_rotations_total{provider="hr/gupy",outcome="ProviderUnavailable"} 1"#);
        // The late one, and nothing else.
        has(&text, r#"hookkeeper_rotation_lead_seconds_bucket{le="0.0",provider="hr/gupy"} 1"#);
        has(&text, r#"hookkeeper_rotation_lead_seconds_sum{provider="hr/gupy"} 1200.0"#);
        has(&text, r#"hookkeeper_mints_total{operation="mint",class="2xx"} 1"#);
        has(&text, r#"hookkeeper_provider_requests_total{operation="update",class="timeout"} 1"#);
        has(&text, r#"hookkeeper_request_duration_seconds_count{operation="update"} 1"#);
        has(&text, &format!(r#"hookkeeper_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION")));
        assert!(text.ends_with("# EOF\n"));
        assert!(!text.contains("_total_total"));
    }

    #[test]
    fn a_provider_that_is_gone_leaves_no_series() {
        let metrics = metrics(true);
        let before = metrics.render().unwrap();
        let (gone, stays) = (ObjectKey::new("hr", "gone"), ObjectKey::new("hr", "stays"));
        for outcome in [Reason::Rotated, Reason::RateLimited, Reason::TokenSourceUnavailable] {
            metrics.rotation(&gone, outcome, Some(1.0));
        }
        metrics.rotation(&stays, Reason::Rotated, Some(1.0));
        metrics.provider_gone(&gone);
        let text = metrics.render().unwrap();
        assert!(!text.contains("hr/gone"), "{text}");
        has(&text, r#"hookkeeper_rotations_total{provider="hr/stays",outcome="Rotated"} 1"#);
        metrics.provider_gone(&stays);
        let names = |text: &str| text.lines().filter(|line| line.starts_with("hookkeeper_rotation")).count();
        assert_eq!(names(&metrics.render().unwrap()), names(&before));
    }

    fn row(name: &str, state: &'static str, minutes: i64) -> SubscriptionGauge {
        SubscriptionGauge {
            key: ObjectKey::new("hr", name),
            provider: ObjectKey::new("hr", "gupy"),
            state,
            reason: Reason::Rotated,
            expires: Some(Utc::now() + TimeDelta::minutes(minutes)),
        }
    }

    #[test]
    fn gauges_are_replaced_as_a_whole() {
        let metrics = metrics(true);
        let mut gauges = Gauges {
            queue_length: 7,
            workers_busy: 2,
            rotation_overdue: 1.5,
            held_back: vec![(ObjectKey::new("hr", "gupy"), 30.0)],
            infeasible: vec![(ObjectKey::new("hr", "gupy"), 3)],
            subscriptions: vec![row("a", "ready", 30), row("b", "degraded", 200), row("c", "expired", -5)],
            tokens_seen: [("hr".into(), TokensSeen { old: 1, unobserved: 2 })].into(),
            lacked: [("hr".into(), 3)].into(),
            leader: true,
            kept: Kept { tokens: 4, ..Kept::default() },
        };
        metrics.gauges(&gauges);
        let text = metrics.render().unwrap();
        for line in [
            "hookkeeper_queue_length 7",
            "hookkeeper_workers_busy 2",
            "hookkeeper_rotation_overdue_seconds 1.5",
            "hookkeeper_leader 1",
            r#"hookkeeper_kept{kind="tokens"} 4"#,
            r#"hookkeeper_held_back_seconds{provider="hr/gupy"} 30.0"#,
            r#"hookkeeper_rotations_infeasible{provider="hr/gupy"} 3"#,
            r#"hookkeeper_subscriptions{provider="hr/gupy",state="ready",reason="Rotated"} 1"#,
            r#"hookkeeper_subscriptions{provider="hr/gupy",state="expired",reason="Rotated"} 1"#,
            r#"hookkeeper_old_token_still_seen{namespace="hr"} 1"#,
            r#"hookkeeper_token_unobserved{namespace="hr"} 2"#,
            r#"hookkeeper_gate_lacks_token{namespace="hr"} 3"#,
            r#"hookkeeper_expiring{namespace="hr",within="1h",failing="false"} 1"#,
            r#"hookkeeper_expiring{namespace="hr",within="1h",failing="true"} 0"#,
            r#"hookkeeper_expiring{namespace="hr",within="4h",failing="true"} 1"#,
            r#"hookkeeper_expiring{namespace="hr",within="24h",failing="false"} 1"#,
            r#"hookkeeper_expiring{namespace="hr",within="24h",failing="true"} 1"#,
        ] {
            has(&text, line);
        }
        assert!(text.contains(r#"hookkeeper_token_expiry_timestamp_seconds{namespace="hr",name="a"} "#));

        gauges.subscriptions.truncate(1);
        gauges.leader = false;
        metrics.gauges(&gauges);
        let text = metrics.render().unwrap();
        assert!(!text.contains(r#"state="expired""#));
        assert!(!text.contains(r#"name="a""#), "{text}");
    }

    #[test]
    fn one_author_with_many_objects_takes_no_series_from_another() {
        let metrics = metrics(true);
        let in_namespace = |namespace: &str, number: usize| SubscriptionGauge {
            key: ObjectKey::new(namespace, &format!("s{number:05}")),
            provider: ObjectKey::new(namespace, &format!("p{number:05}")),
            ..row("", "ready", 30)
        };
        let many = EXPIRY_SERIES + 500;
        let mut subscriptions: Vec<_> = (0..many).map(|number| in_namespace("mallory", number)).collect();
        subscriptions.push(in_namespace("honest", 1));
        let held_back = subscriptions.iter().map(|row| (row.provider.clone(), 1.0)).collect();
        let infeasible = subscriptions.iter().map(|row| (row.provider.clone(), 2)).collect();
        for row in &subscriptions {
            metrics.rotation(&row.provider, Reason::Rotated, Some(1.0));
        }
        metrics.gauges(&Gauges { subscriptions, held_back, infeasible, leader: true, ..Gauges::default() });
        let text = metrics.render().unwrap();
        let own = super::super::series::PROVIDER_SERIES;
        let others = many - own;
        for line in [
            r#"hookkeeper_series_left_out{namespace="mallory",kind="subscriptions"} 500"#.to_owned(),
            format!(r#"hookkeeper_series_left_out{{namespace="mallory",kind="providers"}} {others}"#),
            format!(
                r#"hookkeeper_rotations_total{{provider="mallory/(others)",outcome="Rotated"}} {others}"#
            ),
            format!(r#"hookkeeper_rotations_infeasible{{provider="mallory/(others)"}} {}"#, 2 * others),
            r#"hookkeeper_held_back_seconds{provider="mallory/(others)"} 1.0"#.to_owned(),
            format!(
                r#"hookkeeper_subscriptions{{provider="mallory/(others)",state="ready",reason="Rotated"}} {others}"#
            ),
            r#"hookkeeper_rotations_total{provider="honest/p00001",outcome="Rotated"} 1"#.to_owned(),
            r#"hookkeeper_rotations_infeasible{provider="honest/p00001"} 2"#.to_owned(),
        ] {
            has(&text, &line);
        }
        assert!(
            text.contains(r#"hookkeeper_token_expiry_timestamp_seconds{namespace="honest",name="s00001"}"#)
        );
        assert!(!text.contains(r#"left_out{namespace="honest""#), "{text}");
        let mallorys = text.lines().filter(|line| line.contains("mallory")).count();
        // Of each provider: outcome, lead (buckets, sum, count), held back, infeasible, subscriptions.
        assert!(mallorys < EXPIRY_SERIES + (own + 1) * (LEAD_BUCKETS.len() + 8) + 20, "{mallorys}");

        metrics.gauges(&Gauges { leader: true, ..Gauges::default() });
        for number in 0..many {
            metrics.provider_gone(&ObjectKey::new("mallory", &format!("p{number:05}")));
        }
        assert!(!metrics.render().unwrap().contains("mallory"), "{}", metrics.render().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_scheduler_that_stands_still_shows_no_state() {
        let metrics = Metrics::new(Heartbeat::new(Duration::from_secs(30)), true);
        metrics.gauges(&Gauges { leader: true, ..Gauges::default() });
        assert!(metrics.render().unwrap().contains("hookkeeper_leader"));
        tokio::time::advance(Duration::from_secs(31)).await;
        let text = metrics.render().unwrap();
        assert!(!text.contains("hookkeeper_leader"), "{text}");
        assert!(text.contains("hookkeeper_build_info"));
    }

    #[test]
    fn the_series_of_each_object_can_be_switched_off() {
        let metrics = metrics(false);
        let gauges = Gauges { subscriptions: vec![row("a", "ready", 30)], leader: true, ..Gauges::default() };
        metrics.gauges(&gauges);
        assert!(!metrics.render().unwrap().contains(r#"name="a""#));
    }

    #[test]
    fn the_processes_own_figures_are_there() {
        let text = metrics(true).render().unwrap();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            assert!(value.is_some_and(|value| value >= 0.0), "{name}\n{text}");
        }
    }
}
