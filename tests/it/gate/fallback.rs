//! Where a platform's deliveries fail: the application says what it waits for, and the gate asks.
//!
//! The platform is the sandbox, which plays IDUnico and its Get Process, and the application behind the gate.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use hookkeeper::sandbox::{
    Config, Disturbances, Fault, FaultBody, ProcessPlan, Sandbox, SandboxInfo, SenderChange, SenderConfig,
    TRIAL_EXPECT_KEY, TRIAL_IDUNICO_API_KEY, TRIAL_MANAGEMENT_TOKEN, Target, WriteOptions, trial_platforms,
    write_manifests,
};
use serde_json::Value;
use tempfile::TempDir;

use super::stage::{Gate, Stage};
use crate::process::{Ended, Process, hookkeeper};

const IDUNICO: &str = "idunico";
/// Its short times: asked after a moment, and every second, which is as often as may be.
const SOON: &str = "after: 100ms\n    every: 1s";
/// Nobody is asked while the test runs.
const LATER: &str = "after: 1h\n    every: 1h";

/// The platform, the application, and the folder of a sidecar with a gate.
struct Trial {
    sandbox: Sandbox,
    folder: TempDir,
    state: PathBuf,
}

impl Trial {
    /// `times` are those of the fallback.
    async fn new(times: &str) -> Self {
        let platforms = trial_platforms();
        let senders = platforms.iter().map(|(_, platform)| SenderConfig::of(platform.clone())).collect();
        let config = Config { delivery_interval: None, senders, ..Config::default() };
        let client = config.clients[0].clone();
        let sandbox = Sandbox::start(config).await.unwrap();
        let info = SandboxInfo {
            url: sandbox.url(),
            management_token: TRIAL_MANAGEMENT_TOKEN.into(),
            client,
            platforms,
        };
        let folder = tempfile::Builder::new().prefix("gate").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let options = WriteOptions { subscriptions: 1, gate: Some(sandbox.url().parse().unwrap()) };
        let written = write_manifests(&folder.path().join("manifests"), &info, &options).unwrap();
        let trial = Self { sandbox, folder, state: written.state_file };
        trial.set_times(times);
        trial
    }

    fn set_times(&self, times: &str) {
        let path = self.folder.path().join("manifests/41-receivers.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let (before, after) = text.split_once("  fallback:\n").unwrap();
        let rest = &after[after.find("    secretKeyRefs").unwrap()..];
        fs::write(&path, format!("{before}  fallback:\n    {times}\n{rest}")).unwrap();
    }

    fn process(&self) -> Process {
        let path = |name: &str| self.folder.path().join(name);
        let mut program = hookkeeper();
        program.arg("sidecar").arg("--manifests").arg(path("manifests")).arg("--state").arg(&self.state);
        program.arg("--publish-dir").arg(path("published")).arg("--data").arg(path("manifests-data"));
        program.args(["--gate-listen", "127.0.0.1:0", "--expect-listen", "127.0.0.1:0"]);
        program.args(["--allow-clear-bodies", "--drain", "0s", "--admin-listen", "127.0.0.1:0"]);
        program.args(["--allow-destination", &self.sandbox.url()]);
        program.spawn()
    }

    /// Starts the sidecar and waits until its gate takes deliveries in and has a token to ask with.
    async fn gate(&self) -> Gate {
        let gate = Gate::of(self.process());
        let target = Some(format!("http://{}/default/{IDUNICO}", gate.address).parse().unwrap());
        self.change(SenderChange { target, ..SenderChange::default() });
        gate.until("a subscription", || self.sandbox.ledger().creates > 0).await;
        gate
    }

    fn change(&self, change: SenderChange) {
        self.sandbox.change_sender(IDUNICO, change).unwrap();
    }

    /// A process begins; nobody is told.
    fn begins(&self, id: &str, statuses: &[u8]) {
        let process = Some(ProcessPlan { id: id.to_owned(), statuses: statuses.to_vec() });
        self.change(SenderChange { process, ..SenderChange::default() });
    }

    /// The next status of a process that has begun; its delivery is lost or not.
    async fn goes_on(&self, gate: &Gate, lost: bool) {
        let counts = || self.sandbox.senders().into_iter().find(|one| one.name == IDUNICO).unwrap().counts;
        let before = counts().events;
        self.change(SenderChange {
            per_second: Some(100.0),
            events: Some(1),
            lose: Some(u64::from(lost)),
            ..SenderChange::default()
        });
        let is_sent = || counts().events > before && counts().waiting + counts().under_way == 0;
        gate.until("the platform's event", is_sent).await;
    }

    /// The statuses of a process that came to the application, in their order, and whether the gate had to
    /// ask for them. What the application refused is among them.
    fn handed(&self, id: &str) -> Vec<(u64, bool)> {
        let mut handed = Vec::new();
        for received in self.sandbox.received() {
            let body: Value = serde_json::from_slice(&received.body).unwrap();
            if received.path == IDUNICO && body["id"] == id {
                assert_eq!(received.header("hookkeeper-receiver"), Some("default/idunico"));
                assert_eq!(
                    received.header("content-type").unwrap().split(';').next(),
                    Some("application/json")
                );
                assert_eq!(received.header("hookkeeper-delivery").unwrap().len(), 36);
                let polled = received.header("hookkeeper-polled");
                assert!(matches!(polled, None | Some("true")), "{polled:?}");
                handed.push((body["status"].as_u64().unwrap(), polled.is_some()));
            }
        }
        handed
    }

    /// A token of the platform's own token server.
    async fn token(&self) -> String {
        let client = &Config::default().clients[0];
        let request = reqwest::Client::new()
            .post(format!("{}/oauth/token", self.sandbox.url()))
            .basic_auth(&client.id, Some(client.secret.expose()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials");
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn until_handed(&self, gate: &Gate, id: &str, expected: &[(u64, bool)]) {
        gate.until(&format!("{id}: {expected:?}"), || self.handed(id) == expected).await;
    }
}

fn expect(gate: &Gate, id: &str) {
    assert_eq!(gate.expect(&format!("default/idunico/{id}"), TRIAL_EXPECT_KEY).status, 204);
}

/// What applications wait for, as `hookkeeper deliveries expected` shows it.
fn expected(gate: &Gate) -> Vec<Value> {
    let Ended { code, stdout, stderr } = gate.deliveries(&["expected", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How often the platform was asked, by what came of it.
fn asked(gate: &Gate, outcome: &str) -> f64 {
    let labels = format!("{{receiver=\"default/idunico\",outcome=\"{outcome}\"}}");
    gate.metric(&format!("hookkeeper_gate_asked_total{labels}"))
}

/// Waits until the platform has been asked twice more, in vain: what was asked before has come to its end.
async fn until_asked_in_vain(gate: &Gate) {
    let before = asked(gate, "Nothing");
    gate.until("asked in vain", || asked(gate, "Nothing") >= before + 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_lost_is_asked_for_and_each_status_is_handed_on_once() {
    let trial = Trial::new(SOON).await;
    let gate = trial.gate().await;
    trial.begins("p-1", &[2, 3]);
    expect(&gate, "p-1");
    // It is under way, which IDUnico delivers to nobody.
    until_asked_in_vain(&gate).await;
    assert_eq!(trial.handed("p-1"), []);
    trial.goes_on(&gate, true).await;
    trial.until_handed(&gate, "p-1", &[(2, true)]).await;
    until_asked_in_vain(&gate).await;
    // Said again, for the answer may have been lost: the application has what it has.
    expect(&gate, "p-1");
    until_asked_in_vain(&gate).await;
    assert_eq!(trial.handed("p-1"), [(2, true)]);
    trial.goes_on(&gate, true).await;
    trial.until_handed(&gate, "p-1", &[(2, true), (3, true)]).await;
    gate.until("nothing is waited for", || expected(&gate).is_empty()).await;
    let account = trial.sandbox.account(&[]);
    assert_eq!((account.withheld, account.recovered, account.polled), (2, 2, 2), "{account:#?}");
    assert!(account.is_clean(), "{:?}", trial.sandbox.delivery_ledger().broken_rules());
    // Counted right after it is forgotten, so perhaps not yet.
    gate.until("both are counted", || asked(&gate, "HandedOn") == 2.0).await;
    assert_eq!(asked(&gate, "NoAnswer"), 0.0);
    gate.stop();
}

/// Nothing that is declared carries its tokens, so that nobody else has one minted or read.
#[tokio::test(flavor = "multi_thread")]
async fn a_platform_is_asked_with_a_token_of_a_source_that_nothing_else_uses() {
    for is_minted in [true, false] {
        let trial = Trial::new(SOON).await;
        let edit = |file: &str, change: &dyn Fn(String) -> String| {
            let path = trial.folder.path().join("manifests").join(file);
            let text = change(fs::read_to_string(&path).unwrap());
            fs::write(path, text).unwrap();
        };
        let replaced = |text: &str, from: &str, to: &str| {
            let after = text.replacen(from, to, 1);
            assert_ne!(after, text, "{from}");
            after
        };
        edit("41-receivers.yaml", &|text| {
            let (before, fallback) = text.split_once("  fallback:\n").unwrap();
            let fallback =
                replaced(fallback, "tokenSourceRef: {name: integration}", "tokenSourceRef: {name: asking}");
            format!("{before}  fallback:\n{fallback}")
        });
        edit("20-token-source.yaml", &|text| {
            let asking = replaced(&text, "{name: integration}", "{name: asking}");
            let asking = replaced(&asking, "  publishTo: {secretName: integration-token}\n", "");
            let at = asking.find("  oauth2:\n").unwrap();
            let asking = if is_minted {
                asking
            } else {
                format!("{}  secret: {{name: asking-token, key: token}}\n", &asking[..at])
            };
            format!("{text}---\n{asking}")
        });
        let token = trial.token().await;
        edit("40-receiver-secrets.yaml", &|text| {
            let head = "apiVersion: v1, kind: Secret, metadata: {name: asking-token}";
            format!("{text}---\n{{{head}, stringData: {{token: {token}}}}}\n")
        });
        let gate = trial.gate().await;
        trial.begins("p-1", &[2, 3]);
        expect(&gate, "p-1");
        trial.goes_on(&gate, true).await;
        trial.until_handed(&gate, "p-1", &[(2, true)]).await;
        gate.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_gives_the_platform_more_time_and_a_final_one_ends_it() {
    let trial = Trial::new(LATER).await;
    let gate = trial.gate().await;
    trial.begins("p-1", &[2, 3]);
    expect(&gate, "p-1");
    let due = |gate: &Gate| {
        let found = expected(gate);
        found
            .first()
            .map(|one| one["due"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap())
    };
    let first = due(&gate).unwrap();
    trial.goes_on(&gate, false).await;
    trial.until_handed(&gate, "p-1", &[(2, false)]).await;
    gate.until("it is asked for later", || due(&gate).unwrap() > first).await;
    trial.goes_on(&gate, false).await;
    trial.until_handed(&gate, "p-1", &[(2, false), (3, false)]).await;
    gate.until("nothing is waited for", || expected(&gate).is_empty()).await;
    let outcomes = ["HandedOn", "Nothing", "NoAnswer", "NotTaken"];
    assert!(outcomes.iter().all(|outcome| asked(&gate, outcome) == 0.0), "the platform was asked");
    gate.stop();
}

/// What was delivered is not handed on again because it was asked for, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_and_answers_know_of_each_other() {
    let trial = Trial::new(SOON).await;
    let gate = trial.gate().await;
    trial.begins("p-1", &[2, 2, 4]);
    expect(&gate, "p-1");
    trial.goes_on(&gate, false).await;
    trial.until_handed(&gate, "p-1", &[(2, false)]).await;
    until_asked_in_vain(&gate).await;
    // The same status once more: IDUnico's own repetition is handed on like any other.
    trial.goes_on(&gate, false).await;
    trial.until_handed(&gate, "p-1", &[(2, false), (2, false)]).await;
    until_asked_in_vain(&gate).await;
    trial.goes_on(&gate, true).await;
    trial.until_handed(&gate, "p-1", &[(2, false), (2, false), (4, true)]).await;
    gate.until("nothing is waited for", || expected(&gate).is_empty()).await;
    gate.stop();
}

/// The platform answers slowly, with what was true when it was asked.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_late_never_sets_the_application_back() {
    let trial = Trial::new(SOON).await;
    let gate = trial.gate().await;
    trial.begins("p-1", &[2, 3]);
    trial.goes_on(&gate, true).await;
    let slow = Fault { delay_ms: 2_000, after_effect: Some(true), ..Fault::at(Target::Process) };
    trial.sandbox.faults().add(slow.times(1)).unwrap();
    expect(&gate, "p-1");
    gate.until("the platform is asked", || trial.sandbox.faults().list()[0].hits == 1).await;
    trial.goes_on(&gate, false).await;
    trial.until_handed(&gate, "p-1", &[(3, false)]).await;
    gate.until("the answer came", || asked(&gate, "Nothing") == 1.0).await;
    gate.until("nothing is waited for", || expected(&gate).is_empty()).await;
    assert_eq!(trial.handed("p-1"), [(3, false)]);
    gate.stop();
}

/// What the application did not take is not tried again: the platform is asked again.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_application_refused_does_not_come_after_what_is_newer() {
    let trial = Trial::new(SOON).await;
    let gate = trial.gate().await;
    trial.begins("p-1", &[2, 3]);
    trial.goes_on(&gate, true).await;
    trial.sandbox.faults().add(Fault::status(Target::Application, 500)).unwrap();
    expect(&gate, "p-1");
    gate.until("it is refused", || asked(&gate, "NotTaken") >= 2.0).await;
    trial.goes_on(&gate, true).await;
    let refused_newest = || trial.handed("p-1").last() == Some(&(3, true));
    gate.until("the newest is refused", refused_newest).await;
    trial.sandbox.faults().clear();
    gate.until("nothing is waited for", || expected(&gate).is_empty()).await;
    let handed = trial.handed("p-1");
    assert!(handed.is_sorted() && handed.len() >= 4, "{handed:?}");
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_waited_for_survives_a_process_that_is_killed() {
    let trial = Trial::new(SOON).await;
    let gate = trial.gate().await;
    trial.begins("p-1", &[2, 3]);
    expect(&gate, "p-1");
    gate.process.kill();
    let gate = trial.gate().await;
    trial.goes_on(&gate, true).await;
    trial.until_handed(&gate, "p-1", &[(2, true)]).await;
    // What was handed on is known, too.
    until_asked_in_vain(&gate).await;
    gate.process.kill();
    let gate = trial.gate().await;
    until_asked_in_vain(&gate).await;
    assert_eq!(trial.handed("p-1"), [(2, true)]);
    gate.process.kill();
    let gate = trial.gate().await;
    trial.goes_on(&gate, true).await;
    trial.until_handed(&gate, "p-1", &[(2, true), (3, true)]).await;
    gate.until("nothing is waited for", || expected(&gate).is_empty()).await;
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_given_up_shown_and_asked_for_again() {
    let trial = Trial::new(&format!("{SOON}\n    giveUpAfter: 1s")).await;
    let mut gate = trial.gate().await;
    trial.begins("p-1", &[3]);
    expect(&gate, "p-1");
    gate.process.until_says("the platform is not asked any more");
    let parked = || expected(&gate).iter().filter(|one| one["state"] == "parked").count();
    gate.until("it is parked", || parked() == 1).await;
    let shown = gate.deliveries(&["expected", "--state", "parked", "--receiver", "idunico"]).stdout;
    let words: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        (words[0], words[1], words[3], words[4]),
        ("default/idunico", "parked", "-", "p-1"),
        "{shown}"
    );
    assert_eq!(gate.deliveries(&["expected", "--state", "pending"]).stdout, "nothing is waited for\n");
    assert_eq!(gate.deliveries(&["expected", "--receiver", "shop/other"]).stdout, "nothing is waited for\n");
    let metric = |name: &str| gate.metric(&format!("{name}{{receiver=\"default/idunico\"}}"));
    gate.until("it is measured", || metric("hookkeeper_gate_expected_parked") == 1.0).await;
    assert_eq!((metric("hookkeeper_gate_expected"), asked(&gate, "GivenUp")), (0.0, 1.0));
    let state = || fs::read_to_string(&trial.state).unwrap();
    gate.until("its status says so", || state().contains("1 that applications wait for were given up")).await;
    let in_vain = asked(&gate, "Nothing");

    // Somebody finds out why, and lets it be asked for once more.
    trial.goes_on(&gate, true).await;
    assert_eq!(trial.handed("p-1"), []);
    assert_eq!(asked(&gate, "Nothing"), in_vain);
    let again = |arguments: &[&str]| gate.deliveries(&[&["ask-again"], arguments].concat()).stdout;
    assert_eq!(again(&["--receiver", "shop/other"]), "nothing is parked\n");
    assert_eq!(again(&["--all"]), "default/idunico: 1 asked for again\n");
    trial.until_handed(&gate, "p-1", &[(3, true)]).await;
    gate.until("nothing is waited for", || expected(&gate).is_empty()).await;
    assert_eq!(again(&["--all"]), "nothing is parked\n");

    // A delivery that comes after all is handed on like any other, and ends it.
    trial.begins("p-2", &[4]);
    expect(&gate, "p-2");
    gate.until("it is parked", || parked() == 1).await;
    trial.goes_on(&gate, false).await;
    trial.until_handed(&gate, "p-2", &[(4, false)]).await;
    gate.until("nothing is waited for", || expected(&gate).is_empty()).await;
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_fails_is_asked_until_it_answers() {
    let trial = Trial::new(SOON).await;
    let gate = trial.gate().await;
    trial.begins("p-1", &[3]);
    trial.goes_on(&gate, true).await;
    let at = |fault: Fault| trial.sandbox.faults().add(fault.times(1)).unwrap();
    let mut busy = Fault::status(Target::Process, 429);
    busy.retry_after = Some("1".to_owned());
    at(busy);
    at(Fault::status(Target::Process, 500));
    at(Fault { body: FaultBody::Html, ..Fault::status(Target::Process, 200) });
    at(Fault { malformed_body: true, ..Fault::at(Target::Process) });
    at(Fault::lose_answer(Target::Process));
    let mut leads_away = Fault::status(Target::Process, 302);
    leads_away.location = Some("http://192.0.2.1/".to_owned());
    at(leads_away);
    expect(&gate, "p-1");
    trial.until_handed(&gate, "p-1", &[(3, true)]).await;
    let faults = trial.sandbox.faults().list();
    assert!(faults.iter().all(|fault| fault.hits == 1), "{faults:#?}");
    gate.until("nothing is waited for", || expected(&gate).is_empty()).await;
    gate.until("it is counted", || asked(&gate, "HandedOn") == 1.0).await;
    assert_eq!(asked(&gate, "NoAnswer"), 6.0);
    gate.stop();
}

/// Processes take all the courses that IDUnico has, and half of the deliveries are lost.
#[tokio::test(flavor = "multi_thread")]
async fn every_process_comes_to_its_end_though_half_of_the_deliveries_are_lost() {
    let trial = Trial::new(SOON).await;
    let gate = trial.gate().await;
    let courses: [&[u8]; 4] = [&[3], &[2, 3], &[4], &[5]];
    let ends: BTreeMap<String, u8> = (0..40)
        .map(|number| {
            let course = courses[number % courses.len()];
            let id = format!("{number}-{}", "x".repeat(124));
            trial.begins(&id, course);
            expect(&gate, &id);
            (id, *course.last().unwrap())
        })
        .collect();
    trial.change(SenderChange {
        disturbances: Some(Disturbances { seed: 3, lose: 0.5, ..Disturbances::default() }),
        per_second: Some(20.0),
        events: Some(50),
        ..SenderChange::default()
    });
    let has_ended =
        |(id, end): (&String, &u8)| trial.handed(id).iter().any(|(status, _)| *status == u64::from(*end));
    gate.until("every process has ended", || ends.iter().all(has_ended)).await;
    gate.until("nothing is waited for", || expected(&gate).is_empty()).await;
    let account = trial.sandbox.account(&[]);
    assert!(account.withheld > 5 && account.recovered > 5 && account.is_clean(), "{account:#?}");
    gate.stop();
}

const TWO: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: unico}
spec:
  preset: idunico
  verification: {basic: {secretKeyRefs: [{name: unico, key: login}]}}
  forward: {url: APPLICATION/unico}
  fallback:
    secretKeyRefs: [{name: unico, key: expect}, {name: unico, key: next}]
    after: 1h
    request: {url: 'APPLICATION/processes/{id}'}
    until: ['3']
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: unico, namespace: shop}
spec:
  preset: idunico
  verification: {basic: {secretKeyRefs: [{name: unico, key: login}]}}
  forward: {url: APPLICATION/shop}
  fallback:
    secretKeyRefs: [{name: shop, key: expect}]
    after: 1h
    request: {url: 'APPLICATION/processes/{id}'}
    until: ['3']
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: without}
spec:
  preset: idunico
  verification: {basic: {secretKeyRefs: [{name: unico, key: login}]}}
  forward: {url: APPLICATION/without}
";

/// Whoever may say what they wait for lets the platform be asked, with the credentials of the receiver.
#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_a_key_of_the_receiver_may_say_what_they_wait_for() {
    const OWN: &str = "canary-key-of-ours";
    const OTHERS: &str = "canary-key-of-the-shop";
    let stage = Stage::with(TWO).await;
    stage.secret("unico", "login", "user:canary-password");
    stage.secret("unico", "expect", &format!("{OWN}\n"));
    stage.secret("shop", "expect", OTHERS);
    let gate = stage.start(stage.program().args(["--expect-listen", "127.0.0.1:0"]));
    let longest = "a".repeat(128);
    let longer = "a".repeat(129);
    for (place, key, status) in [
        ("default/unico/p-1", OWN, 204),
        ("default/unico/p-1", OWN, 204),
        ("shop/unico/p-1", OTHERS, 204),
        (&format!("default/unico/{longest}"), OWN, 204),
        ("default/unico/A-b_c~d.e", OWN, 204),
        ("default/unico/p-2", OTHERS, 401),
        ("shop/unico/p-2", OWN, 401),
        ("default/unico/p-2", "canary-key-of-nobody", 401),
        ("default/unico/p-2", "", 401),
        ("default/unico/p-2", "user:canary-password", 401),
        ("default/without/p-2", OWN, 404),
        ("default/nobody/p-2", OWN, 404),
        ("elsewhere/unico/p-2", OWN, 404),
        (&format!("default/unico/{longer}"), OWN, 400),
        ("default/unico/", OWN, 400),
        ("default/unico/..", OWN, 400),
        ("default/unico/a%2Fb", OWN, 400),
        ("default/unico/%7Bid%7D", OWN, 400),
        ("default/unico/a/b", OWN, 404),
        ("default/unico", OWN, 404),
    ] {
        assert_eq!(gate.expect(place, key).status, status, "{place} {key}");
    }
    let bearer = ("Authorization", "Bearer canary-key-of-ours");
    let put = |headers: &[(&str, &str)]| gate.put_expectation("/expect/default/unico/p-2", headers).status;
    assert_eq!((put(&[]), put(&[bearer, bearer])), (401, 401));
    assert_eq!(put(&[("Authorization", "Basic canary-key-of-ours")]), 401);
    let all = expected(&gate);
    assert_eq!(all.len(), 4, "{all:#?}");

    // Each listener knows its own.
    assert_eq!(gate.post("/expect/default/unico/p-2", &[bearer], b"").status, 404);
    assert_eq!(gate.put_expectation("/default/unico", &[bearer]).status, 404);
    assert_eq!(gate.put_expectation("/deliveries", &[bearer]).status, 404);

    // A key is changed by adding the new one, then removing the old.
    stage.secret("unico", "next", "canary-key-of-tomorrow");
    let said = |key: &str| gate.expect("default/unico/p-3", key).status;
    gate.until("the new one is known", || said("canary-key-of-tomorrow") == 204).await;
    assert_eq!(said(OWN), 204);
    fs::remove_file(stage.path("secrets").join("unico/expect")).unwrap();
    gate.until("the old one is not", || said(OWN) == 401).await;
    assert_eq!(said("canary-key-of-tomorrow"), 204);
    assert_eq!(stage.application.handed().len(), 0, "nobody was asked yet");
    gate.stop();
}

/// A wrong API key at the platform is a fault that somebody has to see.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_platform_refuses_is_no_answer_until_the_key_is_right() {
    let trial = Trial::new(SOON).await;
    let path = trial.folder.path().join("manifests/40-receiver-secrets.yaml");
    let right = fs::read_to_string(&path).unwrap();
    fs::write(&path, right.replace(TRIAL_IDUNICO_API_KEY, "canary-wrong-api-key")).unwrap();
    let gate = trial.gate().await;
    trial.begins("p-1", &[3]);
    trial.goes_on(&gate, true).await;
    expect(&gate, "p-1");
    gate.until("it is refused", || asked(&gate, "NoAnswer") >= 2.0).await;
    assert!(gate.process.log().contains("the platform answered 403"), "{}", gate.process.log());
    fs::write(&path, right).unwrap();
    trial.until_handed(&gate, "p-1", &[(3, true)]).await;
    gate.stop();
}
