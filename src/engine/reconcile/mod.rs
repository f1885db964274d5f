//! One subscription: asking the rules, doing what they say, and making it durable.
//!
//! What the answers of providers mean stands in [`calls`](super::calls).

pub(crate) mod finalizer;
pub(crate) mod in_turn;
pub(crate) mod letting_go;
pub(crate) mod persisted;
pub(crate) mod subscription;
