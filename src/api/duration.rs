//! Lengths of time as users write them: `90s`, `1h30m`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, never negative, with a resolution of a millisecond.
///
/// Written as one to four numbers of up to five digits, each with a unit `h`, `m`, `s` or `ms`.
/// It keeps what the user wrote, so that an object read and written again does not change.
///
/// ```
/// let overlap: hookkeeper::api::Duration = "1h30m".parse()?;
/// assert_eq!(overlap.milliseconds(), 5_400_000);
/// assert!("2 days".parse::<hookkeeper::api::Duration>().is_err());
/// # Ok::<(), hookkeeper::api::InvalidDuration>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Duration {
    written: Box<str>,
    milliseconds: i64,
}

/// The text is not a duration of the form `^([0-9]{1,5}(h|m|s|ms)){1,4}$`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration; write it like 90s, 15m or 1h30m (units h, m, s, ms)")]
pub struct InvalidDuration(String);

impl Duration {
    /// What the schema asks of the text.
    pub const PATTERN: &'static str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

    /// The length in milliseconds; at most 4 x 99,999 h, so sums of a few of them fit an `i64`.
    #[must_use]
    pub fn milliseconds(&self) -> i64 {
        self.milliseconds
    }

    /// The length as the standard library's type.
    #[must_use]
    pub fn to_std(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.milliseconds.unsigned_abs())
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDuration(text.chars().take(64).collect());
        let mut rest = text;
        let mut milliseconds: i64 = 0;
        let mut parts = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 5 || parts == 4 {
                return Err(invalid());
            }
            let (number, after) = rest.split_at(digits);
            let number: i64 = number.parse().map_err(|_| invalid())?;
            let (unit, after) = if let Some(after) = after.strip_prefix("ms") {
                (1, after)
            } else if let Some(after) = after.strip_prefix('h') {
                (3_600_000, after)
            } else if let Some(after) = after.strip_prefix('m') {
                (60_000, after)
            } else if let Some(after) = after.strip_prefix('s') {
                (1_000, after)
            } else {
                return Err(invalid());
            };
            milliseconds += number * unit;
            rest = after;
            parts += 1;
        }
        if parts == 0 {
            return Err(invalid());
        }
        Ok(Self { written: text.into(), milliseconds })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.written)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 32, "pattern": Self::PATTERN })
    }
}
