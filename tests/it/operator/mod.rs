//! The controller as a process of its own on a real API server, against the sandbox.

mod admin;
mod examples;
mod leading;
mod permissions;
mod service_accounts;
mod thin;
mod trial;
