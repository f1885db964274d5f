//! The example repository folders of `deploy/gitops`: what they refer to is there, and what a team brings
//! is taken from the account that it is applied with.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::{in_repository, run};
use super::admission;
use super::helm::{Helm, named};
use super::sidecar_examples::documents;

fn of_kind(files: &[&str], kind: &str) -> Vec<Value> {
    let documents = files.iter().flat_map(|file| documents(file));
    let found: Vec<_> = documents.filter(|document| document["kind"] == kind).collect();
    assert!(!found.is_empty(), "no {kind} in {files:?}");
    found
}

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {document}"))
}

fn assert_in_values(given: &Value, known: &Value, path: &str) {
    for (name, value) in given.as_object().into_iter().flatten() {
        let known = known.get(name).unwrap_or_else(|| panic!("the chart has no value {path}{name}"));
        assert_in_values(value, known, &format!("{path}{name}."));
    }
}

#[test]
fn argo_cd_finds_the_chart_and_the_folders() {
    let chart = &documents("charts/hookkeeper/Chart.yaml")[0];
    let values = &documents("charts/hookkeeper/values.yaml")[0];
    let files = ["hookkeeper", "tenant", "team"].map(|name| format!("deploy/gitops/argocd/{name}.yaml"));
    let files = files.each_ref().map(String::as_str);
    let projects = of_kind(&files, "AppProject");
    for application in of_kind(&files, "Application") {
        let source = &application["spec"]["source"];
        let project = text(&application, "/spec/project");
        assert!(project == "default" || projects.iter().any(|one| text(one, "/metadata/name") == project));
        if let Some(name) = source["chart"].as_str() {
            assert_eq!(
                (name, text(source, "/targetRevision")),
                (text(chart, "/name"), text(chart, "/version"))
            );
            assert!(!text(source, "/repoURL").contains("://"), "a Helm registry is written without oci://");
            assert_in_values(&source["helm"]["valuesObject"], values, "");
        } else {
            assert!(in_repository(text(source, "/path")).join("kustomization.yaml").is_file(), "{source}");
        }
    }
    let tenant = ["deploy/gitops/tenant/tenant.yaml"];
    let account = &of_kind(&tenant, "ServiceAccount")[0];
    for applied_as in projects[0]["spec"]["destinationServiceAccounts"].as_array().unwrap() {
        assert_eq!(applied_as["namespace"], account["metadata"]["namespace"]);
        assert_eq!(applied_as["defaultServiceAccount"], account["metadata"]["name"]);
    }
}

#[test]
fn flux_finds_the_chart_the_folders_and_what_they_depend_on() {
    let chart = &documents("charts/hookkeeper/Chart.yaml")[0];
    let values = &documents("charts/hookkeeper/values.yaml")[0];
    let kustomizations = of_kind(&["deploy/gitops/flux/kustomizations.yaml"], "Kustomization");
    let key = |object: &Value| (text(object, "/name").to_owned(), text(object, "/namespace").to_owned());
    let known: BTreeSet<_> = kustomizations.iter().map(|one| key(&one["metadata"])).collect();
    let account = &of_kind(&["deploy/gitops/tenant/tenant.yaml"], "ServiceAccount")[0];
    for one in &kustomizations {
        let path = text(one, "/spec/path").trim_start_matches("./");
        assert!(in_repository(path).join("kustomization.yaml").is_file(), "{path}");
        assert_eq!(one["spec"]["wait"], true);
        for dependency in one["spec"]["dependsOn"].as_array().into_iter().flatten() {
            assert!(known.contains(&key(dependency)), "{dependency}");
        }
        if let Some(name) = one["spec"]["serviceAccountName"].as_str() {
            assert_eq!((name, text(one, "/metadata/namespace")), {
                (text(account, "/metadata/name"), text(account, "/metadata/namespace"))
            });
        }
    }
    let release = of_kind(&["deploy/gitops/flux/hookkeeper/release.yaml"], "HelmRelease").remove(0);
    let source = of_kind(&["deploy/gitops/flux/hookkeeper/chart.yaml"], "OCIRepository").remove(0);
    assert_eq!(release["spec"]["chartRef"]["name"], source["metadata"]["name"]);
    assert!(text(&source, "/spec/url").ends_with(&format!("/{}", text(chart, "/name"))));
    assert_eq!(text(&source, "/spec/ref/tag"), text(chart, "/version"));
    assert_in_values(&release["spec"]["values"], values, "");
}

/// What a platform makes of requests that differ from limits would be set back, again and again.
#[test]
fn on_autopilot_there_is_nothing_to_rewrite_and_what_it_may_rewrite_is_ignored() {
    let folder = "deploy/gitops/gke-autopilot";
    let application = of_kind(&[&format!("{folder}/argocd.yaml")], "Application").remove(0);
    let release = of_kind(&[&format!("{folder}/flux.yaml")], "HelmRelease").remove(0);
    let chart = &documents("charts/hookkeeper/Chart.yaml")[0];
    let spec = &application["spec"];
    assert_eq!(text(spec, "/source/targetRevision"), text(chart, "/version"));
    assert!(spec["syncPolicy"]["syncOptions"].to_string().contains("RespectIgnoreDifferences=true"));
    let drift = &release["spec"]["driftDetection"];
    assert_eq!(drift["mode"], "enabled");
    let (values, ignored) = (&spec["source"]["helm"]["valuesObject"], &spec["ignoreDifferences"][0]);
    assert_eq!(
        (values, &ignored["jsonPointers"]),
        (&release["spec"]["values"], &drift["ignore"][0]["paths"])
    );
    assert_eq!(
        (&ignored["name"], &drift["ignore"][0]["target"]["name"]),
        (&"hookkeeper".into(), &"hookkeeper".into())
    );

    let documents = Helm::Four.template(values).unwrap();
    let mut deployment = named(&documents, "Deployment", "hookkeeper").clone();
    let containers = &deployment["spec"]["template"]["spec"]["containers"];
    for container in containers.as_array().unwrap() {
        let resources = &container["resources"];
        assert_eq!(resources["requests"], resources["limits"]);
        for resource in ["cpu", "memory", "ephemeral-storage"] {
            assert!(resources["requests"][resource].is_string(), "{resource}");
        }
    }
    let pointers = ignored["jsonPointers"].as_array().unwrap();
    for pointer in ["/spec/template/spec/containers/0/resources", "/spec/template/spec/tolerations"] {
        assert!(pointers.contains(&pointer.into()), "{pointer}");
    }
    *deployment.pointer_mut("/spec/template/spec/containers/0/resources").unwrap() = Value::Null;
    assert!(!deployment.to_string().contains("ephemeral-storage"), "requests are nowhere else");
}

#[test]
fn every_file_of_a_folder_is_listed() {
    for folder in ["team", "tenant", "flux", "flux/hookkeeper"] {
        let folder = format!("deploy/gitops/{folder}");
        let listed = documents(&format!("{folder}/kustomization.yaml")).remove(0)["resources"].clone();
        let listed: BTreeSet<_> =
            listed.as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
        let found: BTreeSet<_> = fs::read_dir(in_repository(&folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".yaml") && name != "kustomization.yaml")
            .collect();
        let files = listed.iter().filter(|path| Path::new(path).extension().is_some());
        assert_eq!(files.map(|file| (*file).to_owned()).collect::<BTreeSet<_>>(), found, "{folder}");
    }
}

/// As Flux does, and Argo CD with impersonation: the admission policy asks about this very account.
#[test]
fn what_the_team_brings_is_taken_from_its_own_account() {
    let team = in_repository("deploy/gitops/team");
    let files = ["provider", "token-source", "subscriptions", "receiver"];
    let files = files.map(|name| format!("{}/{name}.yaml", team.display()));
    let checked = run(&["check", &files[0], &files[1], &files[2], &files[3]]);
    assert!(checked.stdout.contains(", 0 problems, 0 warnings"), "{}{}", checked.stdout, checked.stderr);

    let cluster = admission::cluster();
    let tenant = in_repository("deploy/gitops/tenant");
    cluster.succeed(&["apply", "--server-side", "-k", tenant.to_str().unwrap()]);
    let account = "--as=system:serviceaccount:hr:gitops";
    let apply = ["apply", "--server-side", account, "-k", team.to_str().unwrap()];
    let applied = admission::until_rights_are_known(|| cluster.kubectl(&apply));
    assert_eq!(applied.stdout.lines().count(), 5, "{}", applied.stdout);
    // What the account may not read it may not name.
    let patch = r#"{"spec": {"auth": {"bearer": {"secretKeyRef": {"name": "payroll"}}}}}"#;
    let named = cluster.kubectl(&["patch", "whp", "gupy", "-n", "hr", "--type=merge", account, "-p", patch]);
    assert!(named.stderr.contains("names Secret payroll"), "{}", named.stderr);
}
