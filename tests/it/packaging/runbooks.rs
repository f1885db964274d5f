//! The runbooks: their commands are real ones.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use regex::{Captures, Regex};

use super::super::operator::gates::receiver;
use super::super::operator::trial::Trial;
use super::super::tools::ended;
use super::alerts::is_of_a_gate;
use super::exported::gate_with_a_parked_delivery;
use super::{files_below, kubectl};

/// The lines of all blocks of commands, in order.
fn commands(runbook: &str) -> Vec<&str> {
    let blocks = runbook.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).collect()
}

/// What asks for pods, of which there are none in a cluster without nodes.
fn asks_a_pod(command: &str) -> bool {
    ["kubectl logs", "kubectl exec"].iter().any(|begin| command.starts_with(begin))
}

/// The runbooks, by whether they are about a gate.
fn runbooks(of_a_gate: bool) -> Vec<PathBuf> {
    let files = files_below("deploy/runbooks", ".md").into_iter();
    files.filter(|file| is_of_a_gate(&file.file_stem().unwrap().to_string_lossy()) == of_a_gate).collect()
}

/// kubectl succeeds although a path leads nowhere, and prints less.
#[tokio::test(flavor = "multi_thread")]
async fn their_commands_show_and_change_what_they_say() {
    let trial = Trial::start(Duration::from_secs(300), 1).await;
    trial.apply();
    let controller = trial.controller("one");
    let name = trial.kubectl(&["get", "whs", "-o", "jsonpath={.items[0].metadata.name}"]);
    trial.until_says(&[&controller], &format!("whs/{name}"), "Ready", "True").await;
    trial.until_told(&[&controller], &name, "Normal Created").await;
    // Of the same name, so that the commands for both kinds find one.
    trial.apply_text(&receiver(&name, &[]));
    trial.lease("gate-a", "integration", &[]);
    // A heading of a column is no placeholder.
    let placeholder = Regex::new(r"\b(NAMESPACE|NAME|hookkeeper-system)([^:\w-]|$)").unwrap();
    let mut run = 0;
    for file in runbooks(false) {
        let runbook = fs::read_to_string(&file).unwrap();
        let commands = commands(&runbook);
        let last = commands.last().unwrap();
        assert!(runbook.ends_with(&format!("{last}\n```\n")) && last.starts_with("kubectl get"), "{last}");
        for command in commands.into_iter().filter(|command| !asks_a_pod(command)) {
            let filled = placeholder.replace_all(command, |found: &Captures<'_>| {
                let value = if &found[1] == "NAME" { &name } else { &trial.namespace };
                format!("{value}{}", &found[2])
            });
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &format!("kubectl() {{ \"$KUBECTL\" \"$@\"; }}\n{filled}")])
                .env("KUBECONFIG", trial.cluster.kubeconfig())
                .env("KUBECTL", kubectl().get_program());
            let ended = tokio::task::block_in_place(|| ended(&mut shell));
            assert_eq!(ended.code, Some(0), "{filled}\n{}", ended.stderr);
            let shown = &ended.stdout;
            let shows = filled.contains("pods") || shown.contains(&name) || shows_one(&filled, shown);
            assert!(shows, "{filled}\n{shown}");
            run += 1;
        }
    }
    assert!(run > 15, "{run}");
    assert_eq!(trial.field(&format!("whs/{name}"), ".spec.suspend"), "true");
}

/// What prints something of an object without its name.
fn shows_one(command: &str, shown: &str) -> bool {
    let expected = [
        ("{.type}={.status}", "Ready=True"),
        ("failures since", "failures since"),
        ("lease hookkeeper", "one_"),
        ("whp,tsrc", "webhookprovider.hookkeeper.dev/gupy"),
        ("TOKEN:", "integration"),
        ("hookkeeper.dev/gate=true", "gate-a"),
    ];
    expected.iter().any(|(asked, answer)| command.contains(asked) && shown.contains(answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_those_of_a_gate_show_and_change_what_they_say() {
    let (stage, gate, id) = gate_with_a_parked_delivery().await;
    let parked = || gate.deliveries(&["list", "--state", "parked"]).stdout.contains(&id);
    let admin = format!("http://{}", gate.process.admin().unwrap());
    let mut attempts = stage.application.handed().len();
    let mut run = 0;
    for file in runbooks(true) {
        let runbook = fs::read_to_string(&file).unwrap();
        let commands = commands(&runbook);
        let last = commands.last().unwrap();
        assert!(runbook.ends_with(&format!("{last}\n```\n")), "{last}");
        for command in commands {
            let filled =
                command.replace("NAMESPACE/NAME", "default/platform").replace(" ID", &format!(" {id}"));
            let filled = filled.replace("http://127.0.0.1:8080", &admin);
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &format!("hookkeeper() {{ \"$HOOKKEEPER\" \"$@\" --url {admin}; }}\n{filled}")])
                .env("HOOKKEEPER", env!("CARGO_BIN_EXE_hookkeeper"));
            let ended = tokio::task::block_in_place(|| ended(&mut shell));
            assert_eq!(ended.code, Some(0), "{}: {filled}\n{}", file.display(), ended.stderr);
            if filled.contains(" replay ") {
                assert_eq!(ended.stdout, "1 replayed\n");
                gate.until("it was tried again", || stage.application.handed().len() > attempts).await;
                attempts = stage.application.handed().len();
                gate.until("it is parked again", parked).await;
            } else {
                assert!(ended.stdout.contains("default/platform"), "{filled}\n{}", ended.stdout);
            }
            run += 1;
        }
    }
    assert!(run > 15, "{run}");
    gate.stop();
}
