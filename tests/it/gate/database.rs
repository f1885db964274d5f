//! Gates whose store is a PostgreSQL database: what was acknowledged is kept, whichever of them ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::keeping::{RECEIVER, Sender, TOKEN, body, send, took};
use super::stage::{Gate, Stage};
use crate::postgres::{PASSWORD, ROLE, Server, shared};
use crate::process::{Ended, Program};

/// A stage with a database, and with files of whom to log in as.
struct Shared<'a> {
    stage: Stage,
    server: &'a Server,
    database: String,
}

impl<'a> Shared<'a> {
    async fn on(server: &'a Server) -> Self {
        // What one that is killed has under way is another one's after this and half a minute.
        let receiver = RECEIVER.replace("/events, ", "/events, timeout: 1s, ");
        let stage = Stage::with(&receiver).await;
        stage.secret("hooks", "token", TOKEN.1);
        fs::write(stage.path("role"), ROLE).unwrap();
        stage.secret("database", "password", PASSWORD);
        // Without a cluster the uids of receivers come from here.
        stage.gate().stop();
        Self { stage, server, database: server.database() }
    }

    /// A gate with a file of statuses of its own, in which receivers have the same uids.
    fn program(&self, name: &str) -> Program {
        if !self.stage.path(name).exists() {
            fs::copy(self.stage.path("data/state.json"), self.stage.path(name)).unwrap();
        }
        let mut program = self.stage.program_without_store();
        program
            .args(["--database", &self.server.address(&self.database), "--database-tls", "disable"])
            .arg("--database-user-file")
            .arg(self.stage.path("role"))
            .arg("--database-password-file")
            .arg(self.stage.path("secrets/database/password"))
            .arg("--state")
            .arg(self.stage.path(name));
        program
    }

    fn gate(&self, name: &str) -> Gate {
        self.stage.start(&mut self.program(name))
    }

    /// Waits until all that was acknowledged has been handed on and nothing is left. Each one was handed on under
    /// one id, however often.
    async fn is_clean(&self, gate: &Gate, acknowledged: &BTreeSet<String>) {
        let lost = || {
            let took = took(&self.stage);
            acknowledged.iter().filter(|id| !took.contains_key(*id)).cloned().collect::<Vec<_>>()
        };
        gate.until("everything acknowledged is handed on", || lost().is_empty()).await;
        gate.until("nothing is left", || gate.deliveries(&["list"]).stdout == "nothing waits\n").await;
        for (id, deliveries) in took(&self.stage) {
            assert_eq!(deliveries.len(), 1, "{id}: {deliveries:?}");
        }
    }

    /// How often each event was handed on.
    fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for handed in self.stage.application.took() {
            *times.entry(String::from_utf8(handed.body.to_vec()).unwrap()).or_default() += 1;
        }
        times
    }
}

/// Two gates under load, one of which is killed so often.
async fn two_gates_one_killed(kills: usize) {
    let shared = Shared::on(shared()).await;
    shared.stage.application.takes(std::time::Duration::from_millis(20));
    let (mut one, other) = (shared.gate("one"), shared.gate("other"));
    let address = one.address;
    let senders = [Sender::to(address, 3), Sender::to(other.address, 3)];
    for _ in 0..kills {
        let before = senders[0].acknowledged();
        other.until("some more are acknowledged", || senders[0].acknowledged() >= before + 20).await;
        one.process.kill();
        one = shared.stage.start(shared.program("one").replace("--listen", &address.to_string()));
    }
    let acknowledged: BTreeSet<_> = senders.into_iter().flat_map(Sender::leave).collect();
    assert!(acknowledged.len() > 20 * kills, "{}", acknowledged.len());
    shared.is_clean(&other, &acknowledged).await;
    let most = shared.times().into_values().max();
    assert!(most <= Some(1 + kills), "{most:?}");
    one.stop();
    other.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_gates_is_killed_under_load_and_the_other_one_hands_on_what_it_had() {
    two_gates_one_killed(2).await;
}

/// The database under load is killed so often; the gate goes on.
async fn database_killed(kills: usize) {
    let server = Server::start(&[]);
    let shared = Shared::on(&server).await;
    let gate = shared.gate("one");
    let sender = Sender::to(gate.address, 6);
    for kill in 0..kills {
        let before = sender.acknowledged();
        gate.until("some more are acknowledged", || sender.acknowledged() >= before + 20).await;
        tokio::task::block_in_place(|| if kill % 2 == 0 { server.kill() } else { server.stop() });
        gate.until("it is answered 503", || send(&gate, "while it is away") == 503).await;
        assert!(gate.process.get("/readyz").unwrap().starts_with("HTTP/1.1 200 "), "it stays ready");
        tokio::task::block_in_place(|| server.start_again());
    }
    let before = sender.acknowledged();
    gate.until("some more are acknowledged", || sender.acknowledged() >= before + 20).await;
    let acknowledged = sender.leave();
    shared.is_clean(&gate, &acknowledged).await;
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_killed_and_restarted_under_load_loses_nothing_and_the_gate_stays_ready() {
    database_killed(2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long: run it with `bash tests/long`"]
async fn a_hundred_kills_of_one_of_two_gates_lose_nothing() {
    two_gates_one_killed(100).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long: run it with `bash tests/long`"]
async fn a_hundred_kills_of_the_database_lose_nothing() {
    database_killed(100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gates_that_start_at_once_on_an_empty_database_work_together() {
    let shared = Shared::on(shared()).await;
    let started: Vec<_> = ["one", "two", "three"].iter().map(|name| shared.program(name).spawn()).collect();
    let gates: Vec<_> = started.into_iter().map(Gate::of).collect();
    for (number, gate) in gates.iter().enumerate() {
        assert_eq!(send(gate, &format!("event {number}")), 200);
        // It is known to all of them.
        for gate in &gates {
            assert_eq!(send(gate, &format!("event {number}")), 200);
        }
    }
    let events = (0..3).map(|number| format!("event {number}")).collect();
    shared.is_clean(&gates[0], &events).await;
    assert_eq!(shared.times(), (0..3).map(|number| (body(&format!("event {number}")), 1)).collect());
    gates.into_iter().for_each(Gate::stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_named_with_its_flag_and_never_with_a_password() {
    let shared = Shared::on(shared()).await;
    let refuses = |change: &dyn Fn(&mut Program), says: &[&str]| {
        let mut program = shared.program("refused");
        change(&mut program);
        let Ended { code, stderr, .. } = program.run();
        assert!(code == Some(1) || code == Some(2), "{code:?} {stderr}");
        for words in says {
            assert!(stderr.contains(words), "it does not say {words:?}: {stderr}");
        }
        assert!(!stderr.contains("panicked") && !stderr.contains("canary"), "{stderr}");
    };
    let address = shared.server.address(&shared.database);
    let with_password = format!("postgres://{ROLE}:canary-in-the-argument@{address}");
    refuses(
        &|program| {
            program.replace("--database", &with_password);
        },
        &["--database", "--database-password-file"],
    );
    refuses(
        &|program| {
            program.replace("--database", "nonsense");
        },
        &["--database", "HOST[:PORT]/NAME"],
    );
    refuses(
        &|program| {
            program.replace("--database-tls", "verify-full");
        },
        &["--database-tls", "TLS"],
    );
    refuses(
        &|program| {
            program.replace("--database-tls", "perhaps");
        },
        &["--database-tls"],
    );
    refuses(
        &|program| {
            program.arg("--data").arg(shared.stage.path("data"));
        },
        &["--data", "--database"],
    );
    refuses(
        &|program| {
            program.arg("--data-may-vanish");
        },
        &["--data-may-vanish"],
    );
    let wrong = shared.stage.path("wrong");
    fs::write(&wrong, "canary-of-a-wrong-password").unwrap();
    let wrong = wrong.display().to_string();
    refuses(
        &|program| {
            program.replace("--database-password-file", &wrong);
        },
        &["--database-password-file", "password authentication failed"],
    );
    let missing = shared.stage.path("missing").display().to_string();
    refuses(
        &|program| {
            program.replace("--database-user-file", &missing);
        },
        &["--database-user-file", &missing],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_yet_is_waited_for_and_the_process_can_be_ended_meanwhile() {
    let server = Server::start(&[]);
    let shared = Shared::on(&server).await;
    tokio::task::block_in_place(|| server.stop());
    let mut waiting = shared.program("one").spawn();
    waiting.until_says("does not answer");
    // Nobody has a reason to start it again meanwhile.
    let answer = |path: &str| waiting.get(path).unwrap();
    assert!(answer("/livez").starts_with("HTTP/1.1 200 "), "{}", answer("/livez"));
    assert!(answer("/metrics").starts_with("HTTP/1.1 200 "), "{}", answer("/metrics"));
    let ready = answer("/readyz");
    let says = ["the database", shared.database.as_str(), "does not answer", "it is tried again"];
    assert!(ready.starts_with("HTTP/1.1 503 ") && says.iter().all(|words| ready.contains(words)), "{ready}");
    let deliveries = answer("/deliveries");
    assert!(deliveries.starts_with("HTTP/1.1 503 ") && deliveries.contains("starting"), "{deliveries}");
    tokio::task::block_in_place(|| server.start_again());
    let gate = Gate::of(waiting);
    assert_eq!(send(&gate, "a"), 200);
    gate.stop();
    tokio::task::block_in_place(|| server.stop());
    let mut waiting = shared.program("one").spawn();
    waiting.until_says("does not answer");
    waiting.stop();
}
