//! The figures: a line at a time while they come, then tables for people and JSON for programs.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::comparison::{CONNECTIONS, Loaded, Measured};
use crate::load::Outcome;
use crate::subject::Subject;

/// Of what share of its deliveries a failure is told in the table.
const TOLD: f64 = 0.001;

/// What was measured so far.
pub struct Report {
    machine: Value,
    subjects: Vec<Rounds>,
    left_out: BTreeMap<&'static str, String>,
    facts: Vec<[String; 4]>,
}

/// A subject, and what was measured in which round.
struct Rounds {
    name: &'static str,
    title: &'static str,
    less: &'static str,
    rounds: BTreeMap<usize, Measured>,
}

impl Report {
    pub fn new(machine: Value) -> Self {
        println!("{machine}");
        Self { machine, subjects: Vec::new(), left_out: BTreeMap::new(), facts: Vec::new() }
    }

    pub fn add(&mut self, subject: &Subject, round: usize, measured: Measured) {
        let index = self.subjects.iter().position(|known| known.name == subject.name).unwrap_or_else(|| {
            let Subject { name, title, less, .. } = *subject;
            self.subjects.push(Rounds { name, title, less, rounds: BTreeMap::new() });
            self.subjects.len() - 1
        });
        self.subjects[index].rounds.insert(round, measured);
    }

    /// Says loudly that a subject is not measured.
    pub fn leave_out(&mut self, subject: &Subject, reason: &str) {
        println!("LEFT OUT: {}: {reason}", subject.title);
        self.left_out.insert(subject.title, reason.to_owned());
    }

    pub fn is_left_out(&self, subject: &Subject) -> bool {
        self.left_out.contains_key(subject.title)
    }

    /// One figure that stands for itself.
    pub fn fact(&mut self, part: &str, what: &str, measured: &str, target: &str) {
        println!("    {what}: {measured}");
        self.facts.push([part, what, measured, target].map(str::to_owned));
    }

    /// The tables, in Markdown.
    pub fn print(&self) {
        println!("\n{}", self.preamble());
        if !self.subjects.is_empty() {
            self.print_comparison();
            self.print_ledger();
        }
        for (title, reason) in &self.left_out {
            println!("- LEFT OUT: {title}: {reason}");
        }
        if !self.facts.is_empty() {
            println!("\n| a backlog | measured | target |\n|---|---|---|");
            for [_, what, measured, target] in &self.facts {
                println!("| {what} | {measured} | {target} |");
            }
        }
    }

    fn preamble(&self) -> String {
        let text = |name: &str| self.machine[name].as_str().unwrap_or_default().to_owned();
        let sync = &self.machine["fsyncMilliseconds"];
        let built = if self.machine["optimised"] == true {
            ""
        } else {
            " NOT OPTIMISED: these figures mean nothing."
        };
        format!(
            "{} cores ({}), Linux {}; 4 KiB are on the disk after {:.2} ms (p99 {:.2} ms). The load and the application are on the same cores.{built}",
            self.machine["cores"],
            text("processor"),
            text("kernel"),
            sync["p50"].as_f64().unwrap_or_default(),
            sync["p99"].as_f64().unwrap_or_default(),
        )
    }

    fn print_comparison(&self) {
        let rates: Vec<u32> = self.subjects[0].any().rates.iter().map(|(rate, _)| *rate).collect();
        let of_rates: String =
            rates.iter().map(|rate| format!(" at {}/s |", whole(u64::from(*rate)))).collect();
        println!(
            "\n| | acknowledged a second, {CONNECTIONS} connections | of the limit | p50 / p99 then, ms | CPU each, µs |{of_rates} memory, MB |"
        );
        println!("|---|---|---|---|---|{}---|", "---|".repeat(rates.len()));
        for subject in &self.subjects {
            let closed =
                |figure: &dyn Fn(&Loaded) -> f64| subject.median(|measured| figure(&measured.closed));
            let latencies: String =
                (0..rates.len()).map(|at| format!(" {} |", subject.at_rate(at))).collect();
            println!(
                "| {} | {}{} | {} | {:.1} / {:.1} | {:.0} |{latencies} {:.0} |",
                subject.title,
                whole(closed(&|loaded| loaded.outcome.rate()) as u64),
                told(subject.rounds.values().map(|measured| &measured.closed.outcome)),
                self.ratio(subject).map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
                closed(&|loaded| loaded.outcome.quantile(0.5)),
                closed(&|loaded| loaded.outcome.quantile(0.99)),
                closed(&|loaded| loaded.cpu),
                subject.median(|measured| measured.memory as f64) / 1e6,
            );
        }
        println!(
            "\nLatencies are p50 / p99 / the longest, in milliseconds, from the moment a delivery was due.\n"
        );
        for subject in &self.subjects {
            println!("- **{}**: {}.", subject.title, subject.less);
        }
    }

    fn print_ledger(&self) {
        let handing_on = || self.subjects.iter().filter(|subject| subject.any().ledger.is_some());
        if handing_on().next().is_none() {
            return;
        }
        println!(
            "\n| | acknowledged | lost | handed on again | still waiting when the fastest load ended | until handed on, s |"
        );
        println!("|---|---|---|---|---|---|");
        for subject in handing_on() {
            let ledgers = || subject.rounds.values().filter_map(|measured| measured.ledger);
            println!(
                "| {} | {} | {} | {} | {} | {:.1} |",
                subject.title,
                whole(ledgers().map(|ledger| ledger.acknowledged).sum()),
                whole(ledgers().map(|ledger| ledger.lost).sum()),
                whole(ledgers().map(|ledger| ledger.repeated).sum()),
                whole(median(ledgers().map(|ledger| ledger.left as f64).collect()) as u64),
                median(ledgers().map(|ledger| ledger.seconds).collect()),
            );
        }
    }

    /// How many times the limit's rate it reaches, each compared in the same round.
    fn ratio(&self, subject: &Rounds) -> Option<f64> {
        let limit = self.subjects.iter().find(|known| known.name == "answers-200")?;
        let ratios = subject.rounds.iter().filter_map(|(round, measured)| {
            Some(measured.closed.outcome.rate() / limit.rounds.get(round)?.closed.outcome.rate())
        });
        let ratios: Vec<f64> = ratios.collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }

    /// Writes everything down, round by round.
    pub fn write(&self, path: &Path) {
        let subjects = self.subjects.iter().map(|subject| {
            let rounds = subject.rounds.iter().map(|(round, measured)| of_round(*round, measured));
            json!({
                "name": subject.name,
                "title": subject.title,
                "less": subject.less,
                "ofLimit": self.ratio(subject),
                "rounds": rounds.collect::<Vec<_>>(),
            })
        });
        let facts = self.facts.iter().map(|[part, what, measured, target]| {
            json!({"part": part, "what": what, "measured": measured, "target": target})
        });
        let all = json!({
            "machine": self.machine,
            "subjects": subjects.collect::<Vec<_>>(),
            "leftOut": self.left_out,
            "facts": facts.collect::<Vec<_>>(),
        });
        std::fs::write(path, format!("{all:#}\n")).unwrap();
        println!("\n{}", path.display());
    }
}

impl Rounds {
    fn any(&self) -> &Measured {
        self.rounds.values().next().unwrap()
    }

    fn median(&self, figure: impl Fn(&Measured) -> f64) -> f64 {
        median(self.rounds.values().map(figure).collect())
    }

    fn at_rate(&self, at: usize) -> String {
        let quantile = |share| self.median(|measured| measured.rates[at].1.outcome.quantile(share));
        let told = told(self.rounds.values().map(|measured| &measured.rates[at].1.outcome));
        format!("{:.1} / {:.1} / {:.0}{told}", quantile(0.5), quantile(0.99), quantile(1.0))
    }
}

fn of_round(round: usize, measured: &Measured) -> Value {
    let rates: Vec<Value> = measured
        .rates
        .iter()
        .map(|(rate, loaded)| json!({"perSecond": rate, "load": of_load(loaded)}))
        .collect();
    json!({
        "round": round,
        "closed": of_load(&measured.closed),
        "rates": rates,
        "memoryBytes": measured.memory,
        "ledger": measured.ledger.map(|ledger| json!({
            "acknowledged": ledger.acknowledged,
            "lost": ledger.lost,
            "repeated": ledger.repeated,
            "left": ledger.left,
            "secondsUntilHandedOn": ledger.seconds,
        })),
    })
}

fn of_load(loaded: &Loaded) -> Value {
    let outcome = &loaded.outcome;
    let answers: BTreeMap<String, u64> =
        outcome.answers.iter().map(|(status, count)| (status.to_string(), *count)).collect();
    json!({
        "answers": answers,
        "broken": outcome.broken,
        "unanswered": outcome.unanswered,
        "acknowledgedPerSecond": outcome.rate(),
        "milliseconds": {
            "p50": outcome.quantile(0.5),
            "p99": outcome.quantile(0.99),
            "max": outcome.quantile(1.0),
        },
        "cpuMicrosecondsEach": loaded.cpu,
    })
}

/// Says how much failed, if it is worth it.
fn told<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> String {
    let (failed, all) = outcomes.fold((0, 0), |(failed, all), outcome| {
        (failed + outcome.failed(), all + outcome.failed() + outcome.acknowledged())
    });
    let share = failed as f64 / (all as f64).max(1.0);
    if share < TOLD { String::new() } else { format!(" ({:.1} % failed)", share * 100.0) }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        count if count % 2 == 1 => figures[count / 2],
        count => f64::midpoint(figures[count / 2 - 1], figures[count / 2]),
    }
}

/// A number as people write it: `1,000,000`.
pub fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
