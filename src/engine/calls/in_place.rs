//! A document is in place with a token.

use crate::api::{ConditionStatus, Kind, Ownership, Reason};
use crate::engine::effect::Count;
use crate::engine::ids::SubscriptionId;
use crate::engine::providers::status::provider_answered;
use crate::engine::sent::{Sent, Then};
use crate::engine::sources::publish::{after_apply, remember_applied};
use crate::engine::state::subscription::Object;
use crate::engine::subscriptions::decision::{Shown, document_of, presented};
use crate::engine::subscriptions::persist::record;
use crate::engine::turn::Turn;
use crate::rotation::facts::Drift;
use crate::rotation::status;
use crate::rotation::status::Rotated;
use crate::rotation::step::WaitReason;
use crate::rotation::time::written;

/// A document that is in place.
pub(crate) struct Success<'a> {
    pub(crate) remote_id: &'a str,
    pub(crate) ownership: Ownership,
    pub(crate) sent: &'a Sent,
    /// Digest of the identity of each Secret in it.
    pub(crate) secrets: Option<String>,
    pub(crate) happened: Reason,
}

/// A document is in place with this token: the only way to `Ready`.
pub(crate) fn in_place(turn: &mut Turn<'_>, id: SubscriptionId, object: &Object, success: Success<'_>) {
    let now = turn.now;
    let Success { remote_id, ownership, sent, secrets, happened } = success;
    let Sent { held, digest, origin } = sent;
    let of_its_source = turn.state.is_held(id, held);
    let is_received = object.spec.as_ref().is_some_and(|spec| spec.receiver_ref.is_some());
    let carried = object.status.token_fingerprint.as_deref();
    let replaced = carried.filter(|carried| is_received && *carried != held.fingerprint);
    let mut recovered = false;
    let mut handled = None;
    if let Some(entry) = turn.state.entry_mut(id) {
        entry.remember(|memory| {
            recovered = memory.failing.is_some();
            handled = memory
                .request_seen
                .as_ref()
                .filter(|(_, seen)| held.confirmed.max(held.minted.wall) >= *seen)
                .map(|(request, _)| request.clone());
            memory.wait = None;
            memory.failures = 0;
            memory.failed_with_others = false;
            memory.failing = None;
            memory.absent = false;
            memory.listed_not_found = false;
            memory.not_there = None;
            memory.lacked_since = None;
            memory.last_attempt = None;
            memory.secrets_changed = false;
            memory.strangers_token &= !of_its_source;
            if let Some(before) = replaced {
                memory.observed.replaced(before, now.wall);
            }
            memory.listing_after = Some(now.wall);
            memory.drift = match memory.drift {
                Some(Drift::Seen) => Some(Drift::Reapplied),
                other => other,
            };
        });
        entry.minted_boot = Some(held.minted.boot);
    }
    let before = object.status.token_expiration_time;
    let fields = status::rotated(
        &object.status,
        &Rotated {
            id: remote_id,
            origin,
            ownership,
            held,
            digest,
            secrets,
            handled_request: handled.as_deref(),
            at: now.wall,
        },
    );
    let seen = document_of(turn.state, id, object);
    let shown = Shown { wait: &WaitReason::Settled, happened: Some(happened) };
    let status = presented(turn.state, id, object, &seen, &fields, &shown, now);
    let lead = before.map(|end| (end - now.wall).as_seconds_f64());
    if let Some(provider) = turn.state.provider_key(id) {
        turn.count(Count::Rotation { provider, outcome: happened, lead });
    }
    tracing::info!(
        subscription = %object.identity.key,
        webhook = remote_id,
        fingerprint = %held.fingerprint,
        expires = held.expires.map(written),
        next = status.next_rotation_time.map(written),
        "a token is in place"
    );
    remember_applied(turn, id, held);
    let warning =
        turn.state.client_of(id).zip(object.spec.as_ref()).and_then(|(remote, spec)| remote.warning(spec));
    match (happened, recovered) {
        (Reason::Rotated, true) => {
            turn.emit(
                Kind::WebhookSubscription,
                &object.identity.key,
                false,
                Reason::Recovered,
                "a rotation succeeded again".into(),
            );
        }
        (Reason::Rotated, false) => {}
        _ => {
            let note = format!("webhook {remote_id} is kept fresh from now on");
            turn.emit(Kind::WebhookSubscription, &object.identity.key, false, happened, note);
            if let Some(warning) = warning {
                turn.emit(Kind::WebhookSubscription, &object.identity.key, true, happened, warning);
            }
        }
    }
    provider_answered(turn, id, ConditionStatus::True, Reason::Valid, "the provider takes our calls");
    record(turn, id, status, Then::Reconcile);
    after_apply(turn, id);
}
