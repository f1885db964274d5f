//! The gate as a process of its own: what it takes in, refuses, keeps and hands on.

pub mod application;
mod circle;
mod database;
mod doors;
mod fallback;
mod hostile;
mod keeping;
mod ledger;
mod path;
mod people;
mod platforms;
pub mod stage;
mod wire;
