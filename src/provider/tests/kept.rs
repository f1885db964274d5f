//! The credential that is kept for deletions.

use serde_json::json;

use super::server::{Keys, Removable, Server};
use super::{APPLICATION_COMPLETED, GUPY, provider, subscription};
use crate::engine::ports::{
    CallFailure, CallFence, Custody, Document, ProviderClient, Refusal, SecretFailure,
};

fn keys(value: &str) -> Keys {
    Keys::default().with("team/gupy-api/token", value, None)
}

fn document() -> Document {
    Document {
        namespace: "team".into(),
        spec: std::sync::Arc::new(subscription(APPLICATION_COMPLETED)),
        token: "token".into(),
        token_bounds: crate::secret::bounds::Bounds::default(),
    }
}

async fn update(remote: &dyn ProviderClient) -> Result<(), CallFailure> {
    remote.update("1", &document(), &CallFence::open()).await.map(drop)
}

async fn delete(remote: &dyn ProviderClient) -> Result<(), CallFailure> {
    remote.delete(&document().spec, "1", &CallFence::open()).await
}

async fn list(remote: &dyn ProviderClient) -> Result<(), CallFailure> {
    super::list(remote, &CallFence::open()).await.map(drop)
}

fn is_without(result: &Result<(), CallFailure>) -> bool {
    matches!(
        result,
        Err(CallFailure::Refused(Refusal::SecretNotFound { .. } | Refusal::SecretUnavailable { .. }))
    )
}

fn who(server: &Server) -> Vec<String> {
    let seen = server.seen();
    seen.iter().map(|seen| seen.header("authorization").unwrap_or_default().to_owned()).collect()
}

/// As the engine does when a credential has changed.
async fn known(remote: &dyn ProviderClient) {
    let account = remote.identify().await.unwrap();
    remote.act_for(account);
}

#[tokio::test]
async fn the_last_credential_that_worked_deletes_when_its_secret_is_gone_and_does_nothing_else() {
    for gone in [SecretFailure::NotFound, SecretFailure::Unavailable("forbidden".into())] {
        let server = Server::start().await;
        let secrets = Removable::new(keys("first"));
        let remote = server.remote(provider(GUPY), secrets.clone());
        remote.keep_credential(Custody::Deletes).await;
        secrets.replace(Ok(keys("second")));
        server.answers(200, "{}");
        known(&*remote).await;
        update(&*remote).await.unwrap();
        // This one is refused, so the one before is still the last that worked.
        secrets.replace(Ok(keys("third")));
        known(&*remote).await;
        server.answers(401, "");
        update(&*remote).await.unwrap_err();

        secrets.replace(Err(gone));
        assert!(is_without(&update(&*remote).await) && is_without(&list(&*remote).await));
        server.answers(204, "");
        delete(&*remote).await.unwrap();
        assert_eq!(who(&server), ["Bearer second", "Bearer third", "Bearer second"]);
    }
}

#[tokio::test]
async fn it_is_read_ahead_for_a_process_that_makes_no_call_before_the_secret_goes() {
    let server = Server::start().await;
    let secrets = Removable::new(keys("ahead"));
    let remote = server.remote(provider(GUPY), secrets.clone());
    remote.keep_credential(Custody::Deletes).await;
    assert_eq!(server.lines(), Vec::<String>::new());
    secrets.replace(Err(SecretFailure::NotFound));
    server.answers(204, "");
    delete(&*remote).await.unwrap();
    assert_eq!(who(&server), ["Bearer ahead"]);
}

#[tokio::test]
async fn while_the_provider_itself_is_deleted_it_serves_the_listings_that_deletions_need() {
    let server = Server::start().await;
    let secrets = Removable::new(keys("ahead"));
    let remote = server.remote(provider(GUPY), secrets.clone());
    remote.keep_credential(Custody::Deletes).await;
    secrets.replace(Err(SecretFailure::NotFound));
    remote.keep_credential(Custody::Ending).await;
    for _ in 0..2 {
        server.answers(200, json!({"results": [], "page": 1, "totalPages": 1}));
    }
    list(&*remote).await.unwrap();
    assert!(is_without(&update(&*remote).await), "a token is brought with nothing that is kept");
}

#[tokio::test]
async fn nothing_is_kept_where_no_deletion_will_need_it() {
    let server = Server::start().await;
    let secrets = Removable::new(keys("worked"));
    let remote = server.remote(provider(GUPY), secrets.clone());
    for custody in [None, Some(Custody::Nothing)] {
        if let Some(custody) = custody {
            remote.keep_credential(Custody::Deletes).await;
            remote.keep_credential(custody).await;
        }
        secrets.replace(Ok(keys("worked")));
        server.answers(200, "{}");
        update(&*remote).await.unwrap();
        secrets.replace(Err(SecretFailure::NotFound));
        assert!(is_without(&delete(&*remote).await), "{custody:?}");
    }
}

#[tokio::test]
async fn a_secret_that_may_no_longer_go_there_is_not_sent_from_memory() {
    let server = Server::start().await;
    let secrets = Removable::new(keys("worked"));
    let remote = server.remote(provider(GUPY), secrets.clone());
    remote.keep_credential(Custody::Deletes).await;
    secrets.replace(Ok(Keys::default().with("team/gupy-api/token", "worked", Some("api.example.com"))));
    let refused = delete(&*remote).await;
    assert!(matches!(refused, Err(CallFailure::Refused(Refusal::HostNotAllowed { .. }))), "{refused:?}");
    // Nor once the Secret is gone: what is kept is older than what it said last.
    secrets.replace(Err(SecretFailure::NotFound));
    assert!(is_without(&delete(&*remote).await));
    assert_eq!(server.lines(), Vec::<String>::new());
}
