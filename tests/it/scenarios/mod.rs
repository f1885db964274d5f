//! What goes wrong, one thing at a time, on virtual time.

mod accounts;
mod asked;
mod asking;
mod authors;
mod clocks;
mod creating;
mod deleting;
mod failures;
mod fan_out;
mod flaky;
mod gates;
mod leadership;
mod letting_go;
mod load;
mod long_lists;
mod lost;
mod observed;
mod ownership;
mod pages;
mod short_lives;
mod shown;
mod sources;
mod tokens;
mod verification;

use std::time::Duration;

use hookkeeper::api::{
    Condition, ConditionStatus, ConditionType, Kind, ObjectKey, Reason, SubscriptionStatus,
    WebhookSubscriptionSpec,
};
use hookkeeper::engine::change::Change;
use hookkeeper::engine::ports::CallFailure;

use crate::world::{CallFault, Outside, Remote, Running, World, declared_source};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

const URL: &str = "https://integrations.example.com/in";

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn condition(status: &SubscriptionStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind)
}

pub fn ready(status: &SubscriptionStatus) -> (ConditionStatus, Reason) {
    let ready = condition(status, ConditionType::Ready);
    ready.map_or((ConditionStatus::Unknown, Reason::Pending), |ready| (ready.status, ready.reason))
}

fn health(status: &SubscriptionStatus) -> (ConditionStatus, Reason) {
    let health = condition(status, ConditionType::RotationHealthy);
    health.map_or((ConditionStatus::Unknown, Reason::Pending), |health| (health.status, health.reason))
}

/// So many subscriptions, each with one remote of its own that carries a live token.
fn assert_in_order(world: &World, subscriptions: usize) {
    let wall = world.wall();
    let outside = world.outside();
    assert_eq!((outside.remotes.len(), outside.doubled()), (subscriptions, 0), "(remotes, doubled)");
    assert_eq!(outside.dead(wall), Vec::<&str>::new(), "dead tokens");
    assert_eq!(outside.late, [], "late rotations");
    for (key, status) in &outside.statuses {
        assert_eq!(ready(status).0, ConditionStatus::True, "{key}: {status:#?}");
        assert_eq!((&status.creation, &status.failures), (&None, &None), "{key}");
    }
}

fn answered(code: u16, retry_after: Option<Duration>) -> CallFailure {
    CallFailure::Status { code, retry_after, missing: code == 404 }
}

fn refused(code: u16) -> CallFault {
    CallFault::Refused(answered(code, None))
}

pub type Fault = Box<dyn FnMut(&'static str, &str) -> Option<CallFault> + Send>;

/// A fault for the first call of this operation.
pub fn once(operation: &'static str, fault: CallFault) -> Fault {
    let mut fault = Some(fault);
    Box::new(move |called, _| (called == operation).then(|| fault.take()).flatten())
}

/// A fault for every call about this action.
fn whenever(action: &'static str, fault: CallFault) -> Fault {
    Box::new(move |_, about| (about == action).then(|| fault.clone()))
}

/// A remote subscription that somebody made by hand.
fn by_hand(world: &World, id: &str, number: usize) {
    let remote =
        Remote { action: format!("action.{number}"), url: URL.into(), active: true, token: String::new() };
    world.outside().remotes.insert(id.into(), remote);
}

async fn edit(
    world: &World,
    engine: &Running,
    name: &str,
    change: impl FnOnce(&mut WebhookSubscriptionSpec),
) {
    let mut spec = world.outside().subscriptions[&key(name)].1.clone();
    change(&mut spec);
    declare(world, engine, name, spec).await;
}

/// Declares a subscription while the engine runs.
async fn declare(world: &World, engine: &Running, name: &str, spec: WebhookSubscriptionSpec) {
    world.declare(name, spec);
    hand_over(world, engine, name).await;
}

/// Tells the engine of a subscription as it stands.
async fn hand_over(world: &World, engine: &Running, name: &str) {
    let change = world.outside().change(&key(name));
    engine.send(change).await;
}

/// Tells the engine of a token source as it stands.
async fn hand_over_source(world: &World, engine: &Running, name: &str) {
    let change = {
        let outside = world.outside();
        let status = outside.source_statuses.get(&key(name)).cloned().unwrap_or_default();
        declared_source(&key(name), &outside.sources[&key(name)], status)
    };
    engine.send(change).await;
}

/// Tells the engine of a provider as it stands.
async fn hand_over_provider(world: &World, engine: &Running, name: &str) {
    let change = world.outside().provider_change(&key(name));
    engine.send(change).await;
}

/// A manifest is gone; with `prune` its deletion policy is followed.
async fn remove(engine: &Running, name: &str, prune: bool) {
    let gone = Change::Gone { kind: Kind::WebhookSubscription, key: key(name), prune };
    engine.send(gone).await;
}

fn counts<T>(world: &World, read: impl FnOnce(&Outside) -> T) -> T {
    read(&world.outside())
}

/// How often the provider was asked for this.
fn asked(world: &World, operation: &str) -> usize {
    world.outside().received.iter().filter(|received| received.operation == operation).count()
}

/// Lets time pass until just before the next rotation of the first subscription.
async fn pass_until_due(world: &World, before: Duration) {
    let due = world.status("subscription-0").next_rotation_time.unwrap();
    let left = (due - world.wall()).to_std().unwrap();
    world.pass(left.saturating_sub(before)).await;
}
