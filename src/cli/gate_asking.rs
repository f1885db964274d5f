//! Asking platforms for what they did not deliver: what this process has for it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tracing::info;

use super::gating::random_bytes;
use crate::api::{ObjectKey, SecretKeyReference};
use crate::engine::ports::{SecretFailure, Secrets};
use crate::gate::clock::Clock;
use crate::gate::fallback::{Desk, Fallbacks, Means, Options, Told};
use crate::gate::intake::Delivered;
use crate::gate::live::Live;
use crate::gate::observer::Observer;
use crate::gate::ports::Credentials;
use crate::gate::registry::Registry;
use crate::http::Client;
use crate::ops::admin;
use crate::rotation::published::{CURRENT, EXPIRES_AT};
use crate::secret::SecretText;
use crate::secret::bounds::{Bounds, Owner};
use crate::store::{Store, StoreError};

/// What asking works with.
pub(super) struct Outside {
    pub(super) store: Arc<dyn Store>,
    pub(super) client: Client,
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) credentials: Arc<dyn Credentials>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Asks platforms, and takes in what applications wait for where there is a listener for that.
pub(super) struct AskingPlatforms {
    fallbacks: Fallbacks,
    desk: Option<(TcpListener, Arc<Desk>)>,
}

impl AskingPlatforms {
    /// Binds the listener for applications, if there is to be one.
    pub(super) async fn open(
        listen: Option<SocketAddr>,
        registry: &Registry,
        outside: Outside,
    ) -> anyhow::Result<Self> {
        let Outside { store, client, secrets, credentials, observer, clock } = outside;
        let means = Arc::new(ProcessMeans { secrets, registry: registry.clone(), clock: Arc::clone(&clock) });
        let receivers = registry.receivers();
        let fallbacks = Fallbacks::new(store, client, receivers, means, observer, clock, Options::default());
        let desk = match listen {
            None => None,
            Some(address) => {
                let listener = TcpListener::bind(address).await.with_context(|| {
                    format!("the listener for what applications wait for cannot listen on {address}")
                })?;
                info!(address = %listener.local_addr()?, "applications may say what they wait for");
                Some((listener, fallbacks.desk(credentials, &random_bytes()?)))
            }
        };
        Ok(Self { fallbacks, desk })
    }

    /// To be told of deliveries.
    pub(super) fn told(&self) -> ToldOfDeliveries {
        ToldOfDeliveries(self.fallbacks.told())
    }

    /// Works until `stop` ends.
    pub(super) async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), StoreError> {
        let serving = async {
            match self.desk {
                Some((listener, desk)) => {
                    admin::serve_other(listener, desk.router(), "the listener for applications").await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = self.fallbacks.run(stop) => ended,
            () = serving => Ok(()),
        }
    }
}

/// Tells of deliveries.
pub(super) struct ToldOfDeliveries(Told);

impl Delivered for ToldOfDeliveries {
    fn delivered(&self, live: &Arc<Live>, body: &Bytes) {
        self.0.delivered(live.receiver(), body);
    }
}

/// The Secrets of a shell, and the tokens that its engine holds or that somebody has published.
struct ProcessMeans {
    secrets: Arc<dyn Secrets>,
    registry: Registry,
    clock: Arc<dyn Clock>,
}

impl ProcessMeans {
    async fn key(
        &self,
        namespace: &str,
        reference: &SecretKeyReference,
        bounds: &mut Bounds,
    ) -> Result<SecretText, String> {
        let failed =
            |failure: SecretFailure| format!("key {} of Secret {}: {failure}", reference.key, reference.name);
        let value = self.secrets.read(namespace, reference).await.map_err(failed)?;
        Ok(value.open(&reference.name, bounds))
    }

    async fn current(
        &self,
        namespace: &str,
        source: &str,
        bounds: &mut Bounds,
    ) -> Result<SecretText, String> {
        let known = self.registry.tokens_of(&ObjectKey::new(namespace, source)).await;
        let (spec, offered) = known.ok_or_else(|| format!("there is no TokenSource {source}"))?;
        let publish_to = spec
            .publish_to
            .ok_or_else(|| format!("TokenSource {source} publishes no tokens; give it spec.publishTo"))?;
        if !spec.allowed_hosts.is_empty() {
            bounds.confine(Owner::TokenSource(source.to_owned()), &spec.allowed_hosts);
        }
        if let Some(offered) = offered {
            return Ok(offered.text);
        }
        let reference =
            |key: &str| SecretKeyReference { name: publish_to.secret_name.clone(), key: key.to_owned() };
        let expires = self.key(namespace, &reference(EXPIRES_AT), &mut Bounds::default()).await.ok();
        let expires = expires.and_then(|text| text.expose().trim().parse::<DateTime<Utc>>().ok());
        if expires.is_some_and(|expires| expires <= self.clock.now()) {
            return Err(format!("the token that TokenSource {source} published last has expired"));
        }
        self.key(namespace, &reference(CURRENT), bounds).await
    }
}

impl Means for ProcessMeans {
    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
        bounds: &'a mut Bounds,
    ) -> BoxFuture<'a, Result<SecretText, String>> {
        Box::pin(self.key(namespace, reference, bounds))
    }

    fn token<'a>(
        &'a self,
        namespace: &'a str,
        source: &'a str,
        bounds: &'a mut Bounds,
    ) -> BoxFuture<'a, Result<SecretText, String>> {
        Box::pin(self.current(namespace, source, bounds))
    }
}
