//! What changes of the desired state mean: objects that come, change and go, what gates have seen, and who
//! leads.
//!
//! No call is made here: objects are put where the rules find them, and looked at soon.

pub(crate) mod evidence;
pub(crate) mod invalid;
pub(crate) mod leadership;
pub(crate) mod newcomer;
pub(crate) mod providers;
pub(crate) mod sources;
pub(crate) mod subscriptions;
