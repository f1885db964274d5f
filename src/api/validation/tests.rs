use serde_json::{Value, json};

use super::*;

const CANARY: &str = "s3cr3t-c4n4ry";

fn subscription() -> Value {
    json!({ "spec": {
        "providerRef": { "name": "gupy" },
        "action": "application.completed",
        "postbackUrl": "https://integrations.example.com/gupy?x=1",
        "clientHeaders": [
            { "name": "token", "valueFrom": { "token": { "prefix": "Bearer " } } },
            { "name": "X-Tenant", "value": "acme" },
            { "name": "X-Key", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "a.b" } } }
        ],
        "parameters": { "techOwnerName": "Ada" },
        "webhookId": "d5b2eca6-09c5-4014-9eb8-1d729dd2e3d6",
        "tokenSource": { "oauth2": {
            "tokenUrl": "https://auth.example.com/oauth/token",
            "clientId": { "value": "hr-integration" },
            "clientSecret": { "secretKeyRef": { "name": "integration-client", "key": "secret" } },
            "scopes": ["a:read", "b"],
            "timeout": "10s"
        } },
        "rotation": { "renewBefore": "20m", "overlap": "0s" }
    } })
}

fn source() -> Value {
    json!({ "spec": {
        "http": {
            "url": "https://api.example.com/login",
            "headers": [{ "name": "X-Key", "valueFrom": { "secretKeyRef": { "name": "k", "key": "k" } } }],
            "json": [{ "name": "user", "value": "u" }],
            "response": { "tokenPath": "/data/to~1ken" }
        },
        "assumedLifetime": "1h30m",
        "publishTo": { "secretName": "token" }
    } })
}

fn provider() -> Value {
    json!({ "spec": {
        "baseUrl": "https://api.example.com/v1",
        "auth": { "bearer": { "secretKeyRef": { "name": "api", "key": "token" } } },
        "operations": {
            "list": {
                "method": "GET", "path": "/hooks?page={page}", "items": "/results",
                "pagination": { "pageNumber": { "totalPages": "/totalPages" } },
                "fields": { "id": "/id", "active": { "path": "/status", "equals": "active" } }
            },
            "create": {
                "method": "POST", "path": "/hooks", "success": [201],
                "json": { "headers": "{headers}", "nothing": null }, "capture": { "id": "/id" }
            }
        },
        "limits": { "requestsPerMinute": 60 }
    } })
}

fn example(kind: Kind) -> Value {
    match kind {
        Kind::WebhookSubscription => subscription(),
        Kind::TokenSource => source(),
        Kind::WebhookProvider => provider(),
    }
}

/// Sets the value at a pointer below `/spec`, or takes it out with `Value::Null` for a removal.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(&format!("/spec{parent}")).unwrap();
    match parent {
        Value::Array(items) => {
            let index: usize = last.parse().unwrap();
            if index == items.len() {
                items.push(value);
            } else {
                items[index] = value;
            }
        }
        Value::Object(members) => {
            members.insert(last.to_owned(), value);
        }
        other => panic!("{other} has no members"),
    }
}

fn problems(kind: Kind, object: &Value) -> Vec<Problem> {
    validate(kind, object, None).err().unwrap_or_default()
}

fn texts(count: usize) -> Value {
    (0..count).map(|number| format!("x{number}")).collect()
}

fn headers(count: usize) -> Value {
    (0..count).map(|number| json!({ "name": format!("h{number}"), "value": "v" })).collect()
}

fn map(count: usize) -> Value {
    Value::Object((0..count).map(|number| (format!("p{number}"), json!("v"))).collect())
}

const W: Kind = Kind::WebhookSubscription;
const T: Kind = Kind::TokenSource;
const P: Kind = Kind::WebhookProvider;

#[test]
fn good_objects_keep_all_rules() {
    for kind in crd::KINDS {
        assert_eq!(problems(kind, &example(kind)), [], "{kind}");
    }
}

#[test]
fn what_is_allowed_passes() {
    let longest_url = format!("https://example.com/{}", "x".repeat(2028));
    let cases: Vec<(Kind, &str, Value)> = vec![
        (W, "/action", json!("a".repeat(128))),
        (W, "/action", json!("a.b:c/d_e-F9")),
        (W, "/postbackUrl", json!("http://localhost:8080")),
        (W, "/postbackUrl", json!("https://[::1]:8443/a?b=c@d")),
        (W, "/postbackUrl", json!("https://example.com?x=%20")),
        (W, "/postbackUrl", json!(longest_url)),
        (W, "/clientHeaders", headers(32)),
        (W, "/clientHeaders", json!([])),
        (W, "/clientHeaders/1/value", json!("é".repeat(8192))),
        (W, "/clientHeaders/1/value", json!("a\tb {x}")),
        (W, "/clientHeaders/0/valueFrom/token", json!({})),
        (W, "/parameters", map(32)),
        (W, "/parameters", json!({})),
        (W, "/active", json!(null)),
        (W, "/parameters", json!({ "gone": null })),
        (W, "/rotation/renewBefore", json!("1h30m5s100ms")),
        (W, "/rotation/overlap", json!("99999h")),
        (W, "/whenMissing", json!("Stall")),
        (T, "/http/response", json!({ "format": "Text" })),
        (T, "/http/response/tokenPath", json!("")),
        (T, "/http/json", json!(null)),
        (T, "/publishTo/secretName", json!("a.b-c")),
        (P, "/baseUrl", json!("https://api.example.com")),
        (P, "/operations/create/json", json!(["{token}", null])),
        (P, "/limits/requestsPerMinute", json!(60_000)),
        (P, "/verifyInterval", json!("0s")),
    ];
    for (kind, pointer, value) in cases {
        let mut object = example(kind);
        set(&mut object, pointer, value.clone());
        assert_eq!(problems(kind, &object), [], "{pointer} = {value}");
    }
}

#[test]
fn what_is_not_allowed_is_refused_and_the_field_is_named() {
    let secret_key = json!({ "secretKeyRef": { "name": "a", "key": "b" } });
    let deep = (0..40).fold(json!("{token}"), |inner, _| json!([inner]));
    let cases: Vec<(Kind, &str, Value, &str)> = vec![
        // Types, required and unknown fields.
        (W, "/providerRef", json!(null), "spec.providerRef"),
        (W, "/providerRef", json!("gupy"), "spec.providerRef"),
        (W, "/providerRef", json!({}), "spec.providerRef.name"),
        (W, "/providerRef/namespace", json!("other"), "spec.providerRef.namespace"),
        (W, "/postbackURL", json!("https://example.com"), "spec.postbackURL"),
        (W, "/unknown", json!(null), "spec.unknown"),
        (W, "/active", json!("true"), "spec.active"),
        (W, "/active", json!(1), "spec.active"),
        (W, "/clientHeaders", json!({}), "spec.clientHeaders"),
        (W, "/clientHeaders/1", json!(null), "spec.clientHeaders[1]"),
        (W, "/clientHeaders/1/value", json!(7), "spec.clientHeaders[1].value"),
        (W, "/clientHeaders/1/vlaue", json!("x"), "spec.clientHeaders[1].vlaue"),
        (W, "/parameters", json!({ "a": 1 }), "spec.parameters.a"),
        (W, "/tokenSource/publishTo", json!({ "secretName": "x" }), "spec.tokenSource.publishTo"),
        (P, "/auth", json!(null), "spec.auth"),
        (P, "/auth", json!({ "none": { "x": 1 } }), "spec.auth.none.x"),
        (P, "/limits/requestsPerMinute", json!(1.5), "spec.limits.requestsPerMinute"),
        // Names.
        (W, "/providerRef/name", json!("Gupy"), "spec.providerRef.name"),
        (W, "/providerRef/name", json!(""), "spec.providerRef.name"),
        (W, "/providerRef/name", json!("a".repeat(254)), "spec.providerRef.name"),
        (T, "/publishTo/secretName", json!("a_b"), "spec.publishTo.secretName"),
        (P, "/auth/bearer/secretKeyRef/key", json!("a/b"), "spec.auth.bearer.secretKeyRef.key"),
        (P, "/preset", json!("Gupy"), "spec.preset"),
        // Texts.
        (W, "/action", json!(""), "spec.action"),
        (W, "/action", json!("a b"), "spec.action"),
        (W, "/action", json!("a".repeat(129)), "spec.action"),
        (W, "/webhookId", json!("a b"), "spec.webhookId"),
        (W, "/adoptionPolicy", json!("never"), "spec.adoptionPolicy"),
        (W, "/deletionPolicy", json!("Retain"), "spec.deletionPolicy"),
        (P, "/contentType", json!("text/plain\r\nX: y"), "spec.contentType"),
        // URLs.
        (W, "/postbackUrl", json!("integrations.example.com"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("ftp://example.com"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("HTTPS://example.com"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://user:pass@example.com/"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com/#part"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com/a b"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com/\n"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https:///path"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("/path"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com/%zz"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com\\.evil.example"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com/\u{1}"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com:99999/"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!(format!("https://example.com/{}", "x".repeat(2029))), "spec.postbackUrl"),
        (W, "/tokenSource/oauth2/tokenUrl", json!("x"), "spec.tokenSource.oauth2.tokenUrl"),
        (W, "/tokenSource/oauth2/tokenUrl", json!("https://e.com/%"), "spec.tokenSource.oauth2.tokenUrl"),
        (T, "/http/url", json!("https://a@b/"), "spec.http.url"),
        (P, "/baseUrl", json!("https://api.example.com/?a=b"), "spec.baseUrl"),
        (P, "/baseUrl", json!("https://api.example.com/\\"), "spec.baseUrl"),
        // Headers.
        (W, "/clientHeaders", headers(33), "spec.clientHeaders"),
        (W, "/clientHeaders/1/name", json!("X Tenant"), "spec.clientHeaders[1].name"),
        (W, "/clientHeaders/1/name", json!("X:"), "spec.clientHeaders[1].name"),
        (W, "/clientHeaders/1/name", json!("x".repeat(129)), "spec.clientHeaders[1].name"),
        (W, "/clientHeaders/1/name", json!("token"), "spec.clientHeaders[1].name"),
        (W, "/clientHeaders/1/name", json!("TOKEN"), "spec.clientHeaders"),
        (W, "/clientHeaders/1", json!({ "name": "a" }), "spec.clientHeaders[1]"),
        (W, "/clientHeaders/1/valueFrom", secret_key.clone(), "spec.clientHeaders[1]"),
        (W, "/clientHeaders/1/value", json!("a\r\nX-Evil: 1"), "spec.clientHeaders[1].value"),
        (W, "/clientHeaders/1/value", json!("a\n"), "spec.clientHeaders[1].value"),
        (W, "/clientHeaders/1/value", json!("a\0"), "spec.clientHeaders[1].value"),
        (W, "/clientHeaders/1/value", json!("a\u{7}"), "spec.clientHeaders[1].value"),
        (W, "/clientHeaders/1/value", json!("Bearer {{ token }}"), "spec.clientHeaders[1].value"),
        (W, "/clientHeaders/1/value", json!("x".repeat(8193)), "spec.clientHeaders[1].value"),
        (
            W,
            "/clientHeaders/0/valueFrom/token/prefix",
            json!("{{ x"),
            "spec.clientHeaders[0].valueFrom.token.prefix",
        ),
        (W, "/clientHeaders/0/valueFrom", json!({}), "spec.clientHeaders[0].valueFrom"),
        (
            W,
            "/clientHeaders/0/valueFrom/secretKeyRef",
            secret_key["secretKeyRef"].clone(),
            "spec.clientHeaders[0].valueFrom",
        ),
        (T, "/http/headers/1", json!({ "name": "x-key", "value": "v" }), "spec.http.headers"),
        (T, "/http/headers/0/name", json!("X Key"), "spec.http.headers"),
        (T, "/http/headers/1", json!({ "name": "Y", "value": "a\nb" }), "spec.http.headers"),
        (T, "/http/headers/1", json!({ "name": "Y", "value": "a\u{1}b" }), "spec.http.headers[1].value"),
        (T, "/http/json/1", json!({ "name": "user", "value": "v" }), "spec.http.json[1].name"),
        (P, "/auth", json!({ "headers": [] }), "spec.auth.headers"),
        (P, "/operations/list/headers", json!({ "X Y": "v" }), "spec.operations.list.headers.X Y"),
        (P, "/operations/list/headers", json!({ "X": "a\nb" }), "spec.operations.list.headers.X"),
        // Parameters.
        (W, "/parameters", map(33), "spec.parameters"),
        (W, "/parameters", json!({ "a": "x".repeat(2049) }), "spec.parameters.a"),
        (W, "/parameters", json!({ "a".repeat(65): "x" }), "spec.parameters"),
        (W, "/parameters", json!({ "": "x" }), "spec.parameters"),
        (W, "/parameters", json!({ "a.b": "x" }), "spec.parameters.a.b"),
        // Exactly one of several.
        (W, "/tokenSourceRef", json!({ "name": "x" }), "spec"),
        (W, "/tokenSource", json!(null), "spec"),
        (W, "/tokenSource", json!({}), "spec.tokenSource"),
        (W, "/tokenSource/secret", json!({ "name": "a", "key": "b" }), "spec.tokenSource"),
        (T, "/oauth2", json!(null), ""),
        (T, "/secret", json!({ "name": "a", "key": "b" }), "spec"),
        (T, "/http/form", json!([{ "name": "a", "value": "b" }]), "spec.http"),
        (T, "/http/body", json!({ "contentType": "text/plain", "value": "x" }), "spec.http"),
        (T, "/http/response/format", json!("Text"), "spec.http.response"),
        (P, "/auth/none", json!({}), "spec.auth"),
        (P, "/auth", json!({}), "spec.auth"),
        (P, "/operations/list/pagination/none", json!({}), "spec.operations.list.pagination"),
        (P, "/operations", json!(null), "spec"),
        // Durations and numbers.
        (W, "/rotation/overlap", json!("2 days"), "spec.rotation.overlap"),
        (W, "/rotation/overlap", json!("-5m"), "spec.rotation.overlap"),
        (W, "/rotation/overlap", json!(""), "spec.rotation.overlap"),
        (W, "/rotation/overlap", json!("1h1h1h1h1h"), "spec.rotation.overlap"),
        (W, "/rotation/overlap", json!("100000s"), "spec.rotation.overlap"),
        (W, "/rotation/overlap", json!(30), "spec.rotation.overlap"),
        (W, "/rotation/renewBefore", json!("0s"), "spec.rotation.renewBefore"),
        (T, "/assumedLifetime", json!("0h0m"), "spec.assumedLifetime"),
        (P, "/limits/requestsPerMinute", json!(0), "spec.limits.requestsPerMinute"),
        (P, "/limits/requestsPerMinute", json!(60_001), "spec.limits.requestsPerMinute"),
        (P, "/limits/maxConcurrent", json!(-1), "spec.limits.maxConcurrent"),
        (P, "/operations/create/success", json!([99]), "spec.operations.create.success[0]"),
        (P, "/operations/create/missing", json!([600]), "spec.operations.create.missing[0]"),
        // Token sources.
        (W, "/tokenSource/oauth2/scopes", json!(["a b"]), "spec.tokenSource.oauth2.scopes[0]"),
        (W, "/tokenSource/oauth2/scopes", texts(65), "spec.tokenSource.oauth2.scopes"),
        (W, "/tokenSource/oauth2/clientId", json!({}), "spec.tokenSource.oauth2.clientId"),
        (
            W,
            "/tokenSource",
            json!({ "serviceAccount": { "name": "a", "audiences": [] } }),
            "spec.tokenSource.serviceAccount.audiences",
        ),
        (
            W,
            "/tokenSource",
            json!({ "serviceAccount": { "name": "a", "audiences": ["x"], "expirationSeconds": 599 } }),
            "spec.tokenSource.serviceAccount.expirationSeconds",
        ),
        (T, "/http/response/tokenPath", json!("token"), "spec.http.response.tokenPath"),
        (T, "/http/response/tokenPath", json!("/a~2"), "spec.http.response.tokenPath"),
        // Operations.
        (P, "/operations/list/path", json!("hooks"), "spec.operations.list.path"),
        (P, "/operations/list/path", json!("/a b"), "spec.operations.list.path"),
        (P, "/operations/list/method", json!("get"), "spec.operations.list.method"),
        (P, "/operations/create/json", json!("{token}"), "spec.operations.create.json"),
        (P, "/operations/create/json", deep, "spec.operations.create.json"),
        (P, "/operations/create/json", json!(["x".repeat(70_000)]), "spec.operations.create.json"),
        (P, "/operations/beforeUpdate", json!({}), "spec.operations.beforeUpdate"),
        (P, "/postback", json!({ "warnHosts": ["https://x"] }), "spec.postback.warnHosts[0]"),
    ];
    for (kind, pointer, value, field) in cases {
        let mut object = example(kind);
        set(&mut object, pointer, value.clone());
        let found = problems(kind, &object);
        if field.is_empty() {
            assert_eq!(found, [], "{kind} {pointer}");
            continue;
        }
        let shown: String = value.to_string().chars().take(80).collect();
        assert_eq!(
            found.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(),
            [field],
            "{kind} {pointer} = {shown}: {found:?}"
        );
        assert!(!found[0].problem.is_empty());
    }
}

#[test]
fn an_object_without_a_spec_is_refused() {
    for object in [json!({}), json!({ "spec": null }), json!(null), json!([]), json!("x")] {
        for kind in crd::KINDS {
            assert_eq!(problems(kind, &object)[0].field, "spec", "{object}");
        }
    }
    assert_eq!(problems(W, &json!({ "spec": [] }))[0].field, "spec");
}

#[test]
fn the_provider_cannot_be_changed() {
    let old = subscription();
    let mut new = subscription();
    assert_eq!(validate(W, &new, Some(&old)), Ok(()));
    set(&mut new, "/providerRef/name", json!("other"));
    let found = validate(W, &new, Some(&old)).unwrap_err();
    assert_eq!(found[0].field, "spec.providerRef");
    assert_eq!(validate(W, &new, None), Ok(()));
}

#[test]
fn every_broken_rule_is_reported_and_no_more_than_a_person_reads() {
    let mut object = subscription();
    set(&mut object, "/action", json!(""));
    set(&mut object, "/clientHeaders/1/name", json!("a b"));
    set(&mut object, "/rotation/overlap", json!("soon"));
    let fields: Vec<String> = problems(W, &object).into_iter().map(|problem| problem.field).collect();
    assert_eq!(fields, ["spec.action", "spec.clientHeaders[1].name", "spec.rotation.overlap"]);
    let unknown: serde_json::Map<_, _> = (0..10_000).map(|number| (format!("x{number}"), json!(1))).collect();
    let found = problems(W, &json!({ "spec": unknown }));
    assert!((10..100).contains(&found.len()), "{}", found.len());
}

#[test]
fn no_problem_quotes_a_value() {
    let bad = [
        ("/clientHeaders/1/value", format!("{CANARY}\n")),
        ("/clientHeaders/1/value", format!("{CANARY}{{{{")),
        ("/clientHeaders/1/name", format!("{CANARY} x")),
        ("/postbackUrl", format!("https://{CANARY}@example.com")),
        ("/adoptionPolicy", CANARY.to_owned()),
        ("/rotation/overlap", CANARY.to_owned()),
        ("/active", CANARY.to_owned()),
        ("/clientHeaders", CANARY.to_owned()),
    ];
    for (pointer, value) in bad {
        let mut object = subscription();
        set(&mut object, pointer, json!(value));
        let found = problems(W, &object);
        assert!(!found.is_empty());
        let shown = found.iter().map(ToString::to_string).collect::<String>();
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

#[test]
fn nulls_count_as_left_out_but_not_inside_a_document() {
    let mut object = provider();
    set(&mut object, "/suspend", json!(null));
    let spec: WebhookProviderSpec = decode(&object, None).unwrap();
    assert_eq!(spec.suspend, None);
    let create = spec.operations.unwrap().create.unwrap();
    assert_eq!(create.json.unwrap()["nothing"], Value::Null);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            "(https?://)?[a-z:@/?#%]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((key(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Mostly names that the schemas know.
    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "providerRef",
                "name",
                "postbackUrl",
                "clientHeaders",
                "value",
                "valueFrom",
                "token",
                "prefix",
                "secretKeyRef",
                "key",
                "tokenSource",
                "oauth2",
                "http",
                "url",
                "headers",
                "json",
                "rotation",
                "overlap",
                "parameters",
                "auth",
                "none",
                "preset",
                "operations",
                "list",
                "method",
                "path",
            ])
            .prop_map(ToOwned::to_owned),
            ".{0,8}",
        ]
    }

    /// Replaces one member somewhere in an object.
    fn mutate(value: &mut Value, path: &[prop::sample::Index], new: Value) {
        let Some((step, rest)) = path.split_first() else {
            *value = new;
            return;
        };
        match value {
            Value::Object(members) if !members.is_empty() => {
                let at = step.index(members.len());
                let member = members.values_mut().nth(at).unwrap();
                mutate(member, rest, new);
            }
            Value::Array(items) if !items.is_empty() => {
                let at = step.index(items.len());
                mutate(&mut items[at], rest, new);
            }
            other => *other = new,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// What keeps the schema can be read: the walker and the types agree.
        #[test]
        fn validation_is_total_and_agrees_with_the_types(
            path in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
            new in any_value(),
        ) {
            for kind in crd::KINDS {
                let mut object = example(kind);
                mutate(&mut object["spec"], &path, new.clone());
                for problem in problems(kind, &object) {
                    prop_assert!(problem.field.starts_with("spec"));
                    prop_assert!(!problem.problem.contains("please report"), "{object}");
                    prop_assert!(!problem.problem.contains("cannot be evaluated"), "{object}");
                }
            }
        }
    }
}
