//! Tests of the module as a whole; those of one idea stand in its file.

use crate::api::{WebhookProviderSpec, WebhookSubscriptionSpec};
use crate::engine::ports::{CallFailure, CallFence, Listing, ProviderClient, Reading};

mod calls;
mod confined;
mod digest;
mod documents;
mod echoes;
mod kept;
mod listings;
mod placeholder;
mod preset;
mod rules;
mod server;

/// A secret that must appear nowhere but on the wire.
pub(super) const CANARY: &str = "canary-7f3a91";

/// A provider object's `spec`, from YAML.
pub(super) fn provider(yaml: &str) -> WebhookProviderSpec {
    serde_saphyr::from_str(yaml).unwrap()
}

/// A subscription's `spec`, from YAML.
pub(super) fn subscription(yaml: &str) -> WebhookSubscriptionSpec {
    serde_saphyr::from_str(yaml).unwrap()
}

/// Reads all pages of a listing.
pub(super) async fn list(remote: &dyn ProviderClient, fence: &CallFence) -> Result<Listing, CallFailure> {
    let mut reading = Reading::default();
    loop {
        if let Some(listing) = remote.list(&mut reading, fence).await? {
            return Ok(listing);
        }
    }
}

/// The shortest useful provider and subscription.
pub(super) const GUPY: &str = "
preset: gupy
auth:
  bearer: {secretKeyRef: {name: gupy-api, key: token}}
";
pub(super) const APPLICATION_COMPLETED: &str = "
providerRef: {name: gupy}
action: application.completed
postbackUrl: https://integrations.example.com/gupy
clientHeaders:
  - {name: token, valueFrom: {token: {}}}
tokenSourceRef: {name: integration}
";
