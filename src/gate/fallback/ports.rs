//! What asking a platform needs of the process that it runs in.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::api::SecretKeyReference;
use crate::http::{Answer, Client, Error, Request};
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// Asks a platform, once, and reads all that it answers.
pub trait Asking: Send + Sync {
    /// Sends it for an object of this namespace.
    ///
    /// # Errors
    /// As [`Client::send`] has them.
    fn ask<'a>(&'a self, namespace: &'a Arc<str>, request: Request) -> BoxFuture<'a, Result<Answer, Error>>;
}

impl Asking for Client {
    fn ask<'a>(&'a self, namespace: &'a Arc<str>, request: Request) -> BoxFuture<'a, Result<Answer, Error>> {
        let client = self.on_behalf_of(Arc::clone(namespace));
        Box::pin(async move { client.send(request).await })
    }
}

/// Has the values that a question carries. Each method adds to `bounds` where its value may go.
pub trait Means: Send + Sync {
    /// One key of a Secret.
    ///
    /// # Errors
    /// Why there is none at this moment, in words for people.
    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
        bounds: &'a mut Bounds,
    ) -> BoxFuture<'a, Result<SecretText, String>>;

    /// The current token of a `TokenSource` that publishes its tokens.
    ///
    /// # Errors
    /// Why there is none at this moment, in words for people.
    fn token<'a>(
        &'a self,
        namespace: &'a str,
        source: &'a str,
        bounds: &'a mut Bounds,
    ) -> BoxFuture<'a, Result<SecretText, String>>;
}
