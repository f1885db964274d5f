//! The chart with two replicas and its sandbox, while pods go away and releases come and go.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::in_repository;
use super::node::Node;

/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(180);
const NAMESPACE: &str = "hookkeeper-system";
/// Pods of a node without a name server find the sandbox by this address.
const SANDBOX: &str = "10.96.0.200";
/// Subscriptions with a token source each, so that at any moment some rotation is due soon.
const SOURCES: u64 = 15;

/// The chart's values for the trial: short tokens, and a lease that fits them.
fn values(image: &str) -> String {
    let (repository, tag) = image.rsplit_once(':').unwrap();
    format!(
        "image: {{repository: {repository}, tag: {tag}, pullPolicy: Never}}
leaseDuration: 5s
hostAliases: [{{ip: {SANDBOX}, hostnames: [hookkeeper-sandbox.{NAMESPACE}.svc]}}]
sandbox:
  enabled: true
  tokenLife: 40s
  extraArgs: [--delivery-interval=1s]
  service: {{clusterIP: {SANDBOX}}}
"
    )
}

/// A provider that asks for hardly any overlap, and sources that want to rotate at different times
/// of a token's life.
fn load() -> String {
    let mut objects = format!(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {{name: load}}
spec:
  preset: gupy
  baseUrl: http://hookkeeper-sandbox.{NAMESPACE}.svc:8480
  overlap: 1s
  auth: {{bearer: {{secretKeyRef: {{name: hookkeeper-sandbox, key: management-token}}}}}}
"
    );
    for number in 0..SOURCES {
        let renew_before = 12 + number;
        write!(
            objects,
            "---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: load-{number}}}
spec:
  providerRef: {{name: load}}
  action: candidate.hired
  postbackUrl: https://integrations.example.com/load/{number}
  clientHeaders:
    - {{name: token, valueFrom: {{token: {{}}}}}}
  tokenSource:
    oauth2:
      tokenUrl: http://hookkeeper-sandbox.{NAMESPACE}.svc:8480/oauth/token
      clientId: {{value: hr-integration}}
      clientSecret: {{secretKeyRef: {{name: hookkeeper-sandbox, key: client-secret}}}}
  rotation: {{renewBefore: {renew_before}s}}
"
        )
        .unwrap();
    }
    objects
}

struct Trial {
    node: Node,
    folder: tempfile::TempDir,
}

impl Trial {
    fn file(&self, name: &str, text: &str) -> String {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        self.node.kubectl(&[&["--namespace", NAMESPACE], arguments].concat())
    }

    /// What the sandbox has counted.
    fn ledger(&self) -> Value {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/services/hookkeeper-sandbox:http/proxy/admin/summary");
        serde_json::from_str(&self.node.kubectl(&["get", "--raw", &path])).unwrap()
    }

    fn count(&self, what: &str) -> u64 {
        self.ledger()[what].as_u64().unwrap()
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "not {what}: {:#}\n{}", self.ledger(), self.story());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Each subscription gets another new token, on average.
    fn until_rotated(&self, what: &str) {
        let wanted = self.count("rotations") + SOURCES;
        self.until(&format!("rotations {what}"), |trial| trial.count("rotations") >= wanted);
        self.assert_well(what);
    }

    fn assert_well(&self, what: &str) {
        let ledger = self.ledger();
        for name in ["late", "doubled", "deliveries_refused"] {
            assert_eq!(ledger[name], 0, "{name} {what}: {ledger:#}\n{}", self.story());
        }
    }

    /// The pod that acts.
    fn leader(&self) -> String {
        let holder = "jsonpath={.spec.holderIdentity}";
        let identity = self.kubectl(&["get", "lease", "hookkeeper", "-o", holder]);
        identity.split('_').next().unwrap().to_owned()
    }

    /// Takes the pod away that acts; another one acts soon, and the work goes on.
    fn without_leader(&self, how: &str, remove: impl Fn(&str)) {
        let leader = self.leader();
        remove(&leader);
        self.until(&format!("another leader, the first one {how}"), |trial| {
            let now = trial.leader();
            !now.is_empty() && now != leader
        });
        self.until_rotated(&format!("after the leader was {how}"));
        self.kubectl(&["rollout", "status", "deployment/hookkeeper", "--timeout=180s"]);
    }

    fn story(&self) -> String {
        let logs = ["logs", "--selector=app.kubernetes.io/name=hookkeeper", "--tail=60", "--prefix"];
        let logs = self.node.try_kubectl(&[&["--namespace", NAMESPACE], &logs[..]].concat());
        format!("{}\n{}", self.node.story(), logs.stdout)
    }
}

#[test]
fn nothing_is_late_or_doubled_while_pods_and_releases_come_and_go() {
    let trial = Trial { node: Node::start(), folder: tempfile::tempdir().unwrap() };
    let chart = in_repository("charts/hookkeeper");
    let chart = chart.to_str().unwrap();
    let values = trial.file("values.yaml", &values(&trial.node.image));

    trial.node.kubectl(&["create", "namespace", NAMESPACE]);
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    trial.node.kubectl(&["label", "namespace", NAMESPACE, restricted]);
    let release = ["hookkeeper", chart, "--namespace", NAMESPACE, "--wait", "--timeout=3m", "--values", &values];
    trial.node.helm(&[&["install"], &release[..]].concat());
    // Everything that `helm install --wait` promises holds now.
    let ready = trial.kubectl(&["get", "deployment", "hookkeeper", "-o", "jsonpath={.status.readyReplicas}"]);
    assert_eq!(ready, "2", "{}", trial.story());

    let load = trial.file("load.yaml", &load());
    trial.kubectl(&["apply", "--server-side", "-f", &load]);
    trial.kubectl(&["wait", "whs", "--all", "--for=condition=Ready", "--timeout=180s"]);
    trial.until_rotated("at the start");

    trial.without_leader("deleted", |pod| {
        trial.kubectl(&["delete", "pod", pod, "--wait=false"]);
    });
    trial.without_leader("killed", |pod| {
        trial.kubectl(&["delete", "pod", pod, "--force", "--grace-period=0"]);
    });
    trial.without_leader("evicted", |pod| {
        let eviction = format!(
            "{{\"apiVersion\": \"policy/v1\", \"kind\": \"Eviction\", \"metadata\": {{\"name\": \"{pod}\"}}}}"
        );
        let file = trial.file("eviction.json", &eviction);
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction");
        trial.kubectl(&["create", "--raw", &path, "-f", &file]);
    });

    let upgraded = trial.leader();
    trial.node.helm(&[&["upgrade"], &release[..], &["--set=log.level=debug"]].concat());
    trial.until("another leader after the upgrade", |trial| trial.leader() != upgraded);
    trial.until_rotated("after the upgrade");
    let to_first = ["rollback", "hookkeeper", "1", "--namespace", NAMESPACE, "--wait", "--timeout=3m"];
    trial.node.helm(&to_first);
    trial.until_rotated("after the rollback");

    let ledger = trial.ledger();
    assert_eq!(ledger["creates"], SOURCES + 2, "{ledger:#}");
    // No pod had to be started again.
    let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    let restarts = trial.kubectl(&["get", "pods", "-o", restarts]);
    assert!(restarts.split(' ').all(|count| count == "0"), "{restarts}\n{}", trial.story());

    trial.kubectl(&["delete", "-f", &load]);
    trial.node.helm(&["uninstall", "hookkeeper", "--namespace", NAMESPACE, "--wait", "--timeout=3m"]);
    // The definitions stay, so that nobody's subscriptions go with the chart.
    trial.node.kubectl(&["get", "whs", "-A"]);
}
