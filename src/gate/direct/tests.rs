use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{BoxFuture, join_all};
use hyper::header::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::gate::hand_on::tests::world::receiver;
use crate::gate::receiver::Destination;
use crate::http::{Body, Client, Config, DestinationPolicy, Request};
use crate::store::Owner;

struct Nobody;

impl Observer for Nobody {
    fn saw(&self, _: &Owner, _: Fact<'_>) {}
}

fn answered(status: u16, body: &[u8]) -> Result<Answer, Error> {
    let body = Ok(Body::new(body.to_vec()));
    Ok(Answer { status, date: None, retry_after: None, content_type: None, link: None, body })
}

fn judged(answered: Result<Answer, Error>) -> (u16, Option<Refusal>, bool) {
    let passed = answer_of(&receiver("hr", "gupy"), answered);
    assert_eq!(passed.retry_after.is_some(), passed.status == 503 && passed.refusal.is_some());
    (passed.status, passed.refusal, passed.is_taken())
}

#[test]
fn the_platform_is_told_the_truth_in_the_words_that_it_understands() {
    for status in [200, 201, 202, 204, 299] {
        assert_eq!(judged(answered(status, b"")), (200, None, true), "{status}");
    }
    for status in [400, 401, 404, 409, 429, 500, 502, 503, 599] {
        assert_eq!(judged(answered(status, b"")), (status, None, false), "{status}");
    }
    let ours = |status| (status, Some(Refusal::Application), false);
    assert_eq!(judged(answered(999, b"")), ours(502));
    let host = || "billing:8080".to_owned();
    for status in [300, 301, 302, 307, 308] {
        assert_eq!(judged(Err(Error::Redirect { host: host(), status })), ours(502));
    }
    assert_eq!(judged(Err(Error::InvalidAnswer { host: host() })), ours(502));
    for error in [
        Error::Connect { host: host(), problem: "connection refused; nothing listens there" },
        Error::ConnectTimeout { host: host() },
        Error::Timeout { host: host(), timeout: Duration::from_secs(10) },
        Error::Lost { host: host() },
        Error::Resolve { host: host() },
    ] {
        assert_eq!(judged(Err(error)), ours(503));
    }
}

#[test]
fn another_platform_has_another_success() {
    let mut receiver = receiver("hr", "other");
    receiver.success = 202;
    assert_eq!(answer_of(&receiver, answered(200, b"")).status, 202);
}

#[test]
fn of_a_long_page_the_beginning_is_passed_back_and_of_a_broken_one_nothing() {
    let receiver = receiver("hr", "gupy");
    let passed = answer_of(&receiver, answered(500, &vec![b'x'; LARGEST_ANSWER + 1]));
    assert_eq!(passed.body.len(), LARGEST_ANSWER);
    assert_eq!(answer_of(&receiver, answered(200, b"\xff ok")).body, &b"\xff ok"[..]);
    let broken =
        answered(200, b"").map(|answer| Answer { body: Err(Error::Lost { host: String::new() }), ..answer });
    let passed = answer_of(&receiver, broken);
    assert_eq!((passed.status, passed.body.len()), (200, 0));
}

fn delivery<'a>(headers: &'a HeaderMap, credential_headers: &'a [HeaderName]) -> Delivery<'a> {
    Delivery {
        id: DeliveryId::from_bytes([3; 16]),
        headers,
        credential_headers,
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("gzip, br".to_owned()),
        event_time: Some("2026-11-27"),
        body: Bytes::from_static(b"{}"),
    }
}

#[test]
fn what_proves_the_delivery_or_is_meant_for_one_hop_does_not_go_on() {
    let mut sent = HeaderMap::new();
    for (name, value) in [
        ("x-request-id", "1"),
        ("x-token", "canary"),
        ("authorization", "canary"),
        ("connection", "close, X-Hop"),
        ("x-hop", "canary"),
        ("keep-alive", "canary"),
        ("te", "canary"),
        ("transfer-encoding", "chunked"),
        ("hookkeeper-delivery", "canary"),
        ("host", "canary"),
        ("content-length", "999"),
        ("content-type", "text/plain"),
        ("accept-encoding", "gzip"),
        ("content-encoding", "canary"),
        ("expect", "100-continue"),
    ] {
        sent.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_static(value));
    }
    sent.append("x-bytes", HeaderValue::from_bytes(b"\xff").unwrap());
    let credentials = [HeaderName::from_static("x-token")];
    let headers = headers_for(&receiver("hr", "gupy"), &delivery(&sent, &credentials));
    let mut names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "content-encoding",
            "hookkeeper-attempt",
            "hookkeeper-delivery",
            "hookkeeper-event-time",
            "hookkeeper-receiver",
            "x-request-id"
        ]
    );
    assert!(headers.iter().all(|(_, value)| value.expose() != "canary"));
    assert!(headers.iter().any(|(_, value)| value.expose() == "gzip, br"), "both of them, in one line");
}

struct Slow {
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Exchange for Arc<Slow> {
    fn send<'a>(
        &'a self,
        _: &'a Arc<str>,
        _: Option<std::net::SocketAddr>,
        _: Request,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async {
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(4)).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            answered(200, b"")
        })
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_the_application_takes_and_who_waits_too_long_is_told() {
    let slow = Arc::new(Slow { under_way: AtomicUsize::new(0), most: AtomicUsize::new(0) });
    let direct = Direct::new(Arc::clone(&slow), Arc::new(Nobody));
    let mut receiver = receiver("hr", "gupy");
    receiver.forward.max_concurrent = 5;
    let headers = HeaderMap::new();
    let passed = join_all((0..20).map(|_| direct.pass_on(&receiver, delivery(&headers, &[])))).await;
    assert_eq!(slow.most.load(Ordering::SeqCst), 5);
    // Within the 10 s of its timeout three rounds of 4 s can begin.
    assert_eq!(passed.iter().filter(|passed| passed.is_taken()).count(), 15);
    let others: Vec<_> = passed.iter().filter(|passed| !passed.is_taken()).collect();
    assert!(others.iter().all(|passed| (passed.status, passed.retry_after) == (503, Some(COME_AGAIN))));
    // Nothing is kept for a receiver that is not in use.
    for number in 0..100_u32 {
        let other = crate::gate::hand_on::tests::world::receiver("hr", &number.to_string());
        direct.places.of(&other);
    }
    assert_eq!(direct.places.0.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_passed_on_under_suspend() {
    let slow = Arc::new(Slow { under_way: AtomicUsize::new(0), most: AtomicUsize::new(0) });
    let direct = Direct::new(Arc::clone(&slow), Arc::new(Nobody));
    let mut receiver = receiver("hr", "gupy");
    receiver.suspended = true;
    let passed = direct.pass_on(&receiver, delivery(&HeaderMap::new(), &[])).await;
    assert_eq!((passed.status, passed.refusal), (503, Some(Refusal::Suspended)));
    assert_eq!(passed.retry_after, Some(COME_AGAIN));
    assert_eq!(slow.most.load(Ordering::SeqCst), 0);
}

/// Over a real connection: the bytes there, and status and body alone back.
#[tokio::test]
async fn bytes_go_there_and_status_and_body_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let application = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\xff\xfe") {
            request.push(stream.read_u8().await.unwrap());
        }
        let answer = b"HTTP/1.1 422 No\r\nSet-Cookie: a=b\r\nX-Other: 1\r\nContent-Length: 3\r\n\r\nno\xff";
        stream.write_all(answer).await.unwrap();
        String::from_utf8_lossy(&request).into_owned()
    });
    let allowed = vec!["http://127.0.0.0/8".parse().unwrap()];
    let config = Config { destinations: DestinationPolicy::new(allowed), ..Config::default() };
    let direct = Direct::new(Client::new(config).unwrap(), Arc::new(Nobody));
    let mut receiver = receiver("hr", "gupy");
    receiver.forward.to = Destination::Url(format!("http://{address}/in").parse().unwrap());
    let headers = HeaderMap::new();
    let mut delivery = delivery(&headers, &[]);
    delivery.body = Bytes::from_static(b"\x00\xff\xfe");
    let passed = direct.pass_on(&receiver, delivery).await;
    assert_eq!((passed.status, &passed.body[..]), (422, &b"no\xff"[..]));
    assert!(!format!("{passed:?}").contains("no\\xff"));
    let request = application.await.unwrap();
    assert!(request.starts_with("POST /in HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");

    // Nobody listens there any more.
    let passed = direct.pass_on(&receiver, self::delivery(&headers, &[])).await;
    assert_eq!((passed.status, passed.retry_after), (503, Some(COME_AGAIN)));
}
