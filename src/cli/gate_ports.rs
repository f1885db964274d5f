//! What the gate and the engine of one process are to each other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, watch};

use crate::api::{ObjectKey, SecretKeyReference, WebhookReceiverStatus};
use crate::engine::change::Change;
use crate::engine::ports::{Clock as _, GateFailure, Gates, Offered, SecretFailure, Secrets};
use crate::gate::evidence::Evidence;
use crate::gate::fallback::{Means, Others};
use crate::gate::ports::{CredentialFailure, Credentials, Statuses};
use crate::gate::registry::{OfferedToken, Registry};
use crate::ops::system::SystemClock;
use crate::secret::SecretText;
use crate::secret::bounds::{Bounds, Owner};
use crate::shares::budget::Budgets;
use crate::sidecar::state::State;

/// The Secrets of a shell, for proving deliveries.
pub(super) struct ShellCredentials(pub(super) Arc<dyn Secrets>);

impl Credentials for ShellCredentials {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
    ) -> BoxFuture<'a, Result<SecretText, CredentialFailure>> {
        Box::pin(async move {
            match self.0.read(namespace, reference).await {
                // It is compared with what comes and sent nowhere, so where it may go does not matter.
                Ok(value) => Ok(value.open(&reference.name, &mut Bounds::default())),
                Err(SecretFailure::NotFound) => Err(CredentialFailure::NotFound),
                Err(SecretFailure::Unavailable(what)) => Err(CredentialFailure::Unavailable(what)),
            }
        })
    }
}

/// What a question to a platform carries: Secrets of a shell, and tokens that the gate knows.
pub(super) struct ShellMeans {
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) registry: Registry,
}

impl Means for ShellMeans {
    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
        bounds: &'a mut Bounds,
    ) -> BoxFuture<'a, Result<SecretText, String>> {
        Box::pin(async move {
            let value = self.secrets.find(namespace, reference).await;
            value.map(|value| value.open(&reference.name, bounds)).map_err(|refusal| refusal.to_string())
        })
    }

    fn token<'a>(
        &'a self,
        namespace: &'a str,
        source: &'a str,
        bounds: &'a mut Bounds,
    ) -> BoxFuture<'a, Result<SecretText, String>> {
        Box::pin(async move {
            let (token, hosts) = self.registry.current_token(&ObjectKey::new(namespace, source)).await?;
            // Without any, it may be sent nowhere: the question goes where the receiver's author says.
            bounds.confine(Owner::TokenSource(source.to_owned()), &hosts);
            Ok(token)
        })
    }
}

/// The budgets that the engine of this process has for origins: a question to a platform counts there, where
/// the engine sends requests for the same namespace.
pub(super) struct EngineBudgets(pub(super) Budgets);

impl Others for EngineBudgets {
    fn take(&self, namespace: &str, origin: &str) -> Option<Result<(), Duration>> {
        self.0.take_beside(namespace, origin, SystemClock.now().boot)
    }
}

/// The state file, for the statuses of receivers.
pub(super) struct StateStatuses(pub(super) State);

impl Statuses for StateStatuses {
    fn write<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        status: &'a WebhookReceiverStatus,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { self.0.receiver(key, uid, status).await.map_err(|error| error.to_string()) })
    }

    fn forget<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { self.0.forget_gone(key, uid).await.map_err(|error| error.to_string()) })
    }
}

/// Sources whose receivers may be other ones now, until the engine is told. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct ChangedSources(Arc<(Mutex<BTreeSet<ObjectKey>>, Notify)>);

impl ChangedSources {
    /// Notes one, without waiting.
    pub(super) fn note(&self, source: &ObjectKey) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).insert(source.clone());
        self.0.1.notify_one();
    }

    /// Tells the engine of each; ends when there is none.
    pub(super) async fn tell(self, engine: Sender<Change>) {
        loop {
            self.0.1.notified().await;
            let changed = std::mem::take(&mut *self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
            for source in changed {
                if engine.send(Change::Gates(source)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Tells the engine which tokens come in; ends when there is none.
pub(super) async fn tell_evidence(evidence: Arc<Evidence>, engine: Sender<Change>) {
    loop {
        for news in evidence.news().await {
            let seen = crate::engine::change::Evidence {
                receiver: ObjectKey { namespace: news.owner.namespace, name: news.owner.name },
                fingerprint: news.fingerprint,
                subscription: news.subscription,
                event: news.event,
                at: news.at,
                retired: news.retired,
            };
            if engine.send(Change::Evidence(Box::new(seen))).await.is_err() {
                return;
            }
        }
    }
}

/// The gate, as the engine sees it. Until all receivers are declared it is not known which sources they
/// use, so every token waits for that.
pub(super) struct OwnGate {
    pub(super) registry: Registry,
    pub(super) synced: watch::Receiver<bool>,
}

impl Gates for OwnGate {
    fn serves(&self, source: &ObjectKey) -> bool {
        !*self.synced.borrow() || self.registry.serves(source)
    }

    fn lacks(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.registry.lacks(source, fingerprint)
    }

    fn asks_with(&self, source: &ObjectKey) -> bool {
        self.registry.asks_with(source)
    }

    fn wants(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.registry.wants(source, fingerprint)
    }

    fn offer<'a>(
        &'a self,
        source: &'a ObjectKey,
        token: &'a Offered,
    ) -> BoxFuture<'a, Result<(), GateFailure>> {
        Box::pin(async move {
            let mut synced = self.synced.clone();
            if synced.wait_for(|synced| *synced).await.is_err() {
                return Err(GateFailure("the manifests are no longer read".to_owned()));
            }
            let offered = OfferedToken {
                text: token.token.clone(),
                fingerprint: token.fingerprint.clone(),
                minted: token.minted,
                expires: token.expires,
            };
            self.registry.offer(source, offered).await.map_err(|error| GateFailure(error.to_string()))
        })
    }

    fn carried(&self, source: &ObjectKey, fingerprints: &BTreeSet<Arc<str>>) {
        self.registry.carried(source, fingerprints);
    }
}
