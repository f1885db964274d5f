//! Taking in that an object breaks a rule: its last valid version stays in force.

use std::sync::Arc;

use crate::api::{Identity, Kind};
use crate::engine::dispatch::agenda::{reconcile_users_of_provider, reconcile_users_of_source};
use crate::engine::intake::subscriptions::invalid_subscription;
use crate::engine::ports::Invalid;
use crate::engine::providers::status::record_provider;
use crate::engine::sources::status::record_source;
use crate::engine::state::source::SourceKey;
use crate::engine::turn::Turn;

/// An object that breaks a rule: its last valid version stays in force.
pub(crate) fn invalid(
    turn: &mut Turn<'_>,
    kind: Kind,
    identity: Identity,
    problem: &Invalid,
    recorded: serde_json::Value,
) {
    let now = turn.now;
    let key = identity.key.clone();
    match kind {
        Kind::WebhookSubscription => invalid_subscription(turn, identity, problem, recorded),
        Kind::TokenSource => {
            let id = turn.state.source_for(&SourceKey::Object(key));
            if let Some(source) = turn.state.source_mut(id) {
                source.invalid = Some(problem.to_string());
                let status = serde_json::from_value(recorded).unwrap_or_default();
                let status = source.object.take().map_or(status, |(_, status)| status);
                source.object = Some((identity, status));
            }
            record_source(turn, id);
            reconcile_users_of_source(turn, id);
        }
        Kind::WebhookProvider => {
            let id = turn.state.provider_for(&key, now.boot);
            if let Some(provider) = turn.state.provider_mut(id) {
                provider.invalid = Some(problem.to_string());
                let status = serde_json::from_value(recorded).unwrap_or_default();
                if let Some((before, _, _)) = &mut provider.declared {
                    *before = identity;
                } else {
                    provider.declared = Some((identity, Arc::default(), status));
                }
            }
            record_provider(turn, id);
            reconcile_users_of_provider(turn, id);
        }
        // The gate's.
        Kind::WebhookReceiver => {}
    }
}
