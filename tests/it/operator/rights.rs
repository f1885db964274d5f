//! The account that controllers of tests have: what the chart makes of it for one namespace, and no more.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::json;

use super::super::cluster::Cluster;
use super::super::packaging::helm::Helm;

/// Stands in the rendered manifests for the namespace of a test.
const PLACEHOLDER: &str = "hookkeeper-system";

/// Service account, Roles and RoleBindings as the chart has them for a namespace that publishes.
static RENDERED: LazyLock<String> = LazyLock::new(|| {
    let values = json!({"scope": {"namespaces": [PLACEHOLDER]}, "publishing": {"enabled": true}});
    let mut objects = Helm::Four.template(&values).unwrap();
    let kinds = ["ServiceAccount", "Role", "RoleBinding"];
    objects.retain(|object| kinds.contains(&object["kind"].as_str().unwrap()));
    assert_eq!(objects.len(), 7, "an account, its rights, those to publish, and those to the lease");
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
});

/// Makes the account, and returns a kubeconfig with a token of it.
pub fn in_one_namespace(cluster: &Cluster, namespace: &str) -> PathBuf {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(RENDERED.replace(PLACEHOLDER, namespace).as_bytes()).unwrap();
    cluster.succeed(&["apply", "-f", file.path().to_str().unwrap()]);
    cluster.kubeconfig_for_service_account(namespace, "hookkeeper")
}
