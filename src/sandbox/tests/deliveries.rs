//! Deliveries, retries, removal.

use super::*;

#[tokio::test]
async fn deliveries_say_why_they_are_refused() {
    let hour = Duration::from_secs(3600);
    let mut config = Config { delivery_interval: Some(hour), ..Config::default() };
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
    let expected =
        [Outcome::Accepted, Outcome::Expired, Outcome::Missing, Outcome::Revoked, Outcome::Unknown];
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
    let attempts = deliveries(&sandbox);
    assert_eq!(attempts[0].event, attempts[1].event);
    assert_eq!((attempts[0].attempt, attempts[1].attempt), (1, 2));
    assert_eq!((attempts[0].answer, attempts[1].answer), (Some(401), Some(200)));
}

#[tokio::test]
async fn a_living_token_is_accepted_and_an_inactive_webhook_gets_nothing() {
    let interval = Duration::from_secs(10);
    let sandbox = start(Config { delivery_interval: Some(interval), ..Config::default() }).await;
    let id = create(&sandbox, &format!("Bearer {}", mint(&sandbox).await)).await;
    for deliveries in 1..=2 {
        sandbox.advance(interval);
        until(&sandbox, |summary| summary.deliveries_accepted == deliveries).await;
    }
    let mut inactive = document("x");
    inactive["status"] = json!("inactive");
    call(&sandbox, &format!("PUT /api/v1/webhooks/{id}"), &inactive).await;
    let other = create(&sandbox, &mint(&sandbox).await).await;
    // The inactive one's turn comes first.
    sandbox.advance(interval);
    until(&sandbox, |summary| summary.deliveries_accepted == 3).await;
    let carried: Vec<String> = deliveries(&sandbox).into_iter().map(|delivery| delivery.webhook).collect();
    assert_eq!(carried, [id.clone(), id, other]);
    assert_eq!(sandbox.ledger().late, 0);
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
    // Gupy drops its own as soon as any header is stored.
    assert!(!head.contains("content-type"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["companyName", "data", "date", "event", "id"]);
    assert_eq!(body["event"], "job.published");
    let no = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(no).await.unwrap();
    until(&sandbox, |summary| summary.deliveries_refused == 1).await;
}

#[tokio::test]
async fn a_fault_at_the_receiver_fails_a_delivery() {
    let sandbox =
        start(Config { delivery_interval: Some(Duration::from_secs(20)), ..Config::default() }).await;
    sandbox.faults().add(Fault::status(Target::Receive, 500).times(1)).unwrap();
    sandbox.faults().add(Fault::lose_answer(Target::Receive).times(1)).unwrap();
    create(&sandbox, &mint(&sandbox).await).await;
    sandbox.advance(Duration::from_secs(20));
    until(&sandbox, |summary| summary.deliveries_refused == 1).await;
    sandbox.advance(Duration::from_secs(20));
    until(&sandbox, |summary| summary.deliveries_unanswered == 1).await;
    assert_eq!(outcomes(&sandbox), [Outcome::Refused, Outcome::Unanswered]);
}
