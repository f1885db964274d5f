//! One subscription: what the rules say of it, how that is shown and made durable, and the end of its steps.
//!
//! What is done about it stands in [`reconcile`](super::reconcile).

pub(crate) mod announce;
pub(crate) mod decision;
pub(crate) mod letting_go;
pub(crate) mod persist;
pub(crate) mod rest;
