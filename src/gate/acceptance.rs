//! What the body of a delivery says, as far as the gate has to know it: whether it is to be handed on,
//! whether it is a test event, what its event is called, when it happened, and what names it.
//!
//! The body is read once, and only along the places that the receiver asks for; the rest is passed over
//! without being kept. What is no JSON text, or a place that holds neither a text nor a number, says
//! nothing: no delivery is refused for what is in it. Where a member comes twice, the last one counts, as
//! in nearly all parsers, so that the application sees the same.

use serde::Deserialize as _;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::receiver::{EventName, Pointer, Receiver};
use crate::api::TestEventAction;

/// Longest text or number that is read, in bytes: what is longer is no id, no status and no name.
pub const LONGEST_VALUE: usize = 256;
/// Longest name of an event, in bytes.
const LONGEST_NAME: usize = 128;
/// Longest time of an event, in bytes. RFC 3339 and RFC 9110 need half of it.
const LONGEST_TIME: usize = 64;

/// What a delivery says. Its texts are the sender's, ids of people among them, so it cannot be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Reading {
    /// It is a test event; with what is done with it.
    pub test_event: Option<TestEventAction>,
    /// Whether it is one of those that are handed on. A test event that is to be is one.
    pub hand_on: bool,
    /// Name of the event, fit for a line and a label.
    pub event: Option<String>,
    /// When the event happened, in the sender's words, fit for a header.
    pub event_time: Option<String>,
    /// What names the event, if the receiver looks for that in the body and all of it is there.
    pub parts: Option<Vec<String>>,
    /// Id and status at the platform, if the receiver asks the platform for what was not delivered.
    pub polled: Option<Polled>,
}

/// What an answer of the platform, or a delivery, says of something that an application waits for.
#[derive(Clone, PartialEq, Eq)]
pub struct Polled {
    /// The id.
    pub id: String,
    /// The status, as JSON writes it without quotes.
    pub status: String,
}

/// Reads a body for a receiver.
#[must_use]
pub fn read(body: &[u8], receiver: &Receiver) -> Reading {
    let mut wanted = Wanted::default();
    let hand_on = receiver.hand_on.as_ref().map(|hand_on| (wanted.add(&hand_on.path), &hand_on.values));
    let test = receiver.test_event.as_ref().map(|test| (wanted.add(&test.path), test));
    let event = receiver.event_name.as_ref().map(|path| wanted.add(path));
    let time = receiver.event_time.as_ref().map(|path| wanted.add(path));
    let parts = match &receiver.duplicates.key {
        EventName::Parts(paths) if !paths.is_empty() => {
            Some(paths.iter().map(|path| wanted.add(path)).collect::<Vec<_>>())
        }
        _ => None,
    };
    let polled =
        receiver.fallback.as_ref().map(|fallback| (wanted.add(&fallback.id), wanted.add(&fallback.status)));

    let found = wanted.read(body);
    let value = |index: usize| found.get(index).cloned().flatten();
    let test = test.filter(|(index, test)| value(*index).as_deref() == Some(&test.equals));
    let test_event = test.map(|(_, test)| test.action);
    let is_wanted = hand_on.is_none_or(|(index, values)| {
        value(index).is_some_and(|found| values.iter().any(|value| *value == found))
    });
    Reading {
        test_event,
        hand_on: match test_event {
            Some(action) => action == TestEventAction::Forward,
            None => is_wanted,
        },
        event: event.and_then(value).filter(|text| is_fit(text, LONGEST_NAME)),
        event_time: time.and_then(value).filter(|text| is_fit(text, LONGEST_TIME)),
        parts: parts.and_then(|indices| indices.into_iter().map(value).collect()),
        polled: polled.and_then(|(id, status)| Some(Polled { id: value(id)?, status: value(status)? })),
    }
}

/// Reads id and status of what the platform answered.
#[must_use]
pub fn read_polled(body: &[u8], id: &Pointer, status: &Pointer) -> Option<Polled> {
    let mut wanted = Wanted::default();
    let (id, status) = (wanted.add(id), wanted.add(status));
    let mut found = wanted.read(body);
    let mut value = |index: usize| found.get_mut(index).and_then(Option::take);
    Some(Polled { id: value(id)?, status: value(status)? })
}

/// Whether a text of the sender may stand in a header and a label: visible ASCII, blanks inside.
fn is_fit(text: &str, longest: usize) -> bool {
    let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    text.len() <= longest && text.bytes().all(is_visible) && !text.starts_with(' ') && !text.ends_with(' ')
}

/// The places that are looked for.
#[derive(Default)]
struct Wanted<'a> {
    paths: Vec<&'a [String]>,
}

impl<'a> Wanted<'a> {
    /// Looks for this place too; returns where its value will be.
    fn add(&mut self, path: &'a Pointer) -> usize {
        self.paths.push(&path.0);
        self.paths.len() - 1
    }

    /// The values that are there: non-empty texts, and numbers as they are written.
    fn read(&self, body: &[u8]) -> Vec<Option<String>> {
        let mut found = vec![None; self.paths.len()];
        let Ok(text) = std::str::from_utf8(body) else { return found };
        if self.paths.is_empty() {
            return found;
        }
        // A byte order mark is no part of the text (RFC 8259, section 8.1).
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let places: Vec<Place<'_>> =
            self.paths.iter().enumerate().map(|(slot, path)| Place { slot, path }).collect();
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let walk = Walk { places: &places, found: &mut found };
        if walk.deserialize(&mut deserializer).and_then(|()| deserializer.end()).is_err() {
            found.fill(None);
        }
        found
    }
}

/// What is left of the way to a place.
#[derive(Clone, Copy)]
struct Place<'a> {
    slot: usize,
    path: &'a [String],
}

impl<'a> Place<'a> {
    /// The same place seen from below, if the way to it leads through the member or element of this name.
    fn below(self, is_next: impl FnOnce(&str) -> bool) -> Option<Self> {
        let (next, path) = self.path.split_first()?;
        is_next(next).then_some(Self { slot: self.slot, path })
    }
}

/// Reads a value in which these places are looked for.
struct Walk<'a> {
    places: &'a [Place<'a>],
    found: &'a mut [Option<String>],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { places, found } = self;
        // What an earlier member of the same name said does not count any more.
        set(found, places, None);
        if places.iter().all(|place| !place.path.is_empty()) {
            return deserializer.deserialize_any(Descent { places, found });
        }
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let value = text_or_number(raw);
        let (here, below): (Vec<Place<'_>>, Vec<Place<'_>>) =
            places.iter().partition(|place| place.path.is_empty());
        set(found, &here, value.as_ref());
        if below.is_empty() {
            return Ok(());
        }
        let walk = Walk { places: &below, found };
        walk.deserialize(&mut serde_json::Deserializer::from_str(raw)).map_err(de::Error::custom)
    }
}

/// Says what is at these places.
fn set(found: &mut [Option<String>], places: &[Place<'_>], value: Option<&String>) {
    for place in places {
        if let Some(slot) = found.get_mut(place.slot) {
            *slot = value.cloned();
        }
    }
}

/// A non-empty text, or a number as it is written: as a number of ours it might be another one.
fn text_or_number(raw: &str) -> Option<String> {
    let value = match raw.bytes().next()? {
        // Escaped, each byte may take six.
        b'"' if raw.len() <= 2 + 6 * LONGEST_VALUE => serde_json::from_str::<String>(raw).ok()?,
        b'-' | b'0'..=b'9' if raw.len() <= LONGEST_VALUE => raw.to_owned(),
        _ => return None,
    };
    (!value.is_empty() && value.len() <= LONGEST_VALUE).then_some(value)
}

/// Goes into an object or a list.
struct Descent<'a> {
    places: &'a [Place<'a>],
    found: &'a mut [Option<String>],
}

impl<'de> Visitor<'de> for Descent<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(below) = members.next_key_seed(Name { places: self.places })? {
            if below.is_empty() {
                members.next_value::<IgnoredAny>()?;
            } else {
                members.next_value_seed(Walk { places: &below, found: &mut *self.found })?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            // An index has no leading zeros (RFC 6901, section 4).
            let is_next =
                |next: &str| (next == "0" || !next.starts_with(['0', '+'])) && next.parse() == Ok(index);
            let below: Vec<Place<'_>> = self.places.iter().filter_map(|place| place.below(is_next)).collect();
            let element = if below.is_empty() {
                elements.next_element::<IgnoredAny>()?.map(|_| ())
            } else {
                elements.next_element_seed(Walk { places: &below, found: &mut *self.found })?
            };
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The name of a member: which places lie below it.
struct Name<'a> {
    places: &'a [Place<'a>],
}

impl<'de, 'a> DeserializeSeed<'de> for Name<'a> {
    type Value = Vec<Place<'a>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // As bytes: a name with half of a surrogate pair is none that anybody looks for, and no reason to
        // read nothing at all.
        deserializer.deserialize_bytes(self)
    }
}

impl<'a> Visitor<'_> for Name<'a> {
    type Value = Vec<Place<'a>>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the name of a member")
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
        let below = self.places.iter().filter_map(|place| place.below(|next| next.as_bytes() == name));
        Ok(below.collect())
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        self.visit_bytes(name.as_bytes())
    }
}
