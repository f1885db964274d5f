//! Headers as they stand on a connection: lines with a name, a colon and a value.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// What of it can be a header; the rest is passed over, as no server hands it on.
pub fn read(block: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in block.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}
