use super::*;
use crate::api::{
    DuplicateAction, HmacAlgorithm, HmacEncoding, Mode, ObjectKey, TestEventAction, validation,
};
use crate::gate::preset::presets;

const HOUR: u64 = 3600;

/// An object of this name, read and judged as a shell does it.
fn spec(name: &str, yaml: &str) -> (Identity, WebhookReceiverSpec) {
    let spec: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
    let spec = validation::decode(&serde_json::json!({ "spec": spec }), None).unwrap();
    let named = Identity::of_name(ObjectKey::new("hr", name));
    let identity = Identity { uid: "u".into(), generation: 3, ..named };
    (identity, spec)
}

fn receiver(yaml: &str) -> Receiver {
    let (identity, spec) = spec("in", yaml);
    Receiver::of(&identity, &spec).unwrap()
}

/// The fields of what is wrong.
fn wrong(yaml: &str) -> Vec<String> {
    let (identity, spec) = spec("in", yaml);
    let problems = Receiver::of(&identity, &spec).unwrap_err();
    problems.into_iter().map(|problem| problem.field).collect()
}

fn pointer(parts: &[&str]) -> Pointer {
    Pointer(parts.iter().map(|part| (*part).to_owned()).collect())
}

fn secret(name: &str) -> Vec<crate::api::SecretKeyReference> {
    vec![crate::api::SecretKeyReference { name: name.to_owned(), key: "k".to_owned() }]
}

#[test]
fn what_nobody_says_has_the_value_that_the_documentation_gives() {
    let receiver = receiver("{verification: {none: {}}, forward: {service: {name: app, port: 8080}}}");
    assert_eq!(receiver.path, "/hr/in");
    assert_eq!((&*receiver.owner.namespace, &*receiver.owner.name, &*receiver.owner.uid), ("hr", "in", "u"));
    assert_eq!(receiver.generation, 3);
    assert_eq!(receiver.proof, Proof::None);
    assert_eq!(receiver.max_body, 1_048_576);
    let room = Extent { deliveries: 100_000, bytes: 1 << 30 };
    assert_eq!((receiver.max_pending, receiver.max_parked), (room, room));
    assert_eq!((receiver.hand_on, receiver.test_event), (None, None));
    assert_eq!(
        receiver.duplicates,
        Duplicates { key: EventName::Body, window: Duration::from_secs(600), action: DuplicateAction::Mark }
    );
    assert_eq!((receiver.success, receiver.mode), (200, Mode::Stored));
    assert_eq!(
        receiver.forward,
        Forward {
            to: Destination::Service { name: "app".into(), port: 8080, path: "/".into() },
            timeout: Duration::from_secs(10),
            max_concurrent: 10,
            max_attempts: 50,
            interval: Duration::from_secs(5),
            max_interval: Duration::from_secs(600),
        }
    );
    assert_eq!(receiver.retention, Duration::from_secs(72 * HOUR));
    assert_eq!(receiver.requests_per_second, 1000);
    assert!(!receiver.suspended && !receiver.sealed_only && receiver.source_ranges.is_empty());
    assert_eq!((receiver.event_name, receiver.event_time, receiver.content_type), (None, None, None));
    assert!(receiver.fallback.is_none() && receiver.removed_after.is_none());
}

#[test]
fn every_preset_can_be_read_and_is_named() {
    let names: Vec<_> = presets().collect();
    assert_eq!(names, ["gupy", "idunico", "pulpo", "qualp", "standardWebhooks"]);
    for name in names {
        receiver(&format!(
            "{{preset: {name}, verification: {{none: {{}}}}, forward: {{url: 'https://a.example'}}}}"
        ));
    }
    assert_eq!(
        wrong("{preset: gupi, verification: {none: {}}, forward: {url: 'https://a.example'}}"),
        ["spec.preset"]
    );
}

/// Its document: `id` for duplicates, `date` for order, 200 within 30 s, repeated over 2 h, removed after
/// 7 days of errors, its content type gone as soon as a client header is set.
#[test]
fn gupy_is_as_its_document_says() {
    let receiver = receiver(
        "{preset: gupy, verification: {token: {header: token, prefix: 'Bearer ', tokenSourceRef: {name: s}}}, forward: {url: 'https://a.example/x'}}",
    );
    assert_eq!(
        receiver.proof,
        Proof::Token {
            header: HeaderName::from_static("token"),
            prefix: "Bearer ".into(),
            tokens: Tokens::Source("s".into())
        }
    );
    assert_eq!(
        receiver.duplicates,
        Duplicates {
            key: EventName::Parts(vec![pointer(&["id"])]),
            window: Duration::from_secs(24 * HOUR),
            action: DuplicateAction::Drop
        }
    );
    assert_eq!(receiver.event_name, Some(pointer(&["event"])));
    assert_eq!(receiver.event_time, Some(pointer(&["date"])));
    assert_eq!(receiver.content_type.as_deref(), Some("application/json;charset=utf-8"));
    assert_eq!((receiver.success, receiver.test_event), (200, None));
    assert_eq!(receiver.overlap, Duration::from_secs(2 * HOUR));
    assert_eq!(receiver.removed_after, Some(Duration::from_secs(7 * 24 * HOUR)));
    assert!(!receiver.sealed_only);
}

#[test]
fn the_header_of_a_token_has_to_come_from_somewhere() {
    for preset in ["", "preset: gupy, ", "preset: qualp, "] {
        let text = format!(
            "{{{preset}verification: {{token: {{tokenSourceRef: {{name: s}}}}}}, forward: {{url: 'https://a.example'}}}}"
        );
        assert_eq!(wrong(&text), ["spec.verification.token.header"], "{preset}");
        let text = format!(
            "{{{preset}verification: {{hmac: {{secretKeyRefs: [{{name: a, key: k}}]}}}}, forward: {{url: 'https://a.example'}}}}"
        );
        if preset.contains("qualp") {
            receiver(&text);
        } else {
            assert_eq!(wrong(&text), ["spec.verification.hmac.header"], "{preset}");
        }
    }
}

/// Its document: Basic, an API key in two forms, or nothing; `{id, status}`, of which the id comes again.
#[test]
fn idunico_is_as_its_document_says() {
    let of = |verification: &str| {
        receiver(&format!(
            "{{preset: idunico, verification: {verification}, sourceRanges: [203.0.113.0/24, '2001:db8::/32'], handOn: {{path: /status, values: ['2', '3', '4', '5']}}, forward: {{url: 'https://a.example', maxConcurrent: 500, timeout: 30s, retry: {{maxAttempts: 8, interval: 30s}}}}}}"
        ))
    };
    let basic = of("{basic: {secretKeyRefs: [{name: a, key: k}]}}");
    assert_eq!(basic.proof, Proof::Basic { secrets: secret("a") });
    assert_eq!(
        of("{apiKey: {secretKeyRefs: [{name: a, key: k}]}}").proof,
        Proof::ApiKey { header: None, secrets: secret("a") }
    );
    assert_eq!(
        of("{apiKey: {header: X-Api-Key, secretKeyRefs: [{name: a, key: k}]}}").proof,
        Proof::ApiKey { header: Some(HeaderName::from_static("x-api-key")), secrets: secret("a") }
    );
    assert_eq!(of("{none: {}}").proof, Proof::None);
    assert_eq!(
        basic.duplicates,
        Duplicates {
            key: EventName::Parts(vec![pointer(&["id"]), pointer(&["status"])]),
            window: Duration::from_secs(24 * HOUR),
            action: DuplicateAction::Mark
        }
    );
    let hand_on = basic.hand_on.unwrap();
    assert_eq!((hand_on.path, hand_on.values.len()), (pointer(&["status"]), 4));
    assert_eq!(basic.source_ranges.len(), 2);
    assert_eq!((basic.forward.max_concurrent, basic.forward.max_attempts), (500, 8));
    assert_eq!(basic.forward.interval, Duration::from_secs(30));
    assert_eq!((basic.test_event, basic.event_name, basic.content_type), (None, None, None));
}

/// Its document: `X-Webhook-Token` made by the platform, `{event, timestamp, payload}`, `SampleEvent`.
#[test]
fn pulpo_is_as_its_document_says() {
    let of = |more: &str| {
        receiver(&format!(
            "{{preset: pulpo, verification: {{token: {{secretKeyRefs: [{{name: a, key: k}}]}}}}, forward: {{url: 'https://a.example'}}{more}}}"
        ))
    };
    let pulpo = of("");
    assert_eq!(
        pulpo.proof,
        Proof::Token {
            header: HeaderName::from_static("x-webhook-token"),
            prefix: String::new(),
            tokens: Tokens::Secrets(secret("a"))
        }
    );
    assert_eq!(
        pulpo.duplicates.key,
        EventName::Parts(vec![pointer(&["event"]), pointer(&["payload", "id"]), pointer(&["timestamp"])])
    );
    assert_eq!(pulpo.duplicates.action, DuplicateAction::Mark);
    let event = |action| TestEvent { path: pointer(&["event"]), equals: "SampleEvent".into(), action };
    assert_eq!(pulpo.test_event, Some(event(TestEventAction::Answer)));
    assert_eq!(of(", testEvent: {action: Forward}").test_event, Some(event(TestEventAction::Forward)));
    assert_eq!(pulpo.event_name, Some(pointer(&["event"])));
    assert_eq!(pulpo.event_time, Some(pointer(&["timestamp"])));
}

/// Its document: `signature`, lower-case hex of HMAC-SHA256 over the raw body; the body holds a live token.
#[test]
fn qualp_is_as_its_document_says() {
    let receiver = receiver(
        "{preset: qualp, verification: {hmac: {secretKeyRefs: [{name: a, key: k}]}}, forward: {service: {name: billing, port: 8080, path: /qualp}}}",
    );
    assert_eq!(
        receiver.proof,
        Proof::Hmac {
            header: HeaderName::from_static("signature"),
            algorithm: HmacAlgorithm::Sha256,
            encoding: HmacEncoding::Hex,
            prefix: String::new(),
            secrets: secret("a")
        }
    );
    assert_eq!(
        receiver.duplicates,
        Duplicates { key: EventName::Body, window: Duration::from_secs(600), action: DuplicateAction::Mark }
    );
    assert!(receiver.sealed_only);
}

/// The specification: `webhook-id` names the event and is the same in every attempt; `{type, timestamp, data}`.
#[test]
fn standard_webhooks_is_as_its_specification_says() {
    let receiver = receiver(
        "{preset: standardWebhooks, verification: {standardWebhooks: {secretKeyRefs: [{name: a, key: k}]}}, forward: {url: 'https://a.example'}}",
    );
    assert_eq!(receiver.proof, Proof::StandardWebhooks { secrets: secret("a") });
    assert_eq!(
        receiver.duplicates,
        Duplicates {
            key: EventName::Header(HeaderName::from_static("webhook-id")),
            window: Duration::from_secs(24 * HOUR),
            action: DuplicateAction::Drop
        }
    );
    assert_eq!(receiver.event_name, Some(pointer(&["type"])));
}

#[test]
fn a_presets_drop_is_for_its_own_key_alone() {
    let of = |duplicates: &str| {
        receiver(&format!(
            "{{preset: gupy, verification: {{none: {{}}}}, duplicates: {duplicates}, forward: {{url: 'https://a.example'}}}}"
        ))
        .duplicates
    };
    let id = EventName::Parts(vec![pointer(&["id"])]);
    let window = of("{window: 48h}");
    assert_eq!((window.key, window.action), (id.clone(), DuplicateAction::Drop));
    assert_eq!(window.window, Duration::from_secs(48 * HOUR));
    let marked = of("{action: Mark}");
    assert_eq!((marked.key, marked.action), (id, DuplicateAction::Mark));
    let other = of("{key: [/data/job/id]}");
    assert_eq!(other.key, EventName::Parts(vec![pointer(&["data", "job", "id"])]));
    assert_eq!(other.action, DuplicateAction::Mark);
    assert_eq!(of("{key: [/data/id], action: Drop}").action, DuplicateAction::Drop);
}

#[test]
fn the_prefix_of_a_preset_goes_with_its_header_and_the_defaults_of_waits_with_each_other() {
    let retry = |retry: &str| {
        let forward = receiver(&format!(
            "{{verification: {{none: {{}}}}, forward: {{url: 'https://a.example', retry: {retry}}}}}"
        ))
        .forward;
        (forward.interval.as_secs(), forward.max_interval.as_secs())
    };
    assert_eq!(retry("{interval: 1h}"), (3600, 3600));
    assert_eq!(retry("{maxInterval: 2s}"), (2, 2));
    assert_eq!(retry("{maxInterval: 1h}"), (5, 3600));
}

#[test]
fn a_test_event_without_a_preset_needs_its_name() {
    assert_eq!(
        wrong(
            "{verification: {none: {}}, testEvent: {action: Forward}, forward: {url: 'https://a.example'}}"
        ),
        ["spec.testEvent"]
    );
}

#[test]
fn a_fallback_asks_as_the_object_says() {
    let receiver = receiver(
        "{preset: idunico, verification: {none: {}}, forward: {url: 'https://a.example'}, fallback: {secretKeyRefs: [{name: a, key: k}], request: {url: 'https://api.id.unico.app/processes/v1/{id}', tokenSourceRef: {name: unico}}, until: ['3', '4', '5']}}",
    );
    let fallback = receiver.fallback.unwrap();
    assert_eq!((fallback.after, fallback.every), (Duration::from_secs(10), Duration::from_secs(10)));
    assert_eq!(fallback.give_up_after, Duration::from_secs(24 * HOUR));
    assert_eq!((&fallback.id, &fallback.status), (&pointer(&["id"]), &pointer(&["status"])));
    assert_eq!(fallback.until, ["3", "4", "5"]);
}

#[test]
fn pointers_are_taken_apart_as_the_rfc_says() {
    for (text, parts) in [
        ("", &[][..]),
        ("/", &[""][..]),
        ("/a/0", &["a", "0"]),
        ("/a~1b/m~0n", &["a/b", "m~n"]),
        ("/~01", &["~1"]),
    ] {
        assert_eq!(Pointer::parse(text), pointer(parts), "{text}");
    }
}
