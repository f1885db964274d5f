//! The life of a release, with both Helms on a real API server. There are no nodes, so no pod runs.

use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::helm::{BOTH, Helm, RELEASE, arguments, chart};

/// A release in a namespace that Pod Security `restricted` is asked of.
struct Release<'cluster> {
    helm: Helm,
    cluster: &'cluster Cluster,
    namespace: String,
}

impl<'cluster> Release<'cluster> {
    fn new(helm: Helm, cluster: &'cluster Cluster) -> Self {
        let namespace = cluster.restricted_namespace("release");
        Self { helm, cluster, namespace }
    }

    /// Runs a command of Helm that succeeds and that the server does not warn about.
    fn helm(&self, arguments: &[&str], values: Option<&Value>) -> String {
        let arguments = [arguments, &["--namespace", &self.namespace]].concat();
        let mut command = self.helm.command(&arguments).on(self.cluster);
        if let Some(values) = values {
            command = command.values(values);
        }
        let ended = command.succeed();
        assert!(!ended.stderr.to_lowercase().contains("warning"), "{}", ended.stderr);
        ended.stdout
    }

    fn install(&self, values: &Value) -> String {
        self.helm(&["install", RELEASE, &chart()], Some(values))
    }

    fn upgrade(&self, values: &Value) -> String {
        self.helm(&["upgrade", RELEASE, &chart()], Some(values))
    }

    fn uninstall(&self) -> String {
        self.helm(&["uninstall", RELEASE], None)
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.succeed(&[arguments, &["-n", &self.namespace]].concat())
    }

    /// Name and uid of each object of the sandbox: one that was made again has another uid.
    fn sandbox(&self) -> Vec<(String, String)> {
        let path = "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
        let listed = self.kubectl(&["get", "whs,whp,tsrc", "-o", path]);
        let pairs = listed.lines().map(|line| line.split_once(' ').unwrap());
        pairs.map(|(name, uid)| (name.to_owned(), uid.to_owned())).collect()
    }

    fn arguments(&self) -> Vec<String> {
        let deployment = self.kubectl(&["get", "deployment", RELEASE, "-o", "json"]);
        arguments(&serde_json::from_str(&deployment).unwrap())
    }
}

fn definitions(cluster: &Cluster) -> usize {
    cluster.succeed(&["get", "customresourcedefinitions", "-o", "name"]).lines().count()
}

/// An object of a user's, and its uid.
fn users_object(cluster: &Cluster, namespace: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("object.json");
    let object = json!({
        "apiVersion": "hookkeeper.dev/v1alpha1", "kind": "WebhookProvider",
        "metadata": {"name": "ours", "namespace": namespace},
        "spec": {"preset": "gupy", "auth": {"bearer": {"secretKeyRef": {"name": "a", "key": "b"}}}},
    });
    std::fs::write(&file, object.to_string()).unwrap();
    cluster.succeed(&["apply", "-f", file.to_str().unwrap()]);
    uid_of_users_object(cluster, namespace)
}

fn uid_of_users_object(cluster: &Cluster, namespace: &str) -> String {
    cluster.succeed(&["get", "whp", "ours", "-n", namespace, "-o", "jsonpath={.metadata.uid}"])
}

#[test]
fn a_release_can_be_upgraded_rolled_back_removed_and_installed_again() {
    let cluster = &Cluster::start(&[]);
    let users = cluster.namespace("users");
    for helm in BOTH {
        let release = Release::new(helm, cluster);
        let with_actions = |actions: &[&str]| json!({"sandbox": {"enabled": true, "actions": actions}});
        release.install(&with_actions(&["application.completed", "candidate.hired"]));
        let ours = users_object(cluster, &users);
        let first = release.sandbox();
        assert_eq!(first.len(), 4, "{helm:?}: {first:?}");

        // What is asked for once more stays what it was, because its status knows its webhook. What is
        // no longer asked for goes.
        let mut values = with_actions(&["candidate.hired", "job.published"]);
        values["workers"] = json!(8);
        release.upgrade(&values);
        let second = release.sandbox();
        let kept = first.iter().filter(|object| second.contains(object)).count();
        assert_eq!((second.len(), kept), (4, 3), "{helm:?}: {first:?} {second:?}");
        assert!(release.arguments().contains(&"--workers=8".to_owned()));
        release.helm(&["rollback", RELEASE, "1"], None);
        assert_eq!(release.sandbox(), second, "{helm:?}");
        assert!(release.arguments().contains(&"--workers=16".to_owned()));
        release.upgrade(&with_actions(&["job.published"]));
        let third = release.sandbox();
        assert_eq!(third.len(), 3, "{helm:?}: {third:?}");
        assert!(third.iter().all(|object| second.contains(object)), "{helm:?}: {second:?} {third:?}");

        release.uninstall();
        assert_eq!(release.sandbox(), [], "{helm:?}");
        let left = release.kubectl(&["get", "deployments,services,secrets,roles,rolebindings", "-o", "name"]);
        assert_eq!(left, "", "{helm:?}");
        assert_eq!((definitions(cluster), uid_of_users_object(cluster, &users)), (4, ours), "{helm:?}");

        // The same name in the same namespace takes the definitions over again.
        release.install(&json!({"crds": {"keep": false}}));
        release.uninstall();
        cluster.succeed(&["wait", "--for=delete", "crd", "--all", "--timeout=120s"]);
        assert_eq!(definitions(cluster), 0, "{helm:?}");
    }
}

#[test]
fn the_notes_say_what_to_do_next_with_these_values() {
    let cluster = Cluster::shared();
    let notes = |helm: Helm, values: &Value| {
        let install = ["install", RELEASE, &chart(), "--namespace", "there", "--dry-run=client"];
        // The definitions of the cluster that tests share are not this release's.
        let mut values = values.clone();
        values["crds"] = json!({"enabled": false, "keep": values.get("crds").is_none()});
        let ended = helm.command(&install).on(cluster).values(&values).succeed();
        ended.stdout.split_once("NOTES:\n").unwrap().1.to_owned()
    };
    let values = json!({
        "sandbox": {"enabled": true}, "scope": {"namespaces": ["there", "elsewhere"]}, "replicas": 1,
        "observe": true, "crds": {"keep": false},
    });
    for helm in BOTH {
        let plain = notes(helm, &json!({}));
        for expected in [
            "looks after the whole cluster.\n",
            "kubectl -n there rollout status deployment/hookkeeper",
            "deploy/examples",
            "WARNING: the chart sets up no scraping",
            "deletionPolicy: Delete",
        ] {
            assert!(plain.contains(expected), "{helm:?}, {expected}: {plain}");
        }
        assert_eq!(plain.matches("WARNING").count(), 1, "{helm:?}: {plain}");
        let other = notes(helm, &values);
        for expected in [
            "looks after the namespaces there, elsewhere.\n",
            "kubectl -n there get whs --watch",
            "port-forward service/hookkeeper-sandbox 8480",
            "WARNING: observe is set",
            "WARNING: with replicas: 1, nothing rotates while the pod is being replaced.",
            "WARNING: with crds.keep=false",
        ] {
            assert!(other.contains(expected), "{helm:?}, {expected}: {other}");
        }
        assert_eq!(other.matches("WARNING").count(), 4, "{helm:?}: {other}");
    }
}
