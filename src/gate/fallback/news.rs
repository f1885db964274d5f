//! What the task that asks is told.

use std::sync::Arc;

use crate::gate::acceptance::Polled;

/// Something that was told.
pub(super) enum News {
    /// The application of the receiver with this uid waits for something.
    Expected(Arc<str>),
    /// A delivery came for the receiver with this uid.
    Came {
        uid: Arc<str>,
        polled: Polled,
        /// Whether it is one of those that are handed on.
        is_handed_on: bool,
    },
}
