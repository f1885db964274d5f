//! Encrypted connections, and what a server sends on them that nobody asked for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::servers::{Server, read_request};
use super::*;

/// A certificate with its key.
pub(super) struct Made(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Made {
    pub(super) fn new(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        Self::issued_by(name, &format!("issuer {count}"))
    }

    /// Signed by itself, under this name of an issuer.
    pub(super) fn issued_by(name: &str, issuer: &str) -> Self {
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, issuer);
        let signing_key = rcgen::KeyPair::generate().unwrap();
        let cert = parameters.self_signed(&signing_key).unwrap();
        Self(rcgen::CertifiedKey { cert, signing_key })
    }

    pub(super) fn pem(&self) -> String {
        self.0.cert.pem()
    }

    /// A server that shows it.
    pub(super) fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.0.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.0.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A certificate for `name` that only its own client trusts.
pub(super) fn certificate(name: &str, protocols: &[&str]) -> (TlsAcceptor, Certificate) {
    let made = Made::new(name);
    (made.acceptor(protocols), Certificate::from_der(made.0.cert.der()).unwrap())
}

fn trusting(certificate: Option<Certificate>) -> Client {
    client_with(&["localhost", "127.0.0.1"], |config| {
        config.root_certificates.extend(certificate);
    })
}

pub(super) async fn serving(acceptor: TlsAcceptor) -> Server {
    agreeing(acceptor).await.0
}

pub(super) fn url(server: &Server, host: &str) -> String {
    format!("https://{host}:{}/", server.address.port())
}

pub(super) fn problem(result: Result<Answer, Error>) -> &'static str {
    match result {
        Err(error @ Error::Tls { problem, .. }) => {
            assert!(!error.outcome_unknown());
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_is_checked() {
    let (acceptor, certificate) = certificate("localhost", &[]);
    let server = serving(acceptor).await;
    let trusting_it = trusting(Some(certificate));
    let answer = get(&trusting_it, &url(&server, "localhost")).await;
    assert_eq!(answer.unwrap().status, 200);
    let other_name = get(&trusting_it, &url(&server, "127.0.0.1")).await;
    assert_eq!(problem(other_name), "its certificate is for another name");
    let not_trusting = get(&trusting(None), &url(&server, "localhost")).await;
    assert_eq!(
        problem(not_trusting),
        "its certificate comes from an unknown issuer; one of your own is trusted with --ca-file"
    );
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart() {
    let plain = Server::start(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    let result = get(&trusting(None), &url(&plain, "localhost")).await;
    assert_eq!(problem(result), "the other end does not speak TLS");
}

#[tokio::test]
async fn a_handshake_that_hangs_was_certainly_no_request() {
    let silent = Server::start(|mut stream| async move {
        while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let client = client_with(&["localhost"], |config| config.connect_timeout = SHORT);
    let error = get(&client, &url(&silent, "localhost")).await.unwrap_err();
    assert!(matches!(error, Error::ConnectTimeout { .. }), "{error}");
    assert!(!error.outcome_unknown());
}

/// A server that offers these protocols and keeps what was agreed on.
async fn agreeing(acceptor: TlsAcceptor) -> (Server, Arc<Mutex<Option<Vec<u8>>>>) {
    let agreed = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&agreed);
    let server = Server::start(move |stream| {
        let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            *kept.lock().unwrap() = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            read_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (server, agreed)
}

#[tokio::test]
async fn http_1_1_is_agreed_on_with_a_server_that_would_rather_speak_http_2() {
    let (acceptor, certificate) = certificate("localhost", &["h2", "http/1.1"]);
    let (server, agreed) = agreeing(acceptor).await;
    let answer = get(&trusting(Some(certificate)), &url(&server, "localhost")).await;
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(agreed.lock().unwrap().as_deref(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_server_that_speaks_http_2_only_is_told_apart() {
    let (acceptor, certificate) = certificate("localhost", &["h2"]);
    let server = serving(acceptor).await;
    let result = get(&trusting(Some(certificate)), &url(&server, "localhost")).await;
    assert_eq!(problem(result), "the other end does not speak HTTP/1.1, and nothing else is spoken here");
}

/// One HTTP/2 frame (RFC 9113 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// Frames that cost a server nothing, and that a client of HTTP/2 must read and often answer.
fn free_frames() -> [(&'static str, Vec<u8>); 10] {
    let (data, headers, priority, reset, settings, push, ping, away, window, continuation) =
        (0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
    [
        ("empty DATA", frame(data, 0, 1, &[])),
        ("HEADERS without an end", frame(headers, 0, 1, &[0x88])),
        ("PRIORITY", frame(priority, 0, 1, &[0, 0, 0, 0, 16])),
        ("RST_STREAM", frame(reset, 0, 1, &7u32.to_be_bytes())),
        ("SETTINGS", frame(settings, 0, 0, &[])),
        ("PUSH_PROMISE", frame(push, 4, 1, &[0, 0, 0, 2, 0x88])),
        ("PING", frame(ping, 0, 0, &[7; 8])),
        ("GOAWAY", frame(away, 0, 0, &[0; 8])),
        ("WINDOW_UPDATE", frame(window, 0, 0, &1u32.to_be_bytes())),
        ("CONTINUATION", frame(continuation, 0, 1, &[0x88])),
    ]
}

/// What is on the way in buffers of the operating system and of TLS may be lost on it.
const UNREAD: usize = 16 << 20;

/// A server that has such a good answer for each connection and then sends `flood` for as long as
/// somebody takes it, up to twice [`UNREAD`]; and the bytes it got rid of on each connection.
async fn flooding(
    acceptor: TlsAcceptor,
    answer: &'static str,
    flood: Vec<u8>,
) -> (Server, mpsc::UnboundedReceiver<usize>) {
    let (sender, taken) = mpsc::unbounded_channel();
    let flood: Arc<[u8]> = flood.repeat(64 * 1024 / flood.len()).into();
    let server = Server::start(move |stream| {
        let (acceptor, flood, sender) = (acceptor.clone(), Arc::clone(&flood), sender.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            read_request(&mut stream).await;
            let mut sent = 0;
            if stream.write_all(answer.as_bytes()).await.is_ok() {
                while sent <= 2 * UNREAD && stream.write_all(&flood).await.is_ok() {
                    sent += flood.len();
                }
            }
            let _ = sender.send(sent);
        }
    })
    .await;
    (server, taken)
}

#[tokio::test]
async fn frames_of_http_2_end_the_connection_before_an_answer_and_after_it() {
    for (name, flood) in free_frames() {
        for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"] {
            let (acceptor, certificate) = certificate("localhost", &["h2", "http/1.1"]);
            let (server, mut taken) = flooding(acceptor, answer, flood.clone()).await;
            let client = trusting(Some(certificate));
            let result = get(&client, &url(&server, "localhost")).await;
            match answer {
                "" => assert!(matches!(result, Err(Error::InvalidAnswer { .. })), "{name}: {result:?}"),
                _ => assert_eq!(result.unwrap().status, 200, "{name}"),
            }
            // The client still lives, and so does its pool of connections.
            let taken = tokio::time::timeout(LONG, taken.recv()).await;
            let taken = taken.unwrap_or_else(|_| panic!("{name}: the connection is kept")).unwrap();
            assert!(taken < UNREAD, "{name}: {taken} bytes were read");
            drop(client);
        }
    }
}

/// A server may send any number of interim answers before its own. They are passed over, and cost no
/// longer than the request may take.
#[tokio::test]
async fn interim_answers_without_an_end_end_with_the_total_time() {
    let (acceptor, certificate) = certificate("localhost", &["http/1.1"]);
    let flood = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let server = Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            read_request(&mut stream).await;
            while stream.write_all(flood).await.is_ok() {}
        }
    })
    .await;
    let client = trusting(Some(certificate));
    let request = request(Method::GET, &url(&server, "localhost"), SHORT);
    let error = client.send(request).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}
