//! The controller as a process of its own on a real API server, against the sandbox.

mod admin;
mod applying;
mod crashes;
mod deletion;
mod examples;
mod gate;
pub mod gates;
mod leading;
mod load;
mod namespaces;
mod neighbours;
mod outages;
mod ownership;
mod permissions;
mod publishing;
mod quiet;
mod refusals;
mod requests;
mod rights;
mod service_accounts;
mod thin;
pub mod trial;
