//! Listings of every kind of pagination, and pages that shift.

use serde_json::{Value, json};

use super::server::{Keys, Server};
use super::{CANARY, provider};
use crate::engine::ports::{CallFailure, CallFence, Listing, ProviderClient, Reading};
use crate::rotation::inventory::Listed;
use crate::rotation::target::Target;

fn spec(pagination: &str, path: &str) -> crate::api::WebhookProviderSpec {
    provider(&format!(
        "
auth: {{none: {{}}}}
operations:
  list:
    method: GET
    path: {path}
    items: /items
    pagination: {{{pagination}}}
    fields: {{id: /id, action: /on, postbackUrl: /to, active: {{path: /state, equals: active}}}}
  update: {{method: PUT, path: '/{{id}}', json: {{t: '{{token}}'}}}}
"
    ))
}

const BY_NUMBER: (&str, &str) = ("pageNumber: {totalPages: /pages}", "/hooks?page={page}");
const UNTIL_EMPTY: (&str, &str) = ("untilEmpty: {}", "/hooks?page={page}");
const BY_LINK: (&str, &str) = ("linkHeader: {}", "/hooks");
const ONE_PAGE: (&str, &str) = ("none: {}", "/hooks");

fn remote(server: &Server, (pagination, path): (&str, &str)) -> std::sync::Arc<dyn ProviderClient> {
    server.remote(spec(pagination, path), Keys::default())
}

fn page(ids: &[&str], pages: u32) -> Value {
    let items: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
    json!({"items": items, "pages": pages})
}

async fn list(server: &Server, kind: (&str, &str)) -> Result<Listing, CallFailure> {
    super::list(&*remote(server, kind), &CallFence::open()).await
}

fn ids(listing: &Listing) -> Vec<&str> {
    let mut ids: Vec<&str> = listing.shown.iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn one_page_is_read_once() {
    let server = Server::start().await;
    let items = json!({"items": [
        {"id": "a", "on": "job.published", "to": "https://gate.example.com/", "state": "active"},
        {"id": 7, "state": "inactive", "clientHeaders": {"token": CANARY}},
        {"id": "c", "state": null, "on": 5},
    ], "pages": 1});
    for kind in [BY_NUMBER, BY_LINK, ONE_PAGE] {
        server.answers(200, &items);
        let listing = list(&server, kind).await.unwrap();
        assert_eq!(listing.requests, 1);
        assert_eq!(ids(&listing), ["7", "a", "c"]);
        let url = "https://gate.example.com/";
        for (id, shown) in [
            ("7", Listed::new(None, Some(""), Some(false))),
            ("a", Listed::new(Some("job.published"), Some(url), Some(true))),
            ("c", Listed::new(None, Some(""), None)),
        ] {
            assert_eq!(listing.shown.get(id), Some(&shown), "{id}");
        }
    }
    for empty in [json!({"items": [], "pages": 0}), json!({"items": [], "pages": "1"})] {
        for kind in [BY_NUMBER, UNTIL_EMPTY] {
            server.answers(200, &empty);
            assert_eq!(list(&server, kind).await.unwrap().requests, 1);
        }
    }
}

#[tokio::test]
async fn several_pages_are_read_until_two_passes_agree() {
    let server = Server::start().await;
    for _ in 0..2 {
        server.answers(200, page(&["a", "b"], 2)).answers(200, page(&["c"], 2));
    }
    let listing = list(&server, BY_NUMBER).await.unwrap();
    assert_eq!((ids(&listing), listing.requests), (vec!["a", "b", "c"], 4));
    assert_eq!(server.lines()[..2], ["GET /hooks?page=1", "GET /hooks?page=2"]);

    // `a` is deleted between the pages, so `c` moves to the first and the first pass misses it.
    let server = Server::start().await;
    server.answers(200, page(&["a", "b"], 2)).answers(200, page(&["d"], 2));
    for _ in 0..2 {
        server.answers(200, page(&["b", "c"], 2)).answers(200, page(&["d"], 2));
    }
    let listing = list(&server, BY_NUMBER).await.unwrap();
    assert_eq!((ids(&listing), listing.requests), (vec!["b", "c", "d"], 6));

    // Something new moves `b` to the second page, where it shows up again.
    let server = Server::start().await;
    for _ in 0..2 {
        server.answers(200, page(&["a", "b"], 2)).answers(200, page(&["b"], 2));
    }
    assert_eq!(ids(&list(&server, BY_NUMBER).await.unwrap()), ["a", "b"]);
}

#[tokio::test]
async fn pages_that_never_settle_are_given_up() {
    let server = Server::start().await;
    for id in ["a", "b", "c", "d", "e"] {
        server.answers(200, page(&[id], 2)).answers(200, page(&["x"], 2));
    }
    let failed = list(&server, BY_NUMBER).await;
    assert!(matches!(failed, Err(CallFailure::Unreadable { .. })), "{failed:?}");
    assert_eq!(server.seen().len(), 8);
}

#[tokio::test]
async fn the_first_empty_page_ends_a_listing() {
    let server = Server::start().await;
    for _ in 0..2 {
        server.answers(200, page(&["a"], 0)).answers(200, page(&["b"], 0)).answers(200, page(&[], 0));
    }
    let listing = list(&server, UNTIL_EMPTY).await.unwrap();
    assert_eq!((ids(&listing), listing.requests), (vec!["a", "b"], 6));
}

#[tokio::test]
async fn links_are_followed_at_the_same_origin_only() {
    let server = Server::start().await;
    for _ in 0..2 {
        server
            .answers_with(200, &[("link", "</hooks?after=a%2Fb>; rel=\"next\"")], page(&["a"], 0))
            .answers_with(200, &[("link", "</hooks>; rel=first")], page(&["b"], 0));
    }
    let listing = list(&server, BY_LINK).await.unwrap();
    assert_eq!((ids(&listing), listing.requests), (vec!["a", "b"], 4));
    assert_eq!(server.lines()[..2], ["GET /hooks", "GET /hooks?after=a%2Fb"]);

    let port = server.address.port();
    for target in [
        "http://127.0.0.2/hooks",
        "//evil.example/hooks",
        &format!("https://127.0.0.1:{port}/hooks"),
        &format!("http://{CANARY}@127.0.0.1:{port}/hooks"),
        "http://127.0.0.1:99999/",
    ] {
        let link = format!("<{target}>; rel=next");
        server.answers_with(200, &[("link", &link)], page(&["a"], 0));
        let before = server.seen().len();
        let failed = list(&server, BY_LINK).await.unwrap_err();
        assert!(matches!(failed, CallFailure::Unreadable { .. }), "{target}: {failed:?}");
        assert!(!format!("{failed:?}").contains(CANARY));
        assert_eq!(server.seen().len(), before + 1);
    }
}

#[tokio::test]
async fn what_is_no_list_is_unreadable() {
    let server = Server::start().await;
    for body in [
        json!(CANARY).to_string(),
        CANARY.to_owned(),
        String::new(),
        json!({"items": {"a": CANARY}, "pages": 1}).to_string(),
        json!({"items": [{"no": CANARY}], "pages": 1}).to_string(),
        json!({"items": [{"id": {"x": CANARY}}], "pages": 1}).to_string(),
        json!({"items": [{"id": "a"}]}).to_string(),
        json!({"items": [], "pages": CANARY}).to_string(),
    ] {
        server.answers(200, &body);
        let failed = list(&server, BY_NUMBER).await.unwrap_err();
        assert!(matches!(failed, CallFailure::Unreadable { .. }), "{body}: {failed:?}");
        assert!(!format!("{failed} {failed:?}").contains(CANARY), "{failed}");
    }
}

#[tokio::test]
async fn an_empty_list_may_be_null_and_where_it_is_said_be_left_out() {
    let server = Server::start().await;
    for body in
        [json!({"items": null}), json!({"items": null, "pages": null}), json!({"items": null, "pages": 0})]
    {
        for kind in [BY_NUMBER, UNTIL_EMPTY, BY_LINK, ONE_PAGE] {
            server.answers(200, &body);
            let listing = list(&server, kind).await.unwrap();
            assert_eq!((ids(&listing).len(), listing.requests), (0, 1), "{body} {kind:?}");
        }
    }
    server.answers(204, "");
    let failed = list(&server, ONE_PAGE).await.unwrap_err().to_string();
    assert!(failed.contains("operations.list.itemsOptional: true"), "{failed}");
    for body in [json!({}), json!({"pages": 0})] {
        for kind in [BY_NUMBER, UNTIL_EMPTY, BY_LINK, ONE_PAGE] {
            server.answers(200, &body);
            let failed = list(&server, kind).await.unwrap_err().to_string();
            assert!(failed.contains("operations.list.itemsOptional: true"), "{failed}");
            server.answers(200, &body);
            let (pagination, path) = kind;
            let mut spec = spec(pagination, path);
            let operation = spec.operations.as_mut().and_then(|operations| operations.list.as_mut());
            operation.unwrap().items_optional = Some(true);
            let remote = server.remote(spec, Keys::default());
            let listing = super::list(&*remote, &CallFence::open()).await.unwrap();
            assert_eq!((ids(&listing).len(), listing.requests), (0, 1), "{body} {kind:?}");
            server.answers(204, "");
            assert_eq!(super::list(&*remote, &CallFence::open()).await.unwrap().requests, 1, "{kind:?}");
            server.answers(200, json!({"items": {}}));
            assert!(super::list(&*remote, &CallFence::open()).await.is_err(), "an object is no list");
        }
    }
}

#[tokio::test]
async fn a_page_after_the_first_that_is_not_there_is_the_end() {
    let server = Server::start().await;
    for code in [204, 404, 410] {
        for kind in [UNTIL_EMPTY, BY_NUMBER] {
            for _ in 0..2 {
                server.answers(200, page(&["a"], 2)).answers(code, "");
            }
            let listing = list(&server, kind).await.unwrap();
            assert_eq!((ids(&listing), listing.requests), (vec!["a"], 4), "{code} {kind:?}");
        }
        server.answers(code, "");
        let failed = list(&server, UNTIL_EMPTY).await;
        assert!(failed.is_err(), "the first one: {failed:?}");
    }
}

#[tokio::test]
async fn a_listing_goes_on_at_the_page_that_failed() {
    let server = Server::start().await;
    server.answers(200, page(&["a"], 2)).answers(429, "").answers(502, "").answers(200, page(&["b"], 2));
    server.answers(200, page(&["a"], 2)).answers(200, page(&["b"], 2));
    let remote = remote(&server, BY_NUMBER);
    let (mut reading, fence) = (Reading::default(), CallFence::open());
    let mut failures = Vec::new();
    let listing = loop {
        match remote.list(&mut reading, &fence).await {
            Ok(Some(listing)) => break listing,
            Ok(None) => {}
            Err(failure) => failures.push(failure.to_string()),
        }
    };
    assert_eq!(failures, ["the provider answered 429", "the provider answered 502"]);
    assert_eq!(ids(&listing), ["a", "b"]);
    let pages = server.lines();
    let pages: Vec<_> =
        pages.iter().filter_map(|line| line.split_once("page=")).map(|(_, page)| page).collect();
    assert_eq!(pages, ["1", "2", "2", "2", "1", "2"]);
}

#[tokio::test]
async fn a_failing_page_fails_the_listing() {
    let server = Server::start().await;
    server.answers(200, page(&["a"], 2)).answers(502, "");
    let failed = list(&server, BY_NUMBER).await;
    assert!(matches!(failed, Err(CallFailure::Status { code: 502, .. })), "{failed:?}");
}

/// Whatever a provider writes into its list, what is kept of it is small.
#[tokio::test]
async fn of_many_pages_of_long_texts_only_ids_and_digests_are_kept() {
    const PAGES: u32 = 12;
    let server = Server::start().await;
    let long = |page: u32, number: u32| {
        let to = format!("https://gate.example.com/{}", "u".repeat(4_000));
        json!({"id": format!("{page}-{number}"), "on": "a".repeat(4_000), "to": to, "state": "active"})
    };
    let long_page = |page| json!({"items": (0..100).map(|number| long(page, number)).collect::<Vec<_>>(), "pages": PAGES});
    for page in (0..PAGES).chain(0..PAGES) {
        server.answers(200, long_page(page));
    }
    let remote = remote(&server, BY_NUMBER);
    let (mut reading, fence) = (Reading::default(), CallFence::open());
    let listing = loop {
        if let Some(listing) = remote.list(&mut reading, &fence).await.unwrap() {
            break listing;
        }
        let weight = reading.weight();
        assert!(weight < 400 * 1024, "{weight} bytes are kept after page {}", reading.page());
    };
    assert_eq!(listing.shown.len(), 1_200);
    let weight = listing.shown.weight();
    assert!(weight < 200 * 1024, "{weight} bytes of 9.6 MB");
    let wanted =
        Target::new(Some(&"a".repeat(4_000)), &format!("https://gate.example.com/{}", "u".repeat(4_000)));
    assert_eq!(listing.shown.alike(wanted).count(), 1_200);
}

#[tokio::test]
async fn a_list_that_is_too_large_is_told_with_its_bound() {
    let server = Server::start().await;
    let too_long = json!({"items": [{"id": "x".repeat(257)}], "pages": 1});
    server.answers(200, too_long);
    let failed = list(&server, BY_NUMBER).await.unwrap_err().to_string();
    assert!(failed.contains("no usable id"), "{failed}");

    let link = format!("</hooks?after={}>; rel=next", "x".repeat(9_000));
    server.answers_with(200, &[("link", &link)], page(&["a"], 0));
    let failed = list(&server, BY_LINK).await.unwrap_err().to_string();
    assert!(failed.ends_with("the link to the next page is longer than 8192 bytes"), "{failed}");
}
