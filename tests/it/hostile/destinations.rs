//! What may not be reached is not reached, however it is written and whatever the environment says.

use std::collections::BTreeSet;

use super::server::{Behaviour, Server, answer};
use super::stage::{HEALTHY, Stage, subscription_from};

/// Hosts whose form is refused before anything is asked about them.
const NO_HOSTS: [&str; 7] = [
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "0..",
    "127.0.0.256",
    "%31%32%37.0.0.1",
    "user@127.0.0.1",
    "auth.example.com@127.0.0.1",
];

const REFUSED: [&str; 72] = [
    // Loopback as IPv4, in every way that a parser somewhere reads as an address.
    "127.0.0.1",
    "127.0.0.1.",
    "127.255.255.254",
    "127.1",
    "127.0.1",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "0x7f000001",
    "0x7f.1",
    "0X7F.0X0.0x0.0x1",
    "0000000177.0.0.1",
    "0x7f.0.0.1",
    "0177.1",
    "127.0.1.",
    "0x7F000001.",
    "①②⑦.0.0.1",
    "１２７.0.0.1",
    "127。0。0。1",
    "0",
    "0.0.0.0",
    // As IPv6, and inside of it.
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::FFFF:7F00:0001]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::]",
    "[2001:0:7f00:1::1]",
    "[fe80::5efe:127.0.0.1]",
    // Networks that are not the public one.
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "10.1",
    "3232235521",
    "0xc0a80001",
    "192.0.0.192",
    "192.88.99.1",
    "198.18.0.1",
    "169.254.169.254",
    "169.254.43518",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "[fe80::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fec0::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[2001:2::1]",
    "[3fff::1]",
    "[100::1]",
    // Names that lead there.
    "localhost",
    "LocalHost",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "ｌｏｃａｌｈｏｓｔ",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_destination_is_named_with_the_line_that_allows_it_and_never_connected_to() {
    let distinct: BTreeSet<&str> = REFUSED.into_iter().chain(NO_HOSTS).collect();
    assert_eq!(distinct.len(), REFUSED.len() + NO_HOSTS.len(), "each spelling counts once");
    let listener = Server::start(|_| answer("200 OK", "")).await;
    let port = listener.port();
    let stage = Stage::start().await;
    let mut cases = Vec::new();
    for scheme in ["https", "http"] {
        for (index, host) in REFUSED.into_iter().enumerate() {
            cases.push((
                format!("{scheme}-{index}"),
                format!("{scheme}://{host}:{port}/token"),
                "DestinationNotAllowed",
            ));
        }
    }
    for (index, host) in NO_HOSTS.into_iter().enumerate() {
        cases.push((format!("no-host-{index}"), format!("https://{host}:{port}/token"), "InvalidSpec"));
    }
    // A public name is not asked for in plain http.
    cases.push((
        "plain".to_owned(),
        format!("http://auth.example.com:{port}/token"),
        "DestinationNotAllowed",
    ));
    let text: String = cases.iter().map(|(name, url, _)| subscription_from(name, url)).collect();
    stage.write("40-hostile.yaml", text);
    let mut sidecar = stage.sidecar(&[], |_| {});

    stage.until_explained(cases.iter().map(|(name, _, reason)| (name.as_str(), *reason))).await;
    stage.until_rotated(1).await;
    for (name, url, reason) in &cases {
        let said = stage.trouble(name);
        assert_eq!(said.reason, *reason, "{url}: {said:?}");
        if *reason == "DestinationNotAllowed" {
            let scheme = if url.starts_with("http:") { "http://" } else { "" };
            let line = format!("hookkeeper may allow it with: --allow-destination {scheme}");
            assert!(said.message.contains(&line), "{url}: {said:?}");
        }
    }
    // The translated address is told, not only the form that it has behind NAT64.
    let translated = REFUSED.iter().position(|host| *host == "[64:ff9b::127.0.0.1]").unwrap();
    let said = stage.trouble(&format!("https-{translated}")).message;
    assert!(said.contains("the address stands for 127.0.0.1 and is not public"), "{said}");
    assert_eq!(listener.connections(), 0);
    stage.assert_healthy_undisturbed();
    assert_eq!(stage.ledger().creates, HEALTHY);
    sidecar.assert_runs();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_from_the_environment_sees_no_connection() {
    let proxy = Server::start(|_| answer("200 OK", "")).await;
    // It speaks no TLS: that somebody came is all that matters here.
    let encrypted = Server::start(|_| Behaviour::Bytes(Vec::new())).await;
    let stage = Stage::start().await;
    let place = format!("127.0.0.1:{}", encrypted.port());
    stage.write("40-encrypted.yaml", subscription_from("encrypted", &format!("https://{place}/token")));
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let _sidecar = stage.sidecar(&[&place], |command| {
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env(name, &url).env(&name.to_lowercase(), &url);
        }
        // Loopback is not to be spared from the proxies.
        command.env_remove("NO_PROXY").env_remove("no_proxy");
        // Otherwise some libraries take HTTP_PROXY for a header of a CGI request, and leave it.
        command.env_remove("REQUEST_METHOD");
    });
    stage.until_rotated(1).await;
    stage.until("the encrypted one is asked", |_| encrypted.connections() > 0).await;
    assert_eq!(proxy.connections(), 0);
    stage.assert_healthy_undisturbed();
}
