//! What a body says, and what its delivery is known again by.
//!
//! Nothing makes the reading panic, and what it finds is what a whole parse finds.

use std::sync::LazyLock;
use std::time::Duration;

use hookkeeper::api::{DuplicateAction, Mode, TestEventAction};
use hookkeeper::gate::acceptance::{LONGEST_VALUE, read};
use hookkeeper::gate::duplicates;
use hookkeeper::gate::receiver::{
    Destination, Duplicates, EventName, Forward, HandOn, Pointer, Proof, Receiver, TestEvent,
};
use hookkeeper::store::{Extent, Owner};
use hyper::HeaderMap;
use serde_json::Value;

fn pointer(path: &str) -> Pointer {
    Pointer(path.split('/').skip(1).map(str::to_owned).collect())
}

static RECEIVER: LazyLock<Receiver> = LazyLock::new(|| {
    let room = Extent { deliveries: 10, bytes: 1_000 };
    Receiver {
        owner: Owner { namespace: "n".into(), name: "r".into(), uid: "u".into() },
        generation: 1,
        created: None,
        path: "/n/r".to_owned(),
        proof: Proof::None,
        source_ranges: Vec::new(),
        max_body: 1 << 20,
        max_pending: room,
        max_parked: room,
        hand_on: Some(HandOn { path: pointer("/status"), values: vec!["3".to_owned()] }),
        test_event: Some(TestEvent {
            path: pointer("/event"),
            equals: "SampleEvent".to_owned(),
            action: TestEventAction::Answer,
        }),
        duplicates: Duplicates {
            key: EventName::Parts(vec![pointer("/id"), pointer("/payload/0/id")]),
            window: Duration::from_secs(86_400),
            action: DuplicateAction::Drop,
        },
        event_name: Some(pointer("/event")),
        event_time: Some(pointer("/date")),
        content_type: None,
        success: 200,
        mode: Mode::Stored,
        forward: Forward {
            to: Destination::Service { name: "app".to_owned(), port: 80, path: "/".to_owned() },
            timeout: Duration::from_secs(10),
            max_concurrent: 10,
            max_attempts: 50,
            interval: Duration::from_secs(5),
            max_interval: Duration::from_secs(600),
        },
        retention: Duration::from_secs(86_400),
        suspended: false,
        requests_per_second: 1_000,
        revoked_before: None,
        overlap: Duration::from_secs(7_200),
        sealed_only: false,
        removed_after: None,
        fallback: None,
    }
});

fn is_value(value: Option<&Value>) -> Option<bool> {
    match value {
        Some(Value::String(text)) => Some(!text.is_empty() && text.len() <= LONGEST_VALUE),
        // How it was written is lost in the parse, and with it how long it was.
        Some(Value::Number(_)) => None,
        _ => Some(false),
    }
}

/// Returns whether the event has a name.
pub fn run(body: &[u8]) -> bool {
    let receiver = &*RECEIVER;
    let reading = read(body, receiver);
    let headers = HeaderMap::new();
    let key = duplicates::key(&[9; 32], receiver, &headers, body, &reading);
    assert_eq!(key.drop_repeated, reading.parts.is_some());
    assert!(reading.test_event.is_none() || !reading.hand_on);
    for text in [&reading.event, &reading.event_time].into_iter().flatten() {
        assert!(text.len() <= LONGEST_VALUE && hyper::header::HeaderValue::from_str(text).is_ok());
    }
    if let Ok(whole) = serde_json::from_slice::<Value>(body) {
        let parts = [whole.pointer("/id"), whole.pointer("/payload/0/id")].map(is_value);
        if parts.iter().all(Option::is_some) {
            assert_eq!(reading.parts.is_some(), parts == [Some(true); 2]);
        }
        if whole.pointer("/event").and_then(Value::as_str) == Some("SampleEvent") {
            assert!(reading.test_event.is_some());
        }
        if whole.pointer("/status").and_then(Value::as_str) == Some("3") {
            assert!(reading.hand_on || reading.test_event.is_some());
        }
    }
    key.drop_repeated
}
