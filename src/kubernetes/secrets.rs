//! Secrets, read by `get` at the moment of use; never listed or watched.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{in_time, is, words};
use crate::api::{ALLOWED_HOSTS_ANNOTATION, ObjectKey, SecretKeyReference, split_hosts};
use crate::engine::ports::{SecretFailure, SecretValue, Secrets};
use crate::secret::SecretText;

/// How long what was read may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Long enough for the keys of one request: for token sources.
    OneRequest,
    /// Long enough for the calls of one rotation of many subscriptions: for providers.
    HalfAMinute,
    /// Long enough for the receivers of a namespace that are looked after one after the other: for gates,
    /// which say themselves from when on it has to be.
    AMoment,
}

impl Freshness {
    fn limit(self) -> Duration {
        match self {
            Self::OneRequest => Duration::from_secs(1),
            Self::HalfAMinute => Duration::from_secs(30),
            Self::AMoment => Duration::from_secs(5),
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

impl Read {
    fn value(&self, key: &str) -> Result<SecretText, SecretFailure> {
        if self.binary.iter().any(|binary| binary == key) {
            return Err(SecretFailure::Unavailable(format!("its key {key} holds no UTF-8 text")));
        }
        self.values.get(key).cloned().ok_or(SecretFailure::NotFound)
    }
}

type Slot = Arc<Mutex<Option<Read>>>;
type Slots = Arc<Mutex<HashMap<ObjectKey, Slot>>>;

/// Reads Secrets of the API server.
#[derive(Clone)]
pub struct KubernetesSecrets {
    client: Client,
    freshness: Freshness,
    require_allowed_hosts: bool,
    /// One slot for each Secret in use, so that many who need one wait for the same read.
    slots: Slots,
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
        slots.retain(|_, slot| is_of_use(slot));
        Arc::clone(slots.entry(key.clone()).or_default())
    }

    async fn find(
        &self,
        namespace: &str,
        reference: &SecretKeyReference,
    ) -> Result<SecretValue, SecretFailure> {
        let key = ObjectKey::new(namespace, &reference.name);
        let take_out = |read: &Read| {
            let text = read.value(&reference.key)?;
            let allowed_hosts =
                read.allowed_hosts.clone().or_else(|| self.require_allowed_hosts.then(Vec::new));
            Ok(SecretValue::new(text, read.version.clone(), allowed_hosts))
        };
        self.with(&key, None, take_out).await?
    }

    /// The values of these keys of one Secret, as they were at `since` or later, and all of one moment.
    pub(super) async fn values(
        &self,
        secret: &ObjectKey,
        keys: &[&str],
        since: Instant,
    ) -> Result<Vec<Result<SecretText, SecretFailure>>, SecretFailure> {
        self.with(secret, Some(since), |read| keys.iter().map(|key| read.value(key)).collect()).await
    }

    /// What a Secret holds: read at `since` or later, or fresh.
    async fn with<T>(
        &self,
        key: &ObjectKey,
        since: Option<Instant>,
        take_out: impl FnOnce(&Read) -> T,
    ) -> Result<T, SecretFailure> {
        let shared = self.slot(key).await;
        let mut slot = shared.lock().await;
        let is_of_use = |read: &Read| {
            since.is_none_or(|since| read.at >= since) && read.at.elapsed() < self.freshness.limit()
        };
        let fresh = slot.take().filter(is_of_use);
        let read = match fresh {
            Some(read) => slot.insert(read),
            None => {
                let read = slot.insert(self.read_now(key).await?);
                let slots = Arc::downgrade(&self.slots);
                tokio::spawn(wipe(slots, key.clone(), Arc::downgrade(&shared), self.freshness.limit()));
                read
            }
        };
        Ok(take_out(read))
    }

    async fn read_now(&self, key: &ObjectKey) -> Result<Read, SecretFailure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let at = Instant::now();
        let secret = in_time(api.get(&key.name)).await.map_err(|error| {
            if is(&error, 404) {
                SecretFailure::NotFound
            } else {
                SecretFailure::Unavailable(format!("the API server does not give it out: {}", words(&error)))
            }
        })?;
        let metadata = secret.metadata;
        let version = format!(
            "{}/{}",
            metadata.uid.as_deref().unwrap_or_default(),
            metadata.resource_version.as_deref().unwrap_or_default()
        );
        let annotation = metadata.annotations.as_ref().and_then(|all| all.get(ALLOWED_HOSTS_ANNOTATION));
        let allowed_hosts = annotation.map(|hosts| split_hosts(hosts));
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

/// Wipes what was read as soon as it may not be used again: there may be no next time to notice it.
async fn wipe(
    slots: Weak<Mutex<HashMap<ObjectKey, Slot>>>,
    key: ObjectKey,
    slot: Weak<Mutex<Option<Read>>>,
    limit: Duration,
) {
    tokio::time::sleep(limit).await;
    if let Some(slot) = slot.upgrade() {
        let mut slot = slot.lock().await;
        if slot.as_ref().is_some_and(|read| read.at.elapsed() >= limit) {
            *slot = None;
        }
    }
    if let Some(slots) = slots.upgrade() {
        let mut slots = slots.lock().await;
        if slots.get(&key).is_some_and(|slot| !is_of_use(slot)) {
            slots.remove(&key);
        }
    }
}

/// Whether somebody holds the slot, or something is in it.
fn is_of_use(slot: &Slot) -> bool {
    Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|read| read.is_some())
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::*;
    use crate::secret::bounds::Bounds;

    /// An API server that has one Secret and counts how often it is read.
    fn server(annotations: serde_json::Value) -> (Client, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reads);
        let service = service_fn(move |request: Request<Body>| {
            let (count, annotations) = (Arc::clone(&count), annotations.clone());
            async move {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let is_there = request.uri().path() == "/api/v1/namespaces/hr/secrets/api";
                let answer = if is_there {
                    json!({
                        "metadata": {
                            "uid": "u", "resourceVersion": number.to_string(), "annotations": annotations,
                        },
                        // "one", "two", and a byte that no text has.
                        "data": { "id": "b25l", "secret": "dHdv", "binary": "/w==" },
                    })
                } else {
                    json!({ "kind": "Status", "code": 404, "reason": "NotFound", "message": "not found" })
                };
                let code = if is_there { 200 } else { 404 };
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        (Client::new(service, "hr"), reads)
    }

    fn reference(name: &str, key: &str) -> SecretKeyReference {
        SecretKeyReference { name: name.to_owned(), key: key.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_keys_of_one_request_are_read_at_once_and_nothing_is_kept_for_the_next() {
        let (client, reads) = server(json!({}));
        let secrets = KubernetesSecrets::new(client, Freshness::OneRequest, false);
        for (key, value) in [("id", "one"), ("secret", "two")] {
            let found = secrets.read("hr", &reference("api", key)).await.unwrap();
            assert_eq!(found.version, "u/0");
            assert_eq!(found.open("api", &mut Bounds::default()).expose(), value);
        }
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let found = secrets.read("hr", &reference("api", "id")).await.unwrap();
        assert_eq!(found.version, "u/1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_providers_secret_is_read_once_in_half_a_minute_and_wiped_then() {
        let (client, reads) = server(json!({}));
        let secrets = KubernetesSecrets::new(client, Freshness::HalfAMinute, false);
        let id = reference("api", "id");
        let read = || secrets.read("hr", &id);
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(2_900)).await;
            read().await.unwrap();
        }
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(secrets.slots.lock().await.is_empty(), "wiped although nobody has asked again");
        read().await.unwrap();
        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_from_a_moment_on_share_a_read_that_began_after_it() {
        let (client, reads) = server(json!({}));
        let secrets = KubernetesSecrets::new(client, Freshness::AMoment, false);
        let key = ObjectKey::new("hr", "api");
        let count = || reads.load(Ordering::Relaxed);
        let began = Instant::now();
        let read = async |since| {
            let values = secrets.values(&key, &["id", "secret", "none", "binary"], since).await.unwrap();
            assert_eq!(values[1].as_ref().unwrap().expose(), "two");
            assert_eq!(values[2].as_ref().unwrap_err(), &SecretFailure::NotFound);
            assert!(matches!(values[3], Err(SecretFailure::Unavailable(_))));
        };
        for _ in 0..3 {
            read(began).await;
        }
        assert_eq!(count(), 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        read(began).await;
        assert_eq!(count(), 1);
        read(Instant::now()).await;
        assert_eq!(count(), 2, "what was read before may not hold any more");
        tokio::time::sleep(Duration::from_secs(6)).await;
        read(began).await;
        assert_eq!(count(), 3, "nothing is kept for long");
    }

    #[tokio::test]
    async fn what_is_missing_or_no_text_is_said_and_not_kept() {
        let (client, reads) = server(json!({}));
        let secrets = KubernetesSecrets::new(client, Freshness::HalfAMinute, false);
        let failure = async |name, key| secrets.read("hr", &reference(name, key)).await.unwrap_err();
        assert_eq!(failure("other", "id").await, SecretFailure::NotFound);
        assert_eq!(failure("other", "id").await, SecretFailure::NotFound);
        assert_eq!(reads.load(Ordering::Relaxed), 2, "a Secret that is created is found at once");
        assert_eq!(failure("api", "password").await, SecretFailure::NotFound);
        let binary = failure("api", "binary").await;
        assert!(matches!(&binary, SecretFailure::Unavailable(what) if what.contains("no UTF-8 text")));
    }

    #[tokio::test]
    async fn hosts_that_are_named_or_must_be_named_go_along() {
        let annotation = json!({ "hookkeeper.dev/allowed-hosts": "api.gupy.io, auth.example.com" });
        for (annotations, required, hosts) in [
            (annotation, false, Some(vec!["api.gupy.io".to_owned(), "auth.example.com".to_owned()])),
            (json!({}), false, None),
            (json!({}), true, Some(Vec::new())),
        ] {
            let (client, _) = server(annotations);
            let secrets = KubernetesSecrets::new(client, Freshness::OneRequest, required);
            let found = secrets.read("hr", &reference("api", "id")).await.unwrap();
            assert_eq!(found.allowed_hosts, hosts);
        }
    }
}
