//! Several controllers: one acts.

use std::time::Duration;

use super::trial::Trial;

/// When the one that acts is killed, the other goes on, and nothing is created twice.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_one_acts_and_the_other_takes_over() {
    let trial = Trial::start(Duration::from_secs(40), 2).await;
    trial.apply();
    let first = trial.controller("one");
    trial.until(&[&first], "both created", |trial| trial.sandbox.ledger().creates == 2).await;
    let second = trial.controller("two");
    trial.until(&[&first, &second], "a rotation", |trial| trial.sandbox.ledger().rotations >= 2).await;
    first.kill();
    let before = trial.sandbox.ledger();
    trial
        .until(&[&second], "rotations by the other", |trial| {
            trial.sandbox.ledger().rotations >= before.rotations + 4
        })
        .await;
    assert_eq!(trial.sandbox.ledger().creates, 2);
    trial.assert_well();
}
