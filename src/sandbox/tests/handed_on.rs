//! The other platforms, the application behind a gate, and the account of both.

use super::*;

/// What a gate's request to the application is like, but for what `headers` says.
const GOOD: &str = "Content-Type: application/json\r\nHookkeeper-Delivery: d1\r\nHookkeeper-Attempt: 1\r\n";

async fn hand_on(sandbox: &Sandbox, headers: &str, body: &str) -> Option<u16> {
    request(sandbox, "POST /application/x", headers, body).await.map(|reply| reply.status)
}

fn idunico(authentication: Authentication) -> Platform {
    Platform::IdUnico(IdUnico {
        authentication,
        attempts: 3,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(60),
        api_key: "asked with this".into(),
    })
}

fn all_three() -> [Platform; 3] {
    [
        idunico(Authentication::Basic("user:password".into())),
        Platform::Pulpo(Pulpo { token: "minted by Pulpo".into(), sample_is_handed_on: false }),
        Platform::QualP(QualP {
            secret: "signs".into(),
            access_token: "living".into(),
            tax_id: "11222333000181".into(),
        }),
    ]
}

async fn with_senders(platforms: impl IntoIterator<Item = Platform>) -> Sandbox {
    let senders = platforms.into_iter().map(SenderConfig::of).collect();
    start(Config { delivery_interval: None, senders, ..Config::default() }).await
}

/// Changes the sender so that it sends `events` events to `target`.
fn send(sandbox: &Sandbox, name: &str, target: &str, events: u64) {
    let change = SenderChange {
        target: Some(target.parse().unwrap()),
        per_second: Some(1000.0),
        events: Some(events),
        ..SenderChange::default()
    };
    sandbox.change_sender(name, change).unwrap();
}

async fn until_account(sandbox: &Sandbox, happened: impl Fn(&Summary) -> bool) -> Summary {
    until(sandbox, |_| happened(&sandbox.account(&[]))).await;
    sandbox.account(&[])
}

/// A gate that hands everything on at once: it takes what comes, and keeps nothing.
struct Gate {
    url: String,
}

impl Gate {
    /// `change` is what it does to bodies; `None` swallows one.
    async fn before(
        sandbox: &Sandbox,
        change: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let application = sandbox.address;
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                number += 1;
                let Some(body) = read_body(&mut stream).await else { continue };
                if let Some(body) = change(&body) {
                    let mut onward = TcpStream::connect(application).await.unwrap();
                    let length = body.len();
                    let text = format!(
                        "POST /application/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
                         Content-Type: application/json\r\nHookkeeper-Delivery: {number}\r\nHookkeeper-Attempt: 1\r\n\r\n{body}"
                    );
                    onward.write_all(text.as_bytes()).await.unwrap();
                    onward.read_to_end(&mut Vec::new()).await.unwrap();
                }
                let ok = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                let _ = stream.write_all(ok).await;
            }
        });
        Self { url }
    }
}

/// `None` when it ends too early.
async fn read_body(stream: &mut TcpStream) -> Option<String> {
    let mut received = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        received.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        if let Some((head, body)) = received.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
            if body.len() >= length {
                return Some(body.to_owned());
            }
        }
        if read == 0 {
            return None;
        }
    }
}

#[tokio::test]
async fn what_a_good_gate_hands_on_is_accounted_for_once_or_twice() {
    let sandbox = with_senders(all_three()).await;
    let gate = Gate::before(&sandbox, |body| Some(body.to_owned())).await;
    for name in ["idunico", "pulpo", "qualp"] {
        send(&sandbox, name, &gate.url, 20);
    }
    let summary = until_account(&sandbox, |summary| summary.attempts_acknowledged == 60).await;
    // IDUnico's processes may come back to a status: the same body, and a copy that is not marked.
    let again = summary.overlapping;
    assert_eq!((summary.once + again, summary.lost, summary.unknown), (summary.sent, 0, 0));
    assert_eq!((summary.broken_rules, summary.not_taken), (0, 0));
    let received = sandbox.received();
    assert_eq!(received.len(), 60);
    assert!(received.iter().all(|received| received.header("hookkeeper-attempt") == Some("1")));
}

#[tokio::test]
async fn what_a_bad_gate_swallows_is_seen_as_lost_and_what_it_changes_as_unknown() {
    let sandbox = with_senders(all_three()).await;
    let gate = Gate::before(&sandbox, |body| {
        let body: Value = serde_json::from_str(body).unwrap();
        let number = body["notification"].as_u64().unwrap();
        (number != 7).then(|| if number == 9 { format!("{body} ") } else { body.to_string() })
    })
    .await;
    send(&sandbox, "qualp", &gate.url, 10);
    let summary = until_account(&sandbox, |summary| summary.attempts_acknowledged == 10).await;
    assert_eq!((summary.once, summary.lost, summary.unknown), (8, 2, 1));
    assert!(!summary.is_clean());
}

#[tokio::test]
async fn gupys_deliveries_are_accounted_for_too_with_copies_and_broken_connections() {
    let sandbox = quiet().await;
    let gate = Gate::before(&sandbox, |body| Some(body.to_owned())).await;
    for _ in 0..3 {
        create(&sandbox, "some token").await;
    }
    let change = SenderChange {
        target: Some(gate.url.parse().unwrap()),
        per_second: Some(20.0),
        disturbances: Some(Disturbances {
            duplicates: 0.5,
            cut: 0.3,
            reorder: 0.3,
            ..Disturbances::default()
        }),
        ..SenderChange::default()
    };
    sandbox.change_sender("gupy", change).unwrap();
    let good = |summary: &Summary| {
        summary.overlapping > 3 && summary.attempts_unanswered > 3 && summary.once > 3 && summary.lost == 0
    };
    let summary = until_account(&sandbox, good).await;
    assert_eq!((summary.unknown, summary.broken_rules), (0, 0));
    let stop = SenderChange { sample: true, ..SenderChange::default() };
    assert!(sandbox.change_sender("gupy", stop).is_err());
}

#[tokio::test]
async fn the_application_knows_its_rules() {
    let sandbox = with_senders(all_three()).await;
    let token = mint(&sandbox).await;
    let cases = [
        (Rule::DeliveryNamed, "Content-Type: a/b\r\nHookkeeper-Attempt: 1\r\n".to_owned()),
        (Rule::DeliveryNamed, format!("{GOOD}Hookkeeper-Delivery: d2\r\n")),
        (
            Rule::AttemptNumbered,
            "Content-Type: a/b\r\nHookkeeper-Delivery: d1\r\nHookkeeper-Attempt: 0\r\n".to_owned(),
        ),
        (Rule::ContentType, "Hookkeeper-Delivery: d1\r\nHookkeeper-Attempt: 1\r\n".to_owned()),
        (Rule::NoCredential, format!("{GOOD}Signature: 00\r\n")),
        (Rule::NoCredential, format!("{GOOD}Note: it was minted by Pulpo\r\n")),
        (Rule::NoCredential, format!("{GOOD}Note: dXNlcjpwYXNzd29yZA==\r\n")),
        (Rule::NoCredential, format!("{GOOD}Token: Bearer {token}\r\n")),
        (Rule::EventTime, format!("{GOOD}Hookkeeper-Event-Time: 2026-01-01T00:00:00Z\r\n")),
    ];
    for (rule, headers) in &cases {
        assert_eq!(hand_on(&sandbox, headers, r#"{"date":"2025-01-01T00:00:00.000Z"}"#).await, Some(200));
        assert_eq!(sandbox.delivery_ledger().broken_rules().last().unwrap().rule, *rule, "{headers}");
    }
    assert_eq!(sandbox.account(&[]).broken_rules, cases.len() as u64);
    let good = format!("{GOOD}Hookkeeper-Event-Time: 2025-01-01T00:00:00Z\r\n");
    hand_on(&sandbox, &good, r#"{"date":"2025-01-01T00:00:00.000Z"}"#).await;
    assert_eq!(sandbox.account(&[]).broken_rules, cases.len() as u64);
    hand_on(&sandbox, GOOD, "another body").await;
    assert_eq!(sandbox.delivery_ledger().broken_rules().last().unwrap().rule, Rule::OneBody);
}

#[tokio::test]
async fn the_application_fails_as_asked_and_says_what_it_processed() {
    let sandbox = quiet().await;
    let body = r#"{"id":"e1","event":"job.published"}"#;
    let ledger = sandbox.delivery_ledger();
    ledger.sent(EventKey::of(body.as_bytes()), Expected::Once);
    ledger.answered(EventKey::of(body.as_bytes()), super::super::account::Reply::Acknowledged);
    let mut busy = Fault::status(Target::Application, 429).times(1);
    busy.retry_after = Some("3".into());
    busy.webhook = Some("e1".into());
    busy.action = Some("job.published".into());
    busy.client = Some("x".into());
    sandbox.faults().add(busy).unwrap();
    let reply = request(&sandbox, "POST /application/x", GOOD, body).await.unwrap();
    assert_eq!(reply.status, 429);
    assert!(reply.head.contains("retry-after: 3"));
    assert_eq!(sandbox.account(&[]).lost, 1);
    assert_eq!(sandbox.account(&[Parked::Id("d1")]).parked, 1);
    sandbox.faults().add(Fault::lose_answer(Target::Application).times(1)).unwrap();
    assert_eq!(hand_on(&sandbox, GOOD, body).await, None);
    assert_eq!(sandbox.account(&[]).once, 1, "it was processed");
    assert_eq!(hand_on(&sandbox, GOOD, body).await, Some(200));
    assert_eq!(sandbox.account(&[]).twice, 1);
    let told: Vec<_> = sandbox
        .entries(0)
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::HandedOn(told) => Some((told.processed, told.answer)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(false, Some(429)), (true, None), (true, Some(200))]);
}

#[tokio::test]
async fn a_process_is_asked_for_with_a_token_and_a_key_and_what_was_kept_back_is_recovered() {
    let sandbox = with_senders([idunico(Authentication::None)]).await;
    let change = SenderChange {
        target: Some("http://127.0.0.1:1/".parse().unwrap()),
        process: Some(ProcessPlan { id: "p1".into(), statuses: vec![3] }),
        lose: Some(1),
        per_second: Some(1000.0),
        events: Some(1),
        ..SenderChange::default()
    };
    sandbox.change_sender("idunico", change).unwrap();
    until_account(&sandbox, |summary| summary.withheld == 1).await;
    let token = mint(&sandbox).await;
    let ask = async |id: &str, headers: &str| {
        request(&sandbox, &format!("GET /processes/v1/{id}"), headers, "").await.unwrap()
    };
    let good = format!("Authorization: Bearer {token}\r\nAPIKEY: asked with this\r\n");
    let reply = ask("p1", &good).await;
    assert_eq!((reply.status, reply.json()["status"].as_u64()), (200, Some(3)));
    assert_eq!(ask("p2", &good).await.status, 404);
    assert_eq!(ask("p1", &format!("Authorization: Bearer {token}\r\n")).await.status, 403);
    assert_eq!(ask("p1", "APIKEY: asked with this\r\n").await.status, 401);
    assert_eq!(
        ask("p1", &format!("Authorization: {token}\r\nAPIKEY: asked with this\r\n")).await.status,
        401
    );
    sandbox.faults().add(Fault::status(Target::Process, 500).times(1)).unwrap();
    assert_eq!(ask("p1", &good).await.status, 500);
    let polled = "Content-Type: application/json\r\nHookkeeper-Polled: true\r\n";
    assert_eq!(hand_on(&sandbox, polled, &reply.body).await, Some(200));
    let summary = sandbox.account(&[]);
    assert_eq!((summary.polled, summary.recovered, summary.broken_rules), (1, 1, 0));
}

#[tokio::test]
async fn senders_and_the_account_are_within_reach_of_curl() {
    let sandbox = with_senders(all_three()).await;
    let gate = Gate::before(&sandbox, |_| None).await;
    let admin = async |line: &str, body: &str| request(&sandbox, line, "", body).await.unwrap();
    let change = json!({"target": gate.url, "sample": true}).to_string();
    assert_eq!(admin("POST /admin/senders/pulpo", &change).await.status, 204);
    until_account(&sandbox, |summary| summary.tests == 1).await;
    assert_eq!(admin("POST /admin/senders/qualp", &change).await.status, 400);
    assert_eq!(admin("POST /admin/senders/other", "{}").await.status, 404);
    for bad in [
        "{",
        r#"{"odd":1}"#,
        r#"{"per_second":-1}"#,
        r#"{"disturbances":{"cut":2}}"#,
        r#"{"target":"ftp://x"}"#,
    ] {
        assert_eq!(admin("POST /admin/senders/pulpo", bad).await.status, 400, "{bad}");
    }
    let senders = admin("GET /admin/senders", "").await.json();
    assert_eq!(senders["senders"][1]["name"], "pulpo");
    assert_eq!(senders["senders"][1]["acknowledged"], 1);
    let account = admin("GET /admin/account", "").await.json();
    assert_eq!((&account["clean"], &account["summary"]["tests"]), (&json!(true), &json!(1)));
    let account = admin("POST /admin/account", r#"{"parked":["?"]}"#).await.json();
    assert_eq!((&account["clean"], &account["summary"]["unknown_parked"]), (&json!(false), &json!(1)));
    assert_eq!(admin("POST /admin/account", "{}").await.status, 400);
}

#[tokio::test]
async fn names_of_senders_are_their_own() {
    for names in [["a", "a"], ["a", "gupy"]] {
        let senders = names.map(|name| SenderConfig {
            name: name.into(),
            ..SenderConfig::of(idunico(Authentication::None))
        });
        assert!(Sandbox::start(Config { senders: senders.into(), ..Config::default() }).await.is_err());
    }
}
