//! With nothing to do nothing is done.

use std::time::Duration;

use super::requests::{Request, Requests, metered};
use super::trial::Trial;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_due_a_restart_calls_nobody_and_writes_nothing_but_the_lease() {
    let cluster = metered().await;
    let trial = Trial::start_in(&cluster, HOUR, 3, |_| ()).await;
    trial.apply();
    let controller = trial.controller("one");
    trial.until_recorded(&[&controller]).await;
    assert_eq!(controller.stop(), Some(0));

    let versions = || {
        let version = "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}\n{end}";
        trial.kubectl(&["get", "whs,whp,tsrc", "-o", version])
    };
    let (before, ledger) = (versions(), trial.sandbox.ledger());
    let started = Requests::at(&cluster);
    let controller = trial.controller("two");
    let leads = |_: &Trial<'_>| controller.log().contains("leading");
    trial.until(&[&controller], "leading", leads).await;
    let is_ready = |_: &Trial<'_>| controller.get("/readyz").is_some_and(|answer| answer.contains("200 OK"));
    trial.until(&[&controller], "ready", is_ready).await;
    // Long enough for everything that happens every second, every five, or with each renewal.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let idle = Requests::at(&cluster).since(&started);

    assert_eq!(idle.count(Request::is_write), 0, "{idle:#?}");
    assert_eq!(idle.count(|request| request.resource == "secrets"), 0, "{idle:#?}");
    // Each kind is listed when the process begins and when it begins to lead.
    assert!(idle.count(Request::is_of_ours) <= 12, "{idle:#?}");
    assert_eq!(versions(), before);
    let after = trial.sandbox.ledger();
    let outside = |ledger: &hookkeeper::sandbox::LedgerSummary| (ledger.mints, ledger.provider_calls);
    assert_eq!(outside(&after), outside(&ledger));
    assert_eq!(controller.stop(), Some(0));
    trial.assert_well();
}
