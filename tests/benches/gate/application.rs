//! A server that answers 200 and does nothing else: the limit that the gate is measured against, and the
//! application behind it. It is built as the gate's public listener is.
//!
//! It remembers the numbers of the deliveries it got, so that what was lost can be told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::deliveries::{BEFORE_ID, ID};
use crate::marks::Marks;

/// Where the numbers of the deliveries are asked for.
pub const MARKS: &str = "/marks";
/// Where is asked how many different ones there were, and how many came again.
pub const COUNT: &str = "/count";

#[derive(Debug, Default)]
struct Received {
    marks: Marks,
    distinct: u64,
    repeated: u64,
}

/// Serves until it is ended.
pub fn run(address: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.unwrap();
        let received = Arc::new(Mutex::new(Received::default()));
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let received = Arc::clone(&received);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let received = Arc::clone(&received);
                    async move { Ok::<_, Infallible>(answer(request, &received).await) }
                });
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(75))
                    .max_headers(100)
                    .max_buf_size(32 * 1024)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

async fn answer(request: Request<Incoming>, received: &Mutex<Received>) -> Response<Full<Bytes>> {
    if request.method() == Method::GET {
        let received = received.lock().unwrap();
        let body = match request.uri().path() {
            MARKS => received.marks.to_bytes(),
            _ => format!("{} {}", received.distinct, received.repeated).into_bytes(),
        };
        return Response::new(Full::from(body));
    }
    if let Ok(body) = request.into_body().collect().await
        && let Some(number) = number(&body.to_bytes())
    {
        let mut received = received.lock().unwrap();
        if received.marks.set(number) {
            received.repeated += 1;
        } else {
            received.distinct += 1;
        }
    }
    Response::default()
}

/// The number of the delivery: the last twelve digits of its id.
fn number(body: &[u8]) -> Option<u64> {
    let begins = body.windows(BEFORE_ID.len()).position(|window| window == BEFORE_ID)? + BEFORE_ID.len();
    let id = body.get(begins..begins + ID)?;
    u64::from_str_radix(std::str::from_utf8(&id[ID - 12..]).ok()?, 16).ok()
}
