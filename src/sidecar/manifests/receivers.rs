//! What of a look is the gate's: receivers, the sources of their tokens, and where these are sent.

use std::collections::BTreeMap;

use super::document::{Item, Spec};
use super::files::{Files, Id};
use crate::api::validation::Problem;
use crate::api::{
    Declared, Identity, Kind, ObjectKey, TokenPlace, TokenSourceSpec, WebhookReceiverSpec,
    WebhookSubscriptionSpec,
};
use crate::engine::ports::Invalid;
use crate::gate::change::ReceiverChange;
use crate::sidecar::state::{Entries, Entry};

/// A header and what stands before the token in it.
type Place = (String, String);

/// Where subscriptions send their tokens, by the receivers that they name.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Each subscription that names a receiver.
    senders: BTreeMap<ObjectKey, (ObjectKey, Place)>,
    /// What the gate was told of each receiver.
    told: BTreeMap<ObjectKey, Place>,
}

impl Places {
    /// Takes in what an earlier process knew.
    pub(super) fn recall(&mut self, entries: &Entries) {
        for ((kind, key), entry) in entries {
            let valid = entry.valid.as_ref().filter(|_| *kind == Kind::WebhookSubscription);
            if let Some(valid) = valid
                && let Ok(Spec::Subscription(spec)) = Spec::from_json(*kind, &valid.spec)
            {
                self.note(key, &spec);
            }
        }
    }

    /// Takes in what the changed files show. One that cannot be used changes nothing.
    /// What `stays` in force is there, too.
    pub(super) fn look(&mut self, items: &[(String, Item)], files: &Files, stays: impl Fn(&Id) -> bool) {
        self.senders.retain(|key, _| {
            let id = Id::Object(Kind::WebhookSubscription, key.clone());
            files.declare(&id) || stays(&id)
        });
        for (_, item) in items {
            if let Item::Object { key, spec: Ok(Spec::Subscription(spec)), .. } = item {
                self.note(key, spec);
            }
        }
    }

    fn note(&mut self, key: &ObjectKey, spec: &WebhookSubscriptionSpec) {
        let place = spec.token_place().map(|place| (place.header.to_owned(), place.prefix.to_owned()));
        match (&spec.receiver_ref, place) {
            (Some(receiver), Some(place)) => {
                self.senders.insert(key.clone(), (key.sibling(&receiver.name), place));
            }
            _ => {
                self.senders.remove(key);
            }
        }
    }

    /// Where the first subscription of a receiver sends its token.
    fn of(&self, receiver: &ObjectKey) -> Option<&Place> {
        let mut senders = self.senders.values();
        senders.find_map(|(named, place)| (named == receiver).then_some(place))
    }

    /// The receivers whose tokens come in another place than the gate was told.
    pub(super) fn moved(&self) -> Vec<ObjectKey> {
        let mut moved: Vec<ObjectKey> = self
            .senders
            .values()
            .map(|(receiver, _)| receiver)
            .filter(|receiver| self.of(receiver) != self.told.get(*receiver))
            .cloned()
            .collect();
        moved.dedup();
        moved
    }

    /// A receiver as the gate is told of it.
    pub(super) fn declared(
        &mut self,
        mut spec: WebhookReceiverSpec,
        identity: Identity,
        entry: Option<&Entry>,
    ) -> ReceiverChange {
        let names_header = spec.verification.token.as_ref().is_some_and(|token| token.header.is_some());
        // Where there is no subscription any more, what is under way comes where it came before.
        let before = || self.told.get(&identity.key).filter(|_| !names_header);
        if let Some(place) = self.of(&identity.key).or_else(before).cloned() {
            spec.reads_token_at(TokenPlace { header: &place.0, prefix: &place.1 });
            self.told.insert(identity.key.clone(), place);
        }
        let status = entry.and_then(|entry| entry.status.as_ref());
        // It was checked when the state file was read.
        let status = status.and_then(|status| serde_json::from_str(status.get()).ok()).unwrap_or_default();
        ReceiverChange::Declared(Box::new(Declared { identity, spec, status }))
    }

    /// A receiver is gone.
    pub(super) fn forget(&mut self, receiver: &ObjectKey) {
        self.told.remove(receiver);
    }
}

/// The receiver with its last valid version, if there is one.
pub(super) fn remembered(entry: &Entry) -> Option<(WebhookReceiverSpec, i64)> {
    let valid = entry.valid.as_ref()?;
    match Spec::from_json(Kind::WebhookReceiver, &valid.spec) {
        Ok(Spec::Receiver(spec)) => Some((*spec, valid.generation)),
        _ => None,
    }
}

pub(super) fn source(key: &ObjectKey, spec: &TokenSourceSpec) -> ReceiverChange {
    ReceiverChange::Source(key.clone(), Some(Box::new(spec.clone())))
}

pub(super) fn invalid(identity: Identity, problem: &Invalid) -> ReceiverChange {
    ReceiverChange::Invalid(
        identity,
        vec![Problem { field: problem.field.clone(), problem: problem.problem.clone() }],
    )
}

/// Sources come before the receivers that name them, and go after them.
pub(super) fn order(change: &ReceiverChange) -> u8 {
    match change {
        ReceiverChange::Source(_, Some(_)) => 0,
        ReceiverChange::Declared(_) | ReceiverChange::Invalid(..) => 1,
        ReceiverChange::Gone(..) | ReceiverChange::Deleted(_) => 2,
        ReceiverChange::Source(_, None) => 3,
        ReceiverChange::Listed(_) | ReceiverChange::Synced | ReceiverChange::Carried(..) => 4,
    }
}
