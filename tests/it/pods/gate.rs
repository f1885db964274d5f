//! The gate, installed with Helm: four platforms send to it, and every single delivery is accounted for while pods go
//! away and releases come and go. The loop is closed through the API server alone.

use std::fs;
use std::time::Duration;

use hookkeeper::sandbox::{
    Client, SandboxInfo, TRIAL_CLIENT_ID, TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN, WriteOptions,
    trial_platforms, write_manifests,
};
use serde_json::{Value, json};

use super::trial::{NAMESPACE, Trial};

/// Where the receivers are: the paths that the sandbox sends to begin with it.
const TEAM: &str = "default";
const URL: &str = "http://platforms.default.svc:8480";
const GATE: &str = "http://hookkeeper-gate.hookkeeper-system.svc";
/// So many deliveries show that the work goes on.
const SOME: u64 = 40;
const RECEIVERS: [&str; 4] = ["gupy", "idunico", "pulpo", "qualp"];

/// The chart's values for it. It ends sooner than by default, because the one node knows at once.
const VALUES: &str = "
publishing: {enabled: true, namespaces: [default]}
egress: {allow: ['http://platforms.default.svc:8480']}
gate:
  enabled: true
  namespaces: [default]
  publicUrl: https://hooks.example.com
  persistence: {size: 64Mi}
  dataKey: {secret: hookkeeper-data-key}
  egress: {allow: ['http://platforms.default.svc:8480']}
  extraArgs: [--drain=5s]
";

/// The platforms, and the application that the deliveries are for.
const PLATFORMS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: platforms, labels: {app: platforms}}
spec:
  selector: {matchLabels: {app: platforms}}
  template:
    metadata: {labels: {app: platforms}}
    spec:
      automountServiceAccountToken: false
      containers:
        - name: platforms
          image: IMAGE
          imagePullPolicy: Never
          args:
            - sandbox
            - --listen=0.0.0.0:8480
            - --token-life=40s
            - --delivery-interval=250ms
            - --gate=GATE
          readinessProbe: {httpGet: {path: /admin/summary, port: 8480}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: platforms, labels: {app: platforms}}
spec:
  selector: {app: platforms}
  ports: [{name: http, port: 8480}]
";

/// What the team applies: as `hookkeeper sandbox --write` has it, handed on to the Service.
fn manifests(trial: &Trial) -> String {
    let folder = tempfile::tempdir().unwrap();
    let info = SandboxInfo {
        url: URL.to_owned(),
        management_token: TRIAL_MANAGEMENT_TOKEN.into(),
        client: Client {
            id: TRIAL_CLIENT_ID.to_owned(),
            secret: TRIAL_CLIENT_SECRET.into(),
            token_life: Duration::from_secs(40),
            revokes_previous: false,
        },
        platforms: trial_platforms(),
    };
    let options = WriteOptions { subscriptions: 2, gate: Some(GATE.parse().unwrap()) };
    let written = write_manifests(&folder.path().join("trial"), &info, &options).unwrap();
    let mut text: String =
        written.files.iter().map(|file| fs::read_to_string(file).unwrap() + "\n---\n").collect();
    for name in RECEIVERS {
        let by_url = format!("url: {:?}", format!("{URL}/application/{name}"));
        assert!(text.contains(&by_url), "{text}");
        let by_service = format!("service: {{name: platforms, port: 8480, path: /application/{name}}}");
        text = text.replace(&by_url, &by_service);
    }
    trial.file("team.yaml", &text)
}

/// A gate that is installed, with what it works for.
struct Gate<'trial> {
    trial: &'trial Trial,
    values: String,
}

impl Gate<'_> {
    fn in_team(&self, arguments: &[&str]) -> String {
        self.trial.node.kubectl(&[&["--namespace", TEAM], arguments].concat())
    }

    fn helm(&self, settings: &[&str]) {
        self.trial.helm("upgrade", &[&["--values", &self.values], settings].concat());
    }

    /// What became of all deliveries.
    fn account(&self) -> Value {
        let path = format!("/api/v1/namespaces/{TEAM}/services/platforms:http/proxy/admin/account");
        serde_json::from_str(&self.trial.node.kubectl(&["get", "--raw", &path])).unwrap()
    }

    fn count(&self, what: &str) -> u64 {
        self.account()["summary"][what].as_u64().unwrap()
    }

    /// Waits until so many more have arrived, and nothing that was acknowledged is missing. Of a delivery that is
    /// repeated to the other pod, nobody knows that it was there before: each has a volume of its own.
    fn until_delivered(&self, what: &str) {
        let wanted = self.count("once") + SOME;
        self.trial.until(&format!("deliveries {what}: {:#}", self.account()), |_| {
            let account = self.account();
            let summary = &account["summary"];
            summary["once"].as_u64().unwrap() >= wanted
                && (&summary["lost"], &summary["broken_rules"]) == (&json!(0), &json!(0))
        });
    }

    /// Attempts that were not answered with success.
    fn failed(&self) -> (u64, u64) {
        (self.count("attempts_refused"), self.count("attempts_unanswered"))
    }

    /// Does something that no platform may notice.
    fn unnoticed(&self, what: &str, act: impl FnOnce()) {
        let before = self.failed();
        act();
        self.until_delivered(what);
        let account = self.account();
        assert_eq!(self.failed(), before, "{what}: {account:#}\n{}", self.trial.node.story());
    }

    fn rolled_out(&self) {
        self.trial.kubectl(&["rollout", "status", "statefulset/hookkeeper-gate", "--timeout=180s"]);
    }

    /// What a condition of a subscription says, and of which token.
    fn observed(&self) -> (String, String) {
        let path =
            "jsonpath={.status.conditions[?(@.type==\"TokenObserved\")].status} {.status.tokenFingerprint}";
        let said = self.in_team(&["get", "whs", "application-completed", "-o", path]);
        let (status, fingerprint) = said.split_once(' ').unwrap();
        (status.to_owned(), fingerprint.to_owned())
    }
}

pub fn loses_and_refuses_nothing_while_pods_and_releases_come_and_go(trial: &Trial) {
    for volume in ["gate-0", "gate-1"] {
        trial.node.offer_volume(volume);
    }
    let key = "--from-literal=data-key=00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";
    trial.kubectl(&["create", "secret", "generic", "hookkeeper-data-key", key]);
    let gate = Gate { trial, values: trial.file("gate.yaml", VALUES) };
    gate.helm(&[]);
    gate.rolled_out();
    let platforms = PLATFORMS.replace("IMAGE", &trial.node.image).replace("GATE", GATE);
    gate.in_team(&["apply", "-f", &trial.file("platforms.yaml", &platforms)]);
    gate.in_team(&["rollout", "status", "deployment/platforms", "--timeout=180s"]);
    gate.in_team(&["apply", "--server-side", "-f", &manifests(trial)]);
    gate.in_team(&["wait", "whr,whs", "--all", "--for=condition=Ready", "--timeout=180s"]);
    gate.until_delivered("at the start");

    // The loop: what a real delivery has carried is said of each token, one after the other.
    let mut seen = String::new();
    for round in ["first", "second", "third"] {
        trial.until(&format!("the {round} token is observed: {:?}", gate.observed()), |_| {
            let (status, fingerprint) = gate.observed();
            status == "True" && fingerprint != seen
        });
        seen = gate.observed().1;
    }
    // As people see it.
    let shown = gate.in_team(&["get", "whs,whr"]);
    assert!(shown.contains("https://hooks.example.com/default/gupy"), "{shown}");
    let listed = trial.kubectl(&["exec", "hookkeeper-gate-0", "--", "/hookkeeper", "deliveries", "list"]);
    assert!(!listed.contains("parked"), "{listed}");

    gate.unnoticed("while its pods are replaced", || {
        trial.kubectl(&["rollout", "restart", "statefulset/hookkeeper-gate"]);
        gate.rolled_out();
    });
    gate.unnoticed("after a pod was deleted", || {
        trial.kubectl(&["delete", "pod", "hookkeeper-gate-0", "--wait=false"]);
        gate.rolled_out();
    });
    gate.unnoticed("after an upgrade", || gate.helm(&["--set=log.level=debug"]));
    gate.unnoticed("after a rollback", || {
        trial.node.helm(&["rollback", "hookkeeper", "--namespace", NAMESPACE, "--wait", "--timeout=3m"]);
    });
    // A process that is killed says nothing; what it had acknowledged is on its volume.
    for pod in ["hookkeeper-gate-0", "hookkeeper-gate-1"] {
        trial.node.kill(NAMESPACE, pod);
        gate.rolled_out();
        gate.until_delivered(&format!("after {pod} was killed"));
    }
    let (status, _) = gate.observed();
    assert_ne!(status, "False", "{}", trial.node.story());
    gate.in_team(&["delete", "whs,whr,tsrc,whp", "--all", "--timeout=120s"]);
}
