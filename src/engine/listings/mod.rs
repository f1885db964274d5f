//! Listings: one serves everybody who waits for it, and compares what is on record with what the provider
//! shows.

pub(crate) mod comparing;
pub(crate) mod listed;
pub(crate) mod page;
pub(crate) mod views;
