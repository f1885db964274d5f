//! The state of a receiver, made of what its gates say of it. Pure.
//!
//! The worst counts: a receiver is ready only where every gate that takes its deliveries in is. Where gates
//! do not agree, the message names the one that it is from.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SubsecRound, Utc};

use crate::api::{
    Condition, ConditionStatus, ConditionType, GateReport, Reason, WebhookReceiverStatus, set_condition,
};

/// Every condition that gates say something with.
const KINDS: [ConditionType; 7] = [
    ConditionType::Ready,
    ConditionType::Stalled,
    ConditionType::CredentialUnusable,
    ConditionType::HandingOn,
    ConditionType::Asking,
    ConditionType::RemovalRisk,
    ConditionType::DuplicateWindowShortened,
];

/// What is known of a receiver besides its status.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    /// The newest generation of the object.
    pub(super) generation: i64,
    /// Namespace of the object.
    pub(super) namespace: &'a str,
    /// Names of the gates that are there.
    pub(super) live: &'a BTreeSet<&'a str>,
    /// It is known that no other gate is about to say something.
    pub(super) is_settled: bool,
    /// Where subscriptions send the token: the header, and what stands before the token in it.
    pub(super) place: Option<&'a (String, String)>,
    /// The receiver says itself in which header the token stands.
    pub(super) names_header: bool,
}

/// The part of a status that is not the gates'.
#[must_use]
pub(super) fn own_part(status: &WebhookReceiverStatus) -> WebhookReceiverStatus {
    WebhookReceiverStatus { gates: Vec::new(), tokens: Vec::new(), ..status.clone() }
}

/// What [`own_part`] is to be. Equal to what it is until something has changed.
#[must_use]
pub(super) fn fold(
    status: &WebhookReceiverStatus,
    situation: &Situation<'_>,
    now: DateTime<Utc>,
) -> WebhookReceiverStatus {
    let mut folded = own_part(status);
    place(&mut folded, situation);
    let live: Vec<&GateReport> =
        status.gates.iter().filter(|report| situation.live.contains(report.gate.as_str())).collect();
    let newest = |time: fn(&GateReport) -> Option<DateTime<Utc>>| status.gates.iter().filter_map(time).max();
    // What a gate that is gone has seen has been seen all the same.
    folded.last_accepted_time = newest(|report| report.last_accepted_time).max(folded.last_accepted_time);
    folded.last_refused_time = newest(|report| report.last_refused_time).max(folded.last_refused_time);
    if live.is_empty() {
        if situation.is_settled {
            nobody(&mut folded, situation, now);
        }
        return folded;
    }
    folded.waiting = waiting(&live);
    let current: Vec<&GateReport> = live
        .iter()
        .copied()
        .filter(|report| report.observed_generation == Some(situation.generation))
        .collect();
    if current.is_empty() {
        // Nobody has seen the newest version yet: what was said of the one before still stands.
        return folded;
    }
    folded.observed_generation = Some(situation.generation);
    folded.url = current.iter().find_map(|report| report.url.clone());
    for kind in KINDS {
        let worst = worst(kind, &current, &status.gates).map(|(said, gate)| {
            let agree = current.iter().all(|report| {
                let theirs = report.conditions.iter().find(|condition| condition.kind == kind);
                theirs.is_some_and(|theirs| (theirs.status, theirs.reason) == (said.status, said.reason))
            });
            let message = match (agree, said.message.is_empty()) {
                (true, false) => said.message.clone(),
                (false, false) => format!("at the gate {gate}: {}", said.message),
                (_, true) => format!("the gate {gate} says no more"),
            };
            Condition {
                message,
                observed_generation: Some(situation.generation),
                last_transition_time: now.trunc_subsecs(0),
                ..said.clone()
            }
        });
        set_condition(&mut folded.conditions, kind, worst);
    }
    folded
}

/// Where the token stands, for gates, who see no subscriptions. Where none is left that names the
/// receiver, what is under way comes where it came before.
fn place(folded: &mut WebhookReceiverStatus, situation: &Situation<'_>) {
    match situation.place {
        Some((header, prefix)) => {
            folded.token_header = Some(header.clone());
            folded.token_prefix = Some(prefix.clone()).filter(|prefix| !prefix.is_empty());
        }
        None if situation.names_header => {
            folded.token_header = None;
            folded.token_prefix = None;
        }
        None => {}
    }
}

/// Nobody takes its deliveries in.
fn nobody(folded: &mut WebhookReceiverStatus, situation: &Situation<'_>, now: DateTime<Utc>) {
    let Situation { generation, namespace, .. } = situation;
    let message = format!(
        "no gate serves the namespace {namespace}: the platform's deliveries reach nobody, and it repeats them for a \
         while only; install the gate (gate.enabled in the chart), look at its pods, and whether the namespace and the \
         labels of this object are among those that it serves"
    );
    let ready = Condition {
        kind: ConditionType::Ready,
        status: ConditionStatus::False,
        reason: Reason::NoGate,
        message,
        observed_generation: Some(*generation),
        last_transition_time: now.trunc_subsecs(0),
    };
    // The platform's patience goes on being used up; the rest was said by those who are gone.
    let stays = |kind| matches!(kind, ConditionType::Ready | ConditionType::RemovalRisk);
    folded.conditions.retain(|condition| stays(condition.kind));
    set_condition(&mut folded.conditions, ConditionType::Ready, Some(ready));
    folded.observed_generation = Some(*generation);
    folded.waiting = None;
}

/// Gates with one store count the same deliveries, and may have counted at different times.
fn waiting(live: &[&GateReport]) -> Option<i64> {
    let mut stores: BTreeMap<&str, i64> = BTreeMap::new();
    for report in live {
        if let Some(waiting) = report.waiting {
            // One that does not say has a store of its own.
            let store = report.store.as_deref().unwrap_or(&report.gate);
            let most = stores.entry(store).or_default();
            *most = waiting.max(*most);
        }
    }
    (!stores.is_empty()).then(|| stores.values().fold(0, |sum: i64, waiting| sum.saturating_add(*waiting)))
}

/// The worst that is said with this condition, and by which gate; of equal ones that of the first by name.
fn worst<'a>(
    kind: ConditionType,
    current: &[&'a GateReport],
    all: &[GateReport],
) -> Option<(&'a Condition, &'a str)> {
    let said = current.iter().flat_map(|report| {
        let of_kind = report.conditions.iter().filter(|condition| condition.kind == kind);
        of_kind.map(|condition| (condition, report.gate.as_str()))
    });
    let said = said.filter(|(condition, gate)| {
        kind != ConditionType::RemovalRisk || !is_disproved(condition, gate, all)
    });
    said.max_by(|(one, first), (other, second)| {
        trouble(one).cmp(&trouble(other)).then_with(|| second.cmp(first))
    })
}

/// The platform's patience begins anew with a delivery that another gate has taken.
fn is_disproved(risk: &Condition, gate: &str, all: &[GateReport]) -> bool {
    let taken =
        all.iter().filter(|report| report.gate != gate).filter_map(|report| report.last_accepted_time);
    taken.max().is_some_and(|taken| taken > risk.last_transition_time)
}

/// How bad it is; more is worse.
fn trouble(condition: &Condition) -> (u8, u8) {
    let is_bad_when_true = matches!(
        condition.kind,
        ConditionType::Stalled
            | ConditionType::CredentialUnusable
            | ConditionType::RemovalRisk
            | ConditionType::DuplicateWindowShortened
    );
    let status = match (condition.status, is_bad_when_true) {
        (ConditionStatus::False, false) | (ConditionStatus::True, true) => 2,
        (ConditionStatus::Unknown, _) => 1,
        _ => 0,
    };
    let reason = match condition.reason {
        Reason::RemovalNear => 3,
        Reason::RemovalLikely => 2,
        Reason::RemovalPossible | Reason::Parked => 1,
        _ => 0,
    };
    (status, reason)
}

/// What people should hear of: a warning or not, the reason, and what it is.
#[must_use]
pub(super) fn news(
    before: &WebhookReceiverStatus,
    after: &WebhookReceiverStatus,
) -> Vec<(bool, Reason, String)> {
    let find = |status: &WebhookReceiverStatus, kind| {
        status.conditions.iter().find(|condition| condition.kind == kind).cloned()
    };
    let mut news = Vec::new();
    let (was, is) = (find(before, ConditionType::Ready), find(after, ConditionType::Ready));
    if let Some(is) = is {
        let same = was.as_ref().is_some_and(|was| (was.status, was.reason) == (is.status, is.reason));
        let was_bad = was.is_some_and(|was| was.status == ConditionStatus::False);
        match is.status {
            ConditionStatus::False if !same => news.push((true, is.reason, is.message)),
            ConditionStatus::True if was_bad => news.push((false, Reason::Recovered, is.message)),
            _ => {}
        }
    }
    for kind in [ConditionType::CredentialUnusable, ConditionType::RemovalRisk] {
        if let Some(is) = find(after, kind)
            && find(before, kind).is_none_or(|was| was.reason != is.reason)
            && news.iter().all(|(_, reason, _)| *reason != is.reason)
        {
            news.push((true, is.reason, is.message));
        }
    }
    news
}

#[cfg(test)]
#[path = "folding_tests.rs"]
mod tests;
