//! A crash between any two effects of the engine, and at every await of it: it is killed there, for every
//! such place, and started again on what is durable.
//!
//! What happens in between is the engine's own: it hands effects out, and learns of what came of them. So the
//! places are the boundaries of its effects: before one begins, and when it has taken effect and the engine
//! does not know. What each may leave behind stands in the table of `src/rotation/status.rs`. Awaits are more than that, and are those of the ports: there, a request is cut off half-way.

mod stories;

use std::collections::BTreeSet;

use hookkeeper::api::{ConditionStatus, ObjectKey};

use self::stories::{HORIZON, Story};
use crate::canaries::CANARY;
use crate::scenarios::ready;
use crate::world::{End, Orphans, World, WriteFault};

/// How a telling of a story is interrupted.
#[derive(Clone, Debug)]
struct Interruptions {
    /// Where the first engine ends, then the second, and so on.
    after: Vec<After>,
    end: End,
    /// What becomes of requests that are under way then.
    orphans: Orphans,
}

/// Where an engine ends.
#[derive(Clone, Copy, Debug)]
enum After {
    /// When it has been polled so many times.
    Polls(usize),
    /// When it has passed so many boundaries of effects.
    Boundaries(usize),
}

/// What a telling came to.
struct Told {
    world: World,
    /// How many of the interruptions took place before the story was over.
    interrupted: usize,
    /// How many writes failed.
    failed_writes: usize,
    /// Tokens that were minted and not in place everywhere when an engine ended.
    wasted: BTreeSet<String>,
    before: Counts,
}

/// What had been done before the story began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    mints: u64,
    creates: u64,
    updates: u64,
    deletes: u64,
    repeated: u64,
}

fn counts(world: &World) -> Counts {
    let outside = world.outside();
    Counts {
        mints: outside.mints,
        creates: outside.creates,
        updates: outside.updates,
        deletes: outside.deletes,
        repeated: outside.repeated,
    }
}

async fn tell(story: &Story, interruptions: &Interruptions, write_faults: &[Option<WriteFault>]) -> Told {
    let world = World::new(story.settings.clone());
    (story.before)(&world).await;
    let before = counts(&world);
    let failed_writes = write_faults.iter().flatten().count();
    let mut told = Told { world, interrupted: 0, failed_writes, wasted: BTreeSet::new(), before };
    let world = &told.world;
    world.outside().late.clear();
    world.outside().write_faults = write_faults.iter().copied().collect();
    for after in &interruptions.after {
        world.outside().orphans = interruptions.orphans;
        let mut engine = match after {
            After::Polls(polls) => world.start_for(*polls, interruptions.end),
            After::Boundaries(boundaries) => world.start_until(*boundaries),
        };
        let ended = engine.ended_within(HORIZON).await;
        world.outside().orphans = Orphans::Vanish;
        if !ended {
            engine.assert_alive();
            engine.kill().await;
            return told;
        }
        told.interrupted += 1;
        if world.outside().mints > before.mints {
            told.wasted.extend(unfinished(world));
        }
    }
    let engine = world.start();
    // A create may have to settle twice.
    world.pass(2 * HORIZON).await;
    engine.assert_alive();
    engine.kill().await;
    told
}

/// The newest token, when it is neither in place and on record everywhere nor published.
fn unfinished(world: &World) -> Option<String> {
    let outside = world.outside();
    let newest = format!("{CANARY}token-{}", outside.mints);
    let issued = outside.tokens.get(&newest)?;
    if outside.published.values().any(|published| published.current.expose() == newest) {
        return None;
    }
    let in_place = outside.subscriptions.keys().all(|key| {
        outside.statuses.get(key).is_some_and(|status| {
            let remote = status.webhook_id.as_ref().and_then(|id| outside.remotes.get(id));
            status.token_minted_time == Some(issued.asked)
                && remote.is_some_and(|remote| remote.token == newest)
        })
    });
    (!in_place).then_some(newest)
}

impl Told {
    fn assert_in_order(&self, story: &Story, how: &str) {
        let wall = self.world.wall();
        let outside = self.world.outside();
        assert_eq!(outside.doubled(), 0, "doubled: {how}");
        assert_eq!(outside.remotes.len(), story.remotes, "remotes: {how}: {:#?}", outside.remotes);
        assert_eq!(outside.creates - self.before.creates, story.creates, "creates: {how}");
        assert_eq!(outside.dead(wall), Vec::<&str>::new(), "dead tokens: {how}");
        if !outside.revokes {
            assert_eq!(outside.late, [], "late: {how}");
        }
        assert_eq!(outside.unpublished, 0, "applied before they were published: {how}");
        assert_eq!((outside.gate.refused, outside.gate.behind), (0, 0), "(refused, behind): {how}");
        assert_eq!(outside.statuses.len(), outside.subscriptions.len(), "statuses: {how}");
        assert_eq!(outside.deleted.len(), 0, "waiting for their deletion: {how}");
        for (key, (_, spec)) in &outside.subscriptions {
            let Some(source) = &spec.token_source_ref else { continue };
            let of_source = &outside.source_statuses[&ObjectKey::new(&key.namespace, &source.name)];
            let carried = &outside.statuses[key].token_fingerprint;
            assert_eq!(&of_source.token_fingerprint, carried, "of the source: {key}: {how}");
        }
        for (key, status) in &outside.statuses {
            assert_eq!(ready(status).0, ConditionStatus::True, "{key}: {how}: {status:#?}");
            assert_eq!((&status.creation, &status.failures), (&None, &None), "{key}: {how}");
        }
    }
}

/// Holds a telling against one that nothing interrupted, and against the crash table.
fn assert_surplus(story: &Story, smooth: &Told, told: &Told, how: &str) {
    let (now, undisturbed) = (counts(&told.world), counts(&smooth.world));
    let mints = |counts: Counts, before: Counts| counts.mints - before.mints;
    let wasted = told.wasted.len() as u64;
    assert_eq!(
        mints(now, told.before),
        mints(undisturbed, smooth.before) + wasted,
        "mints: {how}, wasted {:?}",
        told.wasted
    );
    let repeated = now.repeated - told.before.repeated;
    let published = if story.publishes { 2 * told.interrupted as u64 } else { 0 };
    let tolerated = published + counts(&smooth.world).repeated - smooth.before.repeated;
    assert!(repeated <= tolerated, "{repeated} calls brought the token that was there: {how}");
    let members = story.remotes as u64;
    let updates = |counts: Counts, before: Counts| counts.updates - before.updates;
    let most = updates(undisturbed, smooth.before) + members * wasted + tolerated;
    assert!(updates(now, told.before) <= most, "more than {most} updates: {how}");
    let deletes = |counts: Counts, before: Counts| counts.deletes - before.deletes;
    // A deletion that was not written down is made sure of with another one, which finds nothing.
    let most = deletes(undisturbed, smooth.before) + (told.interrupted + told.failed_writes) as u64;
    assert!(deletes(now, told.before) <= most, "more than {most} deletes: {how}");
}

async fn smooth(story: &Story) -> Told {
    let never = Interruptions { after: Vec::new(), end: End::Killed, orphans: Orphans::Vanish };
    let told = tell(story, &never, &[]).await;
    told.assert_in_order(story, story.name);
    told
}

/// Tells a story with this interruption; true when it took place.
async fn interrupted(story: &Story, smooth: &Told, interruptions: &Interruptions) -> bool {
    let told = tell(story, interruptions, &[]).await;
    let how = format!("{}, {interruptions:?}", story.name);
    if told.interrupted == interruptions.after.len() {
        told.assert_in_order(story, &how);
        assert_surplus(story, smooth, &told, &how);
        return true;
    }
    false
}

const ORPHANS: [Orphans; 3] = [Orphans::Vanish, Orphans::Arrive, Orphans::Alternate(false)];

/// Tells each story with an end at the first such place, at the second, and so on. There are at least so many.
async fn ended_at_every(place: fn(usize) -> After, end: End, ways: &[Orphans], least: usize) {
    for story in stories::all() {
        let smooth = smooth(&story).await;
        for orphans in ways.iter().copied() {
            let mut places = 0;
            let ended = |at| Interruptions { after: vec![place(at)], end, orphans };
            while interrupted(&story, &smooth, &ended(places)).await {
                places += 1;
            }
            assert!(places >= least, "{}: {places} places", story.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_between_any_two_effects() {
    ended_at_every(After::Boundaries, End::Killed, &ORPHANS, 5).await;
}

#[tokio::test(start_paused = true)]
async fn killed_between_two_effects_twice_in_a_row() {
    for story in stories::all() {
        let smooth = smooth(&story).await;
        let orphans = Orphans::Alternate(true);
        let mut first = 0;
        loop {
            let mut second = 0;
            let twice = |second| {
                let after = vec![After::Boundaries(first), After::Boundaries(second)];
                Interruptions { after, end: End::Killed, orphans }
            };
            while interrupted(&story, &smooth, &twice(second)).await {
                second += 1;
            }
            if second == 0 {
                break;
            }
            first += 1;
        }
        assert!(first > 3, "{}: {first} boundaries of effects", story.name);
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_await() {
    ended_at_every(After::Polls, End::Killed, &ORPHANS, 11).await;
}

#[tokio::test(start_paused = true)]
async fn asked_to_stop_at_every_await() {
    ended_at_every(After::Polls, End::Stopped, &[Orphans::Vanish], 11).await;
}

/// Nothing is minted or sent again because it could not be written down at once.
#[tokio::test(start_paused = true)]
async fn every_write_fails_before_or_after_it_took_effect() {
    let never = Interruptions { after: Vec::new(), end: End::Killed, orphans: Orphans::Vanish };
    for story in stories::all() {
        let smooth = smooth(&story).await;
        for fault in [WriteFault::Lost, WriteFault::AnswerLost] {
            for in_a_row in [1, 2, 6] {
                for well in 0.. {
                    let mut faults = vec![None; well];
                    faults.extend(vec![Some(fault); in_a_row]);
                    let told = tell(&story, &never, &faults).await;
                    let how = format!("{}: {fault:?} x {in_a_row} after {well} writes", story.name);
                    told.assert_in_order(&story, &how);
                    assert_surplus(&story, &smooth, &told, &how);
                    if !told.world.outside().write_faults.is_empty() {
                        break;
                    }
                }
            }
        }
    }
}
