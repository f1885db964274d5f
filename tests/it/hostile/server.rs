//! A server that answers whatever bytes it is told to, and counts who came.

use std::io::{ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// In every hostile answer; nothing of an answer may be shown.
pub const CANARY: &str = "s3cr3t-c4n4ry";

/// What a connection gets after its request.
#[derive(Clone)]
pub enum Behaviour {
    /// These bytes, and then the end.
    Bytes(Vec<u8>),
    /// The first bytes, and then the others again and again for as long as anybody reads.
    Endless(Vec<u8>, Vec<u8>),
    /// The bytes one by one, forever.
    Drip(Vec<u8>),
    /// The bytes, and then nothing, without an end.
    Silent(Vec<u8>),
    /// What the server at this address answers to the same request.
    Forward(SocketAddr),
}

/// One request, as far as an answer may depend on it.
pub struct Asked {
    /// The address that was asked: all of 127.0.0.0/8 leads here, so each can stand for an origin.
    pub at: IpAddr,
    pub method: String,
    pub path: String,
    /// Everything that was sent, for servers that repeat it.
    pub whole: String,
}

pub struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub async fn start(answer: impl Fn(&Asked) -> Behaviour + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, answer) = (Arc::clone(&connections), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let answer = Arc::clone(&answer);
                // A client that goes away is what half of the cases are about.
                tokio::spawn(async move { drop(serve(stream, &*answer).await) });
            }
        });
        Self { address, connections }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, answer: &(impl Fn(&Asked) -> Behaviour + Sync)) -> Result<()> {
    let at = stream.local_addr()?.ip();
    let whole = read_request(&mut stream).await?;
    let mut words = whole.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let asked = Asked { at, method, path, whole };
    match answer(&asked) {
        Behaviour::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Behaviour::Endless(first, more) => {
            stream.write_all(&first).await?;
            loop {
                stream.write_all(&more).await?;
            }
        }
        Behaviour::Drip(bytes) => {
            for byte in bytes.iter().chain(std::iter::repeat(&b'x')) {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        }
        Behaviour::Silent(first) => {
            stream.write_all(&first).await?;
            // Until the client gives up.
            stream.read_u8().await.map(|_| ())
        }
        Behaviour::Forward(to) => {
            let mut onward = TcpStream::connect(to).await?;
            let request = asked.whole.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            onward.write_all(request.as_bytes()).await?;
            tokio::io::copy(&mut onward, &mut stream).await?;
            stream.shutdown().await
        }
    }
}

/// One request with a body of the announced length.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Result<String> {
    let mut read = Vec::new();
    let mut length = 0;
    loop {
        let head = read.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
            let announced = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            length = head + announced.map_or(0, |length| length.parse().unwrap());
        }
        if head.is_some() && read.len() >= length {
            return Ok(String::from_utf8_lossy(&read).into_owned());
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A whole answer with its length, and the word that no other follows: a client that would send
/// the next request into the closing connection could not know what became of it.
pub fn answer(head: &str, body: impl AsRef<[u8]>) -> Behaviour {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    Behaviour::Bytes([head.as_bytes(), body].concat())
}

/// A success in JSON.
pub fn json(body: impl AsRef<[u8]>) -> Behaviour {
    answer("200 OK\r\nContent-Type: application/json", body)
}
