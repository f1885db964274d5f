//! What a delivery is known again by.

use std::time::Duration;

use hyper::HeaderMap;

use super::acceptance::{LONGEST_VALUE, Reading};
use super::digest::DigestKey;
use super::receiver::{EventName, Receiver};
use crate::api::DuplicateAction;
use crate::store::EventKey;

/// How long the same body is a repetition, where nothing else names the event: 10 minutes. The same
/// thing can happen again.
pub const SAME_BODY: Duration = Duration::from_secs(10 * 60);

/// The key of a delivery, under the key of the store ([`crate::store::Store::digest_key`]). What names its event goes in with the receiver's uid, and as a digest: ids may
/// be tax ids. Where a part of the name is missing, is empty or too long, or is neither a text nor a
/// number, the body is the name.
///
/// Only a true id of the event can make a repetition be dropped.
#[must_use]
pub fn key(
    digest_key: &[u8; 32],
    receiver: &Receiver,
    headers: &HeaderMap,
    body: &[u8],
    reading: &Reading,
) -> EventKey {
    let key = DigestKey::new(digest_key);
    let uid = receiver.owner.uid.as_bytes();
    let named = match &receiver.duplicates.key {
        EventName::Body => None,
        EventName::Header(name) => {
            let mut values = headers.get_all(name).iter();
            let only = values.next().filter(|_| values.next().is_none());
            let value = only.map(|value| value.as_bytes().trim_ascii());
            let value = value.filter(|value| !value.is_empty() && value.len() <= LONGEST_VALUE);
            value.map(|value| key.digest("event by header", &[uid, value]))
        }
        EventName::Parts(_) => reading.parts.as_ref().map(|parts| {
            let parts: Vec<&[u8]> = std::iter::once(uid).chain(parts.iter().map(String::as_bytes)).collect();
            key.digest("event by parts", &parts)
        }),
    };
    let body = key.digest("body", &[uid, body]);
    let window = receiver.duplicates.window;
    let drop_repeated = receiver.duplicates.action == DuplicateAction::Drop;
    match named {
        Some(event) => EventKey { event, body, window, drop_repeated },
        None => EventKey {
            event: key.digest("event by body", &[uid, &body]),
            body,
            window: match receiver.duplicates.key {
                EventName::Body => window,
                _ => window.min(SAME_BODY),
            },
            drop_repeated: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::gate::acceptance::read;
    use crate::gate::verification::tests::{headers, pointer, receiver};

    const STORE: [u8; 32] = [9; 32];

    fn by(key: EventName, action: DuplicateAction) -> Receiver {
        let mut receiver = receiver();
        receiver.duplicates.key = key;
        receiver.duplicates.action = action;
        receiver
    }

    fn by_parts(paths: &[&str], action: DuplicateAction) -> Receiver {
        by(EventName::Parts(paths.iter().map(|path| pointer(path)).collect()), action)
    }

    fn key_of(receiver: &Receiver, lines: &[(&str, &str)], body: &str) -> EventKey {
        let body = body.as_bytes();
        key(&STORE, receiver, &headers(lines), body, &read(body, receiver))
    }

    #[test]
    fn an_event_is_known_by_its_parts_whatever_else_the_body_says() {
        let receiver = by_parts(&["/id", "/status"], DuplicateAction::Mark);
        let first = key_of(&receiver, &[], r#"{"id":"a","status":3}"#);
        assert_eq!(first.window, receiver.duplicates.window);
        assert!(!first.drop_repeated);
        let again = key_of(&receiver, &[], r#"{"status": "3", "id": "\u0061", "more": [1]}"#);
        assert_eq!(first.event, again.event);
        assert_ne!(first.body, again.body);
        for other in [r#"{"id":"a","status":5}"#, r#"{"id":"a3","status":""}"#, r#"{"id":"a","status":3.0}"#]
        {
            assert_ne!(key_of(&receiver, &[], other).event, first.event, "{other}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let receiver = by_parts(&["/a", "/b"], DuplicateAction::Drop);
        let one = key_of(&receiver, &[], r#"{"a":"12","b":"3"}"#);
        let other = key_of(&receiver, &[], r#"{"a":"1","b":"23"}"#);
        assert_ne!(one.event, other.event);
        assert!(one.drop_repeated);
    }

    #[test]
    fn what_cannot_be_a_part_leaves_the_body() {
        let receiver = by_parts(&["/id"], DuplicateAction::Drop);
        let long = format!(r#"{{"id":"{}"}}"#, "a".repeat(257));
        for body in [
            "",
            "no JSON",
            "[]",
            "{}",
            r#"{"id":""}"#,
            r#"{"id":null}"#,
            r#"{"id":true}"#,
            r#"{"id":{"id":1}}"#,
            r#"{"id":["a"]}"#,
            r#"{"ID":"a"}"#,
            &long,
        ] {
            let key = key_of(&receiver, &[], body);
            assert!(!key.drop_repeated, "{body}");
            assert_eq!(key.window, SAME_BODY, "{body}");
            assert_eq!(key, key_of(&receiver, &[], body));
            assert_ne!(key.event, key_of(&receiver, &[], &format!("{body} ")).event, "{body}");
        }
        let longest = format!(r#"{{"id":"{}"}}"#, "a".repeat(256));
        assert!(key_of(&receiver, &[], &longest).drop_repeated);
    }

    #[test]
    fn one_part_that_is_missing_is_enough_for_that() {
        let receiver = by_parts(&["/event", "/payload/id", "/timestamp"], DuplicateAction::Mark);
        let whole = r#"{"event":"E","timestamp":"T","payload":{"id":1}}"#;
        assert_eq!(key_of(&receiver, &[], whole).window, receiver.duplicates.window);
        let without = r#"{"event":"E","timestamp":"T","payload":{}}"#;
        assert_eq!(key_of(&receiver, &[], without).window, SAME_BODY);
    }

    #[test]
    fn a_header_names_an_event_when_it_is_there_once() {
        let receiver = by(EventName::Header("webhook-id".parse().unwrap()), DuplicateAction::Drop);
        let named = key_of(&receiver, &[("webhook-id", "msg_1")], "{}");
        assert!(named.drop_repeated);
        assert_eq!(named.event, key_of(&receiver, &[("Webhook-Id", "msg_1")], "{ }").event);
        assert_ne!(named.event, key_of(&receiver, &[("webhook-id", "msg_2")], "{}").event);
        let (long, twice) = ("a".repeat(257), [("webhook-id", "msg_1"), ("webhook-id", "msg_1")]);
        for lines in [&[][..], &twice, &[("webhook-id", "")], &[("webhook-id", &long)]] {
            assert!(!key_of(&receiver, lines, "{}").drop_repeated);
            assert_ne!(key_of(&receiver, lines, "{}").event, named.event);
        }
    }

    #[test]
    fn the_body_alone_never_drops_and_is_remembered_as_long_as_the_receiver_says() {
        let mut receiver = by(EventName::Body, DuplicateAction::Drop);
        receiver.duplicates.window = Duration::from_secs(3_600);
        let key = key_of(&receiver, &[], r#"{"id":1}"#);
        assert_eq!((key.window, key.drop_repeated), (Duration::from_secs(3_600), false));
        assert_eq!(key, key_of(&receiver, &[("x", "y")], r#"{"id":1}"#));
        assert_ne!(key.event, key_of(&receiver, &[], r#"{"id":2}"#).event);
    }

    #[test]
    fn another_receiver_and_another_store_know_nothing_of_it() {
        let body = r#"{"id":"529.982.247-25"}"#;
        let mut all = HashSet::new();
        for key_of_store in [[9; 32], [8; 32]] {
            for uid in ["uid-1", "uid-2"] {
                for names in [EventName::Body, EventName::Parts(vec![pointer("/id")])] {
                    let mut receiver = by(names, DuplicateAction::Drop);
                    receiver.owner.uid = uid.into();
                    let reading = read(body.as_bytes(), &receiver);
                    let key = key(&key_of_store, &receiver, &headers(&[]), body.as_bytes(), &reading);
                    all.insert(key.event);
                    assert_ne!(key.event, key.body);
                }
            }
        }
        assert_eq!(all.len(), 8);
    }

    proptest! {
        #[test]
        fn events_are_the_same_exactly_when_all_their_parts_are(
            one in prop::collection::vec("[a1\"\\\\ \u{e9}]{1,3}", 2),
            other in prop::collection::vec("[a1\"\\\\ \u{e9}]{1,3}", 2),
        ) {
            let receiver = by_parts(&["/0", "/1"], DuplicateAction::Mark);
            let event = |parts: &[String]| key_of(&receiver, &[], &serde_json::to_string(parts).unwrap()).event;
            prop_assert_eq!(event(&one) == event(&other), one == other);
        }
    }
}
