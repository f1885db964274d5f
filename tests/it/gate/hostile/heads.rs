//! Heads of requests that ask for something else than they may, or for two things at once.

use super::super::stage::Gate;
use super::super::wire::{self, chunked, request};
use super::{API_KEY, BODY, Neighbour, TOKEN, stage, start};

/// The length of [`BODY`].
const LENGTH: (&str, &str) = ("Content-Length", "24");
const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");
const CLOSE: (&str, &str) = ("Connection", "close");

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_compared_byte_by_byte_and_only_a_post_is_a_delivery() {
    let stage = stage().await;
    let gate = start(&stage);
    let neighbour = Neighbour::of(&gate);
    for (target, expected) in [
        ("/default/pulpo", 200),
        // The query is no part of the path, and the host is anybody's (RFC 9112, section 3.2.2).
        ("/default/pulpo?token=a&b=%2f", 200),
        ("http://elsewhere.example.com/default/pulpo", 200),
        ("/default/%70ulpo", 404),
        ("/default%2fpulpo", 404),
        ("//default/pulpo", 404),
        ("/default//pulpo", 404),
        ("/default/pulpo/", 404),
        ("/default/pulpo%00", 404),
        ("/default/pulpo;a=b", 404),
        ("/default/./pulpo", 404),
        ("/shop/../default/pulpo", 404),
        ("/default\\pulpo", 404),
        ("/Default/pulpo", 404),
        ("/default/p\u{fa}lpo", 404),
        ("/pulpo", 404),
        ("/", 404),
        ("*", 404),
        ("/metrics", 404),
        ("/readyz", 404),
        ("/livez", 404),
        ("/deliveries", 404),
        ("/expect/default/pulpo/1", 404),
    ] {
        let answer = gate.post(target, &[TOKEN], BODY);
        assert_eq!((answer.status, answer.body.as_str()), (expected, ""), "{target}");
        assert_eq!(answer.header("connection"), Some("close"), "{target}");
    }
    let methods = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "post", "BREW"];
    for method in methods {
        let answer = gate.raw(&request(method, "/default/pulpo", &[TOKEN, LENGTH], BODY)).unwrap();
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
        assert_eq!(answer.header("connection"), Some("close"), "{method}");
        assert_eq!(gate.raw(&request(method, "/nobody", &[], b"")).unwrap().status, 404, "{method}");
    }
    gate.until_refused("default/pulpo", &[("Method", methods.len() as u64)]).await;
    assert_eq!(gate.accepted("default/pulpo"), 3.0);
    neighbour.leave();
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_a_doubtful_end_is_refused_and_nothing_behind_it_is_read() {
    let stage = stage().await;
    let gate = start(&stage);
    // What a proxy may take for the body of the one before, or for the next request.
    let smuggled = request("POST", "/default/small", &[TOKEN, LENGTH], BODY);
    let plain = [BODY, &smuggled].concat();
    let in_chunks = [chunked(BODY), smuggled.clone()].concat();
    for (headers, body) in [
        (&[LENGTH, ("Content-Length", "5")][..], &plain),
        (&[("Content-Length", "24, 24")], &plain),
        (&[("Content-Length", "+24")], &plain),
        (&[("Content-Length", "-1")], &plain),
        (&[("Content-Length", "0x18")], &plain),
        (&[("Content-Length", "2 4")], &plain),
        (&[("Content-Length", "")], &plain),
        (&[("Content-Length", "18446744073709551640")], &plain),
        (&[("Content-Length ", "24")], &plain),
        (&[CHUNKED, CHUNKED], &in_chunks),
        (&[("Transfer-Encoding", "chunked, chunked")], &in_chunks),
        (&[("Transfer-Encoding", "gzip, chunked")], &in_chunks),
        (&[("Transfer-Encoding", "gzip"), CHUNKED], &in_chunks),
        (&[("Transfer-Encoding", "chunked, identity")], &in_chunks),
        (&[("Transfer-Encoding", "identity"), LENGTH], &plain),
        (&[("Transfer-Encoding", "xchunked"), LENGTH], &plain),
        (&[("Transfer-Encoding", "\u{b}chunked"), LENGTH], &plain),
        (&[("Transfer-Encoding ", "chunked"), LENGTH], &plain),
        // Lines that go on in the next one (RFC 9112, section 5.2).
        (&[LENGTH, ("X-Folded", "a\r\n b")], &plain),
        (&[("Transfer-Encoding", "\r\n chunked")], &in_chunks),
        (&[LENGTH, ("X-Return", "a\rTransfer-Encoding: chunked")], &plain),
        (&[LENGTH, ("X-Zero", "a\0")], &plain),
        (&[LENGTH, ("X A", "a")], &plain),
    ] {
        let headers = [&[TOKEN], headers].concat();
        let answers = wire::exchange(gate.address, &request("POST", "/default/pulpo", &headers, body));
        assert!(answers.starts_with("HTTP/1.1 400 "), "{headers:?}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{headers:?}: {answers}");
    }
    // Beside chunks a length does not count, and nothing may follow (RFC 9112, section 6.1).
    for headers in [
        [LENGTH, CHUNKED],
        [CHUNKED, LENGTH],
        [CHUNKED, ("Content-Length", "0")],
        [("Content-Length", "4"), CHUNKED],
    ] {
        let headers = [&[TOKEN][..], &headers].concat();
        let answers = wire::exchange(gate.address, &request("POST", "/default/pulpo", &headers, &in_chunks));
        assert!(answers.starts_with("HTTP/1.1 200 "), "{headers:?}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{headers:?}: {answers}");
    }
    // One length twice is one length (RFC 9110, section 8.6).
    let twice = request("POST", "/default/pulpo", &[TOKEN, LENGTH, LENGTH, CLOSE], BODY);
    assert_eq!(gate.raw(&twice).unwrap().status, 200);
    for chunks in [&b"18\n"[..], b"fffffffffffffffff\r\n", b"-1\r\n", b"0x18\r\n", b"18 \0\r\n", b"\r\n"] {
        let body = [chunks, BODY, b"\r\n0\r\n\r\n", &smuggled].concat();
        let answers =
            wire::exchange(gate.address, &request("POST", "/default/keyed", &[API_KEY, CHUNKED], &body));
        assert!(answers.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{chunks:?}: {answers}");
    }
    assert_eq!((gate.accepted("default/small"), gate.accepted("default/keyed")), (0.0, 0.0));
    gate.stop();
}

/// Who chooses by the host, such as a proxy, may choose another one than the next (RFC 9112, section 3.2).
#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_no_host_or_for_several_is_refused() {
    let stage = stage().await;
    let gate = start(&stage);
    let neighbour = Neighbour::of(&gate);
    let honest = request("POST", "/default/pulpo", &[TOKEN, LENGTH], BODY);
    let with = |version: &str, hosts: &str| {
        let head = format!("POST /default/pulpo HTTP/{version}\r\n{hosts}{}: {}\r\n", TOKEN.0, TOKEN.1);
        [format!("{head}Content-Length: 24\r\n\r\n").as_bytes(), BODY].concat()
    };
    for hosts in ["", "Host: a\r\nHost: a\r\n", "Host: a\r\nhost: b\r\n", "Host: a, b\r\n", "Host: u@a\r\n"] {
        let answers = wire::exchange(gate.address, &[with("1.1", hosts), honest.clone()].concat());
        assert!(answers.starts_with("HTTP/1.1 400 "), "{hosts:?}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{hosts:?}: {answers}");
    }
    // An old protocol has no host.
    assert_eq!(gate.raw(&with("1.0", "")).unwrap().status, 200);
    gate.until("one is taken", || gate.accepted("default/pulpo") == 1.0).await;
    neighbour.leave();
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_has_said_their_last_word_on_this_connection() {
    let stage = stage().await;
    let gate = start(&stage);
    let honest = request("POST", "/default/pulpo", &[TOKEN, LENGTH], BODY);
    let last = request("POST", "/default/pulpo", &[TOKEN, LENGTH, CLOSE], BODY);
    for (first, status) in [
        (request("POST", "/default/nobody", &[TOKEN, LENGTH], BODY), 404),
        (request("GET", "/default/pulpo", &[TOKEN], b""), 405),
        (request("POST", "/default/near", &[TOKEN, LENGTH], BODY), 403),
        (request("POST", "/default/pulpo", &[LENGTH], BODY), 401),
        (request("POST", "/default/small", &[TOKEN, ("Content-Length", "1025")], &[b'x'; 1025]), 413),
    ] {
        let answers = wire::exchange(gate.address, &[first, honest.clone()].concat());
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    }
    // Without a refusal one connection carries many.
    let answers = wire::exchange(gate.address, &[honest.clone(), honest, last].concat());
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 3, "{answers}");
    gate.until("three are taken", || gate.accepted("default/pulpo") == 3.0).await;
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_measure_or_of_another_protocol_gets_nowhere() {
    let stage = stage().await;
    let gate = start(&stage);
    let neighbour = Neighbour::of(&gate);
    let many = |count: usize| {
        let lines: String = (0..count).map(|number| format!("X-{number}: a\r\n")).collect();
        let head = format!("POST /default/pulpo HTTP/1.1\r\nHost: a\r\n{}: {}\r\n{lines}", TOKEN.0, TOKEN.1);
        format!("{head}Connection: close\r\nContent-Length: 0\r\n\r\n").into_bytes()
    };
    assert_eq!(gate.raw(&many(96)).unwrap().status, 200);
    for count in [97, 1_000, 100_000] {
        assert_eq!(gate.raw(&many(count)).unwrap().status, 431, "{count}");
    }
    let long = |length: usize| "a".repeat(length);
    assert_eq!(gate.post("/default/pulpo", &[TOKEN, ("X-Long", &long(31_000))], BODY).status, 200);
    for length in [33_000, 300_000, 3_000_000] {
        assert_eq!(gate.post("/default/pulpo", &[TOKEN, ("X-Long", &long(length))], BODY).status, 431);
        assert_eq!(gate.post("/default/pulpo", &[(&long(length), "a"), TOKEN], BODY).status, 431);
    }
    for length in [70_000, 3_000_000] {
        let status = gate.post(&format!("/{}", long(length)), &[TOKEN], BODY).status;
        assert!([414, 431].contains(&status), "{status}");
    }
    for other in [
        // The preface of HTTP/2 (RFC 9113, section 3.4), and a hello of TLS.
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
        b"POST /default/pulpo\r\n\r\n",
        b"POST /default/pulpo HTTP/1.2\r\n\r\n",
        b"POST /default/pulpo HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        if let Some(answer) = gate.raw(other) {
            assert_eq!(answer.status, 400, "{other:?}");
        }
    }
    // Whoever asks for another protocol is answered in this one.
    let upgrade = [TOKEN, LENGTH, ("Connection", "Upgrade, HTTP2-Settings, close"), ("Upgrade", "h2c")];
    let answer = gate.raw(&request("POST", "/default/pulpo", &upgrade, BODY)).unwrap();
    assert_eq!((answer.status, answer.header("upgrade")), (200, None));
    gate.until("three are taken", || gate.accepted("default/pulpo") == 3.0).await;
    neighbour.leave();
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_request_comes_from_is_what_a_trusted_proxy_says_and_nobody_else() {
    let stage = stage().await;
    let gate = start(&stage);
    let inside: &[&[(&str, &str)]] = &[
        &[("X-Forwarded-For", "192.0.2.7")],
        &[("X-Forwarded-For", "198.51.100.1, 192.0.2.7")],
        &[("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "192.0.2.7")],
        &[("X-Forwarded-For", "192.0.2.7, 127.0.0.1")],
        // Empty members of a list are none (RFC 9110, section 5.6.1).
        &[("X-Forwarded-For", "192.0.2.7, ,")],
    ];
    let outside: &[&[(&str, &str)]] = &[
        &[],
        &[("X-Forwarded-For", "")],
        &[("X-Forwarded-For", "192.0.2.7, 198.51.100.1")],
        &[("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-For", "198.51.100.1")],
        &[("X-Forwarded-For", "192.0.2.7, nonsense")],
        &[("X-Forwarded-For", "192.0.2.7 198.51.100.1")],
        &[("X-Real-IP", "192.0.2.7")],
        &[("Forwarded", "for=192.0.2.7")],
        &[("X-Forwarded-For", "192.0.3.7")],
    ];
    let status = |gate: &Gate, lines: &[(&str, &str)]| {
        gate.post("/default/near", &[&[TOKEN], lines].concat(), BODY).status
    };
    for lines in inside.iter().chain(outside) {
        assert_eq!(status(&gate, lines), 403, "{lines:?}");
    }
    let forged = (inside.len() + outside.len()) as u64;
    gate.until_refused("default/near", &[("Source", forged)]).await;
    gate.stop();
    let gate = stage.start(stage.program().args(["--allow-clear-bodies", "--trusted-proxy", "127.0.0.0/8"]));
    for lines in inside {
        assert_eq!(status(&gate, lines), 200, "{lines:?}");
        // An address alone is no credential.
        assert_eq!(gate.post("/default/near", lines, BODY).status, 401, "{lines:?}");
    }
    for lines in outside {
        assert_eq!(status(&gate, lines), 403, "{lines:?}");
    }
    gate.stop();
}
