//! The server on real sockets.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

async fn started(limits: Limits) -> (SocketAddr, Admin) {
    started_with(limits, None).await
}

async fn started_with(limits: Limits, log_level: Option<LogLevel>) -> (SocketAddr, Admin) {
    let heartbeat = Heartbeat::new(Duration::from_secs(30));
    let admin = Admin {
        heartbeat: Arc::clone(&heartbeat),
        readiness: Readiness::default(),
        metrics: Metrics::new(heartbeat, true),
        log_level,
        by_hand: ByHand::of(Router::new()),
    };
    let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_within(listener, admin.clone(), limits));
    (address, admin)
}

async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // A server that refuses may reset the connection.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = exchange(address, &request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn readiness_lists_what_is_missing() {
    let (address, admin) = started(LIMITS).await;
    let manifests = admin.readiness.awaits("manifests have not been read");
    let (head, body) = get(address, "/readyz").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body, "manifests have not been read\n");
    drop(manifests);
    let (head, body) = get(address, "/readyz").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, "ready\n");
}

#[tokio::test]
async fn liveness_follows_the_heartbeat() {
    let heartbeat = Heartbeat::new(Duration::ZERO);
    let admin = Admin {
        heartbeat: Arc::clone(&heartbeat),
        readiness: Readiness::default(),
        metrics: Metrics::new(Arc::clone(&heartbeat), true),
        log_level: None,
        by_hand: ByHand::of(Router::new()),
    };
    // With no time allowed, any time at all is too long.
    while heartbeat.is_alive() {
        tokio::task::yield_now().await;
    }
    let response = livez(State(admin)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let (address, _) = started(LIMITS).await;
    assert_eq!(get(address, "/livez").await.1, "alive\n");
}

#[tokio::test]
async fn metrics_say_what_they_are() {
    let (address, _) = started(LIMITS).await;
    let (head, body) = get(address, "/metrics").await;
    assert!(head.contains(&format!("content-type: {CONTENT_TYPE}")), "{head}");
    assert!(body.contains("hookkeeper_build_info"));
    assert!(get(address, "/other").await.0.starts_with("http/1.1 404"));
    let answer = exchange(
        address,
        "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (address, _) = started(LIMITS).await;
    let large = "x".repeat(LIMITS.head * 2);
    let answer = exchange(address, &format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {large}\r\n\r\n")).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    let many = "X: y\r\n".repeat(LIMITS.headers + 1);
    let answer = exchange(address, &format!("GET /livez HTTP/1.1\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

/// Connections that stay open: whoever opened them says nothing more and reads nothing.
async fn held(address: SocketAddr, many: usize, first_words: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..many {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // One that had to go already cannot be written to.
        let _ = stream.write_all(first_words).await;
        held.push(stream);
    }
    held
}

/// No time passes by itself here: whoever waited for a timeout of the server's would wait forever.
fn patient() -> Limits {
    let never = Duration::from_secs(1_000_000);
    Limits { head_timeout: never, life: never, ..LIMITS }
}

#[tokio::test]
async fn probes_are_answered_whatever_a_crowd_holds_open() {
    let pipelined = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50);
    let unended = b"PUT /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nde";
    let crowds: [(&str, &[u8]); 6] = [
        ("idle", b""),
        ("a head that never ends", b"GET /livez HTTP/1.1\r\nHost: x\r\n"),
        ("a body that never ends", unended),
        ("answers that nobody reads", &pipelined),
        ("kept alive", b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"),
        ("no HTTP at all", &[0xff; 100]),
    ];
    let (address, _) = started(patient()).await;
    let mut all = Vec::new();
    for (what, words) in crowds {
        all.extend(held(address, 300, words).await);
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = tokio::time::timeout(PATIENCE, get(address, path)).await;
            let (head, _) = answer.unwrap_or_else(|_| panic!("{what}: no answer to {path}"));
            assert!(head.starts_with("http/1.1 200"), "{what}: {head}");
        }
    }
}

/// Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn probes_are_answered_although_each_of_a_crowd_is_another_peer() {
    let (address, _) = started(patient()).await;
    let mut crowd = Vec::new();
    for number in 0..300_u16 {
        let [high, low] = (number + 2).to_be_bytes();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, high, low], 0))).unwrap();
        crowd.push(socket.connect(address).await.unwrap());
    }
    let answer = tokio::time::timeout(PATIENCE, get(address, "/livez")).await.unwrap();
    assert_eq!(answer.1, "alive\n");
    // The first ones had to go, the last ones are still there.
    let read = tokio::time::timeout(PATIENCE, crowd[0].read(&mut [0; 1])).await;
    assert_eq!(read.expect("it is still held").unwrap_or_default(), 0);
    crowd[299].write_all(b"GET /livez HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    crowd[299].read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("alive\n"), "{answer}");
}

#[tokio::test]
async fn a_crowd_holds_no_more_places_than_there_are() {
    let limits = Limits { connections: Bounds { total: 8, each_peer: 4 }, ..patient() };
    let (address, _) = started(limits).await;
    let mut crowd = held(address, 40, b"").await;
    assert_eq!(get(address, "/livez").await.1, "alive\n");
    let newest = crowd.split_off(40 - (limits.connections.each_peer - 1));
    for stream in &mut crowd {
        // Closed or reset.
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await;
        assert_eq!(read.expect("it is still held").unwrap_or_default(), 0);
    }
    for mut stream in newest {
        stream.write_all(b"GET /livez HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("alive\n"), "{answer}");
    }
}

#[tokio::test]
async fn one_request_is_answered_and_the_connection_ends() {
    let (address, _) = started(patient()).await;
    let twice = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n".repeat(2);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(twice.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    // What was not read makes it a reset perhaps; the end comes all the same.
    while let Ok(count @ 1..) =
        tokio::time::timeout(PATIENCE, stream.read(&mut piece)).await.expect("it is still open")
    {
        answer.extend_from_slice(&piece[..count]);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_does_not_prolong_its_time() {
    let limits = Limits { head_timeout: Duration::from_millis(300), ..patient() };
    let (address, _) = started(limits).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    let mut endless = b"GET /livez HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
    let ended = tokio::time::timeout(PATIENCE, async {
        while slow.write_all(&[*endless.next().unwrap()]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(ended.await.is_ok(), "it is still listened to");
}

#[tokio::test]
async fn a_connection_that_is_only_held_ends() {
    let limits = Limits { life: Duration::from_millis(50), ..patient() };
    let (address, _) = started(limits).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn the_log_level_is_nobodys_business_unless_it_was_asked_for() {
    let put = |host: &str, more: &str| {
        format!("PUT /log-level HTTP/1.1\r\nHost: {host}\r\n{more}Content-Length: 5\r\n\r\ndebug")
    };
    let (address, _) = started(LIMITS).await;
    let answer = exchange(address, &put("localhost", "")).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("--allow-log-level-changes"), "{answer}");

    let (level, changes) = crate::ops::logs::level_for_tests("info");
    let (address, _) = started_with(LIMITS, Some(level)).await;
    for (host, more) in [
        ("evil.example.com", ""),
        ("localhost", "Origin: http://evil.example.com\r\n"),
        ("localhost", "Sec-Fetch-Site: cross-site\r\n"),
    ] {
        let answer = exchange(address, &put(host, more)).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{host} {more}: {answer}");
    }
    let mesh = tokio::net::TcpSocket::new_v4().unwrap();
    mesh.bind(SocketAddr::from(([127, 0, 0, 6], 0))).unwrap();
    let mut mesh = mesh.connect(address).await.unwrap();
    mesh.write_all(put("localhost", "").as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = mesh.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(changes.lock().unwrap().is_empty());

    let answer = exchange(address, &put(&address.to_string(), "")).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert_eq!(*changes.lock().unwrap(), ["debug"]);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let (address, _) = started(LIMITS).await;
    let error = listen(address).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
