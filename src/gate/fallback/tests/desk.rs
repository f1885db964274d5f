//! What applications say that they wait for, and who may.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use tower::ServiceExt;

use super::*;

#[tokio::test(start_paused = true)]
async fn who_may_say_what_they_wait_for() {
    let other = waiting("other");
    let mut without = waiting("without");
    without.fallback = None;
    let world = World::of(vec![waiting("unico"), other, without], ok, None);
    for (path, key, expected) in [
        ("/expect/hr/unico/p-1", KEY, 204),
        ("/expect/hr/unico/p-1", KEY, 204),
        ("/expect/hr/unico/p-1", "another key of mine", 401),
        ("/expect/hr/unico/p-1", "short", 401),
        ("/expect/hr/without/p-1", KEY, 404),
        ("/expect/hr/nobody/p-1", KEY, 404),
        ("/expect/it/unico/p-1", KEY, 404),
        ("/expect/hr/unico/..", KEY, 400),
        ("/expect/hr/unico/a%2Fb", KEY, 400),
        ("/expect/hr/unico/", KEY, 400),
        ("/hr/unico", KEY, 404),
    ] {
        assert_eq!(world.put_with(path, key).await, expected, "{path} {key}");
    }
    let mut headers = HeaderMap::new();
    assert_eq!(world.desk.take(&Method::PUT, "/expect/hr/unico/p-1", &headers).await.status, 401);
    headers.insert("authorization", HeaderValue::try_from(format!("Bearer {KEY}")).unwrap());
    for method in [Method::GET, Method::POST, Method::DELETE] {
        assert_eq!(world.desk.take(&method, "/expect/hr/unico/p-1", &headers).await.status, 405);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_changed_by_adding_the_new_one_and_reads_are_few() {
    let world = World::start(ok);
    let path = "/expect/hr/unico/p-1";
    let set = |name: &str, key: Option<Result<&str, CredentialFailure>>| {
        let mut keys = world.values.keys.lock().unwrap();
        match key {
            Some(key) => keys.insert(name.to_owned(), key.map(str::to_owned)),
            None => keys.remove(name),
        };
    };
    for _ in 0..100 {
        assert_eq!(world.put_with(path, KEY).await, 204);
        assert_eq!(world.put_with(path, "nobody's key").await, 401);
    }
    assert_eq!(*world.values.reads.lock().unwrap(), 2, "two keys, read once");
    world.pass(1).await;
    set("second", Some(Ok("the new key of it")));
    assert_eq!(world.put_with(path, "the new key of it").await, 204, "read again for one that is unknown");
    assert_eq!(world.put_with(path, KEY).await, 204, "and the old one is still good");
    set("first", None);
    world.pass(11).await;
    assert_eq!(world.put_with(path, KEY).await, 401);

    // Nobody can read them: those that were read last count, and of others nobody can say.
    set("second", Some(Err(CredentialFailure::Unavailable("no answer".to_owned()))));
    world.pass(11).await;
    assert_eq!(world.put_with(path, "the new key of it").await, 204);
    assert_eq!(world.put_with(path, "nobody's key").await, 503);
    world.pass(3_700).await;
    assert_eq!(world.put_with(path, "the new key of it").await, 503);
    // None that can be used.
    set("second", Some(Ok("short")));
    world.pass(11).await;
    assert_eq!(world.put_with(path, "short").await, 503);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_are_open_and_no_more() {
    let world = World::start(ok);
    for number in 0..MOST_OPEN {
        world.expect(&number.to_string()).await;
    }
    assert_eq!(world.put_with("/expect/hr/unico/one-more", KEY).await, 429);
    assert_eq!(world.put_with("/expect/hr/unico/7", KEY).await, 204, "that one is known");
    world.deliver("8", 3);
    world.pass(1).await;
    world.expect("one-more").await;
}

#[tokio::test(start_paused = true)]
async fn the_listener_answers_in_the_words_of_http() {
    let world = World::start(ok);
    let send = async |method: Method, path: &str, key: &str| {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"));
        world.desk.router().oneshot(request.body(Body::from("ignored")).unwrap()).await.unwrap()
    };
    let taken = send(Method::PUT, "/expect/hr/unico/p-1?x=1", KEY).await;
    assert_eq!(taken.status(), StatusCode::NO_CONTENT);
    let wrong = send(Method::GET, "/expect/hr/unico/p-1", KEY).await;
    assert_eq!(
        (wrong.status(), &wrong.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("PUT"))
    );
    world.store.fail("expect", Some(StoreError::Full("no space left".to_owned())));
    let full = send(Method::PUT, "/expect/hr/unico/p-1", KEY).await;
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(full.headers().contains_key("retry-after"));
}
