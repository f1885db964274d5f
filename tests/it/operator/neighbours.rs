//! Two authors in one cluster: whatever the one's servers do, the other's webhooks have live tokens,
//! and neither is told of the other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::hostile::neighbours::{self, OTHER, at_many_hosts, of_long_texts, secrets};
use super::super::hostile::server::{Behaviour, Server};
use super::super::process::Process;
use super::rights;
use super::trial::Trial;

/// An honest author with two webhooks, and the namespace of somebody else.
struct Two {
    trial: Trial<'static>,
    other: String,
}

impl Two {
    async fn start() -> Self {
        let trial = Trial::start(Duration::from_secs(10), 2).await;
        let other = tokio::task::block_in_place(|| trial.cluster.namespace("other"));
        Self { trial, other }
    }

    /// A controller that looks after both.
    fn controller(&self) -> Process {
        let mut program = self.trial.program("one");
        tokio::task::block_in_place(|| rights::grant(self.trial.cluster, &self.trial.namespace, &self.other));
        program.args(["--namespace", &self.other, "--allow-destination", "http://127.0.0.0/8"]).spawn()
    }

    /// Applies what the other one has, which is written for another namespace.
    fn apply_of_other(&self, manifests: &str) {
        let text = manifests.replace(&format!("namespace: {OTHER}"), &format!("namespace: {}", self.other));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("other.yaml");
        std::fs::write(&file, text).unwrap();
        let apply = ["apply", "--server-side", "-f", file.to_str().unwrap()];
        tokio::task::block_in_place(|| self.trial.cluster.succeed(&apply));
    }

    /// What is in the statuses and events of a namespace.
    fn told(&self, namespace: &str) -> String {
        let get = ["get", "whs,whp,tsrc", "-n", namespace, "-o", "jsonpath={.items[*].status}"];
        let events = ["get", "events", "-n", namespace, "-o", "jsonpath={.items[*].message}"];
        let ask = |words: &[&str]| tokio::task::block_in_place(|| self.trial.cluster.succeed(words));
        ask(&get) + &ask(&events)
    }

    /// The honest author's webhooks get five more tokens each in time, and nobody is told of the other.
    async fn assert_unharmed(&self, controller: Process) {
        self.trial.until_rotated(&[&controller], 5).await;
        for (namespace, stranger) in
            [(&self.trial.namespace, &self.other), (&self.other, &self.trial.namespace)]
        {
            let told = self.told(namespace);
            assert!(!told.contains(stranger.as_str()), "{namespace} is told of {stranger}: {told}");
        }
        let told = self.told(&self.trial.namespace);
        assert!(!told.contains("Conflict") && !told.contains("RateLimited"), "{told}");
        assert_eq!(controller.stop(), Some(0));
        self.trial.assert_well();
    }
}

/// The most memory that a process has had at once, in MiB.
fn peak_memory(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_that_hang_make_nobody_late_in_another_namespace() {
    let two = Two::start().await;
    let server = Server::start(|asked| match asked.path.as_str() {
        "/token" => neighbours::token(),
        _ => Behaviour::Silent(Vec::new()),
    })
    .await;
    two.trial.apply();
    two.apply_of_other(&at_many_hosts(120, server.port()));
    let controller = two.controller();
    two.trial.until(&[&controller], "some hang", |_| server.connections() > 20).await;
    two.assert_unharmed(controller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_of_long_texts_cost_an_operator_little_memory() {
    let two = Two::start().await;
    let (server, pages) = of_long_texts().await;
    two.trial.apply();
    two.apply_of_other(&at_many_hosts(40, server.port()));
    let controller = two.controller();
    two.trial.until(&[&controller], "400 pages", |_| pages.load(Ordering::SeqCst) > 400).await;
    let peak = peak_memory(&controller);
    assert!(peak < 160, "{peak} MiB after {} pages of a mebibyte", pages.load(Ordering::SeqCst));
    two.assert_unharmed(controller).await;
}

/// Written down before the owner's objects are there, so that by age they are the other one's.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_written_down_in_another_namespace_first_is_kept_by_its_owner() {
    let two = Two::start().await;
    let tokens = Server::start(|_| neighbours::token()).await;
    let token_url = format!("http://127.0.0.1:{}/token", tokens.port());
    let id = two.trial.sandbox.add_webhook(&neighbours::made_by_hand()).unwrap();
    let squats = |name: &str| {
        let url = two.trial.sandbox.url();
        let known = format!("  webhookId: {id}\n");
        neighbours::provider(name, &url) + &neighbours::subscription(name, name, &token_url, &known)
    };
    two.apply_of_other(&(secrets() + &squats("squats") + &squats("squats-too")));
    let controller = two.controller();
    let path = two.trial.manifests().join("30-subscriptions.yaml");
    let subscriptions = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, subscriptions.replacen("spec:\n", &format!("spec:\n  webhookId: {id}\n"), 1))
        .unwrap();
    two.trial.apply();
    two.trial.until_says(&[&controller], "whs/application-completed", "Ready", "True ").await;
    two.assert_unharmed(controller).await;
}
