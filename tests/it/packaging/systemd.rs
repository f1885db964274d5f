//! The unit of systemd: systemd takes it, finds it confined, and the real binary runs with its arguments.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::super::in_repository;
use super::super::process::Ended;
use super::super::tools::ended;
use super::sidecar_examples::keeps_fresh;

const UNIT: &str = "deploy/sidecar/systemd/hookkeeper.service";
/// In tenths; 100 is a service that is not confined at all. It was 11 when the unit was written.
const EXPOSURE_LIMIT: &str = "15";

fn unit() -> String {
    fs::read_to_string(in_repository(UNIT)).unwrap()
}

/// The values of one setting.
fn settings(name: &str) -> Vec<String> {
    let unit = unit();
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned).collect()
}

/// Runs `systemd-analyze` on the unit, with a program that is there; `None` where there is no systemd.
fn analyze(arguments: &[&str]) -> Option<Ended> {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        say_that_there_is_none();
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hookkeeper.service");
    fs::write(&file, unit().replace("/usr/local/bin/hookkeeper", env!("CARGO_BIN_EXE_hookkeeper"))).unwrap();
    let ended =
        ended(Command::new("systemd-analyze").args(arguments).arg(&file).env("SYSTEMD_LOG_LEVEL", "info"));
    Some(ended)
}

#[expect(clippy::print_stderr, reason = "a test that checks nothing must say so")]
fn say_that_there_is_none() {
    eprintln!("systemd-analyze is not here, so the unit was not shown to it");
}

#[test]
fn systemd_takes_the_unit_without_a_complaint() {
    if let Some(ended) = analyze(&["verify", "--man=no"]) {
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    }
}

#[test]
fn the_unit_is_confined() {
    let threshold = format!("--threshold={EXPOSURE_LIMIT}");
    if let Some(ended) = analyze(&["security", "--offline=true", "--no-pager", &threshold]) {
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unit_keeps_a_subscription_fresh() {
    let state = PathBuf::from("/var/lib").join(&settings("StateDirectory")[0]);
    let credentials = "/run/credentials/hookkeeper.service";
    let line = settings("ExecStart").remove(0).replace("%S", "/var/lib").replace("%d", credentials);
    let mut arguments: Vec<_> = line.split(' ').map(str::to_owned).collect();
    assert_eq!(arguments.remove(0), "/usr/local/bin/hookkeeper");
    assert!(arguments.contains(&format!("{}/state.json", state.display())), "{arguments:?}");
    let secrets: Vec<_> = settings("LoadCredential")
        .iter()
        .map(|credential| format!("{credentials}/{}", credential.split_once(':').unwrap().0))
        .collect();
    keeps_fresh(&arguments, &secrets, &["health"]).await;
}
