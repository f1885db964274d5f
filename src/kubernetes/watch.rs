//! Watching kinds, and telling what changes. What follows from an event is said by [`watched`](super::watched).

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::client::{WATCH_SECONDS, is, words};
use super::resources::resource;
use super::watched::{Change, Watched};
use crate::api::{Kind, ObjectKey};
use crate::ops::causes::told;
use crate::ops::health::Awaited;

/// Objects in one page of a list.
const PAGE: u32 = 500;
/// A list of which nothing more has come for this long is begun again; a watch may be silent.
const LIST_SILENCE: Duration = Duration::from_secs(30);

/// Is told what there is. Each method returns whether anybody still listens.
pub(super) trait Sink: Clone + Send + Sync + 'static {
    /// Whether nobody listens any more.
    fn is_closed(&self) -> bool;

    /// An object is there, or is different. `is_believed` says that it comes from the first list of a
    /// round, so that what others have recorded in it is believed.
    fn there(
        &self,
        kind: Kind,
        object: DynamicObject,
        is_believed: bool,
    ) -> impl Future<Output = bool> + Send;

    /// An object is gone.
    fn gone(&self, kind: Kind, key: ObjectKey) -> impl Future<Output = bool> + Send;

    /// What is at `api` may not be listed any more. `present` is what was told to be there, and `unlisted`
    /// what this method itself wants to know the next time.
    fn may_not_list(
        &self,
        kind: Kind,
        api: &Api<DynamicObject>,
        present: &mut BTreeSet<ObjectKey>,
        unlisted: &mut BTreeSet<ObjectKey>,
    ) -> impl Future<Output = bool> + Send;

    /// Everything of a kind has been told that is in this namespace, or in all of them.
    fn listed(&self, _kind: Kind, _namespace: Option<&str>) -> impl Future<Output = bool> + Send {
        std::future::ready(true)
    }

    /// Everything has been told that a round of lists holds; ends when it has been taken in.
    fn complete(&self, is_first: bool) -> impl Future<Output = bool> + Send;
}

/// Which objects are looked after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Namespaces; all of them when there is none.
    pub namespaces: Vec<String>,
    /// A label selector for subscriptions, providers and token sources alike.
    pub selector: Option<String>,
}

/// Watches everything in scope.
pub(super) struct Watcher<S> {
    pub(super) client: Client,
    pub(super) kinds: &'static [Kind],
    pub(super) scope: Scope,
    pub(super) sink: S,
    /// Each new round lists everything again.
    pub(super) round: watch::Receiver<u64>,
    /// Until the first lists are noted as missing, nobody may take the process for ready.
    pub(super) starting: Awaited,
    /// After how long the process is ready without what it may not list; `None` for never.
    pub(super) ready_without: Option<Duration>,
    /// A kind whose definition may be missing: nothing else waits for it.
    pub(super) optional: Option<Kind>,
}

impl<S: Sink> Watcher<S> {
    /// Watches until a part of it ends, which none should. `listed` is told how many rounds of lists
    /// are complete and have been taken in.
    pub(super) async fn run(self, listed: watch::Sender<u64>) {
        let (done, mut complete) = mpsc::channel::<(usize, u64)>(64);
        let namespaces: Vec<Option<String>> = if self.scope.namespaces.is_empty() {
            vec![None]
        } else {
            self.scope.namespaces.iter().cloned().map(Some).collect()
        };
        let mut tasks = tokio::task::JoinSet::new();
        let mut rounds = Vec::new();
        for kind in self.kinds.iter().copied() {
            for namespace in &namespaces {
                let one = One {
                    number: rounds.len(),
                    kind,
                    namespace: namespace.clone(),
                    client: self.client.clone(),
                    config: self.config(),
                    sink: self.sink.clone(),
                    round: self.round.clone(),
                    done: done.clone(),
                    first_list: Some(self.starting.and(format!("{kind}: not listed yet"))),
                    ready_without: self.ready_without,
                    is_optional: self.optional == Some(kind),
                };
                rounds.push(0);
                tasks.spawn(one.run());
            }
        }
        drop(self.starting);
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
                    if !self.sink.complete(reported == 0).await {
                        break;
                    }
                    reported = all;
                    listed.send_replace(reported);
                }
            }
        }
        if self.sink.is_closed() {
            // Whoever listened has ended, and with it the tasks that tell it: that is no fault of theirs.
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
struct One<S> {
    number: usize,
    kind: Kind,
    namespace: Option<String>,
    client: Client,
    config: watcher::Config,
    sink: S,
    round: watch::Receiver<u64>,
    done: Sender<(usize, u64)>,
    /// What the process is not ready without.
    first_list: Option<Awaited>,
    ready_without: Option<Duration>,
    is_optional: bool,
}

impl<S: Sink> One<S> {
    /// Ends when nobody listens any more.
    async fn run(mut self) {
        let begun = Instant::now();
        let resource = resource(self.kind);
        let api: Api<DynamicObject> = match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let mut watched = Watched::new(self.namespace.is_some(), self.is_optional);
        loop {
            watched.begin(*self.round.borrow_and_update());
            let mut events = std::pin::pin!(watcher::watcher(api.clone(), self.config.clone()));
            loop {
                let event = tokio::select! {
                    changed = self.round.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                    event = events.next() => event,
                    () = tokio::time::sleep(LIST_SILENCE), if watched.is_listing() => {
                        warn!(kind = %self.kind, "the API server does not answer; its objects are listed again");
                        break;
                    }
                };
                let Some(event) = event else { break };
                let failed = event.is_err();
                if let Err(error) = &event {
                    self.tell_trouble(error);
                }
                for change in watched.take(event) {
                    if !self.pass_on(change, &api, &mut watched, begun).await {
                        return;
                    }
                }
                if !failed {
                    continue;
                }
                // Whoever asks for a new round has reached the server.
                tokio::select! {
                    changed = self.round.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        watched.waited(true);
                        break;
                    }
                    () = tokio::time::sleep(watched.wait()) => watched.waited(false),
                }
            }
        }
    }

    fn tell_trouble(&self, error: &watcher::Error) {
        let trouble = trouble(error);
        warn!(kind = %self.kind, "{trouble}");
        if let Some(first_list) = &self.first_list {
            first_list.says(format!("{}: {trouble}", self.kind));
        }
    }

    /// Passes a change on. Returns whether anybody still listens.
    async fn pass_on(
        &mut self,
        change: Change,
        api: &Api<DynamicObject>,
        watched: &mut Watched,
        begun: Instant,
    ) -> bool {
        match change {
            Change::There(object, is_believed) => self.sink.there(self.kind, *object, is_believed).await,
            Change::Gone(key) => self.sink.gone(self.kind, key).await,
            Change::Listed => {
                info!(kind = %self.kind, objects = watched.present.len(), "listed");
                if !self.sink.listed(self.kind, self.namespace.as_deref()).await {
                    return false;
                }
                self.first_list = None;
                self.ends_round(watched.round()).await
            }
            Change::MayNotList => {
                let Watched { present, unlisted, .. } = watched;
                if !self.sink.may_not_list(self.kind, api, present, unlisted).await {
                    return false;
                }
                if self.ready_without.is_some_and(|limit| begun.elapsed() >= limit) {
                    self.first_list = None;
                }
                self.ends_round(watched.round()).await
            }
            Change::NotInstalled => {
                self.first_list = None;
                self.ends_round(watched.round()).await
            }
        }
    }

    async fn ends_round(&self, round: u64) -> bool {
        self.done.send((self.number, round + 1)).await.is_ok()
    }
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
