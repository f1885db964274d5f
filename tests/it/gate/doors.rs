//! The listeners: TLS, the end of the process, and what is passed on at once.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::application::Application;
use super::stage::Stage;
use super::wire::{self, request};

const RECEIVER: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: events}
spec:
  verification: {token: {header: X-Webhook-Token, secretKeyRefs: [{name: hooks, key: token}]}}
  forward: {url: APPLICATION/events}
";

const TOKEN: (&str, &str) = ("X-Webhook-Token", "canary-webhook-token");
const CLOSE: (&str, &str) = ("Connection", "close");

async fn stage(manifests: &str) -> Stage {
    let stage = Stage::with(manifests).await;
    stage.secret("hooks", "token", TOKEN.1);
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_end_it_takes_in_what_still_comes_and_then_ends_well() {
    let stage = stage(RECEIVER).await;
    let mut gate = stage.start(stage.program().replace("--drain", "3s"));
    let deliver = |more: &[(&str, &str)], body: &[u8]| {
        let length = body.len().to_string();
        request(
            "POST",
            "/default/events",
            &[&[TOKEN, ("Content-Length", length.as_str())], more].concat(),
            body,
        )
    };
    let ready = |gate: &super::stage::Gate| gate.process.get("/readyz").unwrap();
    assert!(ready(&gate).starts_with("HTTP/1.1 200 "));
    let mut kept = wire::connect(gate.address);
    kept.write_all(&deliver(&[], b"1")).unwrap();
    let answer = wire::read_one(&mut kept).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    // One that is under way when the end begins.
    let mut under_way = wire::connect(gate.address);
    let half = deliver(&[CLOSE], b"under way");
    under_way.write_all(&half[..half.len() - 3]).unwrap();

    gate.process.signal(Signal::TERM);
    gate.process.until_says("ending: deliveries are taken in");
    let answer = ready(&gate);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("ending"), "{answer}");
    // Others do not know yet: on an open connection and on a new one.
    for stream in [&mut kept, &mut wire::connect(gate.address)] {
        stream.write_all(&deliver(&[], b"2")).unwrap();
        let answer = wire::read(stream).unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    }
    gate.until("the door is closed", || TcpStream::connect(gate.address).is_err()).await;
    under_way.write_all(&half[half.len() - 3..]).unwrap();
    assert_eq!(wire::read(&mut under_way).unwrap().status, 200);
    assert_eq!(gate.process.wait().code, Some(0));
    // What came at the very end may have had to wait for the next process.
    let gate = stage.gate();
    assert_eq!(stage.until_took(&gate, 4).await.len(), 4);
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_under_way_at_the_end_is_recorded() {
    let stage = stage(RECEIVER).await;
    stage.application.takes(Duration::from_millis(800));
    let gate = stage.gate();
    assert_eq!(gate.post("/default/events", &[TOKEN], b"slow").status, 200);
    gate.until("it is under way", || stage.application.called() == 1).await;
    gate.stop();
    let gate = stage.gate();
    assert_eq!(gate.deliveries(&["list"]).stdout, "nothing waits\n");
    gate.stop();
    assert_eq!(stage.application.took().len(), 1);
}

/// Sends a delivery over TLS; `None` when the certificate is not this one.
fn over_tls(gate: &super::stage::Gate, trusted: &CertificateDer<'static>) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("hooks.example.com").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, wire::connect(gate.address));
    stream.write_all(&wire::post("/default/events", &[TOKEN], b"over TLS")).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    Some(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_certificates_that_are_renewed() {
    let stage = stage(RECEIVER).await;
    let issue = || {
        let issued = rcgen::generate_simple_self_signed(["hooks.example.com".to_owned()]).unwrap();
        (issued.cert.der().clone(), issued.cert.pem(), issued.signing_key.serialize_pem())
    };
    let (certificate, key) = (stage.path("tls.crt"), stage.path("tls.key"));
    let (first, chain, private) = issue();
    fs::write(&certificate, chain).unwrap();
    fs::write(&key, private).unwrap();
    let mut program = stage.program();
    program.arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(&key);
    let mut gate = stage.start(&mut program);
    let accepts = |gate: &super::stage::Gate, trusted| {
        over_tls(gate, trusted).is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    };
    assert!(accepts(&gate, &first));
    let plain = gate.raw(&wire::post("/default/events", &[TOKEN], b"in clear"));
    assert!(plain.is_none_or(|answer| answer.status == 400), "not without TLS");
    // A new certificate, whose key is not there yet, changes nothing.
    let (second, chain, private) = issue();
    fs::write(&certificate, chain).unwrap();
    gate.process.until_says("what was read before stays in use");
    assert!(accepts(&gate, &first));
    fs::write(&key, private).unwrap();
    gate.until("the new one is in use", || accepts(&gate, &second)).await;
    assert!(!accepts(&gate, &first));
    gate.stop();
    for (argument, path) in [("--tls-cert", &certificate), ("--tls-key", &key)] {
        let whole = fs::read(path).unwrap();
        for content in [None, Some("")] {
            match content {
                None => fs::remove_file(path).unwrap(),
                Some(content) => fs::write(path, content).unwrap(),
            }
            let ended = program.run();
            assert_eq!(ended.code, Some(1), "{argument}");
            assert!(ended.stderr.contains(path.to_str().unwrap()), "{}", ended.stderr);
        }
        fs::write(path, whole).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_passed_on_at_once_gets_the_answer_of_the_application() {
    let stage = stage(&RECEIVER.replace("spec:", "spec:\n  mode: Direct")).await;
    let gate = stage.gate();
    for (answers, status) in [(200, 200), (204, 200), (201, 200), (404, 404), (500, 500), (302, 502)] {
        stage.application.answers(answers);
        let answer = gate.post("/default/events", &[TOKEN, ("X-Event", "a")], b"at once");
        assert_eq!(answer.status, status, "{answers}");
    }
    let handed = stage.application.handed();
    let first = &handed[0];
    assert_eq!((&first.body[..], first.header("x-event")), (&b"at once"[..], Some("a")));
    assert_eq!((first.header("x-webhook-token"), first.header("connection")), (None, None));
    assert_eq!(gate.post("/default/events", &[], b"a stranger").status, 401);
    assert_eq!(stage.application.handed().len(), handed.len());
    assert_eq!(gate.deliveries(&["list"]).stdout, "nothing waits\n");
    let address = stage.application.address;
    stage.application.close().await;
    let answer = gate.post("/default/events", &[TOKEN], b"nobody there");
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
    let back = Application::at(address).await;
    assert_eq!(gate.post("/default/events", &[TOKEN], b"back").status, 200);
    assert_eq!(back.took().len(), 1);
    // Nothing is kept that could be handed on later.
    stage.declare("receivers.yaml", &RECEIVER.replace("spec:", "spec:\n  mode: Direct\n  suspend: true"));
    gate.until("it takes nothing", || gate.post("/default/events", &[TOKEN], b"no").status == 503).await;
    gate.stop();
}
