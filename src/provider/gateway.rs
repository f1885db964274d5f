//! Carries out a provider's operations: the ports [`ProviderClients`] and [`ProviderClient`].

use std::sync::Arc;

use futures::future::BoxFuture;

use super::aside::aside;
use super::connection::{Connection, echoed, failure, host_of_postback, scope_of, without};
use super::digest;
use super::kept::Purpose;
use super::listing;
use super::pointer::{Answered, read_id};
use super::resolved::Provider;
use crate::api::{ObjectKey, WebhookProviderSpec, WebhookSubscriptionSpec};
use crate::engine::ports::{
    Account, Applied, CallFailure, CallFence, Custody, Document, Invalid, Listing, ProviderClient,
    ProviderClients, ProviderProfile, Reading, Refusal, Secrets,
};
use crate::http::Client;
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// Turns descriptions of providers into something that can be called.
#[derive(Clone)]
pub struct Gateway {
    http: Client,
    secrets: Arc<dyn Secrets>,
}

impl Gateway {
    /// A gateway that sends through the client. Secrets are read at each call; whoever hands them
    /// out keeps them for a while, and refuses those without `allowed-hosts` where one is required,
    /// by naming no host at all.
    #[must_use]
    pub fn new(http: Client, secrets: Arc<dyn Secrets>) -> Self {
        Self { http, secrets }
    }
}

impl ProviderClients for Gateway {
    fn resolve(
        &self,
        key: &ObjectKey,
        spec: &WebhookProviderSpec,
    ) -> Result<Arc<dyn ProviderClient>, Invalid> {
        let provider = Provider::resolve(spec)?;
        Ok(Arc::new(Connection::new(provider, &key.namespace, &self.http, &self.secrets)))
    }
}

impl ProviderClient for Connection {
    fn profile(&self) -> &ProviderProfile {
        self.provider.profile()
    }

    fn check(&self, spec: &WebhookSubscriptionSpec) -> Result<(), Invalid> {
        self.provider.check(spec)
    }

    fn warning(&self, spec: &WebhookSubscriptionSpec) -> Option<String> {
        self.provider.warning(spec)
    }

    fn document_digest(&self, spec: &WebhookSubscriptionSpec) -> String {
        digest::of_document(&self.provider, spec)
    }

    fn document_secrets<'a>(
        &'a self,
        namespace: &'a str,
        spec: &'a WebhookSubscriptionSpec,
    ) -> BoxFuture<'a, Result<Option<String>, Refusal>> {
        Box::pin(async move {
            let no_token = SecretText::new(String::new());
            let (_, secrets, bounds) = self.client_headers(namespace, spec, &no_token).await?;
            // Nothing is sent here, but what cannot be sent is said as early as it is known.
            bounds.passed_on_to(&host_of_postback(spec)).check_called(&self.provider.host)?;
            Ok(secrets)
        })
    }

    fn identify(&self) -> BoxFuture<'_, Result<Account, Refusal>> {
        Box::pin(async move {
            let headers = self.read_credential().await?;
            self.note_account(&headers);
            Ok(self.account_of(&headers))
        })
    }

    fn account(&self) -> Option<Account> {
        self.accounts().read
    }

    fn act_for(&self, account: Account) {
        self.accounts().acted_for = Some(account);
    }

    fn keep_credential(&self, custody: Custody) -> BoxFuture<'_, ()> {
        let is_lacking = self.kept.set(custody);
        Box::pin(async move {
            if !is_lacking {
                return;
            }
            match self.read_credential().await {
                Ok(headers) => {
                    self.note_account(&headers);
                    self.kept.read_ahead(headers);
                }
                // Whoever calls next says the same to people.
                Err(refusal) => tracing::debug!(%refusal, "no credential is kept for deletions yet"),
            }
        })
    }

    fn list<'a>(
        &'a self,
        reading: &'a mut Reading,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Option<Listing>, CallFailure>> {
        Box::pin(listing::next_page(self, reading, fence))
    }

    fn create<'a>(
        &'a self,
        document: &'a Document,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>> {
        Box::pin(async move {
            let Some(create) = &self.provider.create else {
                return Err(without("create"));
            };
            let sent = self.send_document(&create.request, None, document, fence);
            let (answer, secrets) = sent.await?;
            let body = answer.body.map_err(failure)?;
            let at = create.id.clone();
            let id = aside(body.len(), move || {
                Answered::read(&body).and_then(|answered| at.find(answered.value()).and_then(read_id))
            });
            let id = id.await.ok_or_else(|| CallFailure::Unreadable {
                what: format!("no usable id at {:?} of the answer to create", create.id.as_str()),
            })?;
            if self.sent.is_in(&id) {
                return Err(CallFailure::Unreadable {
                    what: echoed(create.id.as_str(), "the answer to create"),
                });
            }
            Ok(Applied { id: Some(id), secrets })
        })
    }

    fn update<'a>(
        &'a self,
        id: &'a str,
        document: &'a Document,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>> {
        Box::pin(async move {
            let update = &self.provider.update;
            let (_, secrets) = self.send_document(update, Some(id), document, fence).await?;
            Ok(Applied { id: None, secrets })
        })
    }

    fn delete<'a>(
        &'a self,
        spec: &'a WebhookSubscriptionSpec,
        id: &'a str,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<(), CallFailure>> {
        Box::pin(async move {
            let Some(delete) = &self.provider.delete else {
                return Err(without("delete"));
            };
            let scope = scope_of(spec, Some(id));
            self.call(delete, Purpose::Delete, &scope, Bounds::default(), fence).await?;
            Ok(())
        })
    }
}
