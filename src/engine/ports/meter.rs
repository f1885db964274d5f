//! Counting, and telling people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::api::{Kind, ObjectKey, Reason};

/// Counts what happened, for the metrics. Never fails and never waits.
pub trait Meter: Send + Sync {
    /// A rotation came to an end. `lead` is the life left in the old token, in seconds; negative
    /// when it had ended.
    fn rotation(&self, provider: &ObjectKey, outcome: Reason, lead: Option<f64>);
    /// A mint came to an end. `class` is `2xx`, `3xx`, `4xx` or `5xx`; `unreachable` when it was not
    /// sent, `timeout` when no complete answer came, `invalid` when the answer was of no use, `refused`
    /// when a rule forbids it.
    fn mint(&self, class: &'static str, took: Duration);
    /// A request to a provider came to an end.
    fn provider_request(&self, operation: &'static str, class: &'static str, took: Duration);
    /// A provider is gone, and nothing is counted for it any more.
    fn provider_gone(&self, _: &ObjectKey) {}
    /// A token was applied although those that prove deliveries with it had not all confirmed it.
    fn gate_behind(&self) {}
    /// The state of everything, every some seconds.
    fn gauges(&self, gauges: &Gauges);
    /// The scheduler is alive.
    fn heartbeat(&self) {}
}

/// The state of the engine in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Entries that wait for their time.
    pub queue_length: usize,
    /// Calls under way.
    pub workers_busy: usize,
    /// The most overdue rotation of which no attempt has been started, in seconds.
    pub rotation_overdue: f64,
    /// Seconds until each held-back provider may be called again.
    pub held_back: Vec<(ObjectKey, f64)>,
    /// Waiting rotations that cannot finish before expiry at the permitted rate.
    pub infeasible: Vec<(ObjectKey, usize)>,
    /// One row for each subscription.
    pub subscriptions: Vec<SubscriptionGauge>,
    /// What is unusual of tokens in deliveries, by namespace; a row for each that has subscriptions whose
    /// deliveries a gate takes in.
    pub tokens_seen: BTreeMap<Arc<str>, TokensSeen>,
    /// Published tokens that somebody lacks who proves deliveries with them, by namespace; a row for each
    /// that has one who does.
    pub lacked: BTreeMap<Arc<str>, usize>,
    /// Whether this process acts.
    pub leader: bool,
    /// What is kept in memory.
    pub kept: Kept,
}

/// What is unusual of the tokens that come in at gates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokensSeen {
    /// Subscriptions of which tokens still come that were replaced, longer ago than the overlap.
    pub old: usize,
    /// Subscriptions of which no delivery has come with the token in place, for longer than is usual.
    pub unobserved: usize,
}

/// How much the engine keeps in memory, by kind. All of it goes when nothing declares or uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Subscriptions.
    pub subscriptions: usize,
    /// Providers, also those that are only referred to.
    pub providers: usize,
    /// Token sources, also those that are only referred to.
    pub sources: usize,
    /// What providers are reached at: scheme, host and port.
    pub origins: usize,
    /// Namespaces of subscriptions, providers and sources.
    pub namespaces: usize,
    /// Claims to remote subscriptions.
    pub claims: usize,
    /// Tokens.
    pub tokens: usize,
}

/// One subscription in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionGauge {
    /// The subscription.
    pub key: ObjectKey,
    /// Its provider.
    pub provider: ObjectKey,
    /// `ready`, `degraded`, `expired`, `stalled` or `suspended`.
    pub state: &'static str,
    /// Why.
    pub reason: Reason,
    /// When its token ends; absent for suspended and inactive ones.
    pub expires: Option<DateTime<Utc>>,
}

/// Something people may want to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Kind of the object it is about.
    pub kind: Kind,
    /// The object it is about.
    pub key: ObjectKey,
    /// Whether it is a warning.
    pub warning: bool,
    /// What happened, in one word.
    pub reason: Reason,
    /// What happened and what to do next.
    pub note: String,
}

/// Tells people. Never fails the work and never waits.
pub trait Notices: Send + Sync {
    /// Hands a notice over.
    fn emit(&self, notice: Notice);
}
