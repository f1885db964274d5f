//! Which object keeps which remote subscription.

use hookkeeper::api::{AdoptionPolicy, ConditionStatus, DeletionPolicy, Kind, Reason};
use hookkeeper::engine::change::Change;

use super::{DAY, MINUTE, SECOND, assert_in_order, by_hand, counts, declare, edit, key, once, ready, remove};
use crate::world::{CallFault, Remote, Settings, World, subscription};

#[tokio::test(start_paused = true)]
async fn of_two_objects_for_one_remote_the_second_takes_over() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    world.declare("subscription-0-renamed", subscription(0, "source-0"));
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    assert_eq!(world.outside().creates, 1);
    let waiting = world.status("subscription-0-renamed");
    assert_eq!(ready(&waiting), (ConditionStatus::False, Reason::Conflict));
    world.outside().subscriptions.remove(&key("subscription-0"));
    let gone = Change::Gone { kind: Kind::WebhookSubscription, key: key("subscription-0"), prune: false };
    engine.send(gone).await;
    world.pass(MINUTE).await;
    assert_eq!(world.outside().released, [key("subscription-0")]);
    assert_eq!(world.status("subscription-0-renamed").webhook_id.as_deref(), Some("remote-1"));
    world.pass(DAY).await;
    assert_eq!(world.outside().creates, 1);
    assert_in_order(&world, 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_new_objects_with_one_id_the_older_has_it() {
    let world = World::new(Settings::default());
    world.declare_provider("provider");
    world.declare_source("source-0");
    let token = String::new();
    let there = Remote {
        action: "action.0".into(),
        url: "https://integrations.example.com/in".into(),
        active: true,
        token,
    };
    world.outside().remotes.insert("there".into(), there);
    for name in ["a", "b"] {
        let mut spec = subscription(0, "source-0");
        spec.webhook_id = Some("there".into());
        world.declare(name, spec);
    }
    let _engine = world.start();
    world.pass(MINUTE).await;
    assert_eq!(ready(&world.status("a")), (ConditionStatus::True, Reason::Adopted));
    assert_eq!(ready(&world.status("b")), (ConditionStatus::False, Reason::Conflict));
}

#[tokio::test(start_paused = true)]
async fn an_existing_remote_is_taken_over_only_when_asked() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    let there = Remote {
        action: "action.0".into(),
        url: "https://integrations.example.com/in".into(),
        active: true,
        token: String::new(),
    };
    world.outside().remotes.insert("there".into(), there);
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    let status = world.status("subscription-0");
    assert_eq!(ready(&status), (ConditionStatus::False, Reason::AlreadyExists));
    edit(&world, &engine, "subscription-0", |spec| {
        spec.adoption_policy = Some(AdoptionPolicy::Matching);
    })
    .await;
    world.pass(MINUTE).await;
    let status = world.status("subscription-0");
    assert_eq!(status.webhook_id.as_deref(), Some("there"));
    assert_eq!(ready(&status), (ConditionStatus::True, Reason::Adopted));
    assert_eq!(world.outside().creates, 0);
    assert_in_order(&world, 1);
}

/// The two ways in which an object goes: a manifest that is pruned, a deletion in a cluster.
const WAYS: [&str; 2] = ["pruned", "deleted"];

async fn go(world: &World, engine: &crate::world::Running, way: &str) {
    match way {
        "pruned" => remove(engine, "subscription-0", true).await,
        _ => world.delete("subscription-0", Some(engine)).await,
    }
    world.pass(2 * MINUTE).await;
}

fn one(policy: DeletionPolicy) -> World {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    let mut spec = subscription(0, "source-0");
    spec.deletion_policy = Some(policy);
    world.declare("subscription-0", spec);
    world
}

#[tokio::test(start_paused = true)]
async fn a_renamed_object_takes_the_remote_over_whatever_the_policy() {
    for policy in [DeletionPolicy::Orphan, DeletionPolicy::Delete] {
        for way in WAYS {
            let world = one(policy);
            let engine = world.start();
            world.pass(MINUTE).await;
            let mut spec = subscription(0, "source-0");
            spec.deletion_policy = Some(policy);
            declare(&world, &engine, "renamed", spec).await;
            world.pass(MINUTE).await;
            assert_eq!(ready(&world.status("renamed")), (ConditionStatus::False, Reason::Conflict));
            go(&world, &engine, way).await;
            assert_eq!(world.outside().released, [key("subscription-0")], "{policy:?} {way}");
            assert_eq!(world.status("renamed").webhook_id.as_deref(), Some("remote-1"));
            world.pass(DAY).await;
            assert_eq!(counts(&world, |outside| (outside.creates, outside.deletes)), (1, 0));
            assert_in_order(&world, 1);
        }
    }
}

/// A deletion that comes before the next call is not lost on the provider.
#[tokio::test(start_paused = true)]
async fn the_finalizer_follows_the_policy_and_the_remote_and_needs_no_call() {
    let world = one(DeletionPolicy::Orphan);
    let engine = world.start();
    world.pass(MINUTE).await;
    let calls = counts(&world, |outside| (outside.creates, outside.updates));
    let guarded = || world.outside().finalizers.contains(&key("subscription-0"));
    for (policy, wanted) in [(DeletionPolicy::Delete, true), (DeletionPolicy::Orphan, false)] {
        edit(&world, &engine, "subscription-0", |spec| spec.deletion_policy = Some(policy)).await;
        world.pass(SECOND).await;
        assert_eq!(guarded(), wanted, "{policy:?}");
    }
    let mut heir = subscription(0, "source-0");
    heir.deletion_policy = Some(DeletionPolicy::Delete);
    declare(&world, &engine, "renamed", heir).await;
    go(&world, &engine, WAYS[0]).await;
    assert!(world.outside().finalizers.contains(&key("renamed")));
    assert_eq!(counts(&world, |outside| (outside.creates, outside.updates)), calls);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_comes_after_the_old_one_went_finds_what_that_left() {
    for (policy, adopts, counted, reason) in [
        (DeletionPolicy::Delete, AdoptionPolicy::Never, (2, 1), Reason::Created),
        (DeletionPolicy::Orphan, AdoptionPolicy::Matching, (1, 0), Reason::Adopted),
        (DeletionPolicy::Orphan, AdoptionPolicy::Never, (1, 0), Reason::AlreadyExists),
    ] {
        for way in WAYS {
            let world = one(policy);
            let engine = world.start();
            world.pass(MINUTE).await;
            go(&world, &engine, way).await;
            let mut spec = subscription(0, "source-0");
            spec.adoption_policy = Some(adopts);
            declare(&world, &engine, "renamed", spec).await;
            world.pass(MINUTE).await;
            assert_eq!(ready(&world.status("renamed")).1, reason, "{policy:?} {adopts:?} {way}");
            assert_eq!(counts(&world, |outside| (outside.creates, outside.deletes)), counted);
            assert_eq!(world.outside().remotes.len(), 1);
        }
    }
}

/// The new object's listing was read before the old one's delete took effect.
#[tokio::test(start_paused = true)]
async fn an_object_that_comes_while_the_old_one_is_deleted_is_created() {
    for adopts in [AdoptionPolicy::Never, AdoptionPolicy::Matching] {
        let world = one(DeletionPolicy::Delete);
        let engine = world.start();
        world.pass(MINUTE).await;
        world.outside().fault_for = Some(once("delete", CallFault::Slow(5 * SECOND)));
        world.delete("subscription-0", Some(&engine)).await;
        world.pass(2 * SECOND).await;
        let mut spec = subscription(0, "source-0");
        spec.adoption_policy = Some(adopts);
        declare(&world, &engine, "renamed", spec).await;
        declare(&world, &engine, "another", subscription(9, "source-0")).await;
        world.pass(SECOND).await;
        assert_eq!(counts(&world, |outside| (outside.lists, outside.deletes)), (2, 0), "one is under way");
        world.pass(MINUTE).await;
        assert_eq!(ready(&world.status("renamed")), (ConditionStatus::True, Reason::Created), "{adopts:?}");
        assert_eq!(counts(&world, |outside| (outside.creates, outside.updates, outside.deletes)), (3, 0, 1));
        assert_in_order(&world, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_existing_remote_is_taken_over_by_its_id() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    by_hand(&world, "there", 0);
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    let status = world.status("subscription-0");
    assert_eq!(ready(&status), (ConditionStatus::False, Reason::AlreadyExists));
    let message = &status.conditions[0].message;
    assert!(message.contains("spec.webhookId: there") && message.contains("Matching"), "{message}");
    edit(&world, &engine, "subscription-0", |spec| spec.webhook_id = Some("there".into())).await;
    world.pass(MINUTE).await;
    assert_eq!(ready(&world.status("subscription-0")), (ConditionStatus::True, Reason::Adopted));
    assert_eq!(world.outside().creates, 0);
    assert_in_order(&world, 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_existing_remotes_none_is_taken() {
    for adopts in [AdoptionPolicy::Never, AdoptionPolicy::Matching] {
        let world = World::new(Settings::default());
        world.populate(1, 1);
        by_hand(&world, "one", 0);
        by_hand(&world, "two", 0);
        let mut spec = subscription(0, "source-0");
        spec.adoption_policy = Some(adopts);
        world.declare("subscription-0", spec);
        let engine = world.start();
        world.pass(10 * MINUTE).await;
        let status = world.status("subscription-0");
        assert_eq!(ready(&status), (ConditionStatus::False, Reason::Ambiguous));
        assert!(status.conditions[0].message.contains("one, two"), "{status:#?}");
        assert_eq!(counts(&world, |outside| (outside.creates, outside.updates)), (0, 0));
        world.outside().remotes.remove("two");
        edit(&world, &engine, "subscription-0", |spec| spec.webhook_id = Some("one".into())).await;
        world.pass(MINUTE).await;
        assert_in_order(&world, 1);
    }
}
