//! What people install hookkeeper with: `charts`, `deploy` and what belongs to them.

mod admission;
mod alerts;
mod argocd;
mod asked;
mod chart;
mod dashboard;
mod exported;
mod gate;
mod gitops;
pub mod helm;
mod image;
mod install;
mod kustomize;
mod manifests;
mod pods;
mod releases;
mod rendered;
mod rights;
mod runbooks;
mod sidecar_examples;
mod systemd;
mod users_chart;
mod values;
mod versions;
mod workflows;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::cluster::program;
use super::tools::{ended, installed};
use super::{Ended, in_repository};

/// All documents of a YAML file.
fn documents(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    documents_in(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All documents of a text, without those that are empty.
fn documents_in(text: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// All files below a folder, in order.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_in(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// All files below a folder of the repository whose names end like this, in order.
fn files_below(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = files_in(&in_repository(folder));
    found.retain(|path| path.to_string_lossy().ends_with(end));
    found
}

/// Runs promtool; it must succeed.
fn promtool(arguments: &[&str]) -> Ended {
    let ended = ended(Command::new(installed("promtool").join("promtool")).args(arguments));
    assert_eq!(ended.code, Some(0), "promtool {arguments:?}\n{}{}", ended.stdout, ended.stderr);
    ended
}

/// The kubectl that tests run, without settings of whoever runs them.
fn kubectl() -> Command {
    let mut command = Command::new(program("kubectl"));
    command.env_clear().env("HOME", "/nonexistent");
    command
}
