//! HTTP/1.1 from the side of whoever sends: one connection, one request after the other.
//!
//! Written for this load, because a client that can do everything costs as much as the servers that are
//! measured. Connections are kept. An answer needs a length, or comes in chunks.

use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that is made when it is needed.
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

/// What an answer's head says.
struct Head {
    status: u16,
    closes: bool,
    body: Body,
    end: usize,
}

enum Body {
    Length(usize),
    Chunked,
}

impl Connection {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, received: Vec::with_capacity(4096) }
    }

    /// Sends a request and waits for the whole answer; returns its status.
    ///
    /// A connection that was kept may have been closed meanwhile. Then the request goes out once more on
    /// a new one, as clients do.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        if let Some(mut stream) = self.stream.take() {
            match self.exchange_on(&mut stream, request).await {
                Err(_) if self.received.is_empty() => {}
                answered => return self.keep(stream, answered),
            }
        }
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let answered = self.exchange_on(&mut stream, request).await;
        self.keep(stream, answered)
    }

    /// The body of the last answer, if it came with a length.
    pub fn body(&self) -> &[u8] {
        let end = end_of_head(&self.received).unwrap_or(0);
        &self.received[end..]
    }

    fn keep(&mut self, stream: TcpStream, answered: io::Result<Head>) -> io::Result<u16> {
        let head = answered?;
        if !head.closes {
            self.stream = Some(stream);
        }
        Ok(head.status)
    }

    async fn exchange_on(&mut self, stream: &mut TcpStream, request: &[u8]) -> io::Result<Head> {
        self.received.clear();
        stream.write_all(request).await?;
        loop {
            if stream.read_buf(&mut self.received).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let Some(end) = end_of_head(&self.received) else { continue };
            let head = read_head(&self.received[..end])?;
            loop {
                let body = &self.received[head.end..];
                let is_whole = match head.body {
                    Body::Length(length) => body.len() >= length,
                    Body::Chunked => body == b"0\r\n\r\n" || body.ends_with(b"\r\n0\r\n\r\n"),
                };
                if is_whole {
                    return Ok(head);
                }
                if stream.read_buf(&mut self.received).await? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

fn end_of_head(received: &[u8]) -> Option<usize> {
    received.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4)
}

fn read_head(head: &[u8]) -> io::Result<Head> {
    let invalid = || Error::new(ErrorKind::InvalidData, "this answer is not understood");
    let text = std::str::from_utf8(head).map_err(|_| invalid())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
    let status = status.and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
    let mut read = Head { status, closes: false, body: Body::Length(0), end: head.len() };
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            read.body = Body::Length(value.parse().map_err(|_| invalid())?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            read.body = Body::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            read.closes = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(read)
}

/// Asks for something once; waits for it.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::new(address);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let asked = connection.exchange(request.as_bytes());
        let status = tokio::time::timeout(std::time::Duration::from_secs(30), asked).await??;
        Ok((status, connection.body().to_vec()))
    })
}
