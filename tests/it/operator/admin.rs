//! What the controller shows of itself, from before its definitions are installed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::cluster::Cluster;
use super::super::hookkeeper;
use super::super::process::Process;
use super::trial::Trial;

/// Every metric that is documented, as far as it has a value without a rotation.
const METRICS: [&str; 9] = [
    "hookkeeper_build_info",
    "hookkeeper_leader",
    "hookkeeper_queue_length",
    "hookkeeper_workers_busy",
    "hookkeeper_rotation_overdue_seconds",
    "hookkeeper_watch_last_event_timestamp_seconds",
    "tokio_alive_tasks",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
];

/// The metrics of rotations and of objects.
const METRICS_OF_WORK: [&str; 11] = [
    "hookkeeper_rotations_total",
    "hookkeeper_rotation_lead_seconds_bucket",
    "hookkeeper_token_expiry_timestamp_seconds",
    "hookkeeper_expiring",
    "hookkeeper_subscriptions",
    "hookkeeper_mints_total",
    "hookkeeper_provider_requests_total",
    "hookkeeper_request_duration_seconds_bucket",
    "hookkeeper_held_back_seconds",
    "hookkeeper_rotations_infeasible",
    "hookkeeper_leader 1",
];

fn shows(process: &Process, path: &str, text: &str) -> bool {
    process.get(path).is_some_and(|answer| answer.contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_and_metrics_and_levels_are_there() {
    let cluster = tokio::task::block_in_place(|| Cluster::start(&[]));
    let trial = Trial::start_in(&cluster, Duration::from_secs(12), 1, |_| ()).await;
    // Its address is in the log.
    let controller = trial
        .program("one")
        .args(["--log-level", "warn,hookkeeper::cli=info", "--allow-log-level-changes"])
        .spawn();
    trial
        .until(&[&controller], "said to be missing", |_| {
            shows(
                &controller,
                "/readyz",
                "WebhookSubscription: the custom resource definitions are not installed",
            )
        })
        .await;
    assert!(shows(&controller, "/readyz", "503 Service Unavailable"));
    assert!(shows(&controller, "/livez", "200 OK"));
    tokio::task::block_in_place(|| cluster.install_definitions());
    trial.until(&[&controller], "ready", |_| shows(&controller, "/readyz", "200 OK")).await;
    trial
        .until(&[&controller], "metrics", |_| METRICS.iter().all(|name| shows(&controller, "/metrics", name)))
        .await;

    trial.apply();
    trial.until(&[&controller], "created", |trial| trial.sandbox.ledger().creates == 1).await;
    assert!(!controller.log().contains("a token is in place"));
    assert!(controller.put("/log-level", "loud").unwrap().contains("`loud` is no log level"));
    assert!(controller.put("/log-level", "info").unwrap().contains("204 No Content"));
    trial.until(&[&controller], "a rotation", |trial| trial.sandbox.ledger().rotations >= 1).await;
    trial
        .until(&[&controller], "metrics of work", |_| {
            METRICS_OF_WORK.iter().all(|name| shows(&controller, "/metrics", name))
        })
        .await;
    trial.until(&[&controller], "more detail", |_| controller.log().contains("a token is in place")).await;
    trial.assert_well();
}

/// In a cluster that is a copy of another, or was restored from a backup.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_observes_reports_and_touches_nothing() {
    let trial = Trial::start(Duration::from_secs(300), 2).await;
    trial.apply();
    let first = trial.controller("one");
    trial.until(&[&first], "both created", |trial| trial.sandbox.ledger().creates == 2).await;
    trial.kubectl(&["wait", "--for=condition=Ready", "webhooksubscriptions", "--all", "--timeout=60s"]);
    assert_eq!(first.stop(), Some(0));
    let versions = || {
        let path = "jsonpath={..resourceVersion}";
        let all = trial.kubectl(&["get", "whs,whp,tsrc,lease,events", "-o", path]);
        all.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (before, ledger) = (versions(), trial.sandbox.ledger());
    trial.kubectl(&["annotate", "whs", "--all", "hookkeeper.dev/rotate-requested-at=now"]);
    let annotated = versions();
    assert_ne!(before, annotated);
    let observer = trial.program("two").arg("--observe").spawn();
    trial
        .until(&[&observer], "a report", |_| {
            observer
                .log()
                .contains("nobody is called and nothing is written: 2 ready; the first token to expire is")
        })
        .await;
    assert!(shows(&observer, "/readyz", "200 OK") && shows(&observer, "/metrics", "hookkeeper_leader 0"));
    assert_eq!(observer.stop(), Some(0));
    assert_eq!(versions(), annotated);
    assert_eq!(trial.sandbox.ledger().provider_calls, ledger.provider_calls);
    assert_eq!(trial.sandbox.ledger().token_requests, ledger.token_requests);
}

#[test]
fn without_a_cluster_it_says_how_to_name_one() {
    let ended = hookkeeper()
        .env("KUBECONFIG", "/nowhere/kubeconfig")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .args(["controller", "--admin-listen", "127.0.0.1:0"])
        .run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("no cluster is known"), "{}", ended.stderr);
    assert!(ended.stderr.contains("KUBECONFIG"), "{}", ended.stderr);
}
