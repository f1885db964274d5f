//! The example of each platform's own document, through the process as it stands.

use super::application::Handed;
use super::stage::{Gate, Stage};
use super::wire::{self, request};

/// Sends a request with exactly these headers, and its length.
fn post(gate: &Gate, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
    let length = body.len().to_string();
    let headers = [&[("Connection", "close"), ("Content-Length", length.as_str())], headers].concat();
    let answer = wire::raw(gate.address, &request("POST", path, &headers, body.as_bytes())).unwrap();
    assert_eq!(answer.body, "");
    answer.status
}

/// What the application was handed below this path, in the order in which it came.
fn at(stage: &Stage, target: &str) -> Vec<Handed> {
    let mut handed = stage.application.took();
    handed.retain(|handed| handed.target == target);
    handed
}

fn body(handed: &Handed) -> &str {
    std::str::from_utf8(&handed.body).unwrap()
}

// Gupy: <https://developers.gupy.io/reference/webhooks>, and for what is gone with client headers
// <https://developers.gupy.io/docs/fluxo-de-atualização-do-webhook-para-tokens-dinâmicos>.

const GUPY: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {name: hr}
spec:
  oauth2:
    tokenUrl: https://auth.example.com/oauth/token
    clientId: {value: hr-integration}
    clientSecret: {secretKeyRef: {name: client, key: secret}}
  publishTo: {secretName: hr-token}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: gupy}
spec:
  preset: gupy
  verification: {token: {header: Authorization, prefix: 'Bearer ', tokenSourceRef: {name: hr}}}
  forward: {url: APPLICATION/gupy}
";

/// The example of the document in short, with its two mistakes corrected.
const HIRED: &str = r#"{
  "companyName": "ACME",
  "id": "24e99765-8583-4be5-87ae-489c86642964",
  "event": "candidate.hired",
  "date": "2019-06-19T23:48:46.952Z",
  "data": {
    "job": {"id": 19139, "name": "Developer", "departmentCode": "D-100", "branchCode": "B-300"},
    "application": { "id": 2937132, "currentStep": { "id": 86547, "name": "Contratação" } },
    "candidate": { "name": "John", "addressNumber": "595 - 10º andar", "disabilities": false }
  }
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn gupy() {
    let stage = Stage::with(GUPY).await;
    stage.secret("hr-token", "current", "canary-token-1");
    let gate = stage.gate();
    // As they arrive with client headers: no Content-Type.
    let first = [("Authorization", "Bearer canary-token-1")];
    // 200 and nothing else: Gupy repeats a 204.
    assert_eq!(post(&gate, "/default/gupy", &first, HIRED), 200);
    // A retry of what it believes lost, and another event under the same id.
    assert_eq!(post(&gate, "/default/gupy", &first, HIRED), 200);
    let other = HIRED.replace("John", "Mary");
    let took = stage.until_took(&gate, 1).await;
    assert_eq!(body(&took[0]), HIRED);
    assert_eq!(took[0].header("content-type"), Some("application/json;charset=utf-8"));
    assert_eq!(took[0].header("hookkeeper-event-time"), Some("2019-06-19T23:48:46.952Z"));
    assert_eq!(took[0].header("authorization"), None);
    assert_eq!(post(&gate, "/default/gupy", &first, &other), 200);
    let took = stage.until_took(&gate, 2).await;
    assert_eq!(body(&took[1]), other);
    assert_eq!(took[1].header("hookkeeper-duplicate-of"), Some(took[0].delivery().as_str()));

    // The token is moved: the new one is known at the first delivery that carries it, the old one still is.
    stage.secret("hr-token", "previous", "canary-token-1");
    stage.secret("hr-token", "current", "canary-token-2");
    for token in ["Bearer canary-token-2", "Bearer canary-token-1"] {
        let body = HIRED.replace("24e99765", &token[20..]);
        assert_eq!(post(&gate, "/default/gupy", &[("Authorization", token)], &body), 200, "{token}");
    }
    for (headers, reason) in [
        (&[("Authorization", "Bearer canary-token-3")][..], "UnknownCredential"),
        (&[("Authorization", "canary-token-2")], "CredentialMalformed"),
        (&[("token", "canary-token-2")], "NoCredential"),
    ] {
        assert_eq!(post(&gate, "/default/gupy", headers, HIRED), 401, "{reason}");
    }
    stage.until_took(&gate, 4).await;
    gate.until("nothing is left", || gate.deliveries(&["list"]).stdout == "nothing waits\n").await;
    assert_eq!(stage.application.took().len(), 4, "the repeated one was dropped");
    // What was accepted is accepted after a restart too, though its file is another one now.
    gate.stop();
    stage.secret("hr-token", "previous", "canary-token-2");
    stage.secret("hr-token", "current", "canary-token-4");
    let gate = stage.gate();
    assert_eq!(post(&gate, "/default/gupy", &first, &HIRED.replace("24e99765", "restart0")), 200);
    stage.until_took(&gate, 5).await;
    gate.stop();
}

// IDUnico: <https://developer.unico.io/developers/webhooks-and-events/setup>.

fn idunico(name: &str, verification: &str) -> String {
    format!(
        "---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {{name: {name}}}
spec:
  preset: idunico
  verification: {verification}
  handOn: {{path: /status, values: ['2', '3', '4', '5']}}
  forward: {{url: APPLICATION/{name}, maxConcurrent: 1}}
"
    )
}

const TRANSACTION: &str = r#"{"id":"8263a268-5388-492a-bca2-28e1ff4a69f1","status":3}"#;

#[tokio::test(flavor = "multi_thread")]
async fn idunico_in_each_of_its_ways() {
    let secret =
        |kind: &str, key: &str| format!("{{{kind}: {{secretKeyRefs: [{{name: unico, key: {key}}}]}}}}");
    let ways = [
        // "Provide credentials in the format user:pass."
        (
            "basic",
            secret("basic", "basic"),
            "user:canary:pass",
            ("Authorization", "Basic dXNlcjpjYW5hcnk6cGFzcw=="),
        ),
        // "Authorization:Bearer abc123" is sent as "Authorization: Bearer abc123".
        (
            "bearer",
            secret("apiKey", "bearer"),
            "Authorization:Bearer canary-abc123",
            ("Authorization", "Bearer canary-abc123"),
        ),
        ("header", secret("apiKey", "header"), "X-API-Key:canary-abc", ("X-API-Key", "canary-abc")),
        ("alone", secret("apiKey", "alone"), "canary-alone", ("Authorization", "canary-alone")),
        ("none", "{none: {}}".to_owned(), "", ("X-Nothing", "")),
    ];
    let manifests: String = ways.iter().map(|(name, verification, ..)| idunico(name, verification)).collect();
    let stage = Stage::with(&manifests).await;
    for (name, _, text, _) in ways.iter().filter(|(_, _, text, _)| !text.is_empty()) {
        stage.secret("unico", name, text);
    }
    let gate = stage.gate();
    let json = ("Content-Type", "application/json");
    for (name, _, text, header) in &ways {
        assert_eq!(post(&gate, &format!("/default/{name}"), &[*header, json], TRANSACTION), 200, "{name}");
        if !text.is_empty() {
            assert_eq!(post(&gate, &format!("/default/{name}"), &[json], TRANSACTION), 401, "{name}");
        }
    }
    let took = stage.until_took(&gate, ways.len()).await;
    assert!(took.iter().all(|handed| body(handed) == TRANSACTION));
    assert!(took.iter().all(|handed| handed.header("content-type") == Some(json.1)));
    let carried = ["authorization", "x-api-key"];
    assert!(took.iter().all(|handed| carried.iter().all(|name| handed.header(name).is_none())));

    // One transaction with each of its statuses: none is dropped, and one that waits for nothing is answered.
    let status = |status: &str| format!(r#"{{"id":"p1","status":{status}}}"#);
    let header = ways[0].3;
    let mut sent = ["2", "5", "2"].map(status).to_vec();
    for body in &sent {
        assert_eq!(post(&gate, "/default/basic", &[header, json], body), 200);
    }
    for left_out in ["1", "6", "\"\"", "null", "[2]", "3.0"] {
        assert_eq!(post(&gate, "/default/basic", &[header, json], &status(left_out)), 200, "{left_out}");
    }
    // A number as a text is the same text.
    sent.push(status("\"4\""));
    assert_eq!(post(&gate, "/default/basic", &[header, json], sent.last().unwrap()), 200);
    stage.until_took(&gate, ways.len() + sent.len()).await;
    gate.until("nothing is left", || gate.deliveries(&["list"]).stdout == "nothing waits\n").await;
    let took = at(&stage, "/basic");
    let bodies: Vec<&str> = took[1..].iter().map(body).collect();
    assert_eq!(bodies, sent, "all of them, in their order");
    let again = took[3].header("hookkeeper-duplicate-of");
    assert_eq!(again, Some(took[1].delivery().as_str()), "the second 2 says which one it repeats");
    assert_eq!(gate.metric("hookkeeper_gate_not_handed_on_total{receiver=\"default/basic\"}"), 6.0);
    gate.stop();
}

// Pulpo: <https://ajuda.drozbase.com/docs/Configuracoes-de-Webhooks-p0ges7kbyhd78n8ytw3a36758k>.

const PULPO: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: pulpo}
spec:
  preset: pulpo
  verification: {token: {secretKeyRefs: [{name: pulpo, key: token}]}}
  forward: {url: APPLICATION/pulpo}
";

const SAMPLE: &str = r#"{"event":"SampleEvent","timestamp":"2023-05-10T14:21:03.120Z","payload":{"id":"sample","typename":"Docs"}}"#;
const PROMOTED: &str = r#"{
  "event": "DocsPromoted",
  "timestamp": "2023-05-10T14:25:47.003Z",
  "payload": {"id": "0f1e2d3c", "typename": "Docs", "title": "Como começar"}
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn pulpo() {
    let stage = Stage::with(PULPO).await;
    stage.secret("pulpo", "token", "canary-3b6d0f0a-93b5-4f8e\n");
    let gate = stage.gate();
    let token = ("X-Webhook-Token", "canary-3b6d0f0a-93b5-4f8e");
    assert_eq!(post(&gate, "/default/pulpo", &[], SAMPLE), 401, "a test event proves itself too");
    assert_eq!(post(&gate, "/default/pulpo", &[token], SAMPLE), 200);
    assert_eq!(post(&gate, "/default/pulpo", &[token], PROMOTED), 200);
    let took = stage.until_took(&gate, 1).await;
    assert_eq!((took.len(), body(&took[0])), (1, PROMOTED));
    assert_eq!(took[0].header("hookkeeper-event-time"), Some("2023-05-10T14:25:47.003Z"));
    assert_eq!(took[0].header("x-webhook-token"), None);
    gate.until("the test event is counted", || {
        gate.metric("hookkeeper_gate_test_events_total{receiver=\"default/pulpo\"}") == 1.0
    })
    .await;
    assert!(gate.process.log().contains("a test event was answered"), "{}", gate.process.log());
    gate.stop();

    let forward = PULPO.replace(
        "preset: pulpo",
        "preset: pulpo\n  testEvent: {path: /event, equals: SampleEvent, action: Forward}",
    );
    stage.declare("receivers.yaml", &forward);
    let gate = stage.gate();
    assert_eq!(post(&gate, "/default/pulpo", &[token], SAMPLE), 200);
    assert_eq!(body(&stage.until_took(&gate, 2).await[1]), SAMPLE);
    gate.stop();
}

// QualP: <https://docs.qualp.com.br/docs/api-webhook-docs/v1/webhookLowCredits>.

const QUALP: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: qualp}
spec:
  preset: qualp
  verification: {hmac: {secretKeyRefs: [{name: qualp, key: secret}]}}
  forward: {url: APPLICATION/qualp}
";

/// The example of the document with other values: its blanks are part of what is signed.
const LOW_CREDITS: &str = r#"{
    "user" : {
      "id": 123456,
      "username": "joao",
      "email": "joao@example.com",
      "cpf_cnpj": "12345678910",
      "access_token": "canary-access-token",
      "company_name": null,
      "created_at": "2020-08-27T18:10:01.000000Z",
      "is_active": 1
    },
    "credits" : 0,
    "webhook" : {
      "type" : "low-credits-webhook"
    }
}"#;
/// Made with `openssl dgst -sha256 -hmac o-secret-cadastrado`.
const SIGNATURE: &str = "37c13809cf39afbaaa04ddea20d0d5dccd6eb7ea5bcf69f02cdb9b6e92990a95";

#[tokio::test(flavor = "multi_thread")]
async fn qualp_sealed_and_not_in_clear_unless_that_is_allowed() {
    let stage = Stage::with(QUALP).await;
    stage.secret("qualp", "secret", "o-secret-cadastrado");
    let signature = ("signature", SIGNATURE);
    // Its bodies hold a live token: without a key nothing is taken in.
    let mut gate = stage.gate();
    gate.process.until_says("BodiesInClear");
    assert!([404, 503].contains(&post(&gate, "/default/qualp", &[signature], LOW_CREDITS)));
    gate.stop();
    std::fs::write(stage.path("data.key"), format!("{}\n", "0123456789abcdef".repeat(4))).unwrap();
    let key = stage.path("data.key").display().to_string();
    for arguments in [&["--data-key-file", key.as_str()][..], &["--allow-clear-bodies"]] {
        let before = stage.application.took().len();
        std::fs::remove_dir_all(stage.path("data")).unwrap();
        std::fs::create_dir(stage.path("data")).unwrap();
        let gate = stage.start(stage.program().args(arguments));
        assert_eq!(post(&gate, "/default/qualp", &[signature], LOW_CREDITS), 200);
        let compact = LOW_CREDITS.replace(' ', "");
        assert_eq!(post(&gate, "/default/qualp", &[signature], &compact), 401);
        let took = stage.until_took(&gate, before + 1).await;
        assert_eq!(body(&took[before]), LOW_CREDITS);
        assert_eq!(took[before].header("signature"), None);
        gate.stop();
    }
}
