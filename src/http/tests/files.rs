//! Files that are renewed while the client is at work.

use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc};

use super::servers::{Server, read_request};
use super::tls::{Made, problem, serving, url};
use super::*;

const UNKNOWN: &str =
    "its certificate comes from an unknown issuer; one of your own is trusted with --ca-file";

fn trusting_file(path: &Path) -> Client {
    client_with(&["localhost"], |config| config.files.issuers = Some(path.to_owned()))
}

#[tokio::test]
async fn issuers_are_read_again_and_a_broken_file_changes_nothing() {
    let (first, second) = (Made::new("localhost"), Made::new("localhost"));
    let (one, two) = (serving(first.acceptor(&[])).await, serving(second.acceptor(&[])).await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, first.pem()).unwrap();
    let client = trusting_file(&path);
    let clone = client.clone();
    assert_eq!(get(&client, &url(&one, "localhost")).await.unwrap().status, 200);
    assert_eq!(problem(get(&client, &url(&two, "localhost")).await), UNKNOWN);

    assert!(!client.read_files_again().unwrap(), "nothing has changed");
    std::fs::write(&path, first.pem() + &second.pem()).unwrap();
    assert!(client.read_files_again().unwrap());
    assert_eq!(get(&clone, &url(&one, "localhost")).await.unwrap().status, 200);
    assert_eq!(get(&clone, &url(&two, "localhost")).await.unwrap().status, 200);

    std::fs::write(&path, "canary").unwrap();
    let said = client.read_files_again().unwrap_err().to_string();
    assert!(said.starts_with(&format!("the CA file {} holds no certificate", path.display())), "{said}");
    std::fs::remove_file(&path).unwrap();
    assert!(client.read_files_again().unwrap_err().to_string().contains("cannot be read"));
    assert_eq!(get(&client, &url(&two, "localhost")).await.unwrap().status, 200);

    std::fs::write(&path, second.pem()).unwrap();
    assert!(client.read_files_again().unwrap());
    assert_eq!(problem(get(&client, &url(&one, "localhost")).await), UNKNOWN);
}

#[tokio::test]
async fn an_issuer_with_a_new_key_is_told_apart() {
    let server = serving(Made::issued_by("localhost", "ours").acceptor(&[])).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, Made::issued_by("localhost", "ours").pem()).unwrap();
    let said = problem(get(&trusting_file(&path), &url(&server, "localhost")).await);
    assert!(said.contains("another key than the one that its issuer is known by"), "{said}");
}

#[test]
fn a_client_does_not_begin_with_a_file_that_cannot_be_used() {
    let files = Files { issuers: Some("/nonexistent/ca.pem".into()), ..Files::default() };
    let error = Client::new(Config { files, ..Config::default() }).unwrap_err();
    assert!(matches!(error, SetupError::File(_)));
    assert!(std::error::Error::source(&error).is_none(), "its text says it all");
}

/// The answer comes after the files have changed.
#[tokio::test]
async fn a_call_under_way_goes_on_when_the_files_change() {
    let made = Made::new("localhost");
    let acceptor = made.acceptor(&[]);
    let go_on = Arc::new(Notify::new());
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let waiting = Arc::clone(&go_on);
    let server = Server::start(move |stream| {
        let (acceptor, waiting, arrived) = (acceptor.clone(), Arc::clone(&waiting), arrived.clone());
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            while !read_request(&mut stream).await.is_empty() {
                arrived.send(()).unwrap();
                waiting.notified().await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, made.pem()).unwrap();
    let client = trusting_file(&path);
    let begun = tokio::spawn({
        let (client, url) = (client.clone(), url(&server, "localhost"));
        async move { get(&client, &url).await }
    });
    arrivals.recv().await.unwrap();
    std::fs::write(&path, made.pem() + &Made::new("other.example").pem()).unwrap();
    assert!(client.read_files_again().unwrap());
    go_on.notify_one();
    assert_eq!(begun.await.unwrap().unwrap().status, 200);

    // What was opened in the trust of the earlier file is not used again.
    go_on.notify_one();
    assert_eq!(get(&client, &url(&server, "localhost")).await.unwrap().status, 200);
    assert_eq!(server.connections(), 2);
}
