//! Many at once: none of them takes what the others need.

use std::fs;
use std::io::Write;
use std::net::TcpStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::wire::{self, request};
use super::{BODY, Neighbour, TOKEN, stage, start};

/// What the process may have more after a crowd than before it: the allocator gives back late.
const FLAT: u64 = 48 << 20;

const CLOSE: (&str, &str) = ("Connection", "close");

/// The beginning of a head that never ends.
const HALF: &[u8] = b"POST /default/pulpo HTTP/1.1\r\nHost: hooks.example.com\r\nX-Half: ";

fn open(gate: &super::Gate, count: usize, sent: &[u8]) -> Vec<TcpStream> {
    let one = || {
        let mut stream = wire::connect(gate.address);
        stream.write_all(sent).unwrap();
        stream
    };
    std::iter::repeat_with(one).take(count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_paths_that_nobody_has_leave_nothing_behind() {
    let stage = stage().await;
    let gate = start(&stage);
    let neighbour = Neighbour::of(&gate);
    let series = || gate.process.get("/metrics").unwrap().matches("\nhookkeeper_gate_refused").count();
    let ask = |of: std::ops::Range<usize>| {
        std::thread::scope(|scope| {
            for sender in 0..4 {
                let (address, of) = (gate.address, of.clone());
                scope.spawn(move || {
                    for number in of.skip(sender).step_by(4) {
                        let path = format!("/default/canary-path-{number}");
                        let answer = wire::raw(address, &wire::post(&path, &[TOKEN], BODY));
                        assert_eq!(answer.map(|answer| answer.status), Some(404));
                    }
                });
            }
        });
    };
    ask(0..500);
    let (memory, before) = (gate.memory(), series());
    ask(500..10_500);
    assert_eq!(series(), before);
    let more = gate.memory().saturating_sub(memory);
    assert!(more < FLAT, "{more} bytes more");
    neighbour.leave();
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_that_send_half_a_head_keep_nobody_out() {
    // This process needs one descriptor for each, and so does the gate.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let stage = stage().await;
    let gate = start(&stage);
    let neighbour = Neighbour::of(&gate);
    let memory = gate.memory();
    let crowd = open(&gate, 2_500, HALF);
    // All of them are still there, as far as they can know.
    for number in 0..50 {
        assert_eq!(super::deliver(gate.address, number), Some(200));
    }
    // A kernel that holds a head of 32 KiB for each would need 64 MiB.
    let more = gate.memory().saturating_sub(memory);
    assert!(more < 2 * FLAT, "{more} bytes more");
    drop(crowd);
    neighbour.leave();
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_who_needs_no_credential_nor_who_has_one_keeps_other_namespaces_out() {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let stage = stage().await;
    let gate = start(&stage);
    let neighbour = Neighbour::of(&gate);
    // All that is asked of them is said; the body never comes.
    for (path, headers) in [("/default/open", &[][..]), ("/default/pulpo", &[TOKEN])] {
        let headers = [headers, &[("Content-Length", "100")]].concat();
        let crowd = open(&gate, 2_400, &request("POST", path, &headers, b""));
        for number in 0..50 {
            assert_eq!(super::deliver(gate.address, number), Some(200), "{path}");
        }
        drop(crowd);
    }
    neighbour.leave();
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_few_descriptors_has_fewer_places_and_lets_the_next_one_in() {
    let stage = stage().await;
    let mut program = stage.program();
    program.arg("--allow-clear-bodies").through(["sh", "-c", r#"ulimit -n 256; exec "$@""#, "sh"]);
    let gate = stage.start(&mut program);
    let neighbour = Neighbour::of(&gate);
    let crowd = open(&gate, 400, HALF);
    for number in 0..20 {
        assert_eq!(super::deliver(gate.address, number), Some(200));
    }
    assert!(!gate.process.log().contains("cannot accept"), "{}", gate.process.log());
    drop(crowd);
    neighbour.leave();
    gate.stop();

    let mut program = stage.program();
    program.arg("--allow-clear-bodies").through(["sh", "-c", r#"ulimit -Sn 64; exec "$@""#, "sh"]);
    let gate = stage.start(&mut program);
    let limits = fs::read_to_string(format!("/proc/{}/limits", gate.process.id().as_raw_nonzero())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = open_files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "it takes what it is allowed: {open_files}");
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_nobody_vouches_for_have_a_share_of_the_memory_and_no_more() {
    let stage = stage().await;
    let gate = start(&stage);
    let neighbour = Neighbour::of(&gate);
    let memory = gate.memory();
    let length = (1 << 20).to_string();
    let signature = "0".repeat(64);
    let headers = [("signature", signature.as_str()), ("Content-Length", &length), CLOSE];
    let sent = [request("POST", "/default/qualp", &headers, b""), vec![b'x'; 900_000]].concat();
    // 180 MB, a quarter of the budget is 32 MiB.
    let crowd: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4).map(|_| scope.spawn(|| open_refused(gate.address, 50, &sent))).collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    gate.until("some find no memory", || gate.refused("default/qualp").contains_key("NoMemory")).await;
    for number in 0..20 {
        assert_eq!(super::deliver(gate.address, number), Some(200));
    }
    let more = gate.memory().saturating_sub(memory);
    assert!(more < 2 * FLAT, "{more} bytes more");
    drop(crowd);
    neighbour.leave();
    gate.stop();
}

/// Connections that may be closed while they are still sending.
fn open_refused(address: std::net::SocketAddr, count: usize, sent: &[u8]) -> Vec<TcpStream> {
    let one = || {
        let mut stream = wire::connect(address);
        let _ = stream.write_all(sent);
        stream
    };
    std::iter::repeat_with(one).take(count).collect()
}
