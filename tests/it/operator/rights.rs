//! The accounts that controllers of tests have: with the rights that the chart gives, and no more.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::json;

use super::super::cluster::Cluster;
use super::super::in_repository;
use super::super::packaging::helm::Helm;

/// Where the chart is rendered for, and where the rendered manifests have the account.
const RELEASE: &str = "hookkeeper-system";
/// Stands in the rendered manifests for a namespace that is looked after.
const LOOKED_AFTER: &str = "looked-after";

/// Service account, roles and bindings as the chart has them for a namespace that publishes.
static RENDERED: LazyLock<String> = LazyLock::new(|| {
    let values = json!({"scope": {"namespaces": [LOOKED_AFTER]}, "publishing": {"enabled": true}});
    let mut objects = Helm::Four.template(&values).unwrap();
    let kinds = ["ServiceAccount", "Role", "RoleBinding"];
    objects.retain(|object| {
        let name = object["metadata"]["name"].as_str().unwrap();
        kinds.contains(&object["kind"].as_str().unwrap()) || name.contains("-finalizers.")
    });
    assert_eq!(
        objects.len(),
        9,
        "an account, its rights, those to publish, those to the lease, and the one that outlives a namespace"
    );
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
});

/// Gives the account of a release in one namespace the rights to look after another one, or the same.
pub fn grant(cluster: &Cluster, release: &str, looked_after: &str) {
    grant_each(cluster, release, &[looked_after]);
}

/// As [`grant`], for several namespaces at once.
pub fn grant_each(cluster: &Cluster, release: &str, looked_after: &[&str]) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for namespace in looked_after {
        let objects = RENDERED.replace(RELEASE, release).replace(LOOKED_AFTER, namespace);
        writeln!(file, "{objects}\n---").unwrap();
    }
    cluster.succeed(&["apply", "-f", file.path().to_str().unwrap()]);
}

/// A kubeconfig of an account that looks after its own namespace.
pub fn in_one_namespace(cluster: &Cluster, namespace: &str) -> PathBuf {
    grant(cluster, namespace, namespace);
    cluster.kubeconfig_for_service_account(namespace, "hookkeeper")
}

/// A kubeconfig of an account that looks after the whole cluster; its lease is in `hookkeeper-system`.
pub fn in_the_whole_cluster(cluster: &Cluster) -> PathBuf {
    cluster.succeed(&["create", "namespace", RELEASE]);
    cluster.succeed(&["apply", "-f", in_repository("deploy/base/rbac.yaml").to_str().unwrap()]);
    cluster.kubeconfig_for_service_account(RELEASE, "hookkeeper")
}
