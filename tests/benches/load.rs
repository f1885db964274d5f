//! CPU while rotating, and while nothing is due.

use std::time::{Duration, Instant};

use hookkeeper::engine::Options;
use tokio::runtime::{Builder, Runtime};

use crate::process::cpu;
use crate::row;
use crate::world::{Outside, Settings, World};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A runtime in which time passes as soon as nothing is left to do.
pub fn virtual_time() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Counts of what left the engine: rotations, mints, records.
fn counts(outside: &Outside) -> [u64; 3] {
    [outside.creates + outside.updates, outside.mints, outside.records]
}

/// 2,000 subscriptions that share 50 sources, over a day of hourly tokens.
///
/// The CPU of the world is in the measure too: it keeps statuses and remotes and judges tokens.
pub fn rotations() {
    virtual_time().block_on(async {
        let world = World::new(Settings::default());
        world.populate(2_000, 50);
        let engine = world.start_with(Options::default());
        world.pass(HOUR).await;
        let (cpu_before, before, began) = (cpu(), counts(&world.outside()), Instant::now());
        world.pass(DAY).await;
        let (cpu, took) = (cpu() - cpu_before, began.elapsed());
        engine.assert_alive();
        let outside = world.outside();
        let after = counts(&outside);
        let [rotations, mints, records] = [0, 1, 2].map(|at| (after[at] - before[at]) as f64);
        row("rotations, 2,000 subscriptions of 50 sources, 1 day", rotations, "");
        let milliseconds = cpu.as_secs_f64() * 1_000.0 / rotations;
        row(
            "CPU per rotation, with the world and idle ticks, ms",
            format!("{milliseconds:.4}"),
            "0.6 or less",
        );
        row("rotations per second of real time", format!("{:.0}", rotations / took.as_secs_f64()), "");
        row("mints per rotation", format!("{:.4}", mints / rotations), "0.0250 (1 for 40)");
        row("records per rotation", format!("{:.4}", records / rotations), "1");
        row("listings", outside.lists, "");
        row("late rotations", outside.late.len(), "0");
        row("surplus: doubled creates, repeated rotations", outside.doubled() as u64 + outside.repeated, "0");
    });
}

/// 10,000 subscriptions over some hours with nothing due.
pub fn idle() {
    virtual_time().block_on(async {
        let world = World::new(Settings {
            token_life: 30 * DAY,
            verify_interval: Duration::ZERO,
            ..Settings::default()
        });
        world.populate(10_000, 250);
        let engine = world.start_with(Options::default());
        world.pass(HOUR).await;
        let (cpu_before, before) = (cpu(), counts(&world.outside()));
        let passed = 4 * HOUR;
        world.pass(passed).await;
        let cpu = cpu() - cpu_before;
        engine.assert_alive();
        row(
            "CPU while idle, 10,000 subscriptions, % of a core",
            format!("{:.4}", cpu.as_secs_f64() / passed.as_secs_f64() * 100.0),
            "under 0.1",
        );
        let calls: u64 = counts(&world.outside()).iter().sum::<u64>() - before.iter().sum::<u64>();
        row("calls, mints and records while idle, 4 hours", calls, "0");
    });
}
