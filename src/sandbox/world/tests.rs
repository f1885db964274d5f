//! Gupy's deliveries, days of them, on a clock that jumps.

use super::super::Disturbances;
use super::super::schedule::RETRY_MINUTES;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

struct Bench {
    world: World,
    now: DateTime<Utc>,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self { world: World::new(&config, |provider| provider).unwrap(), now: Utc::now() }
    }

    fn create(&mut self, token: &str) -> String {
        self.world.create(self.now, document(token)).id
    }

    /// Sends everything that comes due within `time`, each answered by `answer`.
    fn run(&mut self, time: Duration, mut answer: impl FnMut(&Parcel) -> Outcome) {
        let end = after(self.now, time);
        while let Some(due) = self.world.schedule.next_due().filter(|due| *due <= end) {
            self.now = due;
            while let Some(parcel) = self.world.next_parcel(due) {
                let outcome = answer(&parcel);
                self.world.delivered(due, parcel, outcome, None, |provider| provider);
            }
        }
        self.now = end;
    }
}

fn document(token: &str) -> Document {
    let body = json!({
        "action": "a", "postbackUrl": "https://example.com", "clientHeaders": {"token": token},
    });
    Document::from_json(&body).unwrap()
}

fn hourly() -> Config {
    Config { delivery_interval: Some(HOUR), ..Config::default() }
}

#[test]
fn an_event_is_tried_seven_times_and_then_lost() {
    let mut bench = Bench::new(hourly());
    bench.create("x");
    let mut numbers = Vec::new();
    let mut first = None;
    bench.run(3 * HOUR, |parcel| {
        if *first.get_or_insert(parcel.attempt.event.clone()) == parcel.attempt.event {
            numbers.push(parcel.attempt.number);
        }
        Outcome::Refused
    });
    assert_eq!(numbers, (1..=RETRY_MINUTES.len() + 1).collect::<Vec<_>>());
    assert_eq!(bench.world.summary(bench.now).events_lost, 1);
}

fn disturbed(disturbances: Disturbances) -> Bench {
    let deliver_to = Some("http://127.0.0.1:1/".parse().unwrap());
    let mut bench = Bench::new(Config { disturbances, deliver_to, ..hourly() });
    bench.create("x");
    bench
}

#[test]
fn an_event_may_come_again_although_it_was_accepted() {
    let mut bench = disturbed(Disturbances { duplicates: 1.0, ..Disturbances::default() });
    let mut bodies = Vec::new();
    bench.run(10 * HOUR + HOUR / 2, |parcel| {
        bodies.push(parcel.body.clone());
        Outcome::Accepted
    });
    assert_eq!(bodies.len(), 10 + 9);
    let summary = bench.world.account.account(&[]);
    assert_eq!((summary.sent, summary.attempts_acknowledged, summary.lost), (10, 19, 10));
    // A copy that fails is tried again like any other, and is no loss of the event.
    let mut bench = disturbed(Disturbances { duplicates: 1.0, ..Disturbances::default() });
    let mut seen = std::collections::HashSet::new();
    bench.run(24 * HOUR, |parcel| match seen.insert(parcel.attempt.event.clone()) {
        true => Outcome::Accepted,
        false => Outcome::Refused,
    });
    let summary = bench.world.summary(bench.now);
    assert!(summary.deliveries_refused > 100);
    assert_eq!(summary.events_lost, 0);
}

#[test]
fn events_overtake_each_other_and_their_dates_tell_the_order() {
    let mut bench = disturbed(Disturbances { reorder: 0.3, seed: 2, ..Disturbances::default() });
    let mut dates = Vec::new();
    bench.run(100 * HOUR, |parcel| {
        let body: serde_json::Value = serde_json::from_str(&parcel.body).unwrap();
        dates.push(body["date"].as_str().unwrap().to_owned());
        Outcome::Accepted
    });
    assert!(dates.len() > 90 && !dates.is_sorted());
}

#[test]
fn events_can_be_lost_before_they_are_sent() {
    let mut bench = disturbed(Disturbances { lose: 1.0, ..Disturbances::default() });
    bench.run(10 * HOUR, |_| panic!("nothing is sent"));
    assert_eq!(bench.world.account.account(&[]).withheld, 10);
}

#[test]
fn seven_days_of_nothing_but_failures_remove_a_webhook() {
    let mut bench = Bench::new(hourly());
    bench.create("x");
    bench.run(7 * 24 * HOUR, |_| Outcome::Refused);
    assert_eq!(bench.world.webhooks.len(), 1, "the first failure was after an hour");
    bench.run(HOUR, |_| Outcome::Refused);
    assert_eq!(bench.world.webhooks.len(), 0);
    bench.run(24 * HOUR, |_| panic!("nothing is sent to a webhook that is gone"));
    assert_eq!(bench.world.schedule.next_due(), None);
}

#[test]
fn one_success_in_seven_days_keeps_a_webhook() {
    let mut bench = Bench::new(hourly());
    bench.create("x");
    let mut sent = 0;
    bench.run(30 * 24 * HOUR, |_| {
        sent += 1;
        if sent % 500 == 0 { Outcome::Accepted } else { Outcome::Refused }
    });
    assert!(sent > 4000);
    assert_eq!(bench.world.webhooks.len(), 1);
}

#[test]
fn retries_carry_what_is_stored_or_what_they_began_with() {
    for repeat in [false, true] {
        let mut bench = Bench::new(Config { retries_repeat_headers: repeat, ..hourly() });
        let id = bench.create("old");
        bench.run(HOUR, |_| Outcome::Refused);
        let now = bench.now;
        bench.world.replace(now, &id, document("new")).unwrap();
        let mut carried = Vec::new();
        bench.run(HOUR / 2, |parcel| {
            carried.push(parcel.load.headers[0].1.expose().to_owned());
            Outcome::Refused
        });
        let expected = if repeat { "old" } else { "new" };
        assert_eq!(carried, [expected; 3]);
    }
}

#[test]
fn one_living_token_among_the_headers_is_enough() {
    let mut bench = Bench::new(Config::default());
    let world = &mut bench.world;
    let mut issue = |at| {
        let client = ("hr-integration", "sandbox-client-secret");
        let issued = world.tokens.issue(at, client.0, client.1, &mut world.random);
        issued.unwrap().text
    };
    let old = issue(bench.now);
    let now = after(bench.now, Duration::from_secs(60));
    let new = issue(now);
    let verdict = |headers: &[(&str, &str)]| bench.world.verdict(now, headers.iter().copied());
    assert_eq!(verdict(&[("a", &old), ("b", &new)]), Outcome::Accepted);
    assert_eq!(verdict(&[("x-token", "?"), ("b", &old)]), Outcome::Expired);
    assert_eq!(verdict(&[("b", &old), ("x-token", "?")]), Outcome::Expired);
    assert_eq!(verdict(&[("Authorization", "?")]), Outcome::Unknown);
    assert_eq!(verdict(&[("content-type", "text/plain")]), Outcome::Missing);
}
