//! 100,000 subscriptions with nothing due, handed over one after the other from a file.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use hookkeeper::api::{
    ClientHeader, Declared, Identity, ObjectKey, Reason, SubscriptionStatus, TokenSourceSpec,
    TokenSourceStatus, WebhookProviderSpec, WebhookProviderStatus, WebhookSubscription,
    WebhookSubscriptionSpec,
};
use hookkeeper::engine::change::Change;
use hookkeeper::engine::ports::{Gauges, Meter};
use hookkeeper::engine::{Engine, Options, Ports};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::load::virtual_time;
use crate::process::{forget_peak, peak, resident};
use crate::row;
use crate::world::{Settings, World, identity, subscription};

const NAMESPACES: usize = 200;
const SOURCES_OF_EACH: usize = 5;
const SUBSCRIPTIONS_OF_EACH: usize = 500;
const SUBSCRIPTIONS: usize = NAMESPACES * SUBSCRIPTIONS_OF_EACH;
/// Virtual time that the first process has used; the second one begins after it.
const DECLARING: Duration = Duration::from_secs(1_800);

fn settings() -> Settings {
    Settings {
        token_life: Duration::from_secs(30 * 86_400),
        verify_interval: Duration::ZERO,
        ..Settings::default()
    }
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
enum Line<'a> {
    Provider(Box<Declared<WebhookProviderSpec, WebhookProviderStatus>>),
    Source(Box<Declared<TokenSourceSpec, TokenSourceStatus>>),
    /// As the API server sends it.
    #[serde(borrow)]
    Subscription(&'a RawValue),
}

/// A subscription as people write them.
fn declared(number: usize) -> WebhookSubscriptionSpec {
    let mut spec = subscription(number, &format!("source-{}", number % SOURCES_OF_EACH));
    spec.action = Some("application.completed".to_owned());
    spec.postback_url =
        format!("https://integrations.example.com/tenants/{number}/gupy/application-completed");
    spec.client_headers[0].name = "Authorization".to_owned();
    spec.client_headers.push(ClientHeader {
        name: "X-Tenant".to_owned(),
        value: Some(format!("tenant-{number}")),
        value_from: None,
    });
    spec
}

/// A subscription as `kubectl get --output json` shows it, without `managedFields`.
fn object(
    key: &ObjectKey,
    number: usize,
    spec: &WebhookSubscriptionSpec,
    status: &SubscriptionStatus,
) -> WebhookSubscription {
    let mut object = WebhookSubscription::new(&key.name, spec.clone());
    let metadata = serde_json::json!({
        "name": key.name,
        "namespace": key.namespace,
        "uid": format!("5b0f3c1e-7a52-4c0d-9d3e-{number:012x}"),
        "resourceVersion": (1_000_000 + number).to_string(),
        "generation": 1,
        "creationTimestamp": "2027-01-15T08:00:00Z",
        "labels": {
            "app.kubernetes.io/name": "integrations",
            "app.kubernetes.io/instance": format!("tenant-{number}"),
        },
    });
    object.metadata = serde_json::from_value(metadata).unwrap();
    object.status = Some(status.clone());
    object
}

/// Has the engine create all subscriptions, one namespace after the other, and writes down what is
/// then on record.
pub fn declare(path: &Path) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut bytes = 0;
    for namespace in 0..NAMESPACES {
        bytes += virtual_time().block_on(declare_namespace(namespace, &mut file));
    }
    file.flush().unwrap();
    row("subscriptions with nothing due", SUBSCRIPTIONS, "");
    row("raw JSON of one, bytes", bytes / SUBSCRIPTIONS, "");
}

/// Returns the size of the raw objects.
async fn declare_namespace(namespace: usize, file: &mut impl Write) -> usize {
    let name = format!("tenants-{namespace}");
    let key = |name_of: &str| ObjectKey::new(&name, name_of);
    let world = World::new(settings());
    world.outside().providers.insert(key("provider"), WebhookProviderSpec::default());
    for source in 0..SOURCES_OF_EACH {
        let key = key(&format!("source-{source}"));
        world.outside().sources.insert(key, TokenSourceSpec::default());
    }
    let first = namespace * SUBSCRIPTIONS_OF_EACH;
    let numbers = first..first + SUBSCRIPTIONS_OF_EACH;
    let of_number = |number: usize| key(&format!("tenant-{number}-completed"));
    for number in numbers.clone() {
        world.outside().declare(of_number(number), declared(number));
    }
    let engine = world.start();
    world.pass(DECLARING).await;
    engine.stop().await;
    let mut write = |line: &Line<'_>| {
        serde_json::to_writer(&mut *file, line).unwrap();
        file.write_all(b"\n").unwrap();
    };
    let outside = world.outside();
    for (key, spec) in &outside.providers {
        let status = outside.provider_statuses.get(key).cloned().unwrap_or_default();
        let (identity, spec) = (identity(key, 1), spec.clone());
        write(&Line::Provider(Box::new(Declared { identity, spec, status })));
    }
    for (key, spec) in &outside.sources {
        let status = outside.source_statuses.get(key).cloned().unwrap_or_default();
        let (identity, spec) = (identity(key, 1), spec.clone());
        write(&Line::Source(Box::new(Declared { identity, spec, status })));
    }
    let mut bytes = 0;
    for number in numbers {
        let key = of_number(number);
        let mut status = outside.statuses[&key].clone();
        // Every namespace had a provider of its own, which began to count from zero.
        status.webhook_id = Some(format!("9d3e0c1a-5b0f-4a52-8c0d-{number:012x}"));
        let object = object(&key, number, &outside.subscriptions[&key].1, &status);
        let json = RawValue::from_string(serde_json::to_string(&object).unwrap()).unwrap();
        bytes += json.get().len();
        write(&Line::Subscription(&json));
    }
    bytes
}

/// Reads the file without an engine: what any reader of a listing has to do.
pub fn parse(path: &Path) {
    let began = Instant::now();
    let read = changes(path).count();
    let seconds = began.elapsed().as_secs_f64();
    assert!(read > SUBSCRIPTIONS);
    row("reading these objects alone, s", format!("{seconds:.2}"), "");
}

/// Hands everything to an engine, and measures until every deadline is known.
pub fn feed(path: &Path) {
    virtual_time().block_on(async {
        let world = World::new(settings());
        world.outside().wall_shift = TimeDelta::from_std(DECLARING).unwrap();
        let queue = Arc::new(Queue(AtomicUsize::new(0)));
        let ports = Ports { meter: queue.clone(), ..world.ports() };
        // Everything that is loaded, allocated or set up once has been by now.
        let bytes: usize = changes(path).map(|(_, bytes)| bytes).sum();
        let before = resident();
        forget_peak();
        let began = Instant::now();
        let (sender, receiver) = mpsc::channel(64);
        let engine = Engine::new(ports, Options::default());
        let engine = tokio::spawn(engine.run(receiver, std::future::pending()));
        for (change, _) in changes(path) {
            sender.send(change).await.unwrap();
        }
        sender.send(Change::Synced).await.unwrap();
        let fed = began.elapsed().as_secs_f64();
        while queue.0.load(Ordering::Relaxed) < SUBSCRIPTIONS {
            assert!(!engine.is_finished());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let known = began.elapsed().as_secs_f64();
        world.pass(Duration::from_secs(600)).await;
        let (settled, highest) = (resident() - before, peak() - before);
        let raw = bytes as f64;
        row("feeding them to the engine, s", format!("{fed:.2}"), "");
        row("until every deadline is known, s", format!("{known:.2}"), "");
        let each = |bytes: u64| bytes as f64 / SUBSCRIPTIONS as f64;
        row("memory per subscription, bytes", format!("{:.0}", each(settled)), "");
        row("  over its raw JSON", format!("{:.2}", settled as f64 / raw), "1.5 or less");
        row("peak over settled", format!("{:.2}", highest as f64 / settled as f64), "1.3 or less");
        let outside = world.outside();
        let written =
            outside.records + outside.source_statuses.len() as u64 + outside.provider_statuses.len() as u64;
        let calls = outside.mints + outside.creates + outside.updates + outside.lists;
        row("writes and calls after the restart", written + calls, "0");
    });
}

/// The changes in the file and the size of the raw object of each, read one after the other.
fn changes(path: &Path) -> impl Iterator<Item = (Change, usize)> {
    let mut file = BufReader::new(File::open(path).unwrap());
    let mut text = String::new();
    std::iter::from_fn(move || {
        text.clear();
        let read = file.read_line(&mut text).unwrap();
        (read > 0).then(|| change(&text))
    })
}

fn change(line: &str) -> (Change, usize) {
    match serde_json::from_str(line).unwrap() {
        Line::Provider(declared) => (Change::Provider(declared), 0),
        Line::Source(declared) => (Change::TokenSource(declared), 0),
        Line::Subscription(json) => {
            let object: WebhookSubscription = serde_json::from_str(json.get()).unwrap();
            let metadata = object.metadata;
            let name = metadata.name.unwrap();
            let key = ObjectKey::new(&metadata.namespace.unwrap(), &name);
            let declared = Declared {
                identity: Identity {
                    uid: metadata.uid.unwrap(),
                    created: metadata.creation_timestamp.map(|_| created()),
                    ..identity(&key, metadata.generation.unwrap())
                },
                spec: object.spec,
                status: object.status.unwrap_or_default(),
            };
            (Change::Subscription(Box::new(declared)), json.get().len())
        }
    }
}

/// All of them were created at the same time.
fn created() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// Keeps the length of the queue.
struct Queue(AtomicUsize);

impl Meter for Queue {
    fn rotation(&self, _: &ObjectKey, _: Reason, _: Option<f64>) {}
    fn mint(&self, _: &'static str, _: Duration) {}
    fn provider_request(&self, _: &'static str, _: &'static str, _: Duration) {}
    fn gauges(&self, gauges: &Gauges) {
        self.0.store(gauges.queue_length, Ordering::Relaxed);
    }
}
