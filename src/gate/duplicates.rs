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
    match named {
        Some(event) => EventKey {
            event,
            body,
            window,
            drop_repeated: receiver.duplicates.action == DuplicateAction::Drop,
        },
        None => EventKey {
            event: key.digest("event by body", &[uid, &body]),
            body,
            window: window.min(SAME_BODY),
            drop_repeated: false,
        },
    }
}
