//! An application that answers as it is told, and what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};

use crate::gate::hand_on::Exchange;
use crate::http::{Answer, Body, Error, Request};

/// One request as it came.
#[derive(Clone, Debug)]
pub(in crate::gate) struct Seen {
    pub(in crate::gate) at: Instant,
    pub(in crate::gate) namespace: Arc<str>,
    pub(in crate::gate) url: String,
    pub(in crate::gate) headers: Vec<(String, String)>,
    pub(in crate::gate) body: Vec<u8>,
}

impl Seen {
    pub(in crate::gate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(in crate::gate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// What is answered, and after what time.
pub(in crate::gate) type Reply = (Duration, Result<Answer, Error>);
type Answering = Box<dyn Fn(&Seen) -> Reply + Send + Sync>;

pub(in crate::gate) struct Application {
    answering: Mutex<Arc<Answering>>,
    seen: Mutex<Vec<Seen>>,
    under_way: Mutex<(usize, usize)>,
}

impl Application {
    pub(in crate::gate) fn new(answering: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            answering: Mutex::new(Arc::new(Box::new(answering))),
            seen: Mutex::default(),
            under_way: Mutex::default(),
        })
    }

    pub(in crate::gate) fn now_answers(&self, answering: impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
        *self.answering.lock().unwrap() = Arc::new(Box::new(answering));
    }

    pub(in crate::gate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(in crate::gate) fn bodies(&self) -> Vec<String> {
        self.seen().iter().map(|seen| seen.text().to_owned()).collect()
    }

    /// The most requests that were under way at the same time.
    pub(in crate::gate) fn most(&self) -> usize {
        self.under_way.lock().unwrap().1
    }
}

impl Exchange for Arc<Application> {
    fn send<'a>(
        &'a self,
        namespace: &'a Arc<str>,
        _: Option<SocketAddr>,
        request: Request,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            let text = |(name, value): &(crate::http::HeaderName, crate::secret::SecretText)| {
                (name.to_string(), value.expose().to_owned())
            };
            let (content_type, body) = request.body.unwrap();
            let mut headers: Vec<_> = request.headers.iter().map(text).collect();
            headers.push(("content-type".to_owned(), content_type));
            let seen = Seen {
                at: Instant::now(),
                namespace: Arc::clone(namespace),
                url: request.url.to_string(),
                headers,
                body: body.as_bytes().to_vec(),
            };
            self.seen.lock().unwrap().push(seen.clone());
            let answering = Arc::clone(&self.answering.lock().unwrap());
            let (wait, answer) = answering(&seen);
            let _place = Place::take(self);
            sleep(wait).await;
            answer
        })
    }
}

struct Place<'a>(&'a Application);

impl<'a> Place<'a> {
    fn take(application: &'a Application) -> Self {
        let mut under_way = application.under_way.lock().unwrap();
        under_way.0 += 1;
        under_way.1 = under_way.1.max(under_way.0);
        Self(application)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.under_way.lock().unwrap().0 -= 1;
    }
}

pub(in crate::gate) fn status(status: u16) -> Reply {
    status_after(status, Duration::ZERO, None)
}

pub(in crate::gate) fn asks_to_wait(code: u16, seconds: u64) -> Reply {
    status_after(code, Duration::ZERO, Some(Duration::from_secs(seconds)))
}

pub(in crate::gate) fn status_after(status: u16, wait: Duration, retry_after: Option<Duration>) -> Reply {
    let body = Ok(Body::default());
    (wait, Ok(Answer { status, date: None, retry_after, content_type: None, link: None, body }))
}

pub(in crate::gate) fn refused_connection() -> Reply {
    let problem = "connection refused; nothing listens there";
    (Duration::ZERO, Err(Error::Connect { host: "billing:8080".to_owned(), problem }))
}

/// As the client does it after ten seconds.
pub(in crate::gate) fn silence() -> Reply {
    let timeout = Duration::from_secs(10);
    (timeout, Err(Error::Timeout { host: "billing:8080".to_owned(), timeout }))
}
