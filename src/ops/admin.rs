//! The admin server: `/livez`, `/readyz`, `/metrics` and `/log-level`.
//!
//! It holds no secret and answers reads only, but for the log level, which who is on the same host may
//! change. It may listen on a network, so what a client can
//! cost is bounded: connections, the size of a request's head, the time for it, and the life of a
//! connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
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
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::health::{Heartbeat, Readiness};
use super::logs::LogLevel;
use super::metrics::{CONTENT_TYPE, Metrics};

/// What the server shows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Whether the scheduler moves.
    pub heartbeat: Arc<Heartbeat>,
    /// What is still missing.
    pub readiness: Readiness,
    /// What happened.
    pub metrics: Metrics,
    /// What is logged.
    pub log_level: Option<LogLevel>,
}

/// What a client can cost.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: usize,
    /// Size of a request's head, in bytes.
    head: usize,
    headers: usize,
    head_timeout: Duration,
    /// Life of a connection; whoever asks regularly connects again.
    life: Duration,
}

const LIMITS: Limits = Limits {
    connections: 64,
    head: 16 * 1024,
    headers: 64,
    head_timeout: Duration::from_secs(5),
    life: Duration::from_secs(120),
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
    let router = router(admin);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < limits.connections => match accepted {
                Ok((stream, peer)) => {
                    let router = router.clone().layer(Extension(Peer(peer.ip())));
                    connections.spawn(serve_connection(stream, TowerToHyperService::new(router), limits));
                }
                Err(error) => {
                    warn!("the admin server cannot accept a connection: {error}");
                    // No descriptors are left, most likely; asking at once again would only spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, service: TowerToHyperService<Router>, limits: Limits) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers)
        .max_buf_size(limits.head)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(limits.life, connection).await {
        debug!("a connection to the admin server ended: {error}");
    }
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/log-level", put(log_level).layer(DefaultBodyLimit::max(LONGEST_LEVEL)))
        .with_state(admin)
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
    let lines: String = missing.iter().map(|what| format!("{what}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Who asks.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

/// In bytes.
const LONGEST_LEVEL: usize = 1024;

async fn log_level(
    State(admin): State<Admin>,
    Extension(Peer(peer)): Extension<Peer>,
    level: String,
) -> Response {
    let Some(log_level) = admin.log_level.filter(|_| peer.to_canonical().is_loopback()) else {
        return (StatusCode::FORBIDDEN, "only from the same host\n").into_response();
    };
    match log_level.change(level.trim()) {
        Ok(()) => {
            info!(level = level.trim(), "the log level was changed");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn started(limits: Limits) -> (SocketAddr, Admin) {
        let heartbeat = Heartbeat::new(Duration::from_secs(30));
        let admin = Admin {
            heartbeat: Arc::clone(&heartbeat),
            readiness: Readiness::default(),
            metrics: Metrics::new(heartbeat, true),
            log_level: None,
        };
        let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_within(listener, admin.clone(), limits));
        (address, admin)
    }

    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // A server that refuses may reset the connection.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    async fn get(address: SocketAddr, path: &str) -> (String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = exchange(address, &request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }

    #[tokio::test]
    async fn readiness_lists_what_is_missing() {
        let (address, admin) = started(LIMITS).await;
        let manifests = admin.readiness.awaits("manifests have not been read");
        let (head, body) = get(address, "/readyz").await;
        assert!(head.starts_with("http/1.1 503"), "{head}");
        assert_eq!(body, "manifests have not been read\n");
        drop(manifests);
        let (head, body) = get(address, "/readyz").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(body, "ready\n");
    }

    #[tokio::test]
    async fn liveness_follows_the_heartbeat() {
        let heartbeat = Heartbeat::new(Duration::ZERO);
        let admin = Admin {
            heartbeat: Arc::clone(&heartbeat),
            readiness: Readiness::default(),
            metrics: Metrics::new(Arc::clone(&heartbeat), true),
            log_level: None,
        };
        // With no time allowed, any time at all is too long.
        while heartbeat.is_alive() {
            tokio::task::yield_now().await;
        }
        let response = livez(State(admin)).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let (address, _) = started(LIMITS).await;
        assert_eq!(get(address, "/livez").await.1, "alive\n");
    }

    #[tokio::test]
    async fn metrics_say_what_they_are() {
        let (address, _) = started(LIMITS).await;
        let (head, body) = get(address, "/metrics").await;
        assert!(head.contains(&format!("content-type: {CONTENT_TYPE}")), "{head}");
        assert!(body.contains("hookkeeper_build_info"));
        assert!(get(address, "/other").await.0.starts_with("http/1.1 404"));
        let answer = exchange(
            address,
            "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let (address, _) = started(LIMITS).await;
        let large = "x".repeat(LIMITS.head * 2);
        let answer =
            exchange(address, &format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {large}\r\n\r\n")).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        let many = "X: y\r\n".repeat(LIMITS.headers + 1);
        let answer = exchange(address, &format!("GET /livez HTTP/1.1\r\n{many}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_never_finishes_makes_room_for_others() {
        let limits = Limits { connections: 1, head_timeout: Duration::from_millis(50), ..LIMITS };
        let (address, _) = started(limits).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        // The only connection is taken until the server gives the slow client up.
        assert_eq!(get(address, "/livez").await.1, "alive\n");
    }

    #[tokio::test]
    async fn a_connection_that_is_only_held_ends() {
        let limits = Limits { life: Duration::from_millis(50), ..LIMITS };
        let (address, _) = started(limits).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let (address, _) = started(LIMITS).await;
        let error = listen(address).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
