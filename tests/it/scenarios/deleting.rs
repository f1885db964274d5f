//! What becomes of remote subscriptions whose objects are to go, and of what their deletion needs.

use hookkeeper::api::{ConditionStatus, DeletionPolicy, Kind, Reason};
use hookkeeper::engine::ports::{CallFailure, Notice};

use super::{
    DAY, HOUR, MINUTE, SECOND, answered, assert_in_order, counts, edit, hand_over, health, key, once,
    pass_until_due, ready,
};
use crate::world::{CallFault, Running, Settings, World, subscription};

/// So many subscriptions whose remotes go with them.
fn deleting(count: usize) -> World {
    let world = World::new(Settings::default());
    world.populate(count, 1);
    for number in 0..count {
        let mut spec = subscription(number, "source-0");
        spec.deletion_policy = Some(DeletionPolicy::Delete);
        world.declare(&name(number), spec);
    }
    world
}

fn name(number: usize) -> String {
    format!("subscription-{number}")
}

fn is_held(world: &World) -> bool {
    world.outside().provider_finalizers.contains(&key("provider"))
}

fn told(world: &World, reason: Reason) -> Vec<Notice> {
    let outside = world.outside();
    outside.notices.iter().filter(|notice| notice.reason == reason).cloned().collect()
}

/// The Secret first, then the provider, then the rest: what takes everything away at once keeps no order
/// that would help.
async fn delete_all(world: &World, engine: &Running, count: usize) {
    world.outside().without_credential = true;
    world.delete_provider("provider", engine).await;
    for number in 0..count {
        world.delete(&name(number), Some(engine)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_held_as_long_as_a_deletion_will_need_it_and_no_longer() {
    let world = deleting(2);
    for number in 0..2 {
        let mut spec = subscription(number, "source-0");
        spec.deletion_policy = Some(DeletionPolicy::Orphan);
        world.declare(&name(number), spec);
    }
    let engine = world.start();
    world.pass(MINUTE).await;
    assert!(!is_held(&world), "nothing will have to be deleted");
    for (number, policy, held) in [
        (0, DeletionPolicy::Delete, true),
        (1, DeletionPolicy::Delete, true),
        (0, DeletionPolicy::Orphan, true),
        (1, DeletionPolicy::Orphan, false),
        (1, DeletionPolicy::Delete, true),
    ] {
        edit(&world, &engine, &name(number), |spec| spec.deletion_policy = Some(policy)).await;
        world.pass(SECOND).await;
        assert_eq!(is_held(&world), held, "{number} {policy:?}");
    }
    let calls = counts(&world, |outside| outside.received.len());
    world.delete("subscription-1", Some(&engine)).await;
    world.pass(SECOND).await;
    assert!(!is_held(&world), "the last one is gone");
    assert_eq!(counts(&world, |outside| outside.received.len()), calls + 1, "the delete");
}

/// What is created after that can be deleted, whatever comes next.
#[tokio::test(start_paused = true)]
async fn nothing_is_created_to_be_deleted_later_before_its_provider_is_held() {
    let world = deleting(1);
    let _engine = world.start();
    while counts(&world, |outside| outside.creates) == 0 {
        world.pass(SECOND / 1_000).await;
    }
    assert!(is_held(&world));
}

#[tokio::test(start_paused = true)]
async fn what_goes_together_leaves_no_remote_behind() {
    let world = deleting(5);
    let engine = world.start();
    world.pass(MINUTE).await;
    assert_in_order(&world, 5);
    delete_all(&world, &engine, 5).await;
    world.pass(MINUTE).await;
    assert_eq!(counts(&world, |outside| (outside.deletes, outside.remotes.len())), (5, 0));
    assert_eq!(told(&world, Reason::RemoteOrphaned), []);
    assert!(!is_held(&world), "and the provider may go");
}

/// No call is made between the start of the process and the deletion.
#[tokio::test(start_paused = true)]
async fn a_process_that_has_called_nobody_yet_can_delete_without_the_secret() {
    let world = deleting(3);
    let engine = world.start();
    world.pass(MINUTE).await;
    engine.kill().await;
    let engine = world.start();
    world.pass(MINUTE).await;
    let calls = counts(&world, |outside| outside.received.len());
    delete_all(&world, &engine, 3).await;
    world.pass(MINUTE).await;
    assert_eq!(counts(&world, |outside| (outside.received.len(), outside.remotes.len())), (calls + 3, 0));
}

/// The lease was not renewed in time, as when the API server has much to do; nobody else took it.
#[tokio::test(start_paused = true)]
async fn a_process_that_leads_again_can_delete_without_the_secret() {
    let world = deleting(2);
    let engine = world.start();
    world.pass(MINUTE).await;
    world.outside().without_credential = true;
    for term in [None, Some(2)] {
        world.outside().term = term;
        hand_over(&world, &engine, "subscription-0").await;
        world.pass(MINUTE).await;
    }
    delete_all(&world, &engine, 2).await;
    world.pass(MINUTE).await;
    assert_eq!(counts(&world, |outside| (outside.deletes, outside.remotes.len())), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_without_the_secret_the_remote_is_left_behind_when_the_grace_ends_and_that_is_told() {
    let world = deleting(1);
    let engine = world.start();
    world.pass(MINUTE).await;
    world.outside().call_faults.push_back(CallFault::Refused(answered(503, None)));
    delete_all(&world, &engine, 1).await;
    world.pass(SECOND / 10).await;
    engine.kill().await;
    let engine = world.start();
    world.pass(9 * MINUTE).await;
    assert_eq!(counts(&world, |outside| outside.released.len()), 0);
    world.pass(2 * MINUTE).await;
    let notices = told(&world, Reason::RemoteOrphaned);
    assert!(notices[0].note.contains("remote-1 stays at the provider"), "{notices:?}");
    assert!(notices[0].note.contains("Secret provider"), "{notices:?}");
    assert_eq!(counts(&world, |outside| outside.released.len()), 1);
    assert!(!is_held(&world));
    engine.assert_alive();
}

/// It took effect, and the answer was lost: only a listing can tell.
#[tokio::test(start_paused = true)]
async fn a_create_whose_outcome_is_not_known_is_found_and_deleted_without_the_secret() {
    let world = deleting(1);
    world.outside().fault_for = Some(once("create", CallFault::Lost));
    let engine = world.start();
    world.pass(30 * SECOND).await;
    assert_eq!(counts(&world, |outside| outside.remotes.len()), 1);
    delete_all(&world, &engine, 1).await;
    world.pass(9 * MINUTE).await;
    assert_eq!(counts(&world, |outside| (outside.deletes, outside.remotes.len())), (1, 0));
    assert_eq!(told(&world, Reason::RemoteOrphaned), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_deletions_brings_no_token() {
    let world = deleting(1);
    let engine = world.start();
    world.pass(MINUTE).await;
    world.outside().without_credential = true;
    let updates = counts(&world, |outside| outside.updates);
    pass_until_due(&world, SECOND).await;
    world.pass(MINUTE).await;
    assert_eq!(counts(&world, |outside| outside.updates), updates);
    let status = world.status("subscription-0");
    assert_eq!(health(&status), (ConditionStatus::False, Reason::SecretNotFound));
    engine.assert_alive();
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_deleted_alone_waits_says_so_and_goes_on_serving() {
    let world = deleting(1);
    let engine = world.start();
    world.pass(MINUTE).await;
    world.delete_provider("provider", &engine).await;
    world.pass(DAY).await;
    assert_in_order(&world, 1);
    let notices = told(&world, Reason::Pending);
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!((notice.kind, &notice.key), (Kind::WebhookProvider, &key("provider")));
    assert!(notice.note.contains("deletionPolicy: Delete") && notice.note.contains("1 now"), "{notice:?}");
    edit(&world, &engine, "subscription-0", |spec| spec.deletion_policy = Some(DeletionPolicy::Orphan)).await;
    world.pass(SECOND).await;
    assert!(!is_held(&world));
    assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
}

/// Whatever the provider says or does not say: waited for until the grace ends, and no longer.
#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_delete_holds_a_deletion_up_until_the_grace_ends() {
    let unreachable = CallFailure::NotSent { what: "connection refused".into() };
    for (failure, said) in [
        (answered(500, None), "500"),
        (answered(503, Some(HOUR)), "Retry-After"),
        (answered(401, None), "401"),
        (answered(403, None), "403"),
        (answered(409, None), "409"),
        (answered(429, Some(HOUR)), "429"),
        (answered(429, None), "429"),
        (unreachable, "connection refused"),
    ] {
        let world = deleting(4);
        let engine = world.start();
        world.pass(MINUTE).await;
        let answer = failure.clone();
        world.outside().fault_for = Some(Box::new(move |operation, _| {
            (operation == "delete").then(|| CallFault::Refused(answer.clone()))
        }));
        for number in 0..4 {
            world.delete(&name(number), Some(&engine)).await;
        }
        world.pass(9 * MINUTE).await;
        assert_eq!(told(&world, Reason::RemoteOrphaned), [], "{said}");
        world.pass(2 * MINUTE).await;
        let notices = told(&world, Reason::RemoteOrphaned);
        assert_eq!(notices.len(), 4, "{said}: {notices:?}");
        for notice in &notices {
            assert!(
                notice.note.contains("stays at the provider although the policy is Delete"),
                "{notice:?}"
            );
        }
        assert!(
            notices
                .iter()
                .any(|notice| notice.note.contains(said) || notice.note.contains("does not answer")),
            "{said}: {notices:?}"
        );
        assert!(!is_held(&world), "{said}");
    }
}
