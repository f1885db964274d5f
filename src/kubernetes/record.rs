//! Statuses and finalizers, made durable at the API server.

use futures::future::BoxFuture;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::{Value, json};

use super::client::{in_time, is, words};
use super::election::Election;
use super::gate_lease::field_manager;
use super::objects::{digest, version_of};
use super::resources::{objects, resource};
use super::versions::{By, Entry, Versions};
use crate::api::{
    FINALIZER, Kind, ObjectKey, SubscriptionStatus, TokenSourceStatus, WebhookProviderStatus,
    WebhookReceiverStatus,
};
use crate::engine::ports::{Record, RecordFailure};

/// Our name as a writer of fields.
pub(super) const FIELD_MANAGER: &str = "hookkeeper";
/// How often a write is tried on what others have changed meanwhile.
const ATTEMPTS: usize = 5;

/// Writes statuses by server-side apply, with the resourceVersion of what they were decided on.
///
/// Without it a delayed write would erase a newer record. A conflict that others' changes of the spec
/// or the metadata have caused is overcome; a status that somebody else has written is not.
#[derive(Clone)]
pub struct StatusRecord {
    client: Client,
    versions: Versions,
    election: Election,
}

impl std::fmt::Debug for StatusRecord {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("StatusRecord")
    }
}

impl StatusRecord {
    pub(super) fn new(client: Client, versions: Versions, election: Election) -> Self {
        Self { client, versions, election }
    }

    async fn write(
        &self,
        kind: Kind,
        key: &ObjectKey,
        uid: Option<&str>,
        status: &(impl Serialize + Sync),
    ) -> Result<(), RecordFailure> {
        let wanted = digest(status);
        let (api, resource) = (objects(&self.client, kind, &key.namespace), resource(kind));
        let term = self.election.term();
        for _ in 0..ATTEMPTS {
            // Without it another leader's status, which was taken in meanwhile, would be no surprise.
            if term.is_none() || self.election.term() != term {
                return Err(RecordFailure::Superseded);
            }
            let entry = self.versions.get(kind, key).ok_or(RecordFailure::Gone)?;
            if uid.is_some_and(|uid| uid != entry.newest.uid) {
                return Err(RecordFailure::Gone);
            }
            if entry.newest.status == wanted {
                self.versions.learn_of_known(kind, key, entry.newest, By::Write);
                return Ok(());
            }
            self.refuse_surprise(&entry)?;
            let body = json!({
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": { "name": &*key.name, "resourceVersion": entry.newest.resource_version },
                "status": status,
            });
            let parameters = PatchParams::apply(FIELD_MANAGER).force();
            match in_time(api.patch_status(&key.name, &parameters, &Patch::Apply(&body))).await {
                Ok(object) => {
                    self.versions.learn_of_known(kind, key, version_of(kind, &object), By::Write);
                    return Ok(());
                }
                Err(error) if is(&error, 409) => self.read_again(kind, key).await?,
                Err(error) => {
                    self.versions.may_be(kind, key, wanted);
                    return Err(self.failure(kind, key, &error));
                }
            }
        }
        Err(RecordFailure::Unavailable("the object is being changed all the time".to_owned()))
    }

    /// Writes the state of a receiver, all but what its gates write.
    pub(super) async fn receiver(
        &self,
        key: &ObjectKey,
        uid: &str,
        status: &WebhookReceiverStatus,
    ) -> Result<(), RecordFailure> {
        self.write(Kind::WebhookReceiver, key, Some(uid), status).await
    }

    /// Removes what a gate has written in the status of a receiver: an apply of nothing under its name.
    /// Where the status has changed since it was decided, nothing is removed.
    pub(super) async fn clear_share(
        &self,
        key: &ObjectKey,
        uid: &str,
        gate: &str,
    ) -> Result<(), RecordFailure> {
        let kind = Kind::WebhookReceiver;
        let (api, resource) = (objects(&self.client, kind, &key.namespace), resource(kind));
        let entry = self.versions.get(kind, key).filter(|entry| entry.newest.uid == uid);
        let entry = entry.ok_or(RecordFailure::Gone)?;
        if self.election.term().is_none() {
            return Err(RecordFailure::Superseded);
        }
        let body = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": &*key.name, "resourceVersion": entry.newest.resource_version },
        });
        let parameters = PatchParams::apply(&field_manager(gate)).force();
        match in_time(api.patch_status(&key.name, &parameters, &Patch::Apply(&body))).await {
            Ok(object) => {
                let by = By::Watch { leading: true };
                self.versions.learn_of_known(kind, key, version_of(kind, &object), by);
                Ok(())
            }
            Err(error) if is(&error, 409) => {
                self.read_again(kind, key).await?;
                Err(RecordFailure::Unavailable("the object has changed meanwhile".to_owned()))
            }
            Err(error) => Err(self.failure(kind, key, &error)),
        }
    }

    /// A status that the engine neither was told of nor wrote is somebody else's.
    fn refuse_surprise(&self, entry: &Entry) -> Result<(), RecordFailure> {
        if entry.expected.contains(&entry.newest.status) {
            return Ok(());
        }
        self.election.step_down();
        Err(RecordFailure::Superseded)
    }

    async fn read_again(&self, kind: Kind, key: &ObjectKey) -> Result<(), RecordFailure> {
        let api = objects(&self.client, kind, &key.namespace);
        // A list of one: the right to list is needed anyway, and one to get is not asked for besides.
        let only = ListParams::default().fields(&format!("metadata.name={}", key.name));
        let found = in_time(api.list(&only)).await.map_err(|error| self.failure(kind, key, &error))?;
        let Some(object) = found.items.first() else {
            self.versions.forget(kind, key);
            return Err(RecordFailure::Gone);
        };
        let version = version_of(kind, object);
        if self.versions.get(kind, key).is_none_or(|entry| entry.newest.uid != version.uid) {
            return Err(RecordFailure::Gone);
        }
        self.versions.learn_of_known(kind, key, version, By::Watch { leading: true });
        Ok(())
    }

    fn failure(&self, kind: Kind, key: &ObjectKey, error: &kube::Error) -> RecordFailure {
        if is(error, 404) {
            self.versions.forget(kind, key);
            return RecordFailure::Gone;
        }
        RecordFailure::Unavailable(words(error))
    }

    /// Puts our finalizer on, or takes it off.
    async fn finalizer(
        &self,
        kind: Kind,
        key: &ObjectKey,
        uid: &str,
        wanted: bool,
    ) -> Result<(), RecordFailure> {
        let api = objects(&self.client, kind, &key.namespace);
        for _ in 0..ATTEMPTS {
            let entry = self.versions.get(kind, key).ok_or(RecordFailure::Gone)?;
            if uid != entry.newest.uid {
                return Err(RecordFailure::Gone);
            }
            let at = entry.newest.finalizers.iter().position(|finalizer| finalizer == FINALIZER);
            let patch = match at {
                Some(_) if wanted => return Ok(()),
                None if !wanted => return Ok(()),
                // Only ours is taken off, and only if it still stands where it stood.
                Some(at) => json!([
                    { "op": "test", "path": format!("/metadata/finalizers/{at}"), "value": FINALIZER },
                    { "op": "test", "path": "/metadata/uid", "value": uid },
                    { "op": "remove", "path": format!("/metadata/finalizers/{at}") },
                ]),
                None => added(&entry),
            };
            match patched(&api, key, patch).await {
                Ok(object) => {
                    // The status that came with it is not one that the engine has been told of.
                    let version = version_of(kind, &object);
                    self.versions.learn_of_known(kind, key, version, By::Watch { leading: true });
                    return Ok(());
                }
                // 422: another finalizer has moved, or there is one where there was none.
                Err(error) if is(&error, 409) || is(&error, 422) => {
                    let found = looked_at(&api, key).await.map(|object| version_of(kind, &object));
                    let version = found.map_err(|error| self.failure(kind, key, &error))?;
                    if version.uid != uid {
                        return Err(RecordFailure::Gone);
                    }
                    self.versions.learn_of_known(kind, key, version, By::Watch { leading: true });
                }
                Err(error) => return Err(self.failure(kind, key, &error)),
            }
        }
        Err(RecordFailure::Unavailable("the object is being changed all the time".to_owned()))
    }
}

async fn patched(
    api: &Api<DynamicObject>,
    key: &ObjectKey,
    patch: Value,
) -> Result<DynamicObject, kube::Error> {
    let patch: Patch<DynamicObject> =
        Patch::Json(serde_json::from_value(patch).map_err(kube::Error::SerdeError)?);
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    in_time(api.patch(&key.name, &parameters, &patch)).await
}

/// An object as it is now, by a patch that changes nothing: in a namespace that is being deleted,
/// the right to patch is the one that is left.
pub(super) async fn looked_at(
    api: &Api<DynamicObject>,
    key: &ObjectKey,
) -> Result<DynamicObject, kube::Error> {
    patched(api, key, json!([])).await
}

fn added(entry: &Entry) -> Value {
    let newest = &entry.newest;
    let add = if newest.finalizers.is_empty() {
        json!({ "op": "add", "path": "/metadata/finalizers", "value": [FINALIZER] })
    } else {
        json!({ "op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER })
    };
    json!([
        { "op": "test", "path": "/metadata/resourceVersion", "value": newest.resource_version },
        add,
    ])
}

impl Record for StatusRecord {
    fn subscription<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        status: &'a SubscriptionStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.write(Kind::WebhookSubscription, key, Some(uid), status))
    }

    fn token_source<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a TokenSourceStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.write(Kind::TokenSource, key, None, status))
    }

    fn provider<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a WebhookProviderStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.write(Kind::WebhookProvider, key, None, status))
    }

    fn set_finalizer<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        wanted: bool,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.finalizer(Kind::WebhookSubscription, key, uid, wanted))
    }

    fn set_provider_finalizer<'a>(
        &'a self,
        key: &'a ObjectKey,
        uid: &'a str,
        wanted: bool,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.finalizer(Kind::WebhookProvider, key, uid, wanted))
    }

    fn release<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.finalizer(Kind::WebhookSubscription, key, uid, false))
    }
}
