//! The main path: objects are applied, subscriptions are created and rotate, and show it.

use std::time::Duration;

use super::trial::Trial;

#[tokio::test(flavor = "multi_thread")]
async fn it_creates_rotates_shows_and_goes_on_where_it_was() {
    let trial = Trial::start(Duration::from_secs(12), 3).await;
    trial.apply();
    let controller = trial.controller("one");
    trial.until(&[&controller], "a rotation of each", |trial| trial.sandbox.ledger().rotations >= 3).await;
    trial.kubectl(&["wait", "--for=condition=Ready", "webhooksubscriptions", "--all", "--timeout=60s"]);
    let table = trial.kubectl(&["get", "whs"]);
    let mut columns = table.lines().next().unwrap().split_whitespace();
    assert_eq!(columns.by_ref().take(4).collect::<Vec<_>>(), ["NAME", "READY", "HEALTHY", "ACTION"], "{table}");
    assert_eq!(table.matches("True").count(), 6, "{table}");
    assert_eq!(controller.stop(), Some(0));
    let holder = trial.kubectl(&["get", "lease", "hookkeeper", "-o", "jsonpath={.spec.holderIdentity}"]);
    assert_eq!(holder, "", "the lease is released");

    let before = trial.sandbox.ledger();
    let controller = trial.controller("one");
    trial
        .until(&[&controller], "a rotation after the restart", |trial| {
            trial.sandbox.ledger().rotations >= before.rotations + 3
        })
        .await;
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.surplus_updates), (3, 0), "{ledger:#?}");
    trial.assert_well();
}
