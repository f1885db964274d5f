//! Create, update and delete against a real server.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::server::{Keys, Server};
use super::{APPLICATION_COMPLETED, CANARY, GUPY, list, provider, subscription};
use crate::engine::ports::{CallFailure, CallFence, Document, Refusal};
use crate::secret::bounds::{Bounds, Owner};

fn api_key() -> Keys {
    Keys::default().with("team/gupy-api/token", "api-key", None)
}

fn document(yaml: &str) -> Document {
    Document {
        namespace: "team".into(),
        spec: Arc::new(subscription(yaml)),
        token: CANARY.into(),
        token_bounds: Bounds::default(),
    }
}

#[tokio::test]
async fn the_shortest_useful_file_creates_updates_and_deletes() {
    let server = Server::start().await;
    let remote = server.remote(provider(GUPY), api_key());
    let document = document(APPLICATION_COMPLETED);
    let fence = CallFence::open();

    server.answers(201, json!({"id": "d5b2", "action": "application.completed"}));
    let created = remote.create(&document, &fence).await.unwrap();
    assert_eq!((created.id.as_deref(), created.secrets), (Some("d5b2"), None));
    server.answers(204, "");
    let updated = remote.update("d5b2", &document, &fence).await.unwrap();
    assert_eq!((updated.id, updated.secrets), (None, None));
    server.answers(200, "gone");
    remote.delete(&document.spec, "d5b2", &fence).await.unwrap();

    let sent = json!({
        "action": "application.completed",
        "status": "active",
        "postbackUrl": "https://integrations.example.com/gupy",
        "clientHeaders": {"token": CANARY, "Content-Type": "application/json;charset=utf-8"},
    });
    let seen = server.seen();
    assert_eq!(
        server.lines(),
        ["POST /api/v1/webhooks", "PUT /api/v1/webhooks/d5b2", "DELETE /api/v1/webhooks/d5b2"]
    );
    assert_eq!((&seen[0].body, &seen[1].body), (&sent, &sent));
    assert_eq!(seen[2].body, json!(null));
    for seen in &seen {
        assert_eq!(seen.header("authorization"), Some("Bearer api-key"));
    }
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn headers_come_from_values_secrets_and_the_token() {
    let server = Server::start().await;
    let spec = "
providerRef: {name: gupy}
action: a
active: false
postbackUrl: https://gate.example.com/x
clientHeaders:
  - {name: Authorization, valueFrom: {token: {prefix: 'Bearer '}}}
  - {name: apiKey, valueFrom: {secretKeyRef: {name: receiver, key: apiKey}}}
  - {name: CONTENT-TYPE, value: text/plain}
parameters: {techOwnerName: Ana}
tokenSourceRef: {name: t}
";
    let secrets =
        api_key().with("team/receiver/apiKey", "receiver-key", Some("127.0.0.1, GATE.example.com."));
    let remote = server.remote(provider(GUPY), secrets.clone());
    server.answers(200, "{}");
    let document = document(spec);
    let applied = remote.update("1", &document, &CallFence::open()).await.unwrap();
    assert_eq!(
        server.seen()[0].body,
        json!({
            "action": "a",
            "status": "inactive",
            "postbackUrl": "https://gate.example.com/x",
            "clientHeaders": {
                "Authorization": format!("Bearer {CANARY}"),
                "apiKey": "receiver-key",
                "CONTENT-TYPE": "text/plain",
            },
            "techOwnerName": "Ana",
        })
    );
    let digest = remote.document_secrets("team", &document.spec).await.unwrap();
    assert!(digest.is_some());
    assert_eq!(applied.secrets, digest);

    let changed = Keys(secrets.0[..1].to_vec()).with("team/receiver/apiKey", "receiver-key-2", None);
    let changed = server.remote(provider(GUPY), changed);
    assert_ne!(changed.document_secrets("team", &document.spec).await.unwrap(), digest);
}

/// The Secret holds what stands after the prefix, or what the platform itself is to fill in.
#[tokio::test]
async fn a_secret_follows_its_prefix_and_is_sent_as_it_stands() {
    let server = Server::start().await;
    let spec = APPLICATION_COMPLETED.replace(
        "tokenSourceRef",
        "  - {name: Authorization, valueFrom: {prefix: 'token ', secretKeyRef: {name: receiver, key: apiKey}}}\n  - {name: event, valueFrom: {secretKeyRef: {name: receiver, key: event}}}\ntokenSourceRef",
    );
    let secrets = api_key().with("team/receiver/apiKey", "receiver-key", None).with(
        "team/receiver/event",
        "{{event.id}}",
        None,
    );
    let remote = server.remote(provider(GUPY), secrets);
    server.answers(200, "{}");
    let document = document(&spec);
    remote.update("1", &document, &CallFence::open()).await.unwrap();
    let headers = server.seen()[0].body["clientHeaders"].clone();
    assert_eq!(headers["Authorization"], "token receiver-key");
    assert_eq!(headers["event"], "{{event.id}}");
}

#[tokio::test]
async fn a_secret_goes_to_allowed_hosts_only() {
    let server = Server::start().await;
    let spec = APPLICATION_COMPLETED.replace(
        "tokenSourceRef",
        "  - {name: apiKey, valueFrom: {secretKeyRef: {name: receiver, key: apiKey}}}\ntokenSourceRef",
    );
    for (secrets, secret, host) in [
        (Keys::default().with("team/gupy-api/token", CANARY, Some("api.gupy.io")), "gupy-api", "127.0.0.1"),
        (
            api_key().with("team/receiver/apiKey", CANARY, Some("127.0.0.1")),
            "receiver",
            "integrations.example.com",
        ),
        (
            api_key().with("team/receiver/apiKey", CANARY, Some("integrations.example.com")),
            "receiver",
            "127.0.0.1",
        ),
        (
            api_key().with("team/receiver/apiKey", CANARY, Some("x127.0.0.1,27.0.0.1")),
            "receiver",
            "127.0.0.1",
        ),
        (api_key().with("team/receiver/apiKey", CANARY, Some("")), "receiver", "127.0.0.1"),
    ] {
        let yaml = if secret == "receiver" { spec.as_str() } else { APPLICATION_COMPLETED };
        let remote = server.remote(provider(GUPY), secrets);
        let refused = remote.update("1", &document(yaml), &CallFence::open()).await;
        assert_eq!(
            refused,
            Err(CallFailure::Refused(Refusal::HostNotAllowed {
                owner: Owner::Secret(secret.into()),
                host: host.into()
            }))
        );
    }
    let missing = server.remote(provider(GUPY), Keys::default());
    let refused = missing.update("1", &document(APPLICATION_COMPLETED), &CallFence::open()).await;
    assert!(matches!(refused, Err(CallFailure::Refused(Refusal::SecretNotFound { .. }))));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_value_that_no_header_can_hold_is_refused_and_not_shown() {
    let server = Server::start().await;
    let broken = format!("{CANARY}\n\n");
    let credential = Keys::default().with("team/gupy-api/token", &broken, None);
    let remote = server.remote(provider(GUPY), credential);
    let refused = remote.update("1", &document(APPLICATION_COMPLETED), &CallFence::open()).await;
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("authorization"), "{refused}");

    let remote = server.remote(provider(GUPY), api_key());
    let mut document = document(APPLICATION_COMPLETED);
    document.token = format!("{CANARY}\r\nx: y").into();
    let of_token = remote.create(&document, &CallFence::open()).await.unwrap_err();
    assert!(of_token.to_string().contains("header token"), "{of_token}");
    for refused in [refused, of_token] {
        assert!(matches!(refused, CallFailure::Refused(Refusal::UnusableValue { .. })));
        assert!(!format!("{refused} {refused:?}").contains(CANARY));
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn every_way_to_say_who_we_are() {
    let secret = "secretKeyRef: {name: gupy-api, key: token}";
    for (auth, name, value) in [
        ("none: {}".to_owned(), "authorization", None),
        (format!("bearer: {{{secret}}}"), "authorization", Some("Bearer api-key")),
        (
            format!("basic: {{username: {{value: hook}}, password: {{{secret}}}}}"),
            "authorization",
            Some("Basic aG9vazphcGkta2V5"),
        ),
        (
            format!("headers: [{{name: X-Api-Key, valueFrom: {{{secret}}}}}, {{name: b, value: c}}]"),
            "x-api-key",
            Some("api-key"),
        ),
        (
            format!("headers: [{{name: Authorization, valueFrom: {{prefix: 'token ', {secret}}}}}]"),
            "authorization",
            Some("token api-key"),
        ),
    ] {
        let server = Server::start().await;
        let spec = provider(&format!("preset: gupy\nauth: {{{auth}}}"));
        let remote = server.remote(spec, api_key());
        server.answers(200, "");
        remote.update("1", &document(APPLICATION_COMPLETED), &CallFence::open()).await.unwrap();
        assert_eq!(server.seen()[0].header(name), value, "{auth}");
    }
}

/// Secrets are commonly made with `echo`, or from a file that an editor has written.
#[tokio::test]
async fn the_line_end_of_a_secret_is_no_part_of_a_credential() {
    let secret = "secretKeyRef: {name: gupy-api, key: token}";
    for (auth, name, value) in [
        (format!("bearer: {{{secret}}}"), "authorization", "Bearer api-key"),
        (
            format!("basic: {{username: {{value: hook}}, password: {{{secret}}}}}"),
            "authorization",
            "Basic aG9vazphcGkta2V5",
        ),
        (format!("headers: [{{name: X-Api-Key, valueFrom: {{{secret}}}}}]"), "x-api-key", "api-key"),
    ] {
        for end in ["\n", "\r\n"] {
            let server = Server::start().await;
            let secrets = Keys::default().with("team/gupy-api/token", &format!("api-key{end}"), None);
            let remote = server.remote(provider(&format!("preset: gupy\nauth: {{{auth}}}")), secrets);
            server.answers(200, "");
            remote.update("1", &document(APPLICATION_COMPLETED), &CallFence::open()).await.unwrap();
            assert_eq!(server.seen()[0].header(name), Some(value), "{auth}");
        }
    }
}

#[tokio::test]
async fn a_user_name_or_password_that_cannot_be_sent_is_refused() {
    let server = Server::start().await;
    let secret = |key: &str| format!("secretKeyRef: {{name: gupy-api, key: {key}}}");
    let (user, password) = (secret("user"), secret("token"));
    let auth = format!("basic: {{username: {{valueFrom: {{{user}}}}}, password: {{{password}}}}}");
    let auth = format!("preset: gupy\nauth: {{{auth}}}");
    for (user, password) in [("canary-7f3a91:x", "p"), ("u", "canary\n7f3a91"), ("canary-7f3a91\n\n", "p")] {
        let secrets = Keys::default().with("team/gupy-api/user", user, None).with(
            "team/gupy-api/token",
            password,
            None,
        );
        let remote = server.remote(provider(&auth), secrets);
        let document = document(APPLICATION_COMPLETED);
        let refused = remote.update("1", &document, &CallFence::open()).await.unwrap_err();
        assert!(matches!(refused, CallFailure::Refused(Refusal::UnusableValue { .. })));
        assert!(!format!("{refused} {refused:?}").contains(CANARY));
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn the_guard_is_asked_right_before_each_request() {
    let server = Server::start().await;
    let remote = server.remote(provider(GUPY), api_key());
    let closed = CallFence::new(|| None);
    let ended = CallFailure::Refused(Refusal::ClaimEnded);
    let document = document(APPLICATION_COMPLETED);
    assert_eq!(remote.create(&document, &closed).await, Err(ended.clone()));
    assert_eq!(remote.update("1", &document, &closed).await, Err(ended.clone()));
    assert_eq!(remote.delete(&document.spec, "1", &closed).await, Err(ended.clone()));
    assert_eq!(list(&*remote, &closed).await, Err(ended.clone()));
    assert!(server.seen().is_empty());

    // One request is permitted, and no second.
    let asked = std::sync::atomic::AtomicBool::new(false);
    let once = CallFence::new(move || {
        let before = asked.swap(true, std::sync::atomic::Ordering::SeqCst);
        (!before).then_some(Duration::from_secs(5))
    });
    server.answers(200, json!({"results": [{"id": 1}], "totalPages": 2}));
    assert_eq!(list(&*remote, &once).await, Err(ended));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_reported_without_its_body() {
    let server = Server::start().await;
    let remote = server.remote(provider(GUPY), api_key());
    let document = document(APPLICATION_COMPLETED);
    let fence = CallFence::open();
    for code in [400, 401, 403, 404, 408, 410, 429, 500, 503] {
        let missing = matches!(code, 404 | 410);
        let status =
            |missing| CallFailure::Status { code, retry_after: Some(Duration::from_secs(7)), missing };
        for _ in 0..4 {
            server.answers_with(code, &[("retry-after", "7")], CANARY);
        }
        assert_eq!(remote.update("1", &document, &fence).await, Err(status(missing)));
        assert_eq!(remote.delete(&document.spec, "1", &fence).await, Err(status(missing)));
        assert_eq!(remote.create(&document, &fence).await, Err(status(false)));
        assert_eq!(list(&*remote, &fence).await, Err(status(false)));
    }
    server.answers_with(307, &[("location", "/elsewhere")], "");
    let redirect = remote.update("1", &document, &fence).await;
    assert_eq!(redirect, Err(CallFailure::Redirect { code: 307 }));
}

#[tokio::test]
async fn secrets_of_headers_that_are_not_sent_are_not_read() {
    let server = Server::start().await;
    let spec = provider(
        "
auth: {none: {}}
operations:
  update: {method: PUT, path: '/{id}', json: {t: '{token}'}, headers: {X-Token: 'Token {token}'}}
",
    );
    let remote = server.remote(spec, Keys::default());
    let yaml = "  - {name: a, valueFrom: {secretKeyRef: {name: no, key: no}}}\ntokenSourceRef";
    let mut document = document(&APPLICATION_COMPLETED.replace("tokenSourceRef", yaml));
    server.answers(200, "");
    let applied = remote.update("1", &document, &CallFence::open()).await.unwrap();
    assert_eq!(applied.secrets, None);
    let seen = &server.seen()[0];
    assert_eq!(seen.body, json!({"t": CANARY}));
    assert_eq!(seen.header("x-token"), Some(format!("Token {CANARY}").as_str()));

    document.token = format!("{CANARY}\n").into();
    let refused = remote.update("1", &document, &CallFence::open()).await.unwrap_err();
    assert!(matches!(refused, CallFailure::Refused(Refusal::UnusableValue { .. })));
    assert!(!format!("{refused} {refused:?}").contains(CANARY));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn codes_that_count_as_success_or_missing_can_be_chosen() {
    let server = Server::start().await;
    let spec = provider(
        "
auth: {none: {}}
operations:
  update: {method: PATCH, path: '/{id}', json: [{t: '{token}'}], contentType: application/json-patch+json, success: [200, 408], missing: [422], headers: {X-Version: 'v-{id}', X-Absent: '{parameters.a}'}}
parameters: [{name: a}]
",
    );
    let remote = server.remote(spec, Keys::default());
    let document = document(APPLICATION_COMPLETED);
    let fence = CallFence::open();
    server.answers(408, "").answers(204, "").answers(422, "").answers(404, "");
    assert!(remote.update("1", &document, &fence).await.is_ok());
    let other_success = remote.update("a/b", &document, &fence).await;
    assert!(matches!(other_success, Err(CallFailure::Unreadable { .. })));
    for (code, is_missing) in [(422, true), (404, false)] {
        let failed = remote.update("a/b", &document, &fence).await;
        assert!(
            matches!(failed, Err(CallFailure::Status { code: c, missing, .. }) if c == code && missing == is_missing),
            "{failed:?}"
        );
    }
    let seen = server.seen();
    assert_eq!(seen[1].line, "PATCH /a%2Fb");
    assert_eq!(seen[1].header("content-type"), Some("application/json-patch+json"));
    assert_eq!(seen[1].header("x-version"), Some("v-a/b"));
    assert_eq!(seen[1].header("x-absent"), None);
    let refused = remote.update("..", &document, &fence).await;
    assert!(matches!(refused, Err(CallFailure::Refused(Refusal::UnusableValue { .. }))));
    let unsupported = remote.create(&document, &fence).await;
    assert!(matches!(unsupported, Err(CallFailure::Refused(Refusal::Unsupported { .. }))));
}

#[tokio::test]
async fn a_success_whose_body_nobody_needs_is_a_success_whatever_the_body() {
    let server = Server::start().await;
    let remote = server.remote(provider(GUPY), api_key());
    let document = document(APPLICATION_COMPLETED);
    let fence = CallFence::open();
    let gzip: &[(&str, &str)] = &[("content-encoding", "gzip")];
    let large = "x".repeat(2 * 1024 * 1024);
    for (status, headers, body) in [(200, &[][..], large.as_str()), (202, gzip, "x")] {
        for _ in 0..4 {
            server.answers_with(status, headers, body);
        }
        let updated = remote.update("1", &document, &fence).await;
        assert_eq!(updated.map(|applied| applied.id), Ok(None));
        assert_eq!(remote.delete(&document.spec, "1", &fence).await, Ok(()));
        // These need what is in it.
        let created = remote.create(&document, &fence).await;
        assert!(matches!(created, Err(CallFailure::Unreadable { .. })), "{created:?}");
        let listed = list(&*remote, &fence).await;
        assert!(matches!(listed, Err(CallFailure::Unreadable { .. })), "{listed:?}");
    }
    assert_eq!(server.seen().len(), 8);
}

#[tokio::test]
async fn a_success_whose_body_is_cut_short_is_a_success() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::at(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 64 * 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, head).await;
        }
    });
    let remote = server.remote(provider(GUPY), api_key());
    let document = document(APPLICATION_COMPLETED);
    let fence = CallFence::open();
    assert!(remote.update("1", &document, &fence).await.is_ok());
    let created = remote.create(&document, &fence).await;
    assert!(matches!(created, Err(CallFailure::Unanswered { .. })), "{created:?}");
}

#[tokio::test]
async fn a_create_without_a_usable_id_is_unreadable() {
    let server = Server::start().await;
    let remote = server.remote(provider(GUPY), api_key());
    for body in ["", "<html>", "[]", "{\"id\":null}", "{\"id\":\"\"}", "{\"id\":{\"a\":\"canary-7f3a91\"}}"] {
        server.answers(201, body);
        let failed = remote.create(&document(APPLICATION_COMPLETED), &CallFence::open()).await;
        let failed = failed.unwrap_err();
        assert!(matches!(failed, CallFailure::Unreadable { .. }), "{body}: {failed:?}");
        assert!(!format!("{failed} {failed:?}").contains(CANARY));
    }
    server.answers(201, "{\"id\":17}");
    let created = remote.create(&document(APPLICATION_COMPLETED), &CallFence::open()).await;
    assert_eq!(created.unwrap().id.as_deref(), Some("17"));
}

#[tokio::test]
async fn what_the_network_does_is_told_apart() {
    let server = Server::start().await;
    let document = document(APPLICATION_COMPLETED);
    let fence = CallFence::open();

    let mut spec = provider(GUPY);
    spec.base_url = Some("http://127.0.0.2:1".to_owned());
    let refused = server.remote(spec, api_key()).create(&document, &fence).await;
    let Err(CallFailure::Refused(Refusal::DestinationNotAllowed { allow, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert!(allow.contains("http://127.0.0.2:1"), "{allow}");

    let port_of_nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let silent = Server::at(port_of_nobody);
    let closed = silent.remote(provider(GUPY), api_key()).create(&document, &fence).await;
    assert!(matches!(closed, Err(CallFailure::NotSent { .. })), "{closed:?}");

    let hangs_up = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hangs_up.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = hangs_up.accept().await {
            let mut request = [0; 64];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
        }
    });
    let lost = Server::at(address);
    let lost = lost.remote(provider(GUPY), api_key()).create(&document, &fence).await;
    assert!(matches!(lost, Err(CallFailure::Unanswered { .. })), "{lost:?}");

    server.answers(200, "x".repeat(2 * 1024 * 1024));
    let large = list(&*server.remote(provider(GUPY), api_key()), &fence).await;
    assert!(matches!(large, Err(CallFailure::Unreadable { .. })), "{large:?}");
}
