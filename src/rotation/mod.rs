//! The pure core: when to rotate, what to do next, and what to record afterwards.
//!
//! Nothing here reads a clock, draws a random number or does I/O; a test reads the sources and
//! says so. The rules are the product's heart and are meant to be read on their own.

pub mod answers;
pub mod backoff;
mod case;
pub mod claims;
pub mod conditions;
pub mod decide;
mod deletion;
pub mod facts;
pub mod inventory;
pub mod life;
mod locate;
pub mod observed;
pub mod outcome;
pub mod published;
pub mod reading;
pub mod renewal;
mod rotate;
pub mod schedule;
pub mod status;
pub mod step;
pub mod target;
pub mod time;
pub mod unclaimed;
pub mod wait;

#[cfg(test)]
mod tests;
