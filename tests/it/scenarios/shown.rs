//! What a listing shows of a webhook: less than was sent, or in another form.

use hookkeeper::api::{AdoptionPolicy, ConditionStatus, ConditionType, CreationRecord, Ownership, Reason};
use hookkeeper::rotation::target::short_digest;

use super::{
    DAY, HOUR, MINUTE, SECOND, URL, answered, assert_in_order, by_hand, condition, counts, declare, edit,
    health, key, once, ready,
};
use crate::world::{CallFault, Settings, World, subscription};

fn without_actions() -> Settings {
    Settings { lists_actions: false, token_life: DAY, ..Settings::default() }
}

fn message(world: &World, name: &str, kind: ConditionType) -> String {
    condition(&world.status(name), kind).unwrap().message.clone()
}

#[tokio::test(start_paused = true)]
async fn without_actions_a_create_whose_answer_is_lost_is_found_by_its_url() {
    for fault in [CallFault::Garbled(answered(502, None)), CallFault::Lost] {
        let world = World::new(without_actions());
        world.populate(1, 1);
        world.outside().fault_for = Some(once("create", fault));
        let _engine = world.start();
        world.pass(20 * MINUTE).await;
        assert_in_order(&world, 1);
        assert_eq!(world.outside().creates, 1);
        assert_eq!(world.status("subscription-0").ownership, Some(Ownership::Created));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_listing_does_not_show_is_no_difference() {
    for settings in
        [without_actions(), Settings { lists_actions: true, lists_urls: false, ..without_actions() }]
    {
        let world = World::new(settings);
        world.populate(1, 1);
        let _engine = world.start();
        world.pass(5 * HOUR).await;
        assert_eq!(counts(&world, |outside| (outside.creates, outside.updates)), (1, 0));
        assert_eq!(health(&world.status("subscription-0")), (ConditionStatus::True, Reason::Succeeded));
    }
}

#[tokio::test(start_paused = true)]
async fn without_actions_two_subscriptions_with_one_url_conflict() {
    let world = World::new(without_actions());
    world.populate(2, 1);
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    assert_eq!(world.outside().creates, 1);
    assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
    assert_eq!(ready(&world.status("subscription-1")), (ConditionStatus::False, Reason::Conflict));
    let says = message(&world, "subscription-1", ConditionType::Ready);
    assert!(says.contains("the same postback URL at the same provider"), "{says}");
    edit(&world, &engine, "subscription-1", |spec| spec.postback_url = format!("{URL}/other")).await;
    world.pass(10 * MINUTE).await;
    assert_in_order(&world, 2);
    assert_eq!(world.outside().creates, 2);
}

#[tokio::test(start_paused = true)]
async fn without_actions_a_remote_with_the_url_is_named_or_taken_over() {
    let world = World::new(without_actions());
    world.populate(1, 1);
    by_hand(&world, "there", 7);
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    assert_eq!(ready(&world.status("subscription-0")), (ConditionStatus::False, Reason::AlreadyExists));
    let says = message(&world, "subscription-0", ConditionType::Ready);
    assert!(says.starts_with("webhook there with the same postback URL exists"), "{says}");
    edit(&world, &engine, "subscription-0", |spec| spec.adoption_policy = Some(AdoptionPolicy::Matching))
        .await;
    world.pass(10 * MINUTE).await;
    assert_in_order(&world, 1);
    assert_eq!(world.outside().creates, 0);
}

/// Every webhook that nobody has on record could be the one.
#[tokio::test(start_paused = true)]
async fn without_urls_the_outcome_of_a_lost_create_is_known_only_when_nothing_could_be_it() {
    for (there, reason) in [(false, Reason::Created), (true, Reason::CreationOutcomeUnknown)] {
        let world = World::new(Settings { lists_urls: false, ..Settings::default() });
        world.populate(1, 1);
        by_hand(&world, "of another action", 7);
        let lost = answered(502, None);
        let fault = if there { CallFault::Garbled(lost) } else { CallFault::Refused(lost) };
        world.outside().fault_for = Some(once("create", fault));
        let _engine = world.start();
        world.pass(20 * MINUTE).await;
        assert_eq!(ready(&world.status("subscription-0")).1, reason);
        assert_eq!(world.outside().creates, 1, "arrived: {there}");
        if there {
            let says = message(&world, "subscription-0", ConditionType::Stalled);
            assert!(says.contains("operations.list.fields.postbackUrl"), "{says}");
        }
    }
}

/// A platform that fills an action in where a subscription has none.
#[tokio::test(start_paused = true)]
async fn without_an_action_of_its_own_a_subscription_is_found_by_its_url() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(1, 1);
    let mut spec = subscription(0, "source-0");
    spec.action = None;
    world.declare("of-all", spec);
    world.outside().fault_for = Some(once("create", CallFault::Lost));
    let engine = world.start();
    world.pass(20 * MINUTE).await;
    assert_in_order(&world, 2);
    assert_eq!(world.outside().creates, 2);
    for remote in world.outside().remotes.values_mut().filter(|remote| remote.action.is_empty()) {
        remote.action = "all".into();
    }
    world.pass(5 * HOUR).await;
    assert_eq!(world.outside().updates, 1, "found by its URL, and no difference since");
    engine.kill().await;
    world.outside().statuses.remove(&key("of-all"));
    let _engine = world.start();
    world.pass(10 * MINUTE).await;
    assert_eq!(ready(&world.status("of-all")).1, Reason::AlreadyExists);
    assert_eq!(world.outside().creates, 2);
}

#[tokio::test(start_paused = true)]
async fn a_slash_that_the_provider_appends_is_no_difference() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.outside().stored_with = "/";
    world.populate(1, 1);
    world.outside().fault_for = Some(once("create", CallFault::Lost));
    let engine = world.start();
    world.pass(20 * MINUTE).await;
    assert_in_order(&world, 1);
    let calls = counts(&world, |outside| (outside.creates, outside.updates));
    assert_eq!(calls, (1, 1), "found again");
    world.pass(5 * HOUR).await;
    assert_eq!(counts(&world, |outside| (outside.creates, outside.updates)), calls);
    assert_eq!(world.outside().remotes["remote-1"].url, URL, "it is sent as it is written");
    declare(&world, &engine, "with-a-slash", {
        let mut spec = subscription(0, "source-0");
        spec.postback_url = format!("{URL}/");
        spec
    })
    .await;
    world.pass(MINUTE).await;
    assert_eq!(ready(&world.status("with-a-slash")).1, Reason::Conflict);
    engine.kill().await;
    world.outside().statuses.clear();
    let _engine = world.start();
    world.pass(10 * MINUTE).await;
    assert_eq!(ready(&world.status("subscription-0")).1, Reason::AlreadyExists);
    assert_eq!(world.outside().creates, 1);
}

/// A create is open while the release changes: its record holds another kind of digest.
#[tokio::test(start_paused = true)]
async fn a_create_that_an_earlier_release_recorded_is_found_again() {
    for (stored_with, edited, lists_actions) in [
        ("", false, true),
        ("", true, true),
        ("/", false, true),
        ("/", true, true),
        ("/", false, false),
        ("", true, false),
    ] {
        let world = World::new(Settings { lists_actions, token_life: DAY, ..Settings::default() });
        world.outside().stored_with = stored_with;
        world.populate(1, 1);
        by_hand(&world, "made", 0);
        let started_time = world.wall() - chrono::TimeDelta::minutes(1);
        let mut status = world.status("subscription-0");
        status.creation = Some(CreationRecord { target: short_digest(&["action.0", URL]), started_time });
        world.outside().statuses.insert(key("subscription-0"), status);
        if edited {
            let mut spec = subscription(9, "source-0");
            spec.postback_url = "https://elsewhere.example.com/in".into();
            world.declare("subscription-0", spec);
        }
        let _engine = world.start();
        world.pass(20 * MINUTE).await;
        assert_eq!(world.outside().creates, 0, "{stored_with:?} edited: {edited}");
        if edited && !lists_actions {
            let status = world.status("subscription-0");
            assert_eq!(ready(&status).1, Reason::CreationOutcomeUnknown, "a person has to look");
        } else {
            assert_in_order(&world, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_stays_inactive_whatever_is_sent_is_to_be_enabled_at_the_provider() {
    let world = World::new(Settings { token_life: 30 * DAY, ..Settings::default() });
    world.populate(1, 1);
    let _engine = world.start();
    world.pass(MINUTE).await;
    for _ in 0..5 * 60 {
        world.outside().remotes.get_mut("remote-1").unwrap().active = false;
        world.pass(60 * SECOND).await;
    }
    let status = world.status("subscription-0");
    assert_eq!(health(&status), (ConditionStatus::False, Reason::DriftPersists));
    assert_eq!(
        message(&world, "subscription-0", ConditionType::RotationHealthy),
        "the provider shows it inactive, and an update does not change that: enable it there"
    );
    assert_eq!(world.outside().updates, 1);
}
