//! Each sender's schedule against its document, on a clock that jumps.

use super::super::platforms::{Authentication, IdUnico, Platform, Pulpo, QualP};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    desk: Desk,
    ledger: Arc<DeliveryLedger>,
    start: DateTime<Utc>,
    now: DateTime<Utc>,
}

fn idunico() -> Platform {
    Platform::IdUnico(IdUnico {
        authentication: Authentication::None,
        attempts: 5,
        interval: 3 * SECOND,
        timeout: SECOND,
        api_key: "k".into(),
    })
}

fn pulpo() -> Platform {
    Platform::Pulpo(Pulpo { token: "t".into(), sample_is_handed_on: false })
}

fn qualp() -> Platform {
    Platform::QualP(QualP { secret: "s".into(), access_token: "a".into(), tax_id: "1".into() })
}

impl Bench {
    fn new(platform: Platform, events: u64, disturbances: Disturbances) -> Self {
        let ledger = Arc::new(DeliveryLedger::default());
        let random = Random::seeded(1);
        let mut desk = Desk::new(platform.into_sends(), random, disturbances, Arc::clone(&ledger));
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        desk.beat(now, Rhythm { interval: Some(SECOND), events: Some(events) });
        Self { desk, ledger, start: now, now }
    }

    /// Runs to the end; each attempt is answered at once. Returns second and body of each.
    fn run(&mut self, mut answer: impl FnMut(&str) -> Option<u16>) -> Vec<(i64, String)> {
        let mut sent = Vec::new();
        while let Some(due) = self.desk.next_due() {
            self.now = self.now.max(due);
            while let Some(parcel) = self.desk.take(self.now) {
                sent.push(((self.now - self.start).num_seconds(), parcel.body().to_owned()));
                let status = answer(parcel.body());
                self.desk.done(self.now, &parcel.attempt, status, |platform| platform);
            }
        }
        sent
    }

    fn seconds(&mut self, answer: impl FnMut(&str) -> Option<u16>) -> Vec<i64> {
        self.run(answer).into_iter().map(|(second, _)| second).collect()
    }
}

#[test]
fn idunico_tries_as_often_as_configured_with_exponential_waits() {
    for status in [None, Some(500), Some(401), Some(302)] {
        let mut bench = Bench::new(idunico(), 1, Disturbances::default());
        assert_eq!(bench.seconds(|_| status), [1, 4, 10, 22, 46]);
        assert_eq!(bench.desk.counts().given_up, 1);
    }
    for status in [200, 202, 204, 299] {
        let mut bench = Bench::new(idunico(), 1, Disturbances::default());
        assert_eq!(bench.seconds(|_| Some(status)), [1]);
    }
    let mut bench = Bench::new(idunico(), 1, Disturbances::default());
    let mut answers = [None, Some(503), Some(201)].into_iter();
    assert_eq!(bench.seconds(|_| answers.next().flatten()), [1, 4, 10]);
    assert_eq!(bench.desk.counts().given_up, 0);
}

#[test]
fn pulpo_and_qualp_try_once() {
    for platform in [pulpo(), qualp()] {
        let mut bench = Bench::new(platform, 2, Disturbances::default());
        assert_eq!(bench.seconds(|_| Some(500)), [1, 2]);
        let counts = bench.desk.counts();
        assert_eq!((counts.refused, counts.given_up, counts.waiting), (2, 2, 0));
    }
}

#[test]
fn at_most_500_are_under_way_and_fewer_after_errors() {
    let mut bench = Bench::new(idunico(), 1_000_000, Disturbances::default());
    bench.desk.beat(bench.now, Rhythm { interval: Some(Duration::from_micros(1)), events: None });
    let soon = after(bench.now, SECOND / 2);
    let parcels: Vec<_> = std::iter::from_fn(|| bench.desk.take(soon)).collect();
    assert_eq!((parcels.len(), bench.desk.next_due()), (500, None));
    bench.desk.done(soon, &parcels[0].attempt, Some(500), |platform| platform);
    assert!(bench.desk.take(soon).is_none(), "250 are allowed and 499 under way");
    for parcel in &parcels[1..] {
        bench.desk.done(soon, &parcel.attempt, Some(200), |platform| platform);
    }
    assert!(bench.desk.take(soon).is_some());
}

#[test]
fn a_sender_that_fell_behind_catches_up_by_a_second_at_most() {
    let mut bench = Bench::new(qualp(), 1_000_000, Disturbances::default());
    let mut sent = 0;
    let late = after(bench.now, 3600 * SECOND);
    while let Some(parcel) = bench.desk.take(late) {
        bench.desk.done(late, &parcel.attempt, Some(200), |platform| platform);
        sent += 1;
    }
    assert!((1..=3).contains(&sent), "{sent}");
}

#[test]
fn copies_come_after_a_success_and_have_the_same_body() {
    let disturbances = Disturbances { duplicates: 1.0, ..Disturbances::default() };
    let mut bench = Bench::new(pulpo(), 3, disturbances);
    let sent = bench.run(|_| Some(200));
    assert_eq!(sent.len(), 6);
    for (_, body) in &sent {
        assert_eq!(sent.iter().filter(|(_, other)| other == body).count(), 2);
    }
    assert_eq!(bench.ledger.account(&[]).sent, 3);
    assert_eq!(bench.ledger.account(&[]).lost, 3, "nothing has arrived");
}

#[test]
fn what_is_held_back_is_overtaken() {
    let disturbances = Disturbances { reorder: 0.3, seed: 5, ..Disturbances::default() };
    let mut bench = Bench::new(qualp(), 50, disturbances);
    let number = |body: &str| -> u64 {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        body["notification"].as_u64().unwrap()
    };
    let order: Vec<u64> = bench.run(|_| Some(200)).iter().map(|(_, body)| number(body)).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_ne!(order, sorted);
    assert_eq!(sorted, (1..=50).collect::<Vec<_>>());
}

#[test]
fn what_is_lost_on_request_happens_and_is_not_sent() {
    let mut bench = Bench::new(idunico(), 5, Disturbances::default());
    assert!(bench.desk.begin(ProcessPlan { id: "p".into(), statuses: vec![2, 3] }));
    bench.desk.lose(2);
    let sent = bench.run(|_| Some(200));
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|(_, body)| !body.contains(r#""id":"p""#)));
    let summary = bench.ledger.account(&[]);
    assert_eq!((summary.withheld, summary.sent), (2, 3));
    assert_eq!(bench.desk.ask(bench.now, "p", Some("k")), Some(Asked::Status(3)));
    let all = Disturbances { lose: 1.0, ..Disturbances::default() };
    assert_eq!(Bench::new(pulpo(), 4, all).run(|_| Some(200)), []);
}

#[test]
fn pulpos_test_event_comes_on_request_and_is_owed_to_nobody() {
    let mut bench = Bench::new(pulpo(), 0, Disturbances::default());
    assert!(bench.desk.sample(bench.now));
    let sent = bench.run(|_| Some(200));
    assert!(sent.len() == 1 && sent[0].1.contains("SampleEvent"));
    let summary = bench.ledger.account(&[]);
    assert_eq!((summary.tests, summary.lost), (1, 0));
    assert!(!Bench::new(qualp(), 0, Disturbances::default()).desk.sample(Utc::now()));
}

#[test]
fn what_waits_is_bounded() {
    let mut bench = Bench::new(idunico(), 0, Disturbances::default());
    bench.desk.counts.waiting = WAITING as u64;
    let attempt = first(bench.desk.platform.event(bench.now, &mut Random::seeded(1)));
    bench.desk.pack(attempt.clone());
    bench.desk.done(bench.now, &attempt, None, |platform| platform);
    assert_eq!((bench.desk.counts().given_up, bench.desk.jobs.len()), (1, 0));
}
