//! The engine on virtual time: a month in seconds.

use std::time::Duration;

use hookkeeper::api::{ConditionStatus, ConditionType};

use crate::world::{Settings, World};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

#[tokio::test(start_paused = true)]
async fn one_subscription_is_created_and_rotates() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    let engine = world.start();
    world.pass(Duration::from_secs(60)).await;
    let status = world.status("subscription-0");
    assert_eq!(status.webhook_id.as_deref(), Some("remote-1"), "{status:#?}");
    assert_eq!(world.outside().creates, 1);
    assert_eq!(world.outside().mints, 1);
    world.pass(DAY).await;
    engine.assert_alive();
    let wall = world.wall();
    let outside = world.outside();
    assert_eq!((outside.creates, outside.late.len(), outside.dead(wall).len()), (1, 0, 0));
    assert!((24..=40).contains(&outside.mints), "{} mints in a day of hourly tokens", outside.mints);
    assert_eq!(outside.updates + 1, outside.mints, "one call for each mint, the first one being the create");
    assert_eq!(outside.repeated, 0);
}

#[tokio::test(start_paused = true)]
async fn thirty_days_of_thousands_of_subscriptions() {
    let settings =
        Settings { token_life: DAY, overlap: 2 * HOUR, requests_per_minute: 500, ..Settings::default() };
    let world = World::new(settings);
    let (subscriptions, sources) = (2_000, 50);
    world.populate(subscriptions, sources);
    let engine = world.start();
    world.pass(30 * DAY).await;
    engine.assert_alive();
    let wall = world.wall();
    let outside = world.outside();
    assert_eq!(outside.late, [], "late rotations");
    assert_eq!(outside.dead(wall), Vec::<&str>::new());
    assert_eq!((outside.creates, outside.doubled()), (subscriptions as u64, 0));
    let members = (subscriptions / sources) as u64;
    assert_eq!(
        outside.creates + outside.updates,
        outside.mints * members,
        "one call for each member and mint"
    );
    assert_eq!(outside.repeated, 0);
    // The design's table: due after two thirds of the life, a little earlier by jitter.
    let rotations = outside.mints / sources as u64;
    assert!((44..=52).contains(&rotations), "{rotations} mints of each source in 30 days");
    for status in outside.statuses.values() {
        let ready = status.conditions.iter().find(|condition| condition.kind == ConditionType::Ready);
        assert_eq!(ready.map(|ready| ready.status), Some(ConditionStatus::True), "{status:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_with_nothing_due_does_nothing() {
    let world = World::new(Settings { token_life: 7 * DAY, ..Settings::default() });
    world.populate(50, 5);
    let engine = world.start();
    world.pass(10 * HOUR).await;
    engine.stop().await;
    let counts = |world: &World| {
        let outside = world.outside();
        (outside.mints, outside.creates, outside.updates, outside.records)
    };
    let (before, lists) = (counts(&world), world.outside().lists);
    let engine = world.start();
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(counts(&world), before, "(mints, creates, updates, records)");
    assert_eq!(world.outside().lists, lists);
    world.pass(DAY).await;
    assert_eq!(counts(&world), before, "a day of verifications that find nothing changes nothing");
    assert!(world.outside().lists > lists);
    engine.assert_alive();
}
