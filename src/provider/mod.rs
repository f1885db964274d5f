//! Providers: what their API looks like is data, and this module turns it into requests.
//!
//! A `WebhookProvider` is laid over its preset, parsed and checked as a whole when it is read
//! ([`Provider::resolve`]); what is left to go wrong later is what the values hold. From the file
//! to the wire:
//!
//! - `preset`, `resolved`: the object laid over a built-in description, limits, parameters;
//! - `operation`, `list_operation`: each request, made of a `path`, headers and a `document`, all of which are texts
//!   of the placeholder language (`placeholder` parses it, `render` fills it in);
//! - `postback`, `client_headers`: what is asked of subscriptions, and the headers that carry the
//!   token;
//! - `digest`: noticing that something sent has changed, without keeping it;
//! - `credentials`, `secrets`, `kept`: who we are to the provider, where a Secret's value may go, and what is left when it
//!   is gone;
//! - [`Gateway`], `connection`, `listing`: sending, and reading what comes back.
//!
//! A rendered document, header or answer may hold a token: they are wiped after use and never
//! printed. The name of a provider stands in its preset and nowhere in the code.

mod account;
mod aside;
mod buffer;
mod client_headers;
mod connection;
mod credentials;
mod digest;
mod document;
mod echo;
mod field;
mod gateway;
mod header;
mod kept;
mod link;
mod list_operation;
mod listing;
mod operation;
mod path;
mod placeholder;
mod pointer;
mod postback;
mod preset;
mod render;
mod resolved;
mod secrets;
#[cfg(test)]
mod tests;

pub use gateway::Gateway;
pub use placeholder::{
    Filter, MAX_FILTERS, MAX_PLACEHOLDERS, MAX_TEMPLATE, Piece, Placeholder, Shape, Source, Template,
    TemplateError, TemplateProblem,
};
pub use preset::presets;
pub use resolved::Provider;
