//! Telling people of a transition.

use crate::api::{ConditionStatus, ConditionType, Kind, Reason, SubscriptionStatus};
use crate::engine::state::subscription::Object;
use crate::engine::turn::Turn;

/// Tells people of a transition, by comparing what was shown with what is shown now.
pub(crate) fn announce(turn: &mut Turn<'_>, object: &Object, after: &SubscriptionStatus) {
    let shown = |status: &SubscriptionStatus, kind| {
        status
            .conditions
            .iter()
            .find(|condition| condition.kind == kind)
            .map(|condition| (condition.status, condition.reason, condition.message.clone()))
    };
    let key = &object.identity.key;
    for (kind, bad) in [
        (ConditionType::Stalled, ConditionStatus::True),
        (ConditionType::RotationHealthy, ConditionStatus::False),
        (ConditionType::Ready, ConditionStatus::False),
    ] {
        let (was, is) = (shown(&object.status, kind), shown(after, kind));
        let Some((holds, reason, message)) = is.filter(|is| is.0 == bad) else {
            continue;
        };
        if was.is_some_and(|was| was.0 == holds && was.1 == reason) {
            continue;
        }
        let speaks = match kind {
            ConditionType::Ready => matches!(reason, Reason::TokenExpired | Reason::Conflict),
            _ => true,
        };
        if speaks {
            turn.emit(Kind::WebhookSubscription, key, true, reason, message);
        }
    }
}
