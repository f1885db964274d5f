//! Notices as Events of the API server, and as lines of the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tracing::{debug, warn};

use super::client::{in_time, words};
use super::event_queue::EventQueue;
use super::resources::resource;
use super::versions::Versions;
use crate::engine::ports::{Notice, Notices};
use crate::ops::shares::{Share, Shares};
use crate::ops::system::LoggedNotices;
use crate::printable::printable;

/// Of a namespace's events: 3,600 an hour, and 1,000 at once. What is more is in the log only.
const EVENTS: Share = Share { burst: 1_000, each_second: 1, owners: 4_096 };
/// Longest note, in characters; the API server's limit is 1 KiB.
const NOTE_LIMIT: usize = 900;

/// Hands notices to the task that writes them down. An event that fails never fails the work.
#[derive(Clone, Debug)]
pub struct Events {
    waiting: Arc<Mutex<Waiting>>,
    /// Rung when something waits; the task ends when nobody can ring any more.
    bell: Sender<()>,
}

#[derive(Debug)]
struct Waiting {
    queue: EventQueue,
    shares: Shares,
    start: Instant,
}

/// The task's side.
pub(super) struct EventWriter {
    waiting: Arc<Mutex<Waiting>>,
    bell: Receiver<()>,
    recorder: Recorder,
    versions: Versions,
}

impl Events {
    pub(super) fn new(client: Client, versions: Versions, instance: String) -> (Self, EventWriter) {
        let (sender, bell) = mpsc::channel(1);
        let waiting = Arc::new(Mutex::new(Waiting {
            queue: EventQueue::default(),
            shares: Shares::new(EVENTS),
            start: Instant::now(),
        }));
        let reporter = Reporter { controller: "hookkeeper".to_owned(), instance: Some(instance) };
        let writer = EventWriter {
            waiting: Arc::clone(&waiting),
            bell,
            recorder: Recorder::new(client, reporter),
            versions,
        };
        (Self { waiting, bell: sender }, writer)
    }
}

impl Notices for Events {
    fn emit(&self, notice: Notice) {
        LoggedNotices.emit(notice.clone());
        let key = notice.key.clone();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = waiting.start.elapsed();
        let fits = waiting.shares.take(&key.namespace, now) && waiting.queue.push(notice);
        drop(waiting);
        if fits {
            // One that was rung before is heard as well.
            let _ = self.bell.try_send(());
        } else {
            debug!(object = %key, "too many events of this namespace; this one is in the log only");
        }
    }
}

impl EventWriter {
    fn next(&self) -> Option<Notice> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).queue.pop()
    }

    /// Writes until nobody can tell anything any more.
    pub(super) async fn run(mut self) {
        loop {
            while let Some(notice) = self.next() {
                self.write(notice).await;
            }
            if self.bell.recv().await.is_none() && self.is_done() {
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).queue.is_empty()
    }

    async fn write(&self, notice: Notice) {
        let resource = resource(notice.kind);
        let uid = self.versions.get(notice.kind, &notice.key).map(|entry| entry.newest.uid);
        let reference = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            namespace: Some(notice.key.namespace.to_string()),
            name: Some(notice.key.name.to_string()),
            uid,
            ..ObjectReference::default()
        };
        let event = Event {
            type_: if notice.warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.to_string(),
            note: Some(printable(&notice.note).chars().take(NOTE_LIMIT).collect()),
            // The recorder sends the first note again for events whose reason and action are
            // the same.
            action: notice.reason.to_string(),
            secondary: None,
        };
        if let Err(error) = in_time(self.recorder.publish(&event, &reference)).await {
            warn!(object = %notice.key, "an event could not be written: {}", words(&error));
        }
    }
}
