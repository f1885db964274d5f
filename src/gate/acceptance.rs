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

impl Reading {
    /// What a body says that cannot be read here, because it is compressed or encoded in another way:
    /// nothing. It is handed on, for nobody has said that it is not wanted.
    #[must_use]
    pub fn of_encoded() -> Self {
        Self { test_event: None, hand_on: true, event: None, event_time: None, parts: None, polled: None }
    }
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
    let is_wanted =
        hand_on.is_none_or(|(index, values)| value(index).is_some_and(|found| values.contains(&found)));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::gate::receiver::{Fallback, HandOn, TestEvent};
    use crate::gate::verification::tests::{pointer, receiver};

    /// What is at this place.
    fn at(path: &str, body: impl AsRef<[u8]>) -> Option<String> {
        at_all(&[path], body).remove(0)
    }

    fn at_all(paths: &[&str], body: impl AsRef<[u8]>) -> Vec<Option<String>> {
        let paths: Vec<Pointer> = paths.iter().map(|path| pointer(path)).collect();
        let mut wanted = Wanted::default();
        for path in &paths {
            wanted.add(path);
        }
        wanted.read(body.as_ref())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn texts_and_numbers_are_read_as_they_are_written() {
        for (body, expected) in [
            (r#"{"a":"text"}"#, some("text")),
            (r#"{"a":"t\u0065x\/t"}"#, some("tex/t")),
            (r#"{"a":"\ud83d\ude00"}"#, some("\u{1f600}")),
            (r#"{"a":3}"#, some("3")),
            (r#"{"a":-3.50e+2}"#, some("-3.50e+2")),
            // Numbers that no number of ours could hold.
            (r#"{"a":123456789012345678901234567890}"#, some("123456789012345678901234567890")),
            (r#"{"a":1e999}"#, some("1e999")),
            ("\u{feff}{\"a\":\"text\"}", some("text")),
            (" \n{ \"a\" : \"text\" }\t", some("text")),
            (r#"{"a":""}"#, None),
            (r#"{"a":null}"#, None),
            (r#"{"a":true}"#, None),
            (r#"{"a":{}}"#, None),
            (r#"{"a":["text"]}"#, None),
            (r#"{"a":"\ud83d"}"#, None),
            (r#"{"b":"text"}"#, None),
            (r#"["text"]"#, None),
            (r#""text""#, None),
        ] {
            assert_eq!(at("/a", body), expected, "{body}");
        }
    }

    #[test]
    fn places_are_found_in_objects_and_lists() {
        let body =
            r#"{"a":{"b":[10,{"c":"deep"},"x"]},"0":"zero","":{"":"empty"},"a/b":"slash","m~n":"tilde"}"#;
        for (path, expected) in [
            ("/a/b/0", some("10")),
            ("/a/b/1/c", some("deep")),
            ("/a/b/2", some("x")),
            ("/a/b/3", None),
            ("/a/b/-", None),
            ("/a/b/00", None),
            ("/a/b/01", None),
            ("/a/b/+1", None),
            ("/a/b/99999999999999999999", None),
            ("/0", some("zero")),
            ("//", some("empty")),
            ("/a/b/1/c/d", None),
        ] {
            assert_eq!(at(path, body), expected, "{path}");
        }
        let mut wanted = Wanted::default();
        let (slash, tilde) = (Pointer(vec!["a/b".to_owned()]), Pointer(vec!["m~n".to_owned()]));
        wanted.add(&slash);
        wanted.add(&tilde);
        assert_eq!(wanted.read(body.as_bytes()), [some("slash"), some("tilde")]);
    }

    #[test]
    fn places_may_lie_in_each_other_and_may_be_the_same() {
        let body = r#"{"a":{"b":{"c":1}},"d":"x"}"#;
        let found = at_all(&["/a", "/a/b/c", "/a/b", "/d", "/d", ""], body);
        assert_eq!(found, [None, some("1"), None, some("x"), some("x"), None]);
        assert_eq!(at_all(&["", "/a"], "17"), [some("17"), None]);
    }

    #[test]
    fn of_a_member_that_comes_twice_the_last_one_counts() {
        assert_eq!(at("/a", r#"{"a":"1","a":"2"}"#), some("2"));
        assert_eq!(at("/a", r#"{"a":"1","\u0061":"2"}"#), some("2"));
        assert_eq!(at("/a", r#"{"a":"1","a":null}"#), None);
        assert_eq!(at("/a/b", r#"{"a":{"b":1},"a":{}}"#), None);
        assert_eq!(at("/a/b", r#"{"a":{"b":1},"a":3}"#), None);
        assert_eq!(at("/a/b", r#"{"a":3,"a":{"b":1}}"#), some("1"));
        assert_eq!(at_all(&["/a", "/a/b"], r#"{"a":{"b":1},"a":3}"#), [some("3"), None]);
    }

    #[test]
    fn what_is_no_json_says_nothing() {
        for body in [
            &b""[..],
            b"a=b&c=d",
            b"{\"a\":1",
            b"{\"a\":1}}",
            b"{\"a\":1} x",
            b"{\"a\":1}{\"a\":2}",
            b"{'a':1}",
            b"{\"a\":1,}",
            b"{\"a\":01}",
            b"{\"a\":NaN}",
            b"{\"a\":1,\"b\":\"\xff\"}",
            b"\xff\xfe{\x00",
            b"{\"a\":1,\"b\":\"\x01\"}",
        ] {
            assert_eq!(at("/a", body), None, "{:?}", String::from_utf8_lossy(body));
        }
        // Half of a surrogate pair where nobody looks is no reason to read nothing.
        assert_eq!(at("/a", r#"{"b":"\ud83d","\ud83d":2,"a":1}"#), some("1"));
    }

    #[test]
    fn nothing_is_too_deep_or_too_large_to_be_passed_over() {
        let deep = "[".repeat(1 << 20);
        assert_eq!(at("/a", format!(r#"{{"b":{deep}{},"a":1}}"#, "]".repeat(1 << 20))), some("1"));
        assert_eq!(at("/a", format!(r#"{{"a":1,"b":{deep}"#)), None);
        let path = "/0".repeat(128);
        assert_eq!(at(&path, &deep), None);
        let nested = format!("{}7{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(at(&"/0".repeat(100), &nested), some("7"));
        // Deeper than any parser of this kind goes: nothing is said, and nothing breaks.
        let nested = format!("{}7{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(at(&"/0".repeat(200), &nested), None);

        let digits = "9".repeat(1 << 20);
        assert_eq!(at_all(&["/a", "/b"], format!(r#"{{"a":{digits},"b":2}}"#)), [None, some("2")]);
        let text = format!(r#"{{"a":"{}","b":2}}"#, "\\u0061".repeat(257));
        assert_eq!(at_all(&["/a", "/b"], text), [None, some("2")]);
        let text = format!(r#"{{"a":"{}"}}"#, "\\u0061".repeat(256));
        assert_eq!(at("/a", text), Some("a".repeat(256)));
        let members: String = (0..100_000).map(|index| format!(r#""k{index}":{index},"#)).collect();
        assert_eq!(at("/a", format!(r#"{{{members}"a":1}}"#)), some("1"));
    }

    #[test]
    fn only_the_values_that_are_listed_are_handed_on() {
        let mut receiver = receiver();
        assert!(read(b"no JSON", &receiver).hand_on);
        let values = ["2", "3", "done"].map(str::to_owned).to_vec();
        receiver.hand_on = Some(HandOn { path: pointer("/status"), values });
        for (body, expected) in [
            (r#"{"status":3}"#, true),
            (r#"{"status":"3"}"#, true),
            (r#"{"status":"done"}"#, true),
            (r#"{"status":1}"#, false),
            (r#"{"status":3.0}"#, false),
            (r#"{"status":33}"#, false),
            (r#"{"status":"Done"}"#, false),
            (r#"{"status":[3]}"#, false),
            (r#"{"status":true}"#, false),
            (r#"{}"#, false),
            ("3", false),
            ("", false),
        ] {
            assert_eq!(read(body.as_bytes(), &receiver).hand_on, expected, "{body}");
        }
    }

    #[test]
    fn a_test_event_comes_before_what_is_handed_on() {
        let mut receiver = receiver();
        receiver.hand_on = Some(HandOn { path: pointer("/status"), values: vec!["3".to_owned()] });
        for (action, hand_on) in [(TestEventAction::Answer, false), (TestEventAction::Forward, true)] {
            receiver.test_event =
                Some(TestEvent { path: pointer("/event"), equals: "SampleEvent".to_owned(), action });
            let reading = read(br#"{"event":"SampleEvent"}"#, &receiver);
            assert_eq!((reading.test_event, reading.hand_on), (Some(action), hand_on));
            for other in [r#"{"event":"sampleevent","status":3}"#, r#"{"status":3}"#] {
                let reading = read(other.as_bytes(), &receiver);
                assert_eq!((reading.test_event, reading.hand_on), (None, true), "{other}");
            }
        }
    }

    #[test]
    fn names_and_times_are_fit_for_a_header_or_are_none() {
        let mut receiver = receiver();
        receiver.event_name = Some(pointer("/event"));
        receiver.event_time = Some(pointer("/date"));
        let read = |event: &str, date: &str| {
            let body = serde_json::json!({ "event": event, "date": date }).to_string();
            let reading = super::read(body.as_bytes(), &receiver);
            (reading.event, reading.event_time)
        };
        let time = "2019-06-19T23:48:46.952Z";
        assert_eq!(read("candidate.hired", time), (some("candidate.hired"), some(time)));
        assert_eq!(read("a b", "Wed, 19 Jun 2019 23:48:46 GMT").0, some("a b"));
        for unfit in ["", " ", "a\r\nX-Forged: 1", "a\u{0}", "a\u{1b}[2J", "\u{202e}a", "\u{e9}", " a", "a "]
        {
            assert_eq!(read(unfit, unfit), (None, None), "{unfit:?}");
        }
        assert_eq!(read(&"a".repeat(128), &"1".repeat(64)), (Some("a".repeat(128)), Some("1".repeat(64))));
        assert_eq!(read(&"a".repeat(129), &"1".repeat(65)), (None, None));
        let reading = super::read(br#"{"event":7,"date":1560988126952}"#, &receiver);
        assert_eq!((reading.event, reading.event_time), (some("7"), some("1560988126952")));
    }

    #[test]
    fn id_and_status_at_the_platform_are_read_together() {
        let mut receiver = receiver();
        receiver.fallback = Some(Arc::new(Fallback {
            secrets: Vec::new(),
            after: Duration::from_secs(10),
            every: Duration::from_secs(10),
            give_up_after: Duration::from_secs(86_400),
            request: crate::api::FallbackRequest::default(),
            id: pointer("/id"),
            status: pointer("/status"),
            until: vec!["3".to_owned()],
        }));
        let polled =
            read(br#"{"id":"tx-1","status":3}"#, &receiver).polled.map(|polled| (polled.id, polled.status));
        assert_eq!(polled, Some(("tx-1".to_owned(), "3".to_owned())));
        assert!(read(br#"{"id":"tx-1"}"#, &receiver).polled.is_none());
        let given = receiver.fallback.take().unwrap();
        let elsewhere =
            Fallback { id: pointer("/process/id"), status: pointer("/process/state"), ..(*given).clone() };
        receiver.fallback = Some(Arc::new(elsewhere));
        let polled = read(br#"{"process":{"id":"tx-1","state":"DONE"}}"#, &receiver).polled.unwrap();
        assert_eq!((polled.id.as_str(), polled.status.as_str()), ("tx-1", "DONE"));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            "\\PC{0,4}".prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[ab01]|", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn expected(value: Option<&Value>) -> Option<String> {
        match value? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
        .filter(|text| !text.is_empty() && text.len() <= LONGEST_VALUE)
    }

    proptest! {
        #[test]
        fn it_finds_what_a_whole_parse_finds(
            value in any_json(),
            paths in prop::collection::vec("(/[ab01]?){0,4}", 1..6),
            pretty in any::<bool>(),
        ) {
            let body = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            let expected: Vec<_> = paths.iter().map(|path| expected(value.pointer(path))).collect();
            prop_assert_eq!(at_all(&paths, body.unwrap()), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            at_all(&["", "/a", "/0/a"], &body);
        }

        #[test]
        fn a_body_that_is_cut_says_nothing(value in any_json(), cut in any::<prop::sample::Index>()) {
            let body = serde_json::to_string(&serde_json::json!({ "a": 1, "b": value })).unwrap();
            let cut = cut.index(body.len());
            prop_assert_eq!(at("/a", &body.as_bytes()[..cut]), None);
        }
    }
}
