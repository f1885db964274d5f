//! What a listing shows, and what is done about it.

use hookkeeper::api::{ConditionStatus, ConditionType, Reason, WhenMissing};

use super::{
    DAY, HOUR, MINUTE, SECOND, asked, assert_in_order, condition, counts, edit, health, once, pass_until_due,
    ready, refused,
};
use crate::world::{Settings, World, subscription};

#[tokio::test(start_paused = true)]
async fn most_ids_missing_creates_nothing() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(8, 1);
    let _engine = world.start();
    world.pass(HOUR).await;
    let all = world.outside().remotes.clone();
    world.outside().remotes.retain(|id, _| matches!(id.as_str(), "remote-1" | "remote-2"));
    world.pass(4 * HOUR).await;
    assert_eq!(world.outside().creates, 8);
    let reasons = world
        .outside()
        .statuses
        .values()
        .filter(|status| ready(status).1 == Reason::ProviderMismatch)
        .count();
    assert_eq!(reasons, 6);
    world.outside().remotes = all;
    world.pass(4 * HOUR).await;
    assert_eq!(world.outside().creates, 8);
    assert_in_order(&world, 8);
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_has_vanished_is_created_again_once() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(4, 1);
    let _engine = world.start();
    world.pass(HOUR).await;
    world.outside().remotes.remove("remote-2");
    world.pass(4 * HOUR).await;
    assert_eq!(world.outside().creates, 5);
    assert_in_order(&world, 4);
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_somebody_changed_is_put_right() {
    let world = World::new(Settings { token_life: 30 * DAY, ..Settings::default() });
    world.populate(2, 1);
    let _engine = world.start();
    world.pass(MINUTE).await;
    for _ in 0..2 {
        let before = world.outside().updates;
        world.outside().remotes.get_mut("remote-1").unwrap().url = "https://elsewhere.example.com/".into();
        world.pass(3 * HOUR).await;
        assert_eq!(world.outside().updates, before + 1);
        assert_eq!(world.outside().mints, 1, "with the token in hand");
        assert_in_order(&world, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_somebody_keeps_changing_is_reported_and_left() {
    let world = World::new(Settings { token_life: 30 * DAY, ..Settings::default() });
    world.populate(2, 1);
    let _engine = world.start();
    world.pass(MINUTE).await;
    let change = |world: &World| world.outside().remotes.get_mut("remote-1").unwrap().active = false;
    for _ in 0..24 * 60 {
        change(&world);
        world.pass(MINUTE).await;
    }
    assert_eq!(world.outside().updates, 1, "applied again once, and not again and again");
    let changed = world.status("subscription-0");
    let other = world.status("subscription-1");
    let (changed, other) =
        if health(&changed).0 == ConditionStatus::False { (changed, other) } else { (other, changed) };
    assert_eq!(health(&changed), (ConditionStatus::False, Reason::DriftPersists));
    assert_eq!(health(&other), (ConditionStatus::True, Reason::Succeeded));
    let told = world.outside().notices.iter().filter(|told| told.reason == Reason::DriftPersists).count();
    assert_eq!(told, 1);
}

/// A 404 alone recreates nothing: a listing has to agree.
#[tokio::test(start_paused = true)]
async fn a_404_for_a_remote_that_listings_show_recreates_nothing() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(2, 1);
    let _engine = world.start();
    world.pass(MINUTE).await;
    pass_until_due(&world, MINUTE).await;
    world.outside().fault_for = Some(once("update", refused(404)));
    world.pass(20 * MINUTE).await;
    assert_eq!(counts(&world, |outside| (outside.creates, outside.updates)), (2, 2));
    assert_in_order(&world, 2);
}

/// Whoever may not write is often told that there is nothing: that is no webhook to be created again,
/// nor one to be asked for several times a second.
#[tokio::test(start_paused = true)]
async fn a_listed_remote_that_updates_do_not_find_is_refused_and_tried_rarely() {
    for given in [false, true] {
        let world = World::new(Settings { token_life: DAY, ..Settings::default() });
        world.populate(1, 1);
        let engine = world.start();
        world.pass(MINUTE).await;
        if given {
            let id = world.status("subscription-0").webhook_id;
            edit(&world, &engine, "subscription-0", |spec| spec.webhook_id = id).await;
        }
        pass_until_due(&world, SECOND).await;
        world.outside().fault_for =
            Some(Box::new(|operation, _| (operation == "update").then(|| refused(404))));
        world.pass(65 * SECOND).await;
        let tried = asked(&world, "update");
        assert!((2..=10).contains(&tried), "given: {given}: {tried} updates in 65 s");
        let status = world.status("subscription-0");
        assert_eq!(health(&status), (ConditionStatus::False, Reason::ProviderRefusedDocument));
        let message = &condition(&status, ConditionType::RotationHealthy).unwrap().message;
        assert_eq!(
            message,
            "listed, but the update says 404: check the right to write and `operations.update.path`"
        );
        assert_eq!(ready(&status).0, ConditionStatus::True, "the token in place lives: {status:#?}");
        world.pass(4 * HOUR).await;
        assert!(asked(&world, "update") < 25, "the wait grows");
        assert_eq!(counts(&world, |outside| (outside.creates, outside.remotes.len())), (1, 1));
        engine.kill().await;
        let before = asked(&world, "update");
        let _engine = world.start();
        world.pass(2 * HOUR).await;
        assert!(asked(&world, "update") - before <= 6, "a restart does not start from nothing");
        world.outside().fault_for = None;
        world.pass(HOUR).await;
        assert_in_order(&world, 1);
        assert_eq!(world.outside().creates, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_listed_remote_that_updates_did_not_find_is_created_again_when_it_has_really_gone() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(2, 1);
    let _engine = world.start();
    world.pass(MINUTE).await;
    pass_until_due(&world, SECOND).await;
    world.outside().fault_for = Some(Box::new(|operation, about| {
        (operation == "update" && about == "action.0").then(|| refused(404))
    }));
    world.pass(HOUR).await;
    let id = world.status("subscription-0").webhook_id.unwrap();
    assert_eq!(health(&world.status("subscription-0")).1, Reason::ProviderRefusedDocument);
    world.outside().remotes.remove(&id);
    world.pass(2 * HOUR).await;
    assert_eq!(world.outside().creates, 3);
    assert_in_order(&world, 2);
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_has_vanished_stalls_where_that_is_asked() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(2, 1);
    let mut spec = subscription(0, "source-0");
    spec.when_missing = Some(WhenMissing::Stall);
    world.declare("subscription-0", spec);
    let engine = world.start();
    world.pass(MINUTE).await;
    let id = world.status("subscription-0").webhook_id.unwrap();
    world.outside().remotes.remove(&id);
    world.pass(2 * DAY).await;
    let status = world.status("subscription-0");
    let stalled = condition(&status, ConditionType::Stalled).unwrap();
    assert_eq!((stalled.status, stalled.reason), (ConditionStatus::True, Reason::RemoteMissing));
    assert_eq!(ready(&status).0, ConditionStatus::False);
    assert_eq!(world.outside().creates, 2);
    edit(&world, &engine, "subscription-0", |spec| spec.when_missing = Some(WhenMissing::Recreate)).await;
    world.pass(2 * HOUR).await;
    assert_eq!(world.outside().creates, 3);
    let wall = world.wall();
    assert_eq!(world.outside().dead(wall), Vec::<&str>::new());
    assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
}

#[tokio::test(start_paused = true)]
async fn a_given_id_that_is_not_there_is_never_created() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    edit(&world, &engine, "subscription-0", |spec| spec.webhook_id = Some("gone".into())).await;
    world.pass(DAY).await;
    let status = world.status("subscription-0");
    assert_eq!(condition(&status, ConditionType::Stalled).unwrap().reason, Reason::RemoteMissing);
    assert_eq!(world.outside().creates, 1);
    assert!(asked(&world, "update") < 30, "it is asked for when a listing is compared, not in a loop");
}
