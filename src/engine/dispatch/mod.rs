//! Whose turn it is: who is looked at, what may begin, and what it takes while it is under way.
//!
//! What is done in a turn stands in [`reconcile`](super::reconcile), [`sources`](super::sources) and
//! [`providers`](super::providers).

pub(crate) mod agenda;
pub(crate) mod pauses;
pub(crate) mod places;
pub(crate) mod writes;
