//! The destination policy, as the client applies it.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;

use super::servers::Server;
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Gives one prepared answer after the other.
struct Prepared(Mutex<VecDeque<Vec<&'static str>>>);

impl Resolver for Prepared {
    fn resolve(&self, _name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let next = self.0.lock().unwrap().pop_front().unwrap();
        let addresses = next.iter().map(|text| text.parse().unwrap()).collect();
        Box::pin(async { Ok(addresses) })
    }
}

fn resolving(allowed: &[&str], answers: &[&[&'static str]]) -> Client {
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    client_with(allowed, |config| {
        config.resolver = Arc::new(Prepared(Mutex::new(answers)));
    })
}

#[tokio::test]
async fn a_refused_destination_is_never_connected_to() {
    let server = Server::answering(OK).await;
    let error = get(&client(&[]), &server.url("/path?query")).await.unwrap_err();
    let port = server.address.port();
    assert_eq!(
        error,
        Error::DestinationNotAllowed {
            host: format!("127.0.0.1:{port}"),
            problem: "plain http goes only where an exception allows it".to_owned(),
            allow: format!("--allow-destination http://127.0.0.1:{port}"),
        }
    );
    assert!(!error.outcome_unknown());
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_resolves_to_a_refused_address_is_refused() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    let client = resolving(
        &["http://10.0.0.0/8"],
        &[&["127.0.0.1"], &["10.0.0.1", "127.0.0.1"], &["127.0.0.1", "10.0.0.1"]],
    );
    for addresses in [1, 2, 2] {
        let error = get(&client, &format!("http://rebind.example.com:{port}/")).await.unwrap_err();
        assert_eq!(
            error,
            Error::DestinationNotAllowed {
                host: format!("rebind.example.com:{port}"),
                problem: match addresses {
                    1 => "its address 127.0.0.1 is none to which plain http is allowed".to_owned(),
                    _ =>
                        "127.0.0.1, one of its 2 addresses, is none to which plain http is allowed".to_owned(),
                },
                allow: format!("--allow-destination http://rebind.example.com:{port}"),
            }
        );
    }
    assert_eq!(server.connections(), 0);
}

/// All forms in which an address that is not public can hide, alone and behind one that is.
#[tokio::test]
async fn a_name_that_resolves_to_any_form_of_a_refused_address_is_refused() {
    for address in [
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2002:808:808::",
        "2001:0:7f00:1::1",
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        let client = resolving(&[], &[&[address], &["1.1.1.1", address]]);
        for _ in 0..2 {
            let refused = get(&client, "https://rebind.example.com/").await;
            assert!(matches!(refused, Err(Error::DestinationNotAllowed { .. })), "{address}: {refused:?}");
        }
    }
}

/// In a network without IPv4, DNS64 gives every name of an IPv4 host such addresses.
#[tokio::test]
async fn a_host_behind_nat64_is_connected_to_and_a_refused_one_is_named() {
    let client = resolving(&[], &[&["64:ff9b::8.8.8.8"], &["64:ff9b::8.8.8.8", "64:ff9b::10.0.0.1"]]);
    let connecting = request(Method::GET, "https://api.example.com/", SHORT);
    // Nobody answers there: that a connection was tried is all that can be seen.
    let tried = client.send(connecting).await.unwrap_err();
    assert!(!matches!(tried, Error::DestinationNotAllowed { .. }), "{tried}");
    let refused = get(&client, "https://api.example.com/").await.unwrap_err().to_string();
    let named = "64:ff9b::a00:1, one of its 2 addresses, stands for 10.0.0.1 and is not public";
    assert!(refused.contains(named), "{refused}");
}

#[tokio::test]
async fn a_name_that_changes_is_judged_at_every_connection() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    let client = resolving(&["http://127.0.0.1"], &[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1"]]);
    let url = format!("http://rebind.example.com:{port}/");
    assert!(get(&client, &url).await.is_ok());
    assert!(matches!(get(&client, &url).await, Err(Error::DestinationNotAllowed { .. })));
    assert!(get(&client, &url).await.is_ok());
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn an_entry_with_a_port_is_for_this_port() {
    let server = Server::answering(OK).await;
    let other = Server::answering(OK).await;
    let port = server.address.port();
    for entry in [format!("http://a.internal:{port}"), format!("http://127.0.0.1:{port}")] {
        let client = resolving(&[&entry], &[&["127.0.0.1"] as &[_]; 20]);
        // At once, so that neither can be judged by what the other is for.
        let requests = (0..8).map(|index| {
            let allowed = index % 2 == 0;
            let port = if allowed { port } else { other.address.port() };
            let client = &client;
            async move {
                let url = format!("http://a.internal:{port}/");
                assert_eq!(get(client, &url).await.is_ok(), allowed);
            }
        });
        futures::future::join_all(requests).await;
    }
    assert_eq!(server.connections(), 8);
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn the_system_resolver_knows_localhost() {
    let server = Server::answering(OK).await;
    let url = format!("http://localhost:{}/", server.address.port());
    assert!(get(&client(&["http://localhost"]), &url).await.is_ok());
    assert!(matches!(
        get(&client(&["http://10.0.0.0/8"]), &url).await,
        Err(Error::DestinationNotAllowed { .. })
    ));
}

#[tokio::test]
async fn what_cannot_be_reached_was_certainly_not_sent() {
    let nowhere = get(&resolving(&[], &[&[]]), "https://a.example.com/").await;
    assert!(matches!(nowhere, Err(Error::Resolve { .. })), "{nowhere:?}");
    assert!(!nowhere.unwrap_err().outcome_unknown());

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    let refused = get(&client(&["http://127.0.0.1"]), &url).await.unwrap_err();
    assert!(matches!(refused, Error::Connect { .. }), "{refused}");
    assert!(refused.to_string().contains("connection refused"), "{refused}");
    assert!(!refused.outcome_unknown());
}

struct Silent;

impl Resolver for Silent {
    fn resolve(&self, _name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_resolver_that_hangs_is_named_before_the_time_to_connect_is_over() {
    let client = client_with(&[], |config| {
        config.resolver = Arc::new(Silent);
        config.connect_timeout = SHORT;
    });
    let error = get(&client, "https://a.example.com/").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the name of a.example.com:443 was not resolved within 240ms: the DNS does not answer; check its \
         spelling and the DNS"
    );
    assert!(!error.outcome_unknown());
}

/// Knows `localhost`, and has no answer for anything else.
struct KnowsLocalhost;

impl Resolver for KnowsLocalhost {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        if name == "localhost" {
            return Box::pin(async { Ok(vec![[127, 0, 0, 1].into()]) });
        }
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn names_of_one_namespace_that_hang_hold_up_no_name_of_another() {
    let server = Server::answering(OK).await;
    let client = client_with(&["http://localhost"], |config| {
        config.resolver = Arc::new(KnowsLocalhost);
        config.connect_timeout = SHORT;
    });
    let hostile = client.on_behalf_of("hostile");
    let urls: Vec<String> = (0..200).map(|number| format!("https://hangs-{number}.example.com/")).collect();
    let hanging = futures::future::join_all(urls.iter().map(|url| get(&hostile, url))).await;
    let share = "8 other names of the same namespace are waited for, as many as may be at once";
    let of_the_share = |error: &&Error| error.to_string().contains(share);
    assert_eq!(hanging.iter().map(|result| result.as_ref().unwrap_err()).filter(of_the_share).count(), 192);

    // None of the names has been answered for: their places are still taken.
    let url = format!("http://localhost:{}/", server.address.port());
    let own = get(&hostile, &url).await.unwrap_err();
    assert!(own.to_string().contains(share), "{own}");
    assert_eq!(get(&client.on_behalf_of("honest"), &url).await.unwrap().status, 200);
}

/// The runtime's threads for blocking work read files, too.
#[test]
fn the_system_resolver_takes_no_thread_that_others_wait_for() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let blocking = tokio::task::spawn_blocking(move || held.recv());
        let found = tokio::time::timeout(LONG, SystemResolver.resolve("localhost")).await;
        drop(release);
        assert!(blocking.await.unwrap().is_err());
        assert!(found.expect("it waits for the thread").unwrap().iter().all(IpAddr::is_loopback));
    });
}

#[tokio::test]
async fn a_given_address_is_connected_to_and_the_server_is_told_the_host_of_the_url() {
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(super::servers::read_request(&mut stream).await);
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, OK.as_bytes()).await;
        }
    })
    .await;
    // No name server is asked: there is no prepared answer.
    let client = resolving(&[], &[]).at(server.address);
    for (url, line, host) in [
        ("http://app.hr.svc:8080/in?a=b", "GET /in?a=b HTTP/1.1", "host: app.hr.svc:8080"),
        ("http://app.hr.svc/", "GET / HTTP/1.1", "host: app.hr.svc"),
    ] {
        assert_eq!(get(&client, url).await.unwrap().status, 200);
        let request = requests.recv().await.unwrap();
        assert_eq!(request.lines().next(), Some(line));
        let hosts: Vec<&str> = request.lines().filter(|line| line.starts_with("host:")).collect();
        assert_eq!(hosts, [host]);
    }
    let error = get(&client, "https://app.hr.svc/").await.unwrap_err();
    assert!(matches!(error, Error::InvalidRequest { .. }), "{error}");
    let nobody = resolving(&[], &[]).at("127.0.0.1:1".parse().unwrap());
    let error = get(&nobody, "http://app.hr.svc:8080/").await.unwrap_err();
    assert!(error.to_string().contains("app.hr.svc:8080"), "{error}");
}
