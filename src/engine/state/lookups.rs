//! Questions that many handlers ask of the state.

use std::sync::Arc;
use std::time::Duration;

use crate::api::{ObjectKey, TokenSourceSpec};
use crate::engine::ids::{ProviderId, SourceId, SubscriptionId};
use crate::engine::ports::ProviderClient;
use crate::engine::sent::Decided;
use crate::engine::state::State;
use crate::engine::state::source::SourceKey;
use crate::engine::state::subscription::Entry;
use crate::rotation::facts::ProviderProfile;
use crate::rotation::life::HeldToken;
use crate::shares::NamespaceId;

impl State {
    pub(crate) fn timeout_of(&self, id: SubscriptionId) -> Duration {
        self.profile_of(id, |profile| profile.timeout).unwrap_or(Duration::from_secs(10))
    }

    pub(crate) fn settle_of(&self, id: SubscriptionId) -> chrono::TimeDelta {
        let settle = self.profile_of(id, |profile| profile.settle).unwrap_or(Duration::from_secs(300));
        chrono::TimeDelta::from_std(settle).unwrap_or(chrono::TimeDelta::minutes(5))
    }

    pub(crate) fn profile_of<T>(
        &self,
        id: SubscriptionId,
        read: impl Fn(&ProviderProfile) -> T,
    ) -> Option<T> {
        let provider = self.provider(self.entry(id)?.provider)?;
        provider.client.as_ref().map(|remote| read(remote.profile()))
    }

    pub(crate) fn provider_key(&self, id: SubscriptionId) -> Option<crate::api::ObjectKey> {
        Some(self.provider(self.entry(id)?.provider)?.key.clone())
    }

    pub(crate) fn client_of(&self, id: SubscriptionId) -> Option<Arc<dyn ProviderClient>> {
        self.provider(self.entry(id)?.provider)?.client.clone()
    }

    pub(crate) fn decided(&self, id: SubscriptionId) -> Box<Decided> {
        let object = self.entry(id).and_then(Entry::object);
        Box::new(Decided { term: self.term, status: object.map(|object| object.status).unwrap_or_default() })
    }

    /// Whether this is the token that the subscription's source holds.
    pub(crate) fn is_held(&self, id: SubscriptionId, held: &HeldToken) -> bool {
        let source = self.entry(id).and_then(|entry| self.source(entry.source?));
        source.is_some_and(|source| source.holds_token(held))
    }

    /// Whether another leader has recorded something since a call was decided on in an older term:
    /// that one knows better than the call's outcome what stands at the provider.
    pub(crate) fn is_overtaken(&self, id: SubscriptionId, decided: &Decided) -> bool {
        let object = self.entry(id).and_then(Entry::object);
        decided.term != self.term && object.is_some_and(|object| object.status != decided.status)
    }

    /// Whether the source still asks for its tokens as this version of it did.
    pub(crate) fn asks_like(&self, id: SourceId, spec: &TokenSourceSpec) -> bool {
        let current = self.source(id).and_then(|source| source.spec.as_ref());
        current.is_some_and(|current| current.asks_like(spec))
    }

    pub(crate) fn publication_of(&self, id: SourceId) -> Option<(ObjectKey, String)> {
        let source = self.source(id)?;
        let SourceKey::Object(key) = &source.key else {
            return None;
        };
        let publish_to = source.spec.as_ref()?.publish_to.as_ref()?;
        Some((key.clone(), publish_to.secret_name.clone()))
    }

    /// The providers of a namespace that lead to an origin.
    pub(crate) fn tenants_providers(&self, origin: &str, namespace: NamespaceId) -> Vec<ProviderId> {
        let Some(origin) = self.origins.get(origin) else {
            return Vec::new();
        };
        let is_theirs =
            |id: &ProviderId| self.provider(*id).is_some_and(|provider| provider.namespace == namespace);
        origin.providers.iter().copied().filter(is_theirs).collect()
    }
}
