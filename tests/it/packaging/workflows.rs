//! The workflows that test and release: what they may do is little, and what they use is pinned.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::super::in_repository;
use super::super::tools::{ended, installed};
use super::{documents, files_below};

static PINNED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$").unwrap());
static USES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^\s*(?:- )?uses: (.+)$").unwrap());
/// What looks like a file of the repository in a command or an argument of a release.
static FILE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?:^|[\s:<\[\(])((?:deploy|charts|crds|tests|\.ci)/[\w./-]+|CHANGELOG\.md|LICENSE|Cargo\.toml)",
    )
    .unwrap()
});

fn workflows() -> Vec<PathBuf> {
    files_below(".github/workflows", ".yaml")
}

fn jobs(workflow: &Value) -> Vec<(String, Value)> {
    workflow["jobs"].as_object().unwrap().clone().into_iter().collect()
}

fn steps(job: &Value) -> Vec<Value> {
    job["steps"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_linter_knows_nothing_against_them() {
    let mut actionlint = Command::new(installed("actionlint").join("actionlint"));
    // Without the linters of other languages that happen to be installed.
    let linted = ended(actionlint.args(["-shellcheck=", "-pyflakes=", "-no-color"]).args(workflows()));
    assert_eq!(linted.code, Some(0), "{}{}", linted.stdout, linted.stderr);
}

#[test]
fn a_release_is_built_in_one_image_that_is_named_by_its_digest() {
    let release = &documents(&in_repository(".github/workflows/release.yaml"))[0];
    let steps = steps(&release["jobs"]["image"]);
    let build = steps.iter().find(|step| step["id"] == "build").unwrap();
    let arguments = build["with"]["build-args"].as_str().unwrap();
    assert!(arguments.lines().any(|line| line == "RUST_IMAGE=${{ needs.version.outputs.builder }}"));
    let version = &release["jobs"]["version"];
    assert_eq!(version["outputs"]["builder"], "${{ steps.builder.outputs.image }}");
    let resolved = self::steps(version).into_iter().find(|step| step["id"] == "builder").unwrap();
    let script = resolved["run"].as_str().unwrap();
    // Run with a docker that answers what it is told to.
    let folder = tempfile::tempdir().unwrap();
    let run = |digest: &str| {
        let docker = folder.path().join("docker");
        fs::write(&docker, format!("#!/bin/sh\necho '{digest}'\n")).unwrap();
        fs::set_permissions(&docker, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (output, summary) = (folder.path().join("output"), folder.path().join("summary"));
        let _ = fs::remove_file(&output);
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let ended = ended(
            Command::new("bash")
                .args(["-e", "-c", script])
                .current_dir(in_repository(""))
                .env("PATH", path)
                .env("GITHUB_OUTPUT", &output)
                .env("GITHUB_STEP_SUMMARY", summary),
        );
        (ended.code, fs::read_to_string(output).unwrap_or_default())
    };
    let digest = format!("sha256:{}", "0a".repeat(32));
    let (code, output) = run(&digest);
    assert_eq!(code, Some(0));
    assert!(output.starts_with("image=docker.io/library/rust:"), "{output}");
    assert!(output.ends_with(&format!("@{digest}\n")), "{output}");
    assert_eq!(run("not found"), (Some(1), String::new()));
}

#[test]
fn every_action_is_pinned_to_a_revision_with_its_version_beside_it() {
    let mut pins = BTreeSet::new();
    for file in workflows() {
        for uses in USES.captures_iter(&fs::read_to_string(&file).unwrap()) {
            let used = uses[1].trim();
            let is_ours = used.strip_prefix("./").is_some_and(|path| in_repository(path).exists());
            assert!(is_ours || PINNED.is_match(used), "{used} in {}", file.display());
            pins.insert(used.to_owned());
        }
    }
    let actions: BTreeSet<&str> = pins.iter().map(|pin| pin.split('@').next().unwrap()).collect();
    assert_eq!(pins.len(), actions.len(), "one version of each: {pins:?}");
}

#[test]
fn every_job_says_what_it_may_do_and_how_long() {
    for file in workflows() {
        let workflow = documents(&file).remove(0);
        let of_workflow = &workflow["permissions"];
        assert!(of_workflow.as_object().is_some_and(serde_json::Map::is_empty), "{}", file.display());
        assert!(workflow["concurrency"]["group"].is_string(), "{}", file.display());
        assert!(workflow["on"]["pull_request_target"].is_null() && workflow["on"]["workflow_run"].is_null());
        for (name, job) in jobs(&workflow) {
            let permissions =
                job["permissions"].as_object().unwrap_or_else(|| panic!("{name}: no permissions"));
            assert!(permissions.values().all(|right| right == "read" || right == "write"), "{name}");
            assert!(job["timeout-minutes"].is_u64() || job["uses"].is_string(), "{name}: no limit of time");
            assert!(job["env"].is_null(), "{name}: what all steps see is no place for anything");
            for step in steps(&job) {
                let uses = step["uses"].as_str().unwrap_or_default();
                if uses.starts_with("actions/checkout@") {
                    assert_eq!(step["with"]["persist-credentials"], false, "{name}");
                }
                // A name or title from outside must not become a command.
                let run = step["run"].as_str().unwrap_or_default();
                assert!(!run.contains("${{"), "{name}: {run}");
            }
        }
    }
}

#[test]
fn only_what_logs_in_or_writes_a_release_sees_a_token() {
    for file in workflows() {
        let workflow = documents(&file).remove(0);
        assert!(!workflow["env"].to_string().contains("token"), "{}", file.display());
        for (name, job) in jobs(&workflow) {
            for step in steps(&job) {
                let text = step.to_string();
                let sees = text.contains("secrets.") || text.contains("github.token");
                let uses = step["uses"].as_str().unwrap_or_default();
                let run = step["run"].as_str().unwrap_or_default();
                let needs = uses.starts_with("docker/login-action@") || run.contains("gh release create");
                assert_eq!(sees, needs, "{name}: {text}");
            }
        }
    }
}

#[test]
fn a_release_is_made_of_files_that_exist_and_of_one_version() {
    let text = fs::read_to_string(in_repository(".github/workflows/release.yaml")).unwrap();
    let mut named = BTreeSet::new();
    for found in FILE.captures_iter(&text) {
        let path = found[1].trim_end_matches('.').to_owned();
        let folder = path.strip_suffix('/').unwrap_or(&path);
        assert!(in_repository(folder).exists(), "{path}");
        named.insert(path);
    }
    for expected in ["deploy/Containerfile", "deploy/install.yaml", "charts/hookkeeper", "CHANGELOG.md"] {
        assert!(named.contains(expected), "{expected}: {named:?}");
    }
    let chart = documents(&in_repository("charts/hookkeeper/Chart.yaml")).remove(0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&version.into(), &version.into()));
    let policy = fs::read_to_string(in_repository("SECURITY.md")).unwrap();
    let identity = "https://github.com/hookkeeper/hookkeeper/.github/workflows/release.yaml@refs/tags/v";
    assert!(policy.contains(identity), "who verifies asks for the identity of the workflow that signs");
}

#[test]
fn updates_are_looked_for_where_there_is_something_to_update() {
    let updates = documents(&in_repository(".github/dependabot.yml")).remove(0);
    let file = |kind: &str| match kind {
        "github-actions" => ".github/workflows",
        "cargo" => "Cargo.toml",
        "docker" => "Containerfile",
        "gomod" => "go.mod",
        "pip" => "requirements.txt",
        other => panic!("{other}"),
    };
    for update in updates["updates"].as_array().unwrap() {
        let one = update["directory"].as_str().into_iter();
        let many = update["directories"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for folder in one.chain(many) {
            let path = format!(".{folder}/{}", file(update["package-ecosystem"].as_str().unwrap()));
            assert!(in_repository(&path).exists(), "{path}");
        }
    }
}
