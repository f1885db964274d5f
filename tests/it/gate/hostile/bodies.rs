//! Bodies that are too long, never end, do not come whole, or are not what they say.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::Shutdown;

use super::super::wire::{self, chunked, request};
use super::{BODY, Neighbour, TOKEN, stage, start};

/// What one receiver takes, in bytes, and another one that was not told otherwise.
const SMALL: usize = 1024;
const DEFAULT: usize = 1024 * 1024;

const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");
const CLOSE: (&str, &str) = ("Connection", "close");

/// A request whose body is announced and has not begun.
fn head(path: &str, length: usize, more: &[(&str, &str)]) -> Vec<u8> {
    let length = length.to_string();
    request("POST", path, &[&[CLOSE, ("Content-Length", length.as_str())], more].concat(), b"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_by_what_is_announced_and_at_the_first_byte_too_many() {
    let stage = stage().await;
    let gate = start(&stage);
    let neighbour = Neighbour::of(&gate);
    // Nothing of the body is there, and nobody asks for it.
    for more in [&[TOKEN][..], &[TOKEN, ("Expect", "100-continue")], &[]] {
        for length in [SMALL + 1, usize::MAX / 2] {
            let answers = wire::exchange(gate.address, &head("/default/small", length, more));
            assert!(answers.starts_with("HTTP/1.1 413 "), "{answers}");
            assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
        }
    }
    // The same for who shows no credential, and one that waits to be asked is asked if they do.
    let expects = ("Expect", "100-continue");
    let answers = wire::exchange(gate.address, &head("/default/small", SMALL, &[expects]));
    assert!(answers.starts_with("HTTP/1.1 401 "), "{answers}");
    let mut stream = wire::connect(gate.address);
    stream.write_all(&head("/default/small", SMALL, &[TOKEN, expects])).unwrap();
    assert_eq!(wire::read_one(&mut stream).unwrap().status, 100);
    stream.write_all(&[b'x'; SMALL]).unwrap();
    assert_eq!(wire::read(&mut stream).unwrap().status, 200);

    for (path, limit) in [("/default/small", SMALL), ("/default/pulpo", DEFAULT)] {
        for (length, status) in [(limit, 200), (limit + 1, 413)] {
            let body = vec![b'y'; length];
            assert_eq!(gate.post(path, &[TOKEN], &body).status, status, "{length}");
            let sent = request("POST", path, &[TOKEN, CHUNKED, CLOSE], &chunked(&body));
            assert_eq!(gate.raw(&sent).unwrap().status, status, "{length} in chunks");
        }
    }
    neighbour.leave();
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_without_end_is_refused_while_they_do_and_can_read_why() {
    let stage = stage().await;
    let gate = start(&stage);
    let neighbour = Neighbour::of(&gate);
    let mut stream = wire::connect(gate.address);
    let mut sending = stream.try_clone().unwrap();
    let endless = std::thread::spawn(move || {
        let begun = sending.write_all(&request("POST", "/default/pulpo", &[TOKEN, CHUNKED], b""));
        let chunk = [b"10000\r\n", &[b'z'; 0x10000][..], b"\r\n"].concat();
        // Until nobody is there any more.
        begun.and_then(|()| {
            loop {
                sending.write_all(&chunk)?;
            }
        })
    });
    assert_eq!(wire::read_one(&mut stream).unwrap().status, 413);
    let ended: std::io::Result<()> = endless.join().unwrap();
    assert!(ended.is_err());

    // More than is on the way at once: who sends all of it before they look for the answer finds it.
    let body = vec![b'x'; 8 << 20];
    for (path, headers, status) in [
        ("/default/small", &[TOKEN][..], 413),
        ("/default/nobody", &[TOKEN], 404),
        ("/default/near", &[TOKEN], 403),
    ] {
        let mut stream = wire::connect(gate.address);
        stream.write_all(&head(path, body.len(), headers)).unwrap();
        stream.write_all(&body).unwrap();
        assert_eq!(wire::read(&mut stream).unwrap().status, status, "{path}");
    }
    assert_eq!(gate.accepted("default/pulpo"), 0.0);
    neighbour.leave();
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_whole_is_neither_kept_nor_acknowledged() {
    let stage = stage().await;
    let gate = start(&stage);
    let whole = request("POST", "/default/pulpo", &[TOKEN, CHUNKED, CLOSE], &chunked(BODY));
    let mut cut = 0;
    for (sent, begin) in [
        (request("POST", "/default/pulpo", &[TOKEN, ("Content-Length", "1000")], BODY), 1),
        // Without the last line of the chunks, and without the one before.
        (whole[..whole.len() - 2].to_vec(), 1),
        (whole[..whole.len() - 5].to_vec(), 1),
        (whole[..whole.len() - 10].to_vec(), 1),
    ] {
        let mut stream = wire::connect(gate.address);
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        if let Some(answer) = wire::read(&mut stream) {
            assert_eq!(answer.status, 400);
        }
        cut += begin;
        // One who is gone altogether.
        let mut stream = wire::connect(gate.address);
        stream.write_all(&sent).unwrap();
        drop(stream);
        cut += begin;
    }
    gate.until_refused("default/pulpo", &[("BodyIncomplete", cut)]).await;
    // One that drips is taken when it is whole, and nobody waits for it meanwhile.
    let mut dripping = wire::connect(gate.address);
    dripping.write_all(&head("/default/pulpo", BODY.len(), &[TOKEN])).unwrap();
    for byte in BODY {
        dripping.write_all(&[*byte]).unwrap();
        assert_eq!(gate.post("/shop/orders", &[TOKEN], &[b'0', *byte]).status, 200);
    }
    assert_eq!(wire::read(&mut dripping).unwrap().status, 200);
    gate.until("one is taken", || gate.accepted("default/pulpo") == 1.0).await;
    let took = stage.until_took(&gate, 1 + BODY.len()).await;
    let bodies: Vec<_> = took.iter().filter(|handed| handed.target == "/pulpo").collect();
    assert!(bodies.len() == 1 && bodies[0].body == BODY, "{bodies:?}");
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_proven_goes_on_byte_by_byte_whatever_it_is() {
    let stage = stage().await;
    let gate = start(&stage);
    let nested =
        |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat().into_bytes();
    let long_key = format!(r#"{{"{}":1}}"#, "k".repeat(500_000)).into_bytes();
    let bodies = [
        b"".to_vec(),
        b"\0\0\0\0".to_vec(),
        b"\xff\xfe{\"event\":1}".to_vec(),
        b"no JSON".to_vec(),
        b"{\"event\":".to_vec(),
        b"{\"event\":\"a\",\"event\":\"b\"}".to_vec(),
        b"{\"event\":\"SampleEvent\\u0000\"}".to_vec(),
        b"{\"event\":1e999999}".to_vec(),
        b"{\"event\":\"\\ud800\"}".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        format!("[{}0]", "0,".repeat(300_000)).into_bytes(),
        nested("[", "]"),
        nested("{\"a\":", "}"),
        nested("[", ""),
        long_key,
        b"\xef\xbb\xbf{}".to_vec(),
    ];
    for body in &bodies {
        assert_eq!(
            gate.post("/default/pulpo", &[TOKEN], body).status,
            200,
            "{:?}",
            &body[..body.len().min(40)]
        );
    }
    let took = stage.until_took(&gate, bodies.len()).await;
    let arrived: BTreeSet<Vec<u8>> = took.iter().map(|handed| handed.body.to_vec()).collect();
    assert!(arrived == bodies.into_iter().collect(), "not the bodies that were sent");
    gate.stop();
}
