//! The controller as a process of its own on a real API server, against the sandbox.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use hookkeeper::sandbox::{
    Client, Config, Sandbox, SandboxInfo, TRIAL_CLIENT_ID, TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN,
    WriteOptions, write_manifests,
};

use super::cluster::Cluster;
use super::hookkeeper;

/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// A namespace of the cluster with manifests that run against a sandbox.
struct Trial {
    sandbox: Sandbox,
    cluster: &'static Cluster,
    namespace: String,
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
        let cluster = tokio::task::block_in_place(Cluster::shared);
        let namespace = cluster.namespace("operator");
        let folder = tempfile::tempdir().unwrap();
        let info =
            SandboxInfo { url: sandbox.url(), management_token: TRIAL_MANAGEMENT_TOKEN.into(), client };
        write_manifests(&folder.path().join("manifests"), &info, &WriteOptions { subscriptions }).unwrap();
        Self { sandbox, cluster, namespace, folder }
    }

    fn manifests(&self) -> PathBuf {
        self.folder.path().join("manifests")
    }

    /// kubectl in this trial's namespace; panics when it fails.
    fn kubectl(&self, arguments: &[&str]) -> String {
        let namespace = ["-n", &self.namespace];
        let arguments: Vec<&str> = namespace.iter().chain(arguments).copied().collect();
        tokio::task::block_in_place(|| self.cluster.succeed(&arguments))
    }

    fn apply(&self) {
        let folder = self.manifests();
        self.kubectl(&["apply", "-f", folder.to_str().unwrap()]);
    }

    fn controller(&self, name: &str) -> Controller {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path(name)).unwrap();
        let child = hookkeeper()
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("HOSTNAME", name)
            .arg("controller")
            .args(["--namespace", &self.namespace, "--lease-namespace", &self.namespace])
            .args(["--lease-duration", "5s", "--admin-listen", "off", "--log-level", "trace,hyper=info,h2=info"])
            .args(["--allow-destination", &self.sandbox.url()])
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        Controller(child)
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Sandbox) -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !holds(&self.sandbox) {
            let ledger = self.sandbox.ledger();
            assert!(tokio::time::Instant::now() < end, "{what}: {ledger:#?}\n{}", self.log("one"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

struct Controller(Child);

impl Controller {
    /// `kill -9`.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM; returns the exit code.
    fn stop(mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.0.wait().unwrap().code()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_creates_rotates_shows_and_goes_on_where_it_was() {
    let trial = Trial::start(Duration::from_secs(12), 3).await;
    trial.apply();
    let controller = trial.controller("one");
    trial.until("a rotation of each", |sandbox| sandbox.ledger().rotations >= 3).await;
    trial.kubectl(&["wait", "--for=condition=Ready", "webhooksubscriptions", "--all", "--timeout=60s"]);
    let table = trial.kubectl(&["get", "whs"]);
    let mut columns = table.lines().next().unwrap().split_whitespace();
    assert_eq!(columns.by_ref().take(4).collect::<Vec<_>>(), ["NAME", "READY", "HEALTHY", "ACTION"], "{table}");
    assert_eq!(table.matches("True").count(), 6, "{table}");
    assert_eq!(controller.stop(), Some(0), "{}", trial.log("one"));
    let holder = trial.kubectl(&["get", "lease", "hookkeeper", "-o", "jsonpath={.spec.holderIdentity}"]);
    assert_eq!(holder, "", "the lease is released");
    let before = trial.sandbox.ledger();
    let _controller = trial.controller("one");
    trial
        .until("a rotation after the restart", |sandbox| sandbox.ledger().rotations >= before.rotations + 3)
        .await;
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.doubled, ledger.surplus_updates), (3, 0, 0), "{ledger:#?}");
    assert_eq!((ledger.late, ledger.deliveries_refused), (0, 0), "{ledger:#?}");
    let objects = trial.kubectl(&["get", "whs,whp,tsrc,events", "-o", "yaml"]);
    for secret in [TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN] {
        assert!(!trial.log("one").contains(secret), "a secret in the log at level trace");
        assert!(!objects.contains(secret), "a secret in an object");
    }
}

/// Of two, one acts; when it is killed, the other goes on, and nothing is created twice.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_one_acts_and_the_other_takes_over() {
    let trial = Trial::start(Duration::from_secs(40), 2).await;
    trial.apply();
    let first = trial.controller("one");
    trial.until("both created", |sandbox| sandbox.ledger().creates == 2).await;
    let _second = trial.controller("two");
    trial.until("a rotation", |sandbox| sandbox.ledger().rotations >= 2).await;
    first.kill();
    let before = trial.sandbox.ledger();
    trial.until("rotations by the other", |sandbox| sandbox.ledger().rotations >= before.rotations + 4).await;
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.doubled, ledger.late), (2, 0, 0), "{ledger:#?}\n{}", trial.log("two"));
}
