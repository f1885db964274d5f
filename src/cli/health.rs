//! `hookkeeper health`: asks a running process whether it is ready; an image from scratch has no
//! curl.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::output;
use crate::printable::printable;

/// How long the whole exchange may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than any list of missing things takes.
const ANSWER_LIMIT: u64 = 64 * 1024;

/// Asks a running process whether it is ready; exit code 1 when it is not.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where its admin server listens.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: Url,
}

/// Asks, and prints `ready` or what is missing.
///
/// # Errors
/// When there is no answer, which counts as not ready.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let answer = tokio::time::timeout(TIMEOUT, ask(&args.url))
        .await
        .unwrap_or_else(|_| bail!("no answer within {} s", TIMEOUT.as_secs()))
        .with_context(|| format!("{} did not say whether it is ready", place(&args.url)))?;
    let mut output = output::standard();
    output.write_all(answer.text.as_bytes())?;
    output.flush()?;
    Ok(if answer.code == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: u16,
    text: String,
}

/// The URL without what may be secret in one.
fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

async fn ask(url: &Url) -> anyhow::Result<Answer> {
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
    let path = match url.path() {
        "" | "/" => "/readyz",
        path => path,
    };
    // In HTTP/1.0 the answer ends where the connection does, and is never sent in chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut bytes).await?;
    parse(&String::from_utf8_lossy(&bytes)).context("the answer is no HTTP")
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?;
    let code = status.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    // A terminal acts on control characters, and anybody may listen there.
    let text = body.lines().map(|line| format!("{}\n", printable(line)));
    Some(Answer { code, text: text.collect() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ops::admin::{Admin, listen, serve};
    use crate::ops::health::{Heartbeat, Readiness};
    use crate::ops::metrics::Metrics;

    #[tokio::test]
    async fn it_shows_what_a_real_server_misses() {
        let heartbeat = Heartbeat::new(Duration::from_secs(30));
        let readiness = Readiness::default();
        let admin = Admin {
            heartbeat: Arc::clone(&heartbeat),
            readiness: readiness.clone(),
            metrics: Metrics::new(heartbeat, true),
            log_level: None,
        };
        let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let url: Url = url.parse().unwrap();
        tokio::spawn(serve(listener, admin));

        let missing = readiness.awaits("the manifests have not been read");
        let answer = ask(&url).await.unwrap();
        assert_eq!(answer.code, 503);
        assert_eq!(answer.text, "the manifests have not been read\n");
        drop(missing);
        let answer = ask(&url).await.unwrap();
        assert_eq!((answer.code, answer.text.as_str()), (200, "ready\n"));
        assert_eq!(ask(&url.join("/livez").unwrap()).await.unwrap().text, "alive\n");
    }

    #[tokio::test]
    async fn what_cannot_be_asked_says_why() {
        let ask = async |url: &str| ask(&url.parse().unwrap()).await.unwrap_err().to_string();
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
            assert_eq!(parse(text), None, "{text}");
        }
        let answer = parse("HTTP/1.0 503 x\r\nA: b\r\n\r\na\u{1b}[2Jb\n").unwrap();
        assert_eq!(answer.text, "a\\u001b[2Jb\n");
    }
}
