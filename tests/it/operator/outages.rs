//! The API server is away, or has forgotten what changed meanwhile.

use std::time::Duration;

use hookkeeper::sandbox::{Event, LedgerSummary};
use rustix::process::Signal;

use super::super::cluster::Cluster;
use super::super::process::Process;
use super::requests::Requests;
use super::trial::Trial;

const LIFE: Duration = Duration::from_secs(30);
const LEASE: Duration = Duration::from_secs(5);

/// How often anybody outside was called.
fn calls(ledger: &LedgerSummary) -> (u64, u64) {
    (ledger.token_requests, ledger.provider_calls)
}

/// Without the lease nothing is done, however long the API server is away.
async fn assert_at_rest(trial: &Trial<'_>, time: Duration) {
    tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
    let before = calls(&trial.sandbox.ledger());
    tokio::time::sleep(time).await;
    assert_eq!(calls(&trial.sandbox.ledger()), before);
}

/// The watches and the lease were asked for again, and not over and over.
fn assert_calm(before: &Requests, cluster: &Cluster) {
    let made = Requests::at(cluster).since(before);
    let lists = made.count(|request| request.is_of_ours() && request.is_read());
    assert!(lists <= 30, "{made:#?}");
    let of_lease = made.count(|request| request.resource == "leases");
    assert!(of_lease <= 200, "{made:#?}");
}

/// A token was minted only when the one before had come due.
fn assert_no_needless_mints(trial: &Trial<'_>) {
    let entries = trial.sandbox.entries(0);
    let mints = entries.iter().filter(|entry| matches!(entry.event, Event::TokenRequest(_)));
    let times: Vec<_> = mints.map(|entry| entry.time).collect();
    for pair in times.windows(2) {
        let apart = (pair[1] - pair[0]).to_std().unwrap();
        assert!(apart > LIFE * 2 / 5, "{times:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_was_away_costs_nothing_but_time() {
    // Without its cache the server has no history but etcd's, which can be made to forget.
    let cluster = tokio::task::block_in_place(|| {
        let cluster = Cluster::start(&["--watch-cache=false"]);
        cluster.install_definitions();
        cluster
    });
    let trial = Trial::start_in(&cluster, LIFE, 3, |_| ()).await;
    trial.apply();
    let controller = trial.controller("one");
    let all: [&Process; 1] = [&controller];
    trial.until_rotated(&all, 1).await;

    trial.until_recorded(&all).await;
    tokio::task::block_in_place(|| cluster.stop());
    assert_at_rest(&trial, Duration::from_secs(6)).await;
    tokio::task::block_in_place(|| cluster.restart());
    let since = Requests::default();
    trial.until_rotated(&all, 1).await;

    trial.until_recorded(&all).await;
    cluster.freeze();
    assert_at_rest(&trial, Duration::from_secs(14)).await;
    cluster.thaw();
    trial.until_rotated(&all, 1).await;
    assert_calm(&since, &cluster);
    assert_eq!(controller.stop(), Some(0));

    // A lease that outlasts the outage: the lists are not asked for by a new term.
    let controller = trial.program_with_lease("two", "60s").spawn();
    let all: [&Process; 1] = [&controller];
    trial.until_rotated(&all, 1).await;
    trial.until_recorded(&all).await;
    let name = trial.kubectl(&["get", "whs", "-o", "name"]);
    let name = name.lines().next().unwrap();
    let webhook = trial.kubectl(&["get", name, "-o", "jsonpath={.status.webhookId}"]);
    controller.signal(Signal::STOP);
    tokio::task::block_in_place(|| {
        cluster.stop();
        cluster.restart();
        trial.kubectl(&["delete", name]);
        cluster.compact();
    });
    assert!(trial.sandbox.remove_webhook(&webhook));
    controller.signal(Signal::CONT);
    // An update of what was removed would find nothing and create it again.
    trial.until_rotated(&all, 2).await;
    assert!(controller.log().contains("too old"), "{}", controller.log());
    assert_calm(&Requests::default(), &cluster);
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.webhooks, ledger.surplus_updates), (3, 2, 0), "{ledger:#?}");
    assert_no_needless_mints(&trial);
    trial.assert_well();
}
