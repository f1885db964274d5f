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
    let mut stream = connect(address);
    // Whoever is refused early may find the connection closed while it is still sending.
    let _ = stream.write_all(bytes);
    read(&mut stream)
}

/// Reads an answer to the end of the connection.
pub fn read(stream: &mut TcpStream) -> Option<Answered> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // A reset after the answer loses nothing of it.
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..read]);
    }
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> Option<Answered> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().unwrap();
    Some(Answered { status, head: head.to_owned(), body: body.to_owned() })
}

/// A POST as bytes.
pub fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("POST {path} HTTP/1.1\r\nHost: hooks.example.com\r\nConnection: close\r\n");
    for (name, value) in headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    [bytes.as_bytes(), body].concat()
}
