//! Providers: reading listings and comparing, their status, whose account it is, and what is kept for
//! deletions.

pub(crate) mod account;
pub(crate) mod begin;
pub(crate) mod filing;
pub(crate) mod keeping;
pub(crate) mod status;
