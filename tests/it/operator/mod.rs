//! The controller as a process of its own on a real API server, against the sandbox.

mod crashes;
mod leading;
mod load;
mod outages;
mod quiet;
mod requests;
mod thin;
mod trial;
