//! Gupy's API as documented.

use super::*;

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
    assert_eq!((summary.creates, summary.doubled, summary.webhooks), (2, 1, 2));
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
    assert_eq!((reply.status, reply.json()["status"].clone()), (404, json!(404)));
    let summary = sandbox.ledger();
    assert_eq!((summary.deletes, summary.webhooks, summary.provider_calls), (1, 0, 3));
}

#[tokio::test]
async fn listings_are_paged_as_documented() {
    let sandbox = quiet().await;
    let mut ids = Vec::new();
    for _ in 0..23 {
        ids.push(json!(create(&sandbox, "t").await));
    }
    let page = call(&sandbox, "GET /api/v1/webhooks", &Value::Null).await.json();
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
        assert_eq!(call(&sandbox, &line, &Value::Null).await.status, 400, "{query}");
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
    assert_eq!((none.status, none.json()["status"].clone()), (401, json!(401)));
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
    assert_eq!((summary.provider_calls, summary.lists, summary.creates), (5, 0, 0));
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
    let sandbox =
        start(Config { requests_per_minute: Some(1), delivery_interval: None, ..Config::default() }).await;
    for _ in 0..6 {
        assert_eq!(call(&sandbox, "GET /api/v1/webhooks", &Value::Null).await.status, 200);
    }
    sandbox.advance(Duration::from_secs(30));
    let reply = call(&sandbox, "GET /api/v1/webhooks", &Value::Null).await;
    assert_eq!(reply.status, 429);
    assert!(reply.head.contains("waf: rate-limit"), "{}", reply.head);
    assert!(!reply.head.contains("retry-after"));
    assert_eq!(reply.json()["status"], 429);
    mint(&sandbox).await;
    let summary = sandbox.ledger();
    assert_eq!((summary.rate_limited, summary.provider_calls, summary.lists), (1, 7, 6));
    sandbox.advance(Duration::from_secs(330));
    assert_eq!(call(&sandbox, "GET /api/v1/webhooks", &Value::Null).await.status, 200);
}
