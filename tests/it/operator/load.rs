//! Many subscriptions with short tokens: none is late, and the API server is asked no more than it
//! must be.

use std::fs;
use std::time::{Duration, Instant};

use hookkeeper::sandbox::LedgerSummary;

use super::super::process::Process;
use super::super::trial::describe_provider;
use super::requests::{Requests, metered};
use super::trial::Trial;

/// What was asked of the API server for so many rotations.
#[derive(Debug)]
#[expect(dead_code, reason = "they are printed")]
struct Figures {
    subscriptions: usize,
    seconds: u64,
    rotations: u64,
    mints: u64,
    late: u64,
    /// Writes of subscriptions' statuses.
    status_writes: u64,
    /// Writes of everything else but the lease.
    other_writes: u64,
    secret_reads: u64,
    /// Reads of our objects.
    object_reads: u64,
    /// Time of the processor that the controller took, and its memory.
    processor_seconds: f64,
    peak_memory_kib: u64,
}

/// Both counts of one moment at which nothing is under way.
async fn at_rest(trial: &Trial<'_>, controller: &Process) -> (Requests, LedgerSummary) {
    loop {
        trial.until_recorded(&[controller]).await;
        let before = trial.sandbox.ledger();
        let requests = Requests::at(trial.cluster);
        let after = trial.sandbox.ledger();
        if (before.token_requests, before.rotations) == (after.token_requests, after.rotations) {
            return (requests, after);
        }
    }
}

async fn measure(subscriptions: usize, token_life: Duration, rounds: u64) -> Figures {
    let cluster = metered().await;
    let trial = Trial::start_in(&cluster, token_life, subscriptions, |config| {
        config.requests_per_minute = None;
        config.delivery_interval = None;
    })
    .await;
    describe_provider(&trial.manifests(), "  limits: {requestsPerMinute: 60000, maxConcurrent: 64}\n");
    trial.apply();
    let controller = trial.program_with_lease("one", "20s").args(["--log-level", "info"]).spawn();
    trial.until_recorded(&[&controller]).await;
    trial.until_rotated(&[&controller], 1).await;

    let (requests, ledger) = at_rest(&trial, &controller).await;
    let begun = Instant::now();
    let process = controller.id().as_raw_nonzero();
    let processor = || {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    };
    let processor_before = processor();
    for _ in 0..rounds {
        trial.until_rotated(&[&controller], 1).await;
    }
    let (requests_after, after) = at_rest(&trial, &controller).await;
    let seconds = begun.elapsed().as_secs();
    let processor_seconds = processor() - processor_before;
    let made = requests_after.since(&requests);
    let is_status_write = |request: &super::requests::Request| {
        !request.is_read() && request.resource == "webhooksubscriptions" && request.subresource == "status"
    };
    let memory = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    trial.assert_well();
    assert_eq!(after.creates, subscriptions as u64);
    Figures {
        subscriptions,
        seconds,
        rotations: after.rotations - ledger.rotations,
        mints: after.mints - ledger.mints,
        late: after.late,
        status_writes: made.count(is_status_write),
        other_writes: made.count(|request| request.is_write() && !is_status_write(request)),
        secret_reads: made.count(|request| request.is_read() && request.resource == "secrets"),
        // The test itself reads subscriptions and token sources by listing them.
        object_reads: made.count(|request| request.verb == "GET" && request.is_of_ours()),
        processor_seconds,
        peak_memory_kib: peak.trim().split(' ').next().unwrap().parse().unwrap(),
    }
}

#[expect(clippy::print_stderr, reason = "these are the figures that are asked for")]
fn judge(figures: &Figures) {
    eprintln!("{figures:#?}");
    assert_eq!(figures.late, 0);
    assert_eq!(figures.status_writes, figures.rotations, "one write for each rotation: {figures:#?}");
    // The status of the source.
    assert!(figures.other_writes <= figures.mints, "{figures:#?}");
    let allowed = figures.mints + figures.seconds / 30 + 2;
    assert!(figures.secret_reads <= allowed, "at most {allowed}: {figures:#?}");
    assert_eq!(figures.object_reads, 0, "{figures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_costs_the_api_server_one_write() {
    judge(&measure(50, Duration::from_secs(24), 2).await);
}

/// Run by hand: `cargo test --test it operator::load -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn a_thousand_subscriptions_with_tokens_of_a_minute() {
    judge(&measure(1_000, Duration::from_secs(60), 6).await);
}
