//! The sandbox over real sockets, one test per documented behaviour.

mod admin;
mod deliveries;
mod faults;
mod handed_on;
mod provider;
mod tokens;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const BASIC: &str = "Authorization: Basic aHItaW50ZWdyYXRpb246c2FuZGJveC1jbGllbnQtc2VjcmV0\r\n";
const BEARER: &str = "Authorization: Bearer sandbox-management-token\r\n";
const GRANT: &str = "grant_type=client_credentials";

/// An answer as it came over the wire.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// One request on its own connection; `None` when the connection ends without a byte.
async fn request(sandbox: &Sandbox, line: &str, headers: &str, body: &str) -> Option<Reply> {
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let length = body.len();
    let text = format!(
        "{line} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is cut may also be reset.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

async fn call(sandbox: &Sandbox, line: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request(sandbox, line, BEARER, &body).await.unwrap()
}

async fn mint(sandbox: &Sandbox) -> String {
    let reply = request(sandbox, "POST /oauth/token", BASIC, GRANT).await;
    let reply = reply.unwrap().json();
    reply["access_token"].as_str().unwrap().to_owned()
}

fn document(token: &str) -> Value {
    json!({
        "action": "job.published",
        "postbackUrl": "https://integrations.example.com/gupy",
        "status": "active",
        "clientHeaders": {"token": token, "apiKey": "k"},
    })
}

async fn create(sandbox: &Sandbox, token: &str) -> String {
    let reply = call(sandbox, "POST /api/v1/webhooks", &document(token)).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn update(sandbox: &Sandbox, id: &str, token: &str) -> Reply {
    let line = format!("PUT /api/v1/webhooks/{id}");
    call(sandbox, &line, &document(token)).await
}

/// A sandbox that delivers nothing by itself.
async fn quiet() -> Sandbox {
    start(Config { delivery_interval: None, ..Config::default() }).await
}

async fn start(config: Config) -> Sandbox {
    Sandbox::start(config).await.unwrap()
}

/// Waits for what is bound to happen; the harness ends a test in which it never does.
async fn until(sandbox: &Sandbox, happened: impl Fn(&LedgerSummary) -> bool) -> LedgerSummary {
    tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let summary = sandbox.ledger();
            if happened(&summary) {
                return summary;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it never happened")
}

fn deliveries(sandbox: &Sandbox) -> Vec<Delivery> {
    let entries = sandbox.entries(0).into_iter();
    entries
        .filter_map(|entry| match entry.event {
            Event::Delivery(delivery) => Some(delivery),
            _ => None,
        })
        .collect()
}

fn outcomes(sandbox: &Sandbox) -> Vec<Outcome> {
    let all = deliveries(sandbox).into_iter();
    all.map(|delivery| delivery.outcome).collect()
}
