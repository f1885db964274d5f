//! Encrypted connections, and HTTP/2 on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::servers::{Server, read_request};
use super::*;

/// A certificate for `name` that only its own client trusts.
fn certificate(name: &str, protocols: &[&str]) -> (TlsAcceptor, Certificate) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let der = made.cert.der().clone();
    let trusted = Certificate::from_der(&der).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), trusted)
}

fn trusting(certificate: Option<Certificate>) -> Client {
    client_with(&["localhost", "127.0.0.1"], |config| {
        config.root_certificates.extend(certificate);
    })
}

async fn serving(acceptor: TlsAcceptor) -> Server {
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

fn url(server: &Server, host: &str) -> String {
    format!("https://{host}:{}/", server.address.port())
}

fn problem(result: Result<Answer, Error>) -> &'static str {
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
    assert_eq!(problem(not_trusting), "its certificate comes from an unknown issuer");
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

/// One HTTP/2 frame (RFC 9113 4.1) on stream 0.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, 0, 0, 0, 0, 0], payload].concat()
}

#[tokio::test]
async fn a_request_that_an_http2_server_sends_away_is_not_sent_again() {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    let (acceptor, certificate) = certificate("localhost", &["h2"]);
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let server = Server::start(move |stream| {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            stream.read_exact(&mut [0; 24]).await.unwrap();
            stream.write_all(&frame(SETTINGS, &[])).await.unwrap();
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                stream.read_exact(&mut vec![0; length]).await.unwrap();
                if head[3] == HEADERS {
                    seen.fetch_add(1, Ordering::SeqCst);
                    // "I have looked at no stream at all": the RFC lets a client send it again.
                    let _ = stream.write_all(&frame(GOAWAY, &[0; 8])).await;
                }
            }
        }
    })
    .await;
    let client = trusting(Some(certificate));
    let mut request = request(Method::POST, &url(&server, "localhost"), LONG);
    request.body = Some(("text/plain".to_owned(), "x".into()));
    let error = client.send(request).await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    assert!(error.outcome_unknown());
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}
