//! Deliveries of sizes as platforms send them, each with an id of its own, signed.

use std::cell::{Cell, RefCell};
use std::io::Write;

use aws_lc_rs::hmac;

use crate::marks::Marks;

/// The secret that platform and receiver share.
pub const SECRET: &str = "benchmark-secret-of-32-characters";
/// The header of the signature: lowercase hex of the HMAC-SHA256 of the body.
pub const SIGNATURE: &str = "signature";
/// What stands before the id in each body; the last twelve digits of the id are the delivery's number.
pub const BEFORE_ID: &[u8] = br#""id":""#;
/// Length of an id.
pub const ID: usize = 36;

/// Sizes of bodies in bytes, about: a status and no more, a notice, an order, an application with answers.
const SIZES: [usize; 4] = [300, 600, 1_000, 2_000];

/// Makes requests, and knows which were acknowledged.
pub struct Deliveries {
    run: u64,
    next: Cell<u64>,
    paths: Vec<String>,
    after_id: Vec<Vec<u8>>,
    key: hmac::Key,
    acknowledged: RefCell<Marks>,
}

/// Memory for a request, used again for the next one.
#[derive(Debug, Default)]
pub struct Request {
    body: Vec<u8>,
    /// The request as it is sent.
    pub bytes: Vec<u8>,
}

impl Deliveries {
    /// Deliveries of all sizes, to these paths in turn.
    pub fn new(paths: Vec<String>) -> Self {
        Self::of_sizes(paths, &SIZES)
    }

    /// Deliveries of the smallest size, to these paths in turn.
    pub fn small(paths: Vec<String>) -> Self {
        Self::of_sizes(paths, &SIZES[..1])
    }

    fn of_sizes(paths: Vec<String>, sizes: &[usize]) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self {
            run: now.as_millis() as u64,
            next: Cell::new(0),
            paths,
            after_id: sizes.iter().map(|size| after_id(*size)).collect(),
            key: hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()),
            acknowledged: RefCell::default(),
        }
    }

    /// Writes the next request; returns its number.
    pub fn write_next(&self, request: &mut Request) -> u64 {
        let number = self.next.replace(self.next.get() + 1);
        let Request { body, bytes } = request;
        body.clear();
        body.push(b'{');
        body.extend_from_slice(BEFORE_ID);
        let run = self.run;
        write!(body, "{:08x}-{:04x}-7000-8000-{number:012x}", run >> 16 & 0xffff_ffff, run & 0xffff).unwrap();
        body.extend_from_slice(&self.after_id[number as usize % self.after_id.len()]);
        bytes.clear();
        let path = &self.paths[number as usize % self.paths.len()];
        write!(
            bytes,
            "POST {path} HTTP/1.1\r\nHost: hooks.example.com\r\nUser-Agent: platform/1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{SIGNATURE}: ",
            body.len()
        )
        .unwrap();
        for byte in hmac::sign(&self.key, body).as_ref() {
            let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
            bytes.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(body);
        number
    }

    /// The delivery was answered with 2xx.
    pub fn acknowledge(&self, number: u64) {
        self.acknowledged.borrow_mut().set(number);
    }

    /// Which deliveries were answered with 2xx.
    pub fn acknowledged(&self) -> Marks {
        self.acknowledged.borrow().clone()
    }
}

/// What follows the id in a body of about this size.
fn after_id(size: usize) -> Vec<u8> {
    let mut text = concat!(
        r#"","event":"application.completed","companyName":"Example Ltda","date":"2027-01-15T08:00:00.000Z","#,
        r#""status":3,"data":{"candidate":{"name":"Maria da Silva","email":"maria@example.com"},"answers":["#
    )
    .to_owned();
    let mut answer = 0;
    while 1 + BEFORE_ID.len() + ID + text.len() + 60 < size {
        if answer > 0 {
            text.push(',');
        }
        answer += 1;
        text.push_str(&format!(r#"{{"question":{answer},"answer":"as the candidate wrote it"}}"#));
    }
    text.push_str("]}}");
    text.into_bytes()
}
