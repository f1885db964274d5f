//! Which receiver takes a subscription's deliveries in.

/// Which receiver takes a subscription's deliveries in, and what tells them from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reception {
    /// Name of the receiver.
    pub(crate) receiver: Box<str>,
    pub(crate) action: Option<Box<str>>,
}
