//! The gate as a process of its own: what it takes in, refuses, keeps and hands on.

mod application;
mod doors;
mod hostile;
mod keeping;
mod path;
mod people;
mod platforms;
mod stage;
mod wire;
