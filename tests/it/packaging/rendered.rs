//! What is made from other files is as they are.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::super::tools::ended;
use super::super::{in_repository, run};
use super::{documents, files_in};

#[test]
fn rendering_again_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let rendered = ended(Command::new("bash").arg(in_repository("deploy/render")).arg(folder.path()));
    assert_eq!((rendered.code, rendered.stderr.as_str()), (Some(0), ""));
    let again = files_in(folder.path());
    for file in &again {
        let name = file.strip_prefix(folder.path()).unwrap();
        let committed = fs::read_to_string(in_repository(name.to_str().unwrap())).unwrap_or_default();
        // A comparison of the texts would print both.
        assert!(committed == fs::read_to_string(file).unwrap(), "{name:?}: run `bash deploy/render`");
    }
    for made in ["charts/hookkeeper/files/crds", "deploy/base", "deploy/components/gate"] {
        for file in files_in(&in_repository(made)) {
            let is_made = again.contains(&folder.path().join(file.strip_prefix(in_repository("")).unwrap()));
            let by_hand = ["kustomization.yaml", "namespace.yaml"].map(|name| file.ends_with(name));
            assert!(is_made || by_hand.contains(&true), "{} comes from nothing", file.display());
        }
    }
}

#[test]
fn the_chart_speaks_of_the_version_that_is_built() {
    let chart = &documents(&in_repository("charts/hookkeeper/Chart.yaml"))[0];
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&version.into(), &version.into()));
    let annotation = |name: &str| {
        let text = chart["annotations"][format!("artifacthub.io/{name}")].as_str().unwrap();
        serde_saphyr::from_str::<Value>(text).unwrap()
    };
    assert_eq!(annotation("images")[0]["image"], format!("ghcr.io/hookkeeper/hookkeeper:{version}"));

    let names = |list: &Value, field: &str| {
        let mut names: Vec<String> =
            list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let definitions: Vec<String> = files_in(&in_repository("crds"))
        .iter()
        .map(|file| documents(file)[0]["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let mut definitions = definitions;
    definitions.sort();
    assert_eq!(names(&annotation("crds"), "name"), definitions);
    let examples = annotation("crdsExamples");
    assert_eq!(names(&examples, "kind"), names(&annotation("crds"), "kind"));
    let folder = tempfile::tempdir().unwrap();
    for (number, example) in examples.as_array().unwrap().iter().enumerate() {
        fs::write(folder.path().join(format!("{number}.json")), example.to_string()).unwrap();
    }
    let checked = run(&["check", folder.path().to_str().unwrap()]);
    assert_eq!(checked.code, Some(0), "{}", checked.stdout);
}
