//! What waits, as plain types that know nothing of each other's owners: when, in what order, behind which pause.
//!
//! Whose turn it is is decided in [`dispatch`](super::dispatch).

pub(crate) mod blocked;
pub(crate) mod breaker;
pub(crate) mod call_place;
pub(crate) mod hold_back;
pub(crate) mod line;
pub(crate) mod origin;
pub(crate) mod pace;
pub(crate) mod timers;
