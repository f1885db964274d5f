//! The sidecar as a process of its own against the sandbox: it creates, rotates, survives being
//! killed, and ends well.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use hookkeeper::sandbox::{
    Client, Config, Fault, Sandbox, SandboxInfo, TRIAL_CLIENT_ID, TRIAL_CLIENT_SECRET,
    TRIAL_MANAGEMENT_TOKEN, Target, WriteOptions, write_manifests,
};

use super::{hookkeeper, in_repository};

/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Trial {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
}

impl Trial {
    async fn start(token_life: Duration, subscriptions: usize) -> Self {
        let client = Client {
            id: TRIAL_CLIENT_ID.to_owned(),
            secret: TRIAL_CLIENT_SECRET.into(),
            token_life,
            revokes_previous: false,
        };
        let sandbox = Sandbox::start(Config {
            listen: ([127, 0, 0, 1], 0).into(),
            clients: vec![client.clone()],
            delivery_interval: Some(Duration::from_millis(500)),
            ..Config::default()
        })
        .await
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let info =
            SandboxInfo { url: sandbox.url(), management_token: TRIAL_MANAGEMENT_TOKEN.into(), client };
        let options = WriteOptions { subscriptions };
        write_manifests(&folder.path().join("manifests"), &info, &options).unwrap();
        Self { sandbox, folder }
    }

    fn manifests(&self) -> PathBuf {
        self.folder.path().join("manifests")
    }

    fn published(&self) -> PathBuf {
        self.folder.path().join("published")
    }

    fn sidecar(&self) -> Sidecar {
        let log = self.folder.path().join("log");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let child = hookkeeper()
            .arg("sidecar")
            .arg("--manifests")
            .arg(self.manifests())
            .arg("--state")
            .arg(self.folder.path().join("state.json"))
            .arg("--publish-dir")
            .arg(self.published())
            .args(["--admin-listen", "off", "--log-level", "trace"])
            .args(["--allow-destination", &self.sandbox.url()])
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        Sidecar(child)
    }

    async fn until(&self, what: &str, holds: impl Fn(&Sandbox) -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !holds(&self.sandbox) {
            let ledger = self.sandbox.ledger();
            assert!(tokio::time::Instant::now() < end, "{what}: {ledger:#?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn state(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("state.json")).unwrap_or_default()
    }
}

pub(super) struct Sidecar(pub(super) Child);

impl Sidecar {
    /// `kill -9`.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM; returns the exit code.
    pub(super) fn stop(mut self) -> Option<i32> {
        let id = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_creates_rotates_ends_well_and_goes_on_where_it_was() {
    let trial = Trial::start(Duration::from_secs(6), 6).await;
    let sidecar = trial.sidecar();
    trial.until("two rotations of each", |sandbox| sandbox.ledger().rotations >= 12).await;
    assert_eq!(sidecar.stop(), Some(0), "{}", trial.log());
    let before = trial.sandbox.ledger();
    let sidecar = trial.sidecar();
    trial
        .until("a rotation after the restart", |sandbox| sandbox.ledger().rotations >= before.rotations + 6)
        .await;
    assert_eq!(sidecar.stop(), Some(0));
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.doubled, ledger.surplus_updates), (6, 0, 0), "{ledger:#?}");
    assert_eq!((ledger.late, ledger.deliveries_refused), (0, 0), "{ledger:#?}");
    assert_eq!(ledger.rotations + ledger.creates, ledger.mints * 6, "one call for each member and mint");
    for secret in [TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN] {
        assert!(!trial.log().contains(secret), "a secret in the log at level trace");
        assert!(!trial.state().contains(secret), "a secret in the state file");
    }
}

/// Tokens live far longer than a killed process is away, so whatever is late is the engine's fault.
#[tokio::test(flavor = "multi_thread")]
async fn it_survives_being_killed_at_any_moment() {
    let trial = Trial::start(Duration::from_secs(16), 4).await;
    short_settling(&trial.manifests());
    let slow = Fault { delay_ms: 30, ..Fault::at(Target::Create) };
    trial.sandbox.faults().add(slow).unwrap();
    // Moments that differ by some milliseconds: start, reading, listing, minting, creating, recording.
    for killed_after in (10..=250).step_by(20) {
        let sidecar = trial.sidecar();
        tokio::time::sleep(Duration::from_millis(killed_after)).await;
        sidecar.kill();
    }
    let sidecar = trial.sidecar();
    trial
        .until("everything created and rotated", |sandbox| {
            let ledger = sandbox.ledger();
            ledger.webhooks == 4 && ledger.rotations >= 8 && ledger.late_now == 0
        })
        .await;
    let before = trial.sandbox.ledger();
    assert_eq!((before.doubled, before.webhooks), (0, 4), "{before:#?}\n{}", trial.log());
    // Once all is in place, being killed and started again at any moment makes nothing late.
    sidecar.kill();
    for killed_after in (100..=1_900).step_by(300) {
        let sidecar = trial.sidecar();
        tokio::time::sleep(Duration::from_millis(killed_after)).await;
        sidecar.kill();
    }
    let _sidecar = trial.sidecar();
    trial.until("rotations after that", |sandbox| sandbox.ledger().rotations >= before.rotations + 4).await;
    let after = trial.sandbox.ledger();
    assert_eq!(
        (after.doubled, after.webhooks, after.late - before.late),
        (0, 4, 0),
        "{after:#?}\n{}",
        trial.log()
    );
}

/// A published token is left to its readers for a while before it is applied; one that was published
/// before a crash is applied after it, and no other is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_published_before_it_is_applied() {
    let trial = Trial::start(Duration::from_secs(24), 2).await;
    std::fs::create_dir(trial.published()).unwrap();
    let source = trial.manifests().join("20-token-source.yaml");
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, format!("{}\n  publishTo: {{secretName: shared}}\n", text.trim_end())).unwrap();
    let read =
        |key: &str| std::fs::read_to_string(trial.published().join("shared").join(key)).unwrap_or_default();
    let sidecar = trial.sidecar();
    trial.until("the first token", |_| !read("current").is_empty()).await;
    assert_eq!(trial.sandbox.ledger().creates, 0, "its readers come first");
    trial.until("both created", |sandbox| sandbox.ledger().creates == 2).await;
    let first = read("current");
    trial.until("the second token", |_| read("current") != first).await;
    assert_eq!(read("previous"), first);
    sidecar.kill();
    let before = trial.sandbox.ledger();
    assert_eq!((before.mints, before.rotations), (2, 0), "{before:#?}");
    let _sidecar = trial.sidecar();
    trial.until("both rotated", |sandbox| sandbox.ledger().rotations == 2).await;
    let after = trial.sandbox.ledger();
    assert_eq!((after.mints, after.late, after.deliveries_refused), (2, 0, 0), "{after:#?}");
    for token in [read("current"), read("previous")].iter().filter(|token| !token.is_empty()) {
        assert!(!trial.log().contains(token), "a token in the log at level trace");
        assert!(!trial.state().contains(token), "a token in the state file");
    }
}

/// The preset's create takes five minutes to settle; here it is the preset's create but for that.
fn short_settling(manifests: &Path) {
    let path = manifests.join("10-provider.yaml");
    let provider = std::fs::read_to_string(&path).unwrap();
    let operations = r#"
  operations:
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
    std::fs::write(path, provider.trim_end().to_owned() + operations).unwrap();
}

/// The README's blocks of YAML, with nothing changed but the addresses.
#[tokio::test(flavor = "multi_thread")]
async fn the_shortest_example_runs_as_it_stands() {
    let trial = Trial::start(Duration::from_secs(6), 1).await;
    let readme = std::fs::read_to_string(in_repository("README.md")).unwrap();
    let example = readme
        .split("```yaml\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .find(|block| block.contains("kind: WebhookProvider"))
        .unwrap();
    let url = trial.sandbox.url();
    let example = example
        .replace("preset: gupy", &format!("preset: gupy\n  baseUrl: {url}"))
        .replace("https://auth.example.com", &url);
    for name in ["10-provider.yaml", "20-token-source.yaml", "30-subscriptions.yaml"] {
        std::fs::remove_file(trial.manifests().join(name)).unwrap();
    }
    std::fs::write(trial.manifests().join("example.yaml"), example).unwrap();
    let _sidecar = trial.sidecar();
    trial.until("a create and two rotations", |sandbox| sandbox.ledger().rotations >= 2).await;
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.late, ledger.deliveries_refused), (1, 0, 0), "{ledger:#?}");
}
