//! What makes a request unfit, whatever it asks for: its head is too large, or leaves it open how its
//! body is to be read.
//!
//! Behind a proxy a doubtful end is how one request is made to be two (RFC 9112, section 11.2). The
//! parser sees to lengths: two that differ are refused, and beside chunks a length does not count and
//! the connection is closed. Codings it leaves to us.

use hyper::HeaderMap;
use hyper::header::TRANSFER_ENCODING;
use hyper::http::request::Parts;

/// Size of a request's head in bytes; a token may have 16 KiB.
pub(super) const HEAD: usize = 32 * 1024;

/// What a line of a header has besides its name and value: a colon, a blank, and its end.
const AROUND: usize = 4;

/// The status of the answer to a request that is unfit.
pub(super) fn unfit(head: &Parts) -> Option<u16> {
    if length(head) > HEAD {
        return Some(431);
    }
    has_doubtful_end(&head.headers).then_some(400)
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

    fn judged(target: &str, lines: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::post(target);
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
    fn a_head_has_its_limit_to_the_byte() {
        let around = "/a/b".len() + "x-a".len() + AROUND;
        let value = |length: usize| "v".repeat(length - around);
        assert_eq!(judged("/a/b", &[("x-a", &value(HEAD))]), None);
        assert_eq!(judged("/a/b", &[("x-a", &value(HEAD + 1))]), Some(431));
        let half = "v".repeat(HEAD / 2);
        assert_eq!(judged("/a/b", &[("x-a", &half), ("x-b", &half)]), Some(431));
        assert_eq!(judged(&format!("/{}", "p".repeat(HEAD)), &[]), Some(431));
    }
}
