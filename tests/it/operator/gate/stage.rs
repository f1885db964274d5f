//! A gate in a namespace of a cluster, under an account with the rights of a gate and no others.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::gate::application::Application;
use crate::gate::stage::Gate;
use crate::process::{Ended, Program, hookkeeper};

/// The rights of a gate in the namespace that they are applied to.
pub const RIGHTS: &str = include_str!("rights.yaml");
/// The account that has them.
pub const ACCOUNT: &str = "hookkeeper-gate";

/// Everything that gates in one namespace need around them.
pub struct Stage<'cluster> {
    pub cluster: &'cluster Cluster,
    pub namespace: String,
    pub application: Arc<Application>,
    account: PathBuf,
    folder: TempDir,
}

impl Stage<'static> {
    /// In a namespace of the cluster that tests share.
    pub async fn new() -> Self {
        Self::on(tokio::task::block_in_place(Cluster::shared)).await
    }
}

impl<'cluster> Stage<'cluster> {
    /// In a namespace of this cluster.
    pub async fn on(cluster: &'cluster Cluster) -> Self {
        let folder = tempfile::Builder::new().prefix("gate").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(folder.path().join("manifests")).unwrap();
        let application = Arc::new(Application::start().await);
        let namespace = tokio::task::block_in_place(|| cluster.namespace("gate"));
        let mut stage = Self { cluster, namespace, application, account: PathBuf::new(), folder };
        stage.apply("rights.yaml", RIGHTS);
        stage.account =
            tokio::task::block_in_place(|| cluster.kubeconfig_for_service_account(&stage.namespace, ACCOUNT));
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// kubectl in this namespace, however it ends.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Ended {
        let arguments: Vec<&str> = ["-n", &self.namespace].iter().chain(arguments).copied().collect();
        tokio::task::block_in_place(|| self.cluster.kubectl(&arguments))
    }

    /// kubectl in this namespace; panics when it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let ended = self.try_kubectl(arguments);
        assert_eq!(ended.code, Some(0), "kubectl {arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    /// Applies objects; `APPLICATION` in them is the application's URL.
    pub fn apply(&self, name: &str, manifests: &str) {
        let file = self.path("manifests").join(name);
        fs::write(&file, manifests.replace("APPLICATION", &self.application.url(""))).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    }

    /// A Secret with these values. Which of them are secret shows in how they begin.
    pub fn secret(&self, name: &str, values: &[(&str, &str)]) {
        let values: String =
            values.iter().map(|(key, value)| format!("  {key}: {}\n", Value::from(*value))).collect();
        let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData:\n{values}");
        let file = self.path("secret.yaml");
        fs::write(&file, text).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    }

    /// An object as it is.
    pub fn object(&self, object: &str) -> Value {
        let shown = self.try_kubectl(&["get", object, "-o", "json", "--show-managed-fields"]).stdout;
        serde_json::from_str(&shown).unwrap_or_default()
    }

    /// The share of a gate in a receiver's status.
    pub fn share(&self, receiver: &str, gate: &str) -> Value {
        let status = self.object(&format!("whr/{receiver}"))["status"].clone();
        let gates = status["gates"].as_array().cloned().unwrap_or_default();
        gates.into_iter().find(|share| share["gate"] == gate).unwrap_or_default()
    }

    /// What a gate's share says of a condition, such as `True Accepting: …`.
    pub fn says(&self, receiver: &str, gate: &str, condition: &str) -> String {
        let share = self.share(receiver, gate);
        let all = share["conditions"].as_array().cloned().unwrap_or_default();
        let Some(found) = all.into_iter().find(|one| one["type"] == condition) else { return String::new() };
        let word = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", word("status"), word("reason"), word("message"))
    }

    /// The annotation of a gate's Lease.
    pub fn held(&self, gate: &str) -> String {
        let lease = self.object(&format!("lease/{gate}"));
        lease["metadata"]["annotations"]["hookkeeper.dev/held-tokens"].as_str().unwrap_or_default().to_owned()
    }

    /// The command line of a gate of this name, which has a folder of data of its own.
    pub fn program(&self, name: &str) -> Program {
        self.program_as(&self.account, name)
    }

    /// The same under another account.
    pub fn program_as(&self, account: &std::path::Path, name: &str) -> Program {
        let data = self.path(name);
        fs::create_dir_all(&data).unwrap();
        let mut program = hookkeeper();
        program
            .env("KUBECONFIG", account.to_str().unwrap())
            .env("HOSTNAME", name)
            .env_remove("POD_UID")
            .env_remove("POD_NAMESPACE")
            .args(["gate", "--namespace", &self.namespace, "--lease-namespace", &self.namespace])
            .arg("--data")
            .arg(data)
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--drain", "0s"])
            .args(["--allow-destination", &format!("http://{}", self.application.address)]);
        program
    }

    /// Starts a gate of this name and waits until it takes deliveries in.
    pub fn gate(&self, name: &str) -> Gate {
        Gate::of(self.program(name).spawn())
    }
}
