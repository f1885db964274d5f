//! What the gate and the engine of one process are to each other.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::api::{ObjectKey, SecretKeyReference};
use crate::engine::ports::{GateFailure, Gates, Offered, SecretFailure, Secrets};
use crate::gate::ports::{CredentialFailure, Credentials};
use crate::gate::registry::{OfferedToken, Registry};
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

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

/// The gate, as the engine sees it.
pub(super) struct OwnGate(pub(super) Registry);

impl Gates for OwnGate {
    fn serves(&self, source: &ObjectKey) -> bool {
        self.0.serves(source)
    }

    fn lacks(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.0.lacks(source, fingerprint)
    }

    fn offer<'a>(
        &'a self,
        source: &'a ObjectKey,
        token: &'a Offered,
    ) -> BoxFuture<'a, Result<(), GateFailure>> {
        Box::pin(async move {
            let offered = OfferedToken {
                text: token.token.clone(),
                fingerprint: token.fingerprint.clone(),
                minted: token.minted,
            };
            self.0.offer(source, offered).await.map_err(|error| GateFailure(error.to_string()))
        })
    }

    fn carried(&self, source: &ObjectKey, fingerprints: &BTreeSet<Arc<str>>) {
        self.0.carried(source, fingerprints);
    }
}
