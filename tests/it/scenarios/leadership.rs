//! Acting only with a claim to act, and giving up what another leader may have changed.

use std::time::Duration;

use chrono::TimeDelta;
use hookkeeper::api::Ownership;
use hookkeeper::engine::ports::CallFailure;

use super::{
    DAY, HOUR, MINUTE, asked, assert_in_order, by_hand, counts, declare, hand_over, key, once, pass_until_due,
};
use crate::canaries::CANARY;
use crate::world::{CallFault, Running, Settings, World, subscription};

const MILLISECOND: Duration = Duration::from_millis(1);
/// Fingerprint of the token that another leader brings.
const OF_ANOTHER: &str = "0123456789abcdef";

/// Another process leads from now on, or this one does again.
async fn lead(world: &World, engine: &Running, term: Option<u64>) {
    world.outside().term = term;
    // The engine notices when something happens; here it is told of an object that it knows.
    hand_over(world, engine, "subscription-0").await;
    tokio::task::yield_now().await;
    world.pass(MILLISECOND).await;
}

/// The other leader brings this token to a subscription, and records it.
fn record_by_another(world: &World, name: &str, id: &str, token: &str) {
    let wall = world.wall();
    let mut outside = world.outside();
    outside.remotes.get_mut(id).unwrap().token = token.into();
    let status = outside.statuses.entry(key(name)).or_default();
    status.webhook_id = Some(id.into());
    status.webhook_origin = Some("https://provider.example.com".into());
    status.ownership = Some(Ownership::Created);
    status.token_fingerprint = Some(OF_ANOTHER.into());
    status.token_minted_time = Some(wall);
    status.token_expiration_time = Some(wall + TimeDelta::days(1));
    status.creation = None;
}

#[tokio::test(start_paused = true)]
async fn without_a_claim_nothing_is_called_and_nothing_recorded() {
    let world = World::new(Settings::default());
    world.outside().term = None;
    world.populate(3, 1);
    let engine = world.start();
    world.pass(HOUR).await;
    assert_eq!(counts(&world, |outside| (outside.received.len(), outside.records)), (0, 0));
    lead(&world, &engine, Some(7)).await;
    world.pass(MINUTE).await;
    assert_in_order(&world, 3);
    lead(&world, &engine, None).await;
    world.pass(MINUTE).await;
    let before = counts(&world, |outside| (outside.received.len(), outside.records));
    world.pass(DAY).await;
    assert_eq!(counts(&world, |outside| (outside.received.len(), outside.records)), before);
}

/// The claim is lost at any moment of a create, and this process leads again soon; meanwhile the
/// other leader has created.
#[tokio::test(start_paused = true)]
async fn a_create_of_an_older_term_is_not_sent() {
    for moment in 0..400 {
        let world = World::new(Settings { token_life: DAY, ..Settings::default() });
        world.populate(1, 1);
        let engine = world.start();
        world.pass(MILLISECOND * moment).await;
        let lost = world.wall();
        world.outside().term = None;
        hand_over(&world, &engine, "subscription-0").await;
        tokio::task::yield_now().await;
        by_hand(&world, "by-another", 0);
        let wall = world.wall();
        let token = world.outside().issue("another", wall, wall);
        record_by_another(&world, "subscription-0", "by-another", &token);
        hand_over(&world, &engine, "subscription-0").await;
        tokio::task::yield_now().await;
        world.outside().term = Some(3);
        hand_over(&world, &engine, "subscription-0").await;
        world.pass(10 * MINUTE).await;
        let outside = world.outside();
        let create = outside.received.iter().find(|call| call.operation == "create");
        if create.is_some_and(|create| create.at - world.settings.latency / 2 <= lost) {
            return;
        }
        assert_eq!(outside.creates, 0, "at {moment}");
    }
    panic!("no create was ever sent");
}

/// What this process had in hand may be older than what the other leader brought.
#[tokio::test(start_paused = true)]
async fn a_token_in_hand_from_an_older_term_is_not_brought_back() {
    for revokes in [false, true] {
        let world = World::new(Settings { token_life: DAY, revokes, ..Settings::default() });
        world.populate(2, 1);
        let engine = world.start();
        world.pass(MINUTE).await;
        lead(&world, &engine, None).await;
        let wall = world.wall();
        let source = serde_json::to_string(&world.outside().sources[&key("source-0")]).unwrap();
        let newer = world.outside().issue(&source, wall, wall);
        for name in ["subscription-0", "subscription-1"] {
            let id = world.status(name).webhook_id.unwrap();
            record_by_another(&world, name, &id, &newer);
            hand_over(&world, &engine, name).await;
        }
        // That leader has recorded it with the source, too.
        world.outside().source_statuses.get_mut(&key("source-0")).unwrap().token_fingerprint =
            Some(OF_ANOTHER.into());
        super::hand_over_source(&world, &engine, "source-0").await;
        lead(&world, &engine, Some(3)).await;
        world.pass(10 * MINUTE).await;
        let outside = world.outside();
        assert!(outside.remotes.values().all(|remote| remote.token == newer), "{:?}", outside.remotes);
        assert_eq!(outside.updates, 0);
    }
}

/// A mint that was under way when the claim ended brings nothing to anybody.
#[tokio::test(start_paused = true)]
async fn a_mint_of_an_older_term_is_not_applied() {
    let world = World::new(Settings { latency: Duration::from_secs(2), ..Settings::default() });
    world.populate(1, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    pass_until_due(&world, Duration::ZERO).await;
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(asked(&world, "mint"), 2, "the second is under way");
    lead(&world, &engine, None).await;
    lead(&world, &engine, Some(3)).await;
    world.pass(MINUTE).await;
    let outside = world.outside();
    assert_eq!((outside.mints, outside.updates), (3, 1));
    assert_eq!(outside.remotes["remote-1"].token, format!("{CANARY}token-3"));
}

/// What was sent in time has taken effect, whoever leads when the answer is missed.
#[tokio::test(start_paused = true)]
async fn a_create_that_was_sent_before_the_claim_ended_is_found_again() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(1, 1);
    let lost = CallFailure::Unanswered { what: "lost".into() };
    world.outside().fault_for = Some(once("create", CallFault::Garbled(lost)));
    let engine = world.start();
    while world.outside().creates == 0 {
        world.pass(MILLISECOND).await;
    }
    lead(&world, &engine, None).await;
    world.pass(MINUTE).await;
    lead(&world, &engine, Some(3)).await;
    declare(&world, &engine, "other", subscription(1, "source-0")).await;
    world.pass(20 * MINUTE).await;
    assert_in_order(&world, 2);
    assert_eq!(world.outside().creates, 2);
}

/// The answer to an update comes when another leader has brought a newer token and has recorded that,
/// and the update may have landed after it.
#[tokio::test(start_paused = true)]
async fn an_outcome_of_an_older_term_is_not_recorded_over_what_another_leader_has_recorded() {
    for regained in [false, true] {
        let latency = Duration::from_secs(2);
        let world = World::new(Settings { latency, token_life: DAY, ..Settings::default() });
        world.populate(1, 1);
        let engine = world.start();
        world.pass(MINUTE).await;
        pass_until_due(&world, Duration::ZERO).await;
        while asked(&world, "update") == 0 {
            world.pass(MILLISECOND).await;
        }
        lead(&world, &engine, None).await;
        let wall = world.wall();
        let newer = world.outside().issue("another", wall, wall);
        let remote = world.status("subscription-0").webhook_id.unwrap();
        record_by_another(&world, "subscription-0", &remote, &newer);
        hand_over(&world, &engine, "subscription-0").await;
        // That leader has recorded it with the source, too.
        world.outside().source_statuses.get_mut(&key("source-0")).unwrap().token_fingerprint =
            Some(OF_ANOTHER.into());
        super::hand_over_source(&world, &engine, "source-0").await;
        tokio::task::yield_now().await;
        if regained {
            lead(&world, &engine, Some(3)).await;
        }
        world.pass(2 * latency).await;
        assert_eq!(asked(&world, "update"), 1);
        let fingerprint = world.status("subscription-0").token_fingerprint;
        assert_eq!(fingerprint.as_deref(), Some(OF_ANOTHER), "{regained}");
        lead(&world, &engine, Some(4)).await;
        world.pass(10 * MINUTE).await;
        assert_eq!(asked(&world, "update"), 2, "what landed last is not known: it is sent again");
        assert_in_order(&world, 1);
    }
}
