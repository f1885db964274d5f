//! Asks the admin server of a running process: what the commands that do so have in common.

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::{Host, Url};

use std::time::Duration;

/// How long the whole exchange may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body of a delivery, and a head.
const ANSWER_LIMIT: u64 = 17 * 1024 * 1024;

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) body: Vec<u8>,
}

/// The URL without what may be secret in one.
pub(super) fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Sends a request without a body.
pub(super) async fn ask(method: &str, url: &Url) -> anyhow::Result<Answer> {
    tokio::time::timeout(TIMEOUT, exchange(method, url))
        .await
        .unwrap_or_else(|_| bail!("no answer within {} s", TIMEOUT.as_secs()))
}

async fn exchange(method: &str, url: &Url) -> anyhow::Result<Answer> {
    if url.scheme() != "http" {
        bail!("the admin server speaks http only; write --url http://HOST:PORT");
    }
    let host = url.host().context("the URL names no host")?;
    let port = url.port_or_known_default().unwrap_or(80);
    let mut stream = match host {
        Host::Domain(name) => TcpStream::connect((name, port)).await?,
        Host::Ipv4(address) => TcpStream::connect((address, port)).await?,
        Host::Ipv6(address) => TcpStream::connect((address, port)).await?,
    };
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    // In HTTP/1.0 the answer ends where the connection does, and is never sent in chunks.
    let length = if method == "GET" { "" } else { "Content-Length: 0\r\n" };
    let request = format!("{method} {target} HTTP/1.0\r\nHost: {host}:{port}\r\n{length}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut bytes).await?;
    parse(&bytes).context("the answer is no HTTP")
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let status = answer[..end].strip_prefix(b"HTTP/1.")?;
    let code = std::str::from_utf8(status.get(2..5)?).ok()?.parse().ok()?;
    Some(Answer { code, body: answer[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_asked_says_why() {
        let ask = async |url: &str| ask("GET", &url.parse().unwrap()).await.unwrap_err().to_string();
        assert!(ask("https://127.0.0.1:1").await.contains("http only"));
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(ask(&format!("http://{address}")).await.contains("refused"));
    }

    #[test]
    fn answers_that_are_no_http_are_none() {
        for text in ["", "HTTP/1.1", "HTTP/1.1 \r\n\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 2\r\n\r\n"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        let answer = parse(b"HTTP/1.0 503 x\r\nA: b\r\n\r\na\xff").unwrap();
        assert_eq!(answer, Answer { code: 503, body: b"a\xff".to_vec() });
    }
}
