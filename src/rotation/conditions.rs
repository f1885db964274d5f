//! Conditions of a subscription, from what is on record and how it stands.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::facts::Difference;
use super::life::Remark;
use super::observed::{self, Observed, Verdict};
use super::schedule::{self, Plan};
use super::step::WaitReason;
use super::time::{Moment, add, between, written};
use crate::api::{Condition, ConditionStatus, ConditionType, Reason, SubscriptionStatus, set_condition};

/// What conditions are made from besides the status itself.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The current moment.
    pub now: Moment,
    /// The generation that was judged.
    pub generation: i64,
    /// How the subscription stands.
    pub wait: &'a WaitReason,
    /// Digest of the document it should have; `None` when that cannot be said.
    pub desired_digest: Option<&'a str>,
    /// The rule that the current version breaks.
    pub invalid: Option<&'a str>,
    /// Plan of the next rotation.
    pub plan: Option<&'a Plan>,
    /// The last failure since the last success.
    pub failing: Option<&'a (Reason, String)>,
    /// Whether the provider refuses to list.
    pub list_forbidden: bool,
    /// The source keeps returning the token that is already in place.
    pub not_renewed: bool,
    /// What a provider's webhooks are told apart by, in words.
    pub compared: &'a str,
    /// What differs at the provider although it was applied again.
    pub drift_persists: Option<Difference>,
    /// What people should know of the token's life.
    pub remark: Option<Remark>,
    /// What happened just now, for the reason of `Ready`.
    pub happened: Option<Reason>,
    /// What is known of its deliveries.
    pub received: Received<'a>,
}

/// What is known of a subscription's deliveries.
#[derive(Clone, Copy, Debug)]
pub enum Received<'a> {
    /// No receiver of ours takes them in.
    Elsewhere,
    /// Nobody can say: no valid version of the subscription is known.
    Unknown,
    /// The receiver of this name does.
    At(&'a str, &'a Observed),
}

/// Sets the conditions of a provider or a token source: `Ready`, and `Stalled` when only a person can
/// help.
pub fn of_dependency(
    conditions: &mut Vec<Condition>,
    (status, reason, message): (ConditionStatus, Reason, String),
    generation: i64,
    now: DateTime<Utc>,
) {
    let condition = |kind, status, message| Condition {
        kind,
        status,
        reason,
        message,
        observed_generation: Some(generation),
        last_transition_time: seconds(now),
    };
    let stalled = (reason == Reason::InvalidSpec)
        .then(|| condition(ConditionType::Stalled, ConditionStatus::True, message.clone()));
    let ready = condition(ConditionType::Ready, status, message);
    set_condition(conditions, ConditionType::Ready, Some(ready));
    set_condition(conditions, ConditionType::Stalled, stalled);
}

pub(super) fn bring_in_line(status: &mut SubscriptionStatus, view: &View<'_>) {
    let ready = ready(status, view);
    let health = health(status, view);
    let stalled = stalled(view);
    let suspended = matches!(view.wait, WaitReason::Suspended);
    let reconciling = (ready.0 != ConditionStatus::True && stalled.is_none() && !suspended)
        .then(|| (ConditionStatus::True, ready.1, ready.2.clone()));
    let observed = match view.received {
        Received::Elsewhere => None,
        Received::Unknown => observed::shown(&status.conditions)
            .map(|shown| (shown.status, shown.reason, shown.message.clone())),
        Received::At(receiver, observed) => Some(observed::verdict(status, observed, receiver)),
    };
    for (kind, verdict) in [
        (ConditionType::Ready, Some(ready)),
        (ConditionType::RotationHealthy, Some(health)),
        (ConditionType::Reconciling, reconciling),
        (ConditionType::Stalled, stalled),
        (ConditionType::TokenObserved, observed),
    ] {
        let condition = verdict.map(|(holds, reason, message)| Condition {
            kind,
            status: holds,
            reason,
            message,
            observed_generation: Some(view.generation),
            last_transition_time: seconds(view.now.wall),
        });
        set_condition(&mut status.conditions, kind, condition);
    }
}

fn ready(status: &SubscriptionStatus, view: &View<'_>) -> Verdict {
    let no = |reason, message: String| (ConditionStatus::False, reason, message);
    let invalid = invalid(view);
    let expired = status.token_expiration_time.filter(|expires| *expires <= view.now.wall);
    if let (Some(expires), Some(_)) = (expired, &status.webhook_id) {
        let because = invalid
            .map(str::to_owned)
            .or_else(|| why_not(view).map(|(_, message)| message))
            .unwrap_or_else(|| "a rotation is under way".to_owned());
        return no(
            Reason::TokenExpired,
            format!("the applied token expired at {}; {because}", written(expires)),
        );
    }
    if let Some(problem) = invalid {
        return no(Reason::InvalidSpec, problem.to_owned());
    }
    let before = status
        .conditions
        .iter()
        .find(|condition| condition.kind == ConditionType::Ready)
        .filter(|ready| ready.status == ConditionStatus::True);
    let document_in_place = match (view.desired_digest, &status.applied_digest) {
        (Some(desired), Some(applied)) => desired == applied,
        // Nobody can say what the document should be: then it is what it was for this generation.
        (None, Some(_)) => {
            matches!(view.wait, WaitReason::Suspended)
                || before.is_some_and(|ready| ready.observed_generation == Some(view.generation))
        }
        (_, None) => false,
    };
    let in_place = status.webhook_id.is_some()
        && status.missing_since.is_none()
        && document_in_place
        && status.token_fingerprint.is_some();
    let told_apart = matches!(
        view.wait,
        WaitReason::Conflict(..)
            | WaitReason::Stalled(
                Reason::ProviderMismatch | Reason::RemoteMissing | Reason::AlreadyExists,
                _
            )
    );
    if in_place && !told_apart {
        let reason = (view.happened).unwrap_or_else(|| before.map_or(Reason::Rotated, |ready| ready.reason));
        let message = match status.token_expiration_time {
            Some(expires) => format!("the applied token lives until {}", written(expires)),
            None => "a token is applied; nobody says when it expires".to_owned(),
        };
        let message = match view.wait {
            WaitReason::Asked { not_before } => format!("{message}; {}", asked(*not_before)),
            _ => message,
        };
        return (ConditionStatus::True, reason, message);
    }
    match why_not(view) {
        Some((Reason::Pending, message)) if status.missing_since.is_some() => {
            no(Reason::RemoteMissing, message)
        }
        Some((reason, message)) => no(reason, message),
        None if status.missing_since.is_some() => no(
            Reason::RemoteMissing,
            "the provider no longer has this webhook; it is being looked for".to_owned(),
        ),
        None => no(Reason::Pending, "work for this generation is under way".to_owned()),
    }
}

/// What stands in the way, in the order of what a person should hear first.
fn why_not(view: &View<'_>) -> Option<(Reason, String)> {
    match view.wait {
        WaitReason::Suspended => Some((
            Reason::Suspended,
            "suspended, here or at the WebhookProvider; no calls are made until spec.suspend is false again"
                .to_owned(),
        )),
        WaitReason::Stalled(reason, message) | WaitReason::Awaiting(reason, message) => {
            Some((*reason, message.clone()))
        }
        WaitReason::Conflict(other, id) => {
            let about = id.as_ref().map_or_else(
                || format!("a webhook with {} at the same provider", view.compared),
                |id| format!("webhook {id}"),
            );
            Some((
                Reason::Conflict,
                format!(
                    "{about} is already managed by {other}; this object takes over when that one is deleted"
                ),
            ))
        }
        WaitReason::BackingOff(reason, message) => Some((*reason, message.clone())),
        WaitReason::Asked { not_before } => {
            Some(view.failing.cloned().unwrap_or_else(|| (Reason::Pending, asked(*not_before))))
        }
        WaitReason::Settled | WaitReason::Invalid => view.failing.cloned(),
        WaitReason::Settling(message) => {
            Some(view.failing.cloned().unwrap_or_else(|| (Reason::Pending, message.clone())))
        }
    }
}

fn health(status: &SubscriptionStatus, view: &View<'_>) -> Verdict {
    let no = |reason, message: String| (ConditionStatus::False, reason, message);
    if let Some((reason, message)) = view.failing {
        return no(*reason, message.clone());
    }
    match view.wait {
        WaitReason::BackingOff(reason, message) => return no(*reason, message.clone()),
        WaitReason::Stalled(Reason::LifetimeUnknown, message) => {
            return no(Reason::LifetimeUnknown, message.clone());
        }
        _ => {}
    }
    if is_late_to_renew(view) {
        let message =
            "the token source keeps returning the token that is already in place; shorten what caches it";
        return no(Reason::TokenNotRenewed, message.to_owned());
    }
    if let Some(difference) = view.drift_persists {
        return no(Reason::DriftPersists, unchanged(difference).to_owned());
    }
    if status.token_fingerprint.is_none() {
        return (ConditionStatus::Unknown, Reason::Pending, "no token has been applied yet".to_owned());
    }
    if let WaitReason::Awaiting(reason, message) = view.wait {
        return no(*reason, message.clone());
    }
    if let Some(life) = view.plan.and_then(|plan| plan.too_short) {
        return no(Reason::LifetimeTooShort, schedule::too_short_message(life));
    }
    let yes = |reason, message: &str| {
        let message = match view.wait {
            WaitReason::Asked { not_before } => format!("{message}; {}", asked(*not_before)),
            _ => message.to_owned(),
        };
        let remark = view.remark.map(|remark| format!("; {remark}")).unwrap_or_default();
        (ConditionStatus::True, reason, format!("{message}{remark}"))
    };
    if view.plan.is_some_and(|plan| plan.overlap_short) {
        return yes(
            Reason::OverlapShort,
            "works; but the previous token dies sooner than the overlap asks: give tokens a life of at least 1.5 times \
             the overlap, or let the receiver accept them longer",
        );
    }
    if view.list_forbidden {
        return yes(
            Reason::ListForbidden,
            "works; but the credential may not list, so changes at the provider go unnoticed",
        );
    }
    yes(Reason::Succeeded, "the last attempt succeeded, or none was due")
}

/// What an update does not change, and what to do about it.
fn unchanged(difference: Difference) -> &'static str {
    match difference {
        Difference::Target => {
            "the provider shows another action or postback URL than the update sent, again after that was repeated: \
             somebody else changes this webhook there, or the provider keeps them in another form; compare \
             spec.action and spec.postbackUrl with what it shows"
        }
        Difference::Inactive => {
            "the provider shows it inactive, and an update does not change that: enable it there"
        }
        Difference::Active => {
            "the provider shows it active, and an update does not change that: disable it there"
        }
    }
}

/// What a person hears who asked for a rotation that has to wait.
fn asked(not_before: DateTime<Utc>) -> String {
    format!(
        "a rotation was asked for, not before {}: the token source issued a token a moment ago",
        written(whole_second_after(not_before))
    )
}

/// The time, or the next whole second: rounded down, it would be a promise that is not kept.
fn whole_second_after(time: DateTime<Utc>) -> DateTime<Utc> {
    let whole = seconds(time);
    if whole < time { add(whole, Duration::from_secs(1)) } else { whole }
}

/// Whether the source has returned the same token for so long that it becomes serious: a source
/// that hands out a cached token until shortly before its end is a normal one.
fn is_late_to_renew(view: &View<'_>) -> bool {
    view.not_renewed && view.plan.is_some_and(|plan| between(view.now.wall, plan.expires) < plan.lead / 2)
}

/// The rule that the object breaks.
fn invalid<'a>(view: &View<'a>) -> Option<&'a str> {
    view.invalid.or_else(|| {
        matches!(view.wait, WaitReason::Invalid)
            .then_some("no valid version of this object is known; correct its spec")
    })
}

fn stalled(view: &View<'_>) -> Option<Verdict> {
    if let Some(problem) = invalid(view) {
        return Some((ConditionStatus::True, Reason::InvalidSpec, problem.to_owned()));
    }
    match view.wait {
        WaitReason::Stalled(reason, message) => Some((ConditionStatus::True, *reason, message.clone())),
        _ => None,
    }
}

fn seconds(time: DateTime<Utc>) -> DateTime<Utc> {
    use chrono::SubsecRound;
    time.trunc_subsecs(0)
}
