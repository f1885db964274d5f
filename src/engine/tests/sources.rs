//! Token sources: mints, what is published, what gates take in.

use std::time::Duration;

use serde_json::json;

use super::scene::{LIFE, Outcome, Scene, gone, key, source, subscription};
use crate::api::{Kind, PublishTo, Reason, TokenSourceSpec};
use crate::engine::change::Change;
use crate::engine::effect::{Call, Count};
use crate::engine::event::Event;
use crate::engine::state::source::{Source, SourceKey};
use crate::engine::write::Write;

fn is_mint(call: &Call) -> bool {
    matches!(call, Call::Mint { .. })
}

fn is_published(call: &Call) -> bool {
    matches!(call, Call::Write { write: Write::Published { .. }, .. })
}

fn is_read(call: &Call) -> bool {
    matches!(call, Call::Write { write: Write::ReadPublished { .. }, .. })
}

fn is_offer(call: &Call) -> bool {
    matches!(call, Call::Offer { .. })
}

fn the_source(scene: &Scene) -> &Source {
    scene.state.source(scene.state.source_by_key[&SourceKey::Object(key("source"))]).unwrap()
}

/// So many subscriptions that wait for the first mint, which is under way.
fn minting(subscriptions: u32) -> Scene {
    let mut scene = Scene::with(subscriptions);
    while !scene.calls.values().any(is_mint) {
        scene.time();
        let ticket = *scene.calls.keys().next().expect("something is under way");
        if !is_mint(&scene.calls[&ticket]) {
            scene.end(ticket, Outcome::Succeeds);
        }
    }
    scene
}

fn publishing() -> TokenSourceSpec {
    let to = PublishTo { secret_name: "shared".into(), ..PublishTo::default() };
    TokenSourceSpec { publish_to: Some(to), ..TokenSourceSpec::default() }
}

#[test]
fn one_mint_serves_all_who_wait_for_it() {
    let mut scene = minting(5);
    scene.settle();
    let mints = scene.counts.iter().filter(|count| matches!(count, Count::Mint { .. })).count();
    assert_eq!((mints, scene.remotes.len()), (1, 5));
}

#[test]
fn a_mint_that_failed_is_noted_in_those_who_waited_and_tried_again() {
    let mut scene = minting(2);
    scene.end_the(is_mint, Outcome::Fails);
    assert_eq!(the_source(&scene).failures, 1);
    assert!(the_source(&scene).state.failing.is_some() && the_source(&scene).waiting.is_empty());
    assert_eq!(scene.status(0).failures.map(|failures| failures.count), Some(1));
    scene.settle_for(Duration::from_secs(120), Duration::from_secs(1));
    assert_eq!((the_source(&scene).failures, scene.remotes.len()), (0, 2));
}

#[test]
fn a_source_that_asks_for_a_pause_is_left_alone_that_long() {
    let mut scene = minting(1);
    scene.end_the(is_mint, Outcome::Pauses);
    scene.settle_for(Duration::from_secs(28), Duration::from_secs(1));
    assert!(scene.remotes.is_empty(), "30 s were asked for");
    scene.settle_for(Duration::from_secs(10), Duration::from_secs(1));
    assert_eq!(scene.remotes.len(), 1);
}

#[test]
fn a_mint_that_panicked_gives_its_place_back() {
    let mut scene = minting(1);
    scene.end_the(is_mint, Outcome::Panics);
    assert_eq!((scene.state.places.minters.taken(), the_source(&scene).minting), (0, false));
    assert_eq!(
        the_source(&scene).state.failing.as_ref().map(|(reason, _)| *reason),
        Some(Reason::InternalError)
    );
}

#[test]
fn what_an_older_term_asked_for_is_of_no_use() {
    let mut scene = minting(1);
    scene.handle(Event::Claim(None));
    scene.handle(Event::Claim(Some(2)));
    scene.end_the(is_mint, Outcome::Succeeds);
    assert!(the_source(&scene).token.is_none());
    scene.settle();
    assert_eq!(scene.remotes.len(), 1, "it is asked for again");
}

#[test]
fn who_may_not_act_keeps_no_token_and_begins_nothing() {
    let mut scene = Scene::with(1);
    scene.settle();
    assert!(the_source(&scene).tokens_kept() > 0);
    scene.handle(Event::Claim(None));
    assert_eq!(the_source(&scene).tokens_kept(), 0);
    scene.pass(LIFE);
    assert!(scene.calls.is_empty());
}

#[test]
fn a_token_is_published_before_it_is_applied() {
    let mut scene = Scene::new();
    scene.declare_provider("provider", &json!({}));
    scene.change(source("source", publishing()));
    scene.change(subscription(0, 1, &json!({})));
    scene.change(Change::Synced);
    scene.time();
    scene.end_the(is_read, Outcome::Succeeds);
    while !scene.calls.values().any(is_published) {
        scene.time();
        let ticket = *scene.calls.keys().next().expect("something is under way");
        scene.end(ticket, Outcome::Succeeds);
    }
    scene.end_the(is_published, Outcome::Fails);
    scene.settle();
    assert!(scene.remotes.is_empty(), "it is not published yet");
    scene.settle_for(Duration::from_secs(1_800), Duration::from_secs(5));
    assert_eq!(scene.remotes.len(), 1);
    assert!(the_source(&scene).is_held_published());
}

#[test]
fn a_published_secret_of_somebody_else_is_said_and_not_written_over() {
    let mut scene = Scene::new();
    scene.change(source("source", publishing()));
    scene.change(Change::Synced);
    scene.time();
    scene.end_the(is_read, Outcome::Missing);
    assert_eq!(the_source(&scene).state.failing.as_ref().map(|(reason, _)| *reason), Some(Reason::Conflict));
    scene.time();
    assert!(!scene.calls.values().any(is_published));
}

#[test]
fn a_gate_has_a_token_before_the_provider_and_is_not_waited_for_without_end() {
    let mut scene = minting(1);
    scene.gates.serves.insert(key("source"));
    scene.change(Change::Gates(key("source")));
    scene.end_the(is_mint, Outcome::Succeeds);
    scene.time();
    let sent = |call: &Call| matches!(call, Call::Update { .. } | Call::Create { .. });
    assert!(scene.calls.values().any(is_offer) && !scene.calls.values().any(sent));
    scene.end_the(is_offer, Outcome::Succeeds);
    scene.settle();
    assert_eq!(scene.remotes.len(), 1);
}

#[test]
fn a_token_that_a_gate_did_not_take_in_is_offered_again() {
    let mut scene = minting(1);
    scene.gates.serves.insert(key("source"));
    scene.change(Change::Gates(key("source")));
    scene.end_the(is_mint, Outcome::Succeeds);
    for outcome in [Outcome::Fails, Outcome::Panics] {
        scene.end_the(is_offer, outcome);
        assert!(!scene.calls.values().any(is_offer));
        scene.pass(Duration::from_secs(40));
    }
    scene.end_the(is_offer, Outcome::Succeeds);
    assert!(the_source(&scene).offering.open.is_empty());
}

#[test]
fn a_source_that_is_gone_keeps_no_token_and_says_why_to_its_users() {
    let mut scene = Scene::with(1);
    scene.settle();
    scene.change(gone(Kind::TokenSource, "source", false));
    assert_eq!(the_source(&scene).tokens_kept(), 0);
    scene.settle();
    let reasons: Vec<Reason> = scene.status(0).conditions.iter().map(|condition| condition.reason).collect();
    assert!(reasons.contains(&Reason::TokenSourceNotFound), "{reasons:?}");
}

#[test]
fn a_status_of_a_source_that_was_not_written_is_not_taken_for_written() {
    let mut scene = minting(1);
    let is_status = |call: &Call| matches!(call, Call::Write { write: Write::SourceStatus { .. }, .. });
    while scene.calls.values().any(is_status) {
        scene.end_the(is_status, Outcome::Succeeds);
    }
    scene.end_the(is_mint, Outcome::Succeeds);
    scene.end_the(is_status, Outcome::Fails);
    let recorded = |scene: &Scene| {
        the_source(scene).object.as_ref().and_then(|(_, status)| status.token_fingerprint.clone())
    };
    assert!(recorded(&scene).is_none() && the_source(&scene).unrecorded);
    scene.settle();
    assert!(recorded(&scene).is_some(), "with the status of a member");
}
