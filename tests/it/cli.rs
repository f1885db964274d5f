//! The command line as people meet it: help, exit codes, output, errors.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use hookkeeper::sandbox::{
    Config, SandboxInfo, TRIAL_MANAGEMENT_TOKEN, WriteOptions, trial_platforms, write_manifests,
};

use super::process::{PATIENCE, Program, Stream};
use super::{Ended, hookkeeper, in_repository, run};

/// A sidecar to be, with its state file in this folder.
fn sidecar(manifests: &Path, state: &Path, admin: &str) -> Program {
    let mut program = hookkeeper();
    program.arg("sidecar").arg("--manifests").arg(manifests);
    program.arg("--state").arg(state.join("state.json"));
    program.args(["--admin-listen", admin]);
    program
}

/// The subcommands that `--help` lists.
fn subcommands() -> Vec<String> {
    let help = run(&["--help"]).stdout;
    let (_, rest) = help.split_once("Commands:\n").unwrap();
    let (list, _) = rest.split_once("\n\n").unwrap();
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    list.lines().filter_map(name).collect()
}

#[test]
fn every_subcommand_explains_itself_and_its_exit_codes() {
    let subcommands = subcommands();
    for known in ["sidecar", "sandbox", "check", "health", "crds", "completions"] {
        assert!(subcommands.iter().any(|name| name == known), "{known}");
    }
    for name in subcommands.iter().filter(|name| *name != "help") {
        let Ended { code, stdout, stderr } = run(&[name, "--help"]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{name}");
        assert!(stdout.contains(&format!("Usage: hookkeeper {name}")), "{stdout}");
        assert!(stdout.contains("Exit codes:"), "{stdout}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["no-such-command"],
        &["check"],
        &["sidecar", "--manifests", "m"],
        &["health", "--url", "no URL"],
        &["crds", "--threads", "0"],
    ] {
        let Ended { code, stdout, stderr } = run(arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(stderr.contains("--help") || stderr.contains("Usage:"), "{stderr}");
    }
}

#[test]
fn a_failure_is_one_line_on_standard_error() {
    let file = in_repository("Cargo.toml/state");
    let Ended { code, stdout, stderr } =
        run(&["sidecar", "--manifests", "src", "--state", file.to_str().unwrap(), "--admin-listen", "off"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("hookkeeper: "), "{stderr}");
    assert!(stderr.contains("Cargo.toml/state"), "{stderr}");
}

#[test]
fn crds_are_those_of_the_repository() {
    let mut committed: Vec<String> = fs::read_dir(in_repository("crds"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let printed = run(&["crds"]);
    assert_eq!(printed.code, Some(0));
    let mut printed: Vec<String> = printed
        .stdout
        .split_inclusive("\n---\n")
        .map(|text| text.strip_suffix("---\n").unwrap_or(text).to_owned())
        .collect();
    committed.sort();
    printed.sort();
    assert_eq!(printed, committed, "run: hookkeeper crds --write crds");
}

#[test]
fn check_names_file_object_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("source.yaml");
    let good = "\
apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {name: integration}
spec: {secret: {name: token, key: token}}
";
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        run(&["check", file.to_str().unwrap()])
    };
    let ended = check(good);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert_eq!(ended.stdout, "1 document checked, 0 problems, 0 warnings\n");

    let ended = check(&good.replace("key: token", "kye: token"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
    let line = ended.stdout.lines().next().unwrap();
    for part in [file.to_str().unwrap(), "TokenSource default/integration", "spec.secret.k"] {
        assert!(line.contains(part), "{line}");
    }

    let ended = check("kind: [");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.starts_with(file.to_str().unwrap()), "{}", ended.stdout);

    let missing = folder.path().join("missing.yaml");
    let ended = run(&["check", missing.to_str().unwrap()]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("missing.yaml"), "{}", ended.stdout);
}

#[test]
fn what_the_sandbox_writes_is_found_good() {
    for gate in [None, Some("http://127.0.0.1:8090".parse().unwrap())] {
        let folder = tempfile::tempdir().unwrap();
        let info = SandboxInfo {
            url: "http://127.0.0.1:8480".to_owned(),
            management_token: TRIAL_MANAGEMENT_TOKEN.into(),
            client: Config::default().clients.remove(0),
            platforms: trial_platforms(),
        };
        write_manifests(folder.path(), &info, &WriteOptions { subscriptions: 20, gate }).unwrap();
        let ended = run(&["check", folder.path().to_str().unwrap()]);
        assert_eq!(ended.code, Some(0), "{}", ended.stdout);
        assert!(ended.stdout.ends_with("checked, 0 problems, 0 warnings\n"), "{}", ended.stdout);
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let Ended { code, stdout, .. } = run(&["completions", shell]);
        assert_eq!(code, Some(0), "{shell}");
        assert!(stdout.contains("sidecar"), "{shell}");
    }
}

#[test]
fn health_of_nobody_is_a_problem() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let Ended { code, stdout, stderr } = run(&["health", "--url", &url]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("refused"), "{stderr}");
}

#[test]
fn a_reader_that_goes_away_changes_no_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.yaml");
    fs::write(&broken, "kind: [").unwrap();
    for (arguments, code) in
        [(vec!["crds"], 0), (vec!["completions", "bash"], 0), (vec!["check", broken.to_str().unwrap()], 1)]
    {
        let ended = hookkeeper().args(&arguments).unread(Stream::Output).run();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{arguments:?}");
    }
}

#[test]
fn the_sidecar_works_on_when_nobody_reads_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("broken.yaml"), "kind: [").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut sidecar = sidecar(&manifests, folder.path(), &address).unread(Stream::Error).spawn();
    let url = format!("http://{address}");
    let begun = Instant::now();
    while run(&["health", "--url", &url]).code != Some(0) {
        assert!(sidecar.is_running(), "it has ended");
        assert!(begun.elapsed() < PATIENCE, "it is not ready");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_sidecar_ends_well_when_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = sidecar(folder.path(), folder.path(), "127.0.0.1:0").spawn();
    let begun = Instant::now();
    // By then it listens to signals.
    while sidecar.admin().is_none() {
        assert!(begun.elapsed() < PATIENCE, "{}", sidecar.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(sidecar.stop(), Some(0));
}
