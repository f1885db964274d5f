//! The whole circle with real processes: four platforms send, a sidecar with a gate rotates their tokens,
//! takes their deliveries in and hands them on, and the ledger of the sandbox accounts for each of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hookkeeper::gate::admin::Page;
use hookkeeper::sandbox::{
    Client, Config, Parked, Platform, Sandbox, SandboxInfo, SenderChange, SenderConfig, Summary,
    TRIAL_CLIENT_ID, TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN, WriteOptions, trial_platforms,
    write_manifests,
};
use url::Url;

use crate::process::{PATIENCE, Process, Program, hookkeeper};

/// How many rotations are seen, and how often the process is killed; more by hand, with
/// `HOOKKEEPER_TEST_ROTATIONS=1000` and `HOOKKEEPER_TEST_KILLS=100`.
fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// A sandbox that sends as four platforms do, and the folder of a sidecar with a gate.
struct Circle {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
    platforms: Vec<(String, Platform)>,
}

impl Circle {
    async fn start(token_life: Duration, subscriptions: usize) -> Self {
        let folder =
            tempfile::Builder::new().prefix("circle").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let client = Client {
            id: TRIAL_CLIENT_ID.to_owned(),
            secret: TRIAL_CLIENT_SECRET.into(),
            token_life,
            revokes_previous: false,
        };
        let platforms = trial_platforms();
        let senders = platforms.iter().map(|(_, platform)| SenderConfig::of(platform.clone())).collect();
        let sandbox = Sandbox::start(Config {
            clients: vec![client.clone()],
            delivery_interval: Some(Duration::from_millis(200)),
            requests_per_minute: None,
            senders,
            ..Config::default()
        })
        .await
        .unwrap();
        let url = sandbox.url();
        let info = SandboxInfo {
            url: url.clone(),
            management_token: TRIAL_MANAGEMENT_TOKEN.into(),
            client,
            platforms: platforms.clone(),
        };
        let options = WriteOptions { subscriptions, gate: Some(Url::parse(&url).unwrap()) };
        write_manifests(&folder.path().join("manifests"), &info, &options).unwrap();
        Self { sandbox, folder, platforms }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, listen: &str) -> Program {
        let mut program = hookkeeper();
        program.arg("sidecar").arg("--manifests").arg(self.path("manifests"));
        program.arg("--state").arg(self.path("state.json"));
        program.arg("--publish-dir").arg(self.path("published"));
        program.arg("--data").arg(self.path("data"));
        program.args(["--gate-listen", listen, "--drain", "0s", "--log-level", "info"]);
        program.args(["--allow-clear-bodies", "--admin-listen", "127.0.0.1:0"]);
        program.args(["--allow-destination", &self.sandbox.url()]);
        program
    }

    /// Starts the sidecar and waits until its gate takes deliveries in.
    fn sidecar(&self, listen: &str) -> (Process, SocketAddr) {
        let mut process = self.program(listen).spawn();
        process.until_says("the gate takes deliveries in");
        let log = process.log();
        let line = log.lines().find(|line| line.contains("the gate takes deliveries in")).unwrap();
        let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
        (process, address.parse().unwrap())
    }

    /// Every platform sends so many events a second.
    fn send(&self, gate: SocketAddr, per_second: f64) {
        let target = |name: &str| Some(Url::parse(&format!("http://{gate}/default/{name}")).unwrap());
        let change = SenderChange { target: target("gupy"), ..SenderChange::default() };
        self.sandbox.change_sender("gupy", change).unwrap();
        for (name, _) in &self.platforms {
            let change = SenderChange {
                target: target(name),
                per_second: Some(per_second),
                ..SenderChange::default()
            };
            self.sandbox.change_sender(name, change).unwrap();
        }
    }

    fn send_no_more(&self) {
        for sender in self.sandbox.senders() {
            let change = SenderChange { per_second: Some(0.0), ..SenderChange::default() };
            self.sandbox.change_sender(&sender.name, change).unwrap();
        }
        let change = SenderChange { per_second: Some(0.0), ..SenderChange::default() };
        self.sandbox.change_sender("gupy", change).unwrap();
    }

    /// Waits until nothing is under way any more, and accounts for all that was sent.
    async fn account(&self, sidecar: &Process) -> Summary {
        let begun = Instant::now();
        loop {
            let page = sidecar.get("/deliveries").unwrap();
            let page: Page = serde_json::from_str(page.split_once("\r\n\r\n").unwrap().1).unwrap();
            let ids: Vec<String> = page.deliveries.iter().map(|shown| shown.id.clone()).collect();
            let summary = self.sandbox.account(&[]);
            // Nothing waits at the gate and nothing on its way there.
            if ids.is_empty() && summary.lost == 0 {
                return self.sandbox.account(&Vec::<Parked<'_>>::new());
            }
            assert!(begun.elapsed() < PATIENCE, "{summary:#?}\n{page:#?}\n{}", sidecar.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn assert_accounted(summary: &Summary) {
    assert!(summary.acknowledged > 0 && summary.once > 0, "{summary:#?}");
    assert_eq!(
        (summary.lost, summary.unexplained_doubles, summary.parked, summary.unknown, summary.broken_rules),
        (0, 0, 0, 0, 0),
        "{summary:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_under_load_refuse_no_delivery() {
    let wanted = from_environment("HOOKKEEPER_TEST_ROTATIONS", 60);
    let circle = Circle::start(Duration::from_secs(8), 20).await;
    let (sidecar, gate) = circle.sidecar("127.0.0.1:0");
    circle.send(gate, 10.0);
    let begun = Instant::now();
    while circle.sandbox.ledger().rotations < wanted {
        let patience = PATIENCE + Duration::from_secs(wanted);
        assert!(begun.elapsed() < patience, "{:#?}\n{}", circle.sandbox.ledger(), sidecar.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The loop is closed: subscriptions say that their token has been seen.
    let state = || std::fs::read_to_string(circle.path("state.json")).unwrap();
    while !state().contains("DeliverySeen") {
        assert!(begun.elapsed() < PATIENCE * 2, "{}\n{}", state(), sidecar.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    circle.send_no_more();
    let summary = circle.account(&sidecar).await;
    assert_accounted(&summary);
    let ledger = circle.sandbox.ledger();
    assert_eq!(
        (summary.attempts_refused, ledger.deliveries_refused, ledger.late),
        (0, 0, 0),
        "{summary:#?}\n{ledger:#?}\n{}",
        sidecar.log()
    );
    assert_eq!(sidecar.stop(), Some(0));
}

/// What was acknowledged survives; what comes twice carries the same id or is marked.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_again_and_again_loses_nothing() {
    let kills = from_environment("HOOKKEEPER_TEST_KILLS", 8);
    let circle = Circle::start(Duration::from_secs(60), 2).await;
    let (mut sidecar, gate) = circle.sidecar("127.0.0.1:0");
    let listen = gate.to_string();
    circle.send(gate, 50.0);
    for round in 0..kills {
        // Moments that differ: while it starts, stores, hands on, records.
        tokio::time::sleep(Duration::from_millis(150 + round * 37 % 400)).await;
        sidecar.kill();
        (sidecar, _) = circle.sidecar(&listen);
    }
    circle.send_no_more();
    let summary = circle.account(&sidecar).await;
    assert_accounted(&summary);
    assert_eq!(sidecar.stop(), Some(0));
}

/// Nothing is published, so nothing waits for readers of files: in memory the gate has a token before Gupy.
#[tokio::test(flavor = "multi_thread")]
async fn one_process_needs_no_published_token() {
    let circle = Circle::start(Duration::from_secs(3_600), 1).await;
    let manifests = circle.path("manifests");
    for entry in std::fs::read_dir(&manifests).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("  publishTo: {secretName: integration-token}\n", "")).unwrap();
    }
    let (sidecar, gate) = circle.sidecar("127.0.0.1:0");
    circle.send(gate, 10.0);
    let state = || std::fs::read_to_string(circle.path("state.json")).unwrap();
    let begun = Instant::now();
    while !state().contains("DeliverySeen") {
        assert!(begun.elapsed() < PATIENCE, "{}\n{}", state(), sidecar.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    circle.send_no_more();
    let summary = circle.account(&sidecar).await;
    assert_accounted(&summary);
    assert_eq!(summary.attempts_refused, 0, "{summary:#?}\n{}", sidecar.log());
    assert!(!circle.path("published").join("integration-token").exists());
    assert_eq!(sidecar.stop(), Some(0));
}
