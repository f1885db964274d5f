//! Namespaces that are deleted with everything in them: Secrets, Roles, providers and subscriptions go
//! in an order that helps nobody. None of them hangs, and no webhook with a live token stays behind.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hookkeeper::sandbox::{Fault, Target};

use super::super::cluster::Cluster;
use super::super::process::Process;
use super::super::trial::describe_provider;
use super::rights;
use super::trial::Trial;

/// As many deletions as must not fail once.
const NAMESPACES: usize = 20;
const SUBSCRIPTIONS: usize = 2;

/// Namespaces that are to be deleted, each with a provider, its Secret and subscriptions that delete.
struct Doomed<'cluster> {
    trial: Trial<'cluster>,
    namespaces: Vec<String>,
}

impl<'cluster> Doomed<'cluster> {
    async fn start(cluster: &'cluster Cluster) -> Self {
        let change = |config: &mut hookkeeper::sandbox::Config| {
            config.requests_per_minute = None;
            config.delivery_interval = None;
        };
        let trial = Trial::start_in(cluster, Duration::from_secs(3_600), 1, change).await;
        describe_provider(&trial.manifests(), "  limits: {requestsPerMinute: 60000, maxConcurrent: 16}\n");
        let namespaces: Vec<String> = (0..NAMESPACES).map(|number| format!("doomed-{number}")).collect();
        let objects = namespaces
            .iter()
            .map(|name| format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}\n---\n"));
        trial.apply_text(&objects.collect::<String>());
        Self { trial, namespaces }
    }

    fn all(&self) -> Vec<&str> {
        self.namespaces.iter().map(String::as_str).collect()
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        tokio::task::block_in_place(|| self.trial.cluster.succeed(arguments))
    }

    /// Fills the namespaces and waits until there is a webhook for each subscription.
    async fn fill(&self, controller: &Process) {
        let folder = self.trial.manifests();
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let shared =
            ["00-secrets.yaml", "10-provider.yaml", "20-token-source.yaml"].map(read).join("\n---\n");
        let filled = tempfile::tempdir().unwrap();
        for namespace in &self.namespaces {
            let mut text = shared.clone() + "\n---\n";
            for number in 0..SUBSCRIPTIONS {
                // Of one action and URL there can be no more than one webhook at a provider.
                let action = format!("{namespace}.{number}");
                text += &Trial::subscription(&format!("s{number}"), &action, &["deletionPolicy: Delete"]);
            }
            let text =
                text.replace("metadata: {name: ", &format!("metadata: {{namespace: {namespace}, name: "));
            let text = text.replace("metadata:\n", &format!("metadata:\n  namespace: {namespace}\n"));
            fs::write(filled.path().join(format!("{namespace}.yaml")), text).unwrap();
        }
        self.succeed(&["apply", "-f", filled.path().to_str().unwrap()]);
        let count = NAMESPACES * SUBSCRIPTIONS;
        self.trial
            .until(&[controller], "a webhook for each", |trial| trial.sandbox.webhooks().len() == count)
            .await;
        self.succeed(&["wait", "--for=condition=Ready", "whs", "--all", "-A", "--timeout=150s"]);
        let path = "jsonpath={range .items[*]}{.metadata.finalizers}{\"\\n\"}{end}";
        let providers = self.succeed(&["get", "whp", "-A", "-o", path]);
        assert_eq!(providers.matches("hookkeeper.dev/").count(), NAMESPACES, "each is held: {providers}");
    }

    /// Deletes these and waits until they are gone.
    async fn delete(&self, controller: &Process, namespaces: &[&str]) {
        // One may have been asked for before, and be gone by now.
        let delete = ["delete", "namespace", "--wait=false", "--ignore-not-found"];
        self.succeed(&[&delete, namespaces].concat());
        let are_gone = |trial: &Trial<'_>| {
            let left = tokio::task::block_in_place(|| {
                trial.cluster.succeed(&["get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}"])
            });
            !left.split_whitespace().any(|left| namespaces.contains(&left))
        };
        self.trial.until(&[controller], "gone", are_gone).await;
    }

    fn assert_nothing_stayed(&self, controller: &Process) {
        assert_eq!(self.trial.sandbox.webhooks().len(), 0, "{}", controller.log());
        let log = controller.log();
        assert!(!log.contains("stays at the provider"), "{log}");
        assert_eq!(self.trial.sandbox.ledger().doubled, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_end_at_once_and_no_webhook_stays_behind_with_rights_in_the_whole_cluster() {
    let cluster = tokio::task::block_in_place(|| {
        let cluster = Cluster::start(&[]).with_controller_manager();
        cluster.install_definitions();
        cluster
    });
    let doomed = Doomed::start(&cluster).await;
    let account = tokio::task::block_in_place(|| rights::in_the_whole_cluster(&cluster));
    let controller = doomed.trial.program_as(&account, "one", "20s").spawn();
    doomed.fill(&controller).await;
    assert_eq!(controller.stop(), Some(0));

    // Another process, which calls nobody before the Secrets are gone.
    let mut program = doomed.trial.program_as(&account, "two", "20s");
    let controller = program.args(["--log-level", "info,hookkeeper::engine=debug"]).spawn();
    let keeps_all = |_: &Trial<'_>| {
        controller.log().matches("its credential is kept for deletions").count() == NAMESPACES
    };
    doomed.trial.until(&[&controller], "each credential kept", keeps_all).await;
    let calls = doomed.trial.sandbox.ledger().provider_calls;
    for namespace in doomed.all() {
        doomed.succeed(&["delete", "secrets", "--all", "-n", namespace]);
    }
    assert_eq!(doomed.trial.sandbox.ledger().provider_calls, calls);
    doomed.delete(&controller, &doomed.all()).await;
    doomed.assert_nothing_stayed(&controller);
    assert_eq!(controller.stop(), Some(0));
}

/// There the Role goes with the rest, and with it every right but one.
#[tokio::test(flavor = "multi_thread")]
async fn many_end_at_once_and_no_webhook_stays_behind_with_rights_in_each_namespace() {
    let cluster = tokio::task::block_in_place(|| {
        let cluster = Cluster::start(&[]).with_controller_manager();
        cluster.install_definitions();
        cluster
    });
    let doomed = Doomed::start(&cluster).await;
    let account = rights_in_each(&doomed);
    let mut program = doomed.trial.program_as(&account, "one", "20s");
    program.args(["--lease-namespace", &doomed.trial.namespace]);
    for namespace in &doomed.namespaces {
        program.args(["--namespace", namespace]);
    }
    let controller = program.spawn();
    doomed.fill(&controller).await;

    // Of one, the webhook cannot be deleted before its Role is gone and the watches have noticed that.
    let (stuck, others) = (doomed.namespaces[0].as_str(), &doomed.all()[1..]);
    let id = doomed.succeed(&["get", "whs", "s0", "-n", stuck, "-o", "jsonpath={.status.webhookId}"]);
    let fault = Fault { webhook: Some(id), ..Fault::status(Target::Delete, 503) };
    doomed.trial.sandbox.faults().add(fault).unwrap();
    doomed.succeed(&["delete", "namespace", stuck, "--wait=false"]);
    doomed.delete(&controller, others).await;
    let roles = || doomed.succeed(&["get", "roles", "-n", stuck, "-o", "name"]);
    doomed.trial.until(&[&controller], "without a Role", |_| roles().is_empty()).await;
    tokio::task::block_in_place(|| {
        cluster.stop();
        cluster.restart();
    });
    let lost = format!("\"{stuck}\"");
    let noticed = |_: &Trial<'_>| {
        let log = controller.log();
        log.lines().any(|line| line.contains("lacks a permission") && line.contains(&lost))
    };
    doomed.trial.until(&[&controller], "a lost right", noticed).await;
    assert_eq!(doomed.trial.sandbox.webhooks().len(), 1);
    doomed.trial.sandbox.faults().clear();
    // An API server that has just been started does not know all kinds yet, and then the controller of
    // namespaces may let this one go first.
    doomed.delete(&controller, &[stuck]).await;
    doomed
        .trial
        .until(&[&controller], "without a webhook", |trial| trial.sandbox.webhooks().is_empty())
        .await;
    doomed.assert_nothing_stayed(&controller);
    assert_eq!(controller.stop(), Some(0));
}

fn rights_in_each(doomed: &Doomed<'_>) -> PathBuf {
    let (cluster, release) = (doomed.trial.cluster, doomed.trial.namespace.as_str());
    tokio::task::block_in_place(|| {
        rights::grant_each(cluster, release, &doomed.all());
        cluster.kubeconfig_for_service_account(release, "hookkeeper")
    })
}
