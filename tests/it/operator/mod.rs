//! The controller as a process of its own on a real API server, against the sandbox.

mod applying;
mod deletion;
mod leading;
mod ownership;
mod publishing;
mod refusals;
mod thin;
mod trial;
