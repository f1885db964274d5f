//! The shortest example, brought in by each of kubectl's ways, and what is asked for afterwards.

use std::time::Duration;

use super::super::in_repository;
use super::super::readme::blocks;
use super::rights;
use super::trial::Trial;

/// The README's example, with nothing changed but the addresses and the action.
fn example(trial: &Trial<'_>, action: &str) -> String {
    let readme = std::fs::read_to_string(in_repository("README.md")).unwrap();
    let example =
        blocks(&readme, "yaml").into_iter().find(|(_, block)| block.contains("kind: WebhookSubscription"));
    let url = trial.sandbox.url();
    example
        .unwrap()
        .1
        .replace("preset: gupy", &format!("preset: gupy\n  baseUrl: {url}"))
        .replace("https://auth.example.com", &url)
        .replace("action: application.completed", &format!("action: {action}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_example_works_and_applied_again_it_changes_nothing() {
    let trial = Trial::start(Duration::from_secs(600), 0).await;
    let other = tokio::task::block_in_place(|| {
        let other = trial.cluster.namespace("operator");
        rights::grant(trial.cluster, &trial.namespace, &other);
        other
    });
    let controller = trial.program("one").args(["--namespace", &other]).spawn();
    let secrets = trial.manifests().join("00-secrets.yaml");
    let ways = [
        (trial.namespace.as_str(), &["apply"][..], "application.completed"),
        (other.as_str(), &["apply", "--server-side"], "application.moved"),
    ];
    let kubectl = |namespace: &str, arguments: &[&str]| {
        let arguments = [&["-n", namespace], arguments].concat();
        tokio::task::block_in_place(|| trial.cluster.succeed(&arguments))
    };
    for (namespace, apply, action) in ways {
        let file = trial.manifests().join("example.yaml");
        std::fs::write(&file, example(&trial, action)).unwrap();
        kubectl(namespace, &["apply", "-f", secrets.to_str().unwrap()]);
        let apply = [apply, &["-f", file.to_str().unwrap()]].concat();
        kubectl(namespace, &apply);
        kubectl(namespace, &["wait", "--for=condition=Ready", "whs/application-completed", "--timeout=150s"]);
        kubectl(namespace, &["wait", "--for=condition=Ready", "whp/gupy", "--timeout=150s"]);
        let table = kubectl(namespace, &["get", "whs", "--no-headers"]);
        let columns: Vec<&str> = table.split_whitespace().collect();
        assert_eq!(columns[..4], ["application-completed", "True", "True", action], "{table}");
        assert!(columns[4] > columns[5] && columns[5].ends_with('Z'), "expires after the next: {table}");

        let versions = || {
            let path =
                "jsonpath={range .items[*]}{.kind} {.metadata.generation} {.metadata.resourceVersion} {end}";
            kubectl(namespace, &["get", "whs,whp", "-o", path])
        };
        let before = versions();
        assert_eq!(before.matches(" 1 ").count(), 2, "{before}");
        kubectl(namespace, &apply);
        assert_eq!(versions(), before);
    }
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.mints, ledger.creates, ledger.updates), (2, 2, 0), "{ledger:#?}");
    assert_eq!(controller.stop(), Some(0));
    trial.assert_well();
}
