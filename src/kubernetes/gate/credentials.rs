//! The Secrets that receivers name, read by `get` when they are needed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, join_all};
use kube::Client;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::{ObjectKey, SecretKeyReference};
use crate::engine::ports::SecretFailure;
use crate::gate::ports::{CredentialFailure, Credentials, Read};
use crate::kubernetes::secrets::{Freshness, KubernetesSecrets};

/// How many reads may be under way at the same time.
const AT_ONCE: usize = 32;

/// Reads credentials from Secrets of the API server: each Secret once, however many of its keys are asked
/// for, and few at the same time. A namespace may have as many reads under way as it leaves to the next.
#[derive(Clone, Debug)]
pub struct SecretCredentials {
    secrets: KubernetesSecrets,
    places: Arc<Places>,
}

impl SecretCredentials {
    pub(super) fn new(client: Client) -> Self {
        let secrets = KubernetesSecrets::new(client, Freshness::AMoment, false);
        Self { secrets, places: Arc::new(Places::new(AT_ONCE)) }
    }

    /// Some keys of one Secret.
    async fn of_secret(&self, secret: &ObjectKey, keys: &[&str], since: Instant) -> Vec<Read> {
        let _place = self.places.take(&secret.namespace).await;
        match self.secrets.values(secret, keys, since).await {
            Ok(values) => values.into_iter().map(|value| value.map_err(failure)).collect(),
            Err(error) => keys.iter().map(|_| Err(failure(error.clone()))).collect(),
        }
    }
}

fn failure(failure: SecretFailure) -> CredentialFailure {
    match failure {
        SecretFailure::NotFound => CredentialFailure::NotFound,
        SecretFailure::Unavailable(what) => CredentialFailure::Unavailable(what),
    }
}

impl Credentials for SecretCredentials {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        references: &'a [SecretKeyReference],
        since: Instant,
    ) -> BoxFuture<'a, Vec<Read>> {
        Box::pin(async move {
            let mut by_secret: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            for (at, reference) in references.iter().enumerate() {
                by_secret.entry(&reference.name).or_default().push(at);
            }
            let reading = by_secret.into_iter().map(async |(name, places)| {
                let keys: Vec<&str> = places.iter().map(|at| references[*at].key.as_str()).collect();
                let read = self.of_secret(&ObjectKey::new(namespace, name), &keys, since).await;
                places.into_iter().zip(read)
            });
            let mut read: Vec<(usize, Read)> = join_all(reading).await.into_iter().flatten().collect();
            read.sort_by_key(|(at, _)| *at);
            read.into_iter().map(|(_, read)| read).collect()
        })
    }
}

/// Places that are held for a while, shared by namespace.
#[derive(Debug)]
struct Places {
    all: usize,
    held: Mutex<HashMap<Arc<str>, usize>>,
    freed: Notify,
}

/// A place that is held until this is dropped.
struct Place<'a> {
    places: &'a Places,
    namespace: Arc<str>,
}

impl Places {
    fn new(all: usize) -> Self {
        Self { all, held: Mutex::default(), freed: Notify::new() }
    }

    async fn take(&self, namespace: &Arc<str>) -> Place<'_> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Enlisted before the look, so that none is freed between the two unnoticed.
            freed.as_mut().enable();
            if self.try_take(namespace) {
                return Place { places: self, namespace: Arc::clone(namespace) };
            }
            freed.await;
        }
    }

    fn try_take(&self, namespace: &Arc<str>) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.all.saturating_sub(held.values().sum());
        let own = held.get(namespace).copied().unwrap_or(0);
        let may_have = own < free;
        if may_have {
            held.insert(Arc::clone(namespace), own + 1);
        }
        may_have
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut held = self.places.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.namespace) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.namespace);
            }
        }
        drop(held);
        self.places.freed.notify_waiters();
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

    /// An API server with one Secret, `hooks`, that counts its reads.
    fn server() -> (Client, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reads);
        let service = service_fn(move |request: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            let (code, answer) = match request.uri().path() {
                // "one" and "two".
                "/api/v1/namespaces/hr/secrets/hooks" => {
                    (200, json!({ "metadata": {}, "data": { "a": "b25l", "b": "dHdv" } }))
                }
                "/api/v1/namespaces/hr/secrets/closed" => {
                    let message = "secrets \"closed\" is forbidden";
                    (403, json!({ "kind": "Status", "code": 403, "reason": "Forbidden", "message": message }))
                }
                _ => (404, json!({ "kind": "Status", "code": 404, "reason": "NotFound", "message": "none" })),
            };
            let body = Body::from(answer.to_string().into_bytes());
            let answer = Response::builder().status(code).body(body).unwrap();
            async { Ok::<_, std::convert::Infallible>(answer) }
        });
        (Client::new(service, "hr"), reads)
    }

    #[tokio::test(start_paused = true)]
    async fn each_secret_is_read_once_and_what_came_of_each_key_is_told_in_its_place() {
        let (client, reads) = server();
        let credentials = SecretCredentials::new(client);
        let asked = [("hooks", "b"), ("closed", "x"), ("hooks", "a"), ("none", "x"), ("hooks", "c")];
        let asked =
            asked.map(|(name, key)| SecretKeyReference { name: name.to_owned(), key: key.to_owned() });
        let read = credentials.read("hr", &asked, Instant::now()).await;
        assert_eq!(reads.load(Ordering::Relaxed), 3);
        let told: Vec<String> = read
            .into_iter()
            .map(|read| read.map_or_else(|failure| failure.to_string(), |text| text.expose().to_owned()))
            .collect();
        let closed = "the API server does not give it out: secrets \"closed\" is forbidden (403)";
        assert_eq!(told, ["two", closed, "one", "not found", "not found"]);
    }

    #[tokio::test]
    async fn a_namespace_leaves_places_to_the_next() {
        let places = Places::new(4);
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        let _first = places.take(&one).await;
        let second = places.take(&one).await;
        assert!(!places.try_take(&one), "as many as it leaves");
        let _of_other = places.take(&other).await;
        let mut waiting = std::pin::pin!(places.take(&one));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(second);
        assert!(futures::poll!(&mut waiting).is_ready());
        drop(places.held.lock());
    }
}
