//! The application is dead, and deliveries wait: memory, restarts, and what the next one costs.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Options;
use crate::comparison::{CONNECTIONS, settle};
use crate::deliveries::Deliveries;
use crate::hookkeeper::Gate;
use crate::load::{self, Outcome, Pace, Until};
use crate::process::{Process, cpu, free_address, peak, resident};
use crate::report::{Report, whole};
use crate::subject::{Application, Place};

pub const NAME: &str = "backlog";
pub const TITLE: &str = "hookkeeper, with a backlog behind a dead application, and its way back";

/// Rate of the load that measures.
const RATE: u32 = 1_000;
/// Receivers share the backlog, each in a namespace of its own, as tenants would.
const NAMESPACES: [&str; 4] = ["bench-a", "bench-b", "bench-c", "bench-d"];

/// Measures it, if the gate can be had.
pub fn run(options: &Options, folder: &Path, report: &mut Report) {
    println!("{TITLE}");
    let folder = folder.join(NAME);
    std::fs::create_dir(&folder).unwrap();
    if let Err(reason) = measure(options, &folder, report) {
        report.fact("backlog", "left out", &reason, "");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

fn measure(options: &Options, folder: &Path, report: &mut Report) -> Result<(), String> {
    let application = free_address();
    let place = Place { folder: folder.to_owned(), application };
    let gate = Gate::prepare(&place, &NAMESPACES, "", false);
    let mut running = [gate.start()?];
    let paths = NAMESPACES.iter().map(|namespace| format!("/{namespace}/deliveries")).collect();
    let deliveries = Rc::new(Deliveries::small(paths));
    let time = Until::Passed(Duration::from_secs(options.seconds));
    let send = |pace, until| load::run(&deliveries, &[gate.listen], CONNECTIONS, pace, until);

    let mut waiting = 0;
    for part in [0, options.backlog / 10, options.backlog] {
        while waiting < part {
            let (before, next) = (cpu(&running), (options.backlog / 10).min(part - waiting));
            let outcome = send(Pace::Closed, Until::Acknowledged(next));
            let spent = cpu(&running) - before;
            waiting += outcome.acknowledged();
            let what = format!("acknowledged a second while the backlog grew to {}", whole(waiting));
            report.fact("backlog", &what, &rate_of(&outcome, spent), "the same");
            if outcome.failed() > outcome.acknowledged() {
                return Err(format!("it does not acknowledge: {}", outcome.failures()));
            }
        }
        let before = cpu(&running);
        let outcome = send(Pace::PerSecond(RATE), time);
        let spent = cpu(&running) - before;
        waiting += outcome.acknowledged();
        let what = format!("p50 / p99 at {}/s with a backlog of {}", whole(RATE.into()), whole(waiting));
        report.fact("backlog", &what, &latency_of(&outcome, spent), "p99 50 ms or less");
    }
    let id = running[0].id();
    let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    report.fact("backlog", "memory with all of it waiting", &megabytes(resident(id)), "under 150 MB");
    report.fact("backlog", "most memory on the way", &megabytes(peak(id)), "under 150 MB");
    report.fact("backlog", "size of the store", &megabytes(gate.stored_bytes()), "");

    running[0].end(Signal::TERM);
    running = [restart(&gate, "an orderly end", report)?];
    let killed = running[0].killed_after(Duration::from_secs(2));
    let outcome = send(Pace::Closed, Until::Passed(Duration::from_secs(3)));
    killed.join().unwrap();
    running[0].end(Signal::KILL);
    running = [restart(&gate, &format!("kill -9 at {:.0}/s", outcome.rate()), report)?];
    report.fact("backlog", "memory after the restart", &megabytes(resident(running[0].id())), "under 150 MB");

    come_back(&gate, &running, &deliveries, &place, options, report)
}

fn restart(gate: &Gate, after: &str, report: &mut Report) -> Result<Process, String> {
    let begun = Instant::now();
    let process = gate.start()?;
    let took = format!("{:.2} s", begun.elapsed().as_secs_f64());
    report.fact("backlog", &format!("restart until ready after {after}"), &took, "under 2 s");
    Ok(process)
}

/// The application comes back: how fast the backlog is handed on, and what new deliveries meet meanwhile.
fn come_back(
    gate: &Gate,
    running: &[Process],
    deliveries: &Rc<Deliveries>,
    place: &Place,
    options: &Options,
    report: &mut Report,
) -> Result<(), String> {
    let begun = Instant::now();
    let application = Application::start(place.application, &place.folder, "application")?;
    while application.count()[0] == 0 {
        if begun.elapsed() > Duration::from_secs(120) {
            return Err("nothing is handed on after the application came back".to_owned());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    report.fact(
        "backlog",
        "first delivery handed on after the application came back",
        &format!("{:.1} s", begun.elapsed().as_secs_f64()),
        "60 s or less",
    );
    let (first, begun) = (application.count()[0], Instant::now());
    let before = cpu(running);
    let pace = Pace::PerSecond(RATE);
    let time = Until::Passed(Duration::from_secs(options.seconds));
    let outcome = load::run(deliveries, &[gate.listen], CONNECTIONS, pace, time);
    let spent = cpu(running) - before;
    let handed_on = application.count()[0] - first;
    let rate = handed_on as f64 / begun.elapsed().as_secs_f64();
    let what = format!("p50 / p99 at {}/s while the backlog is handed on", whole(RATE.into()));
    report.fact("backlog", &what, &latency_of(&outcome, spent), "p99 50 ms or less");
    report.fact("backlog", "handed on a second meanwhile", &format!("{rate:.0}"), "");
    let (first, begun, before) = (application.count()[0], Instant::now(), cpu(running));
    settle(deliveries, &application);
    let handed_on = (application.count()[0] - first).max(1) as f64;
    let (took, spent) = (begun.elapsed().as_secs_f64(), cpu(running) - before);
    let rate = format!("{:.0}, {:.0} µs of CPU each", handed_on / took, spent * 1e6 / handed_on);
    report.fact("backlog", "handed on a second with nothing else to do", &rate, "");
    let lost = deliveries.acknowledged().missing_in(&application.received());
    let [_, repeated] = application.count();
    let total = whole(deliveries.acknowledged().count());
    report.fact("backlog", &format!("lost of {total} acknowledged"), &lost.to_string(), "0");
    report.fact("backlog", "handed on more than once", &repeated.to_string(), "");
    let megabytes = gate.stored_bytes() as f64 / 1e6;
    report.fact("backlog", "size of the store after that", &format!("{megabytes:.0} MB"), "");
    Ok(())
}

fn rate_of(outcome: &Outcome, cpu: f64) -> String {
    let each = cpu * 1e6 / outcome.acknowledged().max(1) as f64;
    format!("{:.0}, {each:.0} µs of CPU each {}", outcome.rate(), outcome.failures()).trim_end().to_owned()
}

fn latency_of(outcome: &Outcome, cpu: f64) -> String {
    let each = cpu * 1e6 / outcome.acknowledged().max(1) as f64;
    let [median, late] = [0.5, 0.99].map(|share| outcome.quantile(share));
    let text = format!("{median:.2} / {late:.2} ms, {each:.0} µs of CPU each {}", outcome.failures());
    text.trim_end().to_owned()
}
