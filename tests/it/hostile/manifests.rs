//! Manifests that are wrong, through `hookkeeper check` and through the sidecar beside good ones.

use hookkeeper::sandbox::{Event, Operation, TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN};

use super::super::run;
use super::stage::{HEALTHY, Stage, subscription};

fn with_header(name: &str, header: &str) -> String {
    subscription(name).replace("  tokenSourceRef", &format!("    - {header}\n  tokenSourceRef"))
}

fn with_host(name: &str, host: &str) -> String {
    subscription(name).replace("integrations.example.com", host)
}

/// Hosts that no public platform delivers to, in every spelling.
const HOSTS: [&str; 24] = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.1",
    "8.8.8.8",
    "134744072",
    "%31%32%37.0.0.1",
    "１２７.0.0.1",
    "①②⑦.0.0.1",
    "127。0。0。1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::808:808]",
    "[2002:808:808::]",
    "[2606:4700:4700::1111]",
    "[fe80::1%25eth0]",
    "localhost",
    "%6cocalhost",
    "gate.svc",
    "gate",
];

/// Name, manifest, and the field that is to be named.
fn broken() -> Vec<(String, String, &'static str)> {
    let value = "spec.clientHeaders[1].value";
    let mut broken = vec![
        ("unknown", subscription("unknown").replace("  action", "  actoin: x\n  action"), "spec.actoin"),
        ("unknown-deep", with_header("unknown-deep", "{name: x, vlaue: y}"), "spec.clientHeaders[1]"),
        ("plain", subscription("plain").replace("https:", "http:"), "spec.postbackUrl"),
        ("user", with_host("user", "a:b@integrations.example.com"), "spec.postbackUrl"),
        ("crlf", with_header("crlf", r#"{name: x, value: "a\r\nX-Injected: 1"}"#), value),
        ("lf", with_header("lf", r#"{name: x, value: "a\n"}"#), value),
        ("nul", with_header("nul", r#"{name: x, value: "a\0"}"#), value),
        ("template", with_header("template", "{name: x, value: 'Bearer {{ token }}'}"), value),
        ("twice", with_header("twice", "{name: TOKEN, value: x}"), "spec.clientHeaders"),
        ("no-name", with_header("no-name", "{name: 'a b', value: x}"), "spec.clientHeaders[1].name"),
        ("huge", with_header("huge", &format!("{{name: x, value: {}}}", "x".repeat(500_000))), value),
        (
            "no-token",
            subscription("no-token").replace("valueFrom: {token: {}}", "value: x"),
            "spec.clientHeaders",
        ),
    ]
    .into_iter()
    .map(|(name, text, field)| (name.to_owned(), text, field))
    .collect::<Vec<_>>();
    for (index, host) in HOSTS.into_iter().enumerate() {
        let name = format!("host-{index}");
        let text = with_host(&name, host);
        broken.push((name, text, "spec.postbackUrl"));
    }
    broken
}

/// Texts that cost far more than their length, or would if they were let.
fn bombs() -> [(&'static str, String); 15] {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let mut merges = "a0: &a0 {k: x}\n".to_owned();
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        merges.push_str(&format!("a{level}: &a{level} {{<<: [{below}], k{level}: x}}\n"));
    }
    let large = "x".repeat(500_000);
    let aliases = vec!["*a"; 900].join(", ");
    [
        ("laughs", laughs),
        ("copies", format!("a: &a {large}\nb: [{aliases}]\n")),
        ("deep-lists", "[".repeat(100_000)),
        ("deep-mappings", "{a: ".repeat(100_000)),
        ("deep-blocks", "- ".repeat(100_000)),
        ("huge-text", format!("a: {}\n", "x".repeat(8 << 20))),
        ("wide", format!("a: [{}]", "0,".repeat(300_000))),
        ("wide-mappings", format!("a: [{}]", "{a: 0},".repeat(100_000))),
        ("many", "---\na\n".repeat(5_000)),
        ("merges", merges),
        ("in-itself", "a: &a [*a]\n".to_owned()),
        ("many-anchors", (0..50_000).map(|number| format!("a{number}: &a{number} x\n")).collect()),
        ("key-twice", "apiVersion: v1\napiVersion: v1\n".to_owned()),
        ("foreign-tag", "!!python/object/apply:os.system [id]\n".to_owned()),
        ("open-quote", "\"".repeat(500_001)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_manifest_names_its_fault_and_harms_nobody() {
    let broken = broken();
    let bombs = bombs();
    let stage = Stage::start().await;
    let mut files = Vec::new();
    for (name, text, field) in &broken {
        files.push((name.as_str(), stage.write(&format!("50-{name}.yaml"), text), Some(*field)));
    }
    for (name, text) in &bombs {
        files.push((*name, stage.write(&format!("60-{name}.yaml"), text), None));
    }
    let mut sidecar = stage.sidecar(&[], |_| {});

    let beside = ["10-provider.yaml", "20-token-source.yaml"].map(|name| stage.path(name));
    for (name, file, field) in &files {
        let ended = run(&["check", &beside[0], &beside[1], file]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""), "{name}: {}", ended.stdout);
        let line = ended.stdout.lines().next().unwrap();
        let object = format!("WebhookSubscription default/{name}: ");
        let named = match field {
            Some(field) => line.contains(&format!("{object}{field}")),
            None => line.contains("document 1"),
        };
        assert!(line.starts_with(file.as_str()) && named, "{name}: {}", &line[..line.len().min(500)]);
        assert!(line.len() < 1000, "{name}: {line}");
    }

    stage.until_explained(broken.iter().map(|(name, ..)| (name.as_str(), "InvalidSpec"))).await;
    stage.until_rotated(2).await;
    for (name, _, field) in &broken {
        let said = stage.trouble(name);
        assert!(said.message.contains(field), "{name}: {said:?}");
        assert_eq!(stage.condition("WebhookSubscription", name, "Ready").status, "False", "{name}");
    }
    for (name, _) in &bombs {
        assert!(
            stage.log().contains(&format!(
                "WARN hookkeeper::sidecar::manifests::watch: 60-{name}.yaml: document 1: "
            )),
            "{name}"
        );
    }
    stage.assert_withstood(&mut sidecar);
}

fn secret(name: &str, key: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{{key}: {value}}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_named_and_waited_for() {
    let stage = Stage::start().await;
    let header = "{name: x, valueFrom: {secretKeyRef: {name: of-header, key: value}}}";
    stage.write("50-header.yaml", with_header("of-header", header));
    let source = format!(
        "  tokenSource:
    oauth2:
      tokenUrl: {}/oauth/token
      clientId: {{value: hr-integration}}
      clientSecret: {{secretKeyRef: {{name: of-client, key: value}}}}
",
        stage.sandbox.url()
    );
    let client = subscription("of-client").replace("  tokenSourceRef: {name: integration}\n", &source);
    stage.write("51-client.yaml", client);
    let provider = stage
        .manifest("10-provider.yaml")
        .replace("metadata: {name: gupy}", "metadata: {name: other}")
        .replace("{name: gupy-api, key: token}", "{name: of-provider, key: value}");
    stage.write("52-provider.yaml", provider);
    stage.write("53-of-provider.yaml", subscription("of-provider").replace("{name: gupy}", "{name: other}"));
    let _sidecar = stage.sidecar(&[], |_| {});

    let names = ["of-header", "of-client", "of-provider"];
    stage.until_explained(names.into_iter().map(|name| (name, "SecretNotFound"))).await;
    for name in names {
        let said = stage.trouble(name);
        let expected = format!("Secret {name} with key value was not found; create it in the same namespace");
        assert!(said.message.contains(&expected), "{said:?}");
        assert_eq!(stage.condition("WebhookSubscription", name, "Stalled").status, "", "it may still come");
    }
    assert_eq!(stage.ledger().creates, HEALTHY);

    let values = ["anything", TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN];
    for (name, value) in names.into_iter().zip(values) {
        stage.write(&format!("60-{name}.yaml"), secret(name, "value", value));
    }
    stage.until("they are created", |stage| stage.ledger().creates == HEALTHY + 3).await;
    stage.assert_healthy_undisturbed();
}

/// How often the sandbox's copy of a subscription got another token.
fn rotations(stage: &Stage, action: &str) -> usize {
    let is_rotation = |event: &Event| {
        matches!(event, Event::ProviderCall(call) if call.operation == Operation::Update && call.effect
            && call.action.as_deref() == Some(action) && call.token != call.previous_token)
    };
    stage.sandbox.entries(0).iter().filter(|entry| is_rotation(&entry.event)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_valid_version_stays_in_force() {
    let stage = Stage::start().await;
    let names = ["of-schema", "of-provider", "unreadable"];
    for name in names {
        stage.write(&format!("50-{name}.yaml"), subscription(name));
    }
    let sidecar = stage.sidecar(&[], |_| {});
    stage.until("they are created", |stage| stage.ledger().creates == HEALTHY + 3).await;

    stage
        .write("50-of-schema.yaml", subscription("of-schema").replace("/of-schema", "/edited\n  unknown: x"));
    stage.write(
        "50-of-provider.yaml",
        subscription("of-provider").replace("https://integrations", "http://edited"),
    );
    stage.write("50-unreadable.yaml", "kind: [");
    stage.until_explained([("of-schema", "InvalidSpec"), ("of-provider", "InvalidSpec")].into_iter()).await;
    stage
        .until("the unreadable one is named", |stage| stage.log().contains("50-unreadable.yaml: document 1"))
        .await;
    // What they depend on is broken too.
    let source = stage.manifest("20-token-source.yaml");
    stage.write("20-token-source.yaml", source.replace("oauth2:", "oauth3:"));
    let provider = stage.manifest("10-provider.yaml");
    stage.write("10-provider.yaml", provider.replace("preset: gupy", "preset: gupi"));
    let invalid = |kind: &'static str, name: &'static str| {
        move |stage: &Stage| stage.condition(kind, name, "Stalled").reason == "InvalidSpec"
    };
    stage.until("the source is invalid", invalid("TokenSource", "integration")).await;
    stage.until("the provider is invalid", invalid("WebhookProvider", "gupy")).await;

    let goes_on = async |when: &str| {
        let before = names.map(|name| rotations(&stage, name));
        stage
            .until(when, |stage| {
                names.iter().zip(before).all(|(name, before)| rotations(stage, name) >= before + 2)
            })
            .await;
        for name in names {
            let webhook =
                stage.sandbox.webhooks().into_iter().find(|webhook| webhook.action == name).unwrap();
            assert_eq!(webhook.postback_url, format!("https://integrations.example.com/{name}"), "{when}");
        }
    };
    goes_on("they are rotated").await;
    for name in ["of-schema", "of-provider"] {
        let ready = stage.condition("WebhookSubscription", name, "Ready");
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "InvalidSpec"));
    }
    sidecar.kill();
    let _sidecar = stage.sidecar(&[], |_| {});
    goes_on("they are rotated after a restart").await;
    stage.assert_healthy_undisturbed();
    assert_eq!(stage.ledger().creates, HEALTHY + 3);
}

/// What an author writes into names and pointers stays text, in the log as in the output of `check`.
#[tokio::test(flavor = "multi_thread")]
async fn names_and_pointers_forge_no_line_and_do_nothing_to_a_terminal() {
    let stage = Stage::start().await;
    let forged = "2026-11-26T00:00:00.000000Z  INFO hookkeeper::engine: everything is well";
    let hostile = format!("\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\n{forged}\u{2028}{forged}");
    let escaped = hostile
        .chars()
        .map(|letter| {
            if letter.is_ascii_graphic() || letter == ' ' {
                letter.to_string()
            } else {
                format!("\\u{:04x}", u32::from(letter))
            }
        })
        .collect::<String>();
    let source = format!(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {{name: hostile}}
spec: {{http: {{url: 'https://auth.example.com/', response: {{tokenPath: \"/{escaped}\"}}}}}}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {{name: \"{escaped}\"}}
spec: {{\"{escaped}\": x}}
"
    );
    let file = stage.write("50-hostile.yaml", &source);
    let named = stage.write(&format!("60-{hostile}.yaml").replace('/', ""), "kind: [");
    let mut sidecar = stage.sidecar(&[], |program| {
        program.args(["--log-level", "debug"]);
    });
    stage
        .until("the file is named", |stage| {
            stage.log().contains(r"WARN hookkeeper::sidecar::manifests::watch: 60-\")
        })
        .await;
    stage.until_rotated(1).await;

    let ended = run(&["check", &file, &named]);
    assert_eq!(ended.code, Some(1));
    for shown in [stage.log(), ended.stdout, ended.stderr] {
        let active = |letter: &char| *letter != '\n' && hookkeeper::printable::is_active(*letter);
        assert_eq!(shown.chars().find(active), None, "{shown:?}");
        assert!(!shown.lines().any(|line| line.starts_with(forged)), "{shown}");
    }
    // The command line itself is in the message of an error.
    let state = format!("{hostile}/state");
    let ended = run(&["sidecar", "--admin-listen", "off", "--manifests", &named, "--state", &state]);
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{:?}", ended.stderr);
    assert!(!ended.stderr.trim_end_matches('\n').chars().any(hookkeeper::printable::is_active));
    stage.assert_withstood(&mut sidecar);
}

/// 8 MiB of documents that say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_documents_is_told_in_a_line_and_costs_no_memory() {
    let stage = Stage::start().await;
    let flood = "a\n---\n".repeat(8 * 1024 * 1024 / 6);
    let mut sidecar = stage.sidecar(&[], |program| {
        program.args(["--log-level", "info"]);
    });
    stage.until_rotated(1).await;
    let before = stage.log().lines().count();
    let file = stage.write("60-flood.yaml", &flood);
    let said = "60-flood.yaml: document 1: there are more than 20000 documents in the file";
    stage.until("the flood is told", |stage| stage.log().contains(said)).await;
    let ended = run(&["check", &file]);
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(1), 2), "{}", ended.stdout);
    // 19,990 documents are less than the bound, and each is wrong.
    let documents = "---\na\n".repeat(19_990);
    let file = stage.write("60-flood.yaml", &documents);
    stage.until("the rest is counted", |stage| stage.log().contains("60-flood.yaml: and 19958 more")).await;
    let ended = run(&["check", &file]);
    assert!(ended.stdout.lines().count() <= 34, "{}", ended.stdout);
    assert!(stage.log().lines().count() - before < 200, "{}", stage.log());
    stage.assert_withstood(&mut sidecar);
}
