//! Asking against a store in memory, a platform and an application that answer as they are told.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tower::ServiceExt;

use super::*;
use crate::api::{FallbackRequest, LocalReference, NamedValue, PrefixedSecretSource, SecretKeyReference};
use crate::gate::clock::SteadyClock;
use crate::gate::hand_on::tests::application::{Application, Reply as Answered, silence, status};
use crate::gate::hand_on::tests::memory::MemoryStore;
use crate::gate::hand_on::tests::world::{Told as Facts, by_uid, receiver};
use crate::gate::ports::CredentialFailure;
use crate::gate::receiver::{Fallback, HandOn, Pointer};
use crate::http::{Answer, Body as Page, Error, Request as Sent};
use crate::secret::SecretText;
use crate::secret::bounds::{Bounds, Owner as Of};

fn reference(name: &str) -> SecretKeyReference {
    SecretKeyReference { name: name.to_owned(), key: "key".to_owned() }
}

/// `after` is 10 s, `every` 30 s, `giveUpAfter` a day.
pub(super) fn fallback() -> Fallback {
    let pointer = |member: &str| Pointer(vec![member.to_owned()]);
    Fallback {
        secrets: vec![reference("first"), reference("second")],
        after: Duration::from_secs(10),
        every: Duration::from_secs(30),
        give_up_after: Duration::from_secs(86_400),
        request: FallbackRequest {
            url: "https://api.unico.example/processes/v1/{id}".to_owned(),
            headers: vec![NamedValue {
                name: "APIKEY".to_owned(),
                value: None,
                value_from: Some(PrefixedSecretSource { prefix: None, secret_key_ref: reference("api") }),
            }],
            token_source_ref: Some(LocalReference { name: "unico".to_owned() }),
            ..FallbackRequest::default()
        },
        id: pointer("id"),
        status: pointer("status"),
        until: ["3", "4", "5"].map(str::to_owned).to_vec(),
    }
}

fn waiting(name: &str) -> Receiver {
    let mut receiver = receiver("hr", name);
    receiver.fallback = Some(Arc::new(fallback()));
    // A process that is under way is nothing that IDUnico delivers.
    let values = ["2", "3", "4", "5"].map(str::to_owned).to_vec();
    receiver.hand_on = Some(HandOn { path: Pointer(vec!["status".to_owned()]), values });
    receiver
}

/// What a platform was asked.
#[derive(Clone)]
struct Question {
    id: String,
    headers: Vec<(String, String)>,
    bounds: Bounds,
}

/// A platform: what it answers to each id, and what it was asked.
#[derive(Default)]
struct Platform {
    pages: Mutex<HashMap<String, String>>,
    status: Mutex<Option<Answer>>,
    slow: Mutex<Duration>,
    asked: Mutex<Vec<Question>>,
}

impl Platform {
    fn has(&self, id: &str, status: u32) {
        self.says(id, &format!("{{\"id\":\"{id}\",\"status\":{status}}}"));
    }

    fn says(&self, id: &str, page: &str) {
        self.pages.lock().unwrap().insert(id.to_owned(), page.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn page(status: u16, text: &str) -> Answer {
    let body = Ok(Page::new(text.as_bytes().to_vec()));
    let content_type = Some("application/json".to_owned());
    Answer { status, date: None, retry_after: None, content_type, link: None, body }
}

#[derive(Clone)]
struct Outside(Arc<Platform>, Arc<Application>);

impl Asking for Outside {
    fn ask<'a>(&'a self, _: &'a Arc<str>, sent: Sent) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            let platform = &self.0;
            let id = sent.url.path_segments().unwrap().next_back().unwrap().to_owned();
            let headers = sent.headers.iter();
            let headers =
                headers.map(|(name, value)| (name.to_string(), value.expose().to_owned())).collect();
            platform.asked.lock().unwrap().push(Question { id: id.clone(), headers, bounds: sent.bounds });
            let found = platform.pages.lock().unwrap().get(&id).cloned();
            let wait = *platform.slow.lock().unwrap();
            sleep(wait).await;
            if let Some(answer) = platform.status.lock().unwrap().clone() {
                return Ok(answer);
            }
            Ok(found.map_or_else(|| page(404, ""), |text| page(200, &text)))
        })
    }
}

impl Exchange for Outside {
    fn send<'a>(&'a self, namespace: &'a Arc<str>, request: Sent) -> BoxFuture<'a, Result<Answer, Error>> {
        self.1.send(namespace, request)
    }
}

/// Secrets and tokens that are there.
struct Values {
    keys: Mutex<HashMap<String, Result<String, CredentialFailure>>>,
    reads: Mutex<usize>,
    token_hosts: Option<Vec<String>>,
}

impl Credentials for Values {
    fn read<'a>(
        &'a self,
        _: &'a str,
        reference: &'a SecretKeyReference,
    ) -> BoxFuture<'a, Result<SecretText, CredentialFailure>> {
        *self.reads.lock().unwrap() += 1;
        let found = self.keys.lock().unwrap().get(&reference.name).cloned();
        let found = found.unwrap_or(Err(CredentialFailure::NotFound));
        Box::pin(async move { found.map(SecretText::new) })
    }
}

impl Means for Values {
    fn secret<'a>(
        &'a self,
        _: &'a str,
        reference: &'a SecretKeyReference,
        bounds: &'a mut Bounds,
    ) -> BoxFuture<'a, Result<SecretText, String>> {
        bounds.confine(Of::Secret(reference.name.clone()), &["api.unico.example".to_owned()]);
        Box::pin(async move { Ok("api-key".into()) })
    }

    fn token<'a>(
        &'a self,
        _: &'a str,
        source: &'a str,
        bounds: &'a mut Bounds,
    ) -> BoxFuture<'a, Result<SecretText, String>> {
        if let Some(hosts) = &self.token_hosts {
            bounds.confine(Of::TokenSource(source.to_owned()), hosts);
        }
        Box::pin(async move { Ok("token".into()) })
    }
}

struct World {
    clock: SteadyClock,
    store: Arc<MemoryStore<SteadyClock>>,
    platform: Arc<Platform>,
    application: Arc<Application>,
    values: Arc<Values>,
    facts: Arc<Facts>,
    receivers: watch::Sender<Receivers>,
    desk: Arc<Desk>,
    told: Told,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<Result<(), StoreError>>>,
}

const KEY: &str = "a key of the application";

impl World {
    fn start(answering: impl Fn() -> Answered + Send + Sync + 'static) -> Self {
        Self::of(vec![waiting("unico")], answering, Some(vec!["api.unico.example".to_owned()]))
    }

    fn of(
        receivers: Vec<Receiver>,
        answering: impl Fn() -> Answered + Send + Sync + 'static,
        token_hosts: Option<Vec<String>>,
    ) -> Self {
        let clock = SteadyClock::starting("2026-11-27T03:00:00Z".parse().unwrap());
        let store = Arc::new(MemoryStore::new(clock));
        let keys = HashMap::from([("first".to_owned(), Ok(format!("{KEY}\n")))]);
        let values = Arc::new(Values { keys: Mutex::new(keys), reads: Mutex::default(), token_hosts });
        let (platform, facts) = (Arc::<Platform>::default(), Arc::<Facts>::default());
        let application = Application::new(move |_| answering());
        let sender = watch::Sender::new(by_uid(receivers));
        let fallbacks = Fallbacks::new(
            Arc::clone(&store) as Arc<dyn Store>,
            Outside(Arc::clone(&platform), Arc::clone(&application)),
            sender.subscribe(),
            Arc::clone(&values) as Arc<dyn Means>,
            Arc::clone(&facts) as Arc<dyn Observer>,
            Arc::new(clock),
            Options::default(),
        );
        let desk = fallbacks.desk(Arc::clone(&values) as Arc<dyn Credentials>, &[5; 32]);
        let told = fallbacks.told();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(fallbacks.run(async move {
            let _ = stopped.await;
        }));
        let (stop, running) = (Some(stop), Some(running));
        Self {
            clock,
            store,
            platform,
            application,
            values,
            facts,
            receivers: sender,
            desk,
            told,
            stop,
            running,
        }
    }

    async fn put_with(&self, path: &str, key: &str) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::try_from(format!("Bearer {key}")).unwrap());
        self.desk.take(&Method::PUT, path, &headers).await.status
    }

    async fn expect(&self, id: &str) {
        assert_eq!(self.put_with(&format!("/expect/hr/unico/{id}"), KEY).await, 204);
    }

    async fn open(&self, id: &str) -> Option<crate::store::Expectation> {
        self.store.expectation("hr-unico", id).await.unwrap()
    }

    fn deliver(&self, id: &str, status: u32) {
        let body = format!("{{\"id\":\"{id}\",\"status\":{status}}}");
        self.told.delivered(&waiting("unico"), &Bytes::from(body));
    }

    async fn pass(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// The statuses that the application was handed, in their order.
    fn handed(&self) -> Vec<u64> {
        let status = |text: &str| {
            let page: serde_json::Value = serde_json::from_str(text).unwrap();
            page["status"].as_u64().unwrap()
        };
        self.application.seen().iter().map(|seen| status(seen.text())).collect()
    }
}

fn ok() -> Answered {
    status(200)
}

#[tokio::test(start_paused = true)]
async fn the_platform_is_asked_until_it_says_the_end() {
    let world = World::start(ok);
    world.platform.has("p-1", 1);
    world.expect("p-1").await;
    world.pass(9).await;
    assert_eq!(world.platform.asked(), 0, "a delivery has 10 s");
    world.pass(2).await;
    assert_eq!(world.platform.asked(), 1);
    world.pass(31).await;
    assert_eq!(
        (world.platform.asked(), world.handed()),
        (2, vec![]),
        "1 is none of those that are handed on"
    );
    world.platform.has("p-1", 2);
    world.pass(100).await;
    assert_eq!(world.handed(), [2], "once, though it was said three times");
    world.platform.has("p-1", 3);
    world.pass(31).await;
    assert_eq!(world.handed(), [2, 3]);
    assert_eq!(world.open("p-1").await, None);
    let asked = world.platform.asked();
    world.pass(3_600).await;
    assert_eq!(world.platform.asked(), asked, "nobody is asked any more");

    let seen = world.application.seen();
    assert!(seen.iter().all(|seen| seen.header("hookkeeper-polled") == Some("true")));
    assert_eq!(seen[0].header("hookkeeper-receiver"), Some("hr/unico"));
    assert_eq!(seen[0].text(), "{\"id\":\"p-1\",\"status\":2}");
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_ne!(seen[0].header("hookkeeper-delivery"), seen[1].header("hookkeeper-delivery"));
}

#[tokio::test(start_paused = true)]
async fn a_question_carries_what_it_may_and_only_where_it_may_go() {
    let world = World::start(ok);
    world.platform.has("p-1", 3);
    world.expect("p-1").await;
    world.pass(11).await;
    let Question { id, headers, bounds } = world.platform.asked.lock().unwrap()[0].clone();
    assert_eq!(id, "p-1");
    let expected = [("apikey", "api-key"), ("authorization", "Bearer token")];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(headers, expected);
    assert!(bounds.check_called("api.unico.example").is_ok());
    assert!(bounds.check_called("evil.example").is_err());

    // A source that does not say where its tokens may go.
    let world = World::of(vec![waiting("unico")], ok, None);
    world.expect("p-1").await;
    world.pass(11).await;
    assert_eq!(world.platform.asked(), 0);
    assert!(
        world.facts.all().iter().any(|fact| fact.contains("spec.allowedHosts")),
        "{:?}",
        world.facts.all()
    );
}

#[tokio::test(start_paused = true)]
async fn a_delivery_ends_it_or_gives_it_more_time() {
    let world = World::start(ok);
    world.platform.has("p-1", 3);
    world.expect("p-1").await;
    world.expect("p-2").await;
    world.pass(5).await;
    world.deliver("p-1", 4);
    world.deliver("p-2", 2);
    world.pass(9).await;
    assert_eq!((world.open("p-1").await, world.platform.asked()), (None, 0));
    world.platform.has("p-2", 2);
    world.pass(2).await;
    assert_eq!(world.platform.asked(), 1, "10 s after the delivery");
    world.pass(100).await;
    assert!(world.handed().is_empty(), "it was delivered, so it is nothing new");
    world.platform.has("p-2", 5);
    world.pass(31).await;
    assert_eq!((world.handed(), world.open("p-2").await), (vec![5], None));
    // Of others nothing is kept.
    world.deliver("nobody", 2);
    world.pass(1).await;
    assert_eq!(world.open("nobody").await, None);
}

/// The answer was made before the delivery, and comes after it.
#[tokio::test(start_paused = true)]
async fn a_late_answer_never_sets_the_application_back() {
    let world = World::start(ok);
    world.platform.has("p-1", 2);
    *world.platform.slow.lock().unwrap() = Duration::from_secs(5);
    world.expect("p-1").await;
    world.pass(12).await;
    assert_eq!(world.platform.asked(), 1);
    world.deliver("p-1", 3);
    world.pass(20).await;
    assert!(world.handed().is_empty());
    assert_eq!(world.open("p-1").await, None);

    world.expect("p-2").await;
    world.platform.has("p-2", 2);
    world.pass(12).await;
    world.platform.has("p-2", 5);
    // Not a final one: the expectation goes on, and what is asked next is the newest.
    let mut receiver = waiting("unico");
    let mut longer = fallback();
    longer.until = vec!["5".to_owned()];
    receiver.fallback = Some(Arc::new(longer));
    world.receivers.send_replace(by_uid(vec![receiver]));
    world.deliver("p-2", 3);
    world.pass(60).await;
    assert_eq!(world.handed(), [5]);
    assert_eq!(world.open("p-2").await, None);
}

#[tokio::test(start_paused = true)]
async fn what_the_application_did_not_take_is_asked_for_anew() {
    let world = World::start(|| status(500));
    world.platform.has("p-1", 2);
    world.expect("p-1").await;
    world.pass(50).await;
    assert_eq!(world.handed(), [2, 2]);
    let ids: Vec<_> = world.application.seen();
    let ids: Vec<_> = ids.iter().map(|seen| seen.header("hookkeeper-delivery").unwrap()).collect();
    assert_eq!(ids[0], ids[1], "the same in every attempt");
    world.platform.has("p-1", 3);
    world.application.now_answers(|_| status(200));
    world.pass(31).await;
    assert_eq!(world.handed(), [2, 2, 3], "the newest, and not what failed");
    assert_eq!(world.open("p-1").await, None);
}

#[tokio::test(start_paused = true)]
async fn while_the_application_is_away_hardly_anything_is_asked() {
    let world = World::start(silence);
    for number in 0..500 {
        world.platform.has(&number.to_string(), 3);
        world.expect(&number.to_string()).await;
    }
    world.pass(3_600).await;
    let asked = world.platform.asked();
    assert!(asked < 100, "{asked}");
    world.application.now_answers(|_| status(200));
    world.pass(180).await;
    let open = world.store.expectations_due("hr-unico", world.clock.now(), 1_000).await.unwrap();
    assert_eq!(open.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_nothing_is_none() {
    for text in
        ["", "[]", "{}", "{\"id\":\"p-1\"}", "{\"status\":3}", "{\"id\":\"other\",\"status\":3}", "\u{7f}"]
    {
        let world = World::start(ok);
        world.platform.says("p-1", text);
        world.expect("p-1").await;
        world.pass(41).await;
        assert_eq!((world.platform.asked(), world.handed()), (2, vec![]), "{text:?}");
        assert!(world.open("p-1").await.is_some(), "{text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_has_enough_is_left_alone() {
    let world = World::start(ok);
    let busy = Answer { retry_after: Some(Duration::from_secs(300)), ..page(429, "") };
    *world.platform.status.lock().unwrap() = Some(busy);
    for number in 0..100 {
        world.expect(&number.to_string()).await;
    }
    world.pass(200).await;
    let asked = world.platform.asked();
    assert!(asked <= 20, "{asked}: those that were under way");
    *world.platform.status.lock().unwrap() = None;
    for number in 0..100 {
        world.platform.has(&number.to_string(), 3);
    }
    world.pass(400).await;
    assert_eq!(world.handed().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn questions_take_their_place_in_a_budget() {
    let world = World::start(ok);
    for number in 0..1_000 {
        world.platform.has(&number.to_string(), 3);
        world.expect(&number.to_string()).await;
    }
    world.pass(70).await;
    let asked = world.platform.asked();
    assert!((550..=630).contains(&asked), "{asked} in a minute");
    world.pass(60).await;
    assert_eq!(world.handed().len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn after_a_day_it_is_given_up() {
    let world = World::start(ok);
    world.platform.has("p-1", 1);
    world.expect("p-1").await;
    world.pass(86_500).await;
    assert!(world.open("p-1").await.unwrap().parked);
    assert_eq!(world.facts.count("Asked(GivenUp)"), 1);
    let asked = world.platform.asked();
    world.pass(3_600).await;
    assert_eq!(world.platform.asked(), asked);
    // The application may ask for it once more.
    world.platform.has("p-1", 3);
    world.expect("p-1").await;
    world.pass(11).await;
    assert_eq!(world.handed(), [3]);
}

#[tokio::test(start_paused = true)]
async fn under_suspend_nobody_is_asked() {
    let world = World::start(ok);
    world.platform.has("p-1", 3);
    let mut suspended = waiting("unico");
    suspended.suspended = true;
    world.receivers.send_replace(by_uid(vec![suspended]));
    world.expect("p-1").await;
    world.pass(100).await;
    assert_eq!(world.platform.asked(), 0);
    world.receivers.send_replace(by_uid(vec![waiting("unico")]));
    world.pass(1).await;
    assert_eq!(world.handed(), [3]);
}

#[tokio::test(start_paused = true)]
async fn what_is_expected_survives_a_restart_and_a_store_that_is_full() {
    let mut world = World::start(ok);
    world.platform.has("p-1", 2);
    world.expect("p-1").await;
    world.store.fail("expectation_changed", Some(StoreError::Full("no space left".to_owned())));
    world.pass(20).await;
    assert_eq!(world.handed(), [2]);
    world.pass(120).await;
    assert_eq!(world.handed(), [2], "not again because it could not be noted");
    world.store.fail("expectation_changed", None);
    world.pass(10).await;
    drop(world.stop.take());
    world.running.take().unwrap().await.unwrap().unwrap();
    assert!(world.open("p-1").await.unwrap().handed_on.is_some());
}

#[tokio::test(start_paused = true)]
async fn who_may_say_what_he_waits_for() {
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
