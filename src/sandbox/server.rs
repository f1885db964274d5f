//! The listener, the routes, and connections that can be cut without an answer.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::serve::{IncomingStream, Listener};
use chrono::{DateTime, Utc};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use super::account::DeliveryLedger;
use super::application::{self, Received};
use super::clock::Clock;
use super::deliveries::Sender;
use super::exchange::Answer;
use super::senders::Post;
use super::world::World;
use super::{Config, Error, admin, gupy, processes, receiver, token_endpoint};
use crate::secret::SecretText;

/// What all requests share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    world: Mutex<World>,
    /// What became of deliveries that were handed on.
    pub(super) account: Arc<DeliveryLedger>,
    pub(super) senders: Vec<Arc<Post>>,
    /// What must never reach the application.
    pub(super) credentials: Vec<SecretText>,
    gupy: Mutex<Sender>,
    received: Mutex<VecDeque<Received>>,
    /// Rings when something may be due earlier than before.
    pub(super) wake: Notify,
    pub(super) closing: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(config: &Config, base_url: &str) -> Result<Self, Error> {
        let clock = Clock::new(config.time_scale);
        let world = World::new(config, |provider| clock.real(provider))?;
        let account = Arc::clone(&world.account);
        let mut credentials = vec![config.management_token.clone()];
        credentials.extend(config.clients.iter().map(|client| client.secret.clone()));
        credentials.extend(config.senders.iter().flat_map(|sender| sender.platform.credentials()));
        let post = |sender| Post::new(sender, clock.now(), Arc::clone(&account)).map(Arc::new);
        Ok(Self {
            senders: config.senders.iter().map(post).collect::<Result<_, _>>()?,
            gupy: Mutex::new(Sender::new(config.deliver_to.clone(), base_url)?),
            received: Mutex::default(),
            world: Mutex::new(world),
            clock,
            account,
            credentials,
            wake: Notify::new(),
            closing: watch::Sender::new(false),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where Gupy's deliveries go.
    pub(super) fn gupy(&self) -> MutexGuard<'_, Sender> {
        self.gupy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the application got last.
    pub(super) fn received(&self) -> MutexGuard<'_, VecDeque<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world and the present moment, read in this order so that changes carry rising times.
    pub(super) fn lock_now(&self) -> (MutexGuard<'_, World>, DateTime<Utc>) {
        let world = self.lock();
        let now = self.clock.now();
        (world, now)
    }

    /// Resolves when the sandbox shuts down.
    pub(super) async fn closed(&self) {
        // An error would mean that the sender is gone, which it is not while `self` is here.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }
}

/// Serves until the sandbox shuts down.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let routes = Router::new()
        .merge(gupy::routes())
        .merge(token_endpoint::routes())
        .merge(receiver::routes())
        .merge(application::routes())
        .merge(processes::routes())
        .nest("/admin", admin::routes())
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .with_state(Arc::clone(&shared))
        .into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(CuttableListener(listener), routes)
        .with_graceful_shutdown(async move { shared.closed().await })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the sandbox stopped listening");
    }
}

async fn nothing_here() -> axum::response::Response {
    Answer::error(StatusCode::NOT_FOUND, "Not Found", "Endpoint not found").into_response()
}

/// The other end of a connection.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) ip: IpAddr,
    cut: Arc<AtomicBool>,
}

impl Peer {
    /// Makes the connection end at the next byte that would be written.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        Self { ip: stream.remote_addr().ip(), cut: Arc::clone(&stream.io().cut) }
    }
}

struct CuttableListener(TcpListener);

impl Listener for CuttableListener {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Only speed is lost where the system refuses.
        let _ = stream.set_nodelay(true);
        let cut = Arc::new(AtomicBool::new(false));
        (CuttableStream { stream, cut }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A connection that fails to write once it has been cut, upon which the server drops it.
struct CuttableStream {
    stream: TcpStream,
    cut: Arc<AtomicBool>,
}

impl CuttableStream {
    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
