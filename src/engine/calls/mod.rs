//! What answers of providers to calls for one subscription mean.

pub(crate) mod ending;
pub(crate) mod failure;
pub(crate) mod in_place;
pub(crate) mod missing;
pub(crate) mod news;
pub(crate) mod outcome;
