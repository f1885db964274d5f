//! Controllers as processes of their own in a namespace of a cluster, and the sandbox that they work
//! against.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use hookkeeper::sandbox::{Config, Sandbox};

use super::super::canaries::Canaries;
use super::super::cluster::Cluster;
use super::super::process::{Process, Program};
use super::super::trial::{sandbox_with_manifests, short_settling};
use super::super::{Ended, hookkeeper};
use super::rights;

/// Generous: only a test that fails waits this long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Where the trial's webhooks lead.
pub const POSTBACK_URL: &str = "https://integrations.example.com/gupy";

/// A namespace of a cluster, with manifests that run against a sandbox.
pub struct Trial<'cluster> {
    pub sandbox: Sandbox,
    pub cluster: &'cluster Cluster,
    pub namespace: String,
    pub subscriptions: u64,
    /// Of the account under which its controllers run, once there is one.
    account: OnceLock<PathBuf>,
    folder: tempfile::TempDir,
}

impl Trial<'static> {
    /// In a namespace of the cluster that tests share.
    pub async fn start(token_life: Duration, subscriptions: usize) -> Self {
        let cluster = tokio::task::block_in_place(Cluster::shared);
        Self::start_in(cluster, token_life, subscriptions, |_| ()).await
    }
}

impl<'cluster> Trial<'cluster> {
    pub async fn start_in(
        cluster: &'cluster Cluster,
        token_life: Duration,
        subscriptions: usize,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let (sandbox, folder) = sandbox_with_manifests(token_life, subscriptions, |config| {
            config.delivery_interval = Some(Duration::from_millis(500));
            change(config);
        })
        .await;
        let namespace = tokio::task::block_in_place(|| cluster.namespace("operator"));
        let (subscriptions, account) = (subscriptions as u64, OnceLock::new());
        Self { sandbox, cluster, namespace, subscriptions, account, folder }
    }

    pub fn manifests(&self) -> PathBuf {
        self.folder.path().join("manifests")
    }

    /// kubectl in this trial's namespace, however it ends.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Ended {
        let namespace = ["-n", &self.namespace];
        let arguments: Vec<&str> = namespace.iter().chain(arguments).copied().collect();
        tokio::task::block_in_place(|| self.cluster.kubectl(&arguments))
    }

    /// kubectl in this trial's namespace; panics when it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let ended = self.try_kubectl(arguments);
        assert_eq!(ended.code, Some(0), "kubectl {arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    /// Applies the manifests as they are in the folder now.
    pub fn apply(&self) {
        let folder = self.manifests();
        self.kubectl(&["apply", "-f", folder.to_str().unwrap()]);
    }

    /// Applies one or more objects.
    pub fn apply_text(&self, text: &str) {
        let file = self.folder.path().join("applied.yaml");
        std::fs::write(&file, text).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    }

    /// A subscription with the trial's provider and token source, and these lines more in its spec.
    pub fn subscription(name: &str, action: &str, lines: &[&str]) -> String {
        let lines: String = lines.iter().map(|line| format!("\n  {line}")).collect();
        format!(
            "apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: {name}}}
spec:
  providerRef: {{name: gupy}}
  action: {action}
  postbackUrl: {POSTBACK_URL}
  clientHeaders:
    - {{name: token, valueFrom: {{token: {{}}}}}}
  tokenSourceRef: {{name: integration}}{lines}
---
"
        )
    }

    /// A field of an object; nothing where there is none.
    pub fn field(&self, object: &str, path: &str) -> String {
        self.try_kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")]).stdout
    }

    /// What a condition says, such as `True Rotated: the applied token lives until …`.
    pub fn says(&self, object: &str, condition: &str) -> String {
        let at = format!("{{.status.conditions[?(@.type=='{condition}')]");
        let path = format!("jsonpath={at}.status}} {at}.reason}}: {at}.message}}");
        self.try_kubectl(&["get", object, "-o", &path]).stdout
    }

    /// Waits until a condition says what begins like this, and returns all of it.
    pub async fn until_says(
        &self,
        controllers: &[&Process],
        object: &str,
        condition: &str,
        begin: &str,
    ) -> String {
        let what = format!("{object}: {condition}={begin}");
        self.until(controllers, &what, |trial| trial.says(object, condition).starts_with(begin)).await;
        self.says(object, condition)
    }

    /// The events of an object, such as `Warning Conflict: …`, one a line.
    pub fn events(&self, name: &str) -> String {
        let selector = format!("involvedObject.name={name}");
        let lines = "jsonpath={range .items[*]}{.type} {.reason}: {.message}{\"\\n\"}{end}";
        self.kubectl(&["get", "events", "--field-selector", &selector, "-o", lines])
    }

    /// Waits for an event of an object that begins like this, and returns its line.
    pub async fn until_told(&self, controllers: &[&Process], name: &str, begin: &str) -> String {
        let find =
            |trial: &Self| trial.events(name).lines().find(|line| line.starts_with(begin)).map(str::to_owned);
        self.until(controllers, &format!("{name}: event {begin}"), |trial| find(trial).is_some()).await;
        find(self).unwrap()
    }

    /// A controller to be, with the rights that the chart gives it in this namespace and no others. Its
    /// name is that of a pod.
    pub fn program(&self, name: &str) -> Program {
        self.program_with_lease(name, "5s")
    }

    /// A controller to be, with a lease that lasts so long.
    pub fn program_with_lease(&self, name: &str, lease: &str) -> Program {
        let account = self.account.get_or_init(|| {
            tokio::task::block_in_place(|| rights::in_one_namespace(self.cluster, &self.namespace))
        });
        let mut program = self.program_as(account, name, lease);
        program.args(["--namespace", &self.namespace, "--lease-namespace", &self.namespace]);
        program
    }

    /// A controller to be that looks after the whole cluster, as the chart starts it, under an account.
    pub fn program_as(&self, kubeconfig: &Path, name: &str, lease: &str) -> Program {
        let mut program = hookkeeper();
        program
            .env("KUBECONFIG", kubeconfig.to_str().unwrap())
            .env("HOSTNAME", name)
            .args(["controller", "--lease-duration", lease, "--admin-listen", "127.0.0.1:0"])
            .args(["--allow-destination", &self.sandbox.url()])
            .knows_secrets_in(&self.manifests());
        program
    }

    /// An outcome that is not known is found out soon.
    pub fn short_settling(&self) {
        short_settling(&self.manifests());
    }

    /// The process that holds the lease.
    pub fn holder(&self) -> String {
        self.try_kubectl(&["get", "lease", "hookkeeper", "-o", "jsonpath={.spec.holderIdentity}"]).stdout
    }

    pub fn controller(&self, name: &str) -> Process {
        self.program(name).spawn()
    }

    /// Waits until each webhook has got that many new tokens.
    pub async fn until_rotated(&self, controllers: &[&Process], times: u64) {
        let wanted = self.sandbox.ledger().rotations + times * self.subscriptions;
        self.until(controllers, "rotations", |trial| trial.sandbox.ledger().rotations >= wanted).await;
    }

    /// Waits until nothing is under way: each subscription carries its source's newest token, and that
    /// is recorded.
    pub async fn until_recorded(&self, controllers: &[&Process]) {
        let fingerprint = "jsonpath={range .items[*]}{.status.tokenFingerprint}\n{end}";
        let is_recorded = |trial: &Self| {
            let newest = trial.kubectl(&["get", "tsrc", "-o", fingerprint]);
            let carried = trial.kubectl(&["get", "whs", "-o", fingerprint]);
            !newest.trim().is_empty() && carried.lines().all(|carried| carried == newest.trim())
        };
        self.until(controllers, "recorded", is_recorded).await;
    }

    /// Waits for something that controllers bring about.
    pub async fn until(&self, controllers: &[&Process], what: &str, holds: impl Fn(&Self) -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !holds(self) {
            if tokio::time::Instant::now() > end {
                let logs: Vec<String> = controllers.iter().map(|controller| controller.log()).collect();
                panic!("not {what}: {:#?}\n{}", self.sandbox.ledger(), logs.join("\n-- the next one --\n"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Nothing was created twice, nothing was late, no secret stands in an object or event.
    pub fn assert_well(&self) {
        let ledger = self.sandbox.ledger();
        assert_eq!((ledger.doubled, ledger.late, ledger.deliveries_refused), (0, 0, 0), "{ledger:#?}");
        self.assert_no_secrets();
    }

    pub fn assert_no_secrets(&self) {
        let mut canaries = Canaries::default();
        canaries.add_manifests(&self.manifests());
        let objects = self.kubectl(&["get", "whs,whp,tsrc,events,leases", "-o", "yaml"]);
        assert_eq!(canaries.found_in(&objects), None);
    }
}
