//! No remote id: given, found, or to be created.

use super::super::claims::Claimant;
use super::*;
use crate::api::AdoptionPolicy;
use crate::rotation::target::compared;

fn created(world: &World) -> TokenChoice {
    match world.decide() {
        Step::Create { target, token } => {
            assert_eq!(target, wanted());
            token
        }
        step => panic!("{step:?} is no create"),
    }
}

fn adopted(world: &World) -> (String, Ownership) {
    match world.decide() {
        Step::Rotate { id, ownership, why: Why::Adopting, .. } => (id, ownership),
        step => panic!("{step:?} is no adoption"),
    }
}

#[test]
fn a_given_id_is_taken_over_and_wins_over_everything() {
    let mut world = World::creating(-10);
    world.spec().webhook_id = Some("given".into());
    assert_eq!(adopted(&world), ("given".into(), Ownership::Adopted));
    world.status.webhook_id = Some("w1".into());
    assert_eq!(adopted(&world).0, "given");
}

#[test]
fn a_given_id_that_is_in_place_is_kept_fresh() {
    let mut world = World::settled();
    world.spec().webhook_id = Some("w1".into());
    world.claims.0.insert("w1".into(), key("later"));
    assert_eq!(
        world.reason(),
        WaitReason::Settled,
        "somebody else's wish does not stop the one that has it on record"
    );
}

#[test]
fn a_given_id_that_another_object_owns_is_waited_for() {
    let mut world = World::fresh();
    world.spec().webhook_id = Some("given".into());
    world.claims.0.insert("given".into(), key("owner"));
    assert_eq!(world.reason(), WaitReason::Conflict(Claimant::Named(key("owner")), Some("given".into())));
}

#[test]
fn a_given_id_that_is_missing_stalls_and_is_never_recreated() {
    let mut world = World::vanished(-HOUR);
    world.spec().webhook_id = Some("w1".into());
    world.memory.lacked_since = Some(at(-HOUR));
    world.listed(-10, &[]);
    assert_eq!(world.stalled(), Reason::RemoteMissing);
    world.listed(-10, &[("w1", "whatever")]);
    assert_eq!(world.rotates().0, Why::Absent, "it is shown again");
    world.listed(-2 * HOUR, &[("w1", "whatever")]);
    assert_eq!(world.stalled(), Reason::RemoteMissing, "an old listing");
}

#[test]
fn nothing_is_created_before_a_complete_listing() {
    let mut world = World::fresh();
    assert_eq!(world.decide(), Step::List { begun_after: at(-60) });
    world.listed(-61, &[]);
    assert!(matches!(world.decide(), Step::List { .. }), "a listing from before it was asked for");
    world.listed(-60, &[]);
    assert_eq!(created(&world), TokenChoice::Take);
    world.source.held = None;
    assert_eq!(created(&world), TokenChoice::Mint);
}

#[test]
fn a_match_is_named_or_taken_over() {
    let mut world = World::fresh();
    world.listed(-10, &[("other", "something else"), ("there", &wanted())]);
    match world.reason() {
        WaitReason::Stalled(Reason::AlreadyExists, message) => {
            assert!(message.contains("webhook there"));
            assert!(message.contains("spec.webhookId: there"));
            assert!(message.contains("spec.adoptionPolicy: Matching"));
        }
        reason => panic!("{reason:?}"),
    }
    world.spec().adoption_policy = Some(AdoptionPolicy::Matching);
    assert_eq!(adopted(&world), ("there".into(), Ownership::Adopted));
}

#[test]
fn several_matches_are_named_and_none_is_taken() {
    for policy in [AdoptionPolicy::Never, AdoptionPolicy::Matching] {
        let mut world = World::fresh();
        world.spec().adoption_policy = Some(policy);
        world.listed(-10, &[("one", &wanted()), ("two", &wanted())]);
        match world.reason() {
            WaitReason::Stalled(Reason::Ambiguous, message) => {
                assert!(message.contains("one, two"));
            }
            reason => panic!("{reason:?}"),
        }
    }
}

#[test]
fn a_match_that_another_object_claims_is_waited_for() {
    let mut world = World::fresh();
    world.spec().adoption_policy = Some(AdoptionPolicy::Matching);
    world.listed(-10, &[("there", &wanted())]);
    world.claims.0.insert("there".into(), key("owner"));
    assert_eq!(world.reason(), WaitReason::Conflict(Claimant::Named(key("owner")), Some("there".into())));
    world.listed(-10, &[("free", &wanted()), ("there", &wanted())]);
    assert_eq!(adopted(&world).0, "free");
}

#[test]
fn without_a_listing_and_without_an_open_record_it_is_created() {
    let mut no_operation = World::fresh();
    no_operation.profile.can_list = false;
    created(&no_operation);
    let mut forbidden = World::fresh();
    forbidden.list_forbidden = true;
    created(&forbidden);
}

#[test]
fn nothing_is_created_where_most_ids_are_missing() {
    let mut world = World::fresh();
    world.listed(-10, &[]);
    world.listing.as_mut().unwrap().mismatch = true;
    assert_eq!(world.stalled(), Reason::ProviderMismatch);
}

#[test]
fn a_provider_that_cannot_create_stalls() {
    let mut world = World::fresh();
    world.listed(-10, &[]);
    world.profile.can_create = false;
    assert_eq!(world.stalled(), Reason::RemoteMissing);
}

/// Whoever lists decides how much there is: a decision costs nothing for each that is listed.
#[test]
fn deciding_compares_none_of_a_long_listing() {
    let others: Vec<(String, String)> = (0..50_000)
        .map(|number| (format!("id-{number}"), Target::new(Some(&format!("a.{number}")), URL).to_string()))
        .collect();
    let mut shown: Vec<(&str, &str)> =
        others.iter().map(|(id, target)| (id.as_str(), target.as_str())).collect();
    let before = compared();
    let mut world = World::fresh();
    world.listed(-10, &shown);
    created(&world);
    let wanted = wanted();
    shown.push(("mine", &wanted));
    world.listed(-10, &shown);
    assert!(matches!(world.reason(), WaitReason::Stalled(Reason::AlreadyExists, _)));
    let mut world = World::creating(-HOUR);
    world.listed(-10, &shown);
    assert!(matches!(world.decide(), Step::Rotate { id, .. } if id == "mine"), "the create has taken effect");
    assert_eq!(compared(), before, "nothing is compared one by one");
}

#[test]
fn of_very_many_that_are_alike_a_few_are_named() {
    let wanted = wanted();
    let ids: Vec<String> = (0..50_000).map(|number| format!("id-{number:05}")).collect();
    let shown: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), wanted.as_str())).collect();
    let mut world = World::fresh();
    world.listed(-10, &shown);
    let WaitReason::Stalled(Reason::Ambiguous, message) = world.reason() else { panic!() };
    assert_eq!(
        message,
        "more than 5 webhooks with the same action and postback URL exist at the provider (id-00000, id-00001, \
         id-00002, id-00003, id-00004 and others); set spec.webhookId to the one that is meant and delete the others there"
    );
}

#[test]
fn people_are_told_what_webhooks_are_told_apart_by() {
    let mut world = World::settled();
    assert_eq!(world.profile.compared(), "the same action and postback URL");
    world.profile.lists_actions = false;
    assert_eq!(world.profile.compared(), "the same postback URL");
}

#[test]
fn of_several_that_others_own_the_first_one_is_named() {
    let mut world = World::fresh();
    world.listed(-10, &[("one", &wanted()), ("two", &wanted())]);
    world.claims.0.insert("one".into(), key("first"));
    world.claims.0.insert("two".into(), key("second"));
    let WaitReason::Conflict(other, Some(id)) = world.reason() else { panic!("{:?}", world.reason()) };
    assert_eq!((other.to_string().as_str(), id.as_str()), ("default/first", "one"));
}

#[test]
fn one_without_an_action_does_not_wait_for_one_with_another() {
    let mut world = World::fresh();
    world.spec().action = None;
    world.listed(-10, &[("theirs", &wanted())]);
    world.claims.0.insert("theirs".into(), key("owner"));
    assert!(matches!(world.decide(), Step::Create { .. }));
}
