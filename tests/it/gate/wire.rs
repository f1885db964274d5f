//! A client that sends exactly the bytes it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answered {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Opens a connection.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends these bytes on a connection of their own and reads to its end; `None` when it was closed without an
/// answer.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> Option<Answered> {
    parse(&exchange(address, bytes))
}

/// The same, and returns all that came back.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    // Whoever is refused early may find the connection closed while it is still sending.
    let _ = stream.write_all(bytes);
    read_all(&mut stream)
}

/// Reads an answer to the end of the connection.
pub fn read(stream: &mut TcpStream) -> Option<Answered> {
    parse(&read_all(stream))
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // A reset after the answer loses nothing of it.
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one answer without a body, and leaves the connection as it is.
pub fn read_one(stream: &mut TcpStream) -> Option<Answered> {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).ok()? == 1 {
        answer.push(byte[0]);
    }
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> Option<Answered> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().unwrap();
    Some(Answered { status, head: head.to_owned(), body: body.to_owned() })
}

/// A POST as bytes.
pub fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let all = [&[("Connection", "close"), ("Content-Length", length.as_str())], headers].concat();
    request("POST", path, &all, body)
}

/// A request as bytes, with these headers and a host.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: hooks.example.com\r\n");
    for (name, value) in headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    [bytes.as_bytes(), b"\r\n", body].concat()
}

/// A body in one chunk, and its end.
pub fn chunked(body: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
}
