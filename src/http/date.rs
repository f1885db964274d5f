//! Times in HTTP headers.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

/// The longest wait that is read out of a `Retry-After`; callers shorten it further.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Numbers from here on are dates, and no waits of thirty years: in 2001, and in 2065.
const EARLIEST_DATE: u64 = 1_000_000_000;
const LATEST_DATE: u64 = 3_000_000_000;
const EARLIEST_DATE_IN_MILLISECONDS: u64 = EARLIEST_DATE * 1_000;
const LATEST_DATE_IN_MILLISECONDS: u64 = LATEST_DATE * 1_000;

/// Reads an HTTP date in any of the three forms that RFC 9110 5.6.7 obliges a recipient to accept.
pub(super) fn parse_http_date(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|time| time.and_utc())
}

/// Reads a `Retry-After` (RFC 9110 10.2.3): seconds, or a date, which counts from `now`.
///
/// `now` is the answer's own `Date` where it has one: the two clocks differ. A date that has passed
/// is no wait at all. So many seconds that they are a date since 1970, in seconds or milliseconds, are
/// taken for that date: some servers send the end of their limit's window. Broken seconds, which some servers send, are rounded up. What is neither form
/// is left unread.
pub(super) fn parse_retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only too many digits can fail here.
        let number: u64 = text.parse().unwrap_or(u64::MAX);
        let since_1970 = match number {
            EARLIEST_DATE..LATEST_DATE => DateTime::from_timestamp_secs(number.cast_signed()),
            EARLIEST_DATE_IN_MILLISECONDS..LATEST_DATE_IN_MILLISECONDS => {
                DateTime::from_timestamp_millis(number.cast_signed())
            }
            _ => None,
        };
        match since_1970 {
            Some(until) => until.signed_duration_since(now).to_std().unwrap_or(Duration::ZERO),
            None => Duration::from_secs(number),
        }
    } else if let Some((whole, part)) = text.split_once('.')
        && [whole, part]
            .iter()
            .all(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let seconds: u64 = whole.parse().unwrap_or(u64::MAX);
        Duration::from_secs(seconds.saturating_add(u64::from(part.bytes().any(|byte| byte != b'0'))))
    } else {
        let until = parse_http_date(text)?;
        until.signed_duration_since(now).to_std().unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> DateTime<Utc> {
        "1994-11-06T08:49:00Z".parse().unwrap()
    }

    #[test]
    fn a_wait_that_is_a_date_since_1970_ends_at_that_date() {
        let now = DateTime::from_timestamp_secs(1_771_404_500).unwrap();
        for (text, seconds) in [
            ("1771404540", 40),
            ("1771404540000", 40),
            ("1771404540999", 40),
            ("1771404499", 0),
            ("999999999", 86_400),
        ] {
            assert_eq!(parse_retry_after(text, now).map(|wait| wait.as_secs()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn the_three_forms_of_a_date() {
        let expected: DateTime<Utc> = "1994-11-06T08:49:37Z".parse().unwrap();
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_http_date(text), Some(expected), "{text}");
        }
        for text in ["", "0", "yesterday", "1994-11-06T08:49:37Z", "Mon, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
    }

    #[test]
    fn retry_after() {
        let seconds = |count| Some(Duration::from_secs(count));
        for (text, expected) in [
            ("0", seconds(0)),
            ("120", seconds(120)),
            (" 7 ", seconds(7)),
            ("99999999999999999999999999", Some(MAX_RETRY_AFTER)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", seconds(37)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", seconds(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(MAX_RETRY_AFTER)),
            ("-1", None),
            ("+1", None),
            ("1.5", seconds(2)),
            ("0.001", seconds(1)),
            ("3.0", seconds(3)),
            ("99999999999999999999999999.9", Some(MAX_RETRY_AFTER)),
            ("1.", None),
            (".5", None),
            ("1.5.2", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(parse_retry_after(text, now()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_is_total(text: String) {
            let _ = parse_http_date(&text);
            prop_assert!(parse_retry_after(&text, now()).is_none_or(|wait| wait <= MAX_RETRY_AFTER));
        }

        #[test]
        fn any_two_dates_give_a_wait(at in -8_000_000_000_000i64..8_000_000_000_000, now in -8_000_000_000_000i64..8_000_000_000_000) {
            let at = DateTime::from_timestamp(at, 0).unwrap();
            let now = DateTime::from_timestamp(now, 0).unwrap();
            let text = at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            let _ = parse_retry_after(&text, now);
        }
    }
}
