//! When the API server was last heard from, seen at the transport: a watch of objects that never
//! change brings nothing but bookmarks, which do not come through to whoever watches.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use chrono::{DateTime, Utc};
use http_body_util::BodyExt as _;
use http_body_util::combinators::MapFrame;
use hyper::body::{Body, Bytes, Frame};
use hyper::{Request, Response};
use tower::{Layer, Service};

/// When each watched path last brought a byte.
#[derive(Clone, Debug, Default)]
pub struct LastHeard(Arc<Mutex<BTreeMap<String, DateTime<Utc>>>>);

impl LastHeard {
    fn heard(&self, path: &str) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // There are as many as kinds and namespaces that are watched.
        paths.insert(path.to_owned(), Utc::now());
    }

    /// The moment for the watch that has been silent for longest; `None` before anything was heard.
    #[must_use]
    pub fn oldest(&self) -> Option<DateTime<Utc>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().min().copied()
    }
}

impl<S> Layer<S> for LastHeard {
    type Service = Listening<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Listening { inner, last_heard: self.clone() }
    }
}

/// A client's service that notes when it hears something.
#[derive(Clone, Debug)]
pub struct Listening<S> {
    inner: S,
    last_heard: LastHeard,
}

type Noted = Box<dyn FnMut(Frame<Bytes>) -> Frame<Bytes> + Send>;

impl<S, Asked, Answered> Service<Request<Asked>> for Listening<S>
where
    S: Service<Request<Asked>, Response = Response<Answered>>,
    S::Future: Send + 'static,
    Answered: Body<Data = Bytes>,
{
    type Response = Response<MapFrame<Answered, Noted>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        let (path, last_heard) = (request.uri().path().to_owned(), self.last_heard.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            // Refusals are no life of a watch.
            let is_success = answer.status().is_success();
            Ok(answer.map(|body| {
                body.map_frame(Box::new(move |frame| {
                    if is_success {
                        last_heard.heard(&path);
                    }
                    frame
                }) as Noted)
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn what_arrives_is_noted_and_refusals_are_not() {
        let last_heard = LastHeard::default();
        let mut service = last_heard.layer(service_fn(async |request: Request<u16>| {
            let body = Full::new(Bytes::from_static(b"bookmark"));
            Ok::<_, std::convert::Infallible>(
                Response::builder().status(request.into_body()).body(body).unwrap(),
            )
        }));
        let mut ask = |path: &'static str, status| {
            let answer = service.call(Request::builder().uri(path).body(status).unwrap());
            async move { answer.await.unwrap().into_body().collect().await.unwrap().to_bytes() }
        };
        assert_eq!(ask("/refused", 403).await, "bookmark");
        assert_eq!(last_heard.oldest(), None);
        ask("/first", 200).await;
        let first = last_heard.oldest();
        ask("/second", 200).await;
        assert_eq!(last_heard.oldest(), first, "the one that has been silent for longest counts");
        ask("/first", 200).await;
        assert!(last_heard.oldest() > first);
    }
}
