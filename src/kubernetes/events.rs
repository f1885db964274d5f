//! Notices as Events of the API server, and as lines of the log.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tracing::{debug, warn};

use super::client::{in_time, words};
use super::known::Known;
use super::resources::resource;
use crate::engine::ports::{Notice, Notices};
use crate::ops::system::LoggedNotices;

/// How many events may wait; more than these are in the log only.
const WAITING: usize = 512;
/// Longest note, in characters; the API server's limit is 1 KiB.
const NOTE_LIMIT: usize = 900;

/// Hands notices to the task that writes them down. An event that fails never fails the work.
#[derive(Clone, Debug)]
pub struct Events(Sender<Notice>);

/// The task's side.
pub(super) struct EventWriter {
    notices: Receiver<Notice>,
    recorder: Recorder,
    known: Known,
}

impl Events {
    pub(super) fn new(client: Client, known: Known, instance: String) -> (Self, EventWriter) {
        let (sender, notices) = mpsc::channel(WAITING);
        let reporter = Reporter { controller: "hookkeeper".to_owned(), instance: Some(instance) };
        (Self(sender), EventWriter { notices, recorder: Recorder::new(client, reporter), known })
    }
}

impl Notices for Events {
    fn tell(&self, notice: Notice) {
        LoggedNotices.tell(notice.clone());
        if self.0.try_send(notice).is_err() {
            debug!("too many events wait; this one is in the log only");
        }
    }
}

impl EventWriter {
    /// Writes until nobody can tell anything any more.
    pub(super) async fn run(mut self) {
        while let Some(notice) = self.notices.recv().await {
            let resource = resource(notice.kind);
            let uid = self.known.get(notice.kind, &notice.key).map(|entry| entry.newest.uid);
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
                note: Some(notice.note.chars().take(NOTE_LIMIT).collect()),
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
}
