//! What the gate is told.

use super::*;
use crate::gate::change::ReceiverChange;

const DAY: &str = "2026-11-27T03:00:00Z";

fn receiver(name: &str, token: &str) -> String {
    format!(
        "---\napiVersion: hookkeeper.dev/v1alpha1\nkind: WebhookReceiver\nmetadata: {{name: {name}}}\nspec:\n  preset: gupy\n  verification: {{token: {token}}}\n  forward: {{url: 'https://app.example.com/in'}}\n"
    )
}

fn source(publish: &str) -> String {
    format!(
        "---\napiVersion: hookkeeper.dev/v1alpha1\nkind: TokenSource\nmetadata: {{name: s}}\nspec: {{secret: {{name: a, key: b}}, publishTo: {{secretName: {publish}}}}}\n"
    )
}

fn sender(name: &str, header: &str) -> String {
    format!(
        "---\napiVersion: hookkeeper.dev/v1alpha1\nkind: WebhookSubscription\nmetadata: {{name: {name}}}\nspec:\n  providerRef: {{name: gupy}}\n  action: a.b\n  postbackUrl: https://in.example.com/default/in\n  clientHeaders: [{{name: {header}, valueFrom: {{token: {{prefix: 'Bearer '}}}}}}]\n  tokenSourceRef: {{name: s}}\n  receiverRef: {{name: in}}\n"
    )
}

const NAMED: &str = "{header: token, tokenSourceRef: {name: s}}";
const UNNAMED: &str = "{tokenSourceRef: {name: s}}";

fn world(parts: Parts) -> World {
    let mut world = World::new(false);
    world.planner = Planner::new(false, parts);
    world
}

/// The gate's changes of a plan in short, such as `in uid-1 1 token`.
fn told(plan: &Plan) -> Vec<String> {
    let text = |change: &ReceiverChange| match change {
        ReceiverChange::Declared(object) => {
            let identity = &object.identity;
            let token = object.spec.verification.token.as_ref().unwrap();
            let header = token.header.as_deref().unwrap_or("-");
            format!("{} {} {} {header}", identity.key.name, identity.uid, identity.generation)
        }
        ReceiverChange::Invalid(identity, problems) => {
            format!("invalid {} {} {}", identity.key.name, identity.generation, problems[0].field)
        }
        ReceiverChange::Gone(key, _) => format!("gone {}", key.name),
        ReceiverChange::Source(key, spec) => {
            let published = spec.as_ref().and_then(|spec| spec.publish_to.as_ref());
            format!("source {} {}", key.name, published.map_or("-", |to| &to.secret_name))
        }
        ReceiverChange::Synced => "synced".to_owned(),
        other => format!("{other:?}"),
    };
    plan.receiver_changes.iter().map(text).collect()
}

/// Looks every second for a while; what the gate was told.
fn pass(world: &mut World, seconds: u64) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..seconds {
        world.now += Duration::from_secs(1);
        all.extend(told(&world.look()));
    }
    all
}

#[test]
fn sources_come_before_receivers_and_the_engine_hears_of_no_receiver() {
    let mut world = world(Parts::Both);
    world.write("a.yaml", receiver("in", NAMED) + &source("p"));
    let plan = world.look();
    assert_eq!(told(&plan), ["source s p", "in uid-1 1 token", "synced"]);
    assert_eq!(short(&plan), ["source s uid-2 1", "synced"]);
    assert_eq!(plan.warnings, Vec::<String>::new());
    assert!(told(&world.look()).is_empty());
    world.write("a.yaml", receiver("in", NAMED) + &source("q"));
    assert_eq!(told(&world.look()), ["source s q"]);
}

#[test]
fn without_a_gate_receivers_are_told_of_once_and_nothing_is_remembered_of_them() {
    let mut world = world(Parts::Engine);
    world.write("a.yaml", receiver("in", NAMED) + &source("p"));
    world.write("b.yaml", receiver("other", NAMED));
    let plan = world.look();
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(plan.warnings[0].contains("--gate-listen"), "{:?}", plan.warnings);
    assert_eq!(told(&plan), ["synced"]);
    assert_eq!(world.entries.len(), 1);
    world.write("c.yaml", receiver("third", NAMED));
    assert_eq!(world.look().warnings, Vec::<String>::new());
    assert!(!world.planner.waits());
}

#[test]
fn what_an_engine_without_a_gate_does_not_know_it_leaves_alone() {
    let mut world = world(Parts::Both);
    world.write("a.yaml", receiver("in", NAMED) + &source("p"));
    world.look();
    world.planner = Planner::new(false, Parts::Engine);
    world.restart(false);
    world.write("a.yaml", source("p"));
    assert_eq!(world.pass(70), ["source s uid-2 1", "synced"]);
    world.planner = Planner::new(false, Parts::Both);
    world.restart(false);
    world.write("a.yaml", receiver("in", NAMED) + &source("p"));
    assert_eq!(told(&world.look()), ["source s p", "in uid-1 1 token", "synced"]);
}

#[test]
fn a_gate_alone_is_not_concerned_with_webhooks_at_providers() {
    let mut world = world(Parts::Gate);
    let broken = sender("w", "x").replace("a.b", "'!'").replace("receiverRef: {name: in}", "");
    world.write("a.yaml", receiver("in", NAMED) + &source("p") + &broken);
    let plan = world.look();
    assert_eq!(told(&plan), ["source s p", "in uid-1 1 token", "synced"]);
    assert_eq!(plan.warnings, Vec::<String>::new());
    assert_eq!(short(&plan), ["synced"]);
    assert_eq!(world.entries.len(), 2);
    world.write("a.yaml", receiver("in", NAMED) + &source("p"));
    assert!(pass(&mut world, 70).is_empty());
}

#[test]
fn who_it_is_stays_over_restarts() {
    let mut world = world(Parts::Gate);
    world.write("a.yaml", receiver("in", NAMED));
    let created = |plan: &Plan| match &plan.receiver_changes[0] {
        ReceiverChange::Declared(object) => object.identity.created,
        other => panic!("{other:?}"),
    };
    let first = world.look();
    assert_eq!(created(&first), Some(DAY.parse().unwrap()));
    world.date += chrono::TimeDelta::days(1);
    world.restart(false);
    let again = world.look();
    assert_eq!(told(&again), ["in uid-1 1 token", "synced"]);
    assert_eq!(created(&again), Some(DAY.parse().unwrap()));
    world.write("a.yaml", receiver("in", "{header: other, tokenSourceRef: {name: s}}"));
    assert_eq!(told(&world.look()), ["in uid-1 2 other"]);
}

#[test]
fn an_invalid_version_leaves_the_last_valid_one_in_force_also_over_a_restart() {
    let mut world = world(Parts::Gate);
    world.write("a.yaml", receiver("in", NAMED));
    world.look();
    for (broken, field) in [
        (receiver("in", NAMED).replace("https://app", "ftp://app"), "spec.forward.url"),
        // This one shows only beside its preset.
        (receiver("in", NAMED).replace("gupy", "gupi"), "spec.preset"),
    ] {
        world.write("a.yaml", broken);
        let plan = world.look();
        let generation = world.entries[&(Kind::WebhookReceiver, ObjectKey::new("default", "in"))].generation;
        assert_eq!(told(&plan), [format!("invalid in {generation} {field}")]);
        assert!(plan.warnings[0].contains("its last valid version stays in force"), "{:?}", plan.warnings);
        world.restart(false);
        assert_eq!(
            told(&world.look()),
            ["in uid-1 1 token".to_owned(), format!("invalid in {generation} {field}"), "synced".to_owned()]
        );
    }
    world.write("a.yaml", receiver("in", NAMED));
    assert_eq!(told(&world.look()), ["in uid-1 4 token"]);
}

#[test]
fn what_is_gone_for_a_minute_is_gone_and_comes_back_as_who_it_was() {
    let mut world = world(Parts::Gate);
    world.write("a.yaml", receiver("in", NAMED));
    world.write("b.yaml", source("p"));
    world.look();
    world.remove("a.yaml");
    assert!(pass(&mut world, 60).is_empty());
    assert_eq!(pass(&mut world, 2), ["gone in"]);
    assert!(pass(&mut world, 120).is_empty());
    // A restart brings it to life for no minute.
    world.restart(false);
    assert_eq!(told(&world.look()), ["source s p", "in uid-1 1 token", "gone in", "synced"]);
    assert!(pass(&mut world, 120).is_empty());
    world.write("a.yaml", receiver("in", NAMED));
    assert_eq!(told(&world.look()), ["in uid-1 1 token"]);
    world.restart(false);
    assert_eq!(told(&world.look()), ["source s p", "in uid-1 1 token", "synced"]);
}

#[test]
fn a_source_that_is_gone_goes_after_its_receivers() {
    let mut world = world(Parts::Gate);
    world.write("a.yaml", receiver("in", NAMED) + &source("p"));
    world.write("b.yaml", receiver("other", "{header: x, secretKeyRefs: [{name: a, key: b}]}"));
    world.look();
    world.remove("a.yaml");
    assert_eq!(pass(&mut world, 62), ["gone in", "source s -"]);
}

#[test]
fn the_header_is_that_of_the_subscription_that_names_the_receiver() {
    for parts in [Parts::Gate, Parts::Both] {
        let mut world = world(parts);
        world.write("a.yaml", receiver("in", UNNAMED));
        world.write("b.yaml", sender("w", "X-Token"));
        assert_eq!(told(&world.look()), ["in uid-1 1 X-Token", "synced"], "{parts:?}");
        world.write("b.yaml", sender("w", "X-Other"));
        assert_eq!(told(&world.look()), ["in uid-1 1 X-Other"], "{parts:?}");
        // The first by name counts, whichever came last.
        world.write("c.yaml", sender("v", "X-First"));
        assert_eq!(told(&world.look()), ["in uid-1 1 X-First"], "{parts:?}");
        world.restart(false);
        assert!(told(&world.look()).contains(&"in uid-1 1 X-First".to_owned()), "{parts:?}");
        // What is under way comes where it came before.
        world.remove("b.yaml");
        world.remove("c.yaml");
        assert!(pass(&mut world, 120).is_empty(), "{parts:?}");
        world.write("a.yaml", receiver("in", UNNAMED).replace("app.example", "new.example"));
        assert_eq!(told(&world.look()), ["in uid-1 2 X-First"], "{parts:?}");
    }
}

#[test]
fn a_receiver_of_its_own_header_is_told_the_subscriptions() {
    let mut world = world(Parts::Both);
    world.write("a.yaml", receiver("in", NAMED));
    assert_eq!(told(&world.look()), ["in uid-1 1 token", "synced"]);
    world.write("b.yaml", sender("w", "X-Token"));
    assert_eq!(told(&world.look()), ["in uid-1 1 X-Token"]);
    world.write("b.yaml", sender("w", "X-Token").replace("receiverRef: {name: in}", ""));
    assert!(told(&world.look()).is_empty());
}
