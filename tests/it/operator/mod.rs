//! The controller as a process of its own on a real API server, against the sandbox.

mod admin;
mod crashes;
mod examples;
mod leading;
mod load;
mod outages;
mod permissions;
mod quiet;
mod requests;
mod service_accounts;
mod thin;
mod trial;
