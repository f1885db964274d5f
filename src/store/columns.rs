//! How values of the store are kept in columns: both engines write the same numbers.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Longest text of a failure that is kept, in characters.
const LONGEST_FAILURE: usize = 1024;

/// As databases keep numbers.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// As they were.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Microseconds since 1970.
pub(super) fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

/// The time of so many microseconds since 1970.
pub(super) fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// A span in microseconds.
pub(super) fn window_micros(window: Duration) -> i64 {
    i64::try_from(window.as_micros()).unwrap_or(i64::MAX)
}

/// What is kept of the text of a failure.
pub(super) fn shortened(text: &str) -> &str {
    text.char_indices().nth(LONGEST_FAILURE).map_or(text, |(end, _)| &text[..end])
}
