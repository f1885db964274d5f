//! Tokens that live too shortly: what one author makes us do stays little, and another's tokens are on
//! time.

use std::time::Duration;

use hookkeeper::api::{
    ConditionStatus, ConditionType, OAuth2TokenSource, ObjectKey, Reason, TokenSourceSpec,
    WebhookProviderSpec,
};

use super::{HOUR, MINUTE, SECOND, asked, condition, health, ready};
use crate::world::{Settings, World, subscription};

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
