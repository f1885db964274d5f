//! The provider's webhooks: what is stored, and since when each one carries a dead token.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::document::{Document, Status};
use super::tokens::{Death, Token, TokenServer};

/// A time during which an active webhook carried a dead token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Late {
    /// The webhook's id.
    pub webhook: String,
    /// The label of the token that died first.
    pub token: String,
    /// Why that token was dead.
    pub death: Death,
    /// The moment from which a delivery would have been refused.
    pub start: DateTime<Utc>,
    /// The moment at which that ended: a live token, a deletion, a deactivation.
    pub end: DateTime<Utc>,
}

/// One stored webhook.
pub(super) struct Webhook {
    pub(super) id: String,
    pub(super) document: Document,
    pub(super) token: Option<Arc<Token>>,
    /// Since when it is in its present state as to token and activity.
    since: DateTime<Utc>,
    /// A late time that began before the present state.
    late_before: Option<LateStart>,
    /// The first failed delivery after the last success.
    pub(super) failing_since: Option<DateTime<Utc>>,
}

#[derive(Clone)]
struct LateStart {
    start: DateTime<Utc>,
    token: String,
    death: Death,
}

impl Webhook {
    fn late_start(&self, now: DateTime<Utc>) -> Option<LateStart> {
        if self.document.status == Status::Inactive {
            return None;
        }
        let token = self.token.as_ref()?;
        let (from, death) = token.death();
        let start = from.max(self.since);
        if start > now {
            return None;
        }
        Some(self.late_before.clone().unwrap_or_else(|| LateStart {
            start,
            token: token.label.clone(),
            death,
        }))
    }

    /// The late time that is under way at `now`, as if it ended now.
    pub(super) fn late(&self, now: DateTime<Utc>) -> Option<Late> {
        let late = self.late_start(now)?;
        (late.start < now).then(|| Late {
            webhook: self.id.clone(),
            token: late.token,
            death: late.death,
            start: late.start,
            end: now,
        })
    }

    /// Puts another document in force and returns the late time that ended with the old one.
    fn replace(&mut self, now: DateTime<Utc>, document: Document, token: Option<Arc<Token>>) -> Option<Late> {
        let before = self.late(now);
        let before_start = self.late_start(now);
        if document.status != self.document.status {
            self.failing_since = None;
        }
        self.document = document;
        self.token = token;
        self.since = now;
        self.late_before = None;
        if before.is_some() && self.late_start(now).is_some() {
            // One dead token in place of another: the same late time goes on.
            self.late_before = before_start;
            return None;
        }
        before
    }
}

/// What a change of a webhook did, for the ledger.
pub(super) struct Change {
    pub(super) id: String,
    pub(super) previous_token: Option<String>,
    /// Another webhook with the same action and URL existed at that moment, and did not before.
    pub(super) doubles: bool,
    pub(super) late: Option<Late>,
}

/// All webhooks, in the order of their creation.
#[derive(Default)]
pub(super) struct Webhooks {
    created: u64,
    by_creation: BTreeMap<u64, Webhook>,
    by_id: HashMap<String, u64>,
    /// How many webhooks stand at each action and normalised URL.
    at_target: HashMap<(String, String), usize>,
}

impl Webhooks {
    pub(super) fn len(&self) -> usize {
        self.by_creation.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Webhook> {
        self.by_creation.values()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Webhook> {
        self.by_creation.get(self.by_id.get(id)?)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Webhook> {
        self.by_creation.get_mut(self.by_id.get(id)?)
    }

    /// Stores a new webhook. Not idempotent, as Gupy's is not.
    pub(super) fn create(
        &mut self,
        now: DateTime<Utc>,
        id: String,
        document: Document,
        tokens: &TokenServer,
    ) -> Change {
        let doubles = self.enter(target(&document));
        self.created += 1;
        self.by_id.insert(id.clone(), self.created);
        let webhook = Webhook {
            id: id.clone(),
            token: carried(&document, tokens),
            document,
            since: now,
            late_before: None,
            failing_since: None,
        };
        self.by_creation.insert(self.created, webhook);
        Change { id, previous_token: None, doubles, late: None }
    }

    /// Replaces everything but the id; `None` when there is no such webhook.
    pub(super) fn replace(
        &mut self,
        now: DateTime<Utc>,
        id: &str,
        document: Document,
        tokens: &TokenServer,
    ) -> Option<Change> {
        let old = self.get(id)?;
        let (from, to) = (target(&old.document), target(&document));
        let doubles = from != to && {
            self.leave(&from);
            self.enter(to)
        };
        let webhook = self.get_mut(id)?;
        let previous_token = webhook.token.as_ref().map(|token| token.label.clone());
        let token = carried(&document, tokens);
        Some(Change {
            id: id.to_owned(),
            previous_token,
            doubles,
            late: webhook.replace(now, document, token),
        })
    }

    /// Removes a webhook and returns it.
    pub(super) fn remove(&mut self, id: &str) -> Option<Webhook> {
        let webhook = self.by_creation.remove(&self.by_id.remove(id)?)?;
        self.leave(&target(&webhook.document));
        Some(webhook)
    }

    fn enter(&mut self, target: (String, String)) -> bool {
        let standing = self.at_target.entry(target).or_insert(0);
        *standing += 1;
        *standing > 1
    }

    fn leave(&mut self, target: &(String, String)) {
        if let Some(standing) = self.at_target.get_mut(target) {
            *standing -= 1;
            if *standing == 0 {
                self.at_target.remove(target);
            }
        }
    }
}

fn target(document: &Document) -> (String, String) {
    (document.action.clone(), document.normalised_url.clone())
}

/// The token among the headers; of several, the one that lives longest.
fn carried(document: &Document, tokens: &TokenServer) -> Option<Arc<Token>> {
    document
        .client_headers
        .values()
        .filter_map(|value| tokens.find(value.expose()))
        .max_by_key(|token| token.death().0)
        .cloned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::super::clock::after;
    use super::super::random::Random;
    use super::super::tokens::{Client, ClientChange};
    use super::*;

    struct Bench {
        webhooks: Webhooks,
        tokens: TokenServer,
        random: Random,
        start: DateTime<Utc>,
    }

    impl Bench {
        /// Tokens live 60 s.
        fn new(revokes_previous: bool) -> Self {
            let client = Client {
                id: "a".into(),
                secret: "s".into(),
                token_life: Duration::from_secs(60),
                revokes_previous,
            };
            Self {
                webhooks: Webhooks::default(),
                tokens: TokenServer::new(vec![client]),
                random: Random::seeded(3),
                start: Utc::now(),
            }
        }

        fn at(&self, second: u64) -> DateTime<Utc> {
            after(self.start, Duration::from_secs(second))
        }

        fn token(&mut self, second: u64) -> String {
            let now = self.at(second);
            let issued = self.tokens.issue(now, "a", "s", &mut self.random);
            issued.unwrap().text
        }

        fn create(&mut self, second: u64, id: &str, token: &str) -> Change {
            let now = self.at(second);
            self.webhooks.create(now, id.into(), document(token, "active"), &self.tokens)
        }

        fn update(&mut self, second: u64, token: &str, status: &str) -> Option<(u64, u64)> {
            let now = self.at(second);
            let change = self.webhooks.replace(now, "w", document(token, status), &self.tokens);
            change.unwrap().late.map(|late| self.seconds(&late))
        }

        fn late(&self, second: u64) -> Option<(u64, u64)> {
            let late = self.webhooks.get("w").unwrap().late(self.at(second));
            late.map(|late| self.seconds(&late))
        }

        fn seconds(&self, late: &Late) -> (u64, u64) {
            let second = |time: DateTime<Utc>| (time - self.start).num_seconds().unsigned_abs();
            (second(late.start), second(late.end))
        }
    }

    fn document(token: &str, status: &str) -> Document {
        Document::from_json(&json!({
            "action": "a", "postbackUrl": "https://example.com", "status": status,
            "clientHeaders": {"token": token},
        }))
        .unwrap()
    }

    #[test]
    fn late_from_expiry_to_the_next_live_token() {
        let mut bench = Bench::new(false);
        let first = bench.token(0);
        bench.create(1, "w", &first);
        assert_eq!(bench.late(60), None);
        assert_eq!(bench.late(61), Some((60, 61)));
        let second = bench.token(70);
        assert_eq!(bench.update(75, &second, "active"), Some((60, 75)));
        assert_eq!(bench.late(100), None);
        assert_eq!(bench.late(131), Some((130, 131)));
    }

    #[test]
    fn in_time_is_never_late() {
        let mut bench = Bench::new(false);
        let first = bench.token(0);
        bench.create(0, "w", &first);
        let second = bench.token(59);
        assert_eq!(bench.update(60, &second, "active"), None);
        assert_eq!(bench.late(61), None);
    }

    #[test]
    fn one_dead_token_after_another_is_one_late_time() {
        let mut bench = Bench::new(false);
        let (first, dead) = (bench.token(0), bench.token(0));
        bench.create(0, "w", &first);
        assert_eq!(bench.update(80, &dead, "active"), None);
        assert_eq!(bench.late(90), Some((60, 90)));
        let live = bench.token(95);
        assert_eq!(bench.update(99, &live, "active"), Some((60, 99)));
    }

    #[test]
    fn a_dead_token_that_arrives_is_late_from_its_arrival() {
        let mut bench = Bench::new(false);
        let dead = bench.token(0);
        bench.create(100, "w", &dead);
        assert_eq!(bench.late(100), None);
        assert_eq!(bench.late(103), Some((100, 103)));
    }

    #[test]
    fn an_inactive_webhook_is_not_late_and_a_reactivated_one_is_from_then_on() {
        let mut bench = Bench::new(false);
        let token = bench.token(0);
        bench.create(0, "w", &token);
        assert_eq!(bench.update(70, &token, "inactive"), Some((60, 70)));
        assert_eq!(bench.late(80), None);
        assert_eq!(bench.update(90, &token, "active"), None);
        assert_eq!(bench.late(95), Some((90, 95)));
    }

    #[test]
    fn revocation_makes_late_at_the_moment_of_the_mint() {
        let mut bench = Bench::new(true);
        let first = bench.token(0);
        bench.create(0, "w", &first);
        let second = bench.token(20);
        let late = bench.webhooks.get("w").unwrap().late(bench.at(21)).unwrap();
        assert_eq!(late.death, Death::Revoked);
        assert_eq!(bench.update(22, &second, "active"), Some((20, 22)));
    }

    #[test]
    fn a_text_that_is_no_token_of_ours_is_never_late() {
        let mut bench = Bench::new(false);
        bench.create(0, "w", "something else");
        assert_eq!(bench.late(1000), None);
    }

    #[test]
    fn doubles_are_counted_when_they_arise() {
        let mut bench = Bench::new(false);
        assert!(!bench.create(0, "w", "x").doubles);
        assert!(bench.create(0, "v", "x").doubles);
        assert!(bench.webhooks.remove("w").is_some());
        assert!(bench.webhooks.remove("w").is_none());
        let now = bench.at(1);
        let same = document("y", "active");
        let change = bench.webhooks.replace(now, "v", same, &bench.tokens);
        assert!(!change.unwrap().doubles);
        let mut other = document("x", "active");
        other.normalised_url = "https://example.com/other".into();
        let bench_tokens = &bench.tokens;
        let moved = other.clone();
        let created = bench.webhooks.create(now, "u".into(), other, bench_tokens);
        assert!(!created.doubles);
        let change = bench.webhooks.replace(now, "v", moved, bench_tokens);
        assert!(change.unwrap().doubles);
        assert_eq!(bench.webhooks.len(), 2);
    }

    /// What happens to the webhook in one second.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Nothing,
        Mint,
        /// An update with one of the tokens issued so far, counted from the newest.
        Update {
            token: usize,
            active: bool,
        },
        Foreign,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Nothing),
            2 => Just(Step::Mint),
            3 => (0..4_usize, prop::bool::weighted(0.8))
                .prop_map(|(token, active)| Step::Update { token, active }),
            1 => Just(Step::Foreign),
        ]
    }

    proptest! {
        /// Late times agree with asking, every single second, whether the token is dead.
        #[test]
        fn lateness_agrees_with_looking_every_second(
            steps in proptest::collection::vec(step(), 1..150),
            revokes in any::<bool>(),
        ) {
            let mut bench = Bench::new(revokes);
            let life = 7;
            let change = ClientChange { token_life_seconds: Some(life), ..ClientChange::default() };
            bench.tokens.change("a", change);
            let mut issued: Vec<(String, u64, Option<u64>)> = Vec::new();
            let mut carried: Option<usize> = None;
            let mut active = true;
            bench.create(0, "w", "foreign");

            let mut measured: Vec<(u64, u64)> = Vec::new();
            let mut expected: Vec<(u64, u64)> = Vec::new();
            for (second, step) in (0_u64..).zip(&steps) {
                match *step {
                    Step::Nothing => {}
                    Step::Mint => {
                        if let (true, Some(previous)) = (revokes, issued.last_mut()) {
                            previous.2 = Some(second);
                        }
                        let text = bench.token(second);
                        issued.push((text, second + life, None));
                    }
                    Step::Foreign => {
                        carried = None;
                        active = true;
                        measured.extend(bench.update(second, "foreign", "active"));
                    }
                    Step::Update { token, active: activity } => {
                        if let Some(index) = issued.len().checked_sub(token + 1) {
                            carried = Some(index);
                            active = activity;
                            let text = issued[index].0.clone();
                            let status = if activity { "active" } else { "inactive" };
                            measured.extend(bench.update(second, &text, status));
                        }
                    }
                }
                let dead = carried.is_some_and(|index| {
                    let (_, expires, revoked) = &issued[index];
                    *expires <= second || revoked.is_some_and(|at| at <= second)
                });
                if dead && active {
                    match expected.last_mut() {
                        Some((_, end)) if *end == second => *end += 1,
                        _ => expected.push((second, second + 1)),
                    }
                }
            }
            measured.extend(bench.late(steps.len() as u64));
            prop_assert_eq!(measured, expected);
        }
    }
}
