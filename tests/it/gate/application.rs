//! An application behind the gate: answers what it is told and remembers what it was handed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::task::JoinHandle;

/// What it was handed, once.
#[derive(Clone, Debug)]
pub struct Handed {
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The status it was answered.
    pub answered: u16,
}

impl Handed {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn delivery(&self) -> String {
        self.header("hookkeeper-delivery").unwrap().to_owned()
    }
}

#[derive(Default)]
struct Conduct {
    handed: Vec<Handed>,
    /// Answers to the next requests; after them `always`.
    next: VecDeque<Vec<(&'static str, String)>>,
    always: Option<u16>,
    delay: Duration,
    called: usize,
}

/// A running application; it ends with this.
pub struct Application {
    pub address: SocketAddr,
    conduct: Arc<Mutex<Conduct>>,
    server: JoinHandle<()>,
}

impl Application {
    pub async fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// One that listens there.
    pub async fn at(address: SocketAddr) -> Self {
        Self::on(tokio::net::TcpListener::bind(address).await.unwrap())
    }

    fn on(listener: tokio::net::TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let conduct: Arc<Mutex<Conduct>> = Arc::default();
        let router = Router::new()
            .fallback(take)
            .layer(axum::extract::DefaultBodyLimit::max(64 * 1024 * 1024))
            .with_state(Arc::clone(&conduct));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, conduct, server }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on it answers this.
    pub fn answers(&self, status: u16) {
        self.conduct.lock().unwrap().always = Some(status);
    }

    /// The next request is answered so, before all that follow.
    pub fn answers_next(&self, status: u16, headers: &[(&'static str, &str)]) {
        let mut answer = vec![("status", status.to_string())];
        answer.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        self.conduct.lock().unwrap().next.push_back(answer);
    }

    /// It takes so long for each answer.
    pub fn takes(&self, delay: Duration) {
        self.conduct.lock().unwrap().delay = delay;
    }

    /// What it was handed so far.
    pub fn handed(&self) -> Vec<Handed> {
        self.conduct.lock().unwrap().handed.clone()
    }

    /// What it took, that is, answered with success.
    pub fn took(&self) -> Vec<Handed> {
        let mut handed = self.handed();
        handed.retain(|handed| (200..300).contains(&handed.answered));
        handed
    }

    /// How many requests have begun.
    pub fn called(&self) -> usize {
        self.conduct.lock().unwrap().called
    }

    /// Stops listening; requests under way are cut.
    pub async fn close(&self) {
        self.server.abort();
        while !self.server.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(
    State(conduct): State<Arc<Mutex<Conduct>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let delay = {
        let mut conduct = conduct.lock().unwrap();
        conduct.called += 1;
        conduct.delay
    };
    tokio::time::sleep(delay).await;
    let mut conduct = conduct.lock().unwrap();
    let mut answer = conduct.next.pop_front().unwrap_or_default();
    let status = match answer.first() {
        Some((_, status)) => status.parse().unwrap(),
        None => conduct.always.unwrap_or(200),
    };
    let target = uri.to_string();
    conduct.handed.push(Handed { target, headers, body, answered: status });
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    for (name, value) in answer.drain(..).skip(1) {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
