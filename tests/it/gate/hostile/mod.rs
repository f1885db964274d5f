//! Bad input at the public door: each refused with its reason, and nobody else harmed.

mod bodies;
mod credentials;
mod crowds;
mod heads;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::stage::{Gate, Stage};
use super::wire;

const RECEIVERS: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: unico}
spec:
  preset: idunico
  verification: {basic: {secretKeyRefs: [{name: hooks, key: login}]}}
  forward: {url: APPLICATION/unico}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: keyed}
spec:
  preset: idunico
  verification: {apiKey: {secretKeyRefs: [{name: hooks, key: api-key}]}}
  forward: {url: APPLICATION/keyed}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: pulpo}
spec:
  preset: pulpo
  verification: {token: {secretKeyRefs: [{name: hooks, key: token}]}}
  forward: {url: APPLICATION/pulpo}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: open}
spec:
  verification: {none: {}}
  forward: {url: APPLICATION/open}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: small}
spec:
  preset: pulpo
  maxBodyBytes: 1024
  verification: {token: {secretKeyRefs: [{name: hooks, key: token}]}}
  forward: {url: APPLICATION/small}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: near}
spec:
  preset: pulpo
  sourceRanges: [192.0.2.0/24]
  verification: {token: {secretKeyRefs: [{name: hooks, key: token}]}}
  forward: {url: APPLICATION/near}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: qualp}
spec:
  preset: qualp
  verification: {hmac: {secretKeyRefs: [{name: hooks, key: secret}]}}
  forward: {url: APPLICATION/qualp}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: orders, namespace: shop}
spec:
  preset: pulpo
  verification: {token: {secretKeyRefs: [{name: hooks, key: token}]}}
  forward: {url: APPLICATION/orders}
";

/// `user:canary-password`.
const BASIC: (&str, &str) = ("Authorization", "Basic dXNlcjpjYW5hcnktcGFzc3dvcmQ=");
const API_KEY: (&str, &str) = ("X-API-Key", "canary-api-key");
const TOKEN: (&str, &str) = ("X-Webhook-Token", "canary-webhook-token");
const SECRET: &str = "canary-signing-secret";
const BODY: &[u8] = br#"{"event":"canary-event"}"#;

async fn stage() -> Stage {
    let stage = Stage::with(RECEIVERS).await;
    stage.secret("hooks", "login", "user:canary-password\n");
    stage.secret("hooks", "api-key", "X-API-Key:canary-api-key");
    stage.secret("hooks", "token", TOKEN.1);
    stage.secret("hooks", "secret", SECRET);
    stage
}

fn start(stage: &Stage) -> Gate {
    stage.start(stage.program().arg("--allow-clear-bodies"))
}

/// An honest sender in another namespace: all that time its deliveries are taken.
struct Neighbour {
    leaves: Arc<AtomicBool>,
    sender: JoinHandle<Vec<Option<u16>>>,
}

impl Neighbour {
    fn of(gate: &Gate) -> Self {
        let leaves = Arc::new(AtomicBool::new(false));
        let (address, told) = (gate.address, Arc::clone(&leaves));
        let sender = std::thread::spawn(move || {
            let mut answers = Vec::new();
            // One at least begins when everybody else is at it.
            while !told.load(Ordering::Relaxed) || answers.is_empty() {
                answers.push(deliver(address, answers.len()));
                std::thread::sleep(Duration::from_millis(5));
            }
            answers.push(deliver(address, answers.len()));
            answers
        });
        Self { leaves, sender }
    }

    /// How many of its deliveries were taken, which must be all.
    fn leave(self) -> usize {
        self.leaves.store(true, Ordering::Relaxed);
        let answers = self.sender.join().unwrap();
        let others: Vec<_> = answers.iter().filter(|answer| **answer != Some(200)).collect();
        assert!(others.is_empty(), "of {} deliveries: {others:?}", answers.len());
        answers.len()
    }
}

fn deliver(address: SocketAddr, number: usize) -> Option<u16> {
    let body = format!(r#"{{"event":"made","payload":{{"id":"{number}"}}}}"#);
    wire::raw(address, &wire::post("/shop/orders", &[TOKEN], body.as_bytes())).map(|answer| answer.status)
}
