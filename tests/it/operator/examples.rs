//! The files under `deploy/examples` work as they stand.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::super::cluster::Cluster;
use super::super::process::Stream;
use super::super::{hookkeeper, in_repository, run};
use super::trial::Trial;

const SANDBOX: &str = "http://hookkeeper-sandbox.hookkeeper-sandbox.svc:8480";

fn examples() -> Vec<PathBuf> {
    let folder = fs::read_dir(in_repository("deploy/examples")).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

#[test]
fn every_example_is_taken_by_the_check_and_by_the_api_server() {
    let cluster = Cluster::shared();
    for file in examples() {
        let file = file.to_str().unwrap();
        let checked = run(&["check", file]);
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{file}: {}", checked.stdout);
        let namespace = cluster.namespace("example");
        for apply in [&["apply"][..], &["apply", "--server-side"]] {
            let namespace = cluster.namespace("example");
            cluster.succeed(&[apply, &["-n", &namespace, "-f", file]].concat());
        }
        cluster.succeed(&["apply", "-n", &namespace, "-f", file]);
        let again = cluster.succeed(&["apply", "-n", &namespace, "-f", file]);
        assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
    }
    assert!(examples().len() >= 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_of_a_cluster_can_be_applied_and_what_it_brings_rotates() {
    let folder = in_repository("deploy/examples/sandbox");
    let trial = Trial::start(Duration::from_secs(12), 0).await;
    let applied = trial.try_kubectl(&["apply", "-n", "", "-f", folder.to_str().unwrap(), "--dry-run=client"]);
    assert_eq!(applied.code, Some(0), "{}", applied.stderr);
    tokio::task::block_in_place(|| {
        trial.cluster.succeed(&["apply", "-f", folder.join("sandbox.yaml").to_str().unwrap()])
    });
    // The pod's command line is one that the binary takes.
    let text = fs::read_to_string(folder.join("sandbox.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let pod =
        &documents.iter().find(|document| document["kind"] == "Deployment").unwrap()["spec"]["template"];
    let arguments = pod["spec"]["containers"][0]["args"].as_array().unwrap().clone();
    let arguments: Vec<String> =
        arguments.iter().map(|word| word.as_str().unwrap().replace("0.0.0.0:8480", "127.0.0.1:0")).collect();
    let sandbox = hookkeeper().args(arguments).unread(Stream::Error).spawn();
    trial.until(&[&sandbox], "started", |_| sandbox.log().contains("provider API")).await;
    assert_eq!(sandbox.stop(), Some(0));

    // Names of services do not resolve here: the same with the address of a sandbox that runs here.
    let text = fs::read_to_string(folder.join("subscriptions.yaml")).unwrap();
    assert_eq!(text.matches(SANDBOX).count(), 2);
    let text = text.replace(SANDBOX, &trial.sandbox.url()).replace("hookkeeper-sandbox", &trial.namespace);
    for file in fs::read_dir(trial.manifests()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    fs::write(trial.manifests().join("subscriptions.yaml"), text).unwrap();
    trial.apply();
    let controller = trial.controller("one");
    trial.until(&[&controller], "rotations", |trial| trial.sandbox.ledger().rotations >= 2).await;
    trial.assert_well();
}
