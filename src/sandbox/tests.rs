//! The sandbox over real sockets, one test per documented behaviour.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const BASIC: &str = "Authorization: Basic aHItaW50ZWdyYXRpb246c2FuZGJveC1jbGllbnQtc2VjcmV0\r\n";
const BEARER: &str = "Authorization: Bearer sandbox-management-token\r\n";
const GRANT: &str = "grant_type=client_credentials";

/// An answer as it came over the wire.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// One request on its own connection; `None` when the connection ends without a byte.
async fn request(sandbox: &Sandbox, line: &str, headers: &str, body: &str) -> Option<Reply> {
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let length = body.len();
    let text = format!(
        "{line} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is cut may also be reset.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

async fn call(sandbox: &Sandbox, line: &str, body: &Value) -> Reply {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    request(sandbox, line, BEARER, &body).await.unwrap()
}

async fn mint(sandbox: &Sandbox) -> String {
    let reply = request(sandbox, "POST /oauth/token", BASIC, GRANT).await;
    let reply = reply.unwrap().json();
    reply["access_token"].as_str().unwrap().to_owned()
}

fn document(token: &str) -> Value {
    json!({
        "action": "job.published",
        "postbackUrl": "https://integrations.example.com/gupy",
        "status": "active",
        "clientHeaders": {"token": token, "apiKey": "k"},
    })
}

async fn create(sandbox: &Sandbox, token: &str) -> String {
    let reply = call(sandbox, "POST /api/v1/webhooks", &document(token)).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn update(sandbox: &Sandbox, id: &str, token: &str) -> Reply {
    let line = format!("PUT /api/v1/webhooks/{id}");
    call(sandbox, &line, &document(token)).await
}

/// A sandbox that delivers nothing by itself.
async fn quiet() -> Sandbox {
    start(Config {
        delivery_interval: None,
        ..Config::default()
    })
    .await
}

async fn start(config: Config) -> Sandbox {
    Sandbox::start(config).await.unwrap()
}

/// Waits for what is bound to happen; the harness ends a test in which it never does.
async fn until(sandbox: &Sandbox, happened: impl Fn(&LedgerSummary) -> bool) -> LedgerSummary {
    tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let summary = sandbox.ledger();
            if happened(&summary) {
                return summary;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it never happened")
}

fn outcomes(sandbox: &Sandbox) -> Vec<Outcome> {
    let entries = sandbox.entries(0).into_iter();
    entries
        .filter_map(|entry| match entry.event {
            Event::Delivery(delivery) => Some(delivery.outcome),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_create_answers_four_fields_and_is_not_idempotent() {
    let sandbox = quiet().await;
    let reply = call(&sandbox, "POST /api/v1/webhooks", &document("t")).await;
    assert_eq!(reply.status, 201);
    let body = reply.json();
    let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["action", "id", "postbackUrl", "status"]);
    let other = create(&sandbox, "t").await;
    assert_ne!(body["id"], other);
    let summary = sandbox.ledger();
    assert_eq!(
        (summary.creates, summary.doubled, summary.webhooks),
        (2, 1, 2)
    );
}

#[tokio::test]
async fn two_spellings_of_one_url_are_a_double_and_two_actions_are_not() {
    let sandbox = quiet().await;
    create(&sandbox, "t").await;
    let mut other = document("t");
    other["action"] = json!("job.changed");
    call(&sandbox, "POST /api/v1/webhooks", &other).await;
    assert_eq!(sandbox.ledger().doubled, 0);
    let mut same = document("t");
    same["postbackUrl"] = json!("HTTPS://Integrations.Example.com:443/gupy");
    call(&sandbox, "POST /api/v1/webhooks", &same).await;
    assert_eq!(sandbox.ledger().doubled, 1);
}

#[tokio::test]
async fn a_put_replaces_everything_and_keeps_the_id() {
    let sandbox = quiet().await;
    let id = create(&sandbox, "t").await;
    let line = format!("PUT /api/v1/webhooks/{id}");
    let bare = json!({"action": "job.published", "postbackUrl": "https://a.example.com/"});
    let reply = call(&sandbox, &line, &bare).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["id"], json!(id));
    let view = &sandbox.webhooks()[0];
    assert!(view.client_headers.is_empty());
    assert_eq!(view.postback_url, "https://a.example.com/");

    let without_url = json!({"action": "job.published"});
    let reply = call(&sandbox, &line, &without_url).await;
    assert_eq!(reply.status, 400);
    let expected = json!({
        "title": "Validation Error", "detail": "Missing postbackUrl param", "status": 400,
    });
    assert_eq!(reply.json(), expected);
    assert_eq!(update(&sandbox, "unknown", "t").await.status, 404);
}

#[tokio::test]
async fn a_deleted_webhook_is_gone() {
    let sandbox = quiet().await;
    let line = format!("DELETE /api/v1/webhooks/{}", create(&sandbox, "t").await);
    assert_eq!(call(&sandbox, &line, &Value::Null).await.status, 204);
    let reply = call(&sandbox, &line, &Value::Null).await;
    assert_eq!(
        (reply.status, reply.json()["status"].clone()),
        (404, json!(404))
    );
    let summary = sandbox.ledger();
    assert_eq!(
        (summary.deletes, summary.webhooks, summary.provider_calls),
        (1, 0, 3)
    );
}

#[tokio::test]
async fn listings_are_paged_as_documented() {
    let sandbox = quiet().await;
    let mut ids = Vec::new();
    for _ in 0..23 {
        ids.push(json!(create(&sandbox, "t").await));
    }
    let page = call(&sandbox, "GET /api/v1/webhooks", &Value::Null)
        .await
        .json();
    assert_eq!(page["results"].as_array().unwrap().len(), 10);
    assert_eq!(page["page"], 1);
    assert_eq!(page["totalResults"], 23);
    assert_eq!(page["totalPages"], 3);
    assert!(page["results"][0].get("clientHeaders").is_none());
    let mut seen = Vec::new();
    for number in 1..=4 {
        let line = format!("GET /api/v1/webhooks?perPage=7&page={number}&fields=all");
        let page = call(&sandbox, &line, &Value::Null).await.json();
        let results = page["results"].as_array().unwrap();
        seen.extend(results.iter().map(|item| item["id"].clone()));
    }
    assert_eq!(seen, ids);
    let beyond = call(&sandbox, "GET /api/v1/webhooks?page=9", &Value::Null).await;
    assert_eq!(beyond.json()["results"], json!([]));

    let reply = call(&sandbox, "GET /api/v1/webhooks?perPage=ten", &Value::Null).await;
    let expected = json!({
        "title": "Validation Error",
        "detail": "Invalid perPage param: _val_ must be integer",
        "status": 400,
    });
    assert_eq!((reply.status, reply.json()), (400, expected));
    for query in ["perPage=0", "perPage=101", "perPage=-1", "page=0", "page=x"] {
        let line = format!("GET /api/v1/webhooks?{query}");
        assert_eq!(
            call(&sandbox, &line, &Value::Null).await.status,
            400,
            "{query}"
        );
    }
    let most = call(&sandbox, "GET /api/v1/webhooks?perPage=100", &Value::Null).await;
    assert_eq!(most.json()["totalPages"], 1);
    assert_eq!(sandbox.ledger().lists, 7);
}

#[tokio::test]
async fn credentials_are_asked_for_as_documented() {
    let sandbox = quiet().await;
    let line = "GET /api/v1/webhooks";
    let none = request(&sandbox, line, "", "").await.unwrap();
    assert_eq!(
        (none.status, none.json()["status"].clone()),
        (401, json!(401))
    );
    for bad in ["Bearer other", "Basic sandbox-management-token", ""] {
        let header = format!("Authorization: {bad}\r\n");
        let reply = request(&sandbox, line, &header, "").await.unwrap();
        let expected = json!({
            "title": "Forbidden",
            "detail": "No company is associated to the token provided. Please check the token \
                       value or contact your Gupy representative.",
            "status": 403,
        });
        assert_eq!((reply.status, reply.json()), (403, expected), "{bad}");
    }
    let body = document("t").to_string();
    request(&sandbox, "POST /api/v1/webhooks", "", &body).await;
    let summary = sandbox.ledger();
    assert_eq!(
        (summary.provider_calls, summary.lists, summary.creates),
        (5, 0, 0)
    );
}

#[tokio::test]
async fn there_is_no_way_to_read_one_webhook() {
    let sandbox = quiet().await;
    let line = format!("GET /api/v1/webhooks/{}", create(&sandbox, "t").await);
    assert_eq!(call(&sandbox, &line, &Value::Null).await.status, 404);
    assert_eq!(call(&sandbox, "GET /else", &Value::Null).await.status, 404);
}

#[tokio::test]
async fn the_rate_limit_answers_429_without_retry_after() {
    let sandbox = start(Config {
        requests_per_minute: Some(1),
        delivery_interval: None,
        ..Config::default()
    })
    .await;
    for _ in 0..6 {
        assert_eq!(
            call(&sandbox, "GET /api/v1/webhooks", &Value::Null)
                .await
                .status,
            200
        );
    }
    sandbox.advance(Duration::from_secs(30));
    let reply = call(&sandbox, "GET /api/v1/webhooks", &Value::Null).await;
    assert_eq!(reply.status, 429);
    assert!(reply.head.contains("waf: rate-limit"), "{}", reply.head);
    assert!(!reply.head.contains("retry-after"));
    assert_eq!(reply.json()["status"], 429);
    mint(&sandbox).await;
    let summary = sandbox.ledger();
    assert_eq!(
        (summary.rate_limited, summary.provider_calls, summary.lists),
        (1, 7, 6)
    );
    sandbox.advance(Duration::from_secs(330));
    assert_eq!(
        call(&sandbox, "GET /api/v1/webhooks", &Value::Null)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn tokens_in_both_styles() {
    let sandbox = quiet().await;
    let reply = request(&sandbox, "POST /oauth/token", BASIC, GRANT)
        .await
        .unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("cache-control: no-store"));
    let body = reply.json();
    assert_eq!(
        (&body["token_type"], &body["expires_in"]),
        (&json!("Bearer"), &json!(60))
    );
    let posted = format!("{GRANT}&client_id=hr-integration&client_secret=sandbox-client-secret");
    let reply = request(&sandbox, "POST /oauth/token", "", &posted)
        .await
        .unwrap();
    assert_ne!(reply.json()["access_token"], body["access_token"]);
    let given = json!({"clientId": TRIAL_CLIENT_ID, "secret": TRIAL_CLIENT_SECRET});
    let reply = request(&sandbox, "POST /api/v1/auth/token", "", &given.to_string()).await;
    let reply = reply.unwrap().json();
    let fields: Vec<&String> = reply.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["accessToken", "expiresIn", "tokenType"]);
    assert_eq!(sandbox.ledger().mints, 3);
}

#[tokio::test]
async fn a_wrong_secret_is_an_invalid_client() {
    let sandbox = quiet().await;
    let wrong = format!("{GRANT}&client_id=hr-integration&client_secret=x");
    let reply = request(&sandbox, "POST /oauth/token", "", &wrong)
        .await
        .unwrap();
    assert_eq!(
        (reply.status, reply.json()),
        (401, json!({"error": "invalid_client"}))
    );
    assert!(reply.head.contains("www-authenticate: basic"));
    let wrong = json!({"clientId": "hr-integration", "secret": "x"}).to_string();
    let reply = request(&sandbox, "POST /api/v1/auth/token", "", &wrong)
        .await
        .unwrap();
    assert_eq!(
        (reply.status, reply.json()["status"].clone()),
        (401, json!(401))
    );
    let summary = sandbox.ledger();
    assert_eq!((summary.token_requests, summary.mints), (2, 0));
}

#[tokio::test]
async fn rotations_and_surplus_updates_are_told_apart() {
    let sandbox = quiet().await;
    let first = mint(&sandbox).await;
    let id = create(&sandbox, &first).await;
    assert_eq!(update(&sandbox, &id, &first).await.status, 200);
    let second = mint(&sandbox).await;
    assert_eq!(update(&sandbox, &id, &second).await.status, 200);
    let summary = sandbox.ledger();
    assert_eq!(
        (
            summary.updates,
            summary.rotations,
            summary.surplus_updates,
            summary.late
        ),
        (2, 1, 1, 0)
    );
}

#[tokio::test]
async fn lateness_is_counted_while_it_lasts_and_after() {
    let sandbox = quiet().await;
    let id = create(&sandbox, &mint(&sandbox).await).await;
    sandbox.advance(Duration::from_secs(59));
    assert_eq!(sandbox.ledger().late, 0);
    sandbox.advance(Duration::from_secs(11));
    let summary = sandbox.ledger();
    assert_eq!(
        (summary.late, summary.late_now, summary.late_by_revocation),
        (1, 1, 0)
    );
    assert!(
        (9_000..60_000).contains(&summary.late_longest_ms),
        "{summary:?}"
    );
    assert!(sandbox.webhooks()[0].late);
    update(&sandbox, &id, &mint(&sandbox).await).await;
    let summary = sandbox.ledger();
    assert_eq!((summary.late, summary.late_now), (1, 0));
    assert_eq!(summary.late_total_ms, summary.late_longest_ms);
    let late = sandbox
        .entries(0)
        .into_iter()
        .find_map(|entry| match entry.event {
            Event::Late(late) => Some(late),
            _ => None,
        });
    assert_eq!(late.unwrap().webhook, id);
}

#[tokio::test]
async fn revocation_makes_every_carrier_late() {
    let mut config = Config {
        delivery_interval: None,
        ..Config::default()
    };
    config.clients[0].revokes_previous = true;
    let sandbox = start(config).await;
    let token = mint(&sandbox).await;
    let first = create(&sandbox, &token).await;
    let second = create(&sandbox, &token).await;
    let newer = mint(&sandbox).await;
    update(&sandbox, &first, &newer).await;
    sandbox.advance(Duration::from_millis(10));
    let summary = sandbox.ledger();
    assert_eq!(
        (summary.late, summary.late_now, summary.late_by_revocation),
        (2, 1, 2)
    );
    update(&sandbox, &second, &newer).await;
    assert_eq!(sandbox.ledger().late_now, 0);
}

#[tokio::test]
async fn a_deletion_ends_lateness() {
    let sandbox = quiet().await;
    let id = create(&sandbox, &mint(&sandbox).await).await;
    sandbox.advance(Duration::from_secs(61));
    assert!(sandbox.remove_webhook(&id));
    sandbox.advance(Duration::from_secs(1000));
    let summary = sandbox.ledger();
    assert_eq!(
        (summary.late, summary.late_now, summary.vanished),
        (1, 0, 1)
    );
    assert!(summary.late_total_ms < 100_000);
}

#[tokio::test]
async fn deliveries_say_why_they_are_refused() {
    let hour = Duration::from_secs(3600);
    let mut config = Config {
        delivery_interval: Some(hour),
        ..Config::default()
    };
    config.clients[0].token_life = 5 * hour;
    config.clients[0].revokes_previous = true;
    let sandbox = start(config).await;
    let revoked = mint(&sandbox).await;
    let expired = mint(&sandbox).await;
    sandbox.advance(5 * hour);
    let alive = mint(&sandbox).await;
    let none = json!({"action": "a", "postbackUrl": "https://a.example.com/"});
    call(&sandbox, "POST /api/v1/webhooks", &none).await;
    for token in [&revoked, &expired, "foreign", &alive] {
        create(&sandbox, token).await;
    }
    sandbox.advance(hour);
    until(&sandbox, |_| outcomes(&sandbox).len() == 5).await;
    let mut seen = outcomes(&sandbox);
    seen.sort_by_key(|outcome| format!("{outcome:?}"));
    let expected = [
        Outcome::Accepted,
        Outcome::Expired,
        Outcome::Missing,
        Outcome::Revoked,
        Outcome::Unknown,
    ];
    assert_eq!(seen, expected);
    assert_eq!(sandbox.ledger().deliveries_refused, 4);
}

#[tokio::test]
async fn a_refused_delivery_comes_again_with_the_same_id_and_what_is_stored_then() {
    let sandbox = start(Config {
        delivery_interval: Some(Duration::from_secs(40)),
        time_scale: 6.0,
        ..Config::default()
    })
    .await;
    let id = create(&sandbox, "foreign").await;
    sandbox.advance(Duration::from_secs(40));
    until(&sandbox, |summary| summary.deliveries_refused == 1).await;
    update(&sandbox, &id, &mint(&sandbox).await).await;
    // Gupy's first minute is ten seconds here.
    sandbox.advance(Duration::from_secs(10));
    until(&sandbox, |summary| summary.deliveries_accepted == 1).await;
    let attempts: Vec<Delivery> = sandbox
        .entries(0)
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::Delivery(delivery) => Some(delivery),
            _ => None,
        })
        .collect();
    assert_eq!(attempts[0].event, attempts[1].event);
    assert_eq!((attempts[0].attempt, attempts[1].attempt), (1, 2));
    assert_eq!(
        (attempts[0].answer, attempts[1].answer),
        (Some(401), Some(200))
    );
}

#[tokio::test]
async fn a_living_token_is_accepted_and_an_inactive_webhook_gets_nothing() {
    let sandbox = start(Config {
        delivery_interval: Some(Duration::from_millis(10)),
        ..Config::default()
    })
    .await;
    let id = create(&sandbox, &format!("Bearer {}", mint(&sandbox).await)).await;
    let summary = until(&sandbox, |summary| summary.deliveries_accepted >= 3).await;
    assert_eq!((summary.deliveries_refused, summary.late), (0, 0));
    let mut inactive = document("x");
    inactive["status"] = json!("inactive");
    call(&sandbox, &format!("PUT /api/v1/webhooks/{id}"), &inactive).await;
    sandbox.advance(Duration::from_secs(3600));
    create(&sandbox, &mint(&sandbox).await).await;
    let before = sandbox.ledger().deliveries_accepted;
    until(&sandbox, |summary| {
        summary.deliveries_accepted >= before + 3
    })
    .await;
    assert_eq!(sandbox.ledger().deliveries_refused, 0);
}

#[tokio::test]
async fn a_webhook_that_only_fails_for_seven_days_is_removed_without_a_word() {
    let sandbox = start(Config {
        delivery_interval: Some(Duration::from_secs(3600)),
        time_scale: 24.0,
        ..Config::default()
    })
    .await;
    let id = create(&sandbox, "foreign").await;
    sandbox.advance(Duration::from_secs(3600));
    until(&sandbox, |summary| summary.deliveries_refused == 1).await;
    // Seven days are seven hours here.
    sandbox.advance(Duration::from_secs(6 * 3600));
    until(&sandbox, |summary| summary.deliveries_refused >= 2).await;
    assert_eq!(sandbox.ledger().webhooks, 1);
    sandbox.advance(Duration::from_secs(3600));
    until(&sandbox, |summary| summary.vanished == 1).await;
    assert_eq!(update(&sandbox, &id, "t").await.status, 404);
}

#[tokio::test]
async fn deliveries_elsewhere_carry_the_stored_headers_and_gupys_envelope() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
    let sandbox = start(Config {
        delivery_interval: Some(Duration::from_millis(10)),
        deliver_to: Some(url.parse().unwrap()),
        ..Config::default()
    })
    .await;
    create(&sandbox, "some token").await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = String::new();
    let mut buffer = [0; 4096];
    while !received.ends_with('}') {
        let read = stream.read(&mut buffer).await.unwrap();
        received.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("\r\ntoken: some token\r\n"), "{head}");
    assert!(head.contains("\r\napikey: k\r\n"), "{head}");
    let mut types = head.lines().filter_map(|l| l.strip_prefix("content-type:"));
    assert!(types.all(|value| value.trim().is_empty()), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["companyName", "data", "date", "event", "id"]);
    assert_eq!(body["event"], "job.published");
    let no = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(no).await.unwrap();
    until(&sandbox, |summary| summary.deliveries_refused == 1).await;
}

#[tokio::test]
async fn a_lost_answer_has_its_effect() {
    let sandbox = quiet().await;
    for target in [Target::Create, Target::Token] {
        sandbox
            .faults()
            .add(Fault::lose_answer(target).times(1))
            .unwrap();
    }
    let body = document("t").to_string();
    let lost = request(&sandbox, "POST /api/v1/webhooks", BEARER, &body).await;
    assert!(lost.is_none());
    assert!(
        request(&sandbox, "POST /oauth/token", BASIC, GRANT)
            .await
            .is_none()
    );
    let summary = sandbox.ledger();
    assert_eq!((summary.creates, summary.mints, summary.faults), (1, 1, 2));
    let answers: Vec<Option<u16>> = sandbox
        .entries(0)
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::ProviderCall(call) => Some(call.answer),
            Event::TokenRequest(request) => Some(request.answer),
            _ => None,
        })
        .collect();
    assert_eq!(answers, [None, None]);
    create(&sandbox, "t").await;
    assert_eq!(sandbox.ledger().doubled, 1);
}

#[tokio::test]
async fn a_fault_status_has_no_effect_unless_asked() {
    let sandbox = quiet().await;
    let mut fault = Fault::status(Target::Create, 503).times(1);
    fault.retry_after = Some("7".into());
    sandbox.faults().add(fault.clone()).unwrap();
    let reply = call(&sandbox, "POST /api/v1/webhooks", &document("t")).await;
    assert_eq!(
        (reply.status, reply.json()["status"].clone()),
        (503, json!(503))
    );
    assert!(reply.head.contains("retry-after: 7"));
    assert_eq!(sandbox.ledger().creates, 0);
    fault.after_effect = Some(true);
    fault.body = FaultBody::Html;
    sandbox.faults().add(fault).unwrap();
    let reply = call(&sandbox, "POST /api/v1/webhooks", &document("t")).await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.starts_with("<html>"));
    assert_eq!(sandbox.ledger().creates, 1);
    assert_eq!(
        call(&sandbox, "POST /api/v1/webhooks", &document("t"))
            .await
            .status,
        201
    );
}

#[tokio::test]
async fn a_malformed_body_is_no_json() {
    let sandbox = quiet().await;
    let mut fault = Fault::at(Target::List);
    fault.malformed_body = true;
    sandbox.faults().add(fault).unwrap();
    let reply = call(&sandbox, "GET /api/v1/webhooks", &Value::Null).await;
    assert_eq!(reply.status, 200);
    assert!(!reply.body.is_empty());
    assert!(serde_json::from_str::<Value>(&reply.body).is_err());
}

#[tokio::test]
async fn a_request_that_its_client_gave_up_still_lands() {
    let sandbox = quiet().await;
    let mut fault = Fault::at(Target::Create).times(1);
    fault.delay_ms = 50;
    sandbox.faults().add(fault).unwrap();
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let body = document("t").to_string();
    let text = format!(
        "POST /api/v1/webhooks HTTP/1.1\r\nHost: x\r\n{BEARER}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    until(&sandbox, |summary| summary.faults == 1).await;
    drop(stream);
    until(&sandbox, |summary| summary.creates == 1).await;
}

#[tokio::test]
async fn what_hangs_hangs_until_the_end() {
    let sandbox = quiet().await;
    let mut fault = Fault::at(Target::Update);
    fault.hang = true;
    sandbox.faults().add(fault).unwrap();
    let id = create(&sandbox, "t").await;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let text = format!("PUT /api/v1/webhooks/{id} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    until(&sandbox, |summary| summary.provider_calls == 2).await;
    assert_eq!(sandbox.ledger().updates, 0);
    sandbox.shutdown().await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn odd_token_answers() {
    let sandbox = quiet().await;
    let mut fault = Fault::at(Target::Token).times(1);
    fault.token_answer = Some(json!({
        "data": {"token": "$TOKEN", "until": "$EXPIRES_AT", "s": "$EXPIRES_AT_S", "in": "$EXPIRES_IN"},
        "huge": 9e12,
    }));
    sandbox.faults().add(fault.clone()).unwrap();
    let reply = request(&sandbox, "POST /oauth/token", BASIC, GRANT)
        .await
        .unwrap()
        .json();
    let token = reply["data"]["token"].as_str().unwrap();
    assert_eq!(token.len(), 43);
    assert_eq!(
        (&reply["data"]["in"], &reply["huge"]),
        (&json!(60), &json!(9e12))
    );
    let until = chrono::DateTime::parse_from_rfc3339(reply["data"]["until"].as_str().unwrap());
    assert_eq!(json!(until.unwrap().timestamp()), reply["data"]["s"]);
    let id = create(&sandbox, token).await;
    assert_eq!(sandbox.webhooks()[0].id, id);
    assert!(sandbox.webhooks()[0].token.is_some());
    fault.token_answer = Some(json!("plain $TOKEN"));
    sandbox.faults().add(fault).unwrap();
    let reply = request(&sandbox, "POST /oauth/token", BASIC, GRANT)
        .await
        .unwrap();
    assert!(reply.body.starts_with("plain ") && reply.body.len() == 49);
}

#[tokio::test]
async fn a_fault_at_the_receiver_fails_a_delivery() {
    let sandbox = start(Config {
        delivery_interval: Some(Duration::from_secs(20)),
        ..Config::default()
    })
    .await;
    sandbox
        .faults()
        .add(Fault::status(Target::Receive, 500).times(1))
        .unwrap();
    sandbox
        .faults()
        .add(Fault::lose_answer(Target::Receive).times(1))
        .unwrap();
    create(&sandbox, &mint(&sandbox).await).await;
    sandbox.advance(Duration::from_secs(20));
    until(&sandbox, |summary| summary.deliveries_refused == 1).await;
    sandbox.advance(Duration::from_secs(20));
    until(&sandbox, |summary| summary.deliveries_unanswered == 1).await;
    assert_eq!(outcomes(&sandbox), [Outcome::Refused, Outcome::Unanswered]);
}

#[tokio::test]
async fn the_admin_endpoints() {
    let sandbox = quiet().await;
    let admin = async |line: &str, body: &str| request(&sandbox, line, "", body).await.unwrap();

    let fault = r#"{"target": "list", "status": 500, "times": 2}"#;
    assert_eq!(admin("POST /admin/faults", fault).await.status, 201);
    for bad in [
        "{",
        "{}",
        r#"{"target":"list","odd":1}"#,
        r#"{"target":"list"}"#,
    ] {
        assert_eq!(admin("POST /admin/faults", bad).await.status, 400, "{bad}");
    }
    assert_eq!(
        call(&sandbox, "GET /api/v1/webhooks", &Value::Null)
            .await
            .status,
        500
    );
    let faults = admin("GET /admin/faults", "").await.json();
    assert_eq!(faults["faults"][0]["remaining"], 1);
    assert_eq!(admin("DELETE /admin/faults", "").await.status, 204);
    assert_eq!(
        call(&sandbox, "GET /api/v1/webhooks", &Value::Null)
            .await
            .status,
        200
    );

    let token = mint(&sandbox).await;
    let mut made = document(&format!("Bearer {token}"));
    made["clientHeaders"]["apiKey"] = json!("very secret");
    let reply = admin("POST /admin/webhooks", &made.to_string()).await;
    assert_eq!(reply.status, 201);
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(admin("POST /admin/webhooks", "{}").await.status, 400);
    let webhooks = admin("GET /admin/webhooks", "").await;
    assert!(!webhooks.body.contains(&token) && !webhooks.body.contains("very secret"));
    let label = webhooks.json()["webhooks"][0]["token"].clone();
    let shown = format!("<{}>", label.as_str().unwrap());
    assert_eq!(
        webhooks.json()["webhooks"][0]["client_headers"]["token"],
        shown
    );

    let line = "POST /admin/clients/hr-integration";
    assert_eq!(admin(line, r#"{"secret": "new"}"#).await.status, 204);
    assert_eq!(admin(line, r#"{"secrets": "new"}"#).await.status, 400);
    assert_eq!(admin("POST /admin/clients/other", "{}").await.status, 404);
    let refused = request(&sandbox, "POST /oauth/token", BASIC, GRANT).await;
    assert_eq!(refused.unwrap().status, 401);

    let line = format!("DELETE /admin/webhooks/{id}");
    assert_eq!(admin(&line, "").await.status, 204);
    assert_eq!(admin(&line, "").await.status, 404);

    let summary = admin("GET /admin/summary", "").await.json();
    assert_eq!(
        (&summary["vanished"], &summary["creates"]),
        (&json!(1), &json!(0))
    );
    let ledger = admin("GET /admin/ledger", "").await;
    assert!(!ledger.body.contains(&token));
    let entries = ledger.json()["entries"].as_array().unwrap().clone();
    let kinds: Vec<&str> = entries
        .iter()
        .map(|e| e["kind"].as_str().unwrap())
        .collect();
    let expected = [
        "fault",
        "provider_call",
        "provider_call",
        "token_request",
        "hand_made",
        "client_changed",
        "token_request",
        "vanished",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(entries[0]["sequence"], 1);
    let rest = admin("GET /admin/ledger?since=7", "").await.json();
    assert_eq!(rest["entries"].as_array().unwrap().len(), 1);
    assert_eq!(admin("GET /admin/ledger?since=x", "").await.status, 400);
}

#[tokio::test]
async fn the_port_is_free_after_a_shutdown() {
    let sandbox = quiet().await;
    let listen = sandbox.address;
    sandbox.shutdown().await;
    let again = start(Config {
        listen,
        ..Config::default()
    })
    .await;
    assert_eq!(again.url(), format!("http://{listen}"));
}
