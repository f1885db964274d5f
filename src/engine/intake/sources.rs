//! Taking in what the shell says of token sources.

use std::collections::BTreeSet;

use crate::api::{Declared, ObjectKey, TokenSourceSpec, TokenSourceStatus};
use crate::engine::dispatch::agenda::reconcile_users_of_source;
use crate::engine::ids::SubscriptionId;
use crate::engine::intake::providers::end_back_offs;
use crate::engine::sources::begin::begin_source;
use crate::engine::sources::publish::publish_hosts;
use crate::engine::state::source::SourceKey;
use crate::engine::turn::Turn;

pub(crate) fn upsert_source(turn: &mut Turn<'_>, declared: Declared<TokenSourceSpec, TokenSourceStatus>) {
    let now = turn.now;
    let id = turn.state.source_for(&SourceKey::Object(declared.identity.key.clone()));
    let leading = turn.state.term.is_some();
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let is_new = source.object.is_none();
    let status = match source.object.take() {
        Some((before, status)) if leading && before.uid == declared.identity.uid => status,
        _ => declared.status,
    };
    source.object = Some((declared.identity, status));
    source.invalid = None;
    let changed = source.spec.as_deref() != Some(&declared.spec);
    let asks_for_another = source.spec.as_ref().is_some_and(|before| !before.asks_like(&declared.spec));
    if asks_for_another {
        source.forget_held();
    }
    let secret = |spec: &TokenSourceSpec| spec.publish_to.as_ref().map(|to| to.secret_name.clone());
    let published_before = source.spec.as_deref().and_then(secret);
    // What stands in another Secret is not published any more.
    let moves = published_before.is_some() && published_before != secret(&declared.spec);
    if declared.spec.publish_to.is_none() || moves {
        source.forget_published();
    }
    if changed {
        source.set_spec(declared.spec);
        source.end_back_off(now);
        source.failures = 0;
        source.state.failing = None;
        source.state.not_renewed = false;
    }
    source.refresh();
    if changed {
        let users = source.users.clone();
        end_back_offs(turn, &users);
        if asks_for_another {
            carry_a_strangers_token(turn, &users);
        }
    }
    if changed {
        publish_hosts(turn, id);
    }
    if turn.state.synced && (is_new || changed) {
        begin_source(turn, id);
        reconcile_users_of_source(turn, id);
    }
}

/// The tokens that these carry are not from where they are to be from now on.
fn carry_a_strangers_token(turn: &mut Turn<'_>, users: &BTreeSet<SubscriptionId>) {
    for user in users {
        if let Some(entry) = turn.state.entry_mut(*user).filter(|entry| entry.carried.is_some()) {
            entry.remember(|memory| memory.strangers_token = true);
        }
    }
}

pub(crate) fn source_gone(turn: &mut Turn<'_>, key: &ObjectKey) {
    let Some(id) = turn.state.source_by_key.get(&SourceKey::Object(key.clone())).copied() else {
        return;
    };
    if let Some(source) = turn.state.source_mut(id) {
        source.object = None;
        source.invalid = None;
    }
    turn.state.leave_source(id, turn.now);
    reconcile_users_of_source(turn, id);
}
