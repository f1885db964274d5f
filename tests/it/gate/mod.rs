//! The gate as a process of its own: what it takes in, refuses, keeps and hands on.

mod application;
mod circle;
mod ledger;
mod path;
mod stage;
mod wire;
