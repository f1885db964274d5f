//! What is sent, and what is made of what comes back.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::servers::{Server, read_request};
use super::*;

const LOOPBACK: &[&str] = &["http://127.0.0.1"];

#[tokio::test]
async fn a_request_arrives_as_given() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let sender = sender.clone();
        async move {
            sender.send(read_request(&mut stream).await).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    let mut request = request(Method::PUT, &server.url("/a/b?c=d"), LONG);
    request.headers = vec![
        (HeaderName::from_static("authorization"), "Bearer canary".into()),
        (HeaderName::from_static("x-two"), "1".into()),
        (HeaderName::from_static("x-two"), "2".into()),
    ];
    request.body = Some(("application/json;charset=utf-8".to_owned(), "{\"a\":1}".into()));
    let answer = client(LOOPBACK).send(request).await.unwrap();
    assert_eq!(answer.status, 204);
    assert!(answer.body.unwrap().is_empty());

    let text = received.recv().await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines.remove(0), "PUT /a/b?c=d HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", server.address);
    let agent = format!(
        "user-agent: hookkeeper/{} (+https://github.com/hookkeeper/hookkeeper)",
        env!("CARGO_PKG_VERSION")
    );
    let mut expected = vec![
        "accept-encoding: identity",
        "accept: application/json",
        "authorization: Bearer canary",
        "content-length: 7",
        "content-type: application/json;charset=utf-8",
        &host,
        &agent,
        "x-two: 1",
        "x-two: 2",
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    assert_eq!(body, "{\"a\":1}");
}

#[tokio::test]
async fn a_content_without_a_type_is_sent_without_one() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let sender = sender.clone();
        async move {
            sender.send(read_request(&mut stream).await).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    for (header, expected) in [(None, None), (Some("text/xml"), Some("content-type: text/xml"))] {
        let mut request = request(Method::POST, &server.url("/"), LONG);
        request.body = Some((String::new(), "{}".into()));
        if let Some(value) = header {
            let name = HeaderName::from_static("content-type");
            request.headers.push((name, value.into()));
        }
        client(LOOPBACK).send(request).await.unwrap();
        let text = received.recv().await.unwrap();
        let line = text.lines().find(|line| line.starts_with("content-type"));
        assert_eq!(line, expected, "{text}");
        assert!(text.ends_with("\r\n\r\n{}"), "{text}");
    }
}

#[tokio::test]
async fn an_answer_is_read() {
    let server = Server::answering(
        "HTTP/1.1 429 Too Many Requests\r\n\
         Date: Sun, 06 Nov 1994 08:49:00 GMT\r\n\
         Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: application/json\r\n\
         Link: </a?page=2>; rel=\"next\"\r\n\
         Link: </a?page=9>; rel=\"last\"\r\n\
         Content-Length: 2\r\n\r\n{}",
    )
    .await;
    let result = get(&client(LOOPBACK), &server.url("/")).await;
    let answer = result.unwrap();
    assert_eq!(answer.status, 429);
    assert_eq!(answer.date.unwrap().to_rfc3339(), "1994-11-06T08:49:00+00:00");
    assert_eq!(answer.retry_after, Some(Duration::from_secs(37)));
    assert_eq!(answer.content_type.as_deref(), Some("application/json"));
    assert_eq!(answer.link.as_deref(), Some("</a?page=2>; rel=\"next\", </a?page=9>; rel=\"last\""));
    assert_eq!(answer.body.unwrap().as_bytes(), b"{}");
}

#[tokio::test]
async fn nothing_else_may_be_set_by_hand() {
    for (name, value) in [
        ("host", "other.example.com"),
        ("content-length", "0"),
        ("transfer-encoding", "chunked"),
        ("accept-encoding", "gzip"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("x-token", "two\r\nlines"),
    ] {
        let mut request = request(Method::GET, "http://127.0.0.1:1/", LONG);
        request.headers = vec![(HeaderName::from_static(name), value.into())];
        let error = client(LOOPBACK).send(request).await.unwrap_err();
        assert!(matches!(error, Error::InvalidRequest { .. }), "{name}");
        assert!(error.to_string().contains(name));
        assert!(!error.to_string().contains(value));
        assert!(!error.outcome_unknown());
    }
}

#[tokio::test]
async fn the_beginning_of_a_body_is_read_where_no_more_is_wanted() {
    let endless = Server::never_ending("HTTP/1.1 503 Busy\r\n\r\n", b"0123456789").await;
    let large =
        Server::never_ending("HTTP/1.1 503 Busy\r\nContent-Length: 9007199254740993\r\n\r\n", b"0123456789")
            .await;
    let short = Server::answering("HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\n01234").await;
    for (server, most, expected) in [
        (&endless, 12, "012345678901"),
        (&large, 12, "012345678901"),
        (&large, 0, ""),
        (&short, 12, "01234"),
        (&short, 5, "01234"),
    ] {
        let request = request(Method::POST, &server.url("/"), LONG);
        let answer = client(LOOPBACK).send_for_beginning(request, most).await.unwrap();
        assert_eq!((answer.status, answer.body.unwrap().as_bytes()), (503, expected.as_bytes()));
    }
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit() {
    let largest = format!("HTTP/1.1 200 OK\r\nContent-Length: {MAX_BODY}\r\n\r\n").into_bytes();
    let server = Server::answering([largest, vec![b'x'; MAX_BODY]].concat()).await;
    let answer = get(&client(LOOPBACK), &server.url("/")).await.unwrap();
    assert_eq!(answer.body.unwrap().len(), MAX_BODY);

    let endless: &[(&str, &[u8])] = &[
        ("HTTP/1.1 200 OK\r\n\r\n", b"xxxxxxxxxxxxxxxx"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nxxxx\r\n"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n", b"x"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9007199254740993\r\n\r\n", b"x"),
    ];
    for (head, more) in endless {
        let server = Server::never_ending(head, more).await;
        let result = get(&client(LOOPBACK), &server.url("/")).await;
        let answer = result.unwrap();
        assert_eq!(answer.status, 200);
        let error = answer.body.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
        assert!(error.outcome_unknown());
    }
}

#[tokio::test]
async fn a_status_survives_a_body_that_cannot_be_read() {
    for (head, more) in [
        ("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n", b"xxxxxxxxxxxxxxxx"),
        ("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Encoding: gzip\r\n\r\n", b"xxxxxxxxxxxxxxxx"),
    ] {
        let server = Server::never_ending(head, more).await;
        let result = get(&client(LOOPBACK), &server.url("/")).await;
        let answer = result.unwrap();
        assert!(answer.body.is_err());
        assert_eq!(answer.status, 503);
        assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    }
    let cut_short = Server::answering("HTTP/1.1 404 Gone\r\nContent-Length: 9\r\n\r\nx").await;
    let answer = get(&client(LOOPBACK), &cut_short.url("/")).await.unwrap();
    assert!(matches!(answer.body, Err(Error::Lost { .. })));
    assert_eq!(answer.status, 404);

    for status in [200, 404] {
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 9\r\n\r\nx");
        let stalling = Server::stalling(head.leak()).await;
        let request = request(Method::GET, &stalling.url("/"), SHORT);
        let answer = client(LOOPBACK).send(request).await.unwrap();
        assert_eq!(answer.status, status);
        let error = answer.body.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(error.outcome_unknown());
    }
}

#[tokio::test]
async fn every_wait_ends() {
    for head in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let server = Server::stalling(head).await;
        let request = request(Method::POST, &server.url("/?canary"), SHORT);
        let error = client(LOOPBACK).send(request).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(error.outcome_unknown());
        assert!(error.to_string().ends_with("within 300ms"), "{error}");
    }
}

#[tokio::test]
async fn a_dripping_body_ends_with_the_total_time() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let request = request(Method::GET, &server.url("/"), SHORT);
    let answer = client(LOOPBACK).send(request).await.unwrap();
    assert!(matches!(answer.body, Err(Error::Timeout { .. })));
}

#[tokio::test]
async fn what_is_no_http_is_an_invalid_answer() {
    let flood = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for answer in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        &flood,
    ] {
        let server = Server::answering(answer).await;
        let error = get(&client(LOOPBACK), &server.url("/")).await.unwrap_err();
        assert!(matches!(error, Error::InvalidAnswer { .. }), "{answer:.40}: {error}");
        assert!(error.outcome_unknown());
    }
    let endless = Server::never_ending("HTTP/1.1 200 OK\r\nX: ", b"xxxxxxxxxxxxxxxx").await;
    let error = get(&client(LOOPBACK), &endless.url("/")).await.unwrap_err();
    assert!(matches!(error, Error::InvalidAnswer { .. }), "{error}");
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let other = Server::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    for (status, unknown) in [(301, true), (302, true), (303, true), (304, true), (307, false), (308, false)]
    {
        let answer = format!(
            "HTTP/1.1 {status} Elsewhere\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
            other.url("/canary")
        );
        let server = Server::answering(answer).await;
        let result = get(&client(LOOPBACK), &server.url("/")).await;
        let error = result.unwrap_err();
        let host = server.address.to_string();
        assert_eq!(error, Error::Redirect { host, status });
        assert_eq!(error.outcome_unknown(), unknown);
        assert!(!error.to_string().contains("canary"));
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_body_is_unpacked_though_nobody_asked_for_it_to_be_compressed() {
    // `{"a":1}` as gzip and as zlib.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabVJT\xb22\xac\x05\0\xaf\xac\x1bV\x07\0\0\0";
    let zlib = b"x\xda\xabVJT\xb22\xac\x05\0\x08*\x02\t";
    let unexpected = |host| Err(Error::UnexpectedEncoding { host });
    let broken = |host| Err(Error::BrokenEncoding { host });
    type Expected = fn(String) -> Result<Vec<u8>, Error>;
    let plain: Expected = |_| Ok(b"{\"a\":1}".to_vec());
    for (status, encoding, body, expected) in [
        ("200 OK", "gzip", &gzip[..], plain),
        ("401 Unauthorized", "x-gzip", gzip, plain),
        ("200 OK", "deflate", zlib, plain),
        ("200 OK", "identity", b"{\"a\":1}", plain),
        ("200 OK", " Identity", b"{\"a\":1}", plain),
        ("200 OK", "br", b"{\"a\":1}", unexpected),
        ("200 OK", "gzip, gzip", gzip, unexpected),
        ("200 OK", "gzip", b"{\"a\":1}", broken),
        ("200 OK", "gzip", &gzip[..20], broken),
    ] {
        let head = format!("HTTP/1.1 {status}\r\nContent-Encoding: {encoding}\r\n");
        let length = format!("Content-Length: {}\r\n\r\n", body.len());
        let server = Server::answering([head.as_bytes(), length.as_bytes(), body].concat()).await;
        let answer = get(&client(LOOPBACK), &server.url("/")).await.unwrap();
        let read = answer.body.map(|body| body.as_bytes().to_vec());
        assert_eq!(read, expected(server.address.to_string()), "{encoding}");
    }
}

#[tokio::test]
async fn a_request_that_could_have_a_content_and_has_none_says_so() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let sender = sender.clone();
        async move {
            sender.send(read_request(&mut stream).await).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        }
    })
    .await;
    for (method, expected) in [
        (Method::POST, Some("content-length: 0")),
        (Method::PUT, Some("content-length: 0")),
        (Method::PATCH, Some("content-length: 0")),
        (Method::GET, None),
        (Method::DELETE, None),
    ] {
        for body in [None, Some(("text/plain".to_owned(), "".into()))] {
            let mut request = request(method.clone(), &server.url("/"), LONG);
            request.body = body;
            client(LOOPBACK).send(request).await.unwrap();
            let text = received.recv().await.unwrap();
            let lengths: Vec<&str> = text.lines().filter(|line| line.starts_with("content-length")).collect();
            assert_eq!(lengths, expected.into_iter().collect::<Vec<_>>(), "{text}");
        }
    }
}

#[tokio::test]
async fn a_broken_connection_is_lost_and_nothing_is_sent_again() {
    for answer in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nx",
    ] {
        let server = Server::answering(answer).await;
        let request = request(Method::POST, &server.url("/"), LONG);
        let result = client(LOOPBACK).send(request).await;
        let error = result.and_then(|answer| answer.body).unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{answer:?}: {error}");
        assert!(error.outcome_unknown());
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn connections_are_reused_and_a_request_on_one_is_sent_once() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let sender = sender.clone();
        async move {
            let first = read_request(&mut stream).await;
            sender.send(first).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            // The second one is received and the connection closed in its face.
            sender.send(read_request(&mut stream).await).unwrap();
        }
    })
    .await;
    let client = client(LOOPBACK);
    get(&client, &server.url("/first")).await.unwrap();
    let error = get(&client, &server.url("/second")).await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    assert_eq!(server.connections(), 1);
    assert!(received.recv().await.unwrap().starts_with("GET /first"));
    assert!(received.recv().await.unwrap().starts_with("GET /second"));
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn as_many_connections_are_kept_as_may_be_used() {
    for many in [1, 12, 40] {
        let all_are_here = Arc::new(tokio::sync::Barrier::new(many));
        let server = Server::start(move |mut stream| {
            let all_are_here = Arc::clone(&all_are_here);
            async move {
                while !read_request(&mut stream).await.is_empty() {
                    all_are_here.wait().await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
            }
        })
        .await;
        let client = client_with(LOOPBACK, |config| config.connections_per_host = many);
        for round in 0..3 {
            let url = server.url("/");
            let requests = (0..many).map(|_| get(&client, &url));
            let answers = futures::future::join_all(requests).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            assert_eq!(server.connections(), many, "round {round}");
        }
    }
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn nothing_secret_is_printed_at_any_level() {
    // Whether a place in the code logs at all is decided once for the whole process.
    let name = "http::tests::answers::nothing_secret_is_printed_at_any_level";
    in_a_process_of_its_own(name, &[], print_everything());
}

async fn print_everything() {
    let log = Log::default();
    let sink = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || sink.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let server = Server::answering(
        "HTTP/1.1 200 OK\r\nX-Token: canary\r\nLink: <canary>\r\nContent-Length: 6\r\n\r\ncanary",
    )
    .await;
    let mut request = request(Method::POST, &server.url("/canary?canary"), LONG);
    request.headers = vec![(HeaderName::from_static("x-token"), "canary".into())];
    request.body = Some(("text/plain".to_owned(), "canary".into()));
    let mut printed = format!("{request:?}");
    let client = client(LOOPBACK);
    let answer = client.send(request).await;
    printed.push_str(&format!("{answer:?} {client:?}"));
    assert!(answer.is_ok());

    let broken = Server::answering("HTTP/1.1 canary\r\n\r\n").await;
    let error = get(&client, &broken.url("/canary?canary")).await.unwrap_err();
    printed.push_str(&format!("{error} {error:?}"));
    printed.push_str(&String::from_utf8(log.0.lock().unwrap().clone()).unwrap());
    assert!(printed.contains("hyper"), "nothing was logged");
    assert!(!printed.contains("canary"), "{printed}");
}

#[test]
fn a_proxy_from_the_environment_is_not_used() {
    let name = "http::tests::answers::a_proxy_from_the_environment_is_not_used";
    let proxies = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"]
        .map(|name| (name, "http://127.0.0.1:1"));
    in_a_process_of_its_own(name, &proxies, async {
        let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        get(&client(LOOPBACK), &server.url("/")).await.unwrap();
    });
}

/// Runs a test where it cannot meet the others: in a process that runs nothing but this test,
/// with these variables in its environment.
fn in_a_process_of_its_own(name: &str, variables: &[(&str, &str)], test: impl Future<Output = ()>) {
    const CHILD: &str = "HOOKKEEPER_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        tokio::runtime::Runtime::new().unwrap().block_on(test);
        return;
    }
    let program = if cfg!(target_os = "linux") {
        // Still this program when a build has replaced its file meanwhile.
        "/proc/self/exe".into()
    } else {
        std::env::current_exe().unwrap()
    };
    let output = std::process::Command::new(program)
        .args(["--exact", name])
        .envs(variables.iter().copied())
        .env(CHILD, "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}
