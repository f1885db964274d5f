//! The public listener: HTTP/1.1, receivers' paths and nothing else.
//!
//! Whoever reaches it may be hostile. A connection has one of a bounded number of places, a header comes
//! within ten seconds and in 32 KiB, and everything that a request may cost afterwards is
//! [`super::intake`]'s to bound.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::answer::{self, Answer};
use super::connections::{Places, Room, Worth};
use super::intake::Intake;
use super::tls::Tls;

/// How many connections there may be.
const CONNECTIONS: usize = 2_048;
/// How long a header may take, the handshake of TLS before it, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Size of a request's head, in bytes; a token may have 16 KiB.
const HEAD: usize = 32 * 1024;
/// The most headers of a request.
const HEADERS: usize = 100;
/// How long requests under way may take when the listener is closed.
const LAST_REQUESTS: Duration = Duration::from_secs(20);
/// How often a listener that does not work is told.
const TROUBLE_TOLD_EVERY: Duration = Duration::from_secs(60);

/// How far the end of the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Everything is taken in.
    Open,
    /// Everything is still taken in, because others do not know yet; each answer closes its connection.
    Closing,
    /// Nothing new is taken in.
    Closed,
}

/// Takes connections in until the stage is [`Stage::Closed`], and then ends what is under way.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    intake: Arc<Intake>,
    stage: watch::Receiver<Stage>,
) {
    let mut stages = stage.clone();
    let mut closed = pin!(async move { drop(stages.wait_for(|stage| *stage == Stage::Closed).await) });
    let mut places = Places::new(CONNECTIONS);
    let mut connections: JoinSet<()> = JoinSet::new();
    let mut running = HashMap::new();
    let mut told: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            Some(ended) = connections.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                if let Some(place) = running.remove(&id) {
                    places.leave(place);
                }
            }
            () = &mut closed => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    match places.make_room() {
                        Room::Free => {}
                        Room::Instead(other) => other.abort(),
                        Room::None => continue,
                    }
                    let worth = Worth::default();
                    let connection = Connection {
                        peer,
                        worth: worth.clone(),
                        intake: Arc::clone(&intake),
                        stage: stage.clone(),
                    };
                    let handle = connections.spawn(connection.run(stream, tls.clone()));
                    running.insert(handle.id(), places.take(worth, handle));
                    intake.connections(places.len());
                }
                Err(error) => {
                    if told.is_none_or(|told| told.elapsed() >= TROUBLE_TOLD_EVERY) {
                        told = Some(Instant::now());
                        warn!("the public listener cannot accept a connection: {error}");
                    }
                    // No descriptors are left, most likely; asking at once again would only spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(LAST_REQUESTS, all).await.is_err() {
        debug!("connections of the public listener were cut because their requests took too long");
    }
}

struct Connection {
    peer: SocketAddr,
    worth: Worth,
    intake: Arc<Intake>,
    stage: watch::Receiver<Stage>,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<Tls>) {
        // An answer is one small packet; nothing follows that it could wait for.
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.serve(stream).await,
            Some(tls) => match timeout(HEAD_TIMEOUT, tls.acceptor().accept(stream)).await {
                Ok(Ok(stream)) => self.serve(stream).await,
                Ok(Err(error)) => debug!("a handshake of TLS failed: {error}"),
                Err(_) => debug!("a handshake of TLS took too long"),
            },
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { peer, worth, intake, mut stage } = self;
        let closing = stage.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (intake, worth, closing) = (Arc::clone(&intake), worth.clone(), closing.clone());
            async move {
                let keeps = keeps_alive(&request);
                let mut answer: Answer = intake.handle(request, peer, &worth).await;
                if !keeps || *closing.borrow() != Stage::Open {
                    answer::close(&mut answer);
                }
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(HEADERS)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let closed = async { drop(stage.wait_for(|stage| *stage == Stage::Closed).await) };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = closed => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!("a connection to the public listener ended: {error}");
        }
    }
}

/// Two lengths in one request are how one proxy is made to see another request than the next: hyper
/// refuses most of it, and what is left shares its connection with nobody.
fn keeps_alive(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    !(headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH))
}
