//! Carrying out what a shell tells: one change of each namespace at a time, namespaces in turn, because a
//! change waits until Secrets have been read.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc::Receiver;

use super::change::ReceiverChange;
use super::registry::Registry;
use crate::api::ObjectKey;
use crate::shares::one_each::OneEach;

/// How many changes are carried out at the same time.
const AT_ONCE: usize = 16;

/// What a change is about: of several that wait, the newest counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Receiver(Arc<str>),
    Source(Arc<str>),
    Carried(Arc<str>),
    Namespace,
}

/// Hands what is declared to the registry; `synced` is called once, when everything that was there at the
/// start is at work. Ends when nobody sends changes any more.
pub async fn follow(registry: Registry, mut changes: Receiver<ReceiverChange>, synced: impl FnOnce() + Send) {
    registry.hold();
    let mut synced = Some(synced);
    // Nothing more is taken in until everything that was there at the start has been carried out.
    let mut is_syncing = false;
    let mut is_open = true;
    let mut waiting = OneEach::default();
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some((namespace, _, change)) = waiting.next()
        {
            under_way.push(carry_out(registry.clone(), namespace, change));
        }
        if is_syncing && waiting.is_idle() {
            is_syncing = false;
            registry.let_go().await;
            if let Some(synced) = synced.take() {
                synced();
            }
        }
        if !is_open && waiting.is_idle() {
            return;
        }
        tokio::select! {
            Some(namespace) = under_way.next(), if !under_way.is_empty() => waiting.done(&namespace),
            change = changes.recv(), if is_open && !is_syncing => match change {
                None => is_open = false,
                Some(ReceiverChange::Synced) => is_syncing = true,
                Some(change) => {
                    if let Some((namespace, subject)) = subject(&change) {
                        waiting.put(&namespace, subject, change);
                    }
                }
            },
        }
    }
}

fn subject(change: &ReceiverChange) -> Option<(Arc<str>, Subject)> {
    let of = |key: &ObjectKey, subject: fn(Arc<str>) -> Subject| {
        Some((Arc::clone(&key.namespace), subject(Arc::clone(&key.name))))
    };
    match change {
        ReceiverChange::Declared(declared) => of(&declared.identity.key, Subject::Receiver),
        ReceiverChange::Invalid(identity, _) => of(&identity.key, Subject::Receiver),
        ReceiverChange::Gone(key, _) | ReceiverChange::Deleted(key) => of(key, Subject::Receiver),
        ReceiverChange::Source(key, _) => of(key, Subject::Source),
        ReceiverChange::Carried(key, _) => of(key, Subject::Carried),
        ReceiverChange::Listed(namespace) => Some((Arc::clone(namespace), Subject::Namespace)),
        ReceiverChange::Synced => None,
    }
}

async fn carry_out(registry: Registry, namespace: Arc<str>, change: ReceiverChange) -> Arc<str> {
    match change {
        ReceiverChange::Declared(declared) => {
            let declared = *declared;
            registry.declare(declared.identity, &declared.spec, declared.status).await;
        }
        ReceiverChange::Invalid(identity, problems) => registry.refuse(identity, problems).await,
        ReceiverChange::Gone(key, since) => registry.gone(&key, since).await,
        ReceiverChange::Deleted(key) => registry.delete(&key).await,
        ReceiverChange::Source(key, spec) => registry.source(key, spec.map(|spec| *spec)).await,
        ReceiverChange::Carried(key, fingerprints) => registry.carries(&key, fingerprints).await,
        ReceiverChange::Listed(namespace) => registry.listed(&namespace).await,
        ReceiverChange::Synced => {}
    }
    namespace
}
