//! The public listener: HTTP/1.1, receivers' paths and nothing else.
//!
//! Whoever reaches it may be hostile. A connection has one of a bounded number of places, a header comes
//! within ten seconds and in 32 KiB, and everything that a request may cost afterwards is
//! [`super::intake`]'s to bound.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::answer::{self, Answer};
use super::connections::{Places, Room, Worth};
use super::framing;
use super::intake::Intake;
use super::tls::Tls;

/// The most connections that there may be.
const CONNECTIONS: usize = 2_048;
/// Open files that are left to the store, to Secrets, to the admin server and to applications.
const OPEN_FILES_OF_OTHERS: u64 = 640;
/// How long a header may take, the handshake of TLS before it, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The most headers of a request.
const HEADERS: usize = 100;
/// How long requests under way may take when the listener is closed.
const LAST_REQUESTS: Duration = Duration::from_secs(20);
/// How long is read on, and thrown away, what is still coming after the last answer.
const LAST_BYTES: Duration = Duration::from_secs(2);
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

/// How many connections there may be in a process that may have so many files open: when they are used
/// up, nobody can be let in, whoever would have to go for them.
#[must_use]
pub fn places(open_files: Option<u64>) -> usize {
    let Some(open_files) = open_files else { return CONNECTIONS };
    let free = open_files.saturating_sub(OPEN_FILES_OF_OTHERS).max(open_files / 2);
    usize::try_from(free).unwrap_or(CONNECTIONS).min(CONNECTIONS)
}

/// Takes connections in until the stage is [`Stage::Closed`], and then ends what is under way.
/// `places` is how many there may be at the same time.
pub async fn serve(
    listener: TcpListener,
    places: usize,
    tls: Option<Tls>,
    intake: Arc<Intake>,
    stage: watch::Receiver<Stage>,
) {
    let mut stages = stage.clone();
    let mut closed = pin!(async move { drop(stages.wait_for(|stage| *stage == Stage::Closed).await) });
    let most = places;
    let mut places = Places::new(most);
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
            // One that had to go for another keeps its open file until its task has ended.
            accepted = listener.accept(), if connections.len() <= most => match accepted {
                Ok((stream, peer)) => {
                    match places.make_room() {
                        Room::Free => {}
                        Room::Instead(other) => other.abort(),
                        Room::None => continue,
                    }
                    let worth = places.worth();
                    let connection = Connection {
                        peer,
                        worth: worth.clone(),
                        intake: Arc::clone(&intake),
                        stage: stage.clone(),
                    };
                    let handle = connections.spawn(connection.run(stream, tls.clone()));
                    running.insert(handle.id(), places.take(worth, handle));
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
            Box::pin(async move {
                let (head, body) = request.into_parts();
                let mut answer: Answer = match framing::unfit(&head) {
                    Some(status) => answer::closing(status),
                    None => intake.handle(Request::from_parts(head, body), peer, &worth).await,
                };
                if *closing.borrow() != Stage::Open {
                    answer::close(&mut answer);
                }
                Ok::<_, std::convert::Infallible>(answer)
            })
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(HEADERS)
            .max_buf_size(framing::HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let closed = async { drop(stage.wait_for(|stage| *stage == Stage::Closed).await) };
        let ended = tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
            () = closed => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                poll_fn(|context| connection.poll_without_shutdown(context)).await
            }
        };
        if let Err(error) = &ended {
            debug!("a connection to the public listener ended: {error}");
        }
        if !ended.is_err_and(|error| error.is_timeout()) {
            close(connection.into_parts().io.into_inner()).await;
        }
    }
}

/// Closes a connection in such a way that the last answer arrives: whoever is refused while they are still
/// sending would be met by a reset, and might never read why (RFC 9112, section 9.6).
async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let reading = async {
        stream.shutdown().await?;
        let mut thrown_away = [0; 8 * 1024];
        while stream.read(&mut thrown_away).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Nobody is waited for who goes on and on, and what they say then does not matter.
    let _ = timeout(LAST_BYTES, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_open_files_to_others() {
        for (open_files, expected) in [
            (None, 2_048),
            (Some(u64::MAX), 2_048),
            (Some(2_688), 2_048),
            (Some(2_000), 1_360),
            (Some(1_024), 512),
            (Some(256), 128),
        ] {
            assert_eq!(places(open_files), expected, "{open_files:?}");
        }
    }
}
