//! A small HTTP server whose clients can cost only so much, and that serves whoever comes next whatever the
//! others do: each connection has a place that is taken from whoever holds the most when all are taken,
//! and ends by itself.

use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::by_hand::Ends;
use super::places::{Bounds, Places};

/// What clients can cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub(super) connections: Bounds,
    /// Size of a request's head, in bytes.
    pub(super) head: usize,
    pub(super) headers: usize,
    pub(super) head_timeout: Duration,
    /// Whether a connection is for more than one request.
    pub(super) keep_alive: bool,
    /// From the first byte to the last one, in both directions.
    pub(super) life: Duration,
}

impl Limits {
    /// For programs that are trusted with a listener of their own, and have many requests.
    pub const FOR_APPLICATIONS: Self = Self {
        connections: Bounds { total: 512, each_peer: 256 },
        head: 16 * 1024,
        headers: 64,
        head_timeout: Duration::from_secs(10),
        keep_alive: true,
        life: Duration::from_secs(300),
    };
}

/// How often a listener that does not work is told.
const TROUBLE_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Serves until it is dropped. `name` is what the server is called where it is told of.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, name: &'static str) {
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
                        connections.spawn(serve_connection(stream, TowerToHyperService::new(router), limits));
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

async fn serve_connection(stream: TcpStream, service: TowerToHyperService<Router>, limits: Limits) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(limits.keep_alive)
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers)
        .max_buf_size(limits.head)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(limits.life, connection).await {
        debug!("a connection ended: {error}");
    }
}
