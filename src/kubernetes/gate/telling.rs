//! Telling the gate what is watched: receivers, and the sources of their tokens.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kube::api::DynamicObject;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc::Sender;
use tracing::warn;

use super::share::begun_with;
use super::statuses::GateStatuses;
use crate::api::validation;
use crate::api::{
    Declared, Kind, ObjectKey, TokenSourceSpec, TokenSourceStatus, WebhookReceiverSpec, WebhookReceiverStatus,
};
use crate::gate::change::ReceiverChange;
use crate::kubernetes::objects::{identity_of, key_of, status};
use crate::kubernetes::watch::Sink;

/// The kinds that a gate watches, sources before the receivers that name them.
pub(super) const GATE_KINDS: [Kind; 2] = [Kind::TokenSource, Kind::WebhookReceiver];

/// What was told of an object, so that it is told again only when that has changed: statuses are written
/// more often than the gate has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    uid: String,
    generation: Option<i64>,
    /// Of a source: which token it has published.
    fingerprint: Option<String>,
    /// Of a source: which tokens subscriptions still carry.
    carried: BTreeSet<Arc<str>>,
    /// Of a receiver: where the subscription that names it sends its token.
    place: Option<(String, String)>,
}

/// Tells the gate.
#[derive(Clone)]
pub(super) struct Telling {
    gate: Arc<str>,
    statuses: GateStatuses,
    changes: Sender<ReceiverChange>,
    told: Arc<Mutex<HashMap<(Kind, ObjectKey), Told>>>,
}

impl Telling {
    pub(super) fn new(gate: &str, statuses: GateStatuses, changes: Sender<ReceiverChange>) -> Self {
        Self { gate: gate.into(), statuses, changes, told: Arc::default() }
    }

    /// What the gate has to be told of an object, if it is something new: first what must not be over, then
    /// what takes its place.
    fn news(&self, kind: Kind, object: &DynamicObject) -> Vec<ReceiverChange> {
        let key = key_of(object);
        let uid = object.uid().unwrap_or_default();
        let recorded = &object.data["status"];
        let source = (kind == Kind::TokenSource).then(|| status::<TokenSourceStatus>(recorded));
        let source = source.unwrap_or_default();
        let fingerprint = source.token_fingerprint;
        let carried: BTreeSet<Arc<str>> =
            source.carried_fingerprints.iter().chain(&fingerprint).map(|one| one.as_str().into()).collect();
        let receiver = (kind == Kind::WebhookReceiver).then(|| status::<WebhookReceiverStatus>(recorded));
        let place = receiver.as_ref().and_then(WebhookReceiverStatus::token_place);
        let place = place.map(|place| (place.header.to_owned(), place.prefix.to_owned()));
        let told = Told {
            uid,
            generation: object.metadata.generation,
            fingerprint,
            carried: carried.clone(),
            place,
        };
        let before = {
            let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let before = all.insert((kind, key.clone()), told.clone());
            if before.as_ref() == Some(&told) {
                return Vec::new();
            }
            before
        };
        let whole = json!({ "spec": object.data["spec"] });
        if kind == Kind::TokenSource {
            let mut news = Vec::new();
            if before.as_ref().is_none_or(|before| before.carried != carried) {
                news.push(ReceiverChange::Carried(key.clone(), carried));
            }
            if before.is_some_and(|before| Told { carried: told.carried.clone(), ..before } == told) {
                return news;
            }
            match validation::decode::<TokenSourceSpec>(&whole, None) {
                Ok(spec) => news.push(ReceiverChange::Source(key, Some(Box::new(spec)))),
                Err(problems) => {
                    for problem in problems {
                        warn!(source = %key, "{problem}; its last valid version stays in force");
                    }
                }
            }
            return news;
        }
        let identity = identity_of(object);
        vec![match validation::decode::<WebhookReceiverSpec>(&whole, None) {
            Ok(mut spec) => {
                let recorded = receiver.unwrap_or_default();
                // A gate sees no subscriptions: whoever does has written it down.
                if let Some(place) = recorded.token_place() {
                    spec.reads_token_at(place);
                }
                let status = begun_with(&self.gate, recorded);
                ReceiverChange::Declared(Box::new(Declared { identity, spec, status }))
            }
            Err(problems) => ReceiverChange::Invalid(identity, problems),
        }]
    }
}

impl Sink for Telling {
    fn is_closed(&self) -> bool {
        self.changes.is_closed()
    }

    async fn there(&self, kind: Kind, object: DynamicObject, _: bool) -> bool {
        if kind == Kind::WebhookReceiver {
            let status = status::<WebhookReceiverStatus>(&object.data["status"]);
            let (uid, version) = (object.uid(), object.resource_version());
            let (uid, version) = (uid.unwrap_or_default(), version.unwrap_or_default());
            self.statuses.saw(&key_of(&object), &uid, &version, &status);
        }
        for change in self.news(kind, &object) {
            if self.changes.send(change).await.is_err() {
                return false;
            }
        }
        true
    }

    async fn gone(&self, kind: Kind, key: ObjectKey) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, key.clone()));
        let change = if kind == Kind::TokenSource {
            ReceiverChange::Source(key, None)
        } else {
            self.statuses.gone(&key);
            ReceiverChange::Deleted(key)
        };
        self.changes.send(change).await.is_ok()
    }

    /// Whether anything is gone cannot be seen, so everything stays as it was: what is acknowledged is kept.
    async fn may_not_list(
        &self,
        _: Kind,
        _: &Api<DynamicObject>,
        _: &mut BTreeSet<ObjectKey>,
        _: &mut BTreeSet<ObjectKey>,
    ) -> bool {
        !self.is_closed()
    }

    async fn listed(&self, kind: Kind, namespace: Option<&str>) -> bool {
        match namespace {
            Some(namespace) if kind == Kind::WebhookReceiver => {
                self.changes.send(ReceiverChange::Listed(namespace.into())).await.is_ok()
            }
            _ => true,
        }
    }

    async fn complete(&self, is_first: bool) -> bool {
        !is_first || self.changes.send(ReceiverChange::Synced).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::sync::mpsc;

    use super::*;

    fn object(kind: &str, change: impl FnOnce(&mut Value)) -> DynamicObject {
        let spec = match kind {
            "TokenSource" => json!({ "secret": { "name": "s", "key": "k" } }),
            _ => {
                json!({ "verification": { "none": {} }, "forward": { "service": { "name": "app", "port": 80 } } })
            }
        };
        let mut value = json!({
            "apiVersion": "hookkeeper.dev/v1alpha1",
            "kind": kind,
            "metadata": { "namespace": "hr", "name": "a", "uid": "u", "generation": 1, "resourceVersion": "7" },
            "spec": spec,
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn telling() -> (Telling, mpsc::Receiver<ReceiverChange>) {
        let service = tower::service_fn(async |_: hyper::Request<kube::client::Body>| {
            Err::<hyper::Response<kube::client::Body>, _>(std::io::Error::other("nobody is asked"))
        });
        let client = kube::Client::new(service, "hr");
        let (sender, receiver) = mpsc::channel(16);
        let statuses = GateStatuses::new(client, "gate-0".into(), "store".into());
        (Telling::new("gate-0", statuses, sender), receiver)
    }

    /// What was told, in short.
    fn told(changes: &mut mpsc::Receiver<ReceiverChange>) -> Vec<String> {
        let short = |change| match change {
            ReceiverChange::Declared(declared) => {
                format!("{} {}", declared.identity.uid, declared.identity.generation)
            }
            ReceiverChange::Invalid(_, problems) => format!("invalid {}", problems[0].field),
            ReceiverChange::Gone(key, _) => format!("gone {key}"),
            ReceiverChange::Deleted(key) => format!("deleted {key}"),
            ReceiverChange::Source(key, spec) => format!("source {key} {}", spec.is_some()),
            ReceiverChange::Carried(_, fingerprints) => {
                format!("carried {}", fingerprints.into_iter().collect::<Vec<_>>().join(" "))
            }
            ReceiverChange::Listed(namespace) => format!("listed {namespace}"),
            ReceiverChange::Synced => "synced".to_owned(),
        };
        std::iter::from_fn(|| changes.try_recv().ok()).map(short).collect()
    }

    #[tokio::test]
    async fn the_gate_is_told_of_a_receiver_when_its_spec_changes_and_not_when_its_status_does() {
        let (telling, mut changes) = telling();
        let there = async |change: fn(&mut Value)| {
            assert!(telling.there(Kind::WebhookReceiver, object("WebhookReceiver", change), false).await);
        };
        there(|_| {}).await;
        there(|it| it["status"] = json!({ "waiting": 7 })).await;
        assert_eq!(told(&mut changes), ["u 1"]);
        there(|it| it["metadata"]["generation"] = 2.into()).await;
        there(|it| it["metadata"]["uid"] = "v".into()).await;
        there(|it| it["spec"]["forward"] = json!({})).await;
        assert_eq!(told(&mut changes), ["u 2", "v 1", "invalid spec.forward"], "each is another object");
        there(|it| {
            it["metadata"]["generation"] = 3.into();
            it["spec"]["forward"] = json!({});
        })
        .await;
        assert_eq!(told(&mut changes), ["invalid spec.forward"]);
        telling.gone(Kind::WebhookReceiver, ObjectKey::new("hr", "a")).await;
        there(|_| {}).await;
        assert_eq!(told(&mut changes), ["deleted hr/a", "u 1"]);
    }

    #[tokio::test]
    async fn a_receiver_reads_its_token_where_its_status_says_that_the_subscription_sends_it() {
        let (telling, mut changes) = telling();
        let mut header = async |status: Value| {
            let object = object("WebhookReceiver", |it| {
                it["spec"]["verification"] = json!({ "token": { "tokenSourceRef": { "name": "s" } } });
                it["status"] = status;
            });
            assert!(telling.there(Kind::WebhookReceiver, object, false).await);
            match changes.try_recv() {
                Ok(ReceiverChange::Declared(declared)) => {
                    let token = declared.spec.verification.token.unwrap();
                    Some((token.header, token.prefix))
                }
                _ => None,
            }
        };
        assert_eq!(header(json!({})).await, Some((None, None)));
        let place = json!({ "tokenHeader": "x-token", "tokenPrefix": "Bearer " });
        let read = |header: &str, prefix: &str| Some((Some(header.to_owned()), Some(prefix.to_owned())));
        assert_eq!(header(place.clone()).await, read("x-token", "Bearer "));
        assert_eq!(header(place).await, None, "nothing is new");
        assert_eq!(header(json!({ "tokenHeader": "token" })).await, read("token", ""));
    }

    #[tokio::test]
    async fn a_source_is_told_when_it_has_published_another_token() {
        let (telling, mut changes) = telling();
        let there = async |status: Value| {
            let object = object("TokenSource", |it| it["status"] = status);
            assert!(telling.there(Kind::TokenSource, object, false).await);
        };
        let source = "source hr/a true";
        there(json!({})).await;
        assert_eq!(told(&mut changes), ["carried ", source]);
        there(json!({ "tokenFingerprint": "a" })).await;
        there(json!({ "tokenFingerprint": "a", "observedGeneration": 1 })).await;
        assert_eq!(told(&mut changes), ["carried a", source]);
        // The one before is not over, and that is told before the next one is read.
        there(json!({ "tokenFingerprint": "b", "carriedFingerprints": ["a"] })).await;
        assert_eq!(told(&mut changes), ["carried a b", source]);
        there(json!({ "tokenFingerprint": "b" })).await;
        assert_eq!(told(&mut changes), ["carried b"]);
        telling.gone(Kind::TokenSource, ObjectKey::new("hr", "a")).await;
        assert_eq!(told(&mut changes), ["source hr/a false"]);
    }

    #[tokio::test]
    async fn it_is_told_when_everything_is_there_and_nothing_is_taken_for_gone_that_may_not_be_listed() {
        let (telling, mut changes) = telling();
        assert!(telling.listed(Kind::TokenSource, Some("hr")).await);
        assert!(telling.listed(Kind::WebhookReceiver, Some("hr")).await);
        assert!(telling.complete(true).await && telling.complete(false).await);
        assert_eq!(told(&mut changes), ["listed hr", "synced"]);
        let client = telling.statuses.clone();
        drop(client);
        let service = tower::service_fn(async |_: hyper::Request<kube::client::Body>| {
            Err::<hyper::Response<kube::client::Body>, _>(std::io::Error::other("nobody is asked"))
        });
        let client = kube::Client::new(service, "hr");
        let api = crate::kubernetes::resources::objects(&client, Kind::WebhookReceiver, "hr");
        let mut present = BTreeSet::from([ObjectKey::new("hr", "a")]);
        assert!(telling.may_not_list(Kind::WebhookReceiver, &api, &mut present, &mut BTreeSet::new()).await);
        assert_eq!((told(&mut changes).len(), present.len()), (0, 1));
        drop(changes);
        assert!(!telling.complete(true).await);
    }
}
