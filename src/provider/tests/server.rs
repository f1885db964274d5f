//! A server on loopback that answers what it is told and remembers what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::api::{ObjectKey, SecretKeyReference, WebhookProviderSpec};
use crate::engine::ports::{ProviderClient, ProviderClients, SecretFailure, SecretValue, Secrets};
use crate::http::{Client, Config, DestinationPolicy};
use crate::provider::Gateway;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: axum::http::HeaderMap,
    pub(super) body: serde_json::Value,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Status, headers and body of an answer to give.
type Scripted = (u16, Vec<(String, String)>, String);

#[derive(Default)]
struct Script {
    answers: VecDeque<Scripted>,
    seen: Vec<Seen>,
}

/// The server. Ends with the test.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, script }
    }

    /// Something else that listens, or does not, at the address.
    pub(super) fn at(address: SocketAddr) -> Self {
        Self { address, script: Arc::default() }
    }

    /// Adds an answer to those that are given in turn.
    pub(super) fn answers(&self, status: u16, body: impl ToString) -> &Self {
        self.answers_with(status, &[], body)
    }

    pub(super) fn answers_with(&self, status: u16, headers: &[(&str, &str)], body: impl ToString) -> &Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut script = self.script.lock().unwrap();
        script.answers.push_back((status, headers.collect(), body.to_string()));
        self
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    /// The first lines of the requests so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }

    /// A provider object that calls this server.
    pub(super) fn remote(
        &self,
        mut spec: WebhookProviderSpec,
        secrets: impl Secrets + 'static,
    ) -> Arc<dyn ProviderClient> {
        spec.base_url.get_or_insert(format!("http://{}", self.address));
        let allowed = format!("http://{}", self.address).parse().unwrap();
        let http =
            Client::new(Config { destinations: DestinationPolicy::new(vec![allowed]), ..Config::default() });
        let gateway = Gateway::new(http.unwrap(), Arc::new(secrets));
        let remote = gateway.resolve(&ObjectKey::new("team", "gupy"), &spec).unwrap();
        // As the engine does before it has anything written.
        if let Some(Ok(account)) = remote.identify().now_or_never() {
            remote.act_for(account);
        }
        remote
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut script = script.lock().unwrap();
    script.seen.push(Seen {
        line: format!("{} {}", head.method, head.uri),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    });
    let (status, headers, body) = script.answers.pop_front().unwrap_or((599, Vec::new(), String::new()));
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(name, value);
    }
    answer.body(body.into()).unwrap()
}

/// Secrets held in memory: namespace/name/key, value, allowed hosts.
#[derive(Clone, Default)]
pub(super) struct Keys(pub(super) Vec<(&'static str, String, Option<Vec<String>>)>);

impl Keys {
    pub(super) fn with(mut self, key: &'static str, value: &str, hosts: Option<&str>) -> Self {
        let hosts = hosts.map(|hosts| hosts.split(',').map(str::to_owned).collect());
        self.0.push((key, value.to_owned(), hosts));
        self
    }
}

impl Secrets for Keys {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretFailure>> {
        Box::pin(async move {
            let wanted = format!("{namespace}/{}/{}", reference.name, reference.key);
            let (key, value, hosts) =
                self.0.iter().find(|(key, ..)| *key == wanted).ok_or(SecretFailure::NotFound)?;
            let version = format!("version of {key}: {}", value.len());
            Ok(SecretValue::new(value.as_str().into(), version, hosts.clone()))
        })
    }
}

/// Secrets that can be taken away.
#[derive(Clone)]
pub(super) struct Removable(Arc<Mutex<Result<Keys, SecretFailure>>>);

impl Removable {
    pub(super) fn new(keys: Keys) -> Self {
        Self(Arc::new(Mutex::new(Ok(keys))))
    }

    pub(super) fn replace(&self, keys: Result<Keys, SecretFailure>) {
        *self.0.lock().unwrap() = keys;
    }
}

impl Secrets for Removable {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretFailure>> {
        let keys = self.0.lock().unwrap().clone();
        Box::pin(async move { keys?.read(namespace, reference).await })
    }
}
