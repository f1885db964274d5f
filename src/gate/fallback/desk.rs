//! Where an application says what it waits for: `PUT /expect/NAMESPACE/NAME/ID`.
//!
//! It proves itself with a key that the receiver names (`spec.fallback.secretKeyRefs`), sent as
//! `Authorization: Bearer KEY`, so that no one's key opens another's. An expectation that was answered
//! with success is durable.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::news::News;
use super::settle::later;
use crate::gate::clock::Clock;
use crate::gate::digest::{DigestKey, position};
use crate::gate::hand_on::Receivers;
use crate::gate::ports::{CredentialFailure, Credentials};
use crate::gate::receiver::{Fallback, Receiver};
use crate::store::{Digest, Expectation, Store};

/// So many expectations of one receiver may be open.
pub const MOST_OPEN: usize = 10_000;
/// Longest id at the platform, in bytes.
const LONGEST_ID: usize = 128;
/// Shortest key that is accepted, in bytes.
const SHORTEST_KEY: usize = 8;
/// Keys that were read so long ago are read again.
const READ_AGAIN: Duration = Duration::from_secs(10);
/// Keys are read no more often than this because somebody brings an unknown one.
const BETWEEN_READS: Duration = Duration::from_secs(1);
/// How long keys are believed that cannot be read any more.
const LAST_KNOWN: Duration = Duration::from_secs(60 * 60);
/// When to come again where there is no place or no key.
const COME_AGAIN: Duration = Duration::from_secs(10);

const UNREADABLE: &str = "the keys of spec.fallback.secretKeyRefs cannot be read at this moment";

/// Whether the text can be the id of something that an application waits for: up to 128 letters, digits,
/// `.`, `_`, `~` and `-`. One or two dots are none: in a URL they lead elsewhere (RFC 3986, section 5.2.4).
pub(super) fn is_id(text: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(is_unreserved) && ![".", ".."].contains(&text)
}

/// What a path of the desk names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place<'a> {
    namespace: &'a str,
    name: &'a str,
    id: &'a str,
}

impl<'a> Place<'a> {
    /// Reads a path as it was sent. Nothing is decoded: no part of it needs that.
    fn of(path: &'a str) -> Option<Self> {
        let mut parts = path.strip_prefix("/expect/")?.split('/');
        let (namespace, name, id) = (parts.next()?, parts.next()?, parts.next()?);
        (parts.next().is_none() && !namespace.is_empty() && !name.is_empty()).then_some(Self {
            namespace,
            name,
            id,
        })
    }
}

/// What the application is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status: 204 for an expectation that is durable.
    pub status: u16,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// Why it was not taken, for people.
    pub text: &'static str,
}

impl Reply {
    const TAKEN: Self = Self { status: 204, retry_after: None, text: "" };

    const fn refused(status: u16, text: &'static str) -> Self {
        Self { status, retry_after: None, text }
    }

    const fn later(status: u16, text: &'static str) -> Self {
        Self { status, retry_after: Some(COME_AGAIN), text }
    }
}

/// Takes expectations.
pub struct Desk {
    store: Arc<dyn Store>,
    receivers: watch::Receiver<Receivers>,
    credentials: Arc<dyn Credentials>,
    clock: Arc<dyn Clock>,
    digests: DigestKey,
    news: mpsc::Sender<News>,
    index: Mutex<Index>,
}

/// Receivers with a fallback, by namespace and name.
#[derive(Default)]
struct Index {
    of: Option<Receivers>,
    entries: HashMap<(Arc<str>, Arc<str>), Arc<Entry>>,
}

struct Entry {
    receiver: Arc<Receiver>,
    fallback: Arc<Fallback>,
    /// Held while they are read, so that there is one read at a time.
    keys: tokio::sync::Mutex<Option<Keys>>,
}

/// The keys of a receiver, as they were read.
#[derive(Clone)]
struct Keys {
    digests: Vec<Digest>,
    /// When they were tried to be read last.
    tried: Instant,
    /// When all of them were.
    read: Instant,
    /// Whether the last try read all of them.
    is_complete: bool,
}

impl Desk {
    pub(super) fn new(
        store: Arc<dyn Store>,
        receivers: watch::Receiver<Receivers>,
        credentials: Arc<dyn Credentials>,
        clock: Arc<dyn Clock>,
        digests: DigestKey,
        news: mpsc::Sender<News>,
    ) -> Self {
        Self { store, receivers, credentials, clock, digests, news, index: Mutex::default() }
    }

    /// The listener's one route.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(answer).with_state(Arc::clone(self))
    }

    /// Answers one request. `path` is as it was sent.
    pub async fn take(&self, method: &Method, path: &str, headers: &HeaderMap) -> Reply {
        let Some(place) = Place::of(path) else {
            return Reply::refused(404, "the path is /expect/NAMESPACE/NAME/ID");
        };
        if method != Method::PUT {
            return Reply::refused(405, "say what you wait for with PUT");
        }
        if !is_id(place.id) {
            return Reply::refused(400, "an id has 1 to 128 letters, digits and characters of ._~-");
        }
        let Some(presented) = presented_key(headers) else {
            return Reply::refused(401, "send a key of the receiver as Authorization: Bearer KEY");
        };
        let Some(entry) = self.entry(&place) else {
            return Reply::refused(404, "there is no such receiver, or it has no spec.fallback");
        };
        let presented = self.digests.digest("key", &[presented]);
        match self.knows(&entry, &presented).await {
            Ok(true) => {}
            Ok(false) => return Reply::refused(401, "the key is none of spec.fallback.secretKeyRefs"),
            Err(why) => return Reply::later(503, why),
        }
        self.expect(&entry, place.id).await
    }

    async fn expect(&self, entry: &Entry, id: &str) -> Reply {
        let now = self.clock.now();
        let owner = entry.receiver.owner.clone();
        let uid = Arc::clone(&owner.uid);
        let expectation = Expectation {
            owner,
            id: id.to_owned(),
            since: now,
            due: later(now, entry.fallback.after),
            handed_on: None,
            parked: false,
        };
        match self.store.expect(expectation, MOST_OPEN).await {
            Ok(true) => {
                // One that has no place here is found all the same, only later.
                let _ = self.news.try_send(News::Expected(uid));
                Reply::TAKEN
            }
            Ok(false) => Reply::later(429, "10,000 expectations of this receiver are open"),
            Err(_) => Reply::later(503, "the store does not make it durable at this moment"),
        }
    }

    fn entry(&self, place: &Place<'_>) -> Option<Arc<Entry>> {
        let receivers = self.receivers.borrow().clone();
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if index.of.as_ref().is_none_or(|of| !Arc::ptr_eq(of, &receivers)) {
            let before = std::mem::take(&mut index.entries);
            for receiver in receivers.values() {
                let Some(fallback) = &receiver.fallback else { continue };
                let key = (Arc::clone(&receiver.owner.namespace), Arc::clone(&receiver.owner.name));
                // What was read stays known, unless it may be about other Secrets now.
                let kept = before.get(&key).filter(|entry| Arc::ptr_eq(&entry.receiver, receiver));
                let entry = kept.cloned().unwrap_or_else(|| {
                    let (receiver, fallback) = (Arc::clone(receiver), Arc::clone(fallback));
                    Arc::new(Entry { receiver, fallback, keys: tokio::sync::Mutex::default() })
                });
                index.entries.insert(key, entry);
            }
            index.of = Some(receivers);
        }
        index.entries.get(&(place.namespace.into(), place.name.into())).cloned()
    }

    /// Whether this is a key of the receiver. An unknown one makes the keys be read again: it may have
    /// been added a moment ago.
    ///
    /// # Errors
    /// When nobody can say.
    async fn knows(&self, entry: &Entry, presented: &Digest) -> Result<bool, &'static str> {
        let mut keys = entry.keys.lock().await;
        let is_known = |keys: &Option<Keys>| {
            keys.as_ref().is_some_and(|keys| position(presented, &keys.digests).is_some())
        };
        let tried = keys.as_ref().map(|keys| keys.tried.elapsed());
        let is_fresh = tried.is_some_and(|passed| passed < READ_AGAIN) && is_known(&keys);
        if !is_fresh && tried.is_none_or(|passed| passed >= BETWEEN_READS) {
            self.read(entry, &mut keys).await;
        }
        match &*keys {
            None => Err(UNREADABLE),
            Some(known) if known.digests.is_empty() && known.is_complete => {
                Err("none of the keys of spec.fallback.secretKeyRefs can be used: each has 8 bytes or more")
            }
            Some(_) if is_known(&keys) => Ok(true),
            // What cannot be read may be the very key.
            Some(known) if !known.is_complete => Err(UNREADABLE),
            Some(_) => Ok(false),
        }
    }

    async fn read(&self, entry: &Entry, keys: &mut Option<Keys>) {
        let tried = Instant::now();
        let mut digests = Vec::new();
        let mut has_failed = false;
        let (namespace, secrets) = (&entry.receiver.owner.namespace, &entry.fallback.secrets);
        for read in self.credentials.read(namespace, secrets, tried).await {
            match read {
                Ok(text) => {
                    let text = text.without_line_end();
                    if text.len() >= SHORTEST_KEY {
                        digests.push(self.digests.digest("key", &[text.expose().as_bytes()]));
                    }
                }
                Err(CredentialFailure::NotFound) => {}
                Err(CredentialFailure::Unavailable(_)) => has_failed = true,
            }
        }
        let mut read = tried;
        if has_failed && let Some(last) = keys.take().filter(|last| last.read.elapsed() < LAST_KNOWN) {
            // Those that were read last count for a while, besides those that could be read now.
            digests.extend(last.digests);
            digests.sort_unstable();
            digests.dedup();
            read = last.read;
        }
        *keys = Some(Keys { digests, tried, read, is_complete: !has_failed });
    }
}

/// The key that a request brings, if it brings exactly one.
fn presented_key(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    let text = std::str::from_utf8(only.as_bytes()).ok()?;
    let (scheme, key) = text.split_once(' ')?;
    let key = key.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("Bearer") && !key.is_empty()).then_some(key.as_bytes())
}

async fn answer(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let reply = desk.take(&head.method, head.uri.path(), &head.headers).await;
    let mut response = Response::new(Body::from(reply.text));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if !reply.text.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    if let Some(wait) = reply.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    if reply.status == 405 {
        headers.insert(ALLOW, HeaderValue::from_static("PUT"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_one_receiver_and_one_id() {
        let place = Place::of("/expect/hr/unico/a-1").unwrap();
        assert_eq!((place.namespace, place.name, place.id), ("hr", "unico", "a-1"));
        for path in [
            "/",
            "/expect",
            "/expect/",
            "/expect/hr/unico",
            "/expect//unico/1",
            "/expect/hr//1",
            "/expect/hr/unico/1/",
            "/expect/hr/unico/1/2",
            "/Expect/hr/unico/1",
            "//expect/hr/unico/1",
        ] {
            assert_eq!(Place::of(path), None, "{path}");
        }
    }

    #[test]
    fn an_id_is_short_and_leads_nowhere() {
        let longest = "a".repeat(LONGEST_ID);
        for id in ["a", "7", "A-b_c~d.e", "...", "-", &longest] {
            assert!(is_id(id), "{id}");
        }
        let longer = "a".repeat(LONGEST_ID + 1);
        for id in ["", ".", "..", "a/b", "a%2Fb", "a b", "ä", "a?b", "{id}", "a\n", &longer] {
            assert!(!is_id(id), "{id:?}");
        }
    }

    #[test]
    fn a_key_comes_once_and_under_its_scheme() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            presented_key(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(of(&["Bearer abcdefgh"]).as_deref(), Some(&b"abcdefgh"[..]));
        assert_eq!(of(&["bearer  abcdefgh"]).as_deref(), Some(&b"abcdefgh"[..]));
        for values in [
            &[][..],
            &["abcdefgh"],
            &["Basic abcdefgh"],
            &["Bearer"],
            &["Bearer "],
            &["Bearer a", "Bearer a"],
        ] {
            assert_eq!(of(values), None, "{values:?}");
        }
    }
}
