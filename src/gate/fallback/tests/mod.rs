//! Asking against a store in memory, a platform and an application that answer as they are told.

mod asking;
mod desk;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method};
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::api::{FallbackRequest, LocalReference, NamedValue, PrefixedSecretSource, SecretKeyReference};
use crate::gate::acceptance;
use crate::gate::clock::SteadyClock;
use crate::gate::hand_on::tests::application::{Application, Reply as Answered, status};
use crate::gate::hand_on::tests::memory::MemoryStore;
use crate::gate::hand_on::tests::world::{Told as Facts, and_refused, by_uid, receiver};
use crate::gate::ports::{CredentialFailure, Read};
use crate::gate::receiver::{Fallback, HandOn, Pointer};
use crate::http::{Answer, Body as Page, Error, Request as Sent};
use crate::secret::SecretText;
use crate::secret::bounds::{Bounds, Owner as Of};

fn reference(name: &str) -> SecretKeyReference {
    SecretKeyReference { name: name.to_owned(), key: "key".to_owned() }
}

/// `after` is 10 s, `every` 30 s, `giveUpAfter` a day.
pub(super) fn fallback() -> Fallback {
    let pointer = |member: &str| Pointer(vec![member.to_owned()]);
    Fallback {
        secrets: vec![reference("first"), reference("second")],
        after: Duration::from_secs(10),
        every: Duration::from_secs(30),
        give_up_after: Duration::from_secs(86_400),
        request: FallbackRequest {
            url: "https://api.unico.example/processes/v1/{id}".to_owned(),
            headers: vec![NamedValue {
                name: "APIKEY".to_owned(),
                value: None,
                value_from: Some(PrefixedSecretSource { prefix: None, secret_key_ref: reference("api") }),
            }],
            token_source_ref: Some(LocalReference { name: "unico".to_owned() }),
            ..FallbackRequest::default()
        },
        id: pointer("id"),
        status: pointer("status"),
        until: ["3", "4", "5"].map(str::to_owned).to_vec(),
    }
}

fn waiting(name: &str) -> Receiver {
    let mut receiver = receiver("hr", name);
    receiver.fallback = Some(Arc::new(fallback()));
    // A process that is under way is nothing that IDUnico delivers.
    let values = ["2", "3", "4", "5"].map(str::to_owned).to_vec();
    receiver.hand_on = Some(HandOn { path: Pointer(vec!["status".to_owned()]), values });
    receiver
}

/// What a platform was asked.
#[derive(Clone)]
struct Question {
    id: String,
    headers: Vec<(String, String)>,
    bounds: Bounds,
}

/// A platform: what it answers to each id, and what it was asked.
#[derive(Default)]
struct Platform {
    pages: Mutex<HashMap<String, String>>,
    status: Mutex<Option<Answer>>,
    slow: Mutex<Duration>,
    asked: Mutex<Vec<Question>>,
}

impl Platform {
    fn has(&self, id: &str, status: u32) {
        self.says(id, &format!("{{\"id\":\"{id}\",\"status\":{status}}}"));
    }

    fn says(&self, id: &str, page: &str) {
        self.pages.lock().unwrap().insert(id.to_owned(), page.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn page(status: u16, text: &str) -> Answer {
    let body = Ok(Page::new(text.as_bytes().to_vec()));
    let content_type = Some("application/json".to_owned());
    Answer { status, date: None, retry_after: None, content_type, link: None, body }
}

#[derive(Clone)]
struct Outside(Arc<Platform>, Arc<Application>);

impl Asking for Outside {
    fn ask<'a>(&'a self, _: &'a Arc<str>, sent: Sent) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            let platform = &self.0;
            let id = sent.url.path_segments().unwrap().next_back().unwrap().to_owned();
            let headers = sent.headers.iter();
            let headers =
                headers.map(|(name, value)| (name.to_string(), value.expose().to_owned())).collect();
            platform.asked.lock().unwrap().push(Question { id: id.clone(), headers, bounds: sent.bounds });
            let found = platform.pages.lock().unwrap().get(&id).cloned();
            let wait = *platform.slow.lock().unwrap();
            sleep(wait).await;
            if let Some(answer) = platform.status.lock().unwrap().clone() {
                return Ok(answer);
            }
            Ok(found.map_or_else(|| page(404, ""), |text| page(200, &text)))
        })
    }
}

impl Exchange for Outside {
    fn send<'a>(
        &'a self,
        namespace: &'a Arc<str>,
        at: Option<std::net::SocketAddr>,
        request: Sent,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        self.1.send(namespace, at, request)
    }
}

/// Secrets and tokens that are there.
struct Values {
    keys: Mutex<HashMap<String, Result<String, CredentialFailure>>>,
    reads: Mutex<usize>,
    token_hosts: Option<Vec<String>>,
}

impl Credentials for Values {
    fn read<'a>(
        &'a self,
        _: &'a str,
        references: &'a [SecretKeyReference],
        _: Instant,
    ) -> BoxFuture<'a, Vec<Read>> {
        let read = |reference: &SecretKeyReference| {
            *self.reads.lock().unwrap() += 1;
            let found = self.keys.lock().unwrap().get(&reference.name).cloned();
            found.unwrap_or(Err(CredentialFailure::NotFound)).map(SecretText::new)
        };
        let read = references.iter().map(read).collect();
        Box::pin(async move { read })
    }
}

impl Means for Values {
    fn secret<'a>(
        &'a self,
        _: &'a str,
        reference: &'a SecretKeyReference,
        bounds: &'a mut Bounds,
    ) -> BoxFuture<'a, Result<SecretText, String>> {
        bounds.confine(Of::Secret(reference.name.clone()), &["api.unico.example".to_owned()]);
        Box::pin(async move { Ok("api-key".into()) })
    }

    fn token<'a>(
        &'a self,
        _: &'a str,
        source: &'a str,
        bounds: &'a mut Bounds,
    ) -> BoxFuture<'a, Result<SecretText, String>> {
        if let Some(hosts) = &self.token_hosts {
            bounds.confine(Of::TokenSource(source.to_owned()), hosts);
        }
        Box::pin(async move { Ok("token".into()) })
    }
}

struct World {
    clock: SteadyClock,
    store: Arc<MemoryStore<SteadyClock>>,
    platform: Arc<Platform>,
    application: Arc<Application>,
    values: Arc<Values>,
    facts: Arc<Facts>,
    receivers: watch::Sender<Receivers>,
    desk: Arc<Desk>,
    told: Told,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<Result<(), StoreError>>>,
}

const KEY: &str = "a key of the application";

impl World {
    fn start(answering: impl Fn() -> Answered + Send + Sync + 'static) -> Self {
        Self::of(vec![waiting("unico")], answering, Some(vec!["api.unico.example".to_owned()]))
    }

    fn of(
        receivers: Vec<Receiver>,
        answering: impl Fn() -> Answered + Send + Sync + 'static,
        token_hosts: Option<Vec<String>>,
    ) -> Self {
        let clock = SteadyClock::starting("2026-11-27T03:00:00Z".parse().unwrap());
        let store = Arc::new(MemoryStore::new(clock));
        let keys = HashMap::from([("first".to_owned(), Ok(format!("{KEY}\n")))]);
        let values = Arc::new(Values { keys: Mutex::new(keys), reads: Mutex::default(), token_hosts });
        let (platform, facts) = (Arc::<Platform>::default(), Arc::<Facts>::default());
        let application = Application::new(move |_| answering());
        let sender = watch::Sender::new(by_uid(receivers));
        let fallbacks = Fallbacks::new(
            Arc::clone(&store) as Arc<dyn Store>,
            Outside(Arc::clone(&platform), Arc::clone(&application)),
            sender.subscribe(),
            Arc::clone(&values) as Arc<dyn Means>,
            Arc::clone(&facts) as Arc<dyn Observer>,
            Arc::new(clock),
            Options::default(),
        );
        let desk = fallbacks.desk(Arc::clone(&values) as Arc<dyn Credentials>, &[5; 32]);
        let told = fallbacks.told();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(fallbacks.run(async move {
            let _ = stopped.await;
        }));
        let (stop, running) = (Some(stop), Some(running));
        Self {
            clock,
            store,
            platform,
            application,
            values,
            facts,
            receivers: sender,
            desk,
            told,
            stop,
            running,
        }
    }

    async fn put_with(&self, path: &str, key: &str) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::try_from(format!("Bearer {key}")).unwrap());
        self.desk.take(&Method::PUT, path, &headers).await.status
    }

    async fn expect(&self, id: &str) {
        assert_eq!(self.put_with(&format!("/expect/hr/unico/{id}"), KEY).await, 204);
    }

    async fn open(&self, id: &str) -> Option<crate::store::Expectation> {
        self.store.expectation("hr-unico", id).await.unwrap()
    }

    fn deliver(&self, id: &str, status: u32) {
        let receiver = waiting("unico");
        let body = format!("{{\"id\":\"{id}\",\"status\":{status}}}");
        let reading = acceptance::read(body.as_bytes(), &receiver);
        if reading.hand_on {
            self.told.delivered(&receiver, reading.polled.as_ref());
        } else {
            self.told.left_out(&receiver, reading.polled.as_ref());
        }
    }

    async fn pass(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// The statuses that the application was handed, in their order.
    fn handed(&self) -> Vec<u64> {
        let status = |text: &str| {
            let page: serde_json::Value = serde_json::from_str(text).unwrap();
            page["status"].as_u64().unwrap()
        };
        self.application.seen().iter().map(|seen| status(seen.text())).collect()
    }
}

fn ok() -> Answered {
    status(200)
}
