//! Faults at the provider and the token server.

use super::*;

#[tokio::test]
async fn a_lost_answer_has_its_effect() {
    let sandbox = quiet().await;
    for target in [Target::Create, Target::Token] {
        sandbox.faults().add(Fault::lose_answer(target).times(1)).unwrap();
    }
    let body = document("t").to_string();
    let lost = request(&sandbox, "POST /api/v1/webhooks", BEARER, &body).await;
    assert!(lost.is_none());
    assert!(request(&sandbox, "POST /oauth/token", BASIC, GRANT).await.is_none());
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
    assert_eq!((reply.status, reply.json()["status"].clone()), (503, json!(503)));
    assert!(reply.head.contains("retry-after: 7"));
    assert_eq!(sandbox.ledger().creates, 0);
    fault.after_effect = Some(true);
    fault.body = FaultBody::Html;
    sandbox.faults().add(fault).unwrap();
    let reply = call(&sandbox, "POST /api/v1/webhooks", &document("t")).await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.starts_with("<html>"));
    assert_eq!(sandbox.ledger().creates, 1);
    assert_eq!(call(&sandbox, "POST /api/v1/webhooks", &document("t")).await.status, 201);
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
async fn a_delay_comes_before_the_effect_or_after_it() {
    for after_effect in [false, true] {
        let sandbox = quiet().await;
        let mut fault = Fault::at(Target::Create).times(1);
        fault.delay_ms = 600_000;
        fault.after_effect = Some(after_effect).filter(|after| *after);
        sandbox.faults().add(fault).unwrap();
        let address = sandbox.address;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = document("t").to_string();
        let text = format!(
            "POST /api/v1/webhooks HTTP/1.1\r\nHost: x\r\n{BEARER}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        until(&sandbox, |summary| summary.faults == 1).await;
        if after_effect {
            until(&sandbox, |summary| summary.creates == 1).await;
        }
        // A second request is served meanwhile, so the first has had every chance.
        create(&sandbox, "t").await;
        assert_eq!(sandbox.ledger().creates, 1 + u64::from(after_effect));
    }
}
