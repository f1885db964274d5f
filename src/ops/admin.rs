//! The admin server: `/livez`, `/readyz`, `/metrics`, `/log-level`, and what a process adds for people on
//! the same host.
//!
//! It holds no secret and answers reads only, but for the log level where that was asked for. It may
//! listen on a network, so what clients can cost is bounded, and whatever they do, who comes next is
//! served: each connection is for one request, has a place that is taken from whoever holds the most
//! when all are taken, and ends by itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use tokio::net::TcpListener;

use super::by_hand::ByHand;
use super::health::{Heartbeat, Readiness};
use super::log_level::{self, LONGEST_LEVEL, LevelSwitch};
use super::logs::LogLevel;
use super::metrics::{CONTENT_TYPE, Metrics};
use super::places::Bounds;
use super::scrapes::Scrapes;
use super::server::{self, Limits};
use crate::printable::printable;

/// What the server shows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Whether the scheduler moves.
    pub heartbeat: Arc<Heartbeat>,
    /// What is still missing.
    pub readiness: Readiness,
    /// What happened.
    pub metrics: Metrics,
    /// What is logged, if that may be changed from here.
    pub log_level: Option<LogLevel>,
    /// What only a person on the same host may see and do, beside the log level.
    pub by_hand: ByHand,
}

const LIMITS: Limits = Limits {
    connections: Bounds { total: 128, each_peer: 32 },
    head: 16 * 1024,
    headers: 64,
    head_timeout: Duration::from_secs(5),
    // One request each: nothing is held open between two, and nothing waits behind another.
    keep_alive: false,
    life: Duration::from_secs(30),
};

/// Listens on an address.
///
/// # Errors
/// When the address cannot be had; the message names it.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let text = format!("the admin server cannot listen on {address}: {error}");
        io::Error::new(error.kind(), text)
    })
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, admin: Admin) {
    serve_within(listener, admin, LIMITS).await;
}

async fn serve_within(listener: TcpListener, admin: Admin, limits: Limits) {
    server::serve(listener, router(admin), limits, "the admin server").await;
}

fn router(admin: Admin) -> Router {
    let scrapes = Scrapes::new(admin.metrics.clone());
    let switch = admin.log_level.clone().map(LevelSwitch::new);
    let by_hand = admin.by_hand.clone();
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(admin)
        .merge(Router::new().route("/metrics", get(metrics)).with_state(scrapes))
        .merge(
            Router::new()
                .route("/log-level", put(log_level::put).layer(DefaultBodyLimit::max(LONGEST_LEVEL)))
                .with_state(switch),
        )
        .fallback(async move |request: Request| by_hand.answer(request).await)
}

async fn livez(State(admin): State<Admin>) -> Response {
    if admin.heartbeat.is_alive() {
        return "alive\n".into_response();
    }
    let stopped = format!("the scheduler has not moved for {} s\n", admin.heartbeat.age().as_secs());
    (StatusCode::SERVICE_UNAVAILABLE, stopped).into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let missing = admin.readiness.missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let lines: String = missing.iter().map(|what| format!("{}\n", printable(what))).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

async fn metrics(State(scrapes): State<Scrapes>) -> Response {
    match scrapes.text().await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
