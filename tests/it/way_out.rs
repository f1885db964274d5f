//! The process's way to the outside: a proxy, issuers of one's own, and what is said of them.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::hostile::stage::{Stage, subscription_from};

const CANARY: &str = "pr0xy-c4n4ry";

struct Issuer(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Issuer {
    fn new(host: &str, issuer: &str) -> Self {
        let mut parameters = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, issuer);
        let signing_key = rcgen::KeyPair::generate().unwrap();
        let cert = parameters.self_signed(&signing_key).unwrap();
        Self(rcgen::CertifiedKey { cert, signing_key })
    }

    fn acceptor(&self) -> TlsAcceptor {
        use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.0.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.0.cert.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Passes what arrives encrypted on to the sandbox, which speaks in the clear.
async fn encrypted(issuer: &Issuer, sandbox: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = issuer.acceptor();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut onward = TcpStream::connect(sandbox).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
                }
            });
        }
    });
    address
}

/// A proxy that takes everybody with these credentials to one address, and the heads that it got.
async fn proxy(to: SocketAddr, credentials: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let known = head.contains(&format!("proxy-authorization: {credentials}\r\n"));
                heard.lock().unwrap().push(head);
                if !known {
                    let _ = stream.write_all(b"HTTP/1.1 407 Who Are You\r\nContent-Length: 0\r\n\r\n").await;
                    return;
                }
                let mut onward = TcpStream::connect(to).await.unwrap();
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
            });
        }
    });
    (address, heads)
}

fn address_of(stage: &Stage) -> SocketAddr {
    stage.sandbox.url().strip_prefix("http://").unwrap().parse().unwrap()
}

/// The subscription has a token from that URL.
fn is_ready(stage: &Stage, name: &str) -> bool {
    stage.condition("WebhookSubscription", name, "Ready").status == "True"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_through_the_proxy_with_an_issuer_of_ones_own() {
    let stage = Stage::start().await;
    let issuer = Issuer::new("auth.example.com", "ours");
    // `user:` and the canary.
    let (proxy, heads) =
        proxy(encrypted(&issuer, address_of(&stage)).await, "Basic dXNlcjpwcjB4eS1jNG40cnk=").await;
    let folder = tempfile::tempdir().unwrap();
    let (ca, credentials) = (folder.path().join("ca.pem"), folder.path().join("proxy"));
    fs::write(&ca, issuer.0.cert.pem()).unwrap();
    fs::write(&credentials, "user:wrong\n").unwrap();
    stage.write("40-outside.yaml", subscription_from("outside", "https://auth.example.com/oauth/token"));
    stage.write("41-inside.yaml", subscription_from("inside", "https://auth.team.svc/oauth/token"));
    let mut sidecar = stage.sidecar(&[], |program| {
        program.args(["--proxy", &format!("http://{proxy}")]);
        program.arg("--proxy-credentials-file").arg(&credentials).arg("--ca-file").arg(&ca);
        program.env("HTTPS_PROXY", &format!("http://user:{CANARY}@127.0.0.1:1"));
    });
    stage.until_explained([("inside", "DestinationNotAllowed")].into_iter()).await;
    stage.until("the proxy refuses", |stage| stage.log().contains("see --proxy-credentials-file")).await;
    fs::write(&credentials, format!("user:{CANARY}\n")).unwrap();
    stage.until("the token is in place", |stage| is_ready(stage, "outside")).await;
    // The sandbox speaks in the clear, so its own URLs go past the proxy.
    stage.until_rotated(1).await;
    let heads = heads.lock().unwrap().clone();
    assert!(heads.iter().all(|head| head.starts_with("CONNECT auth.example.com:443 HTTP/1.1")), "{heads:?}");
    let said = stage.trouble("inside").message;
    assert!(said.contains("its name is none of the public internet"), "{said}");
    assert!(!stage.log().contains("HTTPS_PROXY"), "who names a proxy knows what is used");
    stage.assert_unseen(CANARY);
    stage.assert_unseen("dXNlcjpwcjB4eS1jNG40cnk=");
    stage.assert_healthy_undisturbed();
    sidecar.assert_runs();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_file_is_read_again_and_a_broken_one_is_told_and_changes_nothing() {
    let stage = Stage::start().await;
    let issuer = Issuer::new("localhost", "ours");
    let server = encrypted(&issuer, address_of(&stage)).await;
    let place = format!("localhost:{}", server.port());
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let other = Issuer::new("localhost", "another").0.cert.pem();
    fs::write(&ca, &other).unwrap();
    stage.write("40-own.yaml", subscription_from("own", &format!("https://{place}/oauth/token")));
    let mut sidecar = stage.sidecar(&[&place], |program| {
        program.arg("--ca-file").arg(&ca);
    });
    stage.until("the issuer is unknown", |stage| stage.trouble("own").message.contains("--ca-file")).await;
    fs::write(&ca, "nothing to read here").unwrap();
    let told = format!("the CA file {} holds no certificate", ca.display());
    stage.until("the broken file is told", |stage| stage.log().contains(&told)).await;
    fs::write(&ca, other + &issuer.0.cert.pem()).unwrap();
    stage.until("the token is in place", |stage| is_ready(stage, "own")).await;
    fs::remove_file(&ca).unwrap();
    let told = format!("the CA file {} cannot be read", ca.display());
    stage.until("the missing file is told", |stage| stage.log().contains(&told)).await;
    stage.until_rotated(2).await;
    assert!(is_ready(&stage, "own"));
    assert!(stage.log().contains("what was read from it before stays in use"));
    stage.assert_healthy_undisturbed();
    sidecar.assert_runs();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_is_told_to_be_unused_without_its_password() {
    let stage = Stage::start().await;
    let _sidecar = stage.sidecar(&[], |program| {
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            program.env_remove(name);
        }
        program.env("https_proxy", &format!("http://user:{CANARY}@proxy.example.com:3128"));
    });
    let told = "https_proxy is set, and not used for calls to providers and token servers; if these must go \
                through a proxy, start with --proxy http://HOST:PORT";
    stage.until("the variable is told", |stage| stage.log().contains(told)).await;
    stage.assert_unseen(CANARY);
}
