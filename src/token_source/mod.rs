//! Where fresh tokens come from: one file per kind of source.
//!
//! [`TokenMinter`] is the engine's [`Minter`]. A kind only says what to send (`oauth2`, `http`),
//! what to read (`secret`) or whom to ask (`serviceAccount`, through a port: only a cluster has
//! such tokens); reading the token and its life out of an answer is the same for
//! all of them and does no I/O (`answer`, `expiry`).
//!
//! Credentials are read at the moment of use and held no longer than the request. What a Secret says
//! of the hosts it may go to goes along with the request and with the token (`values`). What went wrong is told in fixed
//! words (`failure`): nothing of an answer's body gets into a message, but an error code that is
//! on the list of RFC 6749.

mod answer;
mod expiry;
mod failure;
mod http;
mod oauth2;
mod secret;
mod statements;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::api::TokenSourceSpec;
use crate::engine::ports::{
    CallFence, Clock, Lifetime, MintFailure, Minted, Minter, Refusal, Secrets, ServiceAccounts,
};
use crate::http::{Client, Request};
use crate::secret::bounds::Bounds;
use answer::Rules;

/// Obtains tokens from every kind of source.
#[derive(Clone)]
pub struct TokenMinter {
    client: Client,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    service_accounts: Option<Arc<dyn ServiceAccounts>>,
}

impl std::fmt::Debug for TokenMinter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenMinter")
    }
}

impl TokenMinter {
    /// A minter that sends through this client and reads these Secrets. The clock is asked only
    /// for the life of a token whose answer has no `Date`.
    #[must_use]
    pub fn new(client: Client, secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Self {
        Self { client, secrets, clock, service_accounts: None }
    }

    /// With tokens of a cluster's service accounts; without them such a source is refused.
    #[must_use]
    pub fn with_service_accounts(self, service_accounts: Option<Arc<dyn ServiceAccounts>>) -> Self {
        Self { service_accounts, ..self }
    }

    async fn mint(
        &self,
        namespace: &str,
        source: &TokenSourceSpec,
        fence: &CallFence,
    ) -> Result<Minted, MintFailure> {
        let assumed = source.assumed_lifetime.as_ref().map(|life| life.to_std());
        let values = values::Values::new(&*self.secrets, namespace);
        if let Some(oauth2) = &source.oauth2 {
            let request = oauth2::request(oauth2, values, source.timeout()).await?;
            let rules = Rules::of_oauth2(assumed);
            return self.ask(namespace, request, &rules, fence).await;
        }
        if let Some(http) = &source.http {
            let request = http::request(http, values, source.timeout()).await?;
            let rules = Rules::of_http(http.response.as_ref(), assumed);
            return self.ask(namespace, request, &rules, fence).await;
        }
        if let Some(secret) = &source.secret {
            return secret::read(secret, &values, assumed, self.clock.now().wall).await;
        }
        let what = match (&source.service_account, &self.service_accounts) {
            (Some(account), Some(cluster)) => {
                let minted = cluster.token(namespace, account, fence).await?;
                let token = answer::usable(minted.token, "status.token")?;
                let lifetime = match minted.lifetime {
                    Lifetime::Unknown => Lifetime::assumed(assumed),
                    stated => stated,
                };
                return Ok(Minted { token, lifetime, ..minted });
            }
            (Some(_), None) => {
                "serviceAccount tokens come from the API server of a cluster, and this process runs without one; use oauth2, http or secret"
            }
            (None, _) => {
                "the token source has no kind; set exactly one of oauth2, http, serviceAccount and secret"
            }
        };
        Err(Refusal::Unsupported { what: what.to_owned() }.into())
    }

    /// Sends the request and reads the token out of the answer.
    async fn ask(
        &self,
        namespace: &str,
        mut request: Request,
        rules: &Rules<'_>,
        fence: &CallFence,
    ) -> Result<Minted, MintFailure> {
        request.timeout = fence.cut(request.timeout)?;
        // Taken before sending: the token's life is counted from here.
        let asked = self.clock.now().wall;
        let answer = self.client.on_behalf_of(namespace).send(request).await.map_err(failure::of_error)?;
        if !(200..300).contains(&answer.status) || failure::is_refusal(&answer) {
            return Err(failure::of_status(&answer));
        }
        let now = answer.date.unwrap_or(asked);
        let body = answer.body.map_err(failure::of_error)?;
        let (token, lifetime) = rules.read(body.as_bytes(), now)?;
        Ok(Minted { token, lifetime, version: None, bounds: Bounds::default() })
    }
}

impl Minter for TokenMinter {
    fn mint<'a>(
        &'a self,
        namespace: &'a str,
        source: &'a TokenSourceSpec,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Minted, MintFailure>> {
        Box::pin(self.mint(namespace, source, fence))
    }
}
