//! `handle` and its handlers, tested with values: events in, effects out, no runtime and no ports.

mod random_events;
mod scene;
