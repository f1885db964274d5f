//! The gate as a process of its own on a real API server.

mod permissions;
mod stage;

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use self::stage::Stage;
use crate::cluster::Cluster;
use crate::gate::stage::Gate;
use crate::hookkeeper;

const SIGNED: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: signed}
spec:
  verification: {hmac: {header: X-Signature, secretKeyRefs: [{name: hooks, key: secret}]}}
  forward: {url: APPLICATION/in}
";

const BODY: &[u8] = br#"{"event":"created","of":"canary-body"}"#;

fn signature(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn send_signed(stage: &Stage<'_>, gate: &Gate, secret: &str) -> u16 {
    let path = format!("/{}/signed", stage.namespace);
    gate.post(&path, &[("X-Signature", &signature(secret, BODY))], BODY).status
}

async fn until_took(stage: &Stage<'_>, gate: &Gate, count: usize) {
    gate.until("the application took them", || stage.application.took().len() >= count).await;
}

/// Who wrote which fields of an object.
fn managers(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let entry = |entry: Value| (entry["manager"].as_str().unwrap().to_owned(), entry["fieldsV1"].clone());
    entries.into_iter().map(entry).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_proven_by_a_secret_of_the_cluster_and_handed_on() {
    let stage = Stage::new().await;
    stage.secret("hooks", &[("secret", "canary-first-key")]);
    stage.apply("receiver.yaml", SIGNED);
    let gate = stage.gate("gate-0");
    assert_eq!(send_signed(&stage, &gate, "canary-first-key"), 200);
    assert_eq!(send_signed(&stage, &gate, "canary-wrong-key"), 401);
    until_took(&stage, &gate, 1).await;
    assert_eq!(stage.application.took()[0].body, BODY);

    // What it says of it: its own share, and nothing of anybody else.
    let well = |gate: &str| stage.says("signed", gate, "Ready").starts_with("True Accepting: ");
    gate.until("its share", || well("gate-0")).await;
    let share = stage.share("signed", "gate-0");
    assert_eq!(share["observedGeneration"], 1);
    assert_eq!(share["store"].as_str().unwrap().len(), 16);
    let object = stage.object("whr/signed");
    let status = &object["status"];
    assert!(
        status.get("conditions").is_none() && status.get("url").is_none(),
        "those are the controller's: {status}"
    );
    assert_eq!(status["observedGeneration"], -1, "as the schema has it");
    let own: Vec<Value> = managers(&object)
        .into_iter()
        .filter(|(manager, _)| manager == "hookkeeper-gate-gate-0")
        .map(|(_, fields)| fields)
        .collect();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["f:status"]);

    // A second one writes its own beside it, and neither undoes the other's.
    let second = stage.gate("gate-1");
    assert_eq!(send_signed(&stage, &second, "canary-first-key"), 200);
    second.until("both shares", || well("gate-0") && well("gate-1")).await;
    assert_ne!(stage.share("signed", "gate-0")["store"], stage.share("signed", "gate-1")["store"]);
    stage.kubectl(&["patch", "whr", "signed", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#]);
    let suspended = |gate: &str| stage.says("signed", gate, "HandingOn").starts_with("False Suspended: ");
    second.until("both say that it is suspended", || suspended("gate-0") && suspended("gate-1")).await;
    second.stop();

    // A share that somebody takes away is written again.
    stage.kubectl(&[
        "patch",
        "whr",
        "signed",
        "--subresource=status",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/status/gates"}]"#,
    ]);
    gate.until("its share is back", || suspended("gate-0")).await;
    assert_eq!(stage.object("whr/signed")["status"]["gates"].as_array().unwrap().len(), 1);
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changed_or_is_gone_counts_as_soon_as_somebody_brings_an_unknown_credential() {
    let stage = Stage::new().await;
    stage.secret("hooks", &[("secret", "canary-first-key")]);
    stage.apply("receiver.yaml", SIGNED);
    let gate = stage.gate("gate-0");
    assert_eq!(send_signed(&stage, &gate, "canary-first-key"), 200);
    stage.secret("hooks", &[("secret", "canary-second-key")]);
    assert_eq!(send_signed(&stage, &gate, "canary-second-key"), 200);
    assert_eq!(send_signed(&stage, &gate, "canary-first-key"), 401);
    stage.kubectl(&["delete", "secret", "hooks"]);
    assert_eq!(send_signed(&stage, &gate, "canary-wrong-key"), 503);
    assert_eq!(send_signed(&stage, &gate, "canary-second-key"), 503, "its Secret is gone");
    let unusable = "True CredentialUnusable: ";
    let says = || stage.says("signed", "gate-0", "CredentialUnusable").starts_with(unusable);
    gate.until("it says so", says).await;
    stage.secret("hooks", &[("secret", "canary-third-key")]);
    assert_eq!(send_signed(&stage, &gate, "canary-third-key"), 200);
    gate.until("it says that all is well", || {
        stage.says("signed", "gate-0", "CredentialUnusable").is_empty()
    })
    .await;
    gate.stop();
}

const PUBLISHING: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {name: gupy}
spec:
  secret: {name: nowhere, key: token}
  publishTo: {secretName: gupy-token}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: gupy}
spec:
  preset: gupy
  verification: {token: {header: x-token, tokenSourceRef: {name: gupy}}}
  forward: {url: APPLICATION/gupy}
";

fn publish(stage: &Stage<'_>, token: &str, fingerprint: &str) {
    let minted = chrono::Utc::now().to_rfc3339();
    let values = [("current", token), ("fingerprint", fingerprint), ("mintedTime", minted.as_str())];
    stage.secret("gupy-token", &values);
    let status = json!({ "status": { "tokenFingerprint": fingerprint } }).to_string();
    stage.kubectl(&["patch", "tsrc", "gupy", "--subresource=status", "--type=merge", "-p", &status]);
}

fn send_token(stage: &Stage<'_>, gate: &Gate, token: &str, more: &[(&str, &str)]) -> u16 {
    let body = json!({ "id": token.len(), "event": "application.completed" }).to_string();
    let headers = [&[("x-token", token)], more].concat();
    gate.post(&format!("/{}/gupy", stage.namespace), &headers, body.as_bytes()).status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_token_is_taken_in_when_the_source_says_so_and_the_lease_tells_of_it() {
    let stage = Stage::new().await;
    stage.apply("gupy.yaml", PUBLISHING);
    publish(&stage, "canary-token-a", "fingerprint-a");
    let gate = stage.gate("gate-0");
    let source = format!("{}/gupy", stage.namespace);
    let held = |tokens: &[&str]| json!({ &source: tokens }).to_string();
    gate.until("its Lease says a", || stage.held("gate-0") == held(&["fingerprint-a"])).await;
    let lease = stage.object("lease/gate-0");
    assert_eq!(lease["metadata"]["labels"]["hookkeeper.dev/gate"], "true");
    assert_eq!(
        (&lease["spec"]["holderIdentity"], &lease["spec"]["leaseDurationSeconds"]),
        (&json!("gate-0"), &json!(30))
    );
    assert_eq!(send_token(&stage, &gate, "canary-token-a", &[]), 200);
    assert_eq!(send_token(&stage, &gate, "canary-token-b", &[]), 401);

    // Nobody brings the new token before: the status of its source is what tells of it.
    publish(&stage, "canary-token-b", "fingerprint-b");
    let both = held(&["fingerprint-a", "fingerprint-b"]);
    gate.until("its Lease says both", || stage.held("gate-0") == both).await;
    let named = [("Hookkeeper-Subscription", "application-completed")];
    assert_eq!(send_token(&stage, &gate, "canary-token-b", &named), 200);
    assert_eq!(send_token(&stage, &gate, "canary-token-a", &[]), 200, "for the overlap");

    // Which token came in is told at once.
    let seen = |fingerprint: &str| {
        let tokens = stage.object("whr/gupy")["status"]["tokens"].as_array().cloned().unwrap_or_default();
        tokens.into_iter().find(|token| token["fingerprint"] == fingerprint).unwrap_or_default()
    };
    gate.until("both tokens are told of", || {
        !seen("fingerprint-a").is_null() && !seen("fingerprint-b").is_null()
    })
    .await;
    let told = seen("fingerprint-b");
    assert_eq!((&told["gate"], &told["event"]), (&json!("gate-0"), &json!("application.completed")));
    assert_eq!((&told["subscriptions"], &told["unnamed"]), (&json!(["application-completed"]), &Value::Null));
    assert_eq!(seen("fingerprint-a")["unnamed"], true);

    // It is renewed, and goes when the gate goes.
    let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
    let before = stage.object("lease/gate-0");
    gate.until("the Lease is renewed", || version(&stage.object("lease/gate-0")) != version(&before)).await;
    gate.stop();
    assert_eq!(stage.object("lease/gate-0"), Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_receiver_that_was_deleted_is_parked_and_nobody_who_takes_its_name_gets_it() {
    // Without its cache the server has no history but etcd's, which can be made to forget.
    let cluster = tokio::task::block_in_place(|| {
        let cluster = Cluster::start(&["--watch-cache=false"]);
        cluster.install_definitions();
        cluster
    });
    let stage = Stage::on(&cluster).await;
    stage.secret("hooks", &[("secret", "canary-first-key")]);
    let suspended = SIGNED.replace("spec:\n", "spec:\n  suspend: true\n");
    stage.apply("receiver.yaml", &suspended);
    let gate = stage.gate("gate-0");
    let send = || send_signed(&stage, &gate, "canary-first-key");
    let count = |state: &str| {
        let listed = gate.deliveries(&["list", "--state", state]).stdout;
        listed.lines().skip(1).count()
    };
    assert_eq!(send(), 200);
    stage.kubectl(&["delete", "whr", "signed"]);
    gate.until("it is parked", || count("parked") == 1).await;
    assert_eq!(send(), 404);
    stage.apply("receiver.yaml", &suspended);
    gate.until("the new one takes deliveries in", || send() == 200).await;
    let waiting = count("pending");
    assert_eq!(count("parked"), 1, "it is nobody's");

    // The same while the watch is interrupted: what a new list does not hold is gone.
    gate.process.signal(rustix::process::Signal::STOP);
    tokio::task::block_in_place(|| {
        cluster.stop();
        cluster.restart();
        stage.kubectl(&["delete", "whr", "signed"]);
        stage.apply("receiver.yaml", SIGNED);
        cluster.compact();
    });
    gate.process.signal(rustix::process::Signal::CONT);
    gate.until("those are parked, too", || count("parked") == 1 + waiting).await;
    assert!(stage.application.handed().is_empty());
    assert_eq!(send(), 200);
    until_took(&stage, &gate, 1).await;
    assert_eq!(count("parked"), 1 + waiting);

    // An API server that is away ends nothing: what is known goes on.
    tokio::task::block_in_place(|| cluster.stop());
    assert_eq!(send(), 200);
    until_took(&stage, &gate, 2).await;
    assert_eq!(send_signed(&stage, &gate, "canary-wrong-key"), 503, "nobody can say whether it is genuine");
    tokio::task::block_in_place(|| cluster.restart());
    gate.stop();
}

const TO_SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {ports: [{port: 8080, targetPort: 1}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, ports: [{port: 8080, targetPort: 1}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: kubernetes.default.svc, ports: [{port: 8080}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_found_by_asking_the_api_server_and_never_a_name_server() {
    let stage = Stage::new().await;
    stage.apply("services.yaml", TO_SERVICES);
    let receiver = |name: &str, service: &str, port: u16| {
        format!(
            "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {{name: {name}}}
spec:
  verification: {{none: {{}}}}
  forward: {{service: {{name: {service}, port: {port}}}, timeout: 1s}}
---"
        )
    };
    let all = [
        ("reached", "app", 8080),
        ("port", "app", 9090),
        ("headless", "headless", 8080),
        ("outside", "outside", 8080),
        ("absent", "nowhere", 8080),
    ];
    let text: String = all.iter().map(|(name, service, port)| receiver(name, service, *port)).collect();
    stage.apply("receivers.yaml", &text);
    let gate = stage.gate("gate-0");
    for (name, ..) in all {
        assert_eq!(gate.post(&format!("/{}/{name}", stage.namespace), &[], b"{}").status, 200);
    }
    for (name, begins, says) in [
        ("port", "False DestinationNotAllowed: ", "the Service app has no TCP port 9090"),
        ("headless", "False DestinationNotAllowed: ", "the Service headless is headless"),
        ("outside", "False DestinationNotAllowed: ", "the Service outside is of type ExternalName"),
        ("absent", "False ApplicationUnavailable: ", "there is no Service nowhere"),
    ] {
        let told = || stage.says(name, "gate-0", "HandingOn");
        gate.until(name, || told().starts_with(begins)).await;
        assert!(told().contains(says), "{}", told());
        assert!(!told().contains("resolved"), "{}", told());
    }
    // Whatever answers at its address here: it was tried, and no name server was asked for it.
    let tried = || {
        let log = gate.process.log();
        let said = log.lines().find(|line| {
            line.contains("an attempt to hand it on failed")
                && line.contains(&format!("{}/reached", stage.namespace))
        });
        said.map(str::to_owned)
    };
    gate.until("an attempt at the Service", || tried().is_some()).await;
    let said = tried().unwrap();
    assert!(!said.contains("resolved") && !said.contains("DestinationNotAllowed"), "{said}");
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_in_scope_is_looked_after() {
    let stage = Stage::new().await;
    stage.secret("hooks", &[("secret", "canary-first-key")]);
    stage.apply("receiver.yaml", SIGNED);
    let gate = Gate::of(stage.program("gate-0").args(["--selector", "gate=first"]).spawn());
    assert_eq!(send_signed(&stage, &gate, "canary-first-key"), 404);
    stage.kubectl(&["label", "whr", "signed", "gate=first"]);
    gate.until("it is looked after", || send_signed(&stage, &gate, "canary-first-key") == 200).await;
    stage.kubectl(&["label", "whr", "signed", "gate-"]);
    gate.until("it is not any more", || send_signed(&stage, &gate, "canary-first-key") == 404).await;
    gate.stop();
}

#[test]
fn without_a_cluster_and_without_manifests_it_says_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let gate = |name: &str| {
        let mut program = hookkeeper();
        program
            .env("KUBECONFIG", "/nowhere/kubeconfig")
            .env("HOSTNAME", name)
            .env_remove("KUBERNETES_SERVICE_HOST")
            .args(["gate", "--admin-listen", "off", "--data"])
            .arg(folder.path());
        program.run()
    };
    let ended = gate("gate-0");
    assert_eq!(ended.code, Some(1));
    for words in ["without --manifests a gate needs a cluster", "no cluster is known", "KUBECONFIG"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    let ended = gate("No_Name");
    assert!(ended.code == Some(1) && ended.stderr.contains("--name"), "{}", ended.stderr);
}
