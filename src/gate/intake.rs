//! A request's way from the public listener to its answer.
//!
//! What the head of a request can decide is decided before a byte of its body is read. Nothing is
//! answered with 2xx that was not verified, and nothing that is to be kept before it is stored.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use tokio::time::Instant;

use super::acceptance::{self, Polled, Reading};
use super::addresses::{self, TrustedProxies};
use super::answer::{self, Answer};
use super::body;
use super::clock::Clock;
use super::connections::{Verified, Worth};
use super::direct::{Delivery, Direct};
use super::duplicates;
use super::headers;
use super::live::Live;
use super::memory::{Memory, Portion};
use super::observer::{Fact, Observer};
use super::receiver::Receiver;
use super::refusal::Refusal;
use super::registry::Registry;
use super::verification::{Credential, Head, Matched};
use crate::api::{Mode, TestEventAction};
use crate::store::{DeliveryId, Extent, NewDelivery, Put, Store};

/// What a verified delivery is told to, beside the store.
pub trait Delivered: Send + Sync {
    /// A delivery was stored. `polled` is what it says of something that an application may wait for.
    fn delivered(&self, live: &Arc<Live>, polled: Option<&Polled>);
    /// A delivery came that is none of those that are handed on.
    fn left_out(&self, live: &Arc<Live>, polled: Option<&Polled>);
}

/// What the intake works with.
pub struct Parts {
    /// The receivers.
    pub registry: Registry,
    /// Where deliveries are kept.
    pub store: Arc<dyn Store>,
    /// Passes on what is not kept.
    pub direct: Direct,
    /// What happens is told to it.
    pub observer: Arc<dyn Observer>,
    /// What a stored delivery is told to: whoever hands it on, and whoever waits for it.
    pub delivered: Vec<Arc<dyn Delivered>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Draws what makes ids unlike each other.
    pub random: Arc<dyn Fn() -> [u8; 10] + Send + Sync>,
    /// Who is believed about where a request comes from.
    pub trusted_proxies: TrustedProxies,
    /// What all receivers of one namespace may have in the store.
    pub namespace_share: Extent,
}

/// Takes deliveries in.
pub struct Intake {
    parts: Parts,
    memory: Memory,
}

/// A request that was refused.
struct Refused {
    reason: Refusal,
    recognised: bool,
    fingerprint: Option<Arc<str>>,
}

impl From<Refusal> for Refused {
    fn from(reason: Refusal) -> Self {
        Self { reason, recognised: false, fingerprint: None }
    }
}

/// A verified delivery.
struct Proven {
    matched: Matched,
    body: Bytes,
    portion: Portion,
}

impl Intake {
    /// Begins with no memory taken.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts, memory: Memory::default() }
    }

    /// Answers one request.
    pub(super) async fn handle(&self, request: Request<Incoming>, peer: SocketAddr, worth: &Worth) -> Answer {
        let arrived = Instant::now();
        // The path as it was sent: nothing is decoded, and the query is no part of it.
        let path = request.uri().path();
        let Some(live) = self.parts.registry.at(path) else {
            return if self.parts.registry.may_be_there(path) {
                answer::later()
            } else {
                answer::closing(404)
            };
        };
        let mut from_platform = false;
        let subscription = headers::subscription(request.headers()).map(str::to_owned);
        match self.take_in(&live, request, peer, worth, arrived, &mut from_platform).await {
            Ok(answer) => answer,
            Err(refused) => {
                let Refused { reason, recognised, fingerprint } = refused;
                let recognised = recognised || from_platform;
                let fact = Fact::Refused {
                    reason,
                    recognised,
                    fingerprint: fingerprint.as_deref(),
                    subscription: subscription.as_deref(),
                };
                self.parts.observer.saw(&live.receiver().owner, fact);
                answer::refused(reason)
            }
        }
    }

    async fn take_in(
        &self,
        live: &Arc<Live>,
        request: Request<Incoming>,
        peer: SocketAddr,
        worth: &Worth,
        arrived: Instant,
        from_platform: &mut bool,
    ) -> Result<Answer, Refused> {
        let receiver = live.receiver();
        if request.method() != Method::POST {
            return Err(Refusal::Method.into());
        }
        if !live.is_open() {
            // Truly later: whoever runs the process has to change something first.
            return Err(Refusal::NoRoom.into());
        }
        let (head, body) = request.into_parts();
        if !receiver.source_ranges.is_empty() {
            let sender = self.parts.trusted_proxies.sender(peer.ip(), &head.headers);
            if !addresses::may_come_from(sender, &receiver.source_ranges) {
                return Err(Refusal::Source.into());
            }
            *from_platform = true;
        }
        if body.size_hint().lower() > receiver.max_body as u64 {
            // Whether it is the platform's own delivery matters to whoever watches for refusals.
            let head = live.head(&head.headers, self.parts.clock.now());
            return Err(Refused {
                recognised: matches!(head, Head::Accepted(_)),
                ..Refusal::TooLarge.into()
            });
        }
        let Proven { matched, body, portion } = self.prove(live, &head.headers, body, worth, arrived).await?;
        // From here on the sender is the platform.
        *from_platform = true;
        let _verified = vouched(&matched, worth, receiver);
        if !live.admits(Instant::now()) {
            return Err(Refusal::TooMany.into());
        }
        self.accept(live, &head.headers, body, portion, &matched).await
    }

    /// Finds out whether a request is genuine, and reads its body.
    async fn prove(
        &self,
        live: &Arc<Live>,
        headers: &HeaderMap,
        body: Incoming,
        worth: &Worth,
        arrived: Instant,
    ) -> Result<Proven, Refused> {
        let receiver = live.receiver();
        let now = self.parts.clock.now();
        let mut head = live.head(headers, now);
        if let Head::Refused(Refusal::UnknownCredential | Refusal::CredentialUnusable, _) = head {
            self.read_again(live, arrived).await?;
            head = live.head(headers, now);
        }
        match head {
            Head::Refused(reason, fingerprint) => Err(refused(reason, fingerprint)),
            Head::Accepted(matched) => {
                let _verified = vouched(&matched, worth, receiver);
                let mut portion = self.memory.portion(&receiver.owner, true);
                let body = body::read(body, receiver.max_body, &mut portion).await;
                let body = body.map_err(|reason| Refused { recognised: true, ..reason.into() })?;
                Ok(Proven { matched, body, portion })
            }
            Head::NeedsBody(presented) => {
                let mut portion = self.memory.portion(&receiver.owner, false);
                let body = body::read(body, receiver.max_body, &mut portion).await?;
                let mut judged = presented.judge(&body);
                if let Err(Refusal::UnknownCredential) = judged {
                    self.read_again(live, arrived).await?;
                    judged = match live.head(headers, now) {
                        Head::NeedsBody(presented) => presented.judge(&body),
                        Head::Accepted(matched) => Ok(matched),
                        Head::Refused(reason, _) => Err(reason),
                    };
                }
                let matched = judged?;
                portion.verified();
                Ok(Proven { matched, body, portion })
            }
        }
    }

    /// A credential is unknown: it may be one that was made a moment ago, so the Secrets are read again.
    ///
    /// # Errors
    /// When they cannot be read, so that nobody can say whether the credential is genuine.
    async fn read_again(&self, live: &Arc<Live>, arrived: Instant) -> Result<(), Refused> {
        if self.parts.registry.is_fresh(live, arrived).await {
            Ok(())
        } else {
            Err(Refusal::CredentialUnsure.into())
        }
    }

    /// Does with a verified delivery what its receiver says.
    async fn accept(
        &self,
        live: &Arc<Live>,
        headers: &HeaderMap,
        body: Bytes,
        portion: Portion,
        matched: &Matched,
    ) -> Result<Answer, Refused> {
        let receiver = live.receiver();
        let observer = &self.parts.observer;
        let content_encoding = headers::content_encoding(headers);
        let reading = if headers::is_encoded(content_encoding.as_deref()) {
            Reading::of_encoded()
        } else {
            acceptance::read(&body, receiver)
        };
        let fact = Fact::Accepted {
            fingerprint: matched.fingerprint.as_deref(),
            event: reading.event.as_deref(),
            subscription: headers::subscription(headers),
        };
        let success = || Ok(answer::empty(receiver.success));
        if reading.test_event == Some(TestEventAction::Answer) {
            observer.saw(&receiver.owner, fact);
            observer.saw(&receiver.owner, Fact::TestEvent);
            return success();
        }
        if !reading.hand_on {
            observer.saw(&receiver.owner, fact);
            observer.saw(&receiver.owner, Fact::NotHandedOn);
            for told in &self.parts.delivered {
                told.left_out(live, reading.polled.as_ref());
            }
            return success();
        }
        if receiver.mode == Mode::Direct {
            let (now, verifier) = (self.parts.clock.now(), live.verifier());
            let delivery = Delivery {
                id: DeliveryId::new(now, (self.parts.random)()),
                headers,
                credential_headers: verifier.credential_headers(),
                content_type: headers::content_type(headers, receiver.content_type.as_deref()),
                content_encoding,
                event_time: reading.event_time.as_deref(),
                body,
            };
            let passed = self.parts.direct.pass_on(receiver, delivery).await;
            drop(portion);
            if let Some(reason) = passed.refusal {
                let fact = Fact::Refused {
                    reason,
                    recognised: true,
                    fingerprint: matched.fingerprint.as_deref(),
                    subscription: headers::subscription(headers),
                };
                observer.saw(&receiver.owner, fact);
            } else {
                observer.saw(&receiver.owner, fact);
            }
            let mut answer = answer::with_body(passed.status, passed.body);
            if let Some(wait) = passed.retry_after {
                answer::retry_after(&mut answer, wait);
            }
            return Ok(answer);
        }
        let arrived = self.parts.clock.now();
        let delivery = NewDelivery {
            id: DeliveryId::new(arrived, (self.parts.random)()),
            owner: receiver.owner.clone(),
            arrived,
            content_type: headers::content_type(headers, receiver.content_type.as_deref()),
            content_encoding,
            event_time: reading.event_time.clone(),
            key: duplicates::key(self.parts.store.digest_key(), receiver, headers, &body, &reading),
            room: receiver.room(self.parts.namespace_share, self.parts.registry.has_several_namespaces()),
            body,
        };
        match self.put(live, delivery, reading.polled, portion).await? {
            Put::Stored => observer.saw(&receiver.owner, fact),
            Put::Repeated(of) | Put::Revived(of) => {
                observer.saw(&receiver.owner, fact);
                observer.saw(&receiver.owner, Fact::Repeated(of));
            }
            Put::Full(_) => return Err(Refusal::NoRoom.into()),
        }
        success()
    }

    /// Stores a delivery, and tells whoever waits for it: also when the sender has gone away meanwhile.
    async fn put(
        &self,
        live: &Arc<Live>,
        delivery: NewDelivery,
        polled: Option<Polled>,
        portion: Portion,
    ) -> Result<Put, Refused> {
        let (store, live) = (Arc::clone(&self.parts.store), Arc::clone(live));
        let registry = self.parts.registry.clone();
        let delivered = self.parts.delivered.clone();
        let storing = tokio::spawn(async move {
            let put = store.put(delivery).await;
            drop(portion);
            if put.is_ok() {
                registry.store_works();
            }
            if let Ok(Put::Stored | Put::Revived(_)) = put {
                for told in &delivered {
                    told.delivered(&live, polled.as_ref());
                }
            }
            put
        });
        match storing.await {
            Ok(Ok(put)) => Ok(put),
            Ok(Err(error)) => {
                self.parts.registry.store_failed(&error);
                Err(Refusal::Store.into())
            }
            Err(_) => Err(Refusal::Store.into()),
        }
    }
}

/// Where nothing is asked for, nobody vouches for who sends.
fn vouched(matched: &Matched, worth: &Worth, receiver: &Receiver) -> Option<Verified> {
    (matched.credential != Credential::Nothing).then(|| worth.verified(&receiver.owner.namespace)).flatten()
}

fn refused(reason: Refusal, fingerprint: Option<Arc<str>>) -> Refused {
    Refused { reason, recognised: fingerprint.is_some(), fingerprint }
}
