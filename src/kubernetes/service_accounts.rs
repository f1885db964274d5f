//! Tokens of service accounts, by the TokenRequest API.

use std::time::Duration;

use futures::future::BoxFuture;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, Request};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use super::client::{CALL_TIMEOUT, is, words};
use crate::api::ServiceAccountTokenSource;
use crate::engine::ports::{CallFence, Lifetime, MintFailure, Minted, Refusal, ServiceAccounts};
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// What everybody who is somebody to the API server may ask it.
const WHO_AM_I: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Asks the API server for tokens.
///
/// A token that the API server itself takes is refused: whoever receives it could act in the cluster
/// as the service account. Which audiences are the server's own is its configuration, and no call
/// tells it; whether it takes the token it has just made out does.
#[derive(Clone)]
pub struct TokenRequests {
    client: Client,
    /// It says of itself nothing but what a request carries.
    anonymous: Client,
}

impl std::fmt::Debug for TokenRequests {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenRequests")
    }
}

impl TokenRequests {
    pub(super) fn new(client: Client, anonymous: Client) -> Self {
        Self { client, anonymous }
    }

    async fn obtain(
        &self,
        namespace: &str,
        source: &ServiceAccountTokenSource,
    ) -> Result<Minted, MintFailure> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            metadata: ObjectMeta::default(),
            spec: Some(TokenRequestSpec {
                audiences: Some(source.audiences.clone()),
                expiration_seconds: source.expiration_seconds,
                ..TokenRequestSpec::default()
            }),
            status: None,
        };
        let answer = accounts
            .create_token_request(&source.name, &PostParams::default(), &request)
            .await
            .map_err(|error| failure(&error, namespace, source))?;
        // The server writes there what it has granted, which may be less than was asked for.
        let granted = answer.spec.and_then(|spec| spec.expiration_seconds);
        let lifetime = granted.and_then(|life| u64::try_from(life).ok());
        let token = answer.status.and_then(|status| status.token).map(SecretText::new).ok_or_else(|| {
            MintFailure::Unusable { what: "it has no token; check the API server".to_owned() }
        })?;
        if self.is_taken_by_the_api_server(&token).await? {
            return Err(Refusal::UnusableValue {
                what: format!(
                    "spec.serviceAccount.audiences: the API server takes a token for {} as one for itself, so it is sent nowhere; name the audience of the receiver",
                    source.audiences.join(", ")
                ),
            }
            .into());
        }
        let lifetime = Lifetime::stated(lifetime.map(Duration::from_secs)).unwrap_or(Lifetime::Unknown);
        Ok(Minted { token, lifetime, version: None, bounds: Bounds::default() })
    }

    async fn is_taken_by_the_api_server(&self, token: &SecretText) -> Result<bool, MintFailure> {
        let unusable = |what: &str| MintFailure::Unusable { what: what.to_owned() };
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_| unusable("the token has characters that no header may have"))?;
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(Method::POST)
            .uri(WHO_AM_I)
            .header(AUTHORIZATION, bearer)
            .header("content-type", "application/json")
            .body(br#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#.to_vec())
            .map_err(|_| unusable("whether the API server takes the token cannot be asked"))?;
        match self.anonymous.request_text(request).await {
            Err(error) if is(&error, 401) => Ok(false),
            // Known, though it may not ask.
            Ok(_) => Ok(true),
            Err(error) if is(&error, 403) => Ok(true),
            Err(error) => Err(MintFailure::Unanswered {
                what: format!(
                    "whether the API server takes the token for itself is not known: {}",
                    words(&error)
                ),
            }),
        }
    }
}

fn failure(error: &kube::Error, namespace: &str, source: &ServiceAccountTokenSource) -> MintFailure {
    let name = &source.name;
    match error {
        kube::Error::Api(status) if status.code == 403 => MintFailure::NotGranted {
            what: format!(
                "hookkeeper lacks the right to create serviceaccounts/token of {name} in namespace {namespace}; grant it with a Role for that resourceName and a RoleBinding to hookkeeper's own service account"
            ),
        },
        kube::Error::Api(status) if status.code == 404 => MintFailure::NotGranted {
            what: format!("there is no service account {name} in namespace {namespace}; create it"),
        },
        kube::Error::Api(status) if status.code < 500 && status.code != 429 => {
            MintFailure::NotGranted { what: status.message.clone() }
        }
        error => MintFailure::Unanswered { what: words(error) },
    }
}

impl ServiceAccounts for TokenRequests {
    fn token<'a>(
        &'a self,
        namespace: &'a str,
        source: &'a ServiceAccountTokenSource,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Minted, MintFailure>> {
        Box::pin(async move {
            let timeout = fence.cut(CALL_TIMEOUT)?;
            tokio::time::timeout(timeout, self.obtain(namespace, source)).await.unwrap_or_else(|_| {
                Err(MintFailure::Unanswered {
                    what: format!("the API server was silent for {} s", timeout.as_secs()),
                })
            })
        })
    }
}
