//! A receiver that asks Keycloak about the token of each delivery.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use url::{Url, form_urlencoded};

pub(super) const CLIENT_ID: &str = "receiver";
pub(super) const CLIENT_SECRET: &str = "receiver-secret";

/// A delivery as it arrived.
#[derive(Clone)]
pub(super) struct Delivery {
    pub(super) action: String,
    pub(super) token: String,
    /// What introspection (RFC 7662) said; none when it gave no answer.
    pub(super) alive: Option<bool>,
}

/// Listens until the test ends.
pub(super) struct Receiver {
    pub(super) url: Url,
    introspection: Arc<Introspection>,
}

struct Introspection {
    http: reqwest::Client,
    url: String,
    deliveries: Mutex<Vec<Delivery>>,
}

impl Receiver {
    pub(super) async fn start(token_url: &str) -> Self {
        let introspection = Arc::new(Introspection {
            http: reqwest::Client::new(),
            url: format!("{token_url}/introspect"),
            deliveries: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let routes = Router::new().route("/", post(receive)).with_state(Arc::clone(&introspection));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, introspection }
    }

    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        self.introspection.deliveries.lock().unwrap().clone()
    }
}

async fn receive(
    State(introspection): State<Arc<Introspection>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let token = header("token").or_else(|| header("authorization")?.strip_prefix("Bearer ")).unwrap();
    let alive = introspection.ask(token).await;
    let action = body["event"].as_str().unwrap().to_owned();
    let delivery = Delivery { action, token: token.to_owned(), alive };
    introspection.deliveries.lock().unwrap().push(delivery);
    match alive {
        Some(true) => StatusCode::OK,
        Some(false) => StatusCode::UNAUTHORIZED,
        None => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Introspection {
    async fn ask(&self, token: &str) -> Option<bool> {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("token", token)])
            .finish();
        let request = self.http.post(&self.url).header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(form).send().await.ok()?.error_for_status().ok()?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
        answer["active"].as_bool()
    }
}
