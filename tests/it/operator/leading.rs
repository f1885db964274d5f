//! Several controllers: one acts. What it began in one term is of no use in another.

use std::time::Duration;

use hookkeeper::sandbox::{Fault, Target};
use rustix::process::Signal;

use super::super::process::Process;
use super::trial::Trial;

const NOT_LEADING: &str = "not leading any more";

/// A delay of the provider or the token server that outlasts no request, and tells of a step under way.
fn slow(target: Target) -> Fault {
    Fault { delay_ms: 2_500, ..Fault::at(target).times(1) }
}

/// What a controller has counted, under names that begin so.
fn counted(controller: &Process, metric: &str) -> f64 {
    let metrics = controller.get("/metrics").unwrap();
    let of_metric = metrics.lines().filter(|line| line.starts_with(metric));
    of_metric.map(|line| line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()).sum()
}

fn provider_requests(controller: &Process) -> f64 {
    counted(controller, "hookkeeper_provider_requests_total")
}

impl Trial<'_> {
    async fn until_under_way(&self, controllers: &[&Process], fault: Fault) {
        let faults = self.sandbox.ledger().faults;
        self.sandbox.faults().add(fault).unwrap();
        self.until(controllers, "a slow answer", |trial| trial.sandbox.ledger().faults > faults).await;
    }
}

/// When the one that acts is killed, the other goes on, and nothing is created twice.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_one_acts_and_the_other_takes_over() {
    let trial = Trial::start(Duration::from_secs(40), 2).await;
    trial.apply();
    let first = trial.controller("one");
    trial.until(&[&first], "both created", |trial| trial.sandbox.ledger().creates == 2).await;
    let second = trial.controller("two");
    trial.until_rotated(&[&first, &second], 1).await;

    // The other one has seen who held it, and waits until that claim must have ended.
    trial.kubectl(&["delete", "lease", "hookkeeper"]);
    trial.until(&[&first, &second], "a lease", |trial| !trial.holder().is_empty()).await;
    assert!(trial.holder().starts_with("one_"));

    trial.until_rotated(&[&first, &second], 1).await;
    first.kill();
    trial.until_rotated(&[&second], 2).await;
    assert_eq!(trial.sandbox.ledger().creates, 2);
    trial.assert_well();
}

/// It is paused while a token is on its way to it, and wakes up when another one leads: the answer
/// that waits for it brings nothing about.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_that_wakes_up_calls_nobody() {
    let trial = Trial::start(Duration::from_secs(30), 2).await;
    trial.apply();
    let first = trial.controller("one");
    trial.until_rotated(&[&first], 1).await;
    let second = trial.controller("two");
    trial.until(&[&second], "stands by", |_| second.log().contains("listed")).await;
    trial.until_under_way(&[&first, &second], slow(Target::Token)).await;
    let (requests, mints) = (provider_requests(&first), counted(&first, "hookkeeper_mints_total"));
    first.signal(Signal::STOP);
    trial.until_rotated(&[&second], 1).await;
    first.signal(Signal::CONT);
    trial.until(&[&first, &second], "noticed", |_| first.log().contains(NOT_LEADING)).await;
    trial.until_rotated(&[&first, &second], 1).await;
    assert_eq!(provider_requests(&first), requests, "{}", first.log());
    assert_eq!(counted(&first, "hookkeeper_mints_total"), mints + 1.0, "the one that was under way");
    assert!(trial.holder().starts_with("two_"));
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.surplus_updates), (2, 0), "{ledger:#?}");
    trial.assert_well();
}

/// Somebody deletes the lease while a create is under way, and strikes the holder out while an update
/// is: the term ends each time, and this process wins the lease again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lost_and_won_again_during_a_step_doubles_nothing() {
    let trial = Trial::start(Duration::from_secs(40), 2).await;
    trial.short_settling();
    trial.apply();
    trial.sandbox.faults().add(slow(Target::Create)).unwrap();
    let controller = trial.controller("one");
    let terms_ended = |times| {
        let log = controller.written();
        move |_: &Trial<'_>| log.all().matches(NOT_LEADING).count() >= times
    };
    trial.until(&[&controller], "a slow create", |trial| trial.sandbox.ledger().faults == 1).await;
    trial.kubectl(&["delete", "lease", "hookkeeper"]);
    trial.until(&[&controller], "noticed", terms_ended(1)).await;
    trial.until(&[&controller], "both created", |trial| trial.sandbox.ledger().creates == 2).await;

    trial.until_under_way(&[&controller], slow(Target::Update)).await;
    let nobody = r#"{"spec":{"holderIdentity":""}}"#;
    trial.kubectl(&["patch", "lease", "hookkeeper", "--type=merge", "-p", nobody]);
    trial.until(&[&controller], "noticed", terms_ended(2)).await;
    trial.until_rotated(&[&controller], 2).await;
    trial.kubectl(&["wait", "--for=condition=Ready", "webhooksubscriptions", "--all", "--timeout=60s"]);
    assert_eq!(trial.sandbox.ledger().creates, 2);
    trial.assert_well();
}

/// Only the leader writes statuses. One that somebody else has written is not written over blindly:
/// everything is read again first.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_somebody_else_writes_is_read_before_anything_is_written_over_it() {
    let trial = Trial::start(Duration::from_secs(20), 2).await;
    trial.apply();
    let controller = trial.controller("one");
    trial.until_rotated(&[&controller], 1).await;
    let foreign = r#"{"status":{"lastHandledRotateRequest":"by-somebody-else"}}"#;
    let name = trial.kubectl(&["get", "whs", "-o", "name"]);
    let name = name.lines().next().unwrap();
    // A lease in another version than it was left in is still ours: an answer may have been lost.
    trial.kubectl(&["annotate", "lease", "hookkeeper", "touched=yes"]);
    trial.kubectl(&["patch", name, "--subresource=status", "--type=merge", "-p", foreign]);
    trial.until(&[&controller], "noticed", |_| controller.log().contains("everything is read again")).await;
    trial.until_rotated(&[&controller], 2).await;
    let kept = trial.kubectl(&["get", name, "-o", "jsonpath={.status.lastHandledRotateRequest}"]);
    assert_eq!(kept, "by-somebody-else");
    assert!(!controller.log().contains(NOT_LEADING));
    assert_eq!(controller.stop(), Some(0));
    assert_eq!(trial.sandbox.ledger().creates, 2);
    trial.assert_well();
}
