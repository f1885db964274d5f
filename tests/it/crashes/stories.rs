//! What is interrupted: each story begins with a world in order and ends with one.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hookkeeper::api::{
    AdoptionPolicy, DeletionPolicy, LocalReference, ObjectKey, PublishTo, WebhookSubscriptionSpec,
};

use crate::scenarios::once;
use crate::world::{CallFault, Remote, Settings, World, subscription};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Longer than a create takes to settle, and far shorter than the time from one rotation to the next.
pub const HORIZON: Duration = Duration::from_secs(480);

/// One story.
pub struct Story {
    pub name: &'static str,
    pub settings: Settings,
    /// Brings the world to where the story begins.
    pub before: fn(&World) -> BoxFuture<'_, ()>,
    /// How many remotes the story creates.
    pub creates: u64,
    /// How many remotes there are in the end.
    pub remotes: usize,
    /// Whether what is minted is published.
    pub publishes: bool,
}

impl Story {
    fn new(name: &'static str, before: fn(&World) -> BoxFuture<'_, ()>) -> Self {
        Self {
            name,
            settings: Settings { verify_interval: Duration::ZERO, ..Settings::default() },
            before,
            creates: 0,
            remotes: 2,
            publishes: false,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }
}

/// All of them.
pub fn all() -> Vec<Story> {
    let long = |settings: &mut Settings| settings.token_life = DAY;
    vec![
        Story { creates: 2, ..Story::new("create", |world| two(world, |_| {}).boxed()).with(long) },
        Story {
            creates: 2,
            ..Story::new("create, with a finalizer", |world| two(world, deleting).boxed()).with(long)
        },
        Story {
            creates: 2,
            ..Story::new("create, and an answer is lost", |world| two_and_a_lost_answer(world).boxed())
                .with(long)
        },
        Story::new("rotate", |world| due(world, false).boxed()),
        Story::new("rotate, and an answer is lost", |world| due_and_a_lost_answer(world).boxed()),
        Story::new("rotate, and the token before is revoked", |world| due(world, false).boxed())
            .with(|settings| settings.revokes = true),
        Story {
            creates: 2,
            publishes: true,
            ..Story::new("publish and create", |world| published(world).boxed()).with(long)
        },
        Story { publishes: true, ..Story::new("publish and rotate", |world| due(world, true).boxed()) },
        Story::new("rotate before a gate", |world| due_before_a_gate(world).boxed()),
        Story {
            publishes: true,
            ..Story::new("publish and rotate before a gate", |world| published_before_a_gate(world).boxed())
        },
        Story::new("adopt a matching one", |world| existing(world, matching).boxed()).with(long),
        Story::new("adopt by id", |world| existing(world, by_id).boxed()).with(long),
        Story::new("edit", |world| edited(world).boxed()).with(long),
        Story { creates: 1, ..Story::new("create again", |world| vanished(world).boxed()).with(long) },
        Story { remotes: 1, ..Story::new("delete", |world| deleted(world).boxed()).with(long) },
        Story::new("hand over", |world| renamed(world).boxed()).with(long),
    ]
}

async fn two(world: &World, change: fn(&mut WebhookSubscriptionSpec)) {
    world.declare_provider("provider");
    world.declare_source("source-0");
    for number in 0..2 {
        let mut spec = subscription(number, "source-0");
        change(&mut spec);
        world.declare(&format!("subscription-{number}"), spec);
    }
}

fn deleting(spec: &mut WebhookSubscriptionSpec) {
    spec.deletion_policy = Some(DeletionPolicy::Delete);
}

fn matching(spec: &mut WebhookSubscriptionSpec) {
    spec.adoption_policy = Some(AdoptionPolicy::Matching);
}

fn by_id(spec: &mut WebhookSubscriptionSpec) {
    spec.webhook_id = spec.action.as_ref().map(|action| format!("hand-made-{action}"));
}

/// Lets an engine bring everything in order, and ends it when there is nothing left to do.
async fn in_order(world: &World, time: Duration) {
    let engine = world.start();
    world.pass(time).await;
    engine.stop().await;
}

async fn published(world: &World) {
    two(world, |_| {}).await;
    let mut outside = world.outside();
    let source = outside.sources.get_mut(&ObjectKey::new("default", "source-0")).unwrap();
    source.publish_to = Some(PublishTo { secret_name: "shared".into(), ..PublishTo::default() });
}

/// Just before a rotation.
async fn due(world: &World, publishing: bool) {
    if publishing {
        published(world).await;
    } else {
        two(world, |_| {}).await;
    }
    let engine = world.start();
    world.pass(Duration::from_secs(600)).await;
    let next = world.status("subscription-0").next_rotation_time.unwrap();
    let left = (next - world.wall()).to_std().unwrap();
    world.pass(left.saturating_sub(Duration::from_millis(20))).await;
    engine.stop().await;
}

async fn due_before_a_gate(world: &World) {
    world.outside().gate.serves.insert(ObjectKey::new("default", "source-0"));
    due(world, false).await;
}

async fn published_before_a_gate(world: &World) {
    world.outside().gate.serves.insert(ObjectKey::new("default", "source-0"));
    due(world, true).await;
}

async fn two_and_a_lost_answer(world: &World) {
    two(world, |_| {}).await;
    world.outside().fault_for = Some(once("create", CallFault::Lost));
}

async fn due_and_a_lost_answer(world: &World) {
    due(world, false).await;
    world.outside().fault_for = Some(once("update", CallFault::Lost));
}

async fn existing(world: &World, change: fn(&mut WebhookSubscriptionSpec)) {
    two(world, change).await;
    for number in 0..2 {
        let remote = Remote {
            action: format!("action.{number}"),
            url: "https://integrations.example.com/in".into(),
            active: true,
            token: String::new(),
        };
        world.outside().remotes.insert(format!("hand-made-action.{number}"), remote);
    }
}

async fn edited(world: &World) {
    two(world, |_| {}).await;
    in_order(world, Duration::from_secs(600)).await;
    let mut spec = subscription(0, "source-0");
    spec.active = Some(false);
    world.declare("subscription-0", spec);
}

/// One remote is gone, which was noticed.
async fn vanished(world: &World) {
    two(world, |_| {}).await;
    in_order(world, Duration::from_secs(600)).await;
    let id = world.status("subscription-0").webhook_id.unwrap();
    world.outside().remotes.remove(&id);
    let mut spec = subscription(0, "source-0");
    spec.active = Some(false);
    world.declare("subscription-0", spec);
}

async fn deleted(world: &World) {
    two(world, deleting).await;
    in_order(world, Duration::from_secs(600)).await;
    world.delete("subscription-0", None).await;
}

/// Another object of the same action and URL is there before the first one is deleted.
async fn renamed(world: &World) {
    two(world, deleting).await;
    in_order(world, Duration::from_secs(600)).await;
    let mut spec = subscription(0, "source-0");
    spec.provider_ref = LocalReference { name: "provider".into() };
    deleting(&mut spec);
    world.declare("subscription-0-renamed", spec);
    world.delete("subscription-0", None).await;
}
