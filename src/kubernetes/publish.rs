//! Published tokens: a Secret for each `TokenSource` that asks for one, owned by it.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

use super::client::{in_time, is, words};
use super::election::Election;
use super::record::FIELD_MANAGER;
use super::resources::resource;
use super::versions::Versions;
use crate::api::{ALLOWED_HOSTS_ANNOTATION, Kind, ObjectKey, join_hosts, split_hosts};
use crate::engine::ports::{Publish, PublishFailure, Published};
use crate::rotation::published::Changed;
use crate::secret::SecretText;

/// Type of the Secrets we write.
const SECRET_TYPE: &str = "hookkeeper.dev/token";

/// Publishes into Secrets of the API server.
#[derive(Clone)]
pub struct SecretPublisher {
    client: Client,
    versions: Versions,
    election: Election,
}

impl std::fmt::Debug for SecretPublisher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SecretPublisher")
    }
}

impl SecretPublisher {
    pub(super) fn new(client: Client, versions: Versions, election: Election) -> Self {
        Self { client, versions, election }
    }

    fn api(&self, source: &ObjectKey) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &source.namespace)
    }

    /// The Secret, if it exists and belongs to the source.
    async fn find(&self, source: &ObjectKey, name: &str) -> Result<Option<Secret>, PublishFailure> {
        let secret = match in_time(self.api(source).get(name)).await {
            Ok(secret) => secret,
            Err(error) if is(&error, 404) => return Ok(None),
            Err(error) => return Err(unavailable("read", name, &error)),
        };
        let owner = self.owner(source)?;
        let owners = secret.metadata.owner_references.iter().flatten();
        if owners.into_iter().any(|reference| reference.uid == owner.uid) {
            Ok(Some(secret))
        } else {
            Err(PublishFailure::Conflict(format!("Secret {name}")))
        }
    }

    fn owner(&self, source: &ObjectKey) -> Result<OwnerReference, PublishFailure> {
        let resource = resource(Kind::TokenSource);
        let entry = self.versions.get(Kind::TokenSource, source);
        let entry = entry.ok_or_else(|| PublishFailure::Unavailable("the TokenSource is gone".to_owned()))?;
        Ok(OwnerReference {
            api_version: resource.api_version,
            kind: resource.kind,
            name: source.name.to_string(),
            uid: entry.newest.uid,
            ..OwnerReference::default()
        })
    }

    async fn put(&self, source: &ObjectKey, name: &str, tokens: &Published) -> Result<(), PublishFailure> {
        let term = self.election.term();
        let found = self.find(source, name).await?;
        // What another leader has published since is not written over: the resourceVersion goes along.
        if term.is_none() || self.election.term() != term {
            return Err(PublishFailure::Unavailable("another process leads".to_owned()));
        }
        let is_new = found.is_none();
        let data = tokens
            .entries()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), ByteString(value.expose().as_bytes().to_vec())));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                resource_version: found.and_then(|found| found.metadata.resource_version),
                owner_references: Some(vec![self.owner(source)?]),
                // The copy is as confined as what it is a copy of.
                annotations: tokens
                    .allowed_hosts
                    .as_ref()
                    .map(|hosts| [(ALLOWED_HOSTS_ANNOTATION.to_owned(), join_hosts(hosts))].into()),
                ..ObjectMeta::default()
            },
            type_: Some(SECRET_TYPE.to_owned()),
            data: Some(data.collect::<BTreeMap<_, _>>()),
            ..Secret::default()
        };
        // A Secret of another owner that has come meanwhile is not written over.
        let parameters = PatchParams { force: !is_new, ..PatchParams::apply(FIELD_MANAGER) };
        match in_time(self.api(source).patch(name, &parameters, &Patch::Apply(&secret))).await {
            Ok(_) => Ok(()),
            Err(error) if is_new && is(&error, 409) => {
                Err(PublishFailure::Conflict(format!("Secret {name}")))
            }
            Err(error) => Err(unavailable("written", name, &error)),
        }
    }
}

impl Publish for SecretPublisher {
    fn read<'a>(
        &'a self,
        source: &'a ObjectKey,
        secret_name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Published>, PublishFailure>> {
        Box::pin(async move {
            let Some(secret) = self.find(source, secret_name).await? else {
                return Ok(None);
            };
            let annotations = secret.metadata.annotations.unwrap_or_default();
            let allowed_hosts = annotations.get(ALLOWED_HOSTS_ANNOTATION).map(|hosts| split_hosts(hosts));
            let mut data = secret.data.unwrap_or_default();
            let value = |key: &str| {
                let bytes = zeroize::Zeroizing::new(data.remove(key)?.0);
                std::str::from_utf8(&bytes).ok().map(SecretText::from)
            };
            let published = Published::from_entries(value);
            published.map(|tokens| Some(Published { allowed_hosts, ..tokens })).map_err(|Changed(key)| {
                PublishFailure::Unavailable(format!(
                    "{key} of Secret {secret_name} is missing or has been changed; delete the Secret"
                ))
            })
        })
    }

    fn write<'a>(
        &'a self,
        source: &'a ObjectKey,
        secret_name: &'a str,
        tokens: &'a Published,
    ) -> BoxFuture<'a, Result<(), PublishFailure>> {
        Box::pin(self.put(source, secret_name, tokens))
    }
}

fn unavailable(done: &str, name: &str, error: &kube::Error) -> PublishFailure {
    let permission =
        if is(error, 403) { "; grant get, create and patch on Secrets in this namespace" } else { "" };
    PublishFailure::Unavailable(format!("Secret {name} could not be {done}: {}{permission}", words(error)))
}
