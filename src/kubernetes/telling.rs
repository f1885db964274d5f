//! Telling the engine what is watched.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::Api;
use kube::api::DynamicObject;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

use super::client::is;
use super::election::Election;
use super::gates::board::Board;
use super::objects::{change_of, key_of, version_of};
use super::record::looked_at;
use super::versions::{By, Entry, Versions};
use super::watch::Sink;
use crate::api::{FINALIZER, Kind, ObjectKey};
use crate::engine::change::Change;

/// Tells the engine, and notes the versions that its writes are made on.
#[derive(Clone)]
pub(super) struct Telling {
    pub(super) versions: Versions,
    pub(super) election: Election,
    /// Receivers, and what subscriptions say of them.
    pub(super) board: Board,
    pub(super) changes: Sender<Change>,
}

impl Telling {
    async fn tell(&self, change: Change) -> bool {
        self.board.engine_told(&change);
        self.changes.send(change).await.is_ok()
    }
}

impl Sink for Telling {
    fn is_closed(&self) -> bool {
        self.changes.is_closed()
    }

    async fn there(&self, kind: Kind, object: DynamicObject, is_believed: bool) -> bool {
        let by = By::Watch { leading: !is_believed && self.election.holds() };
        if !self.versions.learn(kind, &key_of(&object), version_of(kind, &object), by) {
            // The engine knows more already, by a write of its own.
            return true;
        }
        match change_of(kind, &object) {
            Some(change) => self.tell(change).await,
            None => {
                self.board.receiver_there(&object);
                true
            }
        }
    }

    async fn gone(&self, kind: Kind, key: ObjectKey) -> bool {
        self.versions.forget(kind, &key);
        if kind == Kind::WebhookReceiver {
            self.board.receiver_gone(&key);
            return true;
        }
        self.tell(Change::Gone { kind, key, prune: false }).await
    }

    /// It counts as gone, but for what has our finalizer and is being deleted: that is looked at one by
    /// one, by the right that is left, until it is really gone. `unlisted` is what has our finalizer, and
    /// was taken for gone with the right to list it.
    async fn may_not_list(
        &self,
        kind: Kind,
        api: &Api<DynamicObject>,
        present: &mut BTreeSet<ObjectKey>,
        unlisted: &mut BTreeSet<ObjectKey>,
    ) -> bool {
        let all: BTreeSet<ObjectKey> = present.union(unlisted).cloned().collect();
        for key in all {
            let has_ours = |entry: Entry| entry.newest.finalizers.iter().any(|name| name == FINALIZER);
            let is_guarded = unlisted.contains(&key) || self.versions.get(kind, &key).is_some_and(has_ours);
            let looked_at = if !is_guarded {
                None
            } else if self.election.holds() {
                Some(looked_at(api, &key).await)
            } else {
                // Whoever leads looks.
                continue;
            };
            match looked_at {
                Some(Ok(object)) if object.metadata.deletion_timestamp.is_some() => {
                    unlisted.remove(&key);
                    present.insert(key);
                    if !self.there(kind, object, false).await {
                        return false;
                    }
                    continue;
                }
                Some(Ok(_)) => drop(unlisted.insert(key.clone())),
                Some(Err(error)) if !is(&error, 403) && !is(&error, 404) => continue,
                None | Some(Err(_)) => drop(unlisted.remove(&key)),
            }
            if present.remove(&key) && !self.gone(kind, key).await {
                return false;
            }
        }
        true
    }

    async fn complete(&self, is_first: bool) -> bool {
        if is_first && self.changes.send(Change::Synced).await.is_err() {
            return false;
        }
        let taken_in = Arc::new(Notify::new());
        if self.changes.send(Change::Mark(Arc::clone(&taken_in))).await.is_err() {
            return false;
        }
        taken_in.notified().await;
        true
    }
}
