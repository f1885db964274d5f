//! The Lease of this gate process: that it is there, and which tokens it accepts.

use std::time::Duration;

use chrono::Utc;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::kubernetes::client::{is, words};
use crate::kubernetes::gate_lease::{GateRecord, OwningPod, RENEW_EVERY, field_manager};
use crate::ops::health::Awaited;

/// A call that has no answer after this long is given up: the next one must come in time.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// When a renewal that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// What changes together is written together.
const TOGETHER: Duration = Duration::from_millis(200);

/// Keeps the Lease of a gate.
pub struct Heartbeat {
    api: Api<Lease>,
    gate: String,
    namespace: String,
    pod: Option<OwningPod>,
    /// The uid of the Lease as it was written last.
    uid: Option<String>,
    /// What the last failure said.
    trouble: Option<String>,
}

impl std::fmt::Debug for Heartbeat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Heartbeat").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl Heartbeat {
    pub(super) fn new(client: Client, namespace: &str, gate: String, pod: Option<OwningPod>) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, gate, namespace: namespace.to_owned(), pod, uid: None, trouble: None }
    }

    /// Writes the Lease for the first time; ends when that has succeeded. The process is not ready before.
    pub async fn begin(&mut self, record: &(impl Fn() -> GateRecord + Sync), first: Awaited) {
        while let Err(trouble) = self.write(&record()).await {
            first.says(format!("the Lease of this gate cannot be written: {trouble}"));
            sleep(AGAIN).await;
        }
        info!(lease = %self.gate, namespace = %self.namespace, "the Lease of this gate is written");
    }

    /// Writes the Lease every 10 s, and at once when what `record` says changes, which it is asked for at
    /// each change of `changes`. When `ended` ends, it is deleted, so that nobody counts on this gate any more.
    pub async fn run(
        mut self,
        record: impl Fn() -> GateRecord + Send,
        mut changes: watch::Receiver<u64>,
        ended: impl Future<Output = ()> + Send,
    ) {
        let mut ended = std::pin::pin!(ended);
        loop {
            let began = Instant::now();
            changes.mark_unchanged();
            let said = record();
            let next = match self.write(&said).await {
                Ok(()) => began + RENEW_EVERY,
                Err(_) => Instant::now() + AGAIN,
            };
            loop {
                let changed = async {
                    if changes.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    sleep(TOGETHER).await;
                };
                tokio::select! {
                    biased;
                    () = &mut ended => return self.delete().await,
                    () = sleep_until(next) => break,
                    () = changed => {
                        if record() != said {
                            break;
                        }
                    }
                }
            }
        }
    }

    async fn write(&mut self, said: &GateRecord) -> Result<(), String> {
        let lease = said.lease(self.pod.as_ref(), Utc::now());
        let parameters = PatchParams::apply(&field_manager(&self.gate)).force();
        let lease = Patch::Apply(&lease);
        let writing = self.api.patch(&self.gate, &parameters, &lease);
        let trouble = match timeout(CALL_TIMEOUT, writing).await {
            Ok(Ok(lease)) => {
                self.uid = lease.metadata.uid;
                if self.trouble.take().is_some() {
                    info!(lease = %self.gate, "the Lease of this gate is written again");
                }
                return Ok(());
            }
            Ok(Err(error)) => words(&error),
            Err(_) => "the API server does not answer".to_owned(),
        };
        if self.trouble.as_ref() == Some(&trouble) {
            debug!(lease = %self.gate, "the Lease of this gate cannot be written: {trouble}");
        } else {
            warn!(
                lease = %self.gate,
                namespace = %self.namespace,
                "the Lease of this gate cannot be written; it is tried again: {trouble}"
            );
            self.trouble = Some(trouble.clone());
        }
        Err(trouble)
    }

    async fn delete(self) {
        let Some(uid) = self.uid else { return };
        let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        match timeout(CALL_TIMEOUT, self.api.delete(&self.gate, &parameters)).await {
            Ok(Ok(_)) => info!(lease = %self.gate, "the Lease of this gate is deleted"),
            // Somebody was faster, or another process has the name.
            Ok(Err(error)) if is(&error, 404) || is(&error, 409) => {}
            Ok(Err(error)) => {
                warn!(lease = %self.gate, "the Lease of this gate could not be deleted: {}", words(&error));
            }
            Err(_) => warn!(lease = %self.gate, "the Lease of this gate could not be deleted in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    use hyper::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::sync::oneshot;
    use tower::service_fn;

    use super::*;
    use crate::api::ObjectKey;
    use crate::kubernetes::gate_lease::HELD_TOKENS_ANNOTATION;
    use crate::ops::health::Readiness;

    type Requests = Arc<Mutex<Vec<(String, Value)>>>;

    /// An API server that answers with this code.
    fn server(code: Arc<Mutex<u16>>) -> (Client, Requests) {
        let requests = Requests::default();
        let own = Arc::clone(&requests);
        let service = service_fn(move |request: Request<Body>| {
            let (own, code) = (Arc::clone(&own), *code.lock().unwrap());
            async move {
                let said = format!("{} {}", request.method(), request.uri());
                let body = request.into_body().collect_bytes().await.unwrap();
                let mut object: Value = serde_json::from_slice(&body).unwrap_or_default();
                own.lock().unwrap().push((said, object.clone()));
                object["metadata"]["uid"] = "lease-uid".into();
                let failure = json!({ "kind": "Status", "code": code, "reason": "x", "message": "leases is forbidden" });
                let answer = if code == 200 { object } else { failure };
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        (Client::new(service, "hooks"), requests)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_written_at_once_renewed_told_of_what_changes_and_deleted_at_the_end() {
        let code = Arc::new(Mutex::new(403));
        let (client, requests) = server(Arc::clone(&code));
        let held: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let own = Arc::clone(&held);
        let record = move || GateRecord {
            gate: "gate-0".to_owned(),
            serves: [(ObjectKey::new("hr", "gupy"), own.lock().unwrap().clone())].into(),
            is_complete: true,
        };
        let (changes, changed) = watch::channel(0_u64);
        let (end, ended) = oneshot::channel::<()>();
        let readiness = Readiness::default();
        let mut heartbeat = Heartbeat::new(client, "hooks", "gate-0".to_owned(), None);
        let first = readiness.awaits("");
        let running = tokio::spawn(async move {
            heartbeat.begin(&record, first).await;
            heartbeat.run(record, changed, async move { drop(ended.await) }).await;
        });
        let count = || requests.lock().unwrap().len();
        sleep(Duration::from_millis(10)).await;
        assert_eq!(
            readiness.missing(),
            ["the Lease of this gate cannot be written: leases is forbidden (403)"]
        );
        *code.lock().unwrap() = 200;
        sleep(AGAIN).await;
        assert!(readiness.missing().is_empty());
        let (said, body) = requests.lock().unwrap().last().cloned().unwrap();
        assert_eq!(
            said,
            "PATCH /apis/coordination.k8s.io/v1/namespaces/hooks/leases/gate-0?&force=true&fieldManager=hookkeeper-gate-gate-0"
        );
        assert_eq!(body["metadata"]["annotations"][HELD_TOKENS_ANNOTATION], r#"{"hr/gupy":[]}"#);
        let before = count();
        sleep(Duration::from_secs(100)).await;
        assert_eq!(count(), before + 10);
        // A change that changes nothing here, and one that does.
        changes.send_modify(|count| *count += 1);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(count(), before + 10);
        for number in 0..3 {
            held.lock().unwrap().insert(format!("f{number}"));
            changes.send_modify(|count| *count += 1);
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(count(), before + 11, "together");
        let (_, body) = requests.lock().unwrap().last().cloned().unwrap();
        assert_eq!(
            body["metadata"]["annotations"][HELD_TOKENS_ANNOTATION],
            r#"{"hr/gupy":["f0","f1","f2"]}"#
        );
        end.send(()).unwrap();
        running.await.unwrap();
        let (said, body) = requests.lock().unwrap().last().cloned().unwrap();
        assert!(
            said.starts_with("DELETE /apis/coordination.k8s.io/v1/namespaces/hooks/leases/gate-0"),
            "{said}"
        );
        assert_eq!(body["preconditions"]["uid"], "lease-uid");
    }
}
