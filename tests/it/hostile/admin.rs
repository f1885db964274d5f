//! Whoever reaches the admin server, while the process goes on.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::super::run;
use super::stage::Stage;

fn address(stage: &Stage) -> SocketAddr {
    let log = stage.log();
    let line = log.lines().find(|line| line.contains("admin server listens")).unwrap();
    line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_silent_connections_keep_no_probe_waiting_and_no_rotation() {
    let stage = Stage::start().await;
    let mut sidecar = stage.sidecar(&[], |_| {});
    stage.until_rotated(1).await;
    let address = address(&stage);
    let url = format!("http://{address}");
    let mut crowd = Vec::new();
    for first_words in ["", "GET /livez HTTP/1.1\r\nHost: x\r\n", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"]
    {
        for _ in 0..300 {
            let mut stream = TcpStream::connect(address).unwrap();
            // One that had to go already cannot be written to.
            let _ = stream.write_all(first_words.as_bytes());
            crowd.push(stream);
        }
        let ended = run(&["health", "--url", &url]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "ready\n"), "{}", ended.stderr);
        let ended = run(&["health", "--url", &format!("{url}/livez")]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "alive\n"), "{}", ended.stderr);
    }
    stage.until_rotated(2).await;
    stage.assert_withstood(&mut sidecar);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_is_changed_by_who_is_on_the_host_where_that_was_asked_for() {
    let put = |address: SocketAddr, host: &str| {
        let request = format!("PUT /log-level HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\ntrace");
        exchange(address, &request)
    };
    let stage = Stage::start().await;
    let sidecar = stage.sidecar(&[], |program| {
        program.args(["--log-level", "info"]);
    });
    stage.until_rotated(1).await;
    let answer = put(address(&stage), "localhost");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.ends_with("start with --allow-log-level-changes to allow it\n"), "{answer}");
    sidecar.kill();

    let stage = Stage::start().await;
    let mut sidecar = stage.sidecar(&[], |program| {
        program.args(["--log-level", "info", "--allow-log-level-changes"]);
    });
    stage.until_rotated(1).await;
    let answer = put(address(&stage), "rebound.example.com");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(!stage.log().contains(" TRACE "), "{}", stage.log());
    let answer = put(address(&stage), "localhost:8080");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    stage.until("there is more detail", |stage| stage.log().contains("TRACE hookkeeper")).await;
    stage.assert_withstood(&mut sidecar);
}
