//! What really goes over the wire, and what really comes back.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::world::receiver;
use crate::gate::hand_on::ByName;
use crate::gate::hand_on::attempt::{Meaning, Sign};
use crate::gate::hand_on::scheduler::attempt;
use crate::gate::receiver::{Destination, Receiver};
use crate::http::{Client, Config, DestinationPolicy};
use crate::store::{Claim, DeliveryId, Taken};

/// Reads one request whole.
async fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// An application that answers each request on a connection with these bytes, and then keeps silent,
/// or closes.
async fn application(
    answer: &'static [u8],
    closes: bool,
) -> (SocketAddr, mpsc::UnboundedReceiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Some(request) = read(&mut stream).await {
                    let _ = sender.send(request);
                    let _ = stream.write_all(answer).await;
                    if closes {
                        return;
                    }
                }
            });
        }
    });
    (address, received)
}

fn client() -> Client {
    let allowed = vec!["http://127.0.0.0/8".parse().unwrap()];
    Client::new(Config { destinations: DestinationPolicy::new(allowed), ..Config::default() }).unwrap()
}

fn to(address: SocketAddr, timeout: Duration) -> Receiver {
    let mut receiver = receiver("hr", "gupy");
    receiver.forward.to = Destination::Url(format!("http://{address}/in?x=1").parse().unwrap());
    receiver.forward.timeout = timeout;
    receiver
}

fn taken(body: &'static [u8], content_type: Option<&str>, content_encoding: Option<&str>) -> Taken {
    let now = Utc::now();
    Taken {
        id: DeliveryId::from_bytes([9; 16]),
        claim: Claim(1),
        arrived: now,
        body: Bytes::from_static(body),
        content_type: content_type.map(str::to_owned),
        content_encoding: content_encoding.map(str::to_owned),
        event_time: None,
        refusals: 0,
        attempts: 4,
        since: now,
        event: vec![0; 32],
        duplicate_of: None,
    }
}

const LONG: Duration = Duration::from_secs(30);

async fn meaning_of(answer: &'static [u8], closes: bool, timeout: Duration) -> Meaning {
    let (address, _received) = application(answer, closes).await;
    attempt(&client(), &ByName, &to(address, timeout), taken(b"{}", None, None)).await
}

#[tokio::test]
async fn the_bytes_go_over_as_they_came() {
    let (address, mut received) = application(b"HTTP/1.1 204 No Content\r\n\r\n", false).await;
    let client = client();
    for (body, content_type, encoding) in [
        (&b"{\"a\" : 1 }\n"[..], Some("application/json;charset=utf-8"), None),
        (b"\xff\x00\xfe not text \r\n\r\n", Some("application/octet-stream"), None),
        (b"\x1f\x8b\x08\x00\x00", Some("application/json"), Some("gzip, br")),
        (b"", Some("text/plain"), None),
        (b"{}", None, None),
        ("{\"nome\":\"Conceição\"}".as_bytes(), Some("application/json"), None),
    ] {
        let delivery = taken(body, content_type, encoding);
        let meaning = attempt(&client, &ByName, &to(address, LONG), delivery).await;
        assert_eq!(meaning, Meaning::Taken);
        let (head, came) = received.recv().await.unwrap();
        assert_eq!(came, body);
        let value = |name: &str| {
            let lines: Vec<_> =
                head.lines().filter_map(|line| line.strip_prefix(&format!("{name}: "))).collect();
            assert!(lines.len() <= 1, "{head}");
            lines.first().map(|value| (*value).to_owned())
        };
        assert!(head.starts_with("POST /in?x=1 HTTP/1.1\r\n"), "{head}");
        assert_eq!(value("content-encoding").as_deref(), encoding);
        assert_eq!(value("content-type").as_deref(), content_type);
        assert_eq!(value("content-length"), Some(body.len().to_string()));
        assert_eq!(value("hookkeeper-delivery").as_deref(), Some("09090909-0909-0909-0909-090909090909"));
        assert_eq!(value("hookkeeper-attempt").as_deref(), Some("5"));
        assert_eq!(value("hookkeeper-receiver").as_deref(), Some("hr/gupy"));
        assert_eq!(value("authorization"), None);
    }
}

#[tokio::test]
async fn what_an_answer_is_worth() {
    let refused = |meaning: Meaning| matches!(meaning, Meaning::Refused { .. });
    let away =
        |meaning: Meaning, expected: Sign| matches!(meaning, Meaning::Away { sign, .. } if sign == expected);
    let ok = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(meaning_of(ok, false, LONG).await, Meaning::Taken);
    // The page behind a success is nobody's business.
    let endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n";
    assert_eq!(meaning_of(endless, true, LONG).await, Meaning::Taken);
    let stalled = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx";
    assert_eq!(meaning_of(stalled, false, Duration::from_millis(300)).await, Meaning::Taken);

    let redirect =
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert!(refused(meaning_of(redirect, false, LONG).await));
    assert!(refused(meaning_of(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false, LONG).await));
    assert!(refused(meaning_of(b"SSH-2.0-OpenSSH_9.9\r\n", true, LONG).await));

    let busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
    assert!(away(meaning_of(busy, false, LONG).await, Sign::Asked(Some(Duration::from_secs(7)))));
    assert!(away(meaning_of(b"", true, LONG).await, Sign::Silent), "closed without an answer");
    assert!(away(meaning_of(b"HTTP/1.1 2", true, LONG).await, Sign::Silent), "closed in the middle");
    assert!(
        away(meaning_of(b"", false, Duration::from_millis(300)).await, Sign::Silent),
        "no answer in time"
    );
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_not_reached() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let meaning = attempt(&client(), &ByName, &to(closed, LONG), taken(b"{}", None, None)).await;
    assert!(matches!(meaning, Meaning::Away { sign: Sign::Unreached, .. }), "{meaning:?}");

    let (address, mut received) = application(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false).await;
    let strict = Client::new(Config::default()).unwrap();
    let meaning = attempt(&strict, &ByName, &to(address, LONG), taken(b"{}", None, None)).await;
    let Meaning::Away { what, sign: Sign::Unreached } = meaning else { panic!("{meaning:?}") };
    assert!(what.contains(&format!("--allow-destination http://{address}")), "{what}");
    assert!(received.try_recv().is_err());

    // A Service by its name, as it is outside a cluster.
    let mut by_name = to(address, LONG);
    by_name.forward.to = Destination::Service { name: "billing".into(), port: 8080, path: "/qualp".into() };
    let meaning = attempt(&strict, &ByName, &by_name, taken(b"{}", None, None)).await;
    let Meaning::Away { what, .. } = meaning else { panic!("{meaning:?}") };
    assert!(what.contains("--allow-destination http://billing:8080"), "{what}");
}

/// Nothing that a request holds is shown when it fails.
#[tokio::test]
async fn a_failure_says_nothing_of_the_delivery() {
    let (address, _received) = application(b"HTTP/1.1 500 No\r\nX-Canary: canary\r\n\r\ncanary", true).await;
    let delivery = taken(b"canary", Some("text/canary"), None);
    let meaning = attempt(&client(), &ByName, &to(address, LONG), delivery.clone()).await;
    assert!(!format!("{meaning:?} {delivery:?}").contains("canary"));
}
