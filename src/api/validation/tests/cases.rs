//! Objects that keep the rules and objects that break one: what is checked here without a server
//! is also put to a real API server, by tests/it/cluster/schema.rs.

use serde_json::{Value, json};

use super::Kind;

pub(crate) const W: Kind = Kind::WebhookSubscription;
pub(crate) const T: Kind = Kind::TokenSource;
pub(crate) const P: Kind = Kind::WebhookProvider;
pub(crate) const R: Kind = Kind::WebhookReceiver;

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
            },
            "update": { "method": "PUT", "path": "/hooks/{id}", "json": { "headers": "{headers}" } }
        },
        "limits": { "requestsPerMinute": 60 }
    } })
}

fn receiver() -> Value {
    let refs = json!([{ "name": "unico", "key": "old" }, { "name": "unico", "key": "new" }]);
    json!({ "spec": {
        "preset": "idunico",
        "verification": { "basic": { "secretKeyRefs": refs } },
        "sourceRanges": ["203.0.113.0/24", "2001:db8::/32"],
        "maxBodyBytes": 65536,
        "maxPending": { "deliveries": 1000, "bytes": 1_073_741_824 },
        "handOn": { "path": "/status", "values": ["2", "3", "4", "5"] },
        "testEvent": { "path": "/event", "equals": "SampleEvent", "action": "Forward" },
        "duplicates": { "key": ["/id", "/status"], "window": "24h", "action": "Mark" },
        "forward": {
            "service": { "name": "onboarding", "port": 8080, "path": "/unico?a=b" },
            "timeout": "10s", "maxConcurrent": 500,
            "retry": { "maxAttempts": 50, "interval": "5s", "maxInterval": "10m" }
        },
        "retention": "72h",
        "fallback": {
            "secretKeyRefs": [{ "name": "expect", "key": "token" }],
            "request": {
                "method": "POST",
                "url": "https://api.id.unico.app/processes/v1/{id}?x={id}",
                "headers": [{ "name": "APIKEY", "valueFrom": { "secretKeyRef": { "name": "a", "key": "b" } } }],
                "tokenSourceRef": { "name": "unico" },
                "body": "{\"id\": \"{id}\"}"
            },
            "fields": { "id": "/id", "status": "/status" },
            "until": ["3", "4", "5"]
        },
        "limits": { "requestsPerSecond": 100 }
    } })
}

pub(crate) fn example(kind: Kind) -> Value {
    match kind {
        Kind::WebhookSubscription => subscription(),
        Kind::TokenSource => source(),
        Kind::WebhookProvider => provider(),
        Kind::WebhookReceiver => receiver(),
    }
}

/// A spec of a receiver that passes deliveries on at once, with one more member.
fn direct(name: &str, value: Value) -> Value {
    let mut spec = json!({
        "mode": "Direct", "verification": { "none": {} }, "forward": { "url": "https://app.example.com/in" }
    });
    match name.strip_prefix("forward.") {
        Some(name) => spec["forward"][name] = value,
        None => spec[name] = value,
    }
    spec
}

/// A verification by one token.
fn token(members: Value) -> Value {
    json!({ "token": members })
}

/// Sets the value at a pointer below `/spec`, or takes it out with `Value::Null` for a removal.
pub(crate) fn set(object: &mut Value, pointer: &str, value: Value) {
    if pointer.is_empty() {
        object["spec"] = value;
        return;
    }
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

fn texts(count: usize) -> Value {
    (0..count).map(|number| format!("x{number}")).collect()
}

fn headers(count: usize) -> Value {
    (0..count).map(|number| json!({ "name": format!("h{number}"), "value": "v" })).collect()
}

fn map(count: usize) -> Value {
    Value::Object((0..count).map(|number| (format!("p{number}"), json!("v"))).collect())
}

/// The example of a kind with another value at a pointer below `/spec`.
pub(crate) fn changed(kind: Kind, pointer: &str, value: &Value) -> Value {
    let mut object = example(kind);
    set(&mut object, pointer, value.clone());
    object
}

/// Changes of the examples that keep all rules.
pub(crate) fn good() -> Vec<(Kind, &'static str, Value)> {
    let longest_url = format!("https://example.com/{}", "x".repeat(2028));
    vec![
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
        (W, "/clientHeaders/2/valueFrom/prefix", json!("token ")),
        (T, "/http/headers/0/valueFrom/prefix", json!("token ")),
        (
            P,
            "/auth",
            json!({ "headers": [{ "name": "Authorization", "valueFrom": {
            "prefix": "token ", "secretKeyRef": { "name": "a", "key": "b" } } }] }),
        ),
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
        (T, "/oauth2", json!(null)),
        (T, "/http/headers/1", json!({ "name": "Content-Type", "value": "text/xml" })),
        (P, "/operations/list/headers", json!({ "User-Agent": "acme" })),
        (W, "/clientHeaders/1/name", json!("Host")),
        (
            W,
            "/tokenSource/oauth2/extraParameters",
            json!({ "audience": "a", "client_id": "b", "resource": "c" }),
        ),
        (W, "/postbackUrl", json!("https://example.com./")),
        (
            W,
            "",
            json!({ "providerRef": { "name": "a" }, "postbackUrl": "https://example.com/a/b", "tokenSourceRef": { "name": "s" },
                    "receiverRef": { "name": "b" } }),
        ),
        (R, "/preset", json!("standardWebhooks")),
        (R, "/path", json!("/default/gupy.v1/~x@y:z;1,2=3!$&'()*+")),
        (R, "/path", json!(format!("/default/{}", "x".repeat(503)))),
        (R, "/path", json!("/default/..b/.c/...")),
        (R, "/sourceRanges", json!(["0.0.0.0/0", "::/0", "203.0.113.7/32", "2001:db8::7/128"])),
        (R, "/sourceRanges", (0..64).map(|number| format!("10.{number}.0.0/16")).collect()),
        (R, "/sourceRanges", json!(null)),
        (R, "/verification", json!({ "none": {} })),
        (
            R,
            "/verification",
            token(json!({ "header": "token", "prefix": "Bearer ", "tokenSourceRef": { "name": "a" } })),
        ),
        (
            R,
            "/verification",
            token(json!({ "header": "X-Token", "secretKeyRefs": [{ "name": "a", "key": "b" }] })),
        ),
        (
            R,
            "/verification",
            json!({ "hmac": { "header": "X-Signature", "algorithm": "Sha512", "encoding": "Base64", "prefix": "sha512=",
                    "secretKeyRefs": [{ "name": "a", "key": "b" }] } }),
        ),
        (
            R,
            "/verification",
            json!({ "apiKey": { "header": "X-Api-Key", "secretKeyRefs": [{ "name": "a", "key": "b" }] } }),
        ),
        (
            R,
            "/verification",
            json!({ "standardWebhooks": { "secretKeyRefs": [{ "name": "a", "key": "b" }] } }),
        ),
        (R, "/maxBodyBytes", json!(16_777_216)),
        (R, "/maxPending", json!({ "bytes": 1_099_511_627_776_i64 })),
        (
            R,
            "",
            json!({ "preset": "pulpo", "verification": { "none": {} }, "testEvent": { "action": "Forward" },
                    "forward": { "url": "https://app.example.com" } }),
        ),
        (R, "/duplicates", json!({ "header": "webhook-id", "window": "168h", "action": "Drop" })),
        (R, "/duplicates", json!({ "window": "1ms" })),
        (R, "/mode", json!("Stored")),
        (R, "", direct("suspend", json!(true))),
        (R, "", direct("forward.timeout", json!("1m"))),
        (R, "", direct("handOn", json!({ "path": "/status", "values": ["2"] }))),
        (R, "/forward/service/path", json!(null)),
        (R, "/forward/retry", json!({ "interval": "24h" })),
        (R, "/retention", json!("9999h")),
        (R, "/fallback/request", json!({ "url": "https://api.example.com/{id}" })),
        (R, "/fallback/request/method", json!("PUT")),
        (
            R,
            "",
            json!({ "verification": token(json!({ "header": "x", "tokenSourceRef": { "name": "a" } })),
                    "forward": { "url": "https://app.example.com" }, "revokedBefore": "2026-11-27T03:00:00Z" }),
        ),
    ]
}

/// Changes of the examples that break a rule of the schema, and the field to be named.
pub(crate) fn breaking_the_schema() -> Vec<(Kind, &'static str, Value, &'static str)> {
    let secret_key = json!({ "secretKeyRef": { "name": "a", "key": "b" } });
    vec![
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
        (W, "/receiverRef", json!({ "name": "a/b" }), "spec.receiverRef.name"),
        (W, "/receiverRef", json!({ "name": "a", "namespace": "b" }), "spec.receiverRef.namespace"),
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
        (W, "/postbackUrl", json!(format!("https://example.com/{}", "x".repeat(2029))), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com/%zz"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com\\.evil.example"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com/\u{1}"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://ex%41mple.com/"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com:a/"), "spec.postbackUrl"),
        (W, "/tokenSource/oauth2/tokenUrl", json!("x"), "spec.tokenSource.oauth2.tokenUrl"),
        (W, "/tokenSource/oauth2/tokenUrl", json!("https://e.com/%"), "spec.tokenSource.oauth2.tokenUrl"),
        (T, "/http/url", json!("https://a@b/"), "spec.http.url"),
        (P, "/baseUrl", json!("https://api.example.com/?a=b"), "spec.baseUrl"),
        // Headers.
        (W, "/clientHeaders", headers(33), "spec.clientHeaders"),
        (W, "/clientHeaders/0/valueFrom/prefix", json!("Bearer "), "spec.clientHeaders[0].valueFrom"),
        (W, "/clientHeaders/2/valueFrom/prefix", json!("a\nb"), "spec.clientHeaders[2].valueFrom.prefix"),
        (W, "/clientHeaders/2/prefix", json!("token "), "spec.clientHeaders[2].prefix"),
        (
            T,
            "/http/headers/0/valueFrom/prefix",
            json!("a".repeat(257)),
            "spec.http.headers[0].valueFrom.prefix",
        ),
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
        (W, "/clientHeaders/1/value", json!("x".repeat(8193)), "spec.clientHeaders[1].value"),
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
        (T, "/http/json/1", json!({ "name": "user", "value": "v" }), "spec.http.json[1].name"),
        (P, "/auth", json!({ "headers": [] }), "spec.auth.headers"),
        // Parameters.
        (W, "/parameters", map(33), "spec.parameters"),
        (W, "/parameters", json!({ "a": "x".repeat(2049) }), "spec.parameters.a"),
        (W, "/parameters", json!({ "a".repeat(65): "x" }), "spec.parameters"),
        (W, "/parameters", json!({ "": "x" }), "spec.parameters"),
        // Exactly one of several.
        (W, "/tokenSourceRef", json!({ "name": "x" }), "spec"),
        (W, "/tokenSource", json!(null), "spec"),
        (W, "/tokenSource", json!({}), "spec.tokenSource"),
        (W, "/tokenSource/secret", json!({ "name": "a", "key": "b" }), "spec.tokenSource"),
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
        (T, "/http/timeout", json!("61s"), "spec.http.timeout"),
        (P, "/verifyInterval", json!("59s"), "spec.verifyInterval"),
        (P, "/limits/timeout", json!("1m1s"), "spec.limits.timeout"),
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
        (T, "/http/response/tokenPath", json!("/a\nb"), "spec.http.response.tokenPath"),
        (T, "/http/response/tokenPath", json!("/a\u{1b}[2J"), "spec.http.response.tokenPath"),
        // Operations.
        (P, "/operations/list/path", json!("hooks"), "spec.operations.list.path"),
        (P, "/operations/list/path", json!("/a b"), "spec.operations.list.path"),
        (P, "/operations/list/method", json!("get"), "spec.operations.list.method"),
        (P, "/operations/beforeUpdate", json!({}), "spec.operations.beforeUpdate"),
        (P, "/postback", json!({ "warnHosts": ["https://x"] }), "spec.postback.warnHosts[0]"),
        (W, "/receiverRef", json!({ "name": "a" }), "spec"),
        // Receivers: what stands where.
        (R, "/preset", json!("Gupy"), "spec.preset"),
        (R, "/preset", json!("standard-webhooks"), "spec.preset"),
        (R, "/verifications", json!({}), "spec.verifications"),
        (R, "/path", json!("default/unico"), "spec.path"),
        (R, "/path", json!("/default//unico"), "spec.path"),
        (R, "/path", json!("/default/unico/"), "spec.path"),
        (R, "/path", json!("/"), "spec.path"),
        (R, "/path", json!("/default/unico?x"), "spec.path"),
        (R, "/path", json!("/default/%2e%2e/x"), "spec.path"),
        (R, "/path", json!("/default/../x"), "spec.path"),
        (R, "/path", json!("/default/."), "spec.path"),
        (R, "/path", json!("/default/\u{e9}"), "spec.path"),
        (R, "/path", json!(format!("/{}", "x".repeat(512))), "spec.path"),
        // Verification.
        (R, "/verification", json!(null), "spec.verification"),
        (R, "/verification", json!({}), "spec.verification"),
        (R, "/verification/none", json!({}), "spec.verification"),
        (R, "/verification", json!({ "none": { "x": 1 } }), "spec.verification.none.x"),
        (R, "/verification", token(json!({ "header": "x" })), "spec.verification.token"),
        (
            R,
            "/verification",
            token(
                json!({ "header": "x", "tokenSourceRef": { "name": "a" }, "secretKeyRefs": [{ "name": "a", "key": "b" }] }),
            ),
            "spec.verification.token",
        ),
        (R, "/verification", token(json!({ "secretKeyRefs": [] })), "spec.verification.token.secretKeyRefs"),
        (
            R,
            "/verification",
            token(json!({ "tokenSourceRef": { "name": "a", "namespace": "b" } })),
            "spec.verification.token.tokenSourceRef.namespace",
        ),
        (
            R,
            "/verification",
            token(json!({ "prefix": "a\n", "tokenSourceRef": { "name": "a" } })),
            "spec.verification.token.prefix",
        ),
        (
            R,
            "/verification",
            token(json!({ "header": "Content-Type", "tokenSourceRef": { "name": "a" } })),
            "spec.verification.token.header",
        ),
        (R, "/verification/basic", json!({}), "spec.verification.basic.secretKeyRefs"),
        (R, "/verification/basic/secretKeyRefs", json!([]), "spec.verification.basic.secretKeyRefs"),
        (
            R,
            "/verification/basic/secretKeyRefs/1",
            json!({ "name": "unico", "key": "old" }),
            "spec.verification.basic.secretKeyRefs[1]",
        ),
        (
            R,
            "/verification/basic/secretKeyRefs",
            (0..5).map(|number| json!({ "name": format!("s{number}"), "key": "k" })).collect(),
            "spec.verification.basic.secretKeyRefs",
        ),
        (R, "/verification/basic/header", json!("X"), "spec.verification.basic.header"),
        (
            R,
            "/verification",
            json!({ "apiKey": { "header": "TRANSFER-Encoding", "secretKeyRefs": [{ "name": "a", "key": "b" }] } }),
            "spec.verification.apiKey.header",
        ),
        (
            R,
            "/verification",
            json!({ "apiKey": { "header": "X-Api-Key: x", "secretKeyRefs": [{ "name": "a", "key": "b" }] } }),
            "spec.verification.apiKey.header",
        ),
        (
            R,
            "/verification",
            json!({ "hmac": { "header": "hookkeeper-Subscription", "secretKeyRefs": [{ "name": "a", "key": "b" }] } }),
            "spec.verification.hmac.header",
        ),
        (
            R,
            "/verification",
            json!({ "hmac": { "algorithm": "Md5", "secretKeyRefs": [{ "name": "a", "key": "b" }] } }),
            "spec.verification.hmac.algorithm",
        ),
        // Networks.
        (R, "/sourceRanges", json!(["203.0.113.1/24"]), "spec.sourceRanges"),
        (R, "/sourceRanges", json!(["203.0.113.0"]), "spec.sourceRanges"),
        (R, "/sourceRanges", json!(["203.0.113.0/33"]), "spec.sourceRanges"),
        (R, "/sourceRanges", json!(["10.0.0.0/08"]), "spec.sourceRanges"),
        (R, "/sourceRanges", json!(["010.0.0.0/8"]), "spec.sourceRanges"),
        (R, "/sourceRanges", json!(["::ffff:10.0.0.0/104"]), "spec.sourceRanges"),
        (R, "/sourceRanges", json!(["fe80::1%eth0/64"]), "spec.sourceRanges"),
        (R, "/sourceRanges", json!(["2001:db8::1/64"]), "spec.sourceRanges"),
        (R, "/sourceRanges", json!(["gupy.io"]), "spec.sourceRanges"),
        (R, "/sourceRanges/1", json!("203.0.113.0/24"), "spec.sourceRanges[1]"),
        (R, "/sourceRanges/1", json!("x".repeat(44)), "spec.sourceRanges[1]"),
        (
            R,
            "/sourceRanges",
            (0..65).map(|number| format!("10.{number}.0.0/16")).collect(),
            "spec.sourceRanges",
        ),
        // Bounds.
        (R, "/maxBodyBytes", json!(0), "spec.maxBodyBytes"),
        (R, "/maxBodyBytes", json!(16_777_217), "spec.maxBodyBytes"),
        (R, "/maxBodyBytes", json!("1Mi"), "spec.maxBodyBytes"),
        (R, "/maxPending/deliveries", json!(0), "spec.maxPending.deliveries"),
        (R, "/maxPending/bytes", json!(-1), "spec.maxPending.bytes"),
        (R, "/maxParked", json!({ "bytes": 1_099_511_627_777_i64 }), "spec.maxParked.bytes"),
        (R, "/limits/requestsPerSecond", json!(0), "spec.limits.requestsPerSecond"),
        (R, "/retention", json!("0s"), "spec.retention"),
        (R, "/suspend", json!("yes"), "spec.suspend"),
        // What of a delivery is looked at.
        (R, "/handOn/values", json!(null), "spec.handOn.values"),
        (R, "/handOn/values", json!([]), "spec.handOn.values"),
        (R, "/handOn/values/3", json!(5), "spec.handOn.values[3]"),
        (R, "/handOn/values/3", json!("2"), "spec.handOn.values[3]"),
        (R, "/handOn/path", json!("status"), "spec.handOn.path"),
        (R, "/testEvent", json!({ "path": "/event" }), "spec.testEvent"),
        (R, "/testEvent", json!({ "equals": "SampleEvent" }), "spec.testEvent"),
        (R, "/testEvent/action", json!("Drop"), "spec.testEvent.action"),
        (R, "/duplicates", json!({ "action": "Drop" }), "spec.duplicates"),
        (R, "/duplicates/header", json!("webhook-id"), "spec.duplicates"),
        (R, "/duplicates/key", json!([]), "spec.duplicates.key"),
        (R, "/duplicates/key/1", json!("status"), "spec.duplicates.key[1]"),
        (R, "/duplicates", json!({ "header": "Host" }), "spec.duplicates.header"),
        (R, "/duplicates/window", json!("0s"), "spec.duplicates.window"),
        (R, "/duplicates/window", json!("168h1s"), "spec.duplicates.window"),
        // Handing on.
        (R, "/forward", json!(null), "spec.forward"),
        (R, "/forward/service", json!(null), "spec.forward"),
        (R, "/forward/url", json!("https://app.example.com"), "spec.forward"),
        (R, "/forward", json!({ "url": "app.example.com" }), "spec.forward.url"),
        (R, "/forward", json!({ "url": "https://user:pass@app.example.com/" }), "spec.forward.url"),
        (R, "/forward/service/name", json!("app.other"), "spec.forward.service.name"),
        (R, "/forward/service/name", json!("a".repeat(64)), "spec.forward.service.name"),
        (R, "/forward/service/namespace", json!("other"), "spec.forward.service.namespace"),
        (R, "/forward/service/port", json!(0), "spec.forward.service.port"),
        (R, "/forward/service/port", json!(65_536), "spec.forward.service.port"),
        (R, "/forward/service/port", json!("http"), "spec.forward.service.port"),
        (R, "/forward/service/path", json!("unico"), "spec.forward.service.path"),
        (R, "/forward/timeout", json!("61s"), "spec.forward.timeout"),
        (R, "/forward/maxConcurrent", json!(501), "spec.forward.maxConcurrent"),
        (R, "/forward/maxConcurrent", json!(0), "spec.forward.maxConcurrent"),
        (R, "/forward/retry/maxAttempts", json!(0), "spec.forward.retry.maxAttempts"),
        (R, "/forward/retry/interval", json!("11m"), "spec.forward.retry"),
        (R, "/forward/retry/interval", json!("0s"), "spec.forward.retry.interval"),
        (R, "/forward/retry/maxInterval", json!("25h"), "spec.forward.retry.maxInterval"),
        // Combinations without a meaning.
        (R, "/mode", json!("direct"), "spec.mode"),
        (R, "/mode", json!("Direct"), "spec"),
        (R, "", direct("retention", json!("1h")), "spec"),
        (R, "", direct("duplicates", json!({ "key": ["/id"] })), "spec"),
        (R, "", direct("forward.retry", json!({ "maxAttempts": 3 })), "spec"),
        (R, "", direct("maxPending", json!({ "deliveries": 3 })), "spec"),
        (R, "", direct("maxParked", json!({ "deliveries": 3 })), "spec"),
        (R, "", direct("fallback", receiver()["spec"]["fallback"].clone()), "spec"),
        (R, "/revokedBefore", json!("2026-11-27T03:00:00Z"), "spec"),
        (R, "/revokedBefore", json!("yesterday"), "spec.revokedBefore"),
        // Asking.
        (R, "/fallback/secretKeyRefs", json!([]), "spec.fallback.secretKeyRefs"),
        (R, "/fallback/until", json!([]), "spec.fallback.until"),
        (R, "/fallback/until", json!(null), "spec.fallback.until"),
        (R, "/fallback/every", json!("999ms"), "spec.fallback.every"),
        (R, "/fallback/after", json!("0s"), "spec.fallback.after"),
        (R, "/fallback/giveUpAfter", json!("0s"), "spec.fallback.giveUpAfter"),
        (R, "/fallback/request", json!({ "url": "https://api.example.com/" }), "spec.fallback.request"),
        (R, "/fallback/request/method", json!("GET"), "spec.fallback.request"),
        (
            R,
            "/fallback/request/headers/1",
            json!({ "name": "AUTHORIZATION", "value": "a" }),
            "spec.fallback.request",
        ),
        (
            R,
            "/fallback/request/headers/1",
            json!({ "name": "apikey", "value": "a" }),
            "spec.fallback.request.headers",
        ),
        (R, "/fallback/request/url", json!("https://{id}.example.com/"), "spec.fallback.request.url"),
        (
            R,
            "/fallback/request/url",
            json!("https://api.example.com/{id}/{name}"),
            "spec.fallback.request.url",
        ),
        (
            R,
            "/fallback/request/url",
            json!("https://api.example.com/{id}/{{id}}"),
            "spec.fallback.request.url",
        ),
        (R, "/fallback/request/url", json!("https://a:b@api.example.com/{id}"), "spec.fallback.request.url"),
        (R, "/fallback/fields/status", json!("status"), "spec.fallback.fields.status"),
    ]
}

/// Changes of the examples that break a rule no schema can hold: an API server takes them.
pub(crate) fn breaking_a_rule_beside_it() -> Vec<(Kind, &'static str, Value, &'static str)> {
    let deep = (0..40).fold(json!("{token}"), |inner, _| json!([inner]));
    vec![
        (W, "/postbackUrl", json!("https://example.com/?x=%zz"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://example.com/a\\b"), "spec.postbackUrl"),
        (W, "/postbackUrl", json!("https://256.1.1.1/"), "spec.postbackUrl"),
        (T, "/http/response/tokenPath", json!("/a\u{202e}b"), "spec.http.response.tokenPath"),
        (T, "/http/response/tokenPath", json!("/a\u{2028}b"), "spec.http.response.tokenPath"),
        (T, "/http/response/tokenPath", json!("/a\u{2066}b"), "spec.http.response.tokenPath"),
        (W, "/postbackUrl", json!("https://example.com:99999/"), "spec.postbackUrl"),
        (W, "/tokenSource/oauth2/tokenUrl", json!("https://e.com/?%"), "spec.tokenSource.oauth2.tokenUrl"),
        (P, "/baseUrl", json!("https://api.example.com/\\"), "spec.baseUrl"),
        (W, "/clientHeaders/1/value", json!("a\u{7}"), "spec.clientHeaders[1].value"),
        (W, "/clientHeaders/1/value", json!("Bearer {{ token }}"), "spec.clientHeaders[1].value"),
        (W, "/clientHeaders/2/valueFrom/prefix", json!("{{ x"), "spec.clientHeaders[2].valueFrom.prefix"),
        (W, "/clientHeaders/2/valueFrom/prefix", json!("a\u{1}"), "spec.clientHeaders[2].valueFrom.prefix"),
        (T, "/http/headers/0/valueFrom/prefix", json!("a\u{1}"), "spec.http.headers[0].valueFrom.prefix"),
        (
            W,
            "/clientHeaders/0/valueFrom/token/prefix",
            json!("{{ x"),
            "spec.clientHeaders[0].valueFrom.token.prefix",
        ),
        (T, "/http/headers/1", json!({ "name": "Y", "value": "a\u{1}b" }), "spec.http.headers[1].value"),
        (P, "/operations/list/headers", json!({ "X Y": "v" }), "spec.operations.list.headers.X Y"),
        (P, "/operations/list/headers", json!({ "X": "a\nb" }), "spec.operations.list.headers.X"),
        (
            T,
            "/http/headers/1",
            json!({ "name": "Content-Length", "value": "0" }),
            "spec.http.headers[1].name",
        ),
        (P, "/auth", json!({ "headers": [{ "name": "HOST", "value": "a" }] }), "spec.auth.headers[0].name"),
        (
            P,
            "/operations/update/headers",
            json!({ "Connection": "close" }),
            "spec.operations.update.headers.Connection",
        ),
        (T, "/http/url", json!("https://a..example.com/"), "spec.http.url"),
        (W, "/postbackUrl", json!("https://example.com../"), "spec.postbackUrl"),
        (
            W,
            "/tokenSource/oauth2/extraParameters",
            json!({ "grant_type": "account_credentials" }),
            "spec.tokenSource.oauth2.extraParameters.grant_type",
        ),
        (
            W,
            "/tokenSource/oauth2/extraParameters",
            json!({ "scope": "a" }),
            "spec.tokenSource.oauth2.extraParameters.scope",
        ),
        (W, "/parameters", json!({ "a.b": "x" }), "spec.parameters.a.b"),
        (P, "/operations/create/json", json!("{token}"), "spec.operations.create.json"),
        (P, "/operations/create/json", deep, "spec.operations.create.json"),
        (P, "/operations/create/json", json!(["x".repeat(70_000)]), "spec.operations.create.json"),
        (R, "/handOn/path", json!("/a\u{202e}b"), "spec.handOn.path"),
        (R, "/forward", json!({ "url": "https://app.example.com/?x=%zz" }), "spec.forward.url"),
        (R, "/forward", json!({ "url": "https://app..example.com/" }), "spec.forward.url"),
        (
            R,
            "/verification",
            token(json!({ "header": "x", "prefix": "a\u{1}", "tokenSourceRef": { "name": "a" } })),
            "spec.verification.token.prefix",
        ),
        (R, "/fallback/request/url", json!("https://api.example.com/{id}/%zz"), "spec.fallback.request.url"),
        (R, "/fallback/request/body", json!("{\"id\": {id}}"), "spec.fallback.request.body"),
        (R, "/fallback/request/body", json!("id={id}"), "spec.fallback.request.body"),
        (
            R,
            "/fallback/request/headers/1",
            json!({ "name": "Content-Length", "value": "1" }),
            "spec.fallback.request.headers[1].name",
        ),
        (
            R,
            "/fallback/request/headers/1",
            json!({ "name": "X-Process", "value": "{id}" }),
            "spec.fallback.request.headers[1].value",
        ),
    ]
}
