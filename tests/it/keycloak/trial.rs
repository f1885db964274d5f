//! A sidecar between Keycloak, the sandbox as the provider, and the receiver.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use chrono::Utc;
use hookkeeper::api::{Condition, ConditionStatus, ConditionType, Reason, SubscriptionStatus};
use hookkeeper::sandbox::{Config, Event, Operation, Sandbox, TRIAL_MANAGEMENT_TOKEN};
use serde_json::Value;
use tokio::time::Instant;

use super::super::hookkeeper;
use super::super::process::Process;
use super::receiver::Receiver;
use super::server::Keycloak;
use super::{LARGE_CLAIM, PER_SOURCE, SECRET, SOURCES, UNTOUCHED, action, comes_from, manifests, provider};

/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a subscription whose source fails must say.
pub(super) struct Expected {
    pub(super) reason: Reason,
    pub(super) said: [&'static str; 2],
}

impl Expected {
    fn fails(&self, status: &SubscriptionStatus) -> bool {
        condition(status, ConditionType::RotationHealthy).is_some_and(|healthy| {
            healthy.status == ConditionStatus::False
                && healthy.reason == self.reason
                && self.is_said_in(healthy)
        })
    }

    fn is_said_in(&self, condition: &Condition) -> bool {
        self.said.iter().all(|said| condition.message.contains(said))
    }
}

pub(super) struct Trial {
    pub(super) sandbox: Sandbox,
    receiver: Receiver,
    folder: tempfile::TempDir,
}

impl Trial {
    pub(super) async fn start(keycloak: &Keycloak) -> Self {
        let receiver = Receiver::start(&keycloak.token_url()).await;
        let sandbox = Sandbox::start(Config {
            // It issues no tokens here, and judges none that it has not issued.
            clients: Vec::new(),
            delivery_interval: Some(Duration::from_millis(500)),
            deliver_to: Some(receiver.url.clone()),
            ..Config::default()
        })
        .await
        .unwrap();
        let trial = Self { sandbox, receiver, folder: tempfile::tempdir().unwrap() };
        for folder in ["manifests", "secrets"] {
            fs::create_dir(trial.path(folder)).unwrap();
        }
        fs::write(trial.path("manifests/provider.yaml"), provider(&trial.sandbox.url())).unwrap();
        fs::write(trial.path("secrets/gupy-api.token"), TRIAL_MANAGEMENT_TOKEN).unwrap();
        for source in SOURCES {
            trial.write_secret(source, SECRET);
            let path = trial.path(&format!("manifests/{source}.yaml"));
            fs::write(path, manifests(source, &keycloak.token_url())).unwrap();
        }
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces the file as a mounted Secret is replaced: nobody reads half of it.
    pub(super) fn write_secret(&self, source: &str, secret: &str) {
        let path = self.path(&format!("secrets/{source}.secret"));
        fs::write(self.path("new"), secret).unwrap();
        fs::rename(self.path("new"), path).unwrap();
    }

    pub(super) fn sidecar(&self, keycloak: &Keycloak) -> Process {
        hookkeeper()
            .arg("sidecar")
            .arg("--manifests")
            .arg(self.path("manifests"))
            .arg("--secrets-dir")
            .arg(self.path("secrets"))
            .arg("--state")
            .arg(self.path("state.json"))
            .args(["--admin-listen", "127.0.0.1:0"])
            .args(["--allow-destination", &self.sandbox.url()])
            .args(["--allow-destination", &keycloak.url()])
            .spawn()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What is recorded of the first subscription of a source.
    fn status(&self, source: &str) -> SubscriptionStatus {
        let state: Value = serde_json::from_str(&self.read("state.json")).unwrap_or_default();
        let name = format!("default/{source}-0");
        let status = state["objects"]["WebhookSubscription"][&name]["status"].clone();
        serde_json::from_value(status).unwrap_or_default()
    }

    async fn until_status(&self, source: &str, what: &str, holds: impl Fn(&SubscriptionStatus) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(&self.status(source)) {
            assert!(Instant::now() < end, "{source} is not {what}: {:#?}", self.status(source));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A living token is in place and in the deliveries.
    pub(super) async fn until_well(&self, source: &str) {
        self.until_status(source, "well", |status| {
            [ConditionType::Ready, ConditionType::RotationHealthy]
                .map(|kind| condition(status, kind).map(|condition| condition.status))
                == [Some(ConditionStatus::True); 2]
        })
        .await;
        let before = self.receiver.deliveries().len();
        let end = Instant::now() + PATIENCE;
        while !self.receiver.deliveries()[before..]
            .iter()
            .any(|delivery| comes_from(&delivery.action, source) && delivery.alive == Some(true))
        {
            assert!(Instant::now() < end, "no delivery of {source} with a living token");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// It cannot be rotated and says so while its token lives, and when that has ended.
    pub(super) async fn until_failing_and_expired(&self, source: &str, expected: &Expected) {
        self.until_status(source, "failing", |status| {
            let ready = condition(status, ConditionType::Ready);
            expected.fails(status) && ready.is_some_and(|ready| ready.status == ConditionStatus::True)
        })
        .await;
        self.until_status(source, "expired", |status| {
            let expired = condition(status, ConditionType::Ready)
                .filter(|ready| ready.reason == Reason::TokenExpired && expected.is_said_in(ready));
            assert!(
                expired.is_none() || status.token_expiration_time.unwrap() <= Utc::now(),
                "called expired while it lives: {status:#?}"
            );
            expired.is_some() && expected.fails(status)
        })
        .await;
    }

    /// Each subscription of the source has delivered so many tokens after its first.
    pub(super) async fn until_rotated(&self, source: &str, times: usize) {
        let end = Instant::now() + PATIENCE;
        for number in 0..PER_SOURCE {
            let action = action(source, number);
            while self.tokens(|delivered| delivered == action).len() <= times {
                assert!(Instant::now() < end, "{action} is not rotated");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Every token that Keycloak issued was brought to every subscription, once. A surplus mint or
    /// call would be there forever.
    pub(super) async fn until_each_mint_is_applied_once(&self, source: &str, keycloak: &Keycloak) {
        let end = Instant::now() + PATIENCE;
        loop {
            let mints = keycloak.mints(source).await;
            let applied = self.applied(source);
            if applied == mints * PER_SOURCE {
                return;
            }
            assert!(Instant::now() < end, "{source}: {mints} tokens, {applied} times applied");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// How many creates and updates brought a document to the provider.
    fn applied(&self, source: &str) -> usize {
        self.sandbox
            .entries(0)
            .into_iter()
            .filter(|entry| match &entry.event {
                Event::ProviderCall(call) => {
                    call.effect
                        && matches!(call.operation, Operation::Create | Operation::Update)
                        && call.action.as_deref().is_some_and(|action| comes_from(action, source))
                }
                _ => false,
            })
            .count()
    }

    pub(super) fn assert_no_delivery_was_late(&self) {
        for source in UNTOUCHED {
            let deliveries = self.receiver.deliveries();
            let verdicts: Vec<Option<bool>> = deliveries
                .iter()
                .filter(|delivery| comes_from(&delivery.action, source))
                .map(|delivery| delivery.alive)
                .collect();
            assert!(verdicts.iter().all(|alive| *alive == Some(true)), "{source}: {verdicts:?}");
            let tokens = self.tokens(|action| comes_from(action, source));
            let least = if source == "post" { LARGE_CLAIM } else { 1024 };
            assert!(tokens.iter().all(|token| token.len() > least), "{source} has small tokens");
        }
    }

    fn tokens(&self, of: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let deliveries = self.receiver.deliveries().into_iter();
        deliveries.filter(|delivery| of(&delivery.action)).map(|delivery| delivery.token).collect()
    }

    /// The secrets it was given are looked for in all it shows; this looks for those it was sent.
    pub(super) fn assert_no_token_leaked(&self, sidecar: &Process) {
        let tokens = self.tokens(|_| true);
        for (what, text) in [("the log", sidecar.log()), ("the state file", self.read("state.json"))] {
            assert!(!text.is_empty(), "{what} is empty");
            assert!(!tokens.iter().any(|token| text.contains(token)), "a token in {what}");
        }
    }
}

fn condition(status: &SubscriptionStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind)
}
