//! `handle` and its handlers, tested with values: events in, effects out, no runtime and no ports.

mod providers;
mod random_events;
mod scene;
mod sources;
mod subscriptions;
