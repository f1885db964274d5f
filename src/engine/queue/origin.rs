//! What goes to one scheme, host and port, and whose turn it is there.
//!
//! Several namespaces may use one origin, each with accounts of its own. They share its budget, turn
//! by turn, and nothing else: whether calls of one of them fail, or are answered with a pause, says
//! nothing of what the others would meet. Only a pause that more than one of them was asked for is
//! one of the origin, and lasts no longer than two of them were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::engine::ids::ProviderId;
use crate::engine::queue::breaker::Breaker;
use crate::engine::queue::line::{Allowance, Ready, Taken};
use crate::rotation::facts::HeldBack;
use crate::rotation::time::{Moment, between};
use crate::shares::budget::{Bucket, SharedBucket};
use crate::shares::{NamespaceId, Places, Turns};

/// The share of an origin's budget that objects of a namespace get that keep failing.
const FAILING_SHARE: f64 = 0.2;

/// What one namespace has at one origin.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) ready: Ready,
    pub(crate) breaker: Breaker,
    /// Requests under way.
    pub(crate) calls: u32,
    /// A call that tries whether a pause may end is under way.
    probing: bool,
    failing_bucket: Bucket,
    /// The longest pause that an answer to one of its providers asked for.
    asked: Option<HeldBack>,
}

impl Tenant {
    fn new(requests_per_minute: u32, now: Duration) -> Self {
        Self {
            ready: Ready::default(),
            breaker: Breaker::default(),
            calls: 0,
            probing: false,
            failing_bucket: Bucket::new(requests_per_minute, FAILING_SHARE, now),
            asked: None,
        }
    }

    /// During a pause and after it one call at a time shows whether the origin answers.
    fn gate(&self, pause: Option<HeldBack>, now: DateTime<Utc>) -> Gate {
        let is_free = self.calls == 0 && !self.probing;
        match pause {
            Some(_) if is_free && self.ready.has_last_attempt() => Gate::LastAttempt,
            Some(_) => Gate::Closed,
            None if !self.breaker.probes(now) => Gate::Open,
            None if is_free => Gate::Probe,
            None => Gate::Closed,
        }
    }
}

/// What may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// Whatever waits.
    Open,
    /// One call, of somebody who has not tried in vain.
    Probe,
    /// One last attempt.
    LastAttempt,
    /// Nothing.
    Closed,
}

/// A piece of work whose turn has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OriginTurn {
    pub(crate) namespace: NamespaceId,
    pub(crate) taken: Taken,
    /// Whether it tries whether a pause may end.
    probes: bool,
}

/// What goes to one scheme, host and port.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Others in the process may take from it.
    pub(crate) bucket: SharedBucket,
    pub(crate) requests_per_minute: u32,
    /// The provider objects that lead to it.
    pub(crate) providers: BTreeSet<ProviderId>,
    tenants: BTreeMap<NamespaceId, Tenant>,
    turns: Turns,
    /// A pause that more than one namespace was asked for.
    common: Option<HeldBack>,
}

impl Origin {
    pub(crate) fn new(requests_per_minute: u32, now: Duration) -> Self {
        Self {
            bucket: SharedBucket::new(Bucket::new(requests_per_minute, 1.0, now)),
            requests_per_minute,
            providers: BTreeSet::new(),
            tenants: BTreeMap::new(),
            turns: Turns::default(),
            common: None,
        }
    }

    /// Changes the budget and keeps what has been used of it.
    pub(crate) fn set_budget(&mut self, requests_per_minute: u32, now: Duration) {
        if self.requests_per_minute == requests_per_minute {
            return;
        }
        self.requests_per_minute = requests_per_minute;
        self.bucket.with(|bucket| bucket.set_rate(requests_per_minute, 1.0, now));
        for tenant in self.tenants.values_mut() {
            tenant.failing_bucket.set_rate(requests_per_minute, FAILING_SHARE, now);
        }
    }

    pub(crate) fn tenant(&self, namespace: NamespaceId) -> Option<&Tenant> {
        self.tenants.get(&namespace)
    }

    pub(crate) fn tenant_mut(&mut self, namespace: NamespaceId) -> Option<&mut Tenant> {
        self.tenants.get_mut(&namespace)
    }

    /// What the namespace has here, from now on.
    pub(crate) fn tenant_for(&mut self, namespace: NamespaceId, now: Duration) -> &mut Tenant {
        let budget = self.requests_per_minute;
        self.tenants.entry(namespace).or_insert_with(|| Tenant::new(budget, now))
    }

    /// Until when calls of the namespace pause, and why.
    pub(crate) fn pause(&self, namespace: NamespaceId, now: DateTime<Utc>) -> Option<HeldBack> {
        let own = self.tenants.get(&namespace).and_then(|tenant| tenant.breaker.pending(now));
        own.into_iter().chain(self.common_pause(now)).max_by_key(|held| held.until)
    }

    /// The same, for people: what is over in some seconds is not written down.
    pub(crate) fn shown_pause(&self, namespace: NamespaceId, now: DateTime<Utc>) -> Option<HeldBack> {
        let own = self.tenants.get(&namespace).and_then(|tenant| tenant.breaker.shown(now));
        own.into_iter().chain(self.common_pause(now)).max_by_key(|held| held.until)
    }

    fn common_pause(&self, now: DateTime<Utc>) -> Option<HeldBack> {
        self.common.filter(|held| held.until > now)
    }

    /// An answer asked a provider of the namespace for a pause. Returns whether there is a pause of
    /// the origin that there was not before.
    pub(crate) fn asked_for(&mut self, namespace: NamespaceId, held: HeldBack, now: Moment) -> bool {
        let tenant = self.tenant_for(namespace, now.boot);
        let is_longer = tenant.asked.is_none_or(|before| before.until < held.until);
        tenant.asked = if is_longer { Some(held) } else { tenant.asked };
        let asked = self.tenants.values().filter_map(|tenant| tenant.asked);
        let mut asked: Vec<HeldBack> = asked.filter(|held| held.until > now.wall).collect();
        asked.sort_unstable_by_key(|held| std::cmp::Reverse(held.until));
        let before = self.common_pause(now.wall);
        self.common = asked.get(1).copied();
        self.common.map(|held| held.until) != before.map(|held| held.until)
    }

    /// How much work waits.
    fn waiting(&self) -> usize {
        self.tenants.values().map(|tenant| tenant.ready.len()).sum()
    }

    pub(crate) fn has_work(&self) -> bool {
        self.tenants.values().any(|tenant| !tenant.ready.is_empty())
    }

    /// Between how many namespaces its budget is shared at present, with this one.
    pub(crate) fn sharers(&self, with: NamespaceId) -> usize {
        let others = self.tenants.iter().filter(|(namespace, _)| **namespace != with);
        1 + others.filter(|(_, tenant)| !tenant.ready.is_empty()).count()
    }

    /// The next piece of work that may be begun now. `workers` are shared with other origins; `alone`:
    /// there is but one namespace.
    pub(crate) fn next(&mut self, workers: &Places, alone: bool, now: Moment) -> Option<OriginTurn> {
        if !self.bucket.with(|bucket| bucket.has(now.boot)) {
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
        let scarce = self.bucket.with(|bucket| bucket.available(now.boot)) < self.waiting() as f64;
        let common = self.common_pause(now.wall);
        let milliseconds = now.wall.timestamp_millis();
        let mut first: Option<((u64, i64, NamespaceId), Gate, Allowance)> = None;
        for (namespace, tenant) in &mut self.tenants {
            if tenant.ready.is_empty() || !workers.free_for(*namespace, alone) {
                continue;
            }
            let gate = tenant.gate(tenant.breaker.pending(now.wall).or(common), now.wall);
            let failing = tenant.failing_bucket.has(now.boot);
            let allowance = Allowance { now: milliseconds, failing, scarce };
            if gate == Gate::Closed || !tenant.ready.has(allowance) {
                continue;
            }
            #[allow(clippy::cast_possible_truncation)]
            let turn = if scarce { self.turns.next(*namespace) } else { workers.held(*namespace) as u64 };
            let rank = (turn, tenant.ready.first_deadline(milliseconds), *namespace);
            if first.as_ref().is_none_or(|(before, ..)| rank < *before) {
                first = Some((rank, gate, allowance));
            }
        }
        let ((_, _, namespace), gate, allowance) = first?;
        let tenant = self.tenants.get_mut(&namespace)?;
        // One whose failure counts already would tell nothing new of the origin.
        let taken = match gate {
            Gate::LastAttempt => tenant.ready.take_last_attempt(),
            Gate::Probe => {
                let untried = tenant.ready.take_other_than(tenant.breaker.tried());
                untried.or_else(|| tenant.ready.take(allowance))
            }
            _ => tenant.ready.take(allowance),
        };
        Some(OriginTurn { namespace, taken: taken?, probes: gate != Gate::Open })
    }

    /// A request of the namespace whose turn it was is sent.
    pub(crate) fn began(&mut self, turn: &OriginTurn) {
        self.bucket.with(|bucket| bucket.take(1));
        self.turns.take(turn.namespace);
        if let Some(tenant) = self.tenants.get_mut(&turn.namespace) {
            tenant.calls += 1;
            tenant.probing = turn.probes;
            if turn.taken.failing {
                tenant.failing_bucket.take(1);
            }
        }
    }

    /// A request of the namespace has ended.
    pub(crate) fn ended(&mut self, namespace: NamespaceId) {
        if let Some(tenant) = self.tenants.get_mut(&namespace) {
            tenant.calls = tenant.calls.saturating_sub(1);
            tenant.probing = false;
        }
    }

    /// When the next request could be sent, if time is all that lacks.
    pub(crate) fn next_at(&mut self, workers: &Places, alone: bool, now: Moment) -> Option<Duration> {
        let own = self.bucket.with(|bucket| bucket.ready_at(now.boot));
        let common = self.common_pause(now.wall);
        let mut next: Option<Duration> = None;
        for (namespace, tenant) in &mut self.tenants {
            if tenant.ready.is_empty() || !workers.free_for(*namespace, alone) {
                continue;
            }
            let pause = tenant.breaker.pending(now.wall).into_iter().chain(common);
            let pause = pause.max_by_key(|held| held.until);
            let at = match (tenant.gate(pause, now.wall), pause) {
                (Gate::Closed, Some(held)) => now.boot + between(now.wall, held.until),
                (Gate::Closed, None) => continue,
                _ => {
                    let only_failing = !tenant.ready.has(Allowance { now: 0, failing: false, scarce: true });
                    if only_failing { own.max(tenant.failing_bucket.ready_at(now.boot)) } else { own }
                }
            };
            next = Some(next.map_or(at, |before| before.min(at)));
        }
        next
    }

    /// Lets go of namespaces that have nothing here any more; a pause outlives what ran into it.
    /// `used`: those that have a provider here.
    pub(crate) fn tidy(&mut self, used: &BTreeSet<NamespaceId>, now: Moment) {
        self.common = self.common_pause(now.wall);
        self.tenants.retain(|namespace, tenant| {
            tenant.asked = tenant.asked.filter(|held| held.until > now.wall);
            used.contains(namespace)
                || !tenant.ready.is_empty()
                || tenant.calls > 0
                || tenant.asked.is_some()
                || tenant.breaker.remembered_until(now.wall).is_some()
                || tenant.failing_bucket.full_at(now.boot).is_some()
        });
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.tenants.values().all(|tenant| tenant.calls == 0 && !tenant.probing)
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_at_rest() && !self.has_work()
    }

    /// Until when it matters although nothing leads to it; `None` when it does not.
    pub(crate) fn remembered_until(&mut self, now: Moment) -> Option<Duration> {
        let by_boot = |until: DateTime<Utc>| now.boot + between(now.wall, until);
        let full_at = self.bucket.with(|bucket| bucket.full_at(now.boot));
        let mut until = full_at.max(self.common_pause(now.wall).map(|held| by_boot(held.until)));
        for tenant in self.tenants.values_mut() {
            let outage = tenant.breaker.remembered_until(now.wall).map(by_boot);
            let asked = tenant.asked.filter(|held| held.until > now.wall).map(|held| by_boot(held.until));
            until = until.max(outage).max(asked).max(tenant.failing_bucket.full_at(now.boot));
        }
        until
    }

    pub(crate) fn tenants_mut(&mut self) -> impl Iterator<Item = &mut Tenant> {
        self.tenants.values_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::engine::ids::SubscriptionId;
    use crate::engine::queue::line::{Line, Work};

    const HONEST: NamespaceId = 1;
    const HOSTILE: NamespaceId = 2;

    fn now(seconds: u64) -> Moment {
        let wall = DateTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Moment { wall, boot: Duration::from_secs(seconds) }
    }

    fn held(seconds: u64) -> HeldBack {
        HeldBack { until: now(seconds).wall, reason: Reason::RateLimited, asked: true }
    }

    fn fill(origin: &mut Origin, namespace: NamespaceId, numbers: std::ops::Range<u32>, deadline: i64) {
        let tenant = origin.tenant_for(namespace, Duration::ZERO);
        for number in numbers {
            tenant.ready.put(SubscriptionId(number), Line::Deadline(deadline));
        }
    }

    /// Whose calls are begun within a minute.
    fn a_minute(origin: &mut Origin) -> Vec<NamespaceId> {
        let workers = Places::new(16);
        let mut begun = Vec::new();
        for second in 0..60 {
            while let Some(turn) = origin.next(&workers, false, now(second)) {
                origin.began(&turn);
                origin.ended(turn.namespace);
                begun.push(turn.namespace);
            }
        }
        begun
    }

    #[test]
    fn a_scarce_budget_is_shared_evenly_however_early_the_deadlines_of_one_namespace_are() {
        let mut origin = Origin::new(60, Duration::ZERO);
        fill(&mut origin, HOSTILE, 0..1_000, 100_000);
        fill(&mut origin, HONEST, 2_000..2_020, 3_000_000);
        let begun = a_minute(&mut origin);
        let honest = begun.iter().filter(|namespace| **namespace == HONEST).count();
        assert_eq!(honest, 20, "all of it, in {}", begun.len());
        assert!(begun[..41].iter().filter(|namespace| **namespace == HONEST).count() >= 20);
    }

    #[test]
    fn what_one_namespace_leaves_the_others_get() {
        let mut origin = Origin::new(60, Duration::ZERO);
        fill(&mut origin, HONEST, 0..1_000, 100_000);
        fill(&mut origin, HOSTILE, 2_000..2_001, 100_000);
        assert!((64..=66).contains(&a_minute(&mut origin).len()));
    }

    #[test]
    fn a_pause_is_of_the_origin_when_two_namespaces_were_asked_for_one_and_as_long_as_both_were() {
        let mut origin = Origin::new(60, Duration::ZERO);
        assert!(!origin.asked_for(HOSTILE, held(3_600), now(0)));
        assert_eq!(origin.pause(HONEST, now(1).wall), None);
        assert!(!origin.asked_for(HOSTILE, held(7_200), now(0)), "it was asked before");
        assert_eq!(origin.pause(HONEST, now(1).wall), None);
        assert!(origin.asked_for(HONEST, held(30), now(0)));
        assert_eq!(origin.pause(3, now(1).wall), Some(held(30)));
        assert_eq!(origin.pause(3, now(30).wall), None);
    }

    #[test]
    fn an_outage_is_of_the_namespace_whose_calls_fail() {
        use crate::engine::queue::breaker::Failed;
        let mut origin = Origin::new(600, Duration::ZERO);
        for number in 0..40 {
            let failed = Failed { of: Some(SubscriptionId(number)), kept_failing: false };
            let breaker = &mut origin.tenant_for(HOSTILE, Duration::ZERO).breaker;
            breaker.failed(now(0).wall, &failed, Duration::from_secs(60), 40);
        }
        assert!(origin.pause(HOSTILE, now(0).wall).is_some());
        fill(&mut origin, HOSTILE, 0..10, 100_000);
        fill(&mut origin, HONEST, 50..60, 100_000);
        let workers = Places::new(16);
        let mut begun = Vec::new();
        while let Some(turn) = origin.next(&workers, false, now(0)) {
            origin.began(&turn);
            begun.push(turn.namespace);
        }
        assert_eq!(begun, [HONEST; 10]);
        let at = origin.next_at(&workers, false, now(0)).unwrap();
        assert!(at >= Duration::from_secs(1), "the pause of the other: {at:?}");
        let turn = origin.next(&workers, false, now(2)).unwrap();
        assert_eq!((turn.namespace, turn.taken.work), (HOSTILE, Work::Call(SubscriptionId(0))));
        origin.began(&turn);
        assert!(origin.next(&workers, false, now(2)).is_none(), "one at a time");
    }

    #[test]
    fn a_namespace_without_anything_left_is_forgotten_when_its_pause_is_over() {
        let mut origin = Origin::new(60, Duration::ZERO);
        origin.asked_for(HOSTILE, held(100), now(0));
        fill(&mut origin, HONEST, 0..1, 100_000);
        let nobody = BTreeSet::new();
        origin.tidy(&nobody, now(50));
        assert_eq!(origin.tenants.len(), 2);
        origin.tidy(&nobody, now(100));
        assert!(origin.tenant(HOSTILE).is_none() && origin.tenant(HONEST).is_some());
        assert_eq!(origin.remembered_until(now(100)), None);
    }
}
