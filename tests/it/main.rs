//! The one integration-test binary: each links everything once.

mod simulation;
mod world;
