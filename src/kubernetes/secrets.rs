//! Secrets, read by `get` at the moment of use; never listed or watched.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::in_time;
use super::record::is;
use crate::api::{ALLOWED_HOSTS_ANNOTATION, ObjectKey, SecretKeyReference};
use crate::engine::ports::{SecretFailure, SecretValue, Secrets};
use crate::secret::SecretText;

/// How long what was read may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Long enough for the keys of one request: for token sources.
    OneRequest,
    /// Long enough for the calls of one rotation of many subscriptions: for providers.
    HalfAMinute,
}

impl Freshness {
    fn limit(self) -> Duration {
        match self {
            Self::OneRequest => Duration::from_secs(1),
            Self::HalfAMinute => Duration::from_secs(30),
        }
    }
}

/// One Secret as it was read.
struct Read {
    at: Instant,
    version: String,
    values: HashMap<String, SecretText>,
    /// Keys whose value is no text.
    binary: Vec<String>,
    allowed_hosts: Option<Vec<String>>,
}

type Slot = Arc<Mutex<Option<Read>>>;

/// Reads Secrets of the API server.
#[derive(Clone)]
pub struct KubernetesSecrets {
    client: Client,
    freshness: Freshness,
    require_allowed_hosts: bool,
    /// One slot for each Secret in use, so that many who need one wait for the same read.
    slots: Arc<Mutex<HashMap<ObjectKey, Slot>>>,
}

impl std::fmt::Debug for KubernetesSecrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KubernetesSecrets")
            .field("freshness", &self.freshness)
            .field("require_allowed_hosts", &self.require_allowed_hosts)
            .finish_non_exhaustive()
    }
}

impl KubernetesSecrets {
    /// With `require_allowed_hosts`, a Secret without the annotation `hookkeeper.dev/allowed-hosts`
    /// goes nowhere.
    #[must_use]
    pub fn new(client: Client, freshness: Freshness, require_allowed_hosts: bool) -> Self {
        Self { client, freshness, require_allowed_hosts, slots: Arc::default() }
    }

    async fn slot(&self, key: &ObjectKey) -> Slot {
        let mut slots = self.slots.lock().await;
        let limit = self.freshness.limit();
        // What nobody has used for a while is wiped.
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot
                    .try_lock()
                    .is_ok_and(|read| read.as_ref().is_some_and(|read| read.at.elapsed() < limit))
        });
        Arc::clone(slots.entry(key.clone()).or_default())
    }

    async fn find(
        &self,
        namespace: &str,
        reference: &SecretKeyReference,
    ) -> Result<SecretValue, SecretFailure> {
        let key = ObjectKey::new(namespace, &reference.name);
        let slot = self.slot(&key).await;
        let mut slot = slot.lock().await;
        let fresh = slot.take().filter(|read| read.at.elapsed() < self.freshness.limit());
        let read = match fresh {
            Some(read) => read,
            None => self.read_now(&key).await?,
        };
        let read = slot.insert(read);
        if read.binary.contains(&reference.key) {
            return Err(SecretFailure::Unavailable(format!("its key {} holds no UTF-8 text", reference.key)));
        }
        let text = read.values.get(&reference.key).cloned().ok_or(SecretFailure::NotFound)?;
        let allowed_hosts = read.allowed_hosts.clone().or_else(|| self.require_allowed_hosts.then(Vec::new));
        Ok(SecretValue { text, version: read.version.clone(), allowed_hosts })
    }

    async fn read_now(&self, key: &ObjectKey) -> Result<Read, SecretFailure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let at = Instant::now();
        let secret = in_time(api.get(&key.name)).await.map_err(|error| {
            if is(&error, 404) {
                SecretFailure::NotFound
            } else {
                SecretFailure::Unavailable(format!("the API server does not give it out: {error}"))
            }
        })?;
        let metadata = secret.metadata;
        let version = format!(
            "{}/{}",
            metadata.uid.as_deref().unwrap_or_default(),
            metadata.resource_version.as_deref().unwrap_or_default()
        );
        let annotation = metadata.annotations.as_ref().and_then(|all| all.get(ALLOWED_HOSTS_ANNOTATION));
        let allowed_hosts =
            annotation.map(|hosts| hosts.split(',').map(|host| host.trim().to_owned()).collect());
        let (mut values, mut binary) = (HashMap::new(), Vec::new());
        for (name, bytes) in secret.data.unwrap_or_default() {
            let bytes = zeroize::Zeroizing::new(bytes.0);
            match std::str::from_utf8(&bytes) {
                Ok(text) => {
                    values.insert(name, SecretText::from(text));
                }
                Err(_) => binary.push(name),
            }
        }
        Ok(Read { at, version, values, binary, allowed_hosts })
    }
}

impl Secrets for KubernetesSecrets {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretFailure>> {
        Box::pin(self.find(namespace, reference))
    }
}
