//! Two authors at one provider: whose webhook an id is, and what one learns of the other.

use std::time::Duration;

use hookkeeper::api::Kind;
use hookkeeper::api::{
    AdoptionPolicy, BearerAuth, ConditionStatus, DeletionPolicy, Empty, OAuth2TokenSource, ObjectKey,
    ProviderAuth, Reason, SecretKeyReference, SubscriptionStatus, TokenSourceSpec, WebhookProviderSpec,
    WebhookSubscriptionSpec,
};
use hookkeeper::engine::change::Change;

use super::{DAY, HOUR, MINUTE, SECOND, URL, ready};
use crate::world::{Remote, Running, Settings, World, subscription};

/// Sorts after the other two: of two objects without a time the one whose name comes first is older.
const HONEST: &str = "honest";
const HOSTILE: &str = "a-hostile";
const PARTNER: &str = "a-partner";

fn at(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(namespace, name)
}

/// What one author declares: a provider with a credential of their own, and a source.
fn author(world: &World, namespace: &str, credential: Option<&str>) {
    provider(world, namespace, "provider", credential);
    let oauth2 = OAuth2TokenSource { audience: Some(namespace.into()), ..OAuth2TokenSource::default() };
    let spec = TokenSourceSpec { oauth2: Some(oauth2), ..TokenSourceSpec::default() };
    world.outside().sources.insert(at(namespace, "source"), spec);
}

fn provider(world: &World, namespace: &str, name: &str, credential: Option<&str>) {
    let secret_key_ref = SecretKeyReference { name: name.into(), key: "token".into() };
    let auth = ProviderAuth { bearer: Some(BearerAuth { secret_key_ref }), ..ProviderAuth::default() };
    let mut outside = world.outside();
    let spec = WebhookProviderSpec { auth, ..WebhookProviderSpec::default() };
    outside.providers.insert(at(namespace, name), spec);
    if let Some(credential) = credential {
        outside.credentials.insert(at(namespace, name), credential.into());
    }
}

/// A subscription that gives the id of its webhook.
fn given(id: &str) -> WebhookSubscriptionSpec {
    WebhookSubscriptionSpec { webhook_id: Some(id.into()), ..subscription(0, "source") }
}

fn declare(world: &World, namespace: &str, name: &str, spec: WebhookSubscriptionSpec) {
    world.outside().declare(at(namespace, name), spec);
}

/// A webhook that an account has made by hand.
fn there(world: &World, credential: &str, id: &str) {
    let remote = Remote { action: "action.0".into(), url: URL.into(), active: true, token: String::new() };
    world.outside().remotes.insert(format!("{credential}:{id}"), remote);
}

fn status(world: &World, namespace: &str, name: &str) -> SubscriptionStatus {
    world.outside().statuses.get(&at(namespace, name)).cloned().unwrap_or_default()
}

fn message(world: &World, namespace: &str, name: &str) -> String {
    status(world, namespace, name).conditions[0].message.clone()
}

fn assert_on_time(world: &World) {
    let wall = world.wall();
    let outside = world.outside();
    assert_eq!(outside.late, [], "late rotations");
    assert_eq!(outside.dead(wall), Vec::<&str>::new(), "dead tokens");
}

/// What an author reads of their own: statuses and events of their namespace.
fn assert_unnamed(world: &World, reader: &str, other: &str) {
    let outside = world.outside();
    let statuses = outside.statuses.iter().filter(|(key, _)| &*key.namespace == reader);
    for (key, status) in statuses {
        let text = serde_json::to_string(status).unwrap();
        assert!(!text.contains(other), "{key}: {text}");
    }
    for notice in outside.notices.iter().filter(|notice| &*notice.key.namespace == reader) {
        assert!(!notice.note.contains(other), "{notice:?}");
    }
}

fn updates(world: &World, of: &str) -> usize {
    let outside = world.outside();
    outside.received.iter().filter(|it| it.operation == "update" && it.about == of).count()
}

async fn send(world: &World, engine: &Running, key: &ObjectKey) {
    let change = world.outside().change(key);
    engine.send(change).await;
}

/// Two authors have the same credential, and one of them gives the id of the other's webhook.
async fn two_of_one_account(world: &World) -> Running {
    author(world, HONEST, Some("shared"));
    author(world, PARTNER, Some("shared"));
    there(world, "shared", "1");
    declare(world, HONEST, "first", given("1"));
    let engine = world.start();
    world.pass(MINUTE).await;
    declare(world, PARTNER, "second", given("1"));
    send(world, &engine, &at(PARTNER, "second")).await;
    world.pass(MINUTE).await;
    engine
}

#[tokio::test(start_paused = true)]
async fn equal_ids_of_two_accounts_are_two_webhooks() {
    let world = World::new(Settings::default());
    for (namespace, credential) in [(HOSTILE, "one"), (HONEST, "two")] {
        author(&world, namespace, Some(credential));
        there(&world, credential, "1");
        declare(&world, namespace, "subscription", given("1"));
    }
    let engine = world.start();
    world.pass(DAY).await;
    for namespace in [HOSTILE, HONEST] {
        assert_eq!(ready(&status(&world, namespace, "subscription")).0, ConditionStatus::True, "{namespace}");
    }
    engine.kill().await;
    let _engine = world.start();
    world.pass(DAY).await;
    assert_on_time(&world);
}

#[tokio::test(start_paused = true)]
async fn equal_ids_at_two_paths_of_one_host_are_two_webhooks() {
    let world = World::new(Settings::default());
    author(&world, HONEST, Some("one"));
    author(&world, PARTNER, Some("one"));
    let base_url = Some("https://provider.example.com/other".into());
    world.outside().providers.get_mut(&at(PARTNER, "provider")).unwrap().base_url = base_url;
    there(&world, "one", "1");
    for namespace in [HONEST, PARTNER] {
        declare(&world, namespace, "subscription", given("1"));
    }
    let _engine = world.start();
    world.pass(MINUTE).await;
    for namespace in [HONEST, PARTNER] {
        assert_eq!(ready(&status(&world, namespace, "subscription")).1, Reason::Adopted, "{namespace}");
    }
}

/// The id is another's: given without a Secret, with a credential that is refused, with none at all,
/// and with one that is good for another account.
#[tokio::test(start_paused = true)]
async fn an_id_that_somebody_else_gives_keeps_nobody_from_rotating() {
    for way in ["no Secret", "bogus", "no credential", "an account of his own"] {
        let world = World::new(Settings::default());
        author(&world, HONEST, Some("good"));
        author(&world, HOSTILE, (way != "no Secret").then_some(way));
        if way == "no credential" {
            let auth = ProviderAuth { none: Some(Empty {}), ..ProviderAuth::default() };
            world.outside().providers.get_mut(&at(HOSTILE, "provider")).unwrap().auth = auth;
        }
        there(&world, "good", "1");
        declare(&world, HOSTILE, "squatter", given("1"));
        declare(&world, HONEST, "subscription", given("1"));
        let engine = world.start();
        world.pass(HOUR).await;
        assert_eq!(ready(&status(&world, HONEST, "subscription")).0, ConditionStatus::True, "{way}");
        engine.kill().await;
        let _engine = world.start();
        world.pass(DAY).await;
        assert_on_time(&world);
        let honest = status(&world, HONEST, "subscription");
        assert_eq!(ready(&honest).0, ConditionStatus::True, "{way}");
        assert_eq!((honest.failures, honest.missing_since), (None, None), "{way}");
        assert_eq!(status(&world, HOSTILE, "squatter").webhook_id, None, "{way}: nothing is recorded");
        assert_unnamed(&world, HONEST, HOSTILE);
        assert_unnamed(&world, HOSTILE, HONEST);
        assert!(!world.outside().remotes.contains_key("1"), "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn copies_of_a_credential_are_one_account_and_the_other_namespace_is_not_named() {
    let world = World::new(Settings::default());
    let engine = two_of_one_account(&world).await;
    let expected = "webhook 1 is already managed by another object in another namespace; this object takes over when \
                    that one is deleted";
    assert_eq!(message(&world, PARTNER, "second"), expected);
    assert_eq!(ready(&status(&world, PARTNER, "second")), (ConditionStatus::False, Reason::Conflict));
    assert_eq!(updates(&world, "action.0"), 1);
    assert_unnamed(&world, PARTNER, HONEST);
    assert_unnamed(&world, HONEST, PARTNER);
    // Over a restart, too, one of them alone is served.
    engine.kill().await;
    let engine = world.start();
    world.pass(HOUR).await;
    assert_eq!(ready(&status(&world, PARTNER, "second")).1, Reason::Conflict);
    assert_eq!(status(&world, PARTNER, "second").webhook_id, None);
    // The first goes, and what it leaves is taken over by its id; nothing is handed to another namespace.
    let gone = at(HONEST, "first");
    world.outside().forget(&gone);
    engine.send(Change::Gone { kind: Kind::WebhookSubscription, key: gone, prune: false }).await;
    world.pass(MINUTE).await;
    assert_eq!(ready(&status(&world, PARTNER, "second")), (ConditionStatus::True, Reason::Adopted));
    world.pass(DAY).await;
    assert_on_time(&world);
}

#[tokio::test(start_paused = true)]
async fn copies_of_a_credential_in_one_namespace_are_one_account_and_the_rival_is_named() {
    let world = World::new(Settings::default());
    author(&world, HONEST, Some("shared"));
    provider(&world, HONEST, "copy", Some("shared"));
    declare(&world, HONEST, "first", subscription(0, "source"));
    let engine = world.start();
    world.pass(MINUTE).await;
    let mut second = subscription(0, "source");
    second.provider_ref.name = "copy".into();
    second.adoption_policy = Some(AdoptionPolicy::Matching);
    second.deletion_policy = Some(DeletionPolicy::Delete);
    declare(&world, HONEST, "second", second);
    send(&world, &engine, &at(HONEST, "second")).await;
    world.pass(MINUTE).await;
    for _ in 0..2 {
        assert_eq!(ready(&status(&world, HONEST, "second")).1, Reason::Conflict);
        assert!(message(&world, HONEST, "second").contains("is already managed by honest/first;"));
    }
    engine.kill().await;
    let _engine = world.start();
    world.pass(DAY).await;
    assert_eq!(status(&world, HONEST, "second").webhook_id, None);
    assert_eq!(world.outside().creates, 1);
    assert_on_time(&world);
}

/// What an earlier release has recorded: both have the id on record. Which of them is served does not
/// change with a restart, whoever is looked at first.
#[tokio::test(start_paused = true)]
async fn of_two_that_have_one_id_on_record_one_is_served_from_the_start() {
    let world = World::new(Settings::default());
    author(&world, HONEST, Some("shared"));
    author(&world, PARTNER, Some("shared"));
    there(&world, "shared", "1");
    declare(&world, HONEST, "subscription", given("1"));
    let engine = world.start();
    world.pass(MINUTE).await;
    engine.kill().await;
    let recorded = status(&world, HONEST, "subscription");
    declare(&world, PARTNER, "subscription", given("1"));
    world.outside().statuses.insert(at(PARTNER, "subscription"), recorded);
    let before = updates(&world, "action.0");
    let _engine = world.start();
    world.pass(SECOND).await;
    assert_eq!(ready(&status(&world, HONEST, "subscription")).1, Reason::Conflict);
    world.pass(HOUR - MINUTE).await;
    assert_eq!(updates(&world, "action.0"), before + 1, "one rotation in an hour");
    world.pass(DAY).await;
    assert_on_time(&world);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_renewed_in_one_copy_first_is_still_one_account() {
    let world = World::new(Settings::default());
    there(&world, "renewed", "1");
    let _engine = two_of_one_account(&world).await;
    world.outside().credentials.insert(at(HONEST, "provider"), "renewed".into());
    world.pass(2 * HOUR).await;
    assert_eq!(ready(&status(&world, HONEST, "first")).0, ConditionStatus::True);
    assert_eq!(status(&world, HONEST, "first").failures, None, "a renewed credential is no failure");
    assert_eq!(ready(&status(&world, PARTNER, "second")).1, Reason::Conflict);
    world.outside().credentials.insert(at(PARTNER, "provider"), "renewed".into());
    world.pass(2 * HOUR).await;
    assert_eq!(ready(&status(&world, PARTNER, "second")).1, Reason::Conflict);
    assert_eq!(world.outside().late, []);
}

/// Somebody's Secret becomes a copy of another's while both are served.
#[tokio::test(start_paused = true)]
async fn a_credential_that_becomes_another_s_is_not_used_before_that_is_compared() {
    let world = World::new(Settings::default());
    author(&world, HONEST, Some("one"));
    author(&world, HOSTILE, Some("two"));
    for (namespace, credential) in [(HONEST, "one"), (HOSTILE, "two")] {
        there(&world, credential, "1");
        declare(&world, namespace, "subscription", given("1"));
    }
    let _engine = world.start();
    world.pass(MINUTE).await;
    world.outside().credentials.insert(at(HONEST, "provider"), "two".into());
    let before = updates(&world, "action.0");
    world.pass(41 * MINUTE).await;
    assert_eq!(updates(&world, "action.0"), before + 1, "one of the two alone");
    assert_eq!(ready(&status(&world, HONEST, "subscription")).1, Reason::Conflict);
    assert_unnamed(&world, HONEST, HOSTILE);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_answered_404_is_no_claim() {
    let world = World::new(Settings::default());
    author(&world, HONEST, Some("shared"));
    author(&world, PARTNER, Some("shared"));
    declare(&world, PARTNER, "early", given("1"));
    let engine = world.start();
    world.pass(MINUTE).await;
    let early = status(&world, PARTNER, "early");
    assert_eq!(ready(&early), (ConditionStatus::False, Reason::RemoteMissing));
    assert_eq!((early.webhook_id, early.webhook_origin, early.missing_since), (None, None, None));
    assert_eq!(updates(&world, "action.0"), 1);
    there(&world, "shared", "1");
    declare(&world, HONEST, "subscription", given("1"));
    send(&world, &engine, &at(HONEST, "subscription")).await;
    world.pass(MINUTE).await;
    assert_eq!(ready(&status(&world, HONEST, "subscription")), (ConditionStatus::True, Reason::Adopted));
    world.pass(DAY).await;
    assert_on_time(&world);
    assert_eq!(status(&world, PARTNER, "early").webhook_id, None);
    assert_ne!(ready(&status(&world, PARTNER, "early")).0, ConditionStatus::True);
}

/// What is given before it exists is taken over when a listing shows it.
#[tokio::test(start_paused = true)]
async fn an_id_that_was_answered_404_is_taken_over_when_it_is_there() {
    let world = World::new(Settings::default());
    author(&world, HONEST, Some("one"));
    declare(&world, HONEST, "subscription", given("1"));
    let _engine = world.start();
    world.pass(MINUTE).await;
    assert_eq!(ready(&status(&world, HONEST, "subscription")).1, Reason::RemoteMissing);
    there(&world, "one", "1");
    world.pass(2 * HOUR).await;
    assert_eq!(ready(&status(&world, HONEST, "subscription")).0, ConditionStatus::True);
    assert_eq!(status(&world, HONEST, "subscription").webhook_id.as_deref(), Some("1"));
}

/// A credential that is never the same twice is tried like anything that fails.
#[tokio::test(start_paused = true)]
async fn a_credential_that_changes_all_the_time_is_tried_ever_more_rarely() {
    let world = World::new(Settings::default());
    author(&world, HOSTILE, Some("0"));
    declare(&world, HOSTILE, "subscription", given("1"));
    let _engine = world.start();
    let before = world.outside().records;
    for number in 1..600 {
        world.outside().credentials.insert(at(HOSTILE, "provider"), number.to_string());
        world.pass(Duration::from_millis(100)).await;
    }
    assert!(world.outside().records - before < 30, "{} writes", world.outside().records);
}
