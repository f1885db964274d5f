//! A provider that shows what it was sent, where its description looks for ids.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::server::{Keys, Server};
use super::{APPLICATION_COMPLETED, GUPY, provider, subscription};
use crate::engine::ports::{CallFailure, CallFence, Document, Reading};

const TOKEN: &str = "canary-token-5b7e21f09a";
const CREDENTIAL: &str = "canary-credential-83d1";
const OF_HEADER: &str = "canary-header-1f6c0e7d";

fn document() -> Document {
    let header = "- {name: x-key, valueFrom: {secretKeyRef: {name: header, key: key}}}";
    let yaml = APPLICATION_COMPLETED.replace("clientHeaders:\n", &format!("clientHeaders:\n  {header}\n"));
    assert!(yaml.contains(header), "{yaml}");
    let spec = Arc::new(subscription(&yaml));
    Document {
        namespace: "team".into(),
        spec,
        token: TOKEN.into(),
        token_bounds: crate::secret::bounds::Bounds::default(),
    }
}

fn keys() -> Keys {
    Keys::default().with("team/gupy-api/token", CREDENTIAL, None).with("team/header/key", OF_HEADER, None)
}

fn assert_refused(failure: &CallFailure, id: &str) {
    let CallFailure::Unreadable { what } = failure else {
        panic!("{id}: {failure:?}");
    };
    assert!(what.contains("holds a token or a Secret's value, and is not taken"), "{what}");
    assert!(!format!("{failure} {failure:?}").contains(&id[..id.len().min(6)]), "{failure}");
}

fn ids() -> Vec<String> {
    let mut ids: Vec<String> = [TOKEN, CREDENTIAL, OF_HEADER].map(str::to_owned).into();
    ids.extend([TOKEN, CREDENTIAL, OF_HEADER].map(|secret| STANDARD.encode(secret)));
    ids.push(format!("Bearer {CREDENTIAL}"));
    ids.push(TOKEN.replace('-', "%2D"));
    ids.push(TOKEN[3..].to_owned());
    ids
}

#[tokio::test]
async fn an_id_that_holds_what_was_sent_is_not_taken_from_a_create() {
    let server = Server::start().await;
    let remote = server.remote(provider(GUPY), keys());
    for id in ids() {
        server.answers(201, json!({ "id": id }));
        let failure = remote.create(&document(), &CallFence::open()).await.unwrap_err();
        assert_refused(&failure, &id);
    }
    server.answers(201, json!({"id": "d5b2c6f0-8a2b-4f4e-9d39-1f2e3d4c5b6a"}));
    assert!(remote.create(&document(), &CallFence::open()).await.is_ok());
}

/// What a listing shows was sent with an earlier call.
#[tokio::test]
async fn an_id_that_holds_what_was_sent_is_not_taken_from_a_listing() {
    let server = Server::start().await;
    let remote = server.remote(provider(GUPY), keys());
    server.answers(204, "");
    remote.update("d5b2", &document(), &CallFence::open()).await.unwrap();
    let page = |id: &str| -> Value {
        let item =
            json!({"id": id, "action": "a", "postbackUrl": "https://example.com/", "status": "active"});
        json!({"data": [item], "results": [item], "totalPages": 1})
    };
    for id in ids() {
        server.answers(200, page(&id));
        let failure = remote.list(&mut Reading::default(), &CallFence::open()).await.unwrap_err();
        assert_refused(&failure, &id);
    }
    server.answers(200, page("d5b2"));
    assert!(remote.list(&mut Reading::default(), &CallFence::open()).await.is_ok());
}
