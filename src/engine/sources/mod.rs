//! Token sources: obtaining a token, publishing it, handing it to gates, and saying so.

pub(crate) mod begin;
pub(crate) mod keep_alive;
pub(crate) mod mint;
pub(crate) mod mint_failure;
pub(crate) mod minted;
pub(crate) mod offer;
pub(crate) mod offered;
pub(crate) mod publish;
pub(crate) mod published;
pub(crate) mod repeated;
pub(crate) mod status;
