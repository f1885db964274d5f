//! The controller as a process of its own on a real API server, against the sandbox.

mod leading;
mod thin;
mod trial;
