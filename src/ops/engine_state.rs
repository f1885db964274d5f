//! The engine's state as it was reported last, for the metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{TimeDelta, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::health::Heartbeat;
use super::labelled::labelled;
use super::series::{EXPIRY_SERIES, ProviderSeries};
use crate::api::{ObjectKey, Reason};
use crate::engine::ports::{Gauges, Kept, TokensSeen};

/// The spans of `hookkeeper_expiring`.
const WITHIN: [(&str, TimeDelta); 3] =
    [("1h", TimeDelta::hours(1)), ("4h", TimeDelta::hours(4)), ("24h", TimeDelta::hours(24))];

/// Shows the engine's state as it was reported last, so that what is gone leaves no series behind.
#[derive(Clone, Debug)]
pub(super) struct StateCollector {
    per_object: bool,
    heartbeat: Arc<Heartbeat>,
    providers: Arc<Mutex<ProviderSeries>>,
    /// Shared, so that nobody who reads it keeps the engine waiting.
    last: Arc<Mutex<Option<Arc<Snapshot>>>>,
}

#[derive(Debug, Default)]
struct Snapshot {
    queue_length: usize,
    workers_busy: usize,
    rotation_overdue: f64,
    leader: bool,
    kept: Kept,
    held_back: BTreeMap<ObjectKey, f64>,
    infeasible: BTreeMap<ObjectKey, usize>,
    subscriptions: BTreeMap<(ObjectKey, &'static str, Reason), usize>,
    expiring: BTreeMap<(Arc<str>, &'static str, bool), usize>,
    expiry: Vec<(ObjectKey, i64)>,
    left_out: BTreeMap<(Arc<str>, &'static str), usize>,
    tokens_seen: BTreeMap<Arc<str>, TokensSeen>,
    lacked: BTreeMap<Arc<str>, usize>,
}

impl StateCollector {
    /// Shows the state of those with series of their own. `per_object` shows when each token expires.
    pub(super) fn new(
        per_object: bool,
        heartbeat: Arc<Heartbeat>,
        providers: Arc<Mutex<ProviderSeries>>,
    ) -> Self {
        Self { per_object, heartbeat, providers, last: Arc::default() }
    }

    /// The engine has reported its state.
    pub(super) fn replace(&self, gauges: &Gauges) {
        let snapshot = Arc::new(self.condense(gauges));
        *lock(&self.last) = Some(snapshot);
    }

    fn condense(&self, gauges: &Gauges) -> Snapshot {
        let mut snapshot = Snapshot {
            queue_length: gauges.queue_length,
            workers_busy: gauges.workers_busy,
            rotation_overdue: gauges.rotation_overdue,
            leader: gauges.leader,
            kept: gauges.kept,
            tokens_seen: gauges.tokens_seen.clone(),
            lacked: gauges.lacked.clone(),
            ..Snapshot::default()
        };
        let mut providers = lock(&self.providers);
        let declared = gauges.held_back.iter().map(|(key, _)| key);
        let used = gauges.subscriptions.iter().map(|row| &row.provider);
        for (namespace, count) in providers.show(declared.chain(used)) {
            snapshot.left_out.insert((namespace, "providers"), count);
        }
        for (key, held) in &gauges.held_back {
            // Of those without series of their own, the longest.
            let longest = snapshot.held_back.entry(providers.shown(key)).or_default();
            *longest = longest.max(*held);
        }
        for (key, count) in &gauges.infeasible {
            *snapshot.infeasible.entry(providers.shown(key)).or_default() += count;
        }
        let mut expiring: BTreeMap<&Arc<str>, Vec<(&ObjectKey, i64)>> = BTreeMap::new();
        let now = Utc::now();
        for row in &gauges.subscriptions {
            let kind = (providers.shown(&row.provider), row.state, row.reason);
            *snapshot.subscriptions.entry(kind).or_default() += 1;
            let Some(expires) = row.expires else {
                continue;
            };
            let left = expires.signed_duration_since(now);
            for (name, within) in WITHIN {
                // A namespace's series stay at 0, so that an alert on them can end.
                for failing in [false, true] {
                    let kind = (Arc::clone(&row.key.namespace), name, failing);
                    let counts = failing == (row.state != "ready");
                    *snapshot.expiring.entry(kind).or_default() +=
                        usize::from(counts && left > TimeDelta::zero() && left <= within);
                }
            }
            if self.per_object && gauges.leader {
                expiring.entry(&row.key.namespace).or_default().push((&row.key, expires.timestamp()));
            }
        }
        drop(providers);
        for (namespace, mut rows) in expiring {
            if rows.len() > EXPIRY_SERIES {
                // The first by name, so that the same ones have a series the next time.
                rows.select_nth_unstable(EXPIRY_SERIES);
                let left_out = rows.len() - EXPIRY_SERIES;
                rows.truncate(EXPIRY_SERIES);
                snapshot.left_out.insert((Arc::clone(namespace), "subscriptions"), left_out);
            }
            snapshot.expiry.extend(rows.into_iter().map(|(key, expires)| (key.clone(), expires)));
        }
        snapshot
    }
}

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let last = lock(&self.last).clone();
        // A scheduler that stands still reports nothing: what it said last would look like good news.
        let Some(last) = last.as_ref().filter(|_| self.heartbeat.is_alive()) else {
            return Ok(());
        };
        let mut gauge = |name: &str, help: &str, write: &dyn Fn(MetricEncoder<'_>) -> fmt::Result| {
            write(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge("hookkeeper_queue_length", "Subscriptions that wait for their time", &|mut encoder| {
            encoder.encode_gauge(&last.queue_length)
        })?;
        gauge("hookkeeper_workers_busy", "Calls under way", &|mut encoder| {
            encoder.encode_gauge(&last.workers_busy)
        })?;
        gauge(
            "hookkeeper_rotation_overdue_seconds",
            "The most overdue rotation of which no attempt has been started",
            &|mut encoder| encoder.encode_gauge(&last.rotation_overdue),
        )?;
        gauge("hookkeeper_leader", "Whether this process acts", &|mut encoder| {
            encoder.encode_gauge(&i64::from(last.leader))
        })?;
        gauge("hookkeeper_kept", "What is kept in memory, by kind", &|mut encoder| {
            let Kept { subscriptions, providers, sources, origins, namespaces, claims, tokens } = last.kept;
            let kinds = [
                ("subscriptions", subscriptions),
                ("providers", providers),
                ("sources", sources),
                ("origins", origins),
                ("namespaces", namespaces),
                ("claims", claims),
                ("tokens", tokens),
            ];
            kinds.iter().try_for_each(|(kind, count)| labelled(&mut encoder, &[("kind", *kind)], count))
        })?;
        gauge("hookkeeper_held_back_seconds", "How long a provider is held back", &|mut encoder| {
            last.held_back.iter().try_for_each(|(provider, seconds)| {
                labelled(&mut encoder, &[("provider", provider.to_string().as_str())], seconds)
            })
        })?;
        gauge(
            "hookkeeper_rotations_infeasible",
            "Waiting rotations that cannot finish before expiry at the permitted rate",
            &|mut encoder| {
                last.infeasible.iter().try_for_each(|(provider, count)| {
                    labelled(&mut encoder, &[("provider", provider.to_string().as_str())], count)
                })
            },
        )?;
        gauge("hookkeeper_subscriptions", "Subscriptions by state", &|mut encoder| {
            (last.subscriptions.iter()).try_for_each(|((provider, state, reason), count)| {
                let (provider, reason) = (provider.to_string(), reason.to_string());
                let labels = [("provider", provider.as_str()), ("state", state), ("reason", reason.as_str())];
                labelled(&mut encoder, &labels, count)
            })
        })?;
        gauge(
            "hookkeeper_series_left_out",
            "Objects of a namespace that have no series of their own, because it has too many",
            &|mut encoder| {
                (last.left_out.iter()).try_for_each(|((namespace, kind), count)| {
                    labelled(&mut encoder, &[("namespace", &**namespace), ("kind", *kind)], count)
                })
            },
        )?;
        gauge(
            "hookkeeper_old_token_still_seen",
            "Subscriptions of which a gate still sees a token that was replaced, after the overlap",
            &|mut encoder| {
                (last.tokens_seen.iter()).try_for_each(|(namespace, seen)| {
                    labelled(&mut encoder, &[("namespace", &**namespace)], &seen.old)
                })
            },
        )?;
        gauge(
            "hookkeeper_token_unobserved",
            "Subscriptions of which no gate has seen the token in place, for longer than is usual",
            &|mut encoder| {
                (last.tokens_seen.iter()).try_for_each(|(namespace, seen)| {
                    labelled(&mut encoder, &[("namespace", &**namespace)], &seen.unobserved)
                })
            },
        )?;
        gauge(
            "hookkeeper_gate_lacks_token",
            "Token sources whose published token a live gate that serves them has not loaded",
            &|mut encoder| {
                (last.lacked.iter()).try_for_each(|(namespace, count)| {
                    labelled(&mut encoder, &[("namespace", &**namespace)], count)
                })
            },
        )?;
        gauge("hookkeeper_expiring", "Subscriptions whose token expires within a span", &|mut encoder| {
            (last.expiring.iter()).try_for_each(|((namespace, within, failing), count)| {
                let failing = if *failing { "true" } else { "false" };
                let labels = [("namespace", &**namespace), ("within", *within), ("failing", failing)];
                labelled(&mut encoder, &labels, count)
            })
        })?;
        gauge(
            "hookkeeper_token_expiry_timestamp_seconds",
            "When a subscription's token expires, in seconds since the epoch",
            &|mut encoder| {
                last.expiry.iter().try_for_each(|(key, expires)| {
                    let labels = [("namespace", &*key.namespace), ("name", &*key.name)];
                    labelled(&mut encoder, &labels, expires)
                })
            },
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
