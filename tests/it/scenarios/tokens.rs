//! Which token is brought, and when a new one is asked for.

use hookkeeper::api::ConditionStatus;

use super::{MINUTE, assert_in_order, edit, pass_until_due, ready};
use crate::world::{Settings, World};

#[tokio::test(start_paused = true)]
async fn an_edit_is_applied_with_the_token_in_hand() {
    let world = World::new(Settings::default());
    world.populate(2, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    edit(&world, &engine, "subscription-0", |spec| {
        spec.postback_url = "https://elsewhere.example.com/in".into();
    })
    .await;
    world.pass(MINUTE).await;
    let outside = world.outside();
    assert_eq!((outside.mints, outside.creates, outside.updates), (1, 2, 1));
    assert_eq!(outside.remotes["remote-1"].url, "https://elsewhere.example.com/in");
}

#[tokio::test(start_paused = true)]
async fn a_token_server_that_is_down_is_asked_with_patience() {
    use hookkeeper::engine::ports::MintFailure;
    let world = World::new(Settings::default());
    world.populate(10, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    pass_until_due(&world, MINUTE).await;
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = std::sync::Arc::clone(&asked);
    world.outside().mint_fault = Some(Box::new(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Some(MintFailure::Unanswered { what: "timeout".into() })
    }));
    world.pass(10 * MINUTE).await;
    let records = world.outside().records;
    assert!(records < 100, "{records} records");
    let attempts = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!((5..30).contains(&attempts), "{attempts} attempts");
    let status = world.status("subscription-0");
    assert_eq!(ready(&status).0, ConditionStatus::True, "the token in place still lives");
    assert!(status.failures.is_some());
    world.outside().mint_fault = None;
    world.pass(10 * MINUTE).await;
    engine.assert_alive();
    assert_in_order(&world, 10);
}
