//! What makes a request unfit, whatever it asks for: its head is too large, or leaves it open how its
//! body is to be read, or whom it is for.
//!
//! Behind a proxy a doubtful end is how one request is made to be two (RFC 9112, section 11.2). The
//! parser sees to lengths: two that differ are refused, and beside chunks a length does not count and
//! the connection is closed. Codings it leaves to us, and hosts: a host means nothing here, but whoever
//! stands before the gate may choose by it, and two of them may be read in two ways (RFC 9112, section 3.2).

use hyper::header::{HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Version};

/// Size of a request's head in bytes; a token may have 16 KiB.
pub(super) const HEAD: usize = 32 * 1024;

/// What a line of a header has besides its name and value: a colon, a blank, and its end.
const AROUND: usize = 4;

/// The status of the answer to a request that is unfit.
pub(super) fn unfit(head: &Parts) -> Option<u16> {
    if length(head) > HEAD {
        return Some(431);
    }
    (has_doubtful_end(&head.headers) || has_doubtful_host(head)).then_some(400)
}

/// No host, which only HTTP/1.0 may leave out, several, or one that is none.
fn has_doubtful_host(head: &Parts) -> bool {
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => head.version > Version::HTTP_10,
        (Some(host), None) => !host.as_bytes().iter().all(is_of_a_host),
        (Some(_), Some(_)) => true,
    }
}

/// Whether a byte may stand in a host with its port (RFC 3986, sections 3.2.2 and 3.2.3).
fn is_of_a_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte)
}

fn length(head: &Parts) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let lines = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + AROUND);
    lines.fold(target, usize::saturating_add)
}

/// A coding beside the chunks, which would have to be undone before anybody could read the body (RFC 9112,
/// section 6.1), or the chunks named twice.
fn has_doubtful_end(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) => !coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    const HOOKS: &str = "hooks.example.com";

    fn judged(target: &str, lines: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::post(target).header("host", HOOKS);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        unfit(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_body_has_one_end() {
        for lines in [
            &[][..],
            &[("Content-Length", "4")],
            &[("Transfer-Encoding", "chunked")],
            &[("transfer-encoding", "Chunked")],
        ] {
            assert_eq!(judged("/a/b", lines), None, "{lines:?}");
        }
        for lines in [
            &[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")][..],
            &[("Transfer-Encoding", "gzip, chunked")],
            &[("Transfer-Encoding", "chunked, chunked")],
            &[("Transfer-Encoding", "identity")],
            &[("Transfer-Encoding", "")],
        ] {
            assert_eq!(judged("/a/b", lines), Some(400), "{lines:?}");
        }
    }

    #[test]
    fn a_request_is_for_one_host() {
        let judged = |version, hosts: &[&str]| {
            let mut request = Request::post("/a/b").version(version);
            for host in hosts {
                request = request.header("host", *host);
            }
            unfit(&request.body(()).unwrap().into_parts().0)
        };
        for host in
            ["a.example", "A.example:8090", "203.0.113.1:80", "[2001:db8::1]:80", "%c3%a7.example", ""]
        {
            assert_eq!(judged(Version::HTTP_11, &[host]), None, "{host}");
        }
        for hosts in [
            &[][..],
            &["a.example", "a.example"],
            &["a.example", "b.example"],
            &["a.example, b.example"],
            &["a.example b.example"],
            &["user@a.example"],
            &["a.example/b"],
            &["a.example?b"],
            &["a.example#b"],
            &["a\\b"],
            &["\u{e7}.example"],
        ] {
            assert_eq!(judged(Version::HTTP_11, hosts), Some(400), "{hosts:?}");
        }
        assert_eq!(judged(Version::HTTP_10, &[]), None);
        assert_eq!(judged(Version::HTTP_10, &["a", "a"]), Some(400));
    }

    #[test]
    fn a_head_has_its_limit_to_the_byte() {
        let host = "host".len() + HOOKS.len() + AROUND;
        let around = "/a/b".len() + "x-a".len() + AROUND + host;
        let value = |length: usize| "v".repeat(length - around);
        assert_eq!(judged("/a/b", &[("x-a", &value(HEAD))]), None);
        assert_eq!(judged("/a/b", &[("x-a", &value(HEAD + 1))]), Some(431));
        let half = "v".repeat(HEAD / 2);
        assert_eq!(judged("/a/b", &[("x-a", &half), ("x-b", &half)]), Some(431));
        assert_eq!(judged(&format!("/{}", "p".repeat(HEAD)), &[]), Some(431));
    }
}
