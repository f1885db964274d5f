//! Metrics of the gate: what came in, what was refused and why, what waits, what was handed on.
//!
//! `receiver` is `namespace/name` of a receiver. Of one namespace so many have series of their own
//! ([`super::series`]); the series of one that is gone go with it.
//!
//! What is in the store has a label `store` besides: gates that share a database each show all that is in it, and
//! whoever adds up takes of each store the largest (`sum(max by (store, receiver) (…))`). It is the name that
//! statuses have (`status.gates[].store`).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labelled::labelled;
use super::series::ProviderSeries;
use crate::api::ObjectKey;
use crate::gate::board::Board;
use crate::gate::housekeeping::Gauges;
use crate::gate::observer::{Asked, Fact, Observer};
use crate::gate::refusal::Refusal;
use crate::gate::registry::View;
use crate::store::{Owner, Usage};

/// Time from arrival to the application's answer, in seconds.
const AGE_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3_600.0, 21_600.0, 86_400.0];

/// Counts what happens at the gate. Cheap to clone.
#[derive(Clone)]
pub struct GateMetrics(Arc<Inner>);

struct Inner {
    series: Mutex<ProviderSeries>,
    accepted: Family<Of, Counter>,
    refused: Family<Refused, Counter>,
    refused_known: Family<Of, Counter>,
    test_events: Family<Of, Counter>,
    not_handed_on: Family<Of, Counter>,
    duplicates: Family<Duplicate, Counter>,
    handed_on: Family<Of, Counter>,
    failed: Family<Of, Counter>,
    parked: Family<Of, Counter>,
    not_recorded: Family<Of, Counter>,
    asked: Family<AskedLabels, Counter>,
    age: Family<Of, Histogram, fn() -> Histogram>,
    state: StateCollector,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    receiver: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    receiver: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Duplicate {
    receiver: String,
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AskedLabels {
    receiver: String,
    outcome: &'static str,
}

/// What can come of asking a platform, as its name in metrics.
const OUTCOMES: [&str; 5] = ["HandedOn", "Nothing", "NoAnswer", "NotTaken", GIVEN_UP];
const GIVEN_UP: &str = "GivenUp";

fn outcome(asked: Asked<'_>) -> &'static str {
    let [handed_on, nothing, no_answer, not_taken, _] = OUTCOMES;
    match asked {
        Asked::HandedOn => handed_on,
        Asked::Nothing => nothing,
        Asked::NoAnswer(_) => no_answer,
        Asked::NotTaken(_) => not_taken,
    }
}

impl fmt::Debug for GateMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("GateMetrics")
    }
}

impl GateMetrics {
    /// Begins at zero. `board` says what has happened at each receiver.
    #[must_use]
    pub fn new(registry: &mut Registry, board: Arc<Board>) -> Self {
        let mut counter = |name: &str, help: &str| {
            let family: Family<Of, Counter> = Family::default();
            registry.register(name, help, family.clone());
            family
        };
        let accepted = counter("hookkeeper_gate_accepted", "Deliveries that were verified and taken in");
        let refused_known = counter(
            "hookkeeper_gate_platform_refused",
            "Requests that were refused although their sender is known to be the platform",
        );
        let test_events = counter("hookkeeper_gate_test_events", "Test events that were answered");
        let not_handed_on =
            counter("hookkeeper_gate_not_handed_on", "Deliveries that spec.handOn leaves out");
        let handed_on = counter("hookkeeper_gate_handed_on", "Deliveries that the application has taken");
        let failed = counter("hookkeeper_gate_attempts_failed", "Attempts to hand a delivery on that failed");
        let parked = counter("hookkeeper_gate_parked", "Deliveries that were parked");
        let not_recorded = counter(
            "hookkeeper_gate_not_recorded",
            "Deliveries that the application has taken, which the store did not take down at once",
        );
        let asked = Family::default();
        registry.register(
            "hookkeeper_gate_asked",
            "Questions to the platform for what it did not deliver, by outcome",
            Family::clone(&asked),
        );
        let refused = Family::default();
        registry.register(
            "hookkeeper_gate_refused",
            "Requests that were refused, by reason",
            Family::clone(&refused),
        );
        let duplicates = Family::default();
        registry.register(
            "hookkeeper_gate_duplicates",
            "Repeated deliveries, dropped or handed on with a mark",
            Family::clone(&duplicates),
        );
        let age: Family<Of, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(AGE_BUCKETS));
        registry.register(
            "hookkeeper_gate_handing_on_seconds",
            "Time from the arrival of a delivery until the application has taken it",
            age.clone(),
        );
        let state = StateCollector { board, last: Arc::default() };
        registry.register_collector(Box::new(state.clone()));
        Self(Arc::new(Inner {
            series: Mutex::default(),
            accepted,
            refused,
            refused_known,
            test_events,
            not_handed_on,
            duplicates,
            handed_on,
            failed,
            parked,
            not_recorded,
            asked,
            age,
            state,
        }))
    }

    /// What is shown of the store from now on is of the one with this short name
    /// ([`crate::store::Store::short_id`]).
    pub fn store_is(&self, short_id: &str) {
        short_id.clone_into(&mut lock(&self.0.state.last).store);
    }

    fn forget(&self, receiver: &str) {
        let inner = &self.0;
        let of = Of { receiver: receiver.to_owned() };
        for family in [
            &inner.accepted,
            &inner.refused_known,
            &inner.test_events,
            &inner.not_handed_on,
            &inner.handed_on,
            &inner.failed,
            &inner.parked,
            &inner.not_recorded,
        ] {
            family.remove(&of);
        }
        inner.age.remove(&of);
        for reason in Refusal::ALL {
            inner.refused.remove(&Refused { receiver: receiver.to_owned(), reason: reason.name() });
        }
        for outcome in OUTCOMES {
            inner.asked.remove(&AskedLabels { receiver: receiver.to_owned(), outcome });
        }
        for action in ["dropped", "marked"] {
            inner.duplicates.remove(&Duplicate { receiver: receiver.to_owned(), action });
        }
    }
}

impl Observer for GateMetrics {
    fn saw(&self, owner: &Owner, fact: Fact<'_>) {
        let inner = &self.0;
        let key = ObjectKey { namespace: Arc::clone(&owner.namespace), name: Arc::clone(&owner.name) };
        let receiver = lock(&inner.series).counted(&key);
        let of = Of { receiver };
        match fact {
            Fact::Accepted { .. } => {
                inner.accepted.get_or_create(&of).inc();
            }
            Fact::TestEvent => {
                inner.test_events.get_or_create(&of).inc();
            }
            Fact::NotHandedOn => {
                inner.not_handed_on.get_or_create(&of).inc();
            }
            Fact::Repeated(_) => {
                inner.duplicates.get_or_create(&Duplicate { receiver: of.receiver, action: "dropped" }).inc();
            }
            Fact::Refused { reason, recognised, .. } => {
                if recognised {
                    inner.refused_known.get_or_create(&of).inc();
                }
                inner.refused.get_or_create(&Refused { receiver: of.receiver, reason: reason.name() }).inc();
            }
            Fact::HandedOn { age, marked, .. } => {
                inner.handed_on.get_or_create(&of).inc();
                inner.age.get_or_create(&of).observe(age.as_secs_f64());
                if marked {
                    inner
                        .duplicates
                        .get_or_create(&Duplicate { receiver: of.receiver, action: "marked" })
                        .inc();
                }
            }
            Fact::AttemptFailed { .. } => {
                inner.failed.get_or_create(&of).inc();
            }
            Fact::Parked { .. } => {
                inner.parked.get_or_create(&of).inc();
            }
            Fact::ParkedAll { count, .. } => {
                inner.parked.get_or_create(&of).inc_by(count);
            }
            Fact::NotRecorded { .. } => {
                inner.not_recorded.get_or_create(&of).inc();
            }
            Fact::Asked(asked) => {
                let outcome = outcome(asked);
                inner.asked.get_or_create(&AskedLabels { receiver: of.receiver, outcome }).inc();
            }
            // The gauge of pauses shows these two.
            Fact::Paused { .. } | Fact::Resumed => {}
            Fact::GivenUp { count, .. } => {
                let labels = AskedLabels { receiver: of.receiver, outcome: GIVEN_UP };
                inner.asked.get_or_create(&labels).inc_by(count);
            }
        }
    }
}

impl Gauges for GateMetrics {
    fn show(&self, usage: &[Usage], views: &[View]) {
        let mut last = lock(&self.0.state.last);
        let there: BTreeSet<ObjectKey> = views.iter().map(|view| view.identity.key.clone()).collect();
        {
            let mut series = lock(&self.0.series);
            // Also one that was gone before it was ever shown.
            for gone in series.besides(&there) {
                for receiver in series.gone(&gone) {
                    self.forget(&receiver);
                }
            }
            last.left_out = series.show(there.iter());
            // Who counts how much they grow has to see them at 0.
            for view in views
                .iter()
                .filter(|view| view.receiver.as_ref().is_some_and(|receiver| receiver.fallback.is_some()))
            {
                let receiver = series.shown(&view.identity.key).to_string();
                for outcome in OUTCOMES {
                    let _ = self.0.asked.get_or_create(&AskedLabels { receiver: receiver.clone(), outcome });
                }
            }
            let shown = |key: &ObjectKey| series.shown(key) == *key;
            last.rows = views
                .iter()
                .filter(|view| shown(&view.identity.key))
                .map(|view| Row {
                    key: view.identity.key.clone(),
                    uid: view.identity.uid.clone(),
                    usage: usage.iter().find(|usage| *usage.owner.uid == *view.identity.uid).cloned(),
                    unusable: view.unusable.len(),
                    suspended: view.gone_since.is_some()
                        || view.receiver.as_ref().is_some_and(|receiver| receiver.suspended),
                    removed_after: view.receiver.as_ref().and_then(|receiver| receiver.removed_after),
                })
                .collect();
        }
        // What belongs to no receiver that is there waits for a person.
        let is_there = |usage: &&Usage| views.iter().all(|view| *view.identity.uid != *usage.owner.uid);
        last.ownerless = usage
            .iter()
            .filter(is_there)
            .map(|usage| usage.parked.deliveries + usage.pending.deliveries)
            .sum();
    }
}

/// Shows what is in the store as it was seen last.
#[derive(Clone)]
struct StateCollector {
    board: Arc<Board>,
    last: Arc<Mutex<Snapshot>>,
}

impl fmt::Debug for StateCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StateCollector")
    }
}

#[derive(Debug, Default)]
struct Snapshot {
    rows: Vec<Row>,
    left_out: Vec<(Arc<str>, usize)>,
    ownerless: u64,
    /// Empty until it is open.
    store: String,
}

#[derive(Debug)]
struct Row {
    key: ObjectKey,
    uid: String,
    usage: Option<Usage>,
    unusable: usize,
    removed_after: Option<Duration>,
    suspended: bool,
}

/// Where something is seen.
#[derive(Clone, Copy)]
enum Place {
    /// In this process.
    Gate,
    /// In the store, which other gates may share.
    Store,
}

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let last = lock(&self.last);
        let now = Utc::now();
        let mut gauge = |name: &str, help: &str, place: Place, value: &dyn Fn(&Row) -> f64| {
            let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            last.rows.iter().try_for_each(|row| {
                let (receiver, value) = (row.key.to_string(), value(row));
                let receiver = ("receiver", receiver.as_str());
                match place {
                    Place::Gate => labelled(&mut encoder, &[receiver], &value),
                    Place::Store => {
                        labelled(&mut encoder, &[receiver, ("store", last.store.as_str())], &value)
                    }
                }
            })
        };
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a floating-point number")]
        let number = |value: u64| value as f64;
        let of = |row: &Row, value: fn(&Usage) -> u64| {
            row.usage.as_ref().map_or(0.0, |usage| number(value(usage)))
        };
        gauge("hookkeeper_gate_pending", "Deliveries that wait to be handed on", Place::Store, &|row| {
            of(row, |usage| usage.pending.deliveries)
        })?;
        gauge("hookkeeper_gate_pending_bytes", "Bytes of their bodies", Place::Store, &|row| {
            of(row, |usage| usage.pending.bytes)
        })?;
        gauge("hookkeeper_gate_parked_now", "Deliveries that wait for a person", Place::Store, &|row| {
            of(row, |usage| usage.parked.deliveries)
        })?;
        gauge(
            "hookkeeper_gate_expected",
            "Things that applications wait for, and the platform is asked for",
            Place::Store,
            &|row| of(row, |usage| usage.expected),
        )?;
        gauge(
            "hookkeeper_gate_expected_parked",
            "Things that applications wait for, and nobody is asked for any more",
            Place::Store,
            &|row| of(row, |usage| usage.expected_parked),
        )?;
        gauge(
            "hookkeeper_gate_oldest_pending_seconds",
            "Age of the oldest delivery that waits to be handed on",
            Place::Store,
            &|row| {
                let oldest = row.usage.as_ref().and_then(|usage| usage.oldest_pending);
                oldest.map_or(0.0, |oldest| (now - oldest).as_seconds_f64().max(0.0))
            },
        )?;
        gauge(
            "hookkeeper_gate_credentials_unusable",
            "Credentials that cannot be used",
            Place::Gate,
            &|row| number(row.unusable as u64),
        )?;
        gauge(
            "hookkeeper_gate_paused",
            "Whether nothing is handed on because the application takes nothing",
            Place::Gate,
            &|row| f64::from(u8::from(self.board.of(&row.uid).paused.is_some() && !row.suspended)),
        )?;
        gauge(
            "hookkeeper_gate_refused_for_seconds",
            "For how long all deliveries of the platform have been refused, when that may cost the webhook",
            Place::Gate,
            &|row| {
                let risk = self.board.of(&row.uid).risk;
                let refused = row.removed_after.and_then(|after| risk.refused_for(after));
                refused.map_or(0.0, |refused| refused.at_least.as_seconds_f64())
            },
        )?;
        let mut encoder = encoder.encode_descriptor(
            "hookkeeper_gate_ownerless",
            "Deliveries of receivers that are gone; only replaying hands them on",
            None,
            MetricType::Gauge,
        )?;
        if last.store.is_empty() {
            return Ok(());
        }
        labelled(&mut encoder, &[("store", last.store.as_str())], &number(last.ownerless))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;
    use crate::api::{Identity, WebhookReceiverStatus};
    use crate::gate::clock::SystemClock;
    use crate::store::Extent;

    fn view(name: &str) -> View {
        View {
            identity: Identity::of_name(ObjectKey::new("hr", name)),
            receiver: None,
            problems: Vec::new(),
            conflict: None,
            clear_bodies: false,
            unusable: Vec::new(),
            none_usable: false,
            gone_since: None,
            url: None,
            recorded: WebhookReceiverStatus::default(),
        }
    }

    fn waiting(uid: &str, deliveries: u64) -> Usage {
        Usage {
            owner: Owner { namespace: "hr".into(), name: "in".into(), uid: uid.into() },
            pending: Extent { deliveries, bytes: 0 },
            parked: Extent::default(),
            oldest_pending: None,
            expected: 0,
            expected_parked: 0,
            window_shortened_until: None,
        }
    }

    #[test]
    fn what_is_in_the_store_says_in_which_one_and_what_is_of_the_gate_does_not() {
        let mut registry = Registry::default();
        let metrics = GateMetrics::new(&mut registry, Arc::new(Board::new(Arc::new(SystemClock))));
        let shown = |registry: &Registry| {
            let mut written = String::new();
            text::encode(&mut written, registry).unwrap();
            written
        };
        assert!(!shown(&registry).contains("hookkeeper_gate_ownerless{"), "of no store nothing is known");
        metrics.store_is("0123456789abcdef");
        let view = view("in");
        metrics.show(&[waiting(&view.identity.uid, 7), waiting("gone", 3)], &[view]);
        let shown = shown(&registry);
        for line in [
            "hookkeeper_gate_pending{receiver=\"hr/in\",store=\"0123456789abcdef\"} 7",
            "hookkeeper_gate_oldest_pending_seconds{receiver=\"hr/in\",store=\"0123456789abcdef\"} 0",
            "hookkeeper_gate_ownerless{store=\"0123456789abcdef\"} 3",
            "hookkeeper_gate_paused{receiver=\"hr/in\"} 0",
        ] {
            assert!(shown.lines().any(|shown| shown.trim_end_matches(".0") == line), "{line} in {shown}");
        }
    }
}
