//! Answers of token servers, as they come through the guarded client from a server on loopback.
//!
//! The first byte picks how the answer is read, the rest is its body. No answer makes the minter
//! panic, and a token it yields is not empty.
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use chrono::DateTime;
use futures::future::BoxFuture;
use hookkeeper::api::{SecretKeyReference, TokenSourceSpec};
use hookkeeper::engine::ports::{CallFence, Clock, Minter, SecretFailure, SecretValue, Secrets};
use hookkeeper::http::{Client, Config, DestinationPolicy};
use hookkeeper::rotation::time::Moment;
use hookkeeper::token_source::TokenMinter;
use tokio::runtime::{Builder, Runtime};

struct Setting {
    runtime: Runtime,
    minter: TokenMinter,
    sources: Vec<TokenSourceSpec>,
}

/// What the server answers next.
static BODY: Mutex<Vec<u8>> = Mutex::new(Vec::new());

static SETTING: LazyLock<Setting> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(&stream));
        }
    });
    let allowed = vec![format!("http://{address}").parse().unwrap()];
    let config = Config { destinations: DestinationPolicy::new(allowed), ..Config::default() };
    let client = Client::new(config).unwrap();
    Setting {
        runtime: Builder::new_current_thread().enable_all().build().unwrap(),
        minter: TokenMinter::new(client, Arc::new(Nothing), Arc::new(Fixed)),
        sources: sources(address),
    }
});

fn sources(address: SocketAddr) -> Vec<TokenSourceSpec> {
    let responses = [
        r#"{}"#,
        r#"{"format":"Text"}"#,
        r#"{"tokenPath":"/data/token","expiresInPath":"/data/life"}"#,
        r#"{"tokenPath":"/data/0/token","expiresAtPath":"/data/0/end"}"#,
    ];
    responses
        .map(|response| {
            let text = format!(r#"{{"http":{{"url":"http://{address}/","response":{response}}}}}"#);
            serde_json::from_str(&text).unwrap()
        })
        .to_vec()
}

/// Answers every request of one connection; none of them has a body.
fn answer(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut requests = BufReader::new(stream).lines();
    let mut stream = stream;
    while let Some(Ok(line)) = requests.next() {
        if !line.is_empty() {
            continue;
        }
        let body = BODY.lock().unwrap();
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(&body);
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

struct Nothing;

impl Secrets for Nothing {
    fn read<'a>(
        &'a self,
        _: &'a str,
        _: &'a SecretKeyReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretFailure>> {
        Box::pin(async { Err(SecretFailure::NotFound) })
    }
}

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Moment {
        let wall = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Moment { wall, boot: Duration::from_secs(1_000) }
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(wait))
    }
}

pub fn run(rules: u8, body: &[u8]) {
    let setting = &*SETTING;
    let source = &setting.sources[usize::from(rules) % setting.sources.len()];
    *BODY.lock().unwrap() = body.to_vec();
    let fence = CallFence::open();
    match setting.runtime.block_on(setting.minter.mint("default", source, &fence)) {
        Ok(minted) => assert!(!minted.token.expose().is_empty()),
        Err(failure) => assert!(!failure.to_string().is_empty()),
    }
}
