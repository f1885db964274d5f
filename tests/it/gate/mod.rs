//! The gate as a process of its own: what it takes in, refuses, keeps and hands on.

pub mod application;
mod application;
mod circle;
mod ledger;
mod path;
pub mod stage;
mod wire;
