//! Puts deliveries on the wire: as they should be, or broken on request.

use std::time::Duration;

use axum::http::{HeaderName, Method, header::USER_AGENT};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use super::disturbances::Breakage;
use super::error::Error;
use crate::http;
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// Into how many parts a slow body is cut.
const PARTS: u32 = 8;
/// More than any head of an answer that is read for its first line.
const HEAD: usize = 16 * 1024;

/// One request to be sent.
pub(super) struct Load<'a> {
    pub(super) headers: &'a [(HeaderName, SecretText)],
    pub(super) body: &'a str,
    pub(super) timeout: Duration,
    pub(super) breakage: Breakage,
}

/// An answer, as far as senders look at it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// `None` when there was none.
    pub(super) status: Option<u16>,
    pub(super) body: Option<http::Body>,
}

/// The way to one receiver.
#[derive(Clone)]
pub(super) struct Wire {
    client: http::Client,
    url: Url,
}

impl Wire {
    /// The way to `url` and to nowhere else.
    pub(super) fn to(url: Url) -> Result<Self, Error> {
        // The one destination that whoever runs the sandbox named, or the sandbox itself.
        let place = url[url::Position::BeforeScheme..url::Position::AfterPort].trim_start_matches("https://");
        let allowed = place.parse().map_err(|_| Error::Setting("deliveries need an http or https URL"))?;
        let config = http::Config {
            destinations: http::DestinationPolicy::new(vec![allowed]),
            ..http::Config::default()
        };
        let client = http::Client::new(config).map_err(|e| Error::Deliveries(e.to_string()))?;
        Ok(Self { client, url })
    }

    /// The same, one step further down.
    pub(super) fn below(&self, part: &str) -> Option<Self> {
        Some(Self { client: self.client.clone(), url: self.url.join(part).ok()? })
    }

    /// Sends at most once.
    pub(super) async fn send(&self, load: Load<'_>) -> Answer {
        if load.breakage == Breakage::None {
            return self.send_well(load).await;
        }
        let time = load.timeout + Duration::from_secs(600);
        timeout(time, self.send_broken(load)).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    async fn send_well(&self, load: Load<'_>) -> Answer {
        let mut headers = load.headers.to_vec();
        if !headers.iter().any(|(name, _)| name == USER_AGENT) {
            headers.push((USER_AGENT, AGENT.into()));
        }
        let request = http::Request {
            bounds: Bounds::default(),
            method: Method::POST,
            url: self.url.clone(),
            headers,
            // No content type of its own: whether there is one depends on the headers.
            body: Some((String::new(), load.body.into())),
            timeout: load.timeout,
        };
        match self.client.send(request).await {
            Ok(answer) => Answer { status: Some(answer.status), body: answer.body.ok() },
            Err(http::Error::Redirect { status, .. }) => Answer { status: Some(status), body: None },
            Err(_) => Answer::default(),
        }
    }

    /// By hand, for no client is made to do this. Without TLS: a broken delivery over https is cut.
    async fn send_broken(&self, load: Load<'_>) -> std::io::Result<Answer> {
        let none = Ok(Answer::default());
        if self.url.scheme() != "http" {
            return none;
        }
        let (Some(host), Some(port)) = (self.url.host_str(), self.url.port_or_known_default()) else {
            return none;
        };
        let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        let path = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\nuser-agent: {AGENT}\r\ncontent-length: {}\r\n",
            load.body.len()
        );
        for (name, value) in load.headers {
            head.extend([name.as_str(), ": ", value.expose(), "\r\n"]);
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await?;
        let body = load.body.as_bytes();
        match load.breakage {
            Breakage::Cut => {
                stream.write_all(&body[..body.len() / 2]).await?;
                return none;
            }
            Breakage::HangUp => {
                stream.write_all(body).await?;
                return none;
            }
            Breakage::Slow(milliseconds) => {
                let pause = Duration::from_millis(milliseconds) / PARTS;
                for part in body.chunks(body.len().div_ceil(PARTS as usize).max(1)) {
                    tokio::time::sleep(pause).await;
                    stream.write_all(part).await?;
                }
            }
            Breakage::None => stream.write_all(body).await?,
        }
        let status = timeout(load.timeout, read_status(&mut stream)).await;
        Ok(Answer { status: status.ok().flatten(), body: None })
    }
}

const AGENT: &str = "hookkeeper-sandbox";

/// The status of an answer whose head has come to its end.
async fn read_status(stream: &mut TcpStream) -> Option<u16> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await.ok()?;
        if read == 0 || head.len() > HEAD {
            return None;
        }
        head.extend_from_slice(&buffer[..read]);
    }
    std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What arrives, and what the sender makes of it when the receiver answers 202 to a whole request.
    async fn exchange(breakage: Breakage) -> (String, Option<u16>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a/b?c=d", listener.local_addr().unwrap());
        let wire = Wire::to(url.parse().unwrap()).unwrap();
        let receiver = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            let mut buffer = [0; 4096];
            while !received.ends_with(b"0123456789") {
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                if read == 0 {
                    return String::from_utf8(received).unwrap();
                }
                received.extend_from_slice(&buffer[..read]);
            }
            let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await;
            String::from_utf8(received).unwrap()
        });
        let headers = [(HeaderName::from_static("x-token"), SecretText::from("t"))];
        let timeout = Duration::from_secs(60);
        let answer = wire.send(Load { headers: &headers, body: "0123456789", timeout, breakage }).await;
        (receiver.await.unwrap(), answer.status)
    }

    #[tokio::test]
    async fn deliveries_arrive_whole_or_broken_as_asked() {
        for (breakage, body, status) in [
            (Breakage::None, "0123456789", Some(202)),
            (Breakage::Slow(8), "0123456789", Some(202)),
            (Breakage::HangUp, "0123456789", None),
            (Breakage::Cut, "01234", None),
        ] {
            let (received, answered) = exchange(breakage).await;
            assert!(received.starts_with("POST /a/b?c=d HTTP/1.1\r\n"), "{received}");
            let (head, content) = received.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("content-length: 10") && head.contains("x-token: t"), "{head}");
            assert_eq!((content, answered), (body, status), "{breakage:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_no_answer() {
        let wire = Wire::to("http://127.0.0.1:1/".parse().unwrap()).unwrap();
        for breakage in [Breakage::None, Breakage::Cut, Breakage::Slow(1)] {
            let load = Load { headers: &[], body: "x", timeout: Duration::from_secs(60), breakage };
            assert_eq!(wire.send(load).await.status, None);
        }
    }
}
