//! Sends deliveries over some connections: one after the other as fast as they are answered, or so many a
//! second.
//!
//! At a rate, each delivery has a moment at which it is due, and its latency counts from there: what could
//! not be sent because the server was busy with the ones before has waited too (no coordinated omission).
//! What was never answered counts as long as it was waited for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use crate::client::Connection;
use crate::deliveries::{Deliveries, Request};

/// How long what is under way is waited for after the last one was due.
const GRACE: Duration = Duration::from_secs(10);
/// The longest that a number of acknowledgements is waited for.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// How fast.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Each connection sends the next one when the last one is answered.
    Closed,
    /// This many each second, whatever the answers.
    PerSecond(u32),
}

/// How long.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// This time.
    Passed(Duration),
    /// Until so many were acknowledged; only for [`Pace::Closed`].
    Acknowledged(u64),
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many answers had which status.
    pub answers: BTreeMap<u16, u64>,
    /// Connections that were refused or cut.
    pub broken: u64,
    /// Deliveries that were due and not answered in the end.
    pub unanswered: u64,
    /// From the first delivery to the last answer.
    pub took: Duration,
    /// In microseconds, sorted.
    latencies: Vec<u32>,
}

impl Outcome {
    /// How many were answered with 2xx.
    pub fn acknowledged(&self) -> u64 {
        self.answers.range(200..300).map(|(_, count)| count).sum()
    }

    /// How many were not.
    pub fn failed(&self) -> u64 {
        self.answers.values().sum::<u64>() - self.acknowledged() + self.broken + self.unanswered
    }

    /// Acknowledgements a second.
    pub fn rate(&self) -> f64 {
        self.acknowledged() as f64 / self.took.as_secs_f64()
    }

    /// The latency in milliseconds that this share of all deliveries does not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (share * self.latencies.len() as f64).ceil() as usize;
        self.latencies.get(at.saturating_sub(1).min(last)).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
    }

    /// The statuses besides 2xx, and what else went wrong, for people.
    pub fn failures(&self) -> String {
        let mut parts: Vec<String> = self
            .answers
            .iter()
            .filter(|(status, _)| !(200..300).contains(*status))
            .map(|(status, count)| format!("{count} × {status}"))
            .collect();
        if self.broken > 0 {
            parts.push(format!("{} connections broken", self.broken));
        }
        if self.unanswered > 0 {
            parts.push(format!("{} unanswered", self.unanswered));
        }
        parts.join(", ")
    }
}

struct Shared {
    deliveries: Rc<Deliveries>,
    pace: Pace,
    until: Until,
    begun: Instant,
    due: Arc<Semaphore>,
    taken: Cell<u64>,
    under_way: RefCell<Vec<Option<Instant>>>,
    outcome: RefCell<Outcome>,
}

/// Runs the load. Each connection stays with one of the addresses; they are divided evenly.
pub fn run(
    deliveries: &Rc<Deliveries>,
    addresses: &[SocketAddr],
    connections: usize,
    pace: Pace,
    until: Until,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let due = Arc::new(Semaphore::new(0));
    let begun = Instant::now();
    let ticking = match (pace, until) {
        (Pace::PerSecond(rate), Until::Passed(time)) => {
            let (due, total) = (Arc::clone(&due), total(rate, time));
            Some(std::thread::spawn(move || tick(&due, begun, rate, total, connections)))
        }
        (Pace::PerSecond(_), Until::Acknowledged(_)) => panic!("at a rate there is a time"),
        (Pace::Closed, _) => None,
    };
    let shared = Rc::new(Shared {
        deliveries: Rc::clone(deliveries),
        pace,
        until,
        begun,
        due,
        taken: Cell::new(0),
        under_way: RefCell::new(vec![None; connections]),
        outcome: RefCell::default(),
    });
    let longest = match until {
        Until::Passed(time) => time + GRACE,
        Until::Acknowledged(_) => PATIENCE,
    };
    let connected = LocalSet::new();
    for (index, address) in addresses.iter().cycle().copied().take(connections).enumerate() {
        connected.spawn_local(send(Rc::clone(&shared), index, address));
    }
    // What is cut here is counted as unanswered.
    let _ = runtime.block_on(async { tokio::time::timeout(longest, connected).await });
    if let Some(ticking) = ticking {
        ticking.join().unwrap();
    }
    shared.outcome()
}

fn total(rate: u32, time: Duration) -> u64 {
    (f64::from(rate) * time.as_secs_f64()) as u64
}

/// Says when the next delivery is due, from a thread of its own: its sleep is exact to 0.1 ms, that of a
/// runtime to a millisecond.
fn tick(due: &Semaphore, begun: Instant, rate: u32, total: u64, connections: usize) {
    for index in 0..total {
        let wait = due_at(begun, rate, index).saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        due.add_permits(1);
    }
    // With these the connections learn that there are no more.
    due.add_permits(connections);
}

fn due_at(begun: Instant, rate: u32, index: u64) -> Instant {
    begun + Duration::from_secs_f64(index as f64 / f64::from(rate))
}

async fn send(shared: Rc<Shared>, index: usize, address: SocketAddr) {
    let mut connection = Connection::new(address);
    let mut request = Request::default();
    while let Some(due) = shared.next_due().await {
        let number = shared.deliveries.write_next(&mut request);
        shared.under_way.borrow_mut()[index] = Some(due);
        let answered = connection.exchange(&request.bytes).await;
        shared.under_way.borrow_mut()[index] = None;
        shared.answered(number, due, &answered);
        if answered.is_err() {
            // Nothing listens, most likely.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn since(due: Instant) -> u32 {
    due.elapsed().as_micros().try_into().unwrap_or(u32::MAX)
}

impl Shared {
    /// Waits until the next delivery is due; `None` when there are no more.
    async fn next_due(&self) -> Option<Instant> {
        let Pace::PerSecond(rate) = self.pace else {
            let goes_on = match self.until {
                Until::Passed(time) => self.begun.elapsed() < time,
                Until::Acknowledged(count) => self.outcome.borrow().acknowledged() < count,
            };
            return goes_on.then(Instant::now);
        };
        self.due.acquire().await.unwrap().forget();
        let index = self.taken.replace(self.taken.get() + 1);
        (index < self.total()).then(|| due_at(self.begun, rate, index))
    }

    fn answered(&self, number: u64, due: Instant, answered: &io::Result<u16>) {
        let mut outcome = self.outcome.borrow_mut();
        outcome.latencies.push(since(due));
        outcome.took = self.begun.elapsed();
        match *answered {
            Ok(status) => {
                *outcome.answers.entry(status).or_default() += 1;
                if (200..300).contains(&status) {
                    self.deliveries.acknowledge(number);
                }
            }
            Err(_) => outcome.broken += 1,
        }
    }

    fn total(&self) -> u64 {
        match (self.pace, self.until) {
            (Pace::PerSecond(rate), Until::Passed(time)) => total(rate, time),
            _ => 0,
        }
    }

    fn outcome(&self) -> Outcome {
        let total = self.total();
        let mut outcome = self.outcome.take();
        let mut late: Vec<Instant> = self.under_way.take().into_iter().flatten().collect();
        if let Pace::PerSecond(rate) = self.pace {
            late.extend((self.taken.get()..total).map(|index| due_at(self.begun, rate, index)));
        }
        outcome.unanswered = late.len() as u64;
        outcome.latencies.extend(late.into_iter().map(since));
        outcome.latencies.sort_unstable();
        outcome
    }
}
