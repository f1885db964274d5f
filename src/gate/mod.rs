//! The gate: takes a platform's deliveries in, proves them, keeps them safe and hands them on.
//!
//! Nothing that was acknowledged is lost: a delivery is verified, committed to the [`crate::store`],
//! answered 200 and then handed on, again and again, until the application has taken it. It is handed on
//! at least once; the header `Hookkeeper-Delivery` is the same each time.
//!
//! What is decided is decided by pure functions over bytes and values: [`verification`] says which
//! credential a delivery carries, the others whether it is a repetition, a test event, or to be handed on.

pub mod acceptance;
pub mod addresses;
pub mod admin;
mod answer;
pub mod board;
mod body;
pub mod change;
pub mod clock;
mod connections;
pub mod digest;
pub mod direct;
pub mod duplicates;
mod entries;
pub mod evidence;
pub mod expected;
mod fairness;
pub mod fallback;
pub mod follow;
mod framing;
mod guarded;
pub mod hand_on;
pub mod headers;
pub mod housekeeping;
pub mod intake;
pub mod known;
pub mod listener;
pub mod live;
mod loader;
mod memory;
pub mod observer;
pub mod paths;
pub mod ports;
pub mod preset;
mod rate;
pub mod receiver;
pub mod refusal;
pub mod registry;
pub mod resolve;
pub mod risk;
mod served;
pub mod status;
mod timers;
pub mod tls;
mod turns;
pub mod verification;
