//! The one guarded client: everything hookkeeper sends to the outside goes through it.
//!
//! The authors of the custom resources choose the hosts, and the same process holds the
//! credentials of many of them. So one place decides what may be reached and what an answer may
//! cost, and no other module builds a client:
//!
//! - [`destination`](DestinationPolicy): only https and only public addresses, unless whoever runs
//!   the process allowed more with `--allow-destination`. The parsed host is checked before
//!   anything is resolved (the DNS hook is never called for address literals), and every resolved
//!   address is checked at the moment of connecting, so a name that changes its mind between the
//!   check and the connection cannot get past.
//! - [`Request::bounds`]: where the values in a request may go is judged here and nowhere else, right
//!   before it is sent, on the host that is called and on the hosts that are written into it.
//! - [`Client::send`] sends a request **at most once**, follows no redirect, uses no proxy from the
//!   environment, and ends by the caller's timeout whatever the server does. It speaks HTTP/1.1 only:
//!   where every byte belongs to the answer of the one request that is under way, no flood of frames
//!   beside it can cost anything.
//! - [`Client::on_behalf_of`] names the namespace that a request is sent for: names that the DNS never
//!   answers for take up the share of that namespace and nobody else's.
//! - [`Config::proxy`], which whoever runs the process names, opens the connections for https. It
//!   resolves the names, so what is left of the policy is what a URL shows: addresses in it, and names
//!   that are not public by their form.
//! - [`Client::follow_files`] keeps issuers and the proxy's credentials in step with their files.
//! - [`Answer`] holds a status, the few headers anybody reads, and at most [`MAX_BODY`] bytes, or
//!   fewer where the caller wants no more ([`Client::send_for_beginning`]),
//!   unpacked where the server compressed them, that are wiped when dropped and never printed.
//! - [`Error`] says what happened in fixed words: no body, header value, path or query is in it.
//!   [`Error::outcome_unknown`] tells whether the server may have carried the request out.

mod address;
mod allowed;
mod body;
mod client;
mod date;
mod destination;
mod encoding;
mod error;
mod files;
mod follow;
mod guarded_resolver;
mod json;
mod lookups;
mod message;
mod name;
mod proxy;
mod resolver;
mod scheme;
#[cfg(test)]
mod tests;
mod written;

pub use allowed::{AllowedDestination, InvalidDestination};
pub use body::{Body, MAX_BODY};
pub use client::{Client, Config, SetupError, is_free_to_set};
pub use destination::DestinationPolicy;
pub use error::Error;
pub use files::{FileError, Files};
pub use json::read_json;
pub use message::{Answer, Content, Request};
pub use name::is_public_name;
pub use proxy::{InvalidProxy, ProxyUrl};
pub use reqwest::header::HeaderName;
pub use reqwest::{Certificate, Method, Url};
pub use resolver::{Resolver, SystemResolver};
pub use scheme::{added_scheme, is_bare_scheme, prefixed, scheme_at_end, without_scheme};
