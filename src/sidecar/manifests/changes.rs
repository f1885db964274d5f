//! What the engine is told of an object.

use super::document::{Annotations, Item, Spec, digest_of_invalid};
use crate::api::{Declared, Identity, Kind, ObjectKey, validation};
use crate::engine::change::Change;
use crate::engine::ports::Invalid;
use crate::sidecar::state::{Entries, Entry};

pub(super) fn identity(
    key: &ObjectKey,
    entry: &Entry,
    generation: i64,
    annotations: &Annotations,
) -> Identity {
    Identity {
        key: key.clone(),
        uid: entry.uid.clone(),
        generation,
        created: entry.created,
        deleted: None,
        has_finalizer: entry.has_finalizer,
        rotate_requested: annotations.rotate_requested.clone(),
        force_orphan: annotations.force_orphan,
    }
}

/// Nothing for what is the gate's.
pub(super) fn change(spec: Spec, identity: Identity, entry: Option<&Entry>) -> Option<Change> {
    fn declared<Spec, Status: Default + serde::de::DeserializeOwned>(
        spec: Spec,
        identity: Identity,
        entry: Option<&Entry>,
    ) -> Box<Declared<Spec, Status>> {
        let status = entry.and_then(|entry| entry.status.as_ref());
        Box::new(Declared {
            identity,
            spec,
            // It was checked when the state file was read.
            status: status.and_then(|status| serde_json::from_str(status.get()).ok()).unwrap_or_default(),
        })
    }
    Some(match spec {
        Spec::Provider(spec) => Change::Provider(declared(*spec, identity, entry)),
        Spec::TokenSource(spec) => Change::TokenSource(declared(*spec, identity, entry)),
        Spec::Subscription(spec) => Change::Subscription(declared(*spec, identity, entry)),
        Spec::Receiver(_) => return None,
    })
}

/// What others refer to comes before them, and goes after them. The sort is stable, so the
/// restored version of an object comes before the news that its manifest is invalid.
pub(super) fn order(change: &Change) -> u8 {
    let of_kind = |kind: &Kind| match kind {
        Kind::WebhookProvider => 0,
        Kind::TokenSource => 1,
        Kind::WebhookSubscription | Kind::WebhookReceiver => 2,
    };
    match change {
        Change::Provider(_) => of_kind(&Kind::WebhookProvider),
        Change::TokenSource(_) => of_kind(&Kind::TokenSource),
        Change::Subscription(_) => of_kind(&Kind::WebhookSubscription),
        Change::Invalid { kind, .. } => of_kind(kind),
        Change::Gone { kind, .. } => 5 - of_kind(kind),
        Change::Gates(_) | Change::Evidence(_) | Change::Synced | Change::Mark(_) => 6,
    }
}

/// Makes a document invalid that changes a field which cannot be changed. A server compares with the
/// object before; here the last valid version stands for it.
pub(super) fn refuse_forbidden_change(item: &mut Item, entries: &Entries) {
    let Item::Object { kind, key, digest, spec, .. } = item else {
        return;
    };
    let (Ok(new), Some(entry)) = (&*spec, entries.get(&(*kind, key.clone()))) else {
        return;
    };
    let Some(before) = &entry.valid else {
        return;
    };
    if entry.spec_digest == *digest {
        return;
    }
    let object = |json: &str| {
        let spec: Option<serde_json::Value> = serde_json::from_str(json).ok();
        serde_json::json!({ "spec": spec })
    };
    let Ok(new) = new.to_json() else {
        return;
    };
    let judged = validation::validate(*kind, &object(new.get()), Some(&object(before.spec.get())));
    if let Err(problems) = judged
        && let Some(first) = problems.into_iter().next()
    {
        let problem = Invalid { field: first.field, problem: first.problem };
        *digest = digest_of_invalid(&problem);
        *spec = Err(problem);
    }
}
