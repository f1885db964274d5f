//! Writing what a gate says of its receivers: each its own share, by server-side apply, and nothing else.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::share::{Difference, Share};
use crate::api::{Kind, ObjectKey, WebhookReceiverStatus};
use crate::gate::ports::Statuses;
use crate::kubernetes::client::{in_time, is, words};
use crate::kubernetes::gate_lease::field_manager;
use crate::kubernetes::objects::status;
use crate::kubernetes::resources::{objects, resource};
use crate::kubernetes::versions::is_older_version;
use crate::shares::one_each::OneEach;

/// How many writes may be under way at the same time: one for a namespace.
const AT_ONCE: usize = 8;
/// The least time between two writes of one status.
const BETWEEN: Duration = Duration::from_secs(1);
/// The same where only counts and times have changed.
const BETWEEN_MINOR: Duration = Duration::from_secs(60);
/// How long to wait after a write that failed, doubled up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What comes together is looked at together.
const TOGETHER: Duration = Duration::from_millis(50);
/// When it is looked for what is due although nothing has come.
const FAR: Duration = Duration::from_secs(3600);

/// Writes a gate's share of each status until the API server shows it. Cheap to clone.
#[derive(Clone)]
pub struct GateStatuses(Arc<Shared>);

struct Shared {
    gate: String,
    store: String,
    client: Client,
    entries: Mutex<HashMap<ObjectKey, Entry>>,
    changed: Notify,
}

/// What is known of one receiver's status.
struct Entry {
    uid: String,
    version: String,
    recorded: Option<Share>,
    wanted: Option<Share>,
    /// What was written last, and how the server keeps it: definitions of another release may leave some out.
    kept: Option<(Share, Option<Share>)>,
    written: Option<Instant>,
    failures: u32,
    /// Not before this time, after a failure.
    again: Option<Instant>,
    /// What the last failure said.
    trouble: Option<String>,
    /// A write waits for its turn or is under way.
    is_busy: bool,
}

impl Entry {
    /// When it has to be written, if it has to; `now` for at once.
    fn due(&self, now: Instant) -> Option<Instant> {
        let wanted = self.wanted.as_ref()?;
        if self.kept.as_ref().is_some_and(|(written, kept)| written == wanted && *kept == self.recorded) {
            return None;
        }
        let difference = wanted.difference(self.recorded.as_ref())?;
        let between = match difference {
            Difference::Major => BETWEEN,
            Difference::Minor => BETWEEN_MINOR,
        };
        let due = self.written.map(|written| written + between);
        Some(due.max(self.again).unwrap_or(now))
    }
}

impl std::fmt::Debug for GateStatuses {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GateStatuses").field("gate", &self.0.gate).finish_non_exhaustive()
    }
}

impl GateStatuses {
    pub(super) fn new(client: Client, gate: String, store: String) -> Self {
        let (entries, changed) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { gate, store, client, entries, changed }))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ObjectKey, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The API server has shown a receiver, with this status.
    pub(super) fn saw(&self, key: &ObjectKey, uid: &str, version: &str, status: &WebhookReceiverStatus) {
        let recorded = Share::recorded(&self.0.gate, status);
        let mut entries = self.entries();
        match entries.get_mut(key) {
            Some(entry) if entry.uid == uid => {
                // A watch may bring an older version than a write of ours has answered.
                if is_older_version(version, &entry.version) {
                    return;
                }
                version.clone_into(&mut entry.version);
                entry.recorded = recorded;
            }
            _ => {
                let entry = Entry {
                    uid: uid.to_owned(),
                    version: version.to_owned(),
                    recorded,
                    wanted: None,
                    kept: None,
                    written: None,
                    failures: 0,
                    again: None,
                    trouble: None,
                    is_busy: false,
                };
                entries.insert(key.clone(), entry);
            }
        }
        drop(entries);
        self.0.changed.notify_one();
    }

    /// A receiver is gone.
    pub(super) fn gone(&self, key: &ObjectKey) {
        self.entries().remove(key);
    }

    /// Writes what is due, for as long as it runs.
    pub(super) async fn run(self) -> Infallible {
        let mut waiting = OneEach::default();
        let mut writing = FuturesUnordered::new();
        let mut look_at = Instant::now();
        loop {
            if look_at <= Instant::now() {
                look_at = self.look(&mut waiting);
            }
            while writing.len() < AT_ONCE
                && let Some((namespace, key, ())) = waiting.next()
            {
                writing.push(self.write_now(namespace, key));
            }
            tokio::select! {
                Some((namespace, due)) = writing.next(), if !writing.is_empty() => {
                    waiting.done(&namespace);
                    look_at = due.map_or(look_at, |due| look_at.min(due));
                }
                () = self.0.changed.notified() => look_at = look_at.min(Instant::now() + TOGETHER),
                () = sleep_until(look_at) => {}
            }
        }
    }

    /// Lets everything that is due wait for its turn. Returns when the next will be.
    fn look(&self, waiting: &mut OneEach<ObjectKey, ()>) -> Instant {
        let now = Instant::now();
        let mut next = now + FAR;
        for (key, entry) in &mut *self.entries() {
            match entry.due(now) {
                _ if entry.is_busy => {}
                Some(due) if due <= now => {
                    entry.is_busy = true;
                    waiting.put(&key.namespace, key.clone(), ());
                }
                Some(due) => next = next.min(due),
                None => {}
            }
        }
        next
    }

    /// Writes one status, if it is still to be written. Returns when it has to be looked at again.
    async fn write_now(&self, namespace: Arc<str>, key: ObjectKey) -> (Arc<str>, Option<Instant>) {
        let wanted = {
            let entries = self.entries();
            let entry = entries.get(&key);
            entry.and_then(|entry| Some((entry.uid.clone(), entry.wanted.clone()?)))
        };
        let Some((uid, wanted)) = wanted else { return (namespace, self.release(&key)) };
        let resource = resource(Kind::WebhookReceiver);
        let body = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": &*key.name },
            "status": wanted.status(),
        });
        let api = objects(&self.0.client, Kind::WebhookReceiver, &namespace);
        let parameters = PatchParams::apply(&field_manager(&self.0.gate)).force();
        let written = in_time(api.patch_status(&key.name, &parameters, &Patch::Apply(&body))).await;
        self.written(&key, &uid, wanted, written);
        (namespace, self.release(&key))
    }

    fn release(&self, key: &ObjectKey) -> Option<Instant> {
        let mut entries = self.entries();
        let entry = entries.get_mut(key)?;
        entry.is_busy = false;
        entry.due(Instant::now())
    }

    fn written(
        &self,
        key: &ObjectKey,
        uid: &str,
        wanted: Share,
        written: Result<DynamicObject, kube::Error>,
    ) {
        let now = Instant::now();
        let mut entries = self.entries();
        // Another object has its name by now, or none.
        let Some(entry) = entries.get_mut(key).filter(|entry| entry.uid == uid) else { return };
        match written {
            Ok(object) => {
                if object.uid().as_deref() != Some(uid) {
                    debug!(receiver = %key, "another object has its name; the watch will tell of it");
                    return;
                }
                if let Some(version) = object.resource_version()
                    && !is_older_version(&version, &entry.version)
                {
                    let status = status::<WebhookReceiverStatus>(&object.data["status"]);
                    entry.version = version;
                    entry.recorded = Share::recorded(&self.0.gate, &status);
                    entry.kept = Some((wanted, entry.recorded.clone()));
                }
                entry.written = Some(now);
                (entry.failures, entry.again, entry.trouble) = (0, None, None);
            }
            Err(error) => {
                let wait = FIRST_WAIT.saturating_mul(1 << entry.failures.min(6)).min(LONGEST_WAIT);
                entry.failures = entry.failures.saturating_add(1);
                entry.again = Some(now + wait);
                // It was deleted, or changed at the same moment: the watch will tell, or the next write.
                if is(&error, 404) || is(&error, 409) {
                    return;
                }
                let trouble = words(&error);
                if entry.trouble.as_ref() != Some(&trouble) {
                    warn!(receiver = %key, "its status cannot be written; it is tried again: {trouble}");
                    entry.trouble = Some(trouble);
                }
            }
        }
    }
}

impl Statuses for GateStatuses {
    fn write<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        status: &'a WebhookReceiverStatus,
    ) -> BoxFuture<'a, Result<(), String>> {
        if let Some(entry) = self.entries().get_mut(key).filter(|entry| entry.uid == uid) {
            entry.wanted = Some(Share::of(&self.0.gate, &self.0.store, status));
            self.0.changed.notify_one();
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn recorded_is_ours(&self) -> bool {
        false
    }

    fn forget<'a>(&'a self, _: &'a ObjectKey, _: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
#[path = "statuses_tests.rs"]
mod tests;
