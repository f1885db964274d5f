//! Obtaining tokens.

use futures::future::BoxFuture;

use super::leadership::CallFence;
use crate::api::{ServiceAccountTokenSource, TokenSourceSpec};
use crate::rotation::outcome::{MintFailure, Minted};

/// Obtains tokens.
pub trait Minter: Send + Sync {
    /// Obtains one token. `fence` is asked right before the request is sent.
    fn mint<'a>(
        &'a self,
        namespace: &'a str,
        source: &'a TokenSourceSpec,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Minted, MintFailure>>;
}

/// Obtains tokens for service accounts from the cluster that they belong to.
pub trait ServiceAccounts: Send + Sync {
    /// Obtains one token. `fence` is asked right before the request is sent.
    fn token<'a>(
        &'a self,
        namespace: &'a str,
        source: &'a ServiceAccountTokenSource,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Minted, MintFailure>>;
}
