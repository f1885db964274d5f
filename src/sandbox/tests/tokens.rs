//! The token server, and what the ledger makes of tokens.

use super::*;

#[tokio::test]
async fn tokens_in_both_styles() {
    let sandbox = quiet().await;
    let reply = request(&sandbox, "POST /oauth/token", BASIC, GRANT).await.unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("cache-control: no-store"));
    let body = reply.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(60)));
    let posted = format!("{GRANT}&client_id=hr-integration&client_secret=sandbox-client-secret");
    let reply = request(&sandbox, "POST /oauth/token", "", &posted).await.unwrap();
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
    let reply = request(&sandbox, "POST /oauth/token", "", &wrong).await.unwrap();
    assert_eq!((reply.status, reply.json()), (401, json!({"error": "invalid_client"})));
    assert!(reply.head.contains("www-authenticate: basic"));
    let wrong = json!({"clientId": "hr-integration", "secret": "x"}).to_string();
    let reply = request(&sandbox, "POST /api/v1/auth/token", "", &wrong).await.unwrap();
    assert_eq!((reply.status, reply.json()["status"].clone()), (401, json!(401)));
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
    assert_eq!((summary.updates, summary.rotations, summary.surplus_updates, summary.late), (2, 1, 1, 0));
}

#[tokio::test]
async fn lateness_is_counted_while_it_lasts_and_after() {
    let sandbox = quiet().await;
    let id = create(&sandbox, &mint(&sandbox).await).await;
    sandbox.advance(Duration::from_secs(59));
    assert_eq!(sandbox.ledger().late, 0);
    sandbox.advance(Duration::from_secs(11));
    let summary = sandbox.ledger();
    assert_eq!((summary.late, summary.late_now, summary.late_by_revocation), (1, 1, 0));
    assert!((9_000..60_000).contains(&summary.late_longest_ms), "{summary:?}");
    assert!(sandbox.webhooks()[0].late);
    update(&sandbox, &id, &mint(&sandbox).await).await;
    let summary = sandbox.ledger();
    assert_eq!((summary.late, summary.late_now), (1, 0));
    assert_eq!(summary.late_total_ms, summary.late_longest_ms);
    let late = sandbox.entries(0).into_iter().find_map(|entry| match entry.event {
        Event::Late(late) => Some(late),
        _ => None,
    });
    assert_eq!(late.unwrap().webhook, id);
}

#[tokio::test]
async fn revocation_makes_every_carrier_late() {
    let mut config = Config { delivery_interval: None, ..Config::default() };
    config.clients[0].revokes_previous = true;
    let sandbox = start(config).await;
    let token = mint(&sandbox).await;
    let first = create(&sandbox, &token).await;
    let second = create(&sandbox, &token).await;
    let newer = mint(&sandbox).await;
    update(&sandbox, &first, &newer).await;
    sandbox.advance(Duration::from_millis(10));
    let summary = sandbox.ledger();
    assert_eq!((summary.late, summary.late_now, summary.late_by_revocation), (2, 1, 2));
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
    assert_eq!((summary.late, summary.late_now, summary.vanished), (1, 0, 1));
    assert!(summary.late_total_ms < 100_000);
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
    let reply = request(&sandbox, "POST /oauth/token", BASIC, GRANT).await.unwrap().json();
    let token = reply["data"]["token"].as_str().unwrap();
    assert_eq!(token.len(), TRIAL_TOKEN_PREFIX.len() + 43);
    assert!(token.starts_with(TRIAL_TOKEN_PREFIX));
    assert_eq!((&reply["data"]["in"], &reply["huge"]), (&json!(60), &json!(9e12)));
    let until = chrono::DateTime::parse_from_rfc3339(reply["data"]["until"].as_str().unwrap());
    assert_eq!(json!(until.unwrap().timestamp()), reply["data"]["s"]);
    let id = create(&sandbox, token).await;
    assert_eq!(sandbox.webhooks()[0].id, id);
    assert!(sandbox.webhooks()[0].token.is_some());
    fault.token_answer = Some(json!("plain $TOKEN"));
    sandbox.faults().add(fault).unwrap();
    let reply = request(&sandbox, "POST /oauth/token", BASIC, GRANT).await.unwrap();
    assert!(reply.body.starts_with(&format!("plain {TRIAL_TOKEN_PREFIX}")));
}
