//! The store of a cluster. It listens at sockets in the cluster's folder, so it needs no port.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::program;
use super::server::Server;

/// Starts it; at its end the folder is removed.
pub(super) fn start(folder: &Path) -> Server {
    // What is advertised must have the form of host and port: a socket of that name in the folder.
    let peers = "unix://etcd-peers:1";
    let clients = endpoint(folder);
    let arguments = [
        format!("--data-dir={}/etcd", folder.display()),
        format!("--listen-client-urls={clients}"),
        "--advertise-client-urls=unix://etcd-clients:1".to_owned(),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        // Nothing here has to survive a loss of power.
        "--unsafe-no-fsync".to_owned(),
    ];
    Server::start(&program("etcd"), &arguments, &folder.join("etcd.log"), Some(folder))
}

pub(super) fn endpoint(folder: &Path) -> String {
    format!("unix://{}/etcd.sock", folder.display())
}

/// Forgets every revision but the last.
pub(super) fn compact(folder: &Path) {
    // The answer to any request holds the current revision.
    let answer = post(folder, "/v3/kv/range", &json!({"key": "AA=="}));
    let revision = answer["header"]["revision"].as_str().unwrap();
    post(folder, "/v3/kv/compaction", &json!({"revision": revision, "physical": true}));
}

/// A request to etcd's gateway for JSON.
fn post(folder: &Path, path: &str, body: &Value) -> Value {
    let mut stream = UnixStream::connect(folder.join("etcd.sock")).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nHost: etcd\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.split_whitespace().nth(1) == Some("200"), "{answer}");
    serde_json::from_str(body).unwrap()
}
