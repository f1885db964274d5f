//! What the tests rely on when they use a cluster.

use std::fs;
use std::net::TcpStream;

use super::Cluster;

#[test]
fn a_cluster_can_be_stopped_frozen_restarted_and_compacted() {
    // Without its cache the server reads from etcd, and has no history of its own to answer from.
    let cluster = Cluster::start(&["--watch-cache=false"]);
    cluster.succeed(&["create", "configmap", "kept", "--from-literal=a=b"]);
    let is_there = |cluster: &Cluster| {
        cluster.kubectl(&["get", "configmap", "kept", "--request-timeout=2s"]).code == Some(0)
    };
    cluster.stop();
    assert!(!is_there(&cluster));
    cluster.restart();
    assert!(is_there(&cluster));
    cluster.freeze();
    assert!(!is_there(&cluster));
    cluster.thaw();
    assert!(is_there(&cluster));

    let watch = |cluster: &Cluster| {
        let path = "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1&resourceVersion=1";
        let ended = cluster.kubectl(&["get", "--raw", path]);
        ended.stdout + &ended.stderr
    };
    let before = watch(&cluster);
    assert!(before.contains(r#""type":"ADDED""#), "{before}");
    cluster.compact();
    let after = watch(&cluster);
    assert!(after.contains(r#""code":410"#), "{after}");
}

#[test]
fn a_controller_manager_collects_what_has_lost_its_owner_and_ends_namespaces() {
    let cluster = Cluster::start(&[]).with_controller_manager();
    let namespace = cluster.namespace("collected");
    let namespace = namespace.as_str();
    cluster.succeed(&["create", "configmap", "owner", "-n", namespace]);
    let uid =
        cluster.succeed(&["get", "configmap", "owner", "-n", namespace, "-o", "jsonpath={.metadata.uid}"]);
    cluster.succeed(&["create", "configmap", "owned", "-n", namespace]);
    let patch = format!(
        r#"{{"metadata":{{"ownerReferences":[{{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"{uid}"}}]}}}}"#
    );
    cluster.succeed(&["patch", "configmap", "owned", "-n", namespace, "-p", &patch]);
    cluster.succeed(&["delete", "configmap", "owner", "-n", namespace]);
    cluster.succeed(&["wait", "--for=delete", "configmap/owned", "-n", namespace, "--timeout=120s"]);
    cluster.succeed(&["delete", "namespace", namespace, "--timeout=120s"]);
    let gone = cluster.kubectl(&["get", "namespace", namespace]);
    assert!(gone.stderr.contains("NotFound"), "{}", gone.stderr);
}

#[test]
fn a_service_account_may_do_what_it_is_granted_and_no_more() {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace("granted");
    let namespace = namespace.as_str();
    cluster.succeed(&["create", "serviceaccount", "reader", "-n", namespace]);
    cluster.succeed(&[
        "create",
        "role",
        "reader",
        "-n",
        namespace,
        "--verb=get,list",
        "--resource=configmaps",
    ]);
    let account = format!("--serviceaccount={namespace}:reader");
    cluster.succeed(&["create", "rolebinding", "reader", "-n", namespace, "--role=reader", &account]);
    let reader = cluster.kubeconfig_for_service_account(namespace, "reader");
    let listed = cluster.kubectl_as(&reader, &["get", "configmaps"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let refused = cluster.kubectl_as(&reader, &["get", "secrets"]);
    let who = format!("system:serviceaccount:{namespace}:reader");
    assert!(refused.stderr.contains("Forbidden") && refused.stderr.contains(&who), "{}", refused.stderr);
}

#[test]
fn nothing_is_left_of_a_cluster_that_has_ended() {
    let cluster = Cluster::start(&[]);
    let folder = cluster.kubeconfig().parent().unwrap().to_owned();
    let address = ("127.0.0.1", cluster.port);
    assert!(TcpStream::connect(address).is_ok());
    drop(cluster);
    assert!(TcpStream::connect(address).is_err());
    assert!(fs::metadata(&folder).is_err());
}
