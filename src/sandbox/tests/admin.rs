//! `/admin/` and the end of a sandbox.

use super::*;

#[tokio::test]
async fn the_admin_endpoints() {
    let sandbox = quiet().await;
    let admin = async |line: &str, body: &str| request(&sandbox, line, "", body).await.unwrap();

    let fault = r#"{"target": "list", "status": 500, "times": 2}"#;
    assert_eq!(admin("POST /admin/faults", fault).await.status, 201);
    for bad in ["{", "{}", r#"{"target":"list","odd":1}"#, r#"{"target":"list"}"#] {
        assert_eq!(admin("POST /admin/faults", bad).await.status, 400, "{bad}");
    }
    assert_eq!(call(&sandbox, "GET /api/v1/webhooks", &Value::Null).await.status, 500);
    let faults = admin("GET /admin/faults", "").await.json();
    assert_eq!(faults["faults"][0]["remaining"], 1);
    assert_eq!(admin("DELETE /admin/faults", "").await.status, 204);
    assert_eq!(call(&sandbox, "GET /api/v1/webhooks", &Value::Null).await.status, 200);

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
    assert_eq!(webhooks.json()["webhooks"][0]["client_headers"]["token"], shown);

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
    assert_eq!((&summary["vanished"], &summary["creates"]), (&json!(1), &json!(0)));
    let ledger = admin("GET /admin/ledger", "").await;
    assert!(!ledger.body.contains(&token));
    let entries = ledger.json()["entries"].as_array().unwrap().clone();
    let kinds: Vec<&str> = entries.iter().map(|e| e["kind"].as_str().unwrap()).collect();
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
    let again = start(Config { listen, ..Config::default() }).await;
    assert_eq!(again.url(), format!("http://{listen}"));
}
