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

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::by_hand::{self, Ends};
use super::health::{Heartbeat, Readiness};
use super::log_level::{self, LONGEST_LEVEL, LevelSwitch};
use super::logs::LogLevel;
use super::metrics::{CONTENT_TYPE, Metrics};
use super::places::{Bounds, Places};
use super::scrapes::Scrapes;
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
    pub by_hand: Router,
}

/// What clients can cost.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: Bounds,
    /// Size of a request's head, in bytes.
    head: usize,
    headers: usize,
    head_timeout: Duration,
    /// From the first byte to the last one, in both directions.
    life: Duration,
}

const LIMITS: Limits = Limits {
    connections: Bounds { total: 128, each_peer: 32 },
    head: 16 * 1024,
    headers: 64,
    head_timeout: Duration::from_secs(5),
    life: Duration::from_secs(30),
};

/// How often a listener that does not work is told.
const TROUBLE_TOLD_EVERY: Duration = Duration::from_secs(60);

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
    serve_within(listener, router(admin), LIMITS, "the admin server").await;
}

/// Serves something else in the same way until it is dropped; `name` is what it is called in the log.
pub async fn serve_other(listener: TcpListener, routes: Router, name: &'static str) {
    serve_within(listener, routes, LIMITS, name).await;
}

async fn serve_within(listener: TcpListener, router: Router, limits: Limits, name: &'static str) {
    let mut places: Places<AbortHandle> = Places::new(limits.connections);
    let mut connections: JoinSet<()> = JoinSet::new();
    let mut running = std::collections::HashMap::new();
    let mut told: Option<Instant> = None;
    loop {
        tokio::select! {
            // Who has ended first, so that nobody is sent away for a place that is free.
            biased;
            Some(ended) = connections.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                if let Some(place) = running.remove(&id) {
                    places.leave(place);
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let Ok(local) = stream.local_addr() else { continue };
                    if let Some(oldest) = places.make_room(peer.ip()) {
                        oldest.abort();
                    }
                    let router = router.clone().layer(Extension(Ends { peer, local }));
                    let handle =
                        connections.spawn(serve_connection(stream, TowerToHyperService::new(router), limits, name));
                    let place = places.number();
                    running.insert(handle.id(), place);
                    places.take(place, peer.ip(), handle);
                }
                Err(error) => {
                    if told.is_none_or(|told| told.elapsed() >= TROUBLE_TOLD_EVERY) {
                        told = Some(Instant::now());
                        warn!("{name} cannot accept a connection: {error}");
                    }
                    // No descriptors are left, most likely; asking at once again would only spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    service: TowerToHyperService<Router>,
    limits: Limits,
    name: &'static str,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // One request each: nothing is held open between two, and nothing waits behind another.
        .keep_alive(false)
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers)
        .max_buf_size(limits.head)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(limits.life, connection).await {
        debug!("a connection to {name} ended: {error}");
    }
}

fn router(admin: Admin) -> Router {
    let scrapes = Scrapes::new(admin.metrics.clone());
    let switch = admin.log_level.clone().map(LevelSwitch::new);
    let mut by_hand = admin.by_hand.clone();
    // Only what has a route: of other paths it is not said who may see them.
    if by_hand.has_routes() {
        by_hand = by_hand.route_layer(axum::middleware::from_fn(by_hand::only));
    }
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
        .merge(by_hand)
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
