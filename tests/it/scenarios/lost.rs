//! What subscriptions refer to goes away and comes back, and a version of one that is not valid.

use hookkeeper::api::{ConditionStatus, ConditionType, Kind, Reason};
use hookkeeper::engine::change::Change;
use hookkeeper::engine::ports::Invalid;

use super::{
    DAY, HOUR, MINUTE, SECOND, assert_in_order, condition, counts, edit, hand_over_provider,
    hand_over_source, health, key, ready,
};
use crate::world::{Running, Settings, World, identity};

async fn gone(engine: &Running, kind: Kind, name: &str) {
    engine.send(Change::Gone { kind, key: key(name), prune: false }).await;
}

fn message(world: &World, kind: ConditionType) -> String {
    condition(&world.status("subscription-0"), kind).map(|found| found.message.clone()).unwrap_or_default()
}

/// Everything that the provider and the token server were asked for.
fn calls(world: &World) -> usize {
    world.outside().received.len()
}

#[tokio::test(start_paused = true)]
async fn without_its_provider_nothing_is_called_and_once_it_is_back_all_goes_on() {
    let world = World::new(Settings::default());
    world.populate(2, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    gone(&engine, Kind::WebhookProvider, "provider").await;
    world.pass(SECOND).await;
    let before = calls(&world);
    let status = world.status("subscription-0");
    assert_eq!(health(&status), (ConditionStatus::False, Reason::ProviderNotFound), "{status:#?}");
    let said = message(&world, ConditionType::RotationHealthy);
    assert!(said.contains("WebhookProvider provider was not found; create it"), "{said}");

    // The token that is in place lives on, and its end is told at once.
    world.pass(HOUR + MINUTE).await;
    assert_eq!(ready(&world.status("subscription-0")), (ConditionStatus::False, Reason::TokenExpired));
    assert_eq!(calls(&world), before, "without a provider there is nobody to call");

    hand_over_provider(&world, &engine, "provider").await;
    world.pass(MINUTE).await;
    world.outside().late.clear();
    world.pass(DAY).await;
    assert_eq!(counts(&world, |outside| (outside.creates, outside.deletes)), (2, 0));
    assert_in_order(&world, 2);
}

#[tokio::test(start_paused = true)]
async fn without_its_source_nothing_is_minted_and_once_it_is_back_all_goes_on() {
    let world = World::new(Settings::default());
    world.populate(2, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    gone(&engine, Kind::TokenSource, "source-0").await;
    world.pass(SECOND).await;
    let status = world.status("subscription-0");
    assert_eq!(health(&status), (ConditionStatus::False, Reason::TokenSourceNotFound), "{status:#?}");
    let said = message(&world, ConditionType::RotationHealthy);
    assert!(said.contains("TokenSource source-0 was not found; create it"), "{said}");
    let before = counts(&world, |outside| (outside.mints, outside.updates));
    world.pass(HOUR + MINUTE).await;
    assert_eq!(ready(&world.status("subscription-0")), (ConditionStatus::False, Reason::TokenExpired));
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), before);

    hand_over_source(&world, &engine, "source-0").await;
    world.pass(MINUTE).await;
    world.outside().late.clear();
    world.pass(DAY).await;
    assert_eq!(counts(&world, |outside| (outside.creates, outside.deletes)), (2, 0));
    assert_in_order(&world, 2);
}

/// As when a manifest is applied in two steps: nothing is called in between, and nothing is done twice.
#[tokio::test(start_paused = true)]
async fn a_provider_or_a_source_that_is_replaced_at_once_costs_no_create_and_no_delete() {
    for kind in [Kind::WebhookProvider, Kind::TokenSource] {
        let world = World::new(Settings { token_life: DAY, ..Settings::default() });
        world.populate(3, 1);
        let engine = world.start();
        world.pass(MINUTE).await;
        for _ in 0..3 {
            match kind {
                Kind::WebhookProvider => {
                    gone(&engine, kind, "provider").await;
                    hand_over_provider(&world, &engine, "provider").await;
                }
                _ => {
                    gone(&engine, kind, "source-0").await;
                    hand_over_source(&world, &engine, "source-0").await;
                }
            }
            world.pass(MINUTE).await;
        }
        world.pass(2 * DAY).await;
        assert_eq!(counts(&world, |outside| (outside.creates, outside.deletes)), (3, 0), "{kind}");
        assert_in_order(&world, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_edit_is_told_and_the_last_valid_version_goes_on() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    let invalid = Change::Invalid {
        kind: Kind::WebhookSubscription,
        identity: identity(&key("subscription-0"), 2),
        problem: Invalid { field: "spec.postbackUrl".into(), problem: "no URL".into() },
        status: serde_json::to_value(world.status("subscription-0")).unwrap(),
    };
    engine.send(invalid).await;
    world.pass(SECOND).await;
    let stalled = |world: &World| {
        let status = world.status("subscription-0");
        condition(&status, ConditionType::Stalled).map(|found| (found.status, found.reason))
    };
    assert_eq!(stalled(&world), Some((ConditionStatus::True, Reason::InvalidSpec)));
    let said = message(&world, ConditionType::Stalled);
    assert!(said.contains("spec.postbackUrl: no URL"), "{said}");
    let before = world.outside().updates;
    world.pass(DAY).await;
    let updates = world.outside().updates - before;
    assert!(updates >= 24, "tokens of an hour were replaced {updates} times in a day");
    let wall = world.wall();
    assert_eq!(world.outside().dead(wall), Vec::<&str>::new());
    assert_eq!(counts(&world, |outside| (outside.creates, outside.late.len())), (1, 0));

    edit(&world, &engine, "subscription-0", |spec| spec.active = Some(true)).await;
    world.pass(MINUTE).await;
    assert_eq!(stalled(&world), None);
    assert_in_order(&world, 1);
}
