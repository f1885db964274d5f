//! The four kinds as kube's dynamic interface names them.
//!
//! Objects are read without their types: one that does not decode must be reported as invalid and
//! must not stop the watch.

use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, Client, CustomResourceExt};

use crate::api::{Kind, TokenSource, WebhookProvider, WebhookReceiver, WebhookSubscription};

/// How the API server names a kind.
pub(super) fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::WebhookProvider => WebhookProvider::api_resource(),
        Kind::TokenSource => TokenSource::api_resource(),
        Kind::WebhookSubscription => WebhookSubscription::api_resource(),
        Kind::WebhookReceiver => WebhookReceiver::api_resource(),
    }
}

/// The objects of a kind in a namespace.
pub(super) fn objects(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}
