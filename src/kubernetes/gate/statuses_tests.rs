use chrono::{DateTime, Utc};
use hyper::{Request, Response};
use kube::client::Body;
use serde_json::Value;
use tower::service_fn;

use super::*;
use crate::api::{Condition, ConditionStatus, ConditionType, GateReport, Reason};

/// An API server that keeps the statuses of receivers, and answers with this code if it is not 200.
#[derive(Clone, Default)]
struct Server {
    writes: Arc<Mutex<Vec<(String, Value)>>>,
    code: Arc<Mutex<u16>>,
    version: Arc<Mutex<u64>>,
}

impl Server {
    fn start() -> (Self, GateStatuses) {
        let server = Self::default();
        *server.code.lock().unwrap() = 200;
        *server.version.lock().unwrap() = 100;
        let own = server.clone();
        let service = service_fn(move |request: Request<Body>| {
            let own = own.clone();
            async move {
                let path = format!("{} {}", request.method(), request.uri());
                let body = request.into_body().collect_bytes().await.unwrap();
                let mut object: Value = serde_json::from_slice(&body).unwrap();
                own.writes.lock().unwrap().push((path, object.clone()));
                let code = *own.code.lock().unwrap();
                let version = {
                    let mut version = own.version.lock().unwrap();
                    *version += 1;
                    *version
                };
                object["metadata"]["uid"] = "u".into();
                object["metadata"]["resourceVersion"] = version.to_string().into();
                let failure =
                    json!({ "kind": "Status", "code": code, "reason": "x", "message": "is forbidden" });
                let answer = if code == 200 { object } else { failure };
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        let statuses = GateStatuses::new(Client::new(service, "hr"), "gate-0".into(), "store".into());
        tokio::spawn(statuses.clone().run());
        (server, statuses)
    }

    fn writes(&self) -> usize {
        self.writes.lock().unwrap().len()
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("hr", name)
}

fn status(ready: ConditionStatus, waiting: i64) -> WebhookReceiverStatus {
    WebhookReceiverStatus {
        observed_generation: Some(1),
        waiting: Some(waiting),
        conditions: vec![Condition {
            kind: ConditionType::Ready,
            status: ready,
            reason: Reason::Accepting,
            message: "m".to_owned(),
            observed_generation: Some(1),
            last_transition_time: DateTime::<Utc>::UNIX_EPOCH,
        }],
        ..WebhookReceiverStatus::default()
    }
}

fn ready(waiting: i64) -> WebhookReceiverStatus {
    status(ConditionStatus::True, waiting)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_share_is_applied_under_the_name_of_the_gate_and_only_when_it_differs() {
    let (server, statuses) = Server::start();
    statuses.write(&key("in"), "u", &ready(7)).await.unwrap();
    pass(5).await;
    assert_eq!(server.writes(), 0, "the watch has not shown it");
    statuses.saw(&key("in"), "u", "1", &WebhookReceiverStatus::default());
    statuses.write(&key("in"), "u", &ready(7)).await.unwrap();
    pass(1).await;
    let (path, body) = server.writes.lock().unwrap()[0].clone();
    assert_eq!(
        path,
        "PATCH /apis/hookkeeper.dev/v1alpha1/namespaces/hr/webhookreceivers/in/status?&force=true&fieldManager=hookkeeper-gate-gate-0"
    );
    assert_eq!(body["metadata"], json!({ "name": "in" }));
    assert_eq!(body["status"]["gates"][0]["gate"], "gate-0");
    assert_eq!(body["status"]["gates"][0]["store"], "store");
    assert!(body["status"].get("conditions").is_none(), "{body}");
    for _ in 0..10 {
        statuses.write(&key("in"), "u", &ready(7)).await.unwrap();
        pass(60).await;
    }
    assert_eq!(server.writes(), 1, "nothing has changed");
    // The share is gone: somebody has removed it.
    *server.version.lock().unwrap() = 200;
    statuses.saw(&key("in"), "u", "200", &WebhookReceiverStatus::default());
    pass(1).await;
    assert_eq!(server.writes(), 2);
    // An older version that comes late says nothing.
    statuses.saw(&key("in"), "u", "50", &WebhookReceiverStatus::default());
    pass(120).await;
    assert_eq!(server.writes(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_matters_is_written_within_a_second_and_what_only_counts_once_a_minute() {
    let (server, statuses) = Server::start();
    statuses.saw(&key("in"), "u", "1", &WebhookReceiverStatus::default());
    statuses.write(&key("in"), "u", &ready(0)).await.unwrap();
    pass(1).await;
    assert_eq!(server.writes(), 1);
    for waiting in 1..=59 {
        statuses.write(&key("in"), "u", &ready(waiting)).await.unwrap();
        pass(1).await;
    }
    assert_eq!(server.writes(), 1);
    pass(2).await;
    assert_eq!(server.writes(), 2);
    statuses.write(&key("in"), "u", &status(ConditionStatus::False, 59)).await.unwrap();
    pass(1).await;
    assert_eq!(server.writes(), 3);
    for number in 0..100_i64 {
        let holds = if number % 2 == 0 { ConditionStatus::True } else { ConditionStatus::False };
        statuses.write(&key("in"), "u", &status(holds, 59)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(server.writes() <= 3 + 11, "{}", server.writes());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_tried_again_ever_more_rarely_and_delays_no_other_namespace() {
    let (server, statuses) = Server::start();
    *server.code.lock().unwrap() = 403;
    for number in 0..100 {
        statuses.saw(&key(&number.to_string()), "u", "1", &WebhookReceiverStatus::default());
        statuses.write(&key(&number.to_string()), "u", &ready(0)).await.unwrap();
    }
    pass(1).await;
    let first = server.writes();
    assert!(first >= 100);
    pass(3_600).await;
    let in_an_hour = server.writes() - first;
    assert!(in_an_hour < 100 * 70, "{in_an_hour}");
    *server.code.lock().unwrap() = 200;
    let other = ObjectKey::new("ops", "in");
    statuses.saw(&other, "u", "1", &WebhookReceiverStatus::default());
    statuses.write(&other, "u", &ready(0)).await.unwrap();
    pass(1).await;
    let is_others = |(path, _): &(String, Value)| path.contains("/namespaces/ops/");
    assert!(server.writes.lock().unwrap().iter().any(is_others));
    pass(60).await;
    let before = server.writes();
    pass(600).await;
    assert_eq!(server.writes(), before, "all are written");
}

#[tokio::test(start_paused = true)]
async fn what_is_meant_for_an_object_that_is_gone_is_written_to_no_other() {
    let (server, statuses) = Server::start();
    statuses.saw(&key("in"), "old", "1", &WebhookReceiverStatus::default());
    statuses.saw(&key("in"), "u", "2", &WebhookReceiverStatus::default());
    statuses.write(&key("in"), "old", &ready(0)).await.unwrap();
    pass(10).await;
    assert_eq!(server.writes(), 0);
    statuses.write(&key("in"), "u", &ready(0)).await.unwrap();
    statuses.gone(&key("in"));
    pass(10).await;
    assert_eq!(server.writes(), 0);
    assert!(statuses.entries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_the_server_does_not_keep_is_not_written_over_and_over() {
    let (server, statuses) = Server::start();
    statuses.saw(&key("in"), "u", "1", &WebhookReceiverStatus::default());
    statuses.write(&key("in"), "u", &ready(0)).await.unwrap();
    pass(1).await;
    let mut kept = WebhookReceiverStatus::default();
    kept.gates.push(GateReport { gate: "gate-0".to_owned(), ..GateReport::default() });
    // As it would be with definitions that lack a field: what is shown is less than what was written.
    if let Some(entry) = statuses.entries().get_mut(&key("in")) {
        let shown = Share::recorded("gate-0", &kept);
        entry.recorded.clone_from(&shown);
        entry.kept = entry.wanted.clone().map(|wanted| (wanted, shown));
    }
    *server.version.lock().unwrap() = 300;
    statuses.saw(&key("in"), "u", "300", &kept);
    pass(600).await;
    assert_eq!(server.writes(), 1);
    statuses.write(&key("in"), "u", &ready(50)).await.unwrap();
    pass(61).await;
    assert_eq!(server.writes(), 2, "something new");
}
