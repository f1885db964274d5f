//! What is known of the Secret that a source publishes to.

use std::sync::Arc;

use crate::engine::ports::Published;
use crate::secret::SecretText;

/// What is known of the Secret a source publishes to.
#[derive(Debug, Default)]
pub(crate) struct Publication {
    /// What stands there.
    pub(crate) tokens: Option<Published>,
    /// What should stand there and does not yet.
    pub(crate) pending: Option<Published>,
    /// The token that was applied last, until it may be forgotten.
    pub(crate) applied: Option<(Arc<str>, SecretText)>,
    /// A read or a write is under way.
    pub(crate) busy: bool,
    /// A write failed: when to try again.
    pub(crate) failures: u32,
    /// How often it was forgotten: what was begun before that brings nothing.
    pub(crate) forgotten: u64,
}
