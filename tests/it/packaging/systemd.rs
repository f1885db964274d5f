//! The units of systemd: systemd takes them, finds them confined, and the real binary runs with their
//! arguments.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::super::in_repository;
use super::super::process::Ended;
use super::super::tools::ended;
use super::sidecar_examples::{keeps_fresh, keeps_fresh_and_takes_in};

const UNIT: &str = "hookkeeper.service";
const GATE_UNIT: &str = "hookkeeper-gate.service";
/// In tenths; 100 is a service that is not confined at all. It was 11 when the unit was written.
const EXPOSURE_LIMIT: &str = "15";

fn text(unit: &str) -> String {
    fs::read_to_string(in_repository(&format!("deploy/sidecar/systemd/{unit}"))).unwrap()
}

/// The values of one setting.
fn settings(unit: &str, name: &str) -> Vec<String> {
    let text = text(unit);
    text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned).collect()
}

/// Runs `systemd-analyze` on a unit, with a program that is there; `None` where there is no systemd.
fn analyze(unit: &str, arguments: &[&str]) -> Option<Ended> {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        say_that_there_is_none();
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(unit);
    let text = text(unit).replace("/usr/local/bin/hookkeeper", env!("CARGO_BIN_EXE_hookkeeper"));
    fs::write(&file, text).unwrap();
    let ended =
        ended(Command::new("systemd-analyze").args(arguments).arg(&file).env("SYSTEMD_LOG_LEVEL", "info"));
    Some(ended)
}

#[expect(clippy::print_stderr, reason = "a test that checks nothing must say so")]
fn say_that_there_is_none() {
    eprintln!("systemd-analyze is not here, so the unit was not shown to it");
}

#[test]
fn systemd_takes_the_units_without_a_complaint() {
    for unit in [UNIT, GATE_UNIT] {
        if let Some(ended) = analyze(unit, &["verify", "--man=no"]) {
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{unit}: {}", ended.stdout);
        }
    }
}

#[test]
fn the_units_are_confined() {
    let threshold = format!("--threshold={EXPOSURE_LIMIT}");
    for unit in [UNIT, GATE_UNIT] {
        if let Some(ended) = analyze(unit, &["security", "--offline=true", "--no-pager", &threshold]) {
            assert_eq!(ended.code, Some(0), "{unit}: {}{}", ended.stdout, ended.stderr);
        }
    }
}

/// Arguments and credentials of a unit, after what must be so in each of them.
fn run_by(unit: &str) -> (Vec<String>, Vec<String>) {
    let credentials = format!("/run/credentials/{unit}");
    let line = settings(unit, "ExecStart").remove(0).replace("%S", "/var/lib").replace("%d", &credentials);
    let mut arguments: Vec<_> = line.split(' ').map(str::to_owned).collect();
    assert_eq!(arguments.remove(0), "/usr/local/bin/hookkeeper");
    let folders = settings(unit, "StateDirectory").remove(0);
    let states: Vec<_> = folders.split(' ').map(|folder| PathBuf::from("/var/lib").join(folder)).collect();
    assert!(arguments.contains(&format!("{}/state.json", states[0].display())), "{arguments:?}");
    if let Some(data) = states.get(1) {
        assert!(arguments.contains(&data.display().to_string()), "{arguments:?}");
    }
    let secrets = settings(unit, "LoadCredential");
    let secrets = secrets.iter().map(|credential| {
        let (name, _) = credential.split_once(':').unwrap();
        format!("{credentials}/{name}")
    });
    (arguments, secrets.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unit_keeps_a_subscription_fresh() {
    let (arguments, secrets) = run_by(UNIT);
    keeps_fresh(&arguments, &secrets, &["health"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unit_with_the_gate_takes_deliveries_in() {
    let (arguments, secrets) = run_by(GATE_UNIT);
    keeps_fresh_and_takes_in(&arguments, &secrets).await;
}
