//! What can be found in the memory of the process by somebody who gets hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use rustix::process::Pid;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::server::read_request;
use super::stage::{HEALTHY, Stage, subscription_from};

/// What the tokens of this test begin with; source and number follow.
const TOKEN: &str = "canary-in-memory-";
/// How many sources have tokens of their own.
const SOURCES: usize = 6;
/// How many tokens of each are found in the answers before the memory is looked through.
const ROUNDS: usize = 5;

/// The tokens in the memory of a process: source and number of each.
fn tokens_in_memory(process: Pid) -> io::Result<BTreeSet<(usize, usize)>> {
    let process = process.as_raw_nonzero();
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mut found = BTreeSet::new();
    for line in fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
        let mut words = line.split(' ');
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        // What stands in the program's file is no secret.
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // A range may be gone by now.
        if memory.read_exact_at(&mut bytes, start).is_err() {
            continue;
        }
        for at in places(&bytes, TOKEN.as_bytes()) {
            let rest = &bytes[at + TOKEN.len()..];
            let text = String::from_utf8_lossy(&rest[..rest.len().min(16)]).into_owned();
            let mut numbers = text.split('-').map(str::parse);
            if let (Some(Ok(source)), Some(Ok(number))) = (numbers.next(), numbers.next()) {
                found.insert((source, number));
            }
        }
    }
    Ok(found)
}

fn places<'a>(bytes: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == wanted[0]);
    starts.map(|(at, _)| at).filter(|at| bytes[*at..].starts_with(wanted))
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_replaced_are_wiped_from_memory() {
    let issued = Arc::new(Mutex::new(BTreeMap::<usize, usize>::new()));
    let counts = Arc::clone(&issued);
    // As real ones do: encrypted, and on connections that are kept.
    let (port, certificate) = token_server(move |path| {
        let source = path.trim_start_matches('/').parse().unwrap();
        let mut counts = counts.lock().unwrap();
        let number = counts.entry(source).or_insert(0);
        *number += 1;
        let token = format!("{TOKEN}{source}-{number}-{}", "x".repeat(600));
        // What comes along is nobody's business either.
        format!(r#"{{"access_token":"{token}","expires_in":12,"refresh_token":"{token}"}}"#)
    })
    .await;
    let stage = Stage::start().await;
    let sources: String = (0..SOURCES)
        .map(|source| {
            subscription_from(&format!("source-{source}"), &format!("https://localhost:{port}/{source}"))
        })
        .collect();
    stage.write("40-sources.yaml", sources);
    let issuer = stage.write("issuer.pem", certificate);
    let sidecar = stage.sidecar(&[&format!("localhost:{port}")], |program| {
        program.args(["--ca-file", &issuer]);
    });
    if let Err(error) = tokens_in_memory(sidecar.id()) {
        skip(&error);
        return;
    }

    let all_issued = |_: &Stage| {
        let issued = issued.lock().unwrap();
        issued.len() == SOURCES && issued.values().all(|count| *count >= ROUNDS)
    };
    stage.until("tokens are replaced", all_issued).await;
    stage.until_rotated(ROUNDS as u64).await;
    assert_eq!(stage.ledger().creates, HEALTHY + SOURCES as u64);
    // At any moment one may have been issued that is not in use yet.
    let only_those_in_use = |_: &Stage| {
        let newest = issued.lock().unwrap().clone();
        let found = tokens_in_memory(sidecar.id()).unwrap();
        found == newest.into_iter().collect()
    };
    stage.until("only tokens in use are in memory", only_those_in_use).await;
}

/// A token server of its own: its port, and the certificate that it shows.
async fn token_server(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                loop {
                    let request = read_request(&mut stream).await?;
                    let body = answer(request.split(' ').nth(1).unwrap());
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    stream.write_all(format!("{head}{body}").as_bytes()).await?;
                    stream.flush().await?;
                }
                #[expect(unreachable_code, reason = "the type of what ends it")]
                io::Result::Ok(())
            });
        }
    });
    (port, made.cert.pem())
}

#[expect(clippy::print_stderr, reason = "a test that does nothing says so")]
fn skip(error: &io::Error) {
    eprintln!("left out: the memory of another process may not be read here: {error}");
}

/// How the process looks to the operating system: not to be dumped, and still told about in metrics.
#[tokio::test(flavor = "multi_thread")]
async fn no_core_dump_is_left_and_the_figures_of_the_process_are_still_told() {
    let stage = Stage::start().await;
    let sidecar = stage.sidecar(&[], |_| {});
    stage.until("the admin server answers", |_| sidecar.get("/metrics").is_some()).await;
    let process = sidecar.id().as_raw_nonzero();
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let limit = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<&str> = limit.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{limit}");
    // What may not be dumped belongs to root, whoever runs it.
    let status = fs::metadata(format!("/proc/{process}/environ")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&status), 0);
    let metrics = sidecar.get("/metrics").unwrap();
    for name in ["process_open_fds", "process_resident_memory_bytes", "process_threads"] {
        assert!(metrics.contains(&format!("\n{name} ")), "{name}: {metrics}");
    }
}
