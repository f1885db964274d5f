//! The pure core: when to rotate, what to do next, and what to record afterwards.
//!
//! Nothing here reads a clock, draws a random number or does I/O; a test reads the sources and
//! says so. The rules are the product's heart and are meant to be read on their own.

pub mod outcome;
pub mod time;
