//! A proxy that opens the connections, and one that does not want to.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::servers::{Server, read_request};
use super::tls::{certificate, serving};
use super::*;

/// What a proxy was asked, each time.
type Asked = Arc<Mutex<Vec<String>>>;

/// A proxy that connects everybody to one address, whatever name it was asked for.
async fn tunnel_to(address: SocketAddr) -> (Server, Asked) {
    let asked = Asked::default();
    let heard = Arc::clone(&asked);
    let server = Server::start(move |mut stream| {
        let heard = Arc::clone(&heard);
        async move {
            let head = read_request(&mut stream).await;
            heard.lock().unwrap().push(head);
            let mut onward = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
        }
    })
    .await;
    (server, asked)
}

/// Gives the addresses that were prepared for a name; asked for any other, the test fails.
struct Only(&'static str, Mutex<VecDeque<IpAddr>>);

impl Resolver for Only {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        assert_eq!(name, self.0, "nobody but the proxy resolves names");
        let found = self.1.lock().unwrap().pop_front().map(|address| vec![address]).unwrap_or_default();
        Box::pin(async { Ok(found) })
    }
}

fn through(proxy: &str, allowed: &[&str], change: impl FnOnce(&mut Config)) -> Client {
    client_with(allowed, |config| {
        config.proxy = Some(proxy.parse().unwrap());
        config.resolver = Arc::new(Only("proxy.internal", Mutex::default()));
        change(config);
    })
}

#[tokio::test]
async fn https_goes_through_the_proxy_which_resolves_the_name() {
    let (acceptor, certificate) = certificate("auth.example.com", &[]);
    let server = serving(acceptor).await;
    let (proxy, asked) = tunnel_to(server.address).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy");
    std::fs::write(&file, "Aladdin:open sesame\n").unwrap();
    for credentials in [None, Some(file)] {
        let client = through(&proxy.url(""), &[], |config| {
            config.root_certificates.push(certificate.clone());
            config.files.proxy_credentials = credentials.clone();
        });
        let answer = get(&client, "https://auth.example.com:8443/path?query").await.unwrap();
        assert_eq!(answer.status, 200);
        let head = asked.lock().unwrap().pop().unwrap();
        assert!(head.starts_with("CONNECT auth.example.com:8443 HTTP/1.1\r\n"), "{head}");
        let sent = head.lines().find_map(|line| line.strip_prefix("proxy-authorization: "));
        let expected = credentials.is_some().then_some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(sent, expected, "{head}");
        assert!(!head.contains("path") && !head.contains("query"), "{head}");
        assert!(!format!("{client:?}").contains("sesame"));
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn what_must_not_be_reached_never_gets_to_the_proxy() {
    let (proxy, _) = tunnel_to(([127, 0, 0, 1], 1).into()).await;
    let client = through(&proxy.url(""), &["10.0.0.0/8", "http://auth.internal"], |_| {});
    for url in [
        "https://localhost/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://[64:ff9b::127.0.0.1]/",
        "https://metadata.google.internal/",
        "https://kubernetes.default.svc/",
        "http://api.example.com/",
    ] {
        let refused = get(&client, url).await.unwrap_err();
        assert!(matches!(refused, Error::DestinationNotAllowed { .. }), "{url}: {refused}");
    }
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn plain_http_goes_past_the_proxy_and_is_judged_by_its_addresses() {
    let (proxy, _) = tunnel_to(([127, 0, 0, 1], 1).into()).await;
    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let port = server.address.port();
    let addresses = ["127.0.0.1", "127.0.0.2"].map(|address| address.parse().unwrap());
    let client = through(&proxy.url(""), &["http://127.0.0.1"], |config| {
        config.resolver = Arc::new(Only("auth.internal", Mutex::new(addresses.into())));
    });
    let url = format!("http://auth.internal:{port}/");
    assert_eq!(get(&client, &url).await.unwrap().status, 204);
    let refused = get(&client, &url).await.unwrap_err().to_string();
    assert!(refused.contains("its address 127.0.0.2 is none to which plain http is allowed"), "{refused}");
    assert_eq!((proxy.connections(), server.connections()), (0, 1));
}

#[tokio::test]
async fn the_proxy_itself_may_be_anywhere_and_encrypted() {
    let (inner, trusted) = certificate("auth.example.com", &[]);
    let server = serving(inner).await;
    let (outer, trusted_proxy) = certificate("proxy.internal", &[]);
    let address = server.address;
    let proxy = Server::start(move |stream| {
        let outer = outer.clone();
        async move {
            let mut stream = outer.accept(stream).await.unwrap();
            read_request(&mut stream).await;
            let mut onward = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
        }
    })
    .await;
    let url = format!("https://proxy.internal:{}", proxy.address.port());
    let client = through(&url, &[], |config| {
        config.root_certificates.extend([trusted.clone(), trusted_proxy]);
        let at = Mutex::new([proxy.address.ip()].into());
        config.resolver = Arc::new(Only("proxy.internal", at));
    });
    assert_eq!(get(&client, "https://auth.example.com/").await.unwrap().status, 200);

    // The certificate of the proxy is asked for like any other.
    let client = through(&url, &[], |config| {
        config.root_certificates.push(trusted);
        config.resolver = Arc::new(Only("proxy.internal", Mutex::new([proxy.address.ip()].into())));
    });
    let error = get(&client, "https://auth.example.com/").await.unwrap_err();
    assert!(matches!(error, Error::Proxy { .. }), "{error}");
    assert!(error.to_string().contains("its certificate comes from an unknown issuer"), "{error}");
}

#[tokio::test]
async fn a_proxy_that_opens_no_connection_is_told_apart_from_the_host() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let answering = async |answer: &'static str| Server::answering(answer).await.url("");
    let silent = Server::stalling("").await;
    for (proxy, problem) in [
        (
            answering("HTTP/1.1 403 Forbidden\r\n\r\n").await,
            "it refuses to connect there; its log may say why",
        ),
        (
            answering("HTTP/1.1 502 Bad Gateway\r\n\r\n").await,
            "it refuses to connect there; its log may say why",
        ),
        (
            answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await,
            "it refuses us without a user and a password that it knows; see --proxy-credentials-file",
        ),
        (answering("").await, "it does not answer as an HTTP proxy does"),
        (format!("http://{closed}"), "connection refused; nothing listens there"),
        (
            "http://proxy.internal:3128".to_owned(),
            "its own name cannot be resolved; check its spelling and the DNS",
        ),
        (silent.url(""), "it did not open the connection in time"),
    ] {
        let client = through(&proxy, &[], |config| config.connect_timeout = SHORT);
        let error = get(&client, "https://auth.example.com/canary?canary").await.unwrap_err();
        assert!(!error.outcome_unknown());
        let expected = format!("no connection to auth.example.com:443 through the proxy {proxy}: {problem}");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_host_behind_the_proxy_is_asked_for_its_certificate() {
    let (acceptor, _) = certificate("auth.example.com", &[]);
    let server = serving(acceptor).await;
    let (proxy, _) = tunnel_to(server.address).await;
    let client = through(&proxy.url(""), &[], |_| {});
    let error = get(&client, "https://auth.example.com/").await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
}
