//! Two authors in one process: whatever the one's servers do, the other's tokens are renewed in time,
//! and neither is told of the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::server::{Asked, Behaviour, Server, answer, json};
use super::stage::{HEALTHY, Sidecar, Stage};

/// The namespace of who behaves badly; the healthy ones are in `default`.
pub const OTHER: &str = "another";

/// A credential that opens nothing.
pub fn secrets() -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: own, namespace: {OTHER}}}
stringData: {{token: credential-of-{OTHER}}}
"
    )
}

pub fn provider(name: &str, url: &str) -> String {
    format!(
        "---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {{name: {name}, namespace: {OTHER}}}
spec:
  preset: gupy
  baseUrl: {url}
  auth: {{bearer: {{secretKeyRef: {{name: own, key: token}}}}}}
  limits: {{requestsPerMinute: 900, maxConcurrent: 8, timeout: 60s}}
"
    )
}

/// A subscription with a source of its own, and what else its spec says.
pub fn subscription(name: &str, provider: &str, token_url: &str, more: &str) -> String {
    format!(
        "---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: {name}, namespace: {OTHER}}}
spec:
  providerRef: {{name: {provider}}}
  action: {name}
  postbackUrl: https://integrations.example.com/{name}
  clientHeaders: [{{name: token, valueFrom: {{token: {{}}}}}}]
  tokenSource:
    oauth2:
      tokenUrl: {token_url}
      clientId: {{value: {name}}}
      clientSecret: {{secretKeyRef: {{name: own, key: token}}}}
      timeout: 60s
{more}"
    )
}

pub fn token() -> Behaviour {
    json(r#"{"access_token":"token-of-other","expires_in":3600}"#)
}

/// The healthy ones' platform, with room for the other author below a path.
async fn shared_platform(
    stage: &Stage,
    other: impl Fn(&Asked) -> Behaviour + Send + Sync + 'static,
) -> Server {
    let address = stage.sandbox.url();
    let sandbox: SocketAddr = address.trim_start_matches("http://").parse().unwrap();
    let server = Server::start(move |asked| match asked.path.strip_prefix("/other") {
        Some("/token") => token(),
        Some(_) => other(asked),
        None => Behaviour::Forward(sandbox),
    })
    .await;
    stage.reach_through(&server);
    server
}

/// The healthy ones are created, rotated so often, and never late; and nobody is told of the other.
async fn assert_unharmed(stage: &Stage, sidecar: &mut Sidecar, rotations: u64) {
    let before = stage.ledger().rotations;
    stage.until_rotated(before / HEALTHY + rotations).await;
    stage.assert_healthy_undisturbed();
    assert_eq!(stage.ledger().creates, HEALTHY);
    sidecar.assert_runs();
    for kind in ["WebhookSubscription", "WebhookProvider", "TokenSource"] {
        let Value::Object(statuses) = stage.statuses(kind) else {
            continue;
        };
        for (key, status) in statuses {
            let stranger = if key.starts_with(OTHER) { "default/" } else { "another/" };
            let told = status["status"].to_string();
            assert!(!told.contains(stranger), "{kind} {key} is told of {stranger}: {told}");
            let unhealthy = key.starts_with("default/")
                && ["RateLimited", "Conflict", "Unavailable"].iter().any(|reason| told.contains(reason));
            assert!(!unhealthy, "{kind} {key}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_token_endpoints_that_hang_make_no_neighbour_late() {
    let stage = Stage::start().await;
    let server = Server::start(|asked| match asked.path.as_str() {
        "/token" => Behaviour::Silent(Vec::new()),
        _ => json(r#"{"results":[],"totalPages":1}"#),
    })
    .await;
    let url = format!("http://127.0.0.1:{}", server.port());
    let names: Vec<String> = (0..200).map(|number| format!("hangs-{number}")).collect();
    let all = names.iter().map(|name| subscription(name, "other", &format!("{url}/token"), ""));
    stage.write("00-other.yaml", secrets() + &provider("other", &url) + &all.collect::<String>());
    let mut sidecar = stage.sidecar(&[&url], |_| {});
    stage.until("some hang", |_| server.connections() > 3).await;
    assert_unharmed(&stage, &mut sidecar, 4).await;
}

/// Each at an origin of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_and_twenty_platforms_that_hang_make_no_neighbour_late() {
    let stage = Stage::start().await;
    let server = Server::start(|asked| match asked.path.as_str() {
        "/token" => token(),
        _ => Behaviour::Silent(Vec::new()),
    })
    .await;
    stage.write("00-other.yaml", at_many_hosts(120, server.port()));
    let mut sidecar = stage.sidecar(&["http://127.0.0.0/8"], |_| {});
    stage.until("some hang", |_| server.connections() > 20).await;
    assert_unharmed(&stage, &mut sidecar, 4).await;
}

/// One credential's limit at a platform that both use.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_is_asked_of_one_credential_makes_no_neighbour_late() {
    let stage = Stage::start().await;
    let server = shared_platform(&stage, |_| answer("429 Too Many Requests\r\nRetry-After: 3600", "")).await;
    let url = format!("http://127.0.0.1:{}/other", server.port());
    let mut text = secrets() + &provider("other", &url);
    for number in 0..5 {
        let name = format!("busy-{number}");
        text.push_str(&subscription(&name, "other", &format!("{url}/token"), "  webhookId: known\n"));
    }
    stage.write("00-other.yaml", text);
    let mut sidecar = stage.sidecar(&[&url[..url.len() - 6]], |_| {});
    stage.until("the other one is told", |stage| stage.state_text().contains("RateLimited")).await;
    assert_unharmed(&stage, &mut sidecar, 4).await;
}

/// Of 900 pages, read twice, at a platform that both use.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_hundreds_of_pages_makes_no_neighbour_late() {
    let stage = Stage::start().await;
    let pages = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&pages);
    let server = shared_platform(&stage, move |_| {
        let page = counted.fetch_add(1, Ordering::SeqCst);
        json(format!(r#"{{"results":[{{"id":"listed-{}"}}],"totalPages":900}}"#, page % 900))
    })
    .await;
    let url = format!("http://127.0.0.1:{}/other", server.port());
    let listed = subscription("listed", "other", &format!("{url}/token"), "");
    stage.write("00-other.yaml", secrets() + &provider("other", &url) + &listed);
    let mut sidecar = stage.sidecar(&[&url[..url.len() - 6]], |_| {});
    stage.until("the listing is being read", |_| pages.load(Ordering::SeqCst) > 10).await;
    assert_unharmed(&stage, &mut sidecar, 4).await;
    let read = pages.load(Ordering::SeqCst);
    assert!(read > 50, "it is read all the same: {read} pages");
}

/// A token server, and platforms whose listings have a thousand pages of a mebibyte; how many pages
/// have been asked for.
pub async fn of_long_texts() -> (Server, Arc<AtomicUsize>) {
    let pages = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&pages);
    let text = "x".repeat(100_000);
    let server = Server::start(move |asked| {
        if asked.path == "/token" {
            return token();
        }
        let page = counted.fetch_add(1, Ordering::SeqCst);
        let entries = (0..5).map(|entry| {
            format!(
                r#"{{"id":"{page}-{entry}","action":"{text}","postbackUrl":"https://{entry}.example.com/{text}"}}"#
            )
        });
        let entries: Vec<String> = entries.collect();
        json(format!(r#"{{"results":[{}],"totalPages":1000}}"#, entries.join(",")))
    })
    .await;
    (server, pages)
}

/// Providers with a subscription each, every one at an origin of its own.
pub fn at_many_hosts(many: usize, port: u16) -> String {
    let mut manifests = secrets();
    for number in 1..=many {
        let name = format!("other-{number}");
        manifests.push_str(&provider(&name, &format!("http://127.0.1.{number}:{port}")));
        let known = if number % 2 == 0 { "  webhookId: known\n" } else { "" };
        manifests.push_str(&subscription(&name, &name, &format!("http://127.0.0.1:{port}/token"), known));
    }
    manifests
}

/// Forty listings of up to a thousand pages of a mebibyte each: what is read of them is not kept.
#[tokio::test(flavor = "multi_thread")]
async fn listings_of_long_texts_cost_little_memory() {
    let stage = Stage::start().await;
    let (server, pages) = of_long_texts().await;
    stage.write("00-other.yaml", at_many_hosts(40, server.port()));
    let mut sidecar = stage.sidecar(&["http://127.0.0.0/8"], |_| {});
    stage.until("400 pages are read", |_| pages.load(Ordering::SeqCst) > 400).await;
    assert_unharmed(&stage, &mut sidecar, 2).await;
    let peak = sidecar.peak_memory();
    assert!(peak < 160, "{peak} MiB after {} pages of a mebibyte", pages.load(Ordering::SeqCst));
}

/// The other author writes down the ids of the healthy ones' webhooks, before they are known and after,
/// and has no credential that would open them.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_another_has_written_down_is_kept_by_its_owner() {
    let stage = Stage::start().await;
    let server = shared_platform(&stage, |_| answer("401 Unauthorized", "")).await;
    let id = stage.sandbox.add_webhook(&made_by_hand()).unwrap();
    // The owner names the webhook too; the other one's object is older by name.
    let subscriptions = stage.manifest("30-subscriptions.yaml");
    let named = subscriptions.replacen("spec:\n", &format!("spec:\n  webhookId: {id}\n"), 1);
    stage.write("30-subscriptions.yaml", named);
    let url = format!("http://127.0.0.1:{}", server.port());
    let squats = |name: &str, base: &str, id: &str| {
        provider(name, base)
            + &subscription(name, name, &format!("{url}/other/token"), &format!("  webhookId: {id}\n"))
    };
    // At the very base URL, and at a path of their own that refuses everything.
    let text = secrets() + &squats("squats", &url, &id) + &squats("refused", &format!("{url}/other"), &id);
    stage.write("00-other.yaml", text);
    let sidecar = stage.sidecar(&[&url], |_| {});
    stage.until("one is created", |stage| stage.ledger().creates == HEALTHY - 1).await;
    stage.until("both are rotated", |stage| stage.ledger().rotations >= HEALTHY * 2).await;
    let ids: Vec<String> = stage.sandbox.webhooks().iter().map(|webhook| webhook.id.clone()).collect();
    sidecar.kill();
    let more = ids.iter().enumerate().map(|(number, id)| squats(&format!("later-{number}"), &url, id));
    stage.write("01-other.yaml", more.collect::<String>());
    let mut sidecar = stage.sidecar(&[&url], |_| {});
    let rotated = stage.ledger().rotations;
    stage.until("both go on", |stage| stage.ledger().rotations >= rotated + HEALTHY * 3).await;
    stage.assert_healthy_undisturbed();
    sidecar.assert_runs();
    for (key, status) in stage.statuses("WebhookSubscription").as_object().unwrap() {
        let told = status["status"].to_string();
        let stranger = if key.starts_with(OTHER) { "default/" } else { "another/" };
        assert!(!told.contains(stranger), "{key} is told of {stranger}: {told}");
        assert!(key.starts_with(OTHER) || !told.contains("Conflict"), "{key}: {told}");
    }
}

pub fn made_by_hand() -> Value {
    serde_json::json!({
        "action": "application.completed",
        "postbackUrl": "https://integrations.example.com/gupy",
        "status": "inactive",
        "clientHeaders": {},
    })
}
