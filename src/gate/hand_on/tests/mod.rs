//! Handing on against a store in memory and an application that answers as it is told, on virtual time;
//! and over real sockets.

pub(in crate::gate) mod application;
pub(in crate::gate) mod memory;
mod outages;
mod scheduling;
mod wire;
pub(in crate::gate) mod world;
