//! A second version of the definitions, made up, comes and goes with releases of the chart: each release
//! can be rolled back by one, and nothing is lost, as `deploy/api-versions.md` promises.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::operator::trial::Trial;
use super::super::process::{PATIENCE, Process};
use super::super::{Ended, hookkeeper, in_repository};
use super::helm::{Helm, RELEASE, arguments, copy_of_the_chart};

const NEW: &str = "v1beta1";
const OLD: &str = "v1alpha1";
const DEFINITIONS: [&str; 4] =
    ["webhooksubscriptions", "webhookproviders", "tokensources", "webhookreceivers"];

/// Releases of the chart, each a folder, that differ in the versions of the definitions.
struct Releases(tempfile::TempDir);

impl Releases {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A release whose definitions have these versions, of which one is stored.
    fn with(&self, name: &str, served: &[&str], stored: &str) -> String {
        let folder = self.0.path().join(name);
        copy_of_the_chart(&folder);
        for definition in DEFINITIONS {
            let file = folder.join(format!("files/crds/{definition}.yaml"));
            let text = fs::read_to_string(&file).unwrap();
            let (head, version) = text.split_once("\n  versions:\n").unwrap();
            assert_eq!(version.matches("\n    name: v1alpha1\n").count(), 1);
            let versions = served.iter().map(|name| {
                version
                    .replace("\n    name: v1alpha1\n", &format!("\n    name: {name}\n"))
                    .replace("\n    storage: true\n", &format!("\n    storage: {}\n", *name == stored))
            });
            let versions: String = versions.collect();
            fs::write(file, format!("{head}\n  versions:\n{versions}")).unwrap();
        }
        folder.to_str().unwrap().to_owned()
    }
}

/// A release in the namespace `system`.
struct Installed<'cluster> {
    helm: Helm,
    cluster: &'cluster Cluster,
    namespace: String,
    values: Value,
}

impl<'cluster> Installed<'cluster> {
    fn new(helm: Helm, cluster: &'cluster Cluster, chart: &str, values: Value) -> Self {
        let release = Self { helm, cluster, namespace: cluster.namespace("system"), values };
        release.succeed(&["install", RELEASE, chart]);
        cluster.succeed(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=120s"]);
        release
    }

    fn run(&self, words: &[&str]) -> Ended {
        let words = [words, &["--namespace", &self.namespace]].concat();
        let command = self.helm.command(&words).on(self.cluster);
        if words[0] == "rollback" { command.run() } else { command.values(&self.values).run() }
    }

    fn succeed(&self, words: &[&str]) {
        let ended = self.run(words);
        assert_eq!(ended.code, Some(0), "{:?} {words:?}: {}", self.helm, ended.stderr);
        self.wait_until_served();
    }

    /// The API server takes a moment to serve what the definitions say, and to stop what they do not.
    fn wait_until_served(&self) {
        let end = Instant::now() + PATIENCE;
        let is_served = || {
            let versions = self.versions();
            let answers = |kind: &str| self.cluster.kubectl(&["get", kind, "-A"]).code == Some(0);
            [OLD, NEW].iter().all(|version| {
                let wanted = versions.iter().all(|(served, _)| served.split(' ').any(|one| one == *version));
                DEFINITIONS.iter().all(|kind| answers(&format!("{kind}.{version}.hookkeeper.dev")) == wanted)
            }) && DEFINITIONS.iter().all(|kind| answers(kind))
        };
        // What kubectl remembers of the versions is hours old for all it knows.
        let remembered = self.cluster.kubeconfig().with_file_name(".kube").join("cache");
        loop {
            drop(fs::remove_dir_all(&remembered));
            if is_served() {
                break;
            }
            assert!(Instant::now() < end, "{:?}: {:?} are not served", self.helm, self.versions());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn upgrade(&self, chart: &str) {
        self.succeed(&["upgrade", RELEASE, chart]);
    }

    fn rollback(&self, revision: &str) {
        self.succeed(&["rollback", RELEASE, revision]);
    }

    /// The versions of the definitions, and those in which objects have been stored.
    fn versions(&self) -> Vec<(String, String)> {
        let path =
            "jsonpath={range .items[*]}{.spec.versions[*].name}={.status.storedVersions[*]}{\"\\n\"}{end}";
        let listed = self.cluster.succeed(&["get", "crd", "-o", path]);
        let pairs = listed.lines().map(|line| line.split_once('=').unwrap());
        pairs.map(|(served, stored)| (served.to_owned(), stored.to_owned())).collect()
    }

    fn assert_versions(&self, served: &str, stored: &str) {
        assert_eq!(
            self.versions(),
            vec![(served.to_owned(), stored.to_owned()); DEFINITIONS.len()],
            "{:?}",
            self.helm
        );
    }
}

/// What must not change of each object, whatever version it is read in.
fn essence(trial: &Trial<'_>, version: &str) -> Vec<Value> {
    let kinds = DEFINITIONS.map(|kind| format!("{kind}.{version}.hookkeeper.dev"));
    let mut all = Vec::new();
    for kind in kinds {
        let listed: Value = serde_json::from_str(&trial.kubectl(&["get", &kind, "-o", "json"])).unwrap();
        all.extend(listed["items"].as_array().unwrap().iter().map(|object| {
            let (metadata, status) = (&object["metadata"], &object["status"]);
            // A provider has one as long as a subscription with the policy Delete uses it.
            let is_subscription = object["kind"] == "WebhookSubscription";
            let finalizers = is_subscription.then(|| metadata["finalizers"].clone());
            json!({
                "kind": object["kind"], "name": metadata["name"], "uid": metadata["uid"],
                "finalizers": finalizers, "annotations": metadata["annotations"],
                "generation": metadata["generation"], "spec": object["spec"],
                "webhookId": status["webhookId"], "ownership": status["ownership"],
                "origin": status["webhookOrigin"], "digest": status["appliedDigest"],
            })
        }));
    }
    all
}

/// What the release's pod would run.
fn controller(trial: &Trial<'_>, release: &Installed<'_>) -> Process {
    let namespace = &release.namespace;
    let deployment = trial.cluster.succeed(&["get", "deployment", RELEASE, "-n", namespace, "-o", "json"]);
    let account: PathBuf = trial.cluster.kubeconfig_for_service_account(namespace, RELEASE);
    let port = |word: String| word.replace("127.0.0.1:8080", "127.0.0.1:0");
    hookkeeper()
        .args(arguments(&serde_json::from_str(&deployment).unwrap()).into_iter().map(port))
        .env("KUBECONFIG", account.to_str().unwrap())
        .env("HOSTNAME", "hookkeeper-0")
        .knows_secrets_in(&trial.manifests())
        .spawn()
}

async fn comes_and_is_rolled_back(helm: Helm) {
    let cluster = tokio::task::block_in_place(|| Cluster::start(&[]));
    let trial = Trial::start_in(&cluster, Duration::from_secs(20), 2, |_| ()).await;
    let releases = Releases::new();
    let only_old = releases.with("one", &[OLD], OLD);
    let served = releases.with("two", &[OLD, NEW], OLD);
    let stored = releases.with("three", &[OLD, NEW], NEW);
    let values = json!({
        "scope": {"namespaces": [trial.namespace]}, "leaseDuration": "5s",
        "egress": {"allow": [trial.sandbox.url()]}, "log": {"format": "human", "level": "trace"},
        "listenAddress": "127.0.0.1",
    });
    let (release, controller) = tokio::task::block_in_place(|| {
        let release = Installed::new(helm, &cluster, &only_old, values);
        trial.apply();
        let controller = controller(&trial, &release);
        (release, controller)
    });
    let both = format!("{OLD} {NEW}");
    let at = |change: &dyn Fn()| tokio::task::block_in_place(change);
    let running = [&controller];
    trial.until_rotated(&running, 1).await;
    trial.until_recorded(&running).await;
    release.assert_versions(OLD, OLD);
    let first = essence(&trial, OLD);

    // Served first. What somebody writes in the new version is there in the old one, too.
    at(&|| release.upgrade(&served));
    release.assert_versions(&both, OLD);
    trial.apply_text(
        &Trial::subscription("new", "job.created", &["deletionPolicy: Delete"]).replace(OLD, NEW),
    );
    trial.until_says(&running, "whs/new", "Ready", "True ").await;
    trial.until_rotated(&running, 1).await;
    trial.until_recorded(&running).await;
    let with_new = essence(&trial, NEW);
    assert_eq!(essence(&trial, OLD), with_new);
    assert_eq!(with_new.len(), first.len() + 1);
    assert!(first.iter().all(|object| with_new.contains(object)), "{first:#?} {with_new:#?}");

    // One release back.
    at(&|| release.rollback("1"));
    release.assert_versions(OLD, OLD);
    trial.until_rotated(&running, 1).await;
    assert_eq!(essence(&trial, OLD), with_new);

    // Storage is switched a release later. What is written from now on is stored in the new version.
    at(&|| release.upgrade(&served));
    at(&|| release.upgrade(&stored));
    release.assert_versions(&both, &both);
    trial.until_rotated(&running, 1).await;
    assert_eq!(essence(&trial, NEW), with_new);

    // One release back, and on again.
    at(&|| release.rollback("4"));
    release.assert_versions(&both, &both);
    trial.until_rotated(&running, 1).await;
    assert_eq!((essence(&trial, OLD), essence(&trial, NEW)), (with_new.clone(), with_new.clone()));
    at(&|| release.upgrade(&stored));
    trial.until_rotated(&running, 1).await;
    assert_eq!(essence(&trial, NEW), with_new);

    assert_eq!((trial.sandbox.ledger().creates, trial.sandbox.webhooks().len()), (3, 3));
    assert_eq!(controller.stop(), Some(0));
    trial.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_served_and_stored_and_rolled_back_with_helm_3_and_nothing_is_lost() {
    comes_and_is_rolled_back(Helm::Three).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_served_and_stored_and_rolled_back_with_helm_4_and_nothing_is_lost() {
    comes_and_is_rolled_back(Helm::Four).await;
}

/// The commands that the page gives.
fn commands_of_the_page() -> String {
    let page = fs::read_to_string(in_repository("deploy/api-versions.md")).unwrap();
    page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

fn shell(cluster: &Cluster, script: &str) {
    let kubectl = super::super::cluster::program("kubectl");
    let path = format!("{}:/usr/bin:/bin", Path::new(&kubectl).parent().unwrap().display());
    let mut command = std::process::Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).env_clear().env("PATH", path);
    command.env("KUBECONFIG", cluster.kubeconfig()).env("HOME", "/nonexistent");
    let ended = super::super::tools::ended(&mut command);
    assert_eq!(ended.code, Some(0), "{script}: {}", ended.stderr);
}

/// Why storage is switched a release later, and what has to be done before a version is taken away.
#[test]
fn a_version_that_objects_are_stored_in_cannot_be_taken_away_until_they_are_rewritten() {
    for helm in [Helm::Three, Helm::Four] {
        let cluster = &Cluster::start(&[]);
        let releases = Releases::new();
        let only_old = releases.with("one", &[OLD], OLD);
        let both_at_once = releases.with("two", &[OLD, NEW], NEW);
        let only_new = releases.with("three", &[NEW], NEW);
        let release = Installed::new(helm, cluster, &only_old, json!({}));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("object.json");
        let object = json!({
            "apiVersion": "hookkeeper.dev/v1alpha1", "kind": "WebhookProvider", "metadata": {"name": "ours"},
            "spec": {"preset": "gupy", "auth": {"bearer": {"secretKeyRef": {"name": "a", "key": "b"}}}},
        });
        fs::write(&file, object.to_string()).unwrap();
        cluster.succeed(&["apply", "-f", file.to_str().unwrap()]);
        let spec = || cluster.succeed(&["get", "whp", "ours", "-o", "jsonpath={.metadata.uid} {.spec}"]);
        let before = spec();
        release.upgrade(&both_at_once);
        let refused = release.run(&["rollback", RELEASE, "1"]);
        assert_ne!(refused.code, Some(0), "{helm:?}");
        assert!(refused.stderr.contains("storedVersions"), "{helm:?}: {}", refused.stderr);
        // The way on, after that.
        release.upgrade(&both_at_once);
        release.assert_versions(&format!("{OLD} {NEW}"), &format!("{OLD} {NEW}"));

        let refused = release.run(&["upgrade", RELEASE, &only_new]);
        assert!(refused.stderr.contains("storedVersions"), "{helm:?}: {}", refused.stderr);
        shell(cluster, &commands_of_the_page());
        release.upgrade(&only_new);
        release.assert_versions(NEW, NEW);
        assert_eq!(spec(), before, "{helm:?}");
        release.rollback("4");
        assert_eq!(spec(), before, "{helm:?}");
    }
}
