//! The gate beside others: acknowledgements a second, latencies at fixed rates, CPU and memory.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::Options;
use crate::deliveries::Deliveries;
use crate::load::{self, Outcome, Pace, Until};
use crate::process::{cpu, free_address, memory};
use crate::report::Report;
use crate::subject::{Application, PATH, Place, Running, Subject};

/// How many connections a platform is taken to have when it sends as fast as it can.
pub const CONNECTIONS: usize = 64;
/// How long the application may get nothing before it is taken for granted that nothing will come.
const SILENCE: Duration = Duration::from_secs(30);

/// One subject in one round.
pub struct Measured {
    /// As fast as [`CONNECTIONS`] connections get answers.
    pub closed: Loaded,
    /// At so many a second.
    pub rates: Vec<(u32, Loaded)>,
    /// Bytes of memory after the load.
    pub memory: u64,
    /// What became of the deliveries, if they are handed on.
    pub ledger: Option<Ledger>,
}

/// One load.
pub struct Loaded {
    pub outcome: Outcome,
    /// CPU time for each acknowledged delivery until it was handed on, in microseconds: without the load's
    /// own and the application's.
    pub cpu: f64,
}

/// Every delivery accounted for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger {
    pub acknowledged: u64,
    /// How many were not handed on yet when the fastest load ended.
    pub left: u64,
    /// How long it took until they were, in seconds.
    pub seconds: f64,
    /// Acknowledged, and never handed on.
    pub lost: u64,
    /// Handed on again.
    pub repeated: u64,
}

/// Measures every subject in every round, in another order each time.
pub fn run(subjects: &[Subject], options: &Options, folder: &Path, report: &mut Report) {
    for round in 0..options.rounds {
        for offset in 0..subjects.len() {
            let subject = &subjects[(round + offset) % subjects.len()];
            if report.is_left_out(subject) {
                continue;
            }
            let place = folder.join(format!("{}-{round}", subject.name));
            std::fs::create_dir(&place).unwrap();
            println!("round {} of {}: {}", round + 1, options.rounds, subject.title);
            match measure(subject, options, &place) {
                Ok(measured) => report.add(subject, round, measured),
                Err(reason) => report.leave_out(subject, &reason),
            }
            std::fs::remove_dir_all(&place).unwrap();
        }
    }
}

fn measure(subject: &Subject, options: &Options, folder: &Path) -> Result<Measured, String> {
    let application = Application::start(free_address(), folder, "application")?;
    let place = Place { folder: folder.to_owned(), application: application.address };
    let running = (subject.start)(&place)?;
    let trial = Trial {
        deliveries: Rc::new(Deliveries::new(vec![PATH.to_owned()])),
        application: subject.hands_on.then_some(&application),
        running: &running,
    };
    let time = Until::Passed(Duration::from_secs(options.seconds));
    // Connections, caches and compilers that compile what is used often.
    let warm =
        trial.load(CONNECTIONS, Pace::Closed, Until::Passed(Duration::from_secs(2).min(time.passed())));
    if warm.outcome.acknowledged() == 0 {
        return Err(format!("it acknowledges nothing: {}", warm.outcome.failures()));
    }
    let rates = options.rates.iter().map(|rate| {
        let connections = if *rate > 1_000 { 4 * CONNECTIONS } else { CONNECTIONS };
        let loaded = trial.load(connections, Pace::PerSecond(*rate), time);
        loaded.tell(&format!("{rate}/s"));
        (*rate, loaded)
    });
    let rates = rates.collect();
    let (closed, left, seconds) = trial.load_and_settle(CONNECTIONS, Pace::Closed, time);
    closed.tell(&format!("{CONNECTIONS} connections"));
    let memory = memory(&running.processes);
    let ledger = trial.application.map(|application| {
        let acknowledged = trial.deliveries.acknowledged();
        let lost = acknowledged.missing_in(&application.received());
        let [_, repeated] = application.count();
        Ledger { acknowledged: acknowledged.count(), left, seconds, lost, repeated }
    });
    Ok(Measured { closed, rates, memory, ledger })
}

impl Loaded {
    fn tell(&self, what: &str) {
        let outcome = &self.outcome;
        println!(
            "    {what}: {:.0} acknowledged a second, p50 {:.2} ms, p99 {:.2} ms, {:.0} µs of CPU each {}",
            outcome.rate(),
            outcome.quantile(0.5),
            outcome.quantile(0.99),
            self.cpu,
            outcome.failures()
        );
    }
}

impl Until {
    fn passed(self) -> Duration {
        match self {
            Self::Passed(time) => time,
            Self::Acknowledged(_) => Duration::MAX,
        }
    }
}

/// A subject under load.
struct Trial<'a> {
    deliveries: Rc<Deliveries>,
    application: Option<&'a Application>,
    running: &'a Running,
}

impl Trial<'_> {
    fn load(&self, connections: usize, pace: Pace, until: Until) -> Loaded {
        self.load_and_settle(connections, pace, until).0
    }

    /// Sends, and waits until all of it is handed on; also returns how many were not when the load ended,
    /// and how many seconds that took.
    fn load_and_settle(&self, connections: usize, pace: Pace, until: Until) -> (Loaded, u64, f64) {
        let before = cpu(&self.running.processes);
        let outcome = load::run(&self.deliveries, &self.running.addresses, connections, pace, until);
        let (left, seconds) = self.application.map_or((0, 0.0), |application| {
            let begun = Instant::now();
            (settle(&self.deliveries, application), begun.elapsed().as_secs_f64())
        });
        let spent = cpu(&self.running.processes) - before;
        let each = spent * 1_000_000.0 / outcome.acknowledged().max(1) as f64;
        (Loaded { outcome, cpu: each }, left, seconds)
    }
}

/// Waits until the application has everything that was acknowledged, or gets nothing more; returns how much
/// it did not have in the beginning.
pub fn settle(deliveries: &Deliveries, application: &Application) -> u64 {
    let acknowledged = deliveries.acknowledged();
    let missing = || acknowledged.missing_in(&application.received());
    let at_first = missing();
    let mut last = (application.count(), Instant::now());
    while missing() > 0 && last.1.elapsed() < SILENCE {
        std::thread::sleep(Duration::from_millis(50));
        let count = application.count();
        if count != last.0 {
            last = (count, Instant::now());
        }
    }
    at_first
}
