//! The engine: carries out what the rules decide, at the time they decide it.

pub mod change;
pub mod ports;
