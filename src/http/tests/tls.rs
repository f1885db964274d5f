//! Encrypted connections, and HTTP/2 on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            read_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    })
    .await
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

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// One HTTP/2 frame (RFC 9113 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// "I have looked at nothing after this stream": the RFC lets a client send the rest again.
fn go_away(last: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
}

/// "I have not looked at this one": the RFC lets a client send it again, too.
fn refused_stream(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &7u32.to_be_bytes())
}

/// Status 200, the end of the headers and of the answer.
fn ok(stream: u32) -> Vec<u8> {
    frame(HEADERS, 5, stream, &[0x88])
}

/// A server that speaks HTTP/2 and answers the requests of a connection with these frames, made for
/// the request's stream; and how many requests it has seen.
async fn http2(acceptor: TlsAcceptor, answers: &'static [fn(u32) -> Vec<u8>]) -> (Server, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let server = Server::start(move |stream| {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            stream.read_exact(&mut [0; 24]).await.unwrap();
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
            let mut answers = answers.iter();
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                stream.read_exact(&mut vec![0; length]).await.unwrap();
                if head[3] == HEADERS {
                    seen.fetch_add(1, Ordering::SeqCst);
                    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    let answer = answers.next().map(|answer| answer(number)).unwrap_or_default();
                    let _ = stream.write_all(&answer).await;
                }
            }
        }
    })
    .await;
    (server, requests)
}

fn post(server: &Server) -> Request {
    let mut request = request(Method::POST, &url(server, "localhost"), LONG);
    request.body = Some(("text/plain".to_owned(), "x".into()));
    request
}

/// Makes a frame of a stream.
type MakeFrame = fn(u32) -> Vec<u8>;

#[tokio::test]
async fn a_request_that_an_http2_server_sends_away_is_not_sent_again() {
    let cases: [&[MakeFrame]; 4] = [
        &[|_| go_away(0)],
        &[refused_stream],
        // On a connection that has served before.
        &[ok, |_| go_away(1)],
        &[ok, refused_stream],
    ];
    for (case, answers) in cases.into_iter().enumerate() {
        let (acceptor, certificate) = certificate("localhost", &["h2"]);
        let (server, requests) = http2(acceptor, answers).await;
        let client = trusting(Some(certificate));
        for _ in 1..answers.len() {
            assert_eq!(client.send(post(&server)).await.unwrap().status, 200, "case {case}");
        }
        let error = client.send(post(&server)).await.unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "case {case}: {error}");
        assert!(error.outcome_unknown());
        assert_eq!(requests.load(Ordering::SeqCst), answers.len(), "case {case}");
        assert_eq!(server.connections(), 1, "case {case}");
    }
}
