//! The chart with its sandbox in a cluster with real pods, and what the sandbox counts.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::in_repository;
use super::node::Node;

/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(180);
pub const NAMESPACE: &str = "hookkeeper-system";

/// The chart's values for the trial: short tokens, and a lease that fits them.
fn values(image: &str) -> String {
    let (repository, tag) = image.rsplit_once(':').unwrap();
    format!(
        "image: {{repository: {repository}, tag: {tag}, pullPolicy: Never}}
leaseDuration: 5s
sandbox:
  enabled: true
  tokenLife: 40s
  extraArgs: [--delivery-interval=1s]
"
    )
}

/// The chart installed with two replicas, in a namespace that enforces the strictest standard for pods.
pub struct Trial {
    pub node: Node,
    folder: tempfile::TempDir,
}

impl Trial {
    pub fn install() -> Self {
        let trial = Self { node: Node::start(), folder: tempfile::tempdir().unwrap() };
        trial.restricted_namespace(NAMESPACE);
        trial.helm("install", &[]);
        trial
    }

    /// `helm install` or `helm upgrade` of the chart; returns when Helm takes it for done.
    pub fn helm(&self, command: &str, settings: &[&str]) {
        let chart = in_repository("charts/hookkeeper");
        let values = self.file("values.yaml", &values(&self.node.image));
        let release = [command, "hookkeeper", chart.to_str().unwrap(), "--namespace", NAMESPACE];
        let options = ["--values", &values, "--wait", "--timeout=3m"];
        self.node.helm(&[&release[..], &options, settings].concat());
    }

    /// A namespace in which no pod runs that may harm the node.
    pub fn restricted_namespace(&self, name: &str) {
        self.node.kubectl(&["create", "namespace", name]);
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        self.node.kubectl(&["label", "namespace", name, restricted]);
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.node.kubectl(&[&["--namespace", NAMESPACE], arguments].concat())
    }

    /// What the sandbox has counted.
    pub fn ledger(&self) -> Value {
        let service = "services/hookkeeper-sandbox:http/proxy/admin/summary";
        let path = format!("/api/v1/namespaces/{NAMESPACE}/{service}");
        serde_json::from_str(&self.node.kubectl(&["get", "--raw", &path])).unwrap()
    }

    pub fn count(&self, what: &str) -> u64 {
        self.ledger()[what].as_u64().unwrap()
    }

    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "not {what}: {:#}\n{}", self.ledger(), self.node.story());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits for that many new tokens.
    pub fn until_rotated(&self, times: u64, what: &str) {
        let wanted = self.count("rotations") + times;
        self.until(&format!("rotations {what}"), |trial| trial.count("rotations") >= wanted);
        self.assert_well(what);
    }

    pub fn assert_well(&self, what: &str) {
        let ledger = self.ledger();
        for name in ["late", "doubled", "deliveries_refused"] {
            assert_eq!(ledger[name], 0, "{name} {what}: {ledger:#}\n{}", self.node.story());
        }
    }

    /// The process that acts: its pod's name, and what tells two processes of one pod apart.
    pub fn holder(&self) -> String {
        self.kubectl(&["get", "lease", "hookkeeper", "-o", "jsonpath={.spec.holderIdentity}"])
    }
}
