//! What is told of a receiver: its conditions, made of what is known at a moment. Pure.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::hand_on::NOT_ALLOWED;
use super::receiver::Proof;
use super::registry::View;
use super::risk::{RefusedFor, Risk};
use crate::api::{
    Condition, ConditionStatus, ConditionType, Mode, Reason, WebhookReceiverStatus, set_condition,
};
use crate::store::Usage;

/// How exactly times are told that change with every delivery.
const ROUNDED_TO: TimeDelta = TimeDelta::minutes(10);
/// A platform that has given no answer for so long is told of: one id that it does not know is none.
const UNANSWERED_FOR: TimeDelta = TimeDelta::minutes(1);

/// What has happened at a receiver since the process began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// When a delivery was accepted last.
    pub accepted: Option<DateTime<Utc>>,
    /// When a delivery of a known sender was refused last.
    pub refused: Option<DateTime<Utc>>,
    /// The application takes nothing: since when, and why.
    pub paused: Option<(DateTime<Utc>, String)>,
    /// The platform gives no answer to questions: since when, and why.
    pub unanswered: Option<(DateTime<Utc>, String)>,
    /// The refusals of the platform's deliveries since the last one that was taken.
    pub risk: Risk,
}

/// The status that follows from what is known; times of transition stay where nothing changed.
#[must_use]
pub fn status(
    before: &WebhookReceiverStatus,
    view: &View,
    happened: &Happened,
    usage: Option<&Usage>,
    now: DateTime<Utc>,
) -> WebhookReceiverStatus {
    let generation = view.identity.generation;
    let mut status = before.clone();
    status.observed_generation = Some(generation);
    status.url = view.url.clone();
    status.waiting = usage.map(|usage| i64::try_from(usage.pending.deliveries).unwrap_or(i64::MAX));
    status.last_accepted_time = rounded(happened.accepted).max(before.last_accepted_time);
    status.last_refused_time = rounded(happened.refused).max(before.last_refused_time);
    let condition = |kind, status, (reason, message): (Reason, String)| Condition {
        kind,
        status,
        reason,
        message,
        observed_generation: Some(generation),
        last_transition_time: now,
    };
    let mut put = |kind, wanted| set_condition(&mut status.conditions, kind, wanted);
    let trouble = trouble(view);
    let stalled = trouble.as_ref().filter(|(reason, _)| *reason != Reason::CredentialUnusable);
    put(
        ConditionType::Stalled,
        stalled.map(|why| condition(ConditionType::Stalled, ConditionStatus::True, why.clone())),
    );
    let ready = match trouble {
        Some(why) => condition(ConditionType::Ready, ConditionStatus::False, why),
        None => condition(ConditionType::Ready, ConditionStatus::True, accepting(view)),
    };
    put(ConditionType::Ready, Some(ready));
    let unusable: Vec<String> = view.unusable.iter().map(ToString::to_string).collect();
    let unusable = (!unusable.is_empty()).then(|| (Reason::CredentialUnusable, unusable.join("; ")));
    put(
        ConditionType::CredentialUnusable,
        unusable.map(|why| condition(ConditionType::CredentialUnusable, ConditionStatus::True, why)),
    );
    let handing_on = handing_on(view, happened, usage);
    put(
        ConditionType::HandingOn,
        handing_on.map(|(holds, why)| {
            let holds = if holds { ConditionStatus::True } else { ConditionStatus::False };
            condition(ConditionType::HandingOn, holds, why)
        }),
    );
    let asking = asking(view, happened, usage, now);
    put(
        ConditionType::Asking,
        asking.map(|(holds, why)| {
            let holds = if holds { ConditionStatus::True } else { ConditionStatus::False };
            condition(ConditionType::Asking, holds, why)
        }),
    );
    let removed_after = view.receiver.as_ref().and_then(|receiver| receiver.removed_after);
    let risk = removed_after.and_then(|removed_after| happened.risk.refused_for(removed_after));
    let risk =
        risk.map(|refused| condition(ConditionType::RemovalRisk, ConditionStatus::True, removal(&refused)));
    put(ConditionType::RemovalRisk, risk);
    let shortened = usage.and_then(|usage| usage.window_shortened_until).filter(|until| *until > now);
    let shortened = shortened.map(|until| {
        let message = format!(
            "more events came than are remembered for one receiver: until {} a repeated delivery may be \
             handed on as a new one. Give duplicates.window a shorter time",
            until.to_rfc3339_opts(SecondsFormat::Secs, true)
        );
        let why = (Reason::TooManyEvents, message);
        condition(ConditionType::DuplicateWindowShortened, ConditionStatus::True, why)
    });
    put(ConditionType::DuplicateWindowShortened, shortened);
    status
}

/// Why nothing is taken in, or not as the newest version of the object says.
fn trouble(view: &View) -> Option<(Reason, String)> {
    if !view.problems.is_empty() {
        let problems: Vec<String> = view.problems.iter().map(ToString::to_string).collect();
        let mut message = problems.join("; ");
        if view.receiver.is_some() {
            message.push_str(". Its last valid version stays at work");
        }
        return Some((Reason::InvalidSpec, message));
    }
    if let Some(other) = &view.conflict {
        let message = if other.namespace == view.identity.key.namespace {
            format!(
                "the older WebhookReceiver {} has the same path; give this one another spec.path",
                other.name
            )
        } else {
            "an older WebhookReceiver of another namespace has the same path; give this one another spec.path"
                .to_owned()
        };
        return Some((Reason::Conflict, message));
    }
    if view.clear_bodies {
        let message = "its deliveries hold live access tokens and would be kept in clear; give the process a key \
                       with --data-key-file, or set spec.mode to Direct, or allow it with --allow-clear-bodies";
        return Some((Reason::BodiesInClear, message.to_owned()));
    }
    if view.none_usable {
        let message = "none of its credentials can be used, so every delivery is answered 503";
        let unusable: Vec<String> = view.unusable.iter().map(ToString::to_string).collect();
        let message = if unusable.is_empty() {
            format!("{message}: no token of its source is known yet")
        } else {
            format!("{message}: {}", unusable.join("; "))
        };
        return Some((Reason::CredentialUnusable, message));
    }
    None
}

/// What a platform will do about refusals.
fn removal(refused: &RefusedFor) -> (Reason, String) {
    let reason = match refused.level {
        1 => Reason::RemovalPossible,
        2 => Reason::RemovalLikely,
        _ => Reason::RemovalNear,
    };
    let message = format!(
        "for {} or longer every delivery of the platform has been refused; after {} it removes the webhook, \
         which would be {}. The metric hookkeeper_gate_refused_total says why they are refused",
        days(refused.at_least),
        days(refused.removed_after),
        refused.removal.to_rfc3339_opts(SecondsFormat::Secs, true)
    );
    (reason, message)
}

/// What a new process begins with, from what was last written: risk goes on over a restart.
#[must_use]
pub fn resumed(status: &WebhookReceiverStatus, removed_after: Option<std::time::Duration>) -> Happened {
    let shown = status.conditions.iter().find(|condition| condition.kind == ConditionType::RemovalRisk);
    let shown = shown.map(|condition| {
        let level = match condition.reason {
            Reason::RemovalPossible => 1,
            Reason::RemovalLikely => 2,
            _ => 3,
        };
        (condition.last_transition_time, level)
    });
    let (accepted, refused) = (status.last_accepted_time, status.last_refused_time);
    let risk = removed_after.map(|after| Risk::resumed(shown, accepted, refused, after)).unwrap_or_default();
    Happened { accepted, refused, paused: None, unanswered: None, risk }
}

fn accepting(view: &View) -> (Reason, String) {
    let verifies_nothing = view.receiver.as_ref().is_some_and(|receiver| receiver.proof == Proof::None);
    if verifies_nothing {
        let message = "nothing is verified (verification: none): whoever reaches the URL is believed";
        return (Reason::NotVerified, message.to_owned());
    }
    (Reason::Accepting, "deliveries are taken in and proven".to_owned())
}

/// Whether deliveries are handed on, and why not.
fn handing_on(view: &View, happened: &Happened, usage: Option<&Usage>) -> Option<(bool, (Reason, String))> {
    let receiver = view.receiver.as_ref()?;
    if receiver.mode == Mode::Direct {
        return None;
    }
    let (waiting, parked) = usage.map_or((0, 0), |usage| (usage.pending.deliveries, usage.parked.deliveries));
    let since = usage
        .and_then(|usage| usage.oldest_pending)
        .map(|oldest| format!(", the oldest since {}", oldest.to_rfc3339_opts(SecondsFormat::Secs, true)));
    let waits = format!("{waiting} wait{}", since.unwrap_or_default());
    if view.gone_since.is_some() {
        return Some((
            false,
            (Reason::ManifestGone, format!("its manifest is gone, so nothing is handed on; {waits}")),
        ));
    }
    if receiver.suspended {
        return Some((false, (Reason::Suspended, format!("spec.suspend is true; {waits}"))));
    }
    if let Some((at, why)) = &happened.paused {
        let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let (reason, why) = match why.strip_prefix(NOT_ALLOWED) {
            Some(why) => (Reason::DestinationNotAllowed, why),
            None => (Reason::ApplicationUnavailable, why.as_str()),
        };
        let message = format!("the application takes nothing since {at}: {why}; {waits}");
        return Some((false, (reason, message)));
    }
    if parked > 0 {
        let message = format!(
            "{parked} are parked and wait for a person: `hookkeeper deliveries list --state parked` says why, \
             `replay` and `drop` say what becomes of them"
        );
        return Some((true, (Reason::Parked, message)));
    }
    Some((true, (Reason::Succeeded, "deliveries are handed on".to_owned())))
}

/// Whether the platform answers when it is asked for what it did not deliver, and why not.
fn asking(
    view: &View,
    happened: &Happened,
    usage: Option<&Usage>,
    now: DateTime<Utc>,
) -> Option<(bool, (Reason, String))> {
    let receiver = view.receiver.as_ref().filter(|receiver| receiver.fallback.is_some())?;
    let (open, parked) = usage.map_or((0, 0), |usage| (usage.expected, usage.expected_parked));
    if receiver.suspended || view.gone_since.is_some() {
        let reason = if view.gone_since.is_some() { Reason::ManifestGone } else { Reason::Suspended };
        return Some((false, (reason, format!("nobody is asked; {open} are waited for"))));
    }
    let unanswered = happened.unanswered.as_ref().filter(|(since, _)| now - *since >= UNANSWERED_FOR);
    if let Some((since, why)) = unanswered {
        let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
        let message = format!("the platform gives no answer since {since}: {why}; {open} are waited for");
        return Some((false, (Reason::PlatformUnavailable, message)));
    }
    if parked > 0 {
        let message = format!(
            "{parked} that applications wait for were given up: `hookkeeper deliveries expected --state parked` \
             shows them, `ask-again` asks for them once more; each is forgotten after a week"
        );
        return Some((true, (Reason::Parked, message)));
    }
    Some((true, (Reason::Succeeded, "the platform is asked for what it does not deliver".to_owned())))
}

fn rounded(time: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    use chrono::DurationRound;
    time.and_then(|time| time.duration_trunc(ROUNDED_TO).ok())
}

/// Days and hours, for people.
fn days(time: TimeDelta) -> String {
    match (time.num_days(), time.num_hours() % 24) {
        (0, hours) => format!("{hours} h"),
        (1, 0) => "1 day".to_owned(),
        (days, 0) => format!("{days} days"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
