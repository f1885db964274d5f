//! What a source's published Secret says of its tokens.

use crate::api::Reason;
use crate::engine::ports::PublishFailure;
use crate::engine::state::source::Source;

impl Source {
    pub(crate) fn publishing_failed(&mut self, done: &str, failure: &PublishFailure) {
        let reason = match failure {
            PublishFailure::Conflict(_) => Reason::Conflict,
            PublishFailure::Unavailable(_) => Reason::InternalError,
        };
        let message = format!("the published token could not be {done}: {failure}");
        tracing::warn!(source = %self.key, %reason, "{message}");
        self.published.failures += 1;
        self.state.failing = Some((reason, message));
    }

    /// Whether the held token is the one that stands published.
    pub(crate) fn is_held_published(&self) -> bool {
        let stands = self.published.tokens.as_ref().map(|tokens| tokens.fingerprint.as_str());
        stands.is_some() && stands == self.held_fingerprint()
    }

    /// Whether a previous token stands published that no member carries any more.
    pub(crate) fn drops_previous(&self) -> bool {
        self.published.tokens.as_ref().is_some_and(|tokens| {
            tokens.previous.is_some() && self.carried.keys().all(|carried| **carried == *tokens.fingerprint)
        })
    }
}
