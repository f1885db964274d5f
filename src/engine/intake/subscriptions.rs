//! Taking in what the shell says of subscriptions.

use crate::api::{
    Declared, DeletionPolicy, Identity, Kind, ObjectKey, Reason, SubscriptionStatus, WebhookSubscriptionSpec,
    recorded_request,
};
use crate::engine::change::Change;
use crate::engine::dispatch::agenda::reconcile_soon;
use crate::engine::ids::SubscriptionId;
use crate::engine::intake::newcomer::{add_subscription, note_request, place_in_source};
use crate::engine::ports::Invalid;
use crate::engine::state::State;
use crate::engine::state::subscription::Object;
use crate::engine::subscriptions::rest::remove_subscription;
use crate::engine::turn::Turn;
use crate::rotation::observed;
use crate::rotation::observed::Observed;

pub(crate) fn upsert_subscription(
    turn: &mut Turn<'_>,
    mut declared: Declared<WebhookSubscriptionSpec, SubscriptionStatus>,
) {
    let now = turn.now;
    declared.identity.rotate_requested = declared.identity.rotate_requested.as_deref().map(recorded_request);
    let Some(id) = turn.state.by_key.get(&declared.identity.key).copied() else {
        add_subscription(turn, Object::from(declared));
        return;
    };
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    let Some(before) = entry.object() else { return };
    // An object of which no version was valid has not found its provider yet.
    if before.identity.uid != declared.identity.uid || before.spec.is_none() {
        // Another object of the same name: it waits until the old one's running step has ended.
        if entry.is_busy() {
            entry.successor = Some(Box::new(Change::Subscription(Box::new(declared))));
        } else {
            remove_subscription(turn, id);
            add_subscription(turn, Object::from(declared));
        }
        return;
    }
    let leading = turn.state.term.is_some();
    let status = if leading { before.status.clone() } else { declared.status };
    let mut object = Object { identity: declared.identity, spec: Some(declared.spec), status };
    let problem = problem_of(turn.state, id, &object, before.spec.as_ref());
    if problem.is_some() && before.spec.is_some() {
        object.spec.clone_from(&before.spec);
    }
    let spec_changed = object.spec != before.spec;
    let asked = spec_changed || object.identity.rotate_requested != before.identity.rotate_requested;
    let receiver = |object: &Object| object.spec.as_ref().and_then(|spec| spec.receiver_ref.clone());
    let has_another_receiver = receiver(&object) != receiver(&before);
    if has_another_receiver {
        observed::begin_anew(&mut object.status.conditions, now.wall);
    }
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    entry.gone = false;
    entry.let_go &= object.identity.deleted.is_some();
    entry.invalid = problem.map(|problem| problem.to_string().into());
    let request = object.identity.rotate_requested.clone();
    entry.remember(|memory| {
        memory.deleting_since = None;
        if has_another_receiver {
            memory.observed = Observed::default();
        }
        let seen = memory.deletion_seen.unwrap_or(now.wall);
        memory.deletion_seen = object.identity.deleted.map(|_| seen);
        if spec_changed && object.status.webhook_id.is_none() {
            memory.listing_after = Some(now.wall);
        }
        note_request(&mut memory.request_seen, request, now);
    });
    entry.store(&object);
    place_in_source(turn, id, &object);
    turn.state.index(id, &object);
    if asked {
        let source = turn.state.entry(id).and_then(|entry| entry.source);
        if let Some(source) = source.and_then(|source| turn.state.source_mut(source))
            && source.state.failing.is_some()
        {
            source.end_back_off(now);
        }
    }
    reconcile_soon(turn, id);
}

/// The first rule of the provider's that a new version breaks, as far as the provider is known.
fn problem_of(
    state: &State,
    id: SubscriptionId,
    object: &Object,
    before: Option<&WebhookSubscriptionSpec>,
) -> Option<Invalid> {
    let spec = object.spec.as_ref()?;
    if before.is_some_and(|before| before.provider_ref != spec.provider_ref) {
        return Some(Invalid {
            field: "spec.providerRef".to_owned(),
            problem: "cannot be changed; delete this object and create another one".to_owned(),
        });
    }
    let remote = state.provider(state.entry(id)?.provider)?.client.as_ref()?;
    remote.check(spec).err()
}

pub(crate) fn subscription_gone(turn: &mut Turn<'_>, key: &ObjectKey, prune: bool) {
    let now = turn.now;
    let Some(id) = turn.state.by_key.get(key).copied() else {
        return;
    };
    let leads = turn.state.term.is_some();
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    let Some(mut object) = entry.object() else {
        return;
    };
    let follows = object.spec.as_ref().map(WebhookSubscriptionSpec::deletion_policy);
    // Whoever leads tells of it; that what was let go is gone is no news.
    let unexpected = !prune && !entry.let_go && leads;
    let left_behind =
        object.status.webhook_id.clone().filter(|_| unexpected && follows == Some(DeletionPolicy::Delete));
    if let Some(spec) = object.spec.as_mut().filter(|_| !prune) {
        spec.deletion_policy = Some(DeletionPolicy::Orphan);
    }
    entry.gone = true;
    entry.remember(|memory| {
        memory.deleting_since = Some(memory.deleting_since.unwrap_or(now.wall));
        // A back-off was for what was wanted before.
        memory.wait = None;
    });
    entry.store(&object);
    turn.state.index(id, &object);
    if let Some(remote) = left_behind {
        let note =
            format!("the object is gone without having been deleted; webhook {remote} stays at the provider");
        turn.emit(Kind::WebhookSubscription, key, true, Reason::RemoteOrphaned, note);
    }
    reconcile_soon(turn, id);
}

pub(crate) fn invalid_subscription(
    turn: &mut Turn<'_>,
    mut identity: Identity,
    problem: &Invalid,
    recorded: serde_json::Value,
) {
    let now = turn.now;
    identity.rotate_requested = identity.rotate_requested.as_deref().map(recorded_request);
    let key = identity.key.clone();
    let known = turn.state.by_key.get(&key).copied();
    let before = known.and_then(|id| turn.state.entry(id)?.object());
    if let (Some(id), Some(before)) = (known, before)
        && before.identity.uid != identity.uid
    {
        // Another object of the same name: it waits until the old one's running step has ended.
        if let Some(entry) = turn.state.entry_mut(id).filter(|entry| entry.is_busy()) {
            entry.successor = Some(Box::new(Change::Invalid {
                kind: Kind::WebhookSubscription,
                identity,
                problem: problem.clone(),
                status: recorded,
            }));
            return;
        }
        remove_subscription(turn, id);
    }
    if !turn.state.by_key.contains_key(&key) {
        let object = Object {
            identity: identity.clone(),
            spec: None,
            status: serde_json::from_value(recorded).unwrap_or_default(),
        };
        add_subscription(turn, object);
    }
    let Some(id) = turn.state.by_key.get(&key).copied() else {
        return;
    };
    let Some(entry) = turn.state.entry_mut(id) else {
        return;
    };
    let Some(mut object) = entry.object() else {
        return;
    };
    let request = identity.rotate_requested.clone();
    object.identity = identity;
    entry.gone = false;
    entry.let_go &= object.identity.deleted.is_some();
    entry.invalid = Some(problem.to_string().into());
    entry.remember(|memory| {
        memory.deleting_since = None;
        note_request(&mut memory.request_seen, request, now);
    });
    entry.store(&object);
    turn.state.index(id, &object);
    reconcile_soon(turn, id);
}
