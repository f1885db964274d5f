//! What holds for every combination of facts, statuses and times.

use proptest::option::of;
use proptest::prelude::*;

use super::super::facts::{Difference, Drift};
use super::super::inventory::Inventory;
use super::conditions::Shown;
use super::*;
use crate::api::{AdoptionPolicy, DeletionPolicy, WhenMissing};

/// Near the present mostly, and anywhere in time now and then.
fn any_time() -> impl Strategy<Value = DateTime<Utc>> {
    prop_oneof![
        8 => (-2_000_i64..2_000).prop_map(at),
        4 => (-30 * HOUR..30 * HOUR).prop_map(at),
        1 => any::<i64>().prop_map(
            |at| DateTime::from_timestamp_millis(at).unwrap_or(DateTime::<Utc>::MAX_UTC)
        ),
        1 => Just(DateTime::<Utc>::MIN_UTC),
        1 => Just(DateTime::<Utc>::MAX_UTC),
    ]
}

fn any_boot() -> impl Strategy<Value = Duration> {
    prop_oneof![
        8 => (900_000_u64..1_100_000).prop_map(Duration::from_secs),
        1 => any::<u64>().prop_map(Duration::from_millis),
        1 => Just(Duration::MAX),
    ]
}

fn any_wait() -> impl Strategy<Value = Wait> {
    (any_time(), any_time()).prop_map(|(from, until)| Wait { from, until })
}

fn any_hand() -> impl Strategy<Value = HeldToken> {
    let fingerprint = prop_oneof![Just(OLD), Just(NEW)];
    (fingerprint, any_time(), any_boot(), of(any_time()), any_time()).prop_map(
        |(fingerprint, wall, boot, expires, confirmed)| HeldToken {
            fingerprint: fingerprint.into(),
            minted: Moment { wall, boot },
            expires,
            confirmed,
        },
    )
}

fn any_source() -> impl Strategy<Value = SourceState> {
    let flags = proptest::array::uniform5(any::<bool>());
    let failing = of(prop_oneof![Just(Reason::TokenSourceUnavailable), Just(Reason::LifetimeUnknown)]);
    let waits = (of(any_wait()), of(any_wait()), of(any_wait()));
    (of(any_hand()), flags, waits, failing, any::<u64>(), any::<u32>()).prop_map(
        |(
            held,
            [revokes, polled, unread, split, known],
            (wait, apply_after, for_gates),
            failing,
            seed,
            members,
        )| {
            let recorded = known.then(|| OLD.to_owned());
            SourceState {
                newest: (held.as_ref().map(|held| held.fingerprint.clone())).or(recorded),
                split: split && held.is_none() && !polled,
                held,
                members,
                revokes_previous: revokes,
                timeout: Duration::from_secs(10),
                jitter_seed: seed,
                polled,
                unread,
                wait,
                failing: failing.map(|reason| (reason, "it failed".to_owned())),
                apply_after,
                for_gates,
                not_renewed: false,
                remark: None,
            }
        },
    )
}

fn any_status() -> impl Strategy<Value = SubscriptionStatus> {
    let ids = (of(prop_oneof![Just("w1"), Just("w2")]), any::<bool>());
    let times = proptest::array::uniform4(of(any_time()));
    (ids, times, of(any::<bool>()), any::<bool>()).prop_map(
        |((id, elsewhere), [minted, expires, missing, created], newest, current)| SubscriptionStatus {
            webhook_id: id.map(str::to_owned),
            webhook_origin: id.map(|_| if elsewhere { "x" } else { ORIGIN }.to_owned()),
            token_fingerprint: newest.map(|newest| if newest { NEW } else { OLD }.to_owned()),
            token_minted_time: minted,
            token_expiration_time: expires,
            applied_digest: Some(if current { DIGEST } else { "other" }.to_owned()),
            missing_since: missing,
            creation: created.map(|started_time| CreationRecord { target: RECORDED.into(), started_time }),
            ..SubscriptionStatus::default()
        },
    )
}

fn any_memory() -> impl Strategy<Value = Memory> {
    let times = proptest::array::uniform4(of(any_time()));
    let drift =
        of(prop_oneof![Just(Drift::Seen), Just(Drift::Reapplied), Just(Drift::Persists(Difference::Target))]);
    let waits = (of(any_wait()), of(any_wait()));
    (times, drift, waits, any::<[bool; 2]>(), of(any_boot())).prop_map(
        |([listing_after, seen, lacked, check], drift, (wait, resend), [absent, secrets], boot)| Memory {
            listing_after,
            wait: wait.map(|wait| (wait, "inputs".to_owned())),
            request_seen: seen.map(|seen| ("please".to_owned(), seen)),
            drift,
            absent,
            lacked_since: lacked,
            secrets_changed: secrets,
            resend,
            duplicate_check: check,
            minted_boot: boot,
            ..Memory::default()
        },
    )
}

fn any_listing() -> impl Strategy<Value = ListingView> {
    let remotes = proptest::sample::subsequence(vec![("w1", 0), ("w2", 1), ("w3", 1), ("w4", 2)], 0..=4);
    (any_time(), remotes, proptest::bool::weighted(0.2)).prop_map(|(begun, remotes, mismatch)| {
        let remotes = remotes.into_iter().map(|(id, about)| {
            let target = ["something".to_owned(), wanted(), RECORDED.to_owned()][about].clone();
            (id.to_owned(), Listed { active: None, ..shows(&target) })
        });
        ListingView { begun, remotes: remotes.collect(), mismatch }
    })
}

prop_compose! {
    fn any_spec()(
        given in proptest::bool::weighted(0.2),
        suspended in proptest::bool::weighted(0.1),
        matching in any::<bool>(),
        deletes in any::<bool>(),
        stalls in any::<bool>(),
    ) -> WebhookSubscriptionSpec {
        let mut spec = World::settled().spec.unwrap();
        spec.webhook_id = given.then(|| "w1".to_owned());
        spec.suspend = Some(suspended);
        spec.adoption_policy = matching.then_some(AdoptionPolicy::Matching);
        spec.deletion_policy = deletes.then_some(DeletionPolicy::Delete);
        spec.when_missing = stalls.then_some(WhenMissing::Stall);
        spec
    }
}

prop_compose! {
    fn any_world()(
        (wall, boot) in (any_time(), any_boot()),
        spec in proptest::option::weighted(0.95, any_spec()),
        status in any_status(),
        source in any_source(),
        memory in any_memory(),
        listing in of(any_listing()),
        (held_back, asked_for, gate_lacks) in (proptest::option::weighted(0.2, any_time()), any::<bool>(), any::<bool>()),
        deleted in proptest::option::weighted(0.2, any_time()),
        [asked, handled, claimed, heir] in any::<[bool; 4]>(),
        [can_list, forbidden, suspended, rival, force] in proptest::array::uniform5(proptest::bool::weighted(0.2)),
        missing in 0..20_u8,
    ) -> World {
        let mut world = World::settled();
        world.now = Moment { wall, boot };
        (world.spec, world.status, world.source, world.memory) = (spec, status, source, memory);
        world.listing = listing;
        world.gate_lacks = gate_lacks;
        world.held_back = held_back.map(|until| HeldBack { asked: asked_for, ..limited(until) });
        world.identity.deleted = deleted;
        world.identity.force_orphan = force;
        world.identity.rotate_requested = asked.then(|| "please".to_owned());
        world.status.last_handled_rotate_request = handled.then(|| "please".to_owned());
        if claimed {
            world.claims.0.insert("w2".into(), key("owner"));
        }
        world.heir = heir.then(|| key("heir"));
        world.rival = rival.then(|| key("rival"));
        world.profile.can_list = !can_list;
        world.list_forbidden = forbidden;
        world.provider_suspended = suspended;
        match missing {
            0 => world.provider = Known::Not,
            1 => world.provider = Known::Invalid,
            2 => world.source_known = Known::Not,
            3 => world.source_known = Known::Invalid,
            _ => {}
        }
        world
    }
}

prop_compose! {
    /// All is well but for the times.
    fn any_settled()(
        (wall, boot) in (any_time(), any_boot()),
        [minted, expires] in proptest::array::uniform2(of(any_time())),
        source in any_source(),
        resend in of(any_wait()),
        (duplicate_check, minted_boot) in (of(any_time()), of(any_boot())),
    ) -> World {
        let mut world = World::settled();
        world.now = Moment { wall, boot };
        world.status.token_minted_time = minted;
        world.status.token_expiration_time = expires;
        world.source = source;
        world.memory = Memory { resend, duplicate_check, minted_boot, ..Memory::default() };
        world
    }
}

prop_compose! {
    /// A create is open, and a listing of any time is there.
    fn any_open_creation()(
        started in -2 * SETTLE..2 * SETTLE,
        remembered in of(-2 * SETTLE..2 * SETTLE),
        vanished in any::<bool>(),
        begun in -2 * SETTLE..=0,
        listing in any_listing(),
    ) -> (i64, i64, World) {
        let mut world = if vanished { World::vanished(-2 * SETTLE) } else { World::creating(0) };
        world.opened("recorded", started);
        world.memory.listing_after = remembered.map(at);
        world.memory.lacked_since = Some(at(-2 * SETTLE));
        world.listing = Some(ListingView { begun: at(begun), ..listing });
        (started, begun, world)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Otherwise the engine would ask again at once, forever.
    #[test]
    fn no_wait_ends_in_the_past(world in any_world()) {
        if let Step::Wait { until: Some(until), .. } = world.decide() {
            prop_assert!(until > world.now.wall, "{until}");
        }
    }

    #[test]
    fn no_wait_of_a_settled_one_ends_in_the_past(world in any_settled()) {
        if let Step::Wait { until: Some(until), .. } = world.decide() {
            prop_assert!(until > world.now.wall, "{until}");
        }
    }

    /// Otherwise no listing could ever be begun late enough.
    #[test]
    fn no_listing_from_the_future_is_asked_for(world in any_world()) {
        if let Step::List { begun_after } = world.decide() {
            prop_assert!(begun_after <= world.now.wall);
        }
    }

    /// Otherwise a listing would not help, and the next one would not either.
    #[test]
    fn a_listing_begun_as_asked_for_is_not_asked_for_again(mut world in any_world()) {
        if let Step::List { begun_after } = world.decide() {
            // What the engine does with a listing that shows nothing.
            let begun = world.now.wall;
            world.listing = Some(ListingView { begun, remotes: Inventory::default(), mismatch: false });
            world.memory.listing_after = Some(world.memory.listing_after.filter(|at| *at <= begun).unwrap_or(begun_after));
            if world.status.missing_since.is_some() {
                world.memory.lacked_since = Some(begun);
            }
            let step = world.decide();
            prop_assert!(!matches!(step, Step::List { .. }), "{step:?}");
        }
    }

    #[test]
    fn nothing_is_created_while_a_record_is_open_without_a_listing_that_is_late_enough(
        (started, begun, mut world) in any_open_creation()
    ) {
        if let Step::Create { .. } = world.decide() {
            // A record from a time that the clock does not show yet counts from what is remembered.
            let remembered = world.memory.listing_after.map_or(0, |after| (after - at(0)).num_seconds());
            let from = if started <= 0 { started } else { remembered };
            prop_assert!(begun >= SETTLE + from);
            world.list_forbidden = true;
            prop_assert!(!is_call(&world.decide()));
        }
    }

    #[test]
    fn nothing_is_created_unless_a_listing_lacks_it_or_none_can_be_had(world in any_world()) {
        if let Step::Create { target, .. } = world.decide() {
            if world.profile.can_list && !world.list_forbidden {
                let listing = world.listing.as_ref().unwrap();
                prop_assert!(!listing.mismatch);
                let matching = listing.remotes.iter().any(|(_, listed)| listed.target.to_string() == target);
                prop_assert!(!matching || !world.claims.0.is_empty());
            } else {
                prop_assert!(world.status.creation.is_none());
            }
        }
    }

    #[test]
    fn nothing_is_ever_created_where_an_id_is_given_or_on_record(world in any_world()) {
        if let Step::Create { .. } = world.decide() {
            prop_assert!(world.spec.as_ref().unwrap().webhook_id.is_none());
            prop_assert!(world.status.webhook_id.is_none() || world.status.missing_since.is_some());
        }
    }

    #[test]
    fn only_what_is_on_record_is_deleted_and_only_where_the_policy_says_so(world in any_world()) {
        if let Step::Delete { id } = world.decide() {
            prop_assert!(world.identity.deleted.is_some());
            prop_assert!(!world.claims.0.contains_key(&id));
            prop_assert_eq!(world.spec.as_ref().unwrap().deletion_policy(), DeletionPolicy::Delete);
            let of_creation = world.status.creation.is_some();
            prop_assert!(world.status.webhook_id.as_ref() == Some(&id) || of_creation);
            prop_assert!(world.status.webhook_id.is_none() || world.status.webhook_origin.as_deref() == Some(ORIGIN));
        }
    }

    #[test]
    fn nothing_is_called_while_suspended_or_held_back(world in any_world()) {
        let held_back = world.held_back.is_some_and(|held| held.until > world.now.wall);
        let suspended = world.provider_suspended || world.spec.as_ref().is_some_and(WebhookSubscriptionSpec::is_suspended);
        if held_back || suspended || world.provider != Known::Usable || world.spec.is_none() {
            let step = world.decide();
            let ends = world.status.token_expiration_time;
            let last_attempt = !suspended
                && world.held_back.is_some_and(|held| held.asked)
                && matches!(step, Step::Rotate { .. })
                && ends.is_some_and(|ends| ends > world.now.wall)
                && world.memory.last_attempt != ends;
            prop_assert!(!is_call(&step) || last_attempt, "{step:?}");
        }
    }

    #[test]
    fn a_dead_token_is_never_taken(world in any_world()) {
        if let Step::Rotate { token: TokenChoice::Take, .. } | Step::Create { token: TokenChoice::Take, .. } = world.decide() {
            prop_assert!(world.source.held.as_ref().unwrap().is_alive(world.now));
        }
    }

    #[test]
    fn no_mint_comes_while_the_source_waits(world in any_world()) {
        if let Step::Rotate { token: TokenChoice::Mint, .. } | Step::Create { token: TokenChoice::Mint, .. } = world.decide() {
            prop_assert!(world.source.wait.is_none_or(|wait| wait.pending(world.now.wall).is_none()));
            prop_assert!(!world.source.unread);
        }
    }

    #[test]
    fn conditions_are_said_of_every_state_and_settle_at_once(world in any_world()) {
        if let Step::Wait { reason, .. } = world.decide() {
            let mut shown = Shown::settled();
            shown.now = world.now;
            shown.status = world.status;
            shown.reason = reason;
            shown.status = shown.present();
            prop_assert!((2..=3).contains(&shown.status.conditions.len()));
            prop_assert_eq!(shown.present(), shown.status);
        }
    }
}
