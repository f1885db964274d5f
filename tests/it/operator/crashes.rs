//! Controllers are killed at random moments.

use std::fs;
use std::time::{Duration, Instant};

use hookkeeper::sandbox::{Fault, Target};

use super::super::process::Process;
use super::trial::Trial;

/// A rotation is due after half of it; what is left permits two fail-overs in a row.
const LIFE: Duration = Duration::from_secs(40);
const SUBSCRIPTIONS: usize = 8;

/// Numbers that look random and can be drawn again.
struct Draws(u64);

impl Draws {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }

    async fn sleep(&mut self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).unwrap();
        tokio::time::sleep(Duration::from_millis(self.below(longest))).await;
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[expect(clippy::print_stderr, reason = "the seed, and what has happened")]
fn say(what: &str) {
    eprintln!("{what}");
}

/// Two controllers; again and again the one that leads is killed and another one is started. With
/// `HOOKKEEPER_TEST_KILLS` more often, with `HOOKKEEPER_TEST_SEED` at the same moments again.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_nothing_is_created_twice_and_nothing_is_late() {
    let kills = setting("HOOKKEEPER_TEST_KILLS", 4);
    let seed = setting("HOOKKEEPER_TEST_SEED", u64::from(std::process::id()));
    say(&format!("HOOKKEEPER_TEST_SEED={seed}"));
    let mut draws = Draws(seed);

    let trial = Trial::start(LIFE, SUBSCRIPTIONS).await;
    trial.short_settling();
    // Every step takes long enough to be hit.
    for target in [Target::Create, Target::Update] {
        trial.sandbox.faults().add(Fault { delay_ms: 40, ..Fault::at(target) }).unwrap();
    }
    let file = trial.manifests().join("30-subscriptions.yaml");
    let subscriptions = fs::read_to_string(&file).unwrap();
    let mut later = subscriptions.split("---\n");
    fs::write(&file, later.by_ref().take(2).collect::<Vec<_>>().join("---\n")).unwrap();
    trial.apply();

    let begun = Instant::now();
    let mut names = (0..).map(|number| format!("number-{number}"));
    let mut controllers: Vec<Process> = names.by_ref().take(2).map(|name| trial.controller(&name)).collect();
    let mut leaders: Vec<String> = vec!["number-0".to_owned(), "number-1".to_owned()];
    for kill in 0..kills {
        if let Some(subscription) = later.next() {
            fs::write(&file, subscription).unwrap();
            trial.apply();
        }
        let all: Vec<&Process> = controllers.iter().collect();
        if draws.below(3) == 0 {
            draws.sleep(LIFE / 4).await;
        } else {
            // In the midst of what follows a mint.
            let before = trial.sandbox.ledger().token_requests;
            trial.until(&all, "a mint", |trial| trial.sandbox.ledger().token_requests > before).await;
            draws.sleep(Duration::from_millis(150)).await;
        }
        let holder = trial.holder();
        let of_holder = leaders.iter().position(|name| holder.starts_with(&format!("{name}_")));
        let victim = of_holder.unwrap_or_else(|| usize::try_from(draws.below(2)).unwrap());
        controllers.remove(victim).kill();
        leaders.remove(victim);
        leaders.push(names.next().unwrap());
        controllers.push(trial.controller(leaders.last().unwrap()));
        if kill % 2 == 1 {
            let all: Vec<&Process> = controllers.iter().collect();
            let ledger = trial.sandbox.ledger();
            let wanted = ledger.rotations + ledger.webhooks;
            trial.until(&all, "rotations", |trial| trial.sandbox.ledger().rotations >= wanted).await;
        }
    }
    let all: Vec<&Process> = controllers.iter().collect();
    for subscription in later {
        fs::write(&file, subscription).unwrap();
        trial.apply();
    }
    let created = |trial: &Trial<'_>| trial.sandbox.ledger().webhooks == SUBSCRIPTIONS as u64;
    trial.until(&all, "all created", created).await;
    trial.until_rotated(&all, 1).await;
    trial.until_recorded(&all).await;
    let ledger = trial.sandbox.ledger();
    say(&format!(
        "{kills} kills in {:?}: {} rotations, {} mints, {} creates, {} surplus updates, {} doubled, {} late",
        begun.elapsed(),
        ledger.rotations,
        ledger.mints,
        ledger.creates,
        ledger.surplus_updates,
        ledger.doubled,
        ledger.late
    ));
    assert_eq!(ledger.creates, SUBSCRIPTIONS as u64);
    trial.assert_well();
}
