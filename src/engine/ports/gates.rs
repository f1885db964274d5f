//! Those that prove deliveries.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

use crate::api::ObjectKey;
use crate::secret::SecretText;

/// A token, for whoever proves deliveries with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The token.
    pub token: SecretText,
    /// Drawn at the mint.
    pub fingerprint: String,
    /// When it was asked for.
    pub minted: DateTime<Utc>,
    /// When it ends; `None` when nobody knows.
    pub expires: Option<DateTime<Utc>>,
}

/// Why gates have not taken a token in; trying again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GateFailure(pub String);

/// Those that prove deliveries with the tokens of a source: they know each before the provider does.
///
/// Whenever one begins or ceases to serve a source, the shell says so with
/// [`Change::Gates`](crate::engine::change::Change::Gates).
pub trait Gates: Send + Sync {
    /// Whether somebody proves deliveries with this source's tokens. It must not wait.
    fn serves(&self, source: &ObjectKey) -> bool;
    /// Whether somebody who proves deliveries with this source's tokens has not kept the one with this
    /// fingerprint. `false` where nobody does, and as long as it is not known what they have kept. Asked
    /// often, so it must not wait.
    fn lacks(&self, source: &ObjectKey, fingerprint: &str) -> bool;
    /// Whether somebody proves deliveries with this source's tokens, and everybody who does has kept the
    /// one with this fingerprint. It must not wait.
    fn know(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.serves(source) && !self.lacks(source, fingerprint)
    }
    /// Names of those who lack the token with this fingerprint, for people; none where there is but one.
    fn behind(&self, _source: &ObjectKey, _fingerprint: &str) -> Vec<String> {
        Vec::new()
    }
    /// Whether they read tokens where these are published and nowhere else, so that they can have none of
    /// a source that does not publish, and none but the newest of one that does.
    fn read_published(&self) -> bool {
        false
    }
    /// Whether somebody asks platforms with this source's tokens (`spec.fallback` of a receiver): one is
    /// kept alive then, though no subscription carries any. It must not wait.
    fn asks_with(&self, _source: &ObjectKey) -> bool {
        false
    }
    /// Whether the newest token, which has this fingerprint, is to be handed over: to one that
    /// [`lacks`](Self::lacks) it, or to one that asks with an older one. It must not wait.
    fn wants(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        self.lacks(source, fingerprint)
    }
    /// Hands a token over. Ends well when everybody who serves the source accepts it from now on, also
    /// after a restart.
    fn offer<'a>(
        &'a self,
        source: &'a ObjectKey,
        token: &'a Offered,
    ) -> BoxFuture<'a, Result<(), GateFailure>>;
    /// Says which tokens subscriptions still carry, by fingerprint: a token that is brought to many takes
    /// its time, and the one before it is not over until the last of them has moved. Said whenever it
    /// changes, and once at the start; it must not wait.
    fn carried(&self, _source: &ObjectKey, _fingerprints: &BTreeSet<Arc<str>>) {}
}

/// Nobody proves deliveries.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGates;

impl Gates for NoGates {
    fn serves(&self, _: &ObjectKey) -> bool {
        false
    }

    fn lacks(&self, _: &ObjectKey, _: &str) -> bool {
        false
    }

    fn offer<'a>(&'a self, _: &'a ObjectKey, _: &'a Offered) -> BoxFuture<'a, Result<(), GateFailure>> {
        Box::pin(async { Ok(()) })
    }
}
