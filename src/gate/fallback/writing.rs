//! What is made durable of expectations.

use std::sync::Arc;

use tokio::sync::watch;

use super::parts::Parts;
use super::settle::Settled;
use crate::gate::guarded::{Health, make_durable};
use crate::gate::hand_on::Receivers;
use crate::gate::observer::Fact;
use crate::store::{Store, StoreError};

/// Whether somebody may be asked for what the receiver of this uid waits for.
pub(super) fn is_asked_for(receivers: &Receivers, uid: &str) -> bool {
    receivers.get(uid).is_some_and(|receiver| receiver.fallback.is_some())
}

/// Parks what is waited for where nobody may be asked any more.
///
/// # Errors
/// Of the store.
pub(super) async fn park_what_is_nobodys(parts: &Parts, receivers: &Receivers) -> Result<(), StoreError> {
    for usage in parts.store.usage().await? {
        let owner = &usage.owner;
        let is_refused = receivers.is_there(&owner.uid) && !receivers.contains_key(&owner.uid);
        if usage.expected == 0 || is_refused || is_asked_for(receivers, &owner.uid) {
            continue;
        }
        let is_known = receivers.contains_key(&owner.uid) || (parts.options.knows_all_of)(&owner.namespace);
        if !is_known {
            continue;
        }
        let count = parts.store.park_expectations(&owner.uid, parts.clock.now()).await?;
        if count > 0 {
            let why = "the receiver is gone, or has no spec.fallback any more";
            parts.observer.saw(owner, Fact::GivenUp { count, why });
        }
    }
    Ok(())
}

/// Makes it durable: what is not known to have been handed on would be handed on once more.
///
/// # Errors
/// As [`make_durable`] has them.
pub(super) async fn settle(
    store: &dyn Store,
    (uid, id): &(Arc<str>, String),
    settled: &Settled,
    health: &Health,
    stopping: &watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let write = || match settled {
        Settled::Met => store.expectation_met(uid, id),
        Settled::Changed(expectation) => store.expectation_changed(expectation.clone()),
        Settled::Unchanged => Box::pin(std::future::ready(Ok(()))),
    };
    make_durable(write, health, stopping, |_| {}).await
}
