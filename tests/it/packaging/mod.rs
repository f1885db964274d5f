//! What people install hookkeeper with: `charts`, `deploy` and what belongs to them.

mod admission;
mod alerts;
mod argocd;
mod asked;
mod chart;
mod dashboard;
mod exported;
mod gitops;
pub mod helm;
mod image;
mod install;
mod kustomize;
mod manifests;
mod rendered;
mod rights;
mod runbooks;
mod sidecar_examples;
mod systemd;
mod users_chart;
mod values;
mod workflows;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

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

/// All files below a folder of the repository whose names end like this, in order.
fn files_below(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![in_repository(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
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
    let given = std::env::var_os("KUBEBUILDER_ASSETS").map(|folder| PathBuf::from(folder).join("kubectl"));
    let program = given.filter(|program| program.exists());
    let mut command = Command::new(program.unwrap_or_else(|| installed("kubernetes").join("kubectl")));
    command.env_clear().env("HOME", "/nonexistent");
    command
}
