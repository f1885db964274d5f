//! Watching the kinds that the engine works with, and telling the engine what changes.
//!
//! A re-list is the truth about deletions: what it does not contain is gone, whether or not the watch
//! has said so.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::client::{WATCH_SECONDS, is, words};
use super::election::Election;
use super::known::{By, Entry, Known};
use super::objects::{change_of, key_of, version_of};
use super::record::looked_at;
use super::resources::resource;
use crate::api::crd::ENGINE_KINDS;
use crate::api::{FINALIZER, Kind, ObjectKey};
use crate::engine::change::Change;
use crate::ops::causes::told;
use crate::ops::health::Awaited;

/// Objects in one page of a list.
const PAGE: u32 = 500;
/// How long to wait after a failure, doubled up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// A list of which nothing more has come for this long is begun again; a watch may be silent.
const LIST_SILENCE: Duration = Duration::from_secs(30);

/// Which objects are looked after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Namespaces; all of them when there is none.
    pub namespaces: Vec<String>,
    /// A label selector for subscriptions, providers and token sources alike.
    pub selector: Option<String>,
}

/// Watches everything in scope.
pub(super) struct Watcher {
    pub(super) client: Client,
    pub(super) scope: Scope,
    pub(super) known: Known,
    pub(super) election: Election,
    pub(super) changes: Sender<Change>,
    /// Each new round lists everything again.
    pub(super) round: watch::Receiver<u64>,
    /// Until the first lists are noted as missing, nobody may take the process for ready.
    pub(super) starting: Awaited,
}

impl Watcher {
    /// Watches until a part of it ends, which none should. `listed` is told how many rounds of lists
    /// are complete and have been taken in by the engine.
    pub(super) async fn run(self, listed: watch::Sender<u64>) {
        let (done, mut complete) = mpsc::channel::<(usize, u64)>(64);
        let namespaces: Vec<Option<String>> = if self.scope.namespaces.is_empty() {
            vec![None]
        } else {
            self.scope.namespaces.iter().cloned().map(Some).collect()
        };
        let mut tasks = tokio::task::JoinSet::new();
        let mut rounds = Vec::new();
        for kind in ENGINE_KINDS {
            for namespace in &namespaces {
                let one = One {
                    number: rounds.len(),
                    kind,
                    namespace: namespace.clone(),
                    client: self.client.clone(),
                    config: self.config(),
                    known: self.known.clone(),
                    election: self.election.clone(),
                    changes: self.changes.clone(),
                    round: self.round.clone(),
                    done: done.clone(),
                    first_list: Some(self.starting.and(format!("{kind}: not listed yet"))),
                };
                rounds.push(0);
                tasks.spawn(one.run());
            }
        }
        drop(self.starting);
        let mut synced = false;
        let mut reported = 0;
        loop {
            tokio::select! {
                _ = tasks.join_next() => break,
                Some((number, round)) = complete.recv() => {
                    rounds[number] = round;
                    let all = rounds.iter().copied().min().unwrap_or(0);
                    if all <= reported {
                        continue;
                    }
                    reported = all;
                    if !synced {
                        synced = true;
                        if self.changes.send(Change::Synced).await.is_err() {
                            break;
                        }
                    }
                    let taken_in = Arc::new(Notify::new());
                    if self.changes.send(Change::Mark(Arc::clone(&taken_in))).await.is_err() {
                        break;
                    }
                    taken_in.notified().await;
                    listed.send_replace(reported);
                }
            }
        }
        if self.changes.is_closed() {
            // The engine has ended, and with it the tasks that tell it: that is no fault of theirs.
            std::future::pending::<()>().await;
        }
    }

    fn config(&self) -> watcher::Config {
        let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
        match &self.scope.selector {
            Some(selector) => config.labels(selector),
            None => config,
        }
    }
}

/// One kind in one namespace, or in all.
struct One {
    number: usize,
    kind: Kind,
    namespace: Option<String>,
    client: Client,
    config: watcher::Config,
    known: Known,
    election: Election,
    changes: Sender<Change>,
    round: watch::Receiver<u64>,
    done: Sender<(usize, u64)>,
    /// What the process is not ready without.
    first_list: Option<Awaited>,
}

impl One {
    async fn run(mut self) {
        let resource = resource(self.kind);
        let api: Api<DynamicObject> = match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        // Whatever the engine has been told of.
        let mut present: BTreeSet<ObjectKey> = BTreeSet::new();
        // What has our finalizer, and was taken for gone with the right to list it.
        let mut unlisted: BTreeSet<ObjectKey> = BTreeSet::new();
        // What others recorded before we began to lead is believed; what they write later is not.
        let mut believed_round = None;
        let mut wait = FIRST_WAIT;
        loop {
            let round = *self.round.borrow_and_update();
            let mut events = std::pin::pin!(watcher::watcher(api.clone(), self.config.clone()));
            let mut listed: BTreeSet<ObjectKey> = BTreeSet::new();
            let mut is_listing = true;
            loop {
                let event = tokio::select! {
                    changed = self.round.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                    event = events.next() => event,
                    () = tokio::time::sleep(LIST_SILENCE), if is_listing => {
                        warn!(kind = %self.kind, "the API server does not answer; its objects are listed again");
                        break;
                    }
                };
                match event {
                    None => break,
                    Some(Ok(Event::Init)) => {
                        is_listing = true;
                        listed.clear();
                    }
                    Some(Ok(Event::InitApply(object))) => {
                        let key = key_of(&object);
                        present.insert(key.clone());
                        listed.insert(key);
                        if !self.tell(object, believed_round != Some(round)).await {
                            return;
                        }
                    }
                    Some(Ok(Event::InitDone)) => {
                        for key in present.difference(&listed) {
                            if !self.tell_gone(key.clone()).await {
                                return;
                            }
                        }
                        present = std::mem::take(&mut listed);
                        unlisted.clear();
                        info!(kind = %self.kind, objects = present.len(), "listed");
                        self.first_list = None;
                        is_listing = false;
                        believed_round = Some(round);
                        if self.done.send((self.number, round + 1)).await.is_err() {
                            return;
                        }
                        wait = FIRST_WAIT;
                    }
                    Some(Ok(Event::Apply(object))) => {
                        present.insert(key_of(&object));
                        if !self.tell(object, false).await {
                            return;
                        }
                        wait = FIRST_WAIT;
                    }
                    Some(Ok(Event::Delete(object))) => {
                        let key = key_of(&object);
                        present.remove(&key);
                        if !self.tell_gone(key).await {
                            return;
                        }
                    }
                    Some(Err(error)) => {
                        let trouble = trouble(&error);
                        warn!(kind = %self.kind, "{trouble}");
                        if let Some(first_list) = &self.first_list {
                            first_list.says(format!("{}: {trouble}", self.kind));
                        }
                        // Rights in a namespace go when it goes, and must not hold up the others.
                        if self.namespace.is_some() && may_not_list(&error) {
                            if !self.go_on_unlisted(&api, &mut present, &mut unlisted).await {
                                return;
                            }
                            believed_round = None;
                            if self.done.send((self.number, round + 1)).await.is_err() {
                                return;
                            }
                        }
                        // Whoever asks for a new round has reached the server.
                        tokio::select! {
                            changed = self.round.changed() => {
                                if changed.is_err() {
                                    return;
                                }
                                wait = FIRST_WAIT;
                                break;
                            }
                            () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
                        }
                    }
                }
            }
        }
    }

    /// What cannot be listed any more counts as gone, but for what has our finalizer and is being
    /// deleted: it is looked at one by one, by the right that is left, until it is really gone.
    async fn go_on_unlisted(
        &self,
        api: &Api<DynamicObject>,
        present: &mut BTreeSet<ObjectKey>,
        unlisted: &mut BTreeSet<ObjectKey>,
    ) -> bool {
        let all: BTreeSet<ObjectKey> = present.union(unlisted).cloned().collect();
        for key in all {
            let has_ours = |entry: Entry| entry.newest.finalizers.iter().any(|name| name == FINALIZER);
            let is_guarded = unlisted.contains(&key) || self.known.get(self.kind, &key).is_some_and(has_ours);
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
                    if !self.tell(object, false).await {
                        return false;
                    }
                    continue;
                }
                Some(Ok(_)) => drop(unlisted.insert(key.clone())),
                Some(Err(error)) if !is(&error, 403) && !is(&error, 404) => continue,
                None | Some(Err(_)) => drop(unlisted.remove(&key)),
            }
            if present.remove(&key) && !self.tell_gone(key).await {
                return false;
            }
        }
        true
    }

    async fn tell(&self, object: DynamicObject, believed: bool) -> bool {
        let by = By::Watch { leading: !believed && self.election.holds() };
        if !self.known.learn(self.kind, &key_of(&object), version_of(self.kind, &object), by) {
            // The engine knows more already, by a write of its own.
            return true;
        }
        match change_of(self.kind, &object) {
            Some(change) => self.changes.send(change).await.is_ok(),
            None => true,
        }
    }

    async fn tell_gone(&self, key: ObjectKey) -> bool {
        self.known.forget(self.kind, &key);
        self.changes.send(Change::Gone { kind: self.kind, key, prune: false }).await.is_ok()
    }
}

fn may_not_list(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(failed) if is(failed, 403))
}

/// What to do about a watch that does not get on.
fn trouble(error: &watcher::Error) -> String {
    let failed = match error {
        watcher::Error::InitialListFailed(failed)
        | watcher::Error::WatchStartFailed(failed)
        | watcher::Error::WatchFailed(failed) => failed,
        error => return format!("watching is interrupted and goes on by itself: {}", told(error)),
    };
    if is(failed, 404) {
        return "the custom resource definitions are not installed; \
                install them with: hookkeeper crds | kubectl apply --server-side -f -"
            .to_owned();
    }
    let failed_words = words(failed);
    if is(failed, 403) {
        return format!("hookkeeper's account lacks a permission: {failed_words}");
    }
    format!("watching is interrupted and goes on by itself: {failed_words}")
}
