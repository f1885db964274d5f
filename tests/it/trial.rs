//! A sidecar as a process of its own, and the sandbox that it works against.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hookkeeper::sandbox::{
    Client, Config, Sandbox, SandboxInfo, TRIAL_CLIENT_ID, TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN,
    WriteOptions, write_manifests,
};

use super::hookkeeper;
use super::process::{PATIENCE, Process, Program};

/// A sandbox with one client, and a folder with `manifests` that run against it.
pub async fn sandbox_with_manifests(
    token_life: Duration,
    subscriptions: usize,
    change: impl FnOnce(&mut Config),
) -> (Sandbox, tempfile::TempDir) {
    let client = Client {
        id: TRIAL_CLIENT_ID.to_owned(),
        secret: TRIAL_CLIENT_SECRET.into(),
        token_life,
        revokes_previous: false,
    };
    let listen = ([127, 0, 0, 1], 0).into();
    let mut config =
        Config { listen, clients: vec![client.clone()], delivery_interval: None, ..Config::default() };
    change(&mut config);
    let sandbox = Sandbox::start(config).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let management_token = TRIAL_MANAGEMENT_TOKEN.into();
    let info = SandboxInfo { url: sandbox.url(), management_token, client, platforms: Vec::new() };
    write_manifests(&folder.path().join("manifests"), &info, &WriteOptions { subscriptions, gate: None })
        .unwrap();
    (sandbox, folder)
}

/// Appends to the description of the provider, below its `spec`.
pub fn describe_provider(manifests: &Path, more: &str) {
    let path = manifests.join("10-provider.yaml");
    let provider = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{}\n{more}", provider.trim_end())).unwrap();
}

/// The preset's create takes five minutes to settle; here it is the preset's create but for that.
pub fn short_settling(manifests: &Path) {
    let create = r#"  operations:
    create:
      method: POST
      path: /api/v1/webhooks
      json:
        action: "{action}"
        status: "{active|choose(active,inactive)}"
        postbackUrl: "{postbackUrl}"
        clientHeaders: "{headers}"
      capture: {id: /id}
      settle: 1s
"#;
    describe_provider(manifests, create);
}

/// Has the source's tokens published under `shared`.
pub fn publish(manifests: &Path) {
    let source = manifests.join("20-token-source.yaml");
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, format!("{}\n  publishTo: {{secretName: shared}}\n", text.trim_end())).unwrap();
}

pub struct Trial {
    pub sandbox: Sandbox,
    folder: tempfile::TempDir,
}

impl Trial {
    pub async fn start(token_life: Duration, subscriptions: usize) -> Self {
        let (sandbox, folder) = sandbox_with_manifests(token_life, subscriptions, |config| {
            config.delivery_interval = Some(Duration::from_millis(500));
        })
        .await;
        Self { sandbox, folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn manifests(&self) -> PathBuf {
        self.folder().join("manifests")
    }

    pub fn published(&self) -> PathBuf {
        self.folder().join("published")
    }

    pub fn state_file(&self) -> PathBuf {
        self.folder().join("state.json")
    }

    pub fn state(&self) -> String {
        std::fs::read_to_string(self.state_file()).unwrap_or_default()
    }

    /// A sidecar to be, with its state in the usual place.
    pub fn program(&self) -> Program {
        self.program_with(&self.state_file(), &self.published())
    }

    /// A sidecar to be, with its state and what it publishes in other places.
    pub fn program_with(&self, state: &Path, published: &Path) -> Program {
        let mut program = hookkeeper();
        program.arg("sidecar").arg("--manifests").arg(self.manifests());
        program.arg("--state").arg(state).arg("--publish-dir").arg(published);
        program.args(["--admin-listen", "127.0.0.1:0", "--allow-destination", &self.sandbox.url()]);
        program
    }

    pub fn sidecar(&self) -> Process {
        self.program().spawn()
    }

    /// Waits for something that the sidecar brings about.
    pub async fn until(&self, sidecar: &Process, what: &str, holds: impl Fn(&Sandbox) -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !holds(&self.sandbox) {
            let ledger = self.sandbox.ledger();
            assert!(tokio::time::Instant::now() < end, "{what}: {ledger:#?}\n{}", sidecar.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn short_settling(&self) {
        short_settling(&self.manifests());
    }

    /// Has the source's tokens published in the folder for that, under `shared`.
    pub fn publish(&self) {
        publish(&self.manifests());
    }
}
