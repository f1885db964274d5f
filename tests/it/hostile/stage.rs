//! A sandbox, a folder of manifests and the sidecar as a process of its own, with two healthy
//! subscriptions whose tokens live for seconds.

use std::sync::Mutex;
use std::time::Duration;

use hookkeeper::sandbox::{Config, LedgerSummary, Sandbox};
use rustix::process::Pid;
use serde_json::Value;

use super::super::hookkeeper;
use super::super::process::{Process, Program, Written};
use super::super::trial::sandbox_with_manifests;

/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(90);
/// A rotation every six seconds, with as much time to spare.
const TOKEN_LIFE: Duration = Duration::from_secs(12);
/// How many subscriptions are healthy.
pub const HEALTHY: u64 = 2;

const SHARED_SOURCE: &str = "  tokenSourceRef: {name: integration}\n";

/// A subscription with the source that the healthy ones have.
pub fn subscription(name: &str) -> String {
    format!(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: {name}}}
spec:
  providerRef: {{name: gupy}}
  action: {name}
  postbackUrl: https://integrations.example.com/{name}
  clientHeaders:
    - {{name: token, valueFrom: {{token: {{}}}}}}
{SHARED_SOURCE}"
    )
}

/// A document of its own with a subscription that has a source of its own.
pub fn subscription_from(name: &str, token_url: &str) -> String {
    let source = format!(
        "  tokenSource:
    oauth2:
      tokenUrl: \"{token_url}\"
      clientId: {{value: hr-integration}}
      clientSecret: {{secretKeyRef: {{name: integration-client, key: secret}}}}
      timeout: 2s
"
    );
    format!("---\n{}", subscription(name).replace(SHARED_SOURCE, &source))
}

pub struct Stage {
    pub sandbox: Sandbox,
    folder: tempfile::TempDir,
    /// What each of its processes wrote.
    written: Mutex<Vec<Written>>,
}

/// What a condition says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub status: String,
    pub reason: String,
    pub message: String,
}

impl Stage {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let healthy = usize::try_from(HEALTHY).unwrap();
        let (sandbox, folder) = sandbox_with_manifests(TOKEN_LIFE, healthy, change).await;
        Self { sandbox, folder, written: Mutex::default() }
    }

    /// Where a manifest file is.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join("manifests").join(name).to_str().unwrap().to_owned()
    }

    /// Writes a manifest file and returns its path.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub fn manifest(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Starts the process; what may be reached besides the sandbox, and what else is special.
    pub fn sidecar(&self, allowed: &[&str], change: impl FnOnce(&mut Program)) -> Sidecar {
        let mut program = hookkeeper();
        program
            .arg("sidecar")
            .arg("--manifests")
            .arg(self.folder.path().join("manifests"))
            .arg("--state")
            .arg(self.folder.path().join("state.json"))
            .args(["--admin-listen", "127.0.0.1:0"])
            .args(["--allow-destination", &self.sandbox.url()]);
        for destination in allowed {
            program.args(["--allow-destination", destination]);
        }
        change(&mut program);
        let process = program.spawn();
        self.written.lock().unwrap().push(process.written());
        Sidecar(process)
    }

    /// Waits until it holds; `what` tells what never did.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let lacks = |stage: &Self| if holds(stage) { vec![] } else { vec![what.to_owned()] };
        self.until_nothing_lacks(lacks).await;
    }

    /// Waits until nothing is missing any more.
    async fn until_nothing_lacks(&self, lacks: impl Fn(&Self) -> Vec<String>) {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let lacking = lacks(self);
            if lacking.is_empty() {
                return;
            }
            if tokio::time::Instant::now() > end {
                let log = self.log();
                let tail = log.get(log.len().saturating_sub(20_000)..).unwrap_or_default();
                panic!("{tail}\n{:#?}\nlacking: {lacking:#?}", self.ledger());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until each of the subscriptions names its reason.
    pub async fn until_explained<'a>(&self, wanted: impl Iterator<Item = (&'a str, &'a str)> + Clone) {
        self.until_nothing_lacks(|stage| {
            let said = wanted.clone().map(|(name, reason)| (name, reason, stage.trouble(name)));
            let other = said.filter(|(_, reason, said)| said.reason != *reason);
            other.map(|(name, reason, said)| format!("{name}: {reason}, not {said:?}")).collect()
        })
        .await;
    }

    /// Waits until each healthy subscription was created and has been rotated so often.
    pub async fn until_rotated(&self, times: u64) {
        self.until("the healthy ones go on", |stage| {
            let ledger = stage.ledger();
            ledger.creates >= HEALTHY && ledger.rotations >= times * HEALTHY
        })
        .await;
    }

    pub fn ledger(&self) -> LedgerSummary {
        self.sandbox.ledger()
    }

    pub fn log(&self) -> String {
        self.written.lock().unwrap().iter().map(Written::all).collect()
    }

    pub fn state_text(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("state.json")).unwrap_or_default()
    }

    /// The recorded status of an object.
    pub fn status(&self, kind: &str, name: &str) -> Value {
        self.statuses(kind)[format!("default/{name}")]["status"].clone()
    }

    /// What is recorded of all objects of a kind, by namespace and name.
    pub fn statuses(&self, kind: &str) -> Value {
        let state: Value = serde_json::from_str(&self.state_text()).unwrap_or_default();
        state["objects"][kind].clone()
    }

    pub fn condition(&self, kind: &str, name: &str, condition: &str) -> Said {
        let status = self.status(kind, name);
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|one| one["type"] == condition);
        let text = |name: &str| found.and_then(|one| one[name].as_str()).unwrap_or_default().to_owned();
        Said { status: text("status"), reason: text("reason"), message: text("message") }
    }

    /// Why a subscription does not work, as people would look for it.
    pub fn trouble(&self, name: &str) -> Said {
        ["Stalled", "RotationHealthy", "Ready"]
            .map(|condition| self.condition("WebhookSubscription", name, condition))
            .into_iter()
            .zip(["True", "False", "False"])
            .find_map(|(said, bad)| (said.status == bad).then_some(said))
            .unwrap_or_default()
    }

    /// Has the healthy ones' platform reached through another server.
    pub fn reach_through(&self, server: &super::server::Server) {
        let provider = self.manifest("10-provider.yaml");
        let through = format!("http://127.0.0.1:{}", server.port());
        self.write("10-provider.yaml", provider.replace(&self.sandbox.url(), &through));
    }

    /// Nothing of the text stands in anything that people may see.
    pub fn assert_unseen(&self, text: &str) {
        let lines = |shown: &str| -> Vec<String> {
            shown
                .lines()
                .filter(|line| line.contains(text))
                .map(|line| line.chars().take(500).collect())
                .collect()
        };
        assert_eq!(lines(&self.log()), Vec::<String>::new(), "in the log at level trace");
        assert_eq!(lines(&self.state_text()), Vec::<String>::new(), "in the state file");
    }

    /// Nothing but the healthy ones has reached the platform, they did not notice anything, and all
    /// that was beside them cost little.
    pub fn assert_withstood(&self, sidecar: &mut Sidecar) {
        self.assert_healthy_undisturbed();
        let ledger = self.ledger();
        assert_eq!((ledger.creates, ledger.webhooks), (HEALTHY, HEALTHY), "{ledger:#?}");
        sidecar.assert_runs();
        let peak = sidecar.peak_memory();
        assert!(peak < 128, "{peak} MiB");
    }

    /// The healthy ones did not notice anything.
    pub fn assert_healthy_undisturbed(&self) {
        let ledger = self.ledger();
        assert_eq!(
            (ledger.late, ledger.doubled, ledger.surplus_updates),
            (0, 0, 0),
            "{ledger:#?}\n{}",
            self.log()
        );
    }
}

/// Ended with the test.
pub struct Sidecar(Process);

impl Sidecar {
    /// The most memory the process has had at once, in MiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    pub fn id(&self) -> Pid {
        self.0.id()
    }

    pub fn get(&self, path: &str) -> Option<String> {
        self.0.get(path)
    }

    pub fn assert_runs(&mut self) {
        assert!(self.0.is_running(), "the process has ended");
    }

    /// `kill -9`.
    pub fn kill(self) {
        self.0.kill();
    }
}
