//! Tokens that live too shortly, and answers that alternate: what one author makes us do stays little,
//! and another's tokens are on time.

use std::time::Duration;

use hookkeeper::api::{
    ConditionStatus, ConditionType, OAuth2TokenSource, ObjectKey, Reason, TokenSourceSpec,
    WebhookProviderSpec,
};

use super::{HOUR, MINUTE, SECOND, answered, asked, condition, health, ready};
use crate::world::{CallFault, Settings, World, subscription};

fn author(world: &World, namespace: &str, life: Duration) {
    let key = |name: &str| ObjectKey::new(namespace, name);
    let oauth2 = OAuth2TokenSource { audience: Some(namespace.into()), ..OAuth2TokenSource::default() };
    let source = TokenSourceSpec { oauth2: Some(oauth2), ..TokenSourceSpec::default() };
    let mut outside = world.outside();
    outside.lives.insert(namespace.into(), life);
    outside.providers.insert(key("provider"), WebhookProviderSpec::default());
    outside.sources.insert(key("source"), source);
    let mut spec = subscription(0, "source");
    spec.action = Some(namespace.into());
    outside.declare(key("subscription"), spec);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_live_for_a_moment_are_rotated_every_five_seconds_and_their_author_is_told() {
    let settings = Settings { latency: Duration::from_millis(4), ..Settings::default() };
    let world = World::new(settings);
    author(&world, "hostile", Duration::from_millis(10));
    author(&world, "honest", HOUR);
    let _engine = world.start();
    world.pass(MINUTE).await;
    let (rotations, records) = (asked(&world, "update"), world.outside().records);
    world.pass(HOUR).await;
    let rotated = asked(&world, "update") - rotations;
    assert!(rotated <= 720 + 3, "{rotated} rotations in an hour");
    let written = world.outside().records - records;
    assert!(written <= 2 * 720 + 10, "{written} writes in an hour");
    let outside = world.outside();
    let of = |namespace: &str| outside.statuses[&ObjectKey::new(namespace, "subscription")].clone();
    let hostile = of("hostile");
    assert_eq!(health(&hostile), (ConditionStatus::False, Reason::LifetimeTooShort));
    let message = &condition(&hostile, ConditionType::RotationHealthy).unwrap().message;
    assert!(message.contains("one object is rotated at most every 5s"), "{message}");
    assert!(message.ends_with("have the token server issue tokens that live 8s or longer"), "{message}");
    assert_eq!(ready(&of("honest")).0, ConditionStatus::True);
    let of_honest: Vec<_> = outside.late.iter().filter(|(id, _)| id == "remote-2").collect();
    assert!(of_honest.is_empty() || outside.remotes["remote-2"].action == "hostile", "{of_honest:?}");
    assert!(outside.remotes.values().any(|remote| remote.action == "honest"));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_ten_seconds_is_always_kept() {
    let world = World::new(Settings { token_life: 10 * SECOND, ..Settings::default() });
    world.populate(3, 2);
    let _engine = world.start();
    world.pass(HOUR).await;
    super::assert_in_order(&world, 3);
    assert_eq!(health(&world.status("subscription-0")).1, Reason::Succeeded);
}

/// A provider that takes every other call and refuses the rest.
#[tokio::test(start_paused = true)]
async fn answers_that_alternate_cost_few_writes() {
    let world = World::new(Settings { token_life: 30 * SECOND, ..Settings::default() });
    world.populate(200, 200);
    let mut number = 0_u64;
    world.outside().fault_for = Some(Box::new(move |operation, _| {
        number += 1;
        let refused = operation == "update" && number.is_multiple_of(2);
        refused.then(|| CallFault::Refused(answered(403, None)))
    }));
    let _engine = world.start();
    world.pass(10 * MINUTE).await;
    let calls = asked(&world, "update");
    let written = world.outside().provider_records;
    assert!(calls > 5_000, "{calls} calls");
    assert!(written <= 10 + 10 * 12 + 1, "{written} writes of the provider's status for {calls} calls");
}
