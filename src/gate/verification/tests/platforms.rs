//! A delivery of each platform, as its own document describes it, through its preset and everything that
//! judges one.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine as _;

use super::*;
use crate::api::{Identity, ObjectKey, TestEventAction, validation};
use crate::gate::acceptance::{Reading, read};
use crate::gate::digest::DigestKey;
use crate::gate::duplicates::{self, SAME_BODY};
use crate::gate::headers::content_type;
use crate::gate::verification::token_book::{PublishedToken, TokenBook};
use crate::secret::SecretText;
use crate::store::EventKey;

/// A delivery that was verified: which secret it was, what it says, and what it is known again by.
fn taken(
    receiver: &Receiver,
    texts: &[&str],
    lines: &[(&str, &str)],
    body: &str,
) -> Result<(String, Reading, EventKey), Refusal> {
    let which = judged(&verifier(&receiver.proof, texts).0, lines, body)?;
    let reading = read(body.as_bytes(), receiver);
    let key = duplicates::key(&[9; 32], receiver, &headers(lines), body.as_bytes(), &reading);
    Ok((which, reading, key))
}

/// A receiver with this preset and verification.
fn preset(name: &str, verification: &str, more: &str) -> Receiver {
    let yaml = format!(
        "{{preset: {name}, verification: {verification}, forward: {{service: {{name: app, port: 80}}}}{more}}}"
    );
    let spec: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
    let spec = validation::decode(&serde_json::json!({ "spec": spec }), None).unwrap();
    let identity = Identity {
        key: ObjectKey::new("shop", "hooks"),
        uid: "uid-1".into(),
        generation: 1,
        created: None,
        deleted: None,
        has_finalizer: false,
        rotate_requested: None,
        force_orphan: false,
    };
    Receiver::of(&identity, &spec).unwrap()
}

/// What [`references`] names.
const SECRET: &str = "secretKeyRefs: [{name: webhook, key: '0'}]";

// Gupy: <https://developers.gupy.io/reference/webhooks>, and for what is gone with client headers
// <https://developers.gupy.io/docs/fluxo-de-atualização-do-webhook-para-tokens-dinâmicos>.

/// The example of the document in short, with its two mistakes: a comma is missing after a name, and one
/// too many stands before a brace.
const GUPY_AS_WRITTEN: &str = r#"{
  "companyName": "ACME",
  "id": "24e99765-8583-4be5-87ae-489c86642964",
  "event": "candidate.hired",
  "date": "2019-06-19T23:48:46.952Z",
  "data": {
    "job": {
      "id": 19139,
      "name": "Developer"
      "departmentCode": "D-100",
      "branchCode": "B-300",
    },
    "application": { "id": 2937132, "currentStep": { "id": 86547, "name": "Contratação" } },
    "candidate": { "name": "John", "addressNumber": "595 - 10º andar", "disabilities": false }
  }
}
"#;

#[test]
fn gupy_sends_the_token_that_its_subscription_holds() {
    let receiver =
        preset("gupy", "{token: {header: Authorization, prefix: 'Bearer ', tokenSourceRef: {name: hr}}}", "");
    let mut book = TokenBook::new(DigestKey::new(&[1; 32]), "uid-1".into(), Vec::new());
    let token = SecretText::from("eyJhbGciOiJIUzI1NiJ9.e30.c2ln");
    let published =
        PublishedToken { text: &token, fingerprint: Some("4f1c"), minted: Some(at("2026-11-27T02:00:00Z")) };
    let prefix = Prefix::new(&AUTHORIZATION, "Bearer ");
    book.learn(&prefix, &published, None, at("2026-11-27T02:00:00Z"), receiver.overlap);
    let tokens = SourceTokens { book: Arc::new(book), overlap: receiver.overlap, revoked_before: None };

    let sent = headers(&[("Authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln")]);
    let head = verifier(&receiver.proof, &[]).0.with_tokens(tokens).head(&sent, at("2026-11-27T03:00:00Z"));
    let Head::Accepted(matched) = head else { panic!("{head:?}") };
    assert_eq!(matched.fingerprint.as_deref(), Some("4f1c"));
    // Any client header takes the default content type away.
    let restored = content_type(&sent, receiver.content_type.as_deref());
    assert_eq!(restored.as_deref(), Some("application/json;charset=utf-8"));

    let corrected =
        GUPY_AS_WRITTEN.replace("\"Developer\"", "\"Developer\",").replace("\"B-300\",", "\"B-300\"");
    let reading = read(corrected.as_bytes(), &receiver);
    assert_eq!(reading.event.as_deref(), Some("candidate.hired"));
    assert_eq!(reading.event_time.as_deref(), Some("2019-06-19T23:48:46.952Z"));
    assert!(reading.hand_on);
    let key = |body: &str| {
        duplicates::key(&[9; 32], &receiver, &sent, body.as_bytes(), &read(body.as_bytes(), &receiver))
    };
    assert!(key(&corrected).drop_repeated);
    let another_date = corrected.replace("2019", "2020");
    assert_eq!(key(&corrected).event, key(&another_date).event);
    assert_ne!(key(&corrected).body, key(&another_date).body);

    // As it is written it is no JSON: it is taken and handed on all the same, known again by its body.
    let reading = read(GUPY_AS_WRITTEN.as_bytes(), &receiver);
    assert!(reading.hand_on && reading.event.is_none() && reading.event_time.is_none());
    let key = key(GUPY_AS_WRITTEN);
    assert_eq!((key.drop_repeated, key.window), (false, SAME_BODY));
}

// IDUnico: <https://developer.unico.io/developers/webhooks-and-events/setup>.

fn idunico(verification: &str) -> Receiver {
    preset("idunico", verification, ", handOn: {path: /status, values: ['2', '3', '4', '5']}")
}

const IDUNICO: &str = r#"{"id":"8263a268-5388-492a-bca2-28e1ff4a69f1","status":3}"#;

#[test]
fn idunico_proves_itself_in_each_of_the_ways_that_it_offers() {
    for (kind, text, line) in [
        // "Provide credentials in the format user:pass."
        ("basic", "user:pass", ("Authorization", "Basic dXNlcjpwYXNz")),
        // "Authorization:Bearer abc123" is sent as "Authorization: Bearer abc123".
        ("apiKey", "Authorization:Bearer abc123", ("Authorization", "Bearer abc123")),
        // "header:value", and the value alone; the document's own value is too short to be believed.
        ("apiKey", "X-API-Key:abc12345", ("X-API-Key", "abc12345")),
        ("apiKey", "abc12345", ("Authorization", "abc12345")),
    ] {
        let receiver = idunico(&format!("{{{kind}: {{{SECRET}}}}}"));
        let (which, reading, _) = taken(&receiver, &[text], &[line], IDUNICO).unwrap();
        assert_eq!(which, "0", "{text}");
        assert!(reading.hand_on);
        assert!(taken(&receiver, &[text], &[(line.0, "wrong")], IDUNICO).is_err(), "{text}");
        assert!(taken(&receiver, &[text], &[], IDUNICO).is_err(), "{text}");
    }
    // "No credentials are sent."
    assert!(taken(&idunico("{none: {}}"), &[], &[], IDUNICO).is_ok());
}

#[test]
fn idunico_says_one_transaction_again_with_each_of_its_statuses() {
    let receiver = idunico("{none: {}}");
    let (_, reading, finished) = taken(&receiver, &[], &[], IDUNICO).unwrap();
    assert!(reading.hand_on);
    assert!(!finished.drop_repeated);
    let processing = IDUNICO.replace(":3", ":1");
    let (_, reading, _) = taken(&receiver, &[], &[], &processing).unwrap();
    assert!(!reading.hand_on);
    let (_, reading, divergence) = taken(&receiver, &[], &[], &IDUNICO.replace(":3", ":2")).unwrap();
    assert!(reading.hand_on);
    assert_ne!(finished.event, divergence.event);
    let (_, _, again) = taken(&receiver, &[], &[], IDUNICO).unwrap();
    assert_eq!(finished, again);
}

// Pulpo: <https://ajuda.drozbase.com/docs/Configuracoes-de-Webhooks-p0ges7kbyhd78n8ytw3a36758k>.

const PULPO_TEST: &str = r#"{"event":"SampleEvent","timestamp":"2023-05-10T14:21:03.120Z","payload":{"id":"sample","typename":"Docs"}}"#;
const PULPO_PROMOTED: &str = r#"{
  "event": "DocsPromoted",
  "timestamp": "2023-05-10T14:25:47.003Z",
  "payload": {"id": "0f1e2d3c", "typename": "Docs", "title": "Como começar"}
}"#;

#[test]
fn pulpo_sends_the_token_that_it_made_and_a_test_event() {
    let receiver = preset("pulpo", &format!("{{token: {{{SECRET}}}}}"), "");
    let minted = "3b6d0f0a-93b5-4f8e-8f3c-cb1d8d7c2c11";
    let sent = [("X-Webhook-Token", minted), ("Content-Type", "application/json")];

    let (_, reading, _) = taken(&receiver, &[minted], &sent, PULPO_TEST).unwrap();
    assert_eq!((reading.test_event, reading.hand_on), (Some(TestEventAction::Answer), false));

    let (_, reading, key) = taken(&receiver, &[minted], &sent, PULPO_PROMOTED).unwrap();
    assert_eq!((reading.test_event, reading.hand_on), (None, true));
    assert_eq!(reading.event.as_deref(), Some("DocsPromoted"));
    assert_eq!(reading.event_time.as_deref(), Some("2023-05-10T14:25:47.003Z"));
    assert!(!key.drop_repeated);
    let later = PULPO_PROMOTED.replace("47.003Z", "48.003Z");
    assert_ne!(taken(&receiver, &[minted], &sent, &later).unwrap().2.event, key.event);

    for lines in [&[("X-Webhook-Token", "")][..], &[("Authorization", minted)], &[]] {
        assert!(taken(&receiver, &[minted], lines, PULPO_TEST).is_err(), "a test event proves itself too");
    }
}

// QualP: <https://docs.qualp.com.br/docs/api-webhook-docs/v1/webhookLowCredits>.

/// The example of the document with other values: its blanks are part of what is signed.
const QUALP: &str = r#"{
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

#[test]
fn qualp_signs_the_raw_body() {
    let receiver = preset("qualp", &format!("{{hmac: {{{SECRET}}}}}"), "");
    assert!(receiver.sealed_only, "the body holds a live access token");
    let secret = "o-secret-cadastrado";
    let signature = |body: &str| {
        let tag = sign(&Key::new(HMAC_SHA256, secret.as_bytes()), body.as_bytes());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let sent = signature(QUALP);
    // Made with `openssl dgst -sha256 -hmac`, and not with what is tested.
    assert_eq!(sent, OF_OPENSSL);
    let (which, reading, key) = taken(&receiver, &[secret], &[("signature", &sent)], QUALP).unwrap();
    assert_eq!(which, "0");
    assert!(reading.hand_on);
    assert_eq!((key.drop_repeated, key.window), (false, SAME_BODY));
    // The same content, written again.
    let compact = serde_json::from_str::<serde_json::Value>(QUALP).unwrap().to_string();
    let refused = taken(&receiver, &[secret], &[("signature", &sent)], &compact);
    assert_eq!(refused.err(), Some(Refusal::UnknownCredential));
}

const OF_OPENSSL: &str = "37c13809cf39afbaaa04ddea20d0d5dccd6eb7ea5bcf69f02cdb9b6e92990a95";

// Standard Webhooks: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

#[test]
fn standard_webhooks_names_an_event_by_its_header() {
    let receiver = preset("standardWebhooks", &format!("{{standardWebhooks: {{{SECRET}}}}}"), "");
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let body = r#"{"type":"contact.created","timestamp":"2026-11-27T02:59:59.5Z","data":{"id":"1f81eb52"}}"#;
    let (id, time) = ("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", "1795748399");
    let key = base64::engine::general_purpose::STANDARD.decode(&secret["whsec_".len()..]).unwrap();
    let tag = sign(&Key::new(HMAC_SHA256, &key), format!("{id}.{time}.{body}").as_bytes());
    let signature = format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(tag));
    let sent = [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", &signature)];
    let (which, reading, key) = taken(&receiver, &[secret], &sent, body).unwrap();
    assert_eq!(which, "0");
    assert_eq!(reading.event.as_deref(), Some("contact.created"));
    assert_eq!(reading.event_time.as_deref(), Some("2026-11-27T02:59:59.5Z"));
    assert!(key.drop_repeated);
}
