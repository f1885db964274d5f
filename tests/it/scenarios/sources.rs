//! Token sources of all kinds of manners: ones that renew nothing, are read, are edited, are down.

use std::time::Duration;

use chrono::TimeDelta;
use hookkeeper::api::{
    Condition, ConditionStatus, ConditionType, PublishTo, Reason, SecretTokenSource, TokenSourceSpec,
    TokenSourceStatus,
};
use hookkeeper::engine::Options;
use hookkeeper::engine::change::Change;

use super::{
    DAY, HOUR, MINUTE, SECOND, asked, assert_in_order, counts, edit, hand_over_source, health, key,
    pass_until_due, ready,
};
use crate::world::{Manner, Settings, World, declared_source, subscription};

/// Gateways that cache hand out the same token until it ends.
#[tokio::test(start_paused = true)]
async fn a_source_that_returns_the_same_token_until_it_ends() {
    let world = World::new(Settings::default());
    world.outside().manner = Manner::Caches;
    world.populate(3, 1);
    let _engine = world.start_with(Options { gauges_every: MINUTE, ..Options::default() });
    world.pass(MINUTE).await;
    let first = world.status("subscription-0");
    let expires = first.token_expiration_time.unwrap();
    pass_until_due(&world, SECOND).await;
    let before = world.outside().received.len();
    world.pass((expires - world.wall()).to_std().unwrap() - 12 * MINUTE).await;
    assert_eq!(health(&world.status("subscription-0")), (ConditionStatus::True, Reason::Succeeded));
    let overdue = world.outside().gauges.as_ref().unwrap().rotation_overdue;
    assert_eq!(overdue, 0.0, "the source was asked");
    world.pass(4 * MINUTE).await;
    let status = world.status("subscription-0");
    assert_eq!(health(&status), (ConditionStatus::False, Reason::TokenNotRenewed), "less than half the lead");
    assert_eq!(ready(&status).0, ConditionStatus::True);
    world.pass(8 * MINUTE - SECOND).await;
    let status = world.status("subscription-0");
    assert_eq!(status.token_minted_time, first.token_minted_time);
    assert_eq!(status.token_expiration_time, first.token_expiration_time);
    assert_eq!(world.outside().updates, 0, "the same token is not applied again");
    let calls = world.outside().received[before..].to_vec();
    let asked: Vec<_> = calls.iter().filter(|call| call.operation == "mint").map(|call| call.at).collect();
    for two in asked.windows(2) {
        let left = expires - two[0];
        let wanted = (left / 8).max(TimeDelta::seconds(1));
        let waited = two[1] - two[0];
        assert!((waited - wanted).abs() < TimeDelta::milliseconds(200), "{waited} of {left}");
    }
    assert!(asked.len() > 30, "{}", asked.len());
    world.pass(7 * SECOND).await;
    let outside = world.outside();
    assert_eq!((outside.updates, outside.repeated), (3, 0), "the new one is applied as soon as there is one");
    let longest = outside.late.iter().map(|(_, late)| *late).max().unwrap();
    assert!(longest < TimeDelta::seconds(6), "{longest}");
    drop(outside);
    assert_eq!(health(&world.status("subscription-0")), (ConditionStatus::True, Reason::Succeeded));
}

fn from_secret(world: &World) {
    let secret = SecretTokenSource { name: "token".into(), key: "token".into(), expires_at_key: None };
    let spec = TokenSourceSpec { secret: Some(secret), ..TokenSourceSpec::default() };
    world.declare_source_as("source-0", spec);
    world.outside().secrets.insert("token".into(), ("first".into(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_read_is_never_due_and_a_change_of_it_is_applied() {
    let world = World::new(Settings::default());
    world.populate(2, 1);
    from_secret(&world);
    let engine = world.start();
    world.pass(10 * DAY).await;
    assert_eq!(counts(&world, |outside| (outside.creates, outside.updates)), (2, 0));
    world.outside().secrets.insert("token".into(), ("second".into(), 2));
    world.pass(61 * SECOND).await;
    assert_eq!(world.outside().updates, 2);
    assert!(world.outside().remotes.values().all(|remote| remote.token == "second"));
    engine.stop().await;
    let _engine = world.start();
    world.pass(HOUR).await;
    assert_eq!(world.outside().updates, 2, "a restart applies nothing again");
    assert_in_order(&world, 2);
    world.outside().secrets.insert("token".into(), ("third".into(), 3));
    world.pass(61 * SECOND).await;
    assert!(world.outside().remotes.values().all(|remote| remote.token == "third"));
}

/// What says where a token may go goes along with its copy, and an edit of it makes no token.
#[tokio::test(start_paused = true)]
async fn a_published_copy_is_as_confined_as_its_token_and_follows_every_change() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(1, 1);
    let hosts = |hosts: &[&str]| -> Vec<String> { hosts.iter().map(|host| (*host).to_owned()).collect() };
    let with = |change: &dyn Fn(&mut TokenSourceSpec)| {
        change(world.outside().sources.get_mut(&key("source-0")).unwrap());
    };
    with(&|spec| {
        spec.publish_to = Some(PublishTo { secret_name: "tokens".into(), ..PublishTo::default() });
        spec.allowed_hosts = hosts(&["a.example", "b.example"]);
    });
    let engine = world.start();
    world.pass(HOUR).await;
    let published = || world.outside().published[&key("source-0")].allowed_hosts.clone();
    assert_eq!(published(), Some(hosts(&["a.example", "b.example"])));
    for allowed in [&["b.example"][..], &[], &["c.example"]] {
        with(&|spec| spec.allowed_hosts = hosts(allowed));
        hand_over_source(&world, &engine, "source-0").await;
        world.pass(MINUTE).await;
        assert_eq!(published(), (!allowed.is_empty()).then(|| hosts(allowed)));
    }
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (1, 0));
    engine.stop().await;
    // What was edited while nobody looked is brought up to date as well.
    with(&|spec| spec.allowed_hosts = hosts(&["d.example"]));
    let _engine = world.start();
    world.pass(MINUTE).await;
    assert_eq!(published(), Some(hosts(&["d.example"])));
    assert_eq!(world.outside().mints, 1);
}

/// A copy of a token that stands in a Secret may go where that Secret and the source both allow.
#[tokio::test(start_paused = true)]
async fn a_copy_of_a_secrets_token_keeps_what_its_secret_says() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    let secret = SecretTokenSource { name: "token".into(), key: "token".into(), expires_at_key: None };
    let spec = TokenSourceSpec {
        secret: Some(secret),
        publish_to: Some(PublishTo { secret_name: "tokens".into(), ..PublishTo::default() }),
        ..TokenSourceSpec::default()
    };
    world.declare_source_as("source-0", spec);
    world.outside().secrets.insert("token".into(), ("first".into(), 1));
    world.outside().secret_hosts.insert("token".into(), vec!["a.example".into(), "b.example".into()]);
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    let published = || world.outside().published[&key("source-0")].allowed_hosts.clone();
    assert_eq!(published(), Some(vec!["a.example".into(), "b.example".into()]));
    world.outside().secret_hosts.insert("token".into(), vec!["b.example".into()]);
    world.pass(10 * MINUTE).await;
    assert_eq!(published(), Some(vec!["b.example".into()]), "the token is the same");
    world.outside().sources.get_mut(&key("source-0")).unwrap().allowed_hosts = vec!["a.example".into()];
    hand_over_source(&world, &engine, "source-0").await;
    world.pass(10 * MINUTE).await;
    assert_eq!(published(), Some(Vec::new()), "nowhere");
}

/// Where tokens come from has changed: nobody goes on with one from where they came from before.
#[tokio::test(start_paused = true)]
async fn an_edited_source_is_minted_from_at_once() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(4, 1);
    let engine = world.start();
    world.pass(5 * MINUTE).await;
    let with =
        |change: fn(&mut TokenSourceSpec)| change(world.outside().sources.get_mut(&key("source-0")).unwrap());
    with(|spec| spec.oauth2.as_mut().unwrap().token_url = "https://other.example.com/token".into());
    hand_over_source(&world, &engine, "source-0").await;
    world.pass(MINUTE).await;
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (2, 4));
    assert_in_order(&world, 4);
    with(|spec| {
        spec.oauth2.as_mut().unwrap().timeout = Some("20s".parse().unwrap());
        spec.assumed_lifetime = Some("1h".parse().unwrap());
    });
    hand_over_source(&world, &engine, "source-0").await;
    world.pass(MINUTE).await;
    assert_eq!(
        counts(&world, |outside| (outside.mints, outside.updates)),
        (2, 4),
        "nothing of the request changed"
    );
}

/// The world notices two writes of one status at once: the older might arrive last.
#[tokio::test(start_paused = true)]
async fn edits_of_a_source_that_follow_at_once_are_recorded_one_after_the_other() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(1, 1);
    let engine = world.start();
    world.pass(5 * MINUTE).await;
    for generation in [2, 3] {
        let mut spec = world.outside().sources[&key("source-0")].clone();
        spec.assumed_lifetime = Some(format!("{generation}h").parse().unwrap());
        let Change::TokenSource(mut declared) =
            declared_source(&key("source-0"), &spec, TokenSourceStatus::default())
        else {
            panic!("a source")
        };
        declared.identity.generation = generation;
        engine.send(Change::TokenSource(declared)).await;
    }
    world.pass(MINUTE).await;
    let status = world.outside().source_statuses[&key("source-0")].clone();
    assert_eq!(status.observed_generation, Some(3));
}

#[tokio::test(start_paused = true)]
async fn an_edited_source_that_gives_nothing_leaves_the_token_in_place() {
    use hookkeeper::engine::ports::MintFailure;
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(2, 1);
    let engine = world.start();
    world.pass(5 * MINUTE).await;
    world.outside().mint_fault = Some(Box::new(|about| {
        let what = "the name cannot be resolved".into();
        about.contains("nowhere").then_some(MintFailure::NotSent { what })
    }));
    let to = |url: &str| {
        let mut outside = world.outside();
        let spec = outside.sources.get_mut(&key("source-0")).unwrap();
        spec.oauth2.as_mut().unwrap().token_url = url.into();
    };
    to("https://nowhere.example.com/token");
    hand_over_source(&world, &engine, "source-0").await;
    world.pass(HOUR).await;
    for name in ["subscription-0", "subscription-1"] {
        let status = world.status(name);
        assert_eq!(ready(&status).0, ConditionStatus::True, "the token in place still lives");
        assert_eq!(health(&status), (ConditionStatus::False, Reason::TokenSourceUnavailable));
    }
    assert_eq!(world.outside().updates, 0);
    to("https://there.example.com/token");
    hand_over_source(&world, &engine, "source-0").await;
    world.pass(MINUTE).await;
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (2, 2));
    assert_in_order(&world, 2);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_given_another_source_takes_its_token() {
    for has_other_members in [false, true] {
        let world = World::new(Settings { token_life: DAY, ..Settings::default() });
        world.populate(2, 1);
        world.declare_source("other");
        if has_other_members {
            world.declare("other-member", subscription(9, "other"));
        }
        let engine = world.start();
        world.pass(5 * MINUTE).await;
        let mints = world.outside().mints;
        edit(&world, &engine, "subscription-0", |spec| {
            spec.token_source_ref = Some(hookkeeper::api::LocalReference { name: "other".into() });
        })
        .await;
        world.pass(MINUTE).await;
        let outside = world.outside();
        assert_eq!(outside.updates, 1);
        assert_eq!(outside.mints - mints, u64::from(!has_other_members), "one that is in hand is taken");
        let remote = outside.statuses[&key("subscription-0")].webhook_id.clone().unwrap();
        assert!(outside.tokens[&outside.remotes[&remote].token].source.contains("other"));
    }
}

/// Nobody asks again before the wait is over that the token server asked for.
#[tokio::test(start_paused = true)]
async fn a_token_server_that_is_busy_is_left_alone_for_as_long_as_it_asks() {
    use hookkeeper::engine::ports::MintFailure;
    let world = World::new(Settings::default());
    world.populate(5, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    pass_until_due(&world, SECOND).await;
    let mut left = 1;
    world.outside().mint_fault = Some(Box::new(move |_| {
        let retry_after = Some(Duration::from_secs(300));
        left -= 1;
        (left >= 0).then_some(MintFailure::Status {
            code: 429,
            retry_after,
            credential_refused: false,
            oauth_error: None,
        })
    }));
    let before = asked(&world, "mint");
    world.pass(5 * SECOND).await;
    world.outside().rotate_requested.insert(key("subscription-0"), "now".into());
    super::hand_over(&world, &engine, "subscription-0").await;
    world.pass(4 * MINUTE).await;
    assert_eq!(asked(&world, "mint"), before + 1);
    world.pass(2 * MINUTE).await;
    assert_eq!(asked(&world, "mint"), before + 2);
    assert_in_order(&world, 5);
}

/// What people read of the token's life: in the subscription, and in the source.
fn told(world: &World) -> [String; 2] {
    let of_source = world.outside().source_statuses[&key("source-0")].conditions.clone();
    let message = |conditions: &[Condition], kind| {
        let found = conditions.iter().find(|condition| condition.kind == kind);
        found.map(|condition| condition.message.clone()).unwrap_or_default()
    };
    let conditions = world.status("subscription-0").conditions;
    [message(&conditions, ConditionType::RotationHealthy), message(&of_source, ConditionType::Ready)]
}

/// A sliding session: every answer prolongs it, so it is asked for and never sent again.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_given_a_new_life_is_not_applied_again() {
    let world = World::new(Settings::default());
    world.outside().manner = Manner::Prolongs;
    world.populate(3, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    let first = world.status("subscription-0");
    for _ in 0..24 {
        world.pass(HOUR).await;
        for name in ["subscription-0", "subscription-1", "subscription-2"] {
            let status = world.status(name);
            assert_eq!(ready(&status).0, ConditionStatus::True);
            assert_eq!(health(&status), (ConditionStatus::True, Reason::Succeeded));
            assert!(status.token_expiration_time.unwrap() > world.wall());
            assert_eq!(status.token_fingerprint, first.token_fingerprint);
        }
    }
    let outside = world.outside();
    assert_eq!((outside.creates, outside.updates), (3, 0));
    // A life of an hour is renewed after two thirds of it.
    assert!((34..=40).contains(&outside.mints), "{}", outside.mints);
    assert!(outside.dead(world.at(&outside)).is_empty());
    let recorded = outside.source_statuses[&key("source-0")].token_expiration_time;
    drop(outside);
    assert_eq!(recorded, world.status("subscription-0").token_expiration_time);
    engine.assert_alive();
}

/// The readers of a published token see its new life too, and its fingerprint stays.
#[tokio::test(start_paused = true)]
async fn a_new_life_of_a_published_token_is_published() {
    let world = World::new(Settings::default());
    world.outside().manner = Manner::Prolongs;
    world.populate(1, 1);
    let spec = TokenSourceSpec {
        publish_to: Some(PublishTo { secret_name: "published".into(), ..PublishTo::default() }),
        ..world.outside().sources[&key("source-0")].clone()
    };
    world.declare_source_as("source-0", spec);
    let _engine = world.start();
    world.pass(10 * MINUTE).await;
    let first = world.outside().published[&key("source-0")].clone();
    world.pass(5 * HOUR).await;
    let last = world.outside().published[&key("source-0")].clone();
    assert_eq!((&last.fingerprint, &last.current), (&first.fingerprint, &first.current));
    assert!(last.expires.unwrap() > world.wall(), "{:?}", last.expires);
    assert_eq!(
        last.expires.map(|end| end.timestamp()),
        world.status("subscription-0").token_expiration_time.map(|end| end.timestamp())
    );
    assert_eq!(world.outside().updates, 0);
}

/// A token without an end of its own: what is assumed of it begins again with each answer.
#[tokio::test(start_paused = true)]
async fn an_assumed_life_of_the_same_token_begins_anew_and_this_is_told() {
    let world = World::new(Settings::default());
    world.outside().manner = Manner::SaysNothing;
    world.populate(2, 1);
    let assumed_lifetime = Some("20s".parse().unwrap());
    let spec = TokenSourceSpec { assumed_lifetime, ..world.outside().sources[&key("source-0")].clone() };
    world.declare_source_as("source-0", spec);
    let _engine = world.start();
    world.pass(MINUTE).await;
    for _ in 0..600 {
        world.pass(6 * SECOND).await;
        assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
    }
    assert_eq!(counts(&world, |outside| (outside.creates, outside.updates)), (2, 0));
    let mints = world.outside().mints;
    assert!((3660 / 15..=3660 / 10).contains(&mints), "{mints}: one after two thirds of each life");
    for message in told(&world) {
        assert!(message.contains("assumedLifetime (20s) began again"), "{message}");
    }
}

/// A token that has expired and comes back without a new life: asked for with the usual patience.
#[tokio::test(start_paused = true)]
async fn a_token_that_has_ended_and_is_returned_again_is_asked_for_with_patience() {
    let world = World::new(Settings { token_life: 20 * SECOND, ..Settings::default() });
    world.outside().manner = Manner::Caches;
    world.populate(1, 1);
    let _engine = world.start();
    world.pass(5 * SECOND).await;
    world.outside().manner = Manner::SaysNothing;
    world.pass(25 * SECOND).await;
    let status = world.status("subscription-0");
    assert_eq!(ready(&status), (ConditionStatus::False, Reason::TokenExpired));
    assert_eq!(health(&status), (ConditionStatus::False, Reason::TokenNotRenewed));
    let before = asked(&world, "mint");
    world.pass(HOUR).await;
    let attempts = asked(&world, "mint") - before;
    assert!((12..40).contains(&attempts), "{attempts}");
    assert_eq!(world.outside().updates, 0);
    world.outside().manner = Manner::Renews;
    world.pass(5 * MINUTE).await;
    assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_arrives_expired_is_asked_for_with_patience() {
    use hookkeeper::engine::ports::MintFailure;
    let world = World::new(Settings { token_life: 20 * SECOND, ..Settings::default() });
    world.populate(1, 1);
    let _engine = world.start();
    world.pass(5 * SECOND).await;
    world.outside().mint_fault = Some(Box::new(|_| Some(MintFailure::ExpiredOnArrival)));
    world.pass(MINUTE).await;
    let before = asked(&world, "mint");
    world.pass(HOUR).await;
    let attempts = asked(&world, "mint") - before;
    assert!((12..40).contains(&attempts), "{attempts}");
}

/// Of two ends that a source states the earlier one counts, and people hear of it.
#[tokio::test(start_paused = true)]
async fn a_source_that_contradicts_itself_is_believed_the_shorter_life() {
    let world = World::new(Settings { token_life: MINUTE, ..Settings::default() });
    world.outside().manner = Manner::Contradicts;
    world.populate(2, 1);
    let _engine = world.start();
    world.pass(HOUR).await;
    assert_in_order(&world, 2);
    assert!(world.outside().late.is_empty());
    for message in told(&world) {
        assert!(
            message.contains("two lives of its token") && message.contains("the shorter counts"),
            "{message}"
        );
    }
}

/// Who reads the token before the current one can say which it was.
#[tokio::test(start_paused = true)]
async fn the_token_before_is_published_with_its_fingerprint() {
    let world = World::new(Settings { token_life: HOUR, ..Settings::default() });
    world.populate(2, 1);
    let spec = TokenSourceSpec {
        publish_to: Some(PublishTo { secret_name: "published".into(), ..PublishTo::default() }),
        ..world.outside().sources[&key("source-0")].clone()
    };
    world.declare_source_as("source-0", spec);
    let mut engine = world.start();
    world.pass(10 * MINUTE).await;
    let published = || world.outside().published[&key("source-0")].clone();
    for restarts in [false, true, false] {
        let before = published();
        if restarts {
            engine.kill().await;
            engine = world.start();
            world.pass(MINUTE).await;
        }
        pass_until_due(&world, SECOND).await;
        world.pass(3 * SECOND).await;
        let (stands, of) = (published().previous, published().previous_fingerprint);
        assert_eq!((stands, of), (Some(before.current), Some(before.fingerprint)), "restarts: {restarts}");
        world.pass(10 * MINUTE).await;
        assert_eq!(
            (published().previous, published().previous_fingerprint),
            (None, None),
            "and goes with it"
        );
    }
}

/// Another process has published a token a moment ago: it is still left for its readers.
#[tokio::test(start_paused = true)]
async fn a_new_leader_keeps_the_pause_after_publishing() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(1, 1);
    let spec = TokenSourceSpec {
        publish_to: Some(PublishTo { secret_name: "published".into(), ..PublishTo::default() }),
        ..world.outside().sources[&key("source-0")].clone()
    };
    world.declare_source_as("source-0", spec);
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    pass_until_due(&world, SECOND).await;
    world.pass(31 * SECOND).await;
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (2, 0));
    engine.kill().await;
    let _engine = world.start();
    world.pass(80 * SECOND).await;
    assert_eq!(
        counts(&world, |outside| (outside.mints, outside.updates)),
        (2, 0),
        "two minutes from the mint"
    );
    world.pass(20 * SECOND).await;
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (2, 1));
}
