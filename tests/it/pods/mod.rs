//! The image in real pods, installed with Helm: what only pods can show.

mod gate;
mod node;
mod operator;
mod sidecar;
mod trial;

use trial::{NAMESPACE, Trial};

/// One test, because there is one node.
#[test]
fn nothing_is_late_doubled_or_refused_in_real_pods() {
    let trial = Trial::install();
    privileges_are_refused(&trial);
    operator::works_while_pods_and_releases_come_and_go(&trial);
    sidecar::goes_on_where_it_was_in_a_new_pod(&trial);
    gate::loses_and_refuses_nothing_while_pods_and_releases_come_and_go(&trial);
    trial.node.helm(&["uninstall", "hookkeeper", "--namespace", NAMESPACE, "--wait", "--timeout=3m"]);
    // The definitions stay, so that nobody's subscriptions go with the chart.
    trial.node.kubectl(&["get", "whs", "-A"]);
}

/// Else it would show nothing that the pods of the chart and the sidecar run.
fn privileges_are_refused(trial: &Trial) {
    let pod = "--overrides={\"spec\": {\"hostNetwork\": true}}";
    let refused = trial.node.try_kubectl(&["run", "root", "--image=any", "-n", NAMESPACE, pod]);
    assert!(refused.stderr.contains("violates PodSecurity \"restricted:latest\""), "{}", refused.stderr);
}
