//! How long a token lives, from the many ways in which sources say it. Pure arithmetic, total for
//! every number.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::rotation::life::LONGEST_LIFETIME;

/// The last second of the year 9999. An epoch up to here is in seconds: it is what sources send
/// that mean "never", and as milliseconds it would lie in 1978.
const LAST_SECOND: f64 = 253_402_300_799.0;
/// The same in milliseconds. What is larger is in an even smaller unit; taking it for
/// milliseconds would make a token that is about to end look eternal.
const LAST_MILLISECOND: f64 = 253_402_300_799_999.0;

/// Whether the value stands for nothing: `false` and empty texts come from languages in which they
/// are what is not there.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

/// Reads a length of time: seconds, as a number or as a string of one. Zero stands for no statement:
/// it comes from 0, from less, and from what stands for nothing.
pub(super) fn seconds(value: &Value) -> Option<Duration> {
    if is_nothing(value) {
        return Some(Duration::ZERO);
    }
    let seconds = number(value)?;
    Some(
        Duration::try_from_secs_f64(seconds.max(0.0))
            .map_or(LONGEST_LIFETIME, |life| life.min(LONGEST_LIFETIME)),
    )
}

/// Reads a moment: RFC 3339, or an epoch in seconds or milliseconds, as a number or as a string of
/// one. The beginning of 1970 stands for no statement: it comes from an epoch of 0 or less, from
/// times before it (`0001-01-01T00:00:00Z` is the zero of some languages), and from what stands for
/// nothing.
pub(super) fn moment(value: &Value) -> Option<DateTime<Utc>> {
    if is_nothing(value) {
        return Some(DateTime::UNIX_EPOCH);
    }
    if let Some(epoch) = number(value) {
        let seconds = match epoch {
            ..=0.0 => 0.0,
            ..=LAST_SECOND => epoch,
            ..=LAST_MILLISECOND => epoch / 1000.0,
            _ => return None,
        };
        return epoch_second(seconds);
    }
    let text = value.as_str()?.trim();
    Some(DateTime::parse_from_rfc3339(text).ok()?.to_utc().max(DateTime::UNIX_EPOCH))
}

/// The life from `now` until then, at most 400 days; `None` when it is over.
pub(super) fn life_until(end: DateTime<Utc>, now: DateTime<Utc>) -> Option<Duration> {
    let life = end.signed_duration_since(now).to_std().ok()?;
    (!life.is_zero()).then(|| life.min(LONGEST_LIFETIME))
}

/// The `exp` of a token that is a JWT (RFC 7519 4.1.4). Its signature is nobody's business here:
/// whoever forges it shortens or lengthens the life of their own token.
pub(super) fn jwt_end(token: &str) -> Option<DateTime<Utc>> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    // RFC 7519 asks for a number; some issuers write it as a text.
    let end = number(claims.get("exp")?)?;
    // A NumericDate is always in seconds; one from before 1970 is as much over as one of 1970.
    let end = end.clamp(0.0, LAST_SECOND);
    epoch_second(end)
}

/// The moment so many seconds after 1970 began.
fn epoch_second(seconds: f64) -> Option<DateTime<Utc>> {
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    DateTime::UNIX_EPOCH.checked_add_signed(TimeDelta::from_std(since).ok()?)
}

/// A finite number, also in a string.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => {
            let text = text.trim();
            // The parser also takes words such as `nan`, `inf` and `infinity`.
            let digits = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
            if !text.bytes().all(digits) {
                return None;
            }
            text.parse().ok()?
        }
        _ => return None,
    };
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn seconds_as_sources_write_them() {
        let life = |millis| Some(Duration::from_millis(millis));
        for (value, expected) in [
            (json!(3600), life(3_600_000)),
            (json!("3600"), life(3_600_000)),
            (json!(" 3600 "), life(3_600_000)),
            (json!(3600.0), life(3_600_000)),
            (json!("3.6e3"), life(3_600_000)),
            (json!(0.5), life(500)),
            (json!(0), life(0)),
            (json!(-0.0), life(0)),
            (json!(9e12), Some(LONGEST_LIFETIME)),
            (json!(u64::MAX), Some(LONGEST_LIFETIME)),
            (json!(1e308), Some(LONGEST_LIFETIME)),
            (json!(-1), life(0)),
            (json!("-1"), life(0)),
            (json!(i64::MIN), life(0)),
            (json!(""), life(0)),
            (json!(false), life(0)),
            (json!("1e400"), None),
            (json!("nan"), None),
            (json!("inf"), None),
            (json!("1h"), None),
            (json!(true), None),
            (json!(null), None),
            (json!([3600]), None),
            (json!({}), None),
        ] {
            assert_eq!(seconds(&value), expected, "{value}");
        }
    }

    #[test]
    fn moments_as_sources_write_them() {
        let expected = Some(at("2026-11-21T18:00:00Z"));
        for value in [
            json!("2026-11-21T18:00:00Z"),
            json!("2026-11-21T15:00:00-03:00"),
            json!("2026-11-21T18:00:00.000+00:00"),
            json!(1_795_284_000),
            json!("1795284000"),
            json!(1_795_284_000.0),
            json!(1_795_284_000_000i64),
            json!("1795284000000"),
        ] {
            assert_eq!(moment(&value), expected, "{value}");
        }
        for (value, expected) in [
            (json!(0), Some("1970-01-01T00:00:00Z")),
            (json!(253_402_300_799i64), Some("9999-12-31T23:59:59Z")),
            (json!(253_402_301_000i64), Some("1978-01-11T21:31:41Z")),
            // Microseconds and nanoseconds.
            (json!(1_795_284_000_000_000i64), None),
            (json!(1_795_284_000_000_000_000i64), None),
            (json!(-1), Some("1970-01-01T00:00:00Z")),
            (json!(""), Some("1970-01-01T00:00:00Z")),
            (json!(false), Some("1970-01-01T00:00:00Z")),
            (json!("0001-01-01T00:00:00Z"), Some("1970-01-01T00:00:00Z")),
            (json!("2026-11-21"), None),
            (json!("2026-11-21T18:00:00"), None),
            (json!("tomorrow"), None),
            (json!(true), None),
        ] {
            assert_eq!(moment(&value), expected.map(at), "{value}");
        }
    }

    #[test]
    fn the_life_of_a_token() {
        let now = at("2026-11-21T17:00:00Z");
        let hour = Duration::from_secs(3600);
        assert_eq!(life_until(at("2026-11-21T18:00:00Z"), now), Some(hour));
        assert_eq!(life_until(now, now), None);
        assert_eq!(life_until(at("2026-11-21T16:00:00Z"), now), None);
        assert_eq!(life_until(at("9999-12-31T23:59:59Z"), now), Some(LONGEST_LIFETIME));
        assert_eq!(life_until(DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC), Some(LONGEST_LIFETIME));
        assert_eq!(life_until(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC), None);
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_end_in_a_jwt() {
        for (claims, expected) in [
            (r#"{"exp": 1795284000}"#, Some("2026-11-21T18:00:00Z")),
            (r#"{"exp": 1795284000.5}"#, Some("2026-11-21T18:00:00.5Z")),
            (r#"{"exp": 1e300}"#, Some("9999-12-31T23:59:59Z")),
            (r#"{"exp": -5}"#, Some("1970-01-01T00:00:00Z")),
            (r#"{"exp": "1795284000"}"#, Some("2026-11-21T18:00:00Z")),
            (r#"{"exp": "soon"}"#, None),
            (r#"{"exp": ""}"#, None),
            (r#"{"exp": true}"#, None),
            (r#"{"iat": 1}"#, None),
            ("[]", None),
            ("exp", None),
        ] {
            assert_eq!(jwt_end(&jwt(claims)), expected.map(at), "{claims}");
        }
        for token in ["", ".", "..", "a.b.c", "a.b", "a.b.c.d.e", "opaque"] {
            assert_eq!(jwt_end(token), None, "{token}");
        }
    }

    proptest! {
        #[test]
        fn every_number_is_read_without_a_panic(float: f64, integer: i64, text: String) {
            for value in [json!(float), json!(integer), json!(float.to_string()), json!(integer.to_string()), json!(text)] {
                prop_assert!(seconds(&value).is_none_or(|life| life <= LONGEST_LIFETIME));
                let _ = moment(&value);
            }
            let _ = jwt_end(&text);
            let _ = jwt_end(&jwt(&json!({ "exp": float }).to_string()));
            let _ = jwt_end(&jwt(&json!({ "exp": integer }).to_string()));
        }

        #[test]
        fn every_pair_of_moments_gives_a_life(end: i64, now: i64) {
            let time = |seconds: i64| DateTime::from_timestamp(seconds % 8_000_000_000_000, 0).unwrap();
            prop_assert!(life_until(time(end), time(now)).is_none_or(|life| life <= LONGEST_LIFETIME));
        }
    }
}
