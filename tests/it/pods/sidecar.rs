//! `deploy/sidecar/kubernetes`: hookkeeper in the pod of the receiver that it works for.

use std::fs;

use serde_json::{Value, json};

use super::super::in_repository;
use super::trial::{NAMESPACE, Trial};

const TEAM: &str = "integrations";

/// The example with our image, and the sandbox instead of Gupy; a sandbox stands in for the receiver
/// too, because nothing but the image is there.
fn example(trial: &Trial) -> String {
    let text = fs::read_to_string(in_repository("deploy/sidecar/kubernetes/receiver.yaml")).unwrap();
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    for document in &mut documents {
        if let Some(manifests) = document.pointer_mut("/data/subscriptions.yaml") {
            let url = format!("http://hookkeeper-sandbox.{NAMESPACE}.svc:8480");
            let here = manifests
                .as_str()
                .unwrap()
                .replace("preset: gupy", &format!("preset: gupy\n  baseUrl: {url}"))
                .replace("https://auth.example.com", &url)
                .replace("integrations.example.com/gupy", "integrations.example.com/sidecar");
            assert_eq!(here.matches(&url).count(), 2, "{here}");
            *manifests = here.into();
        }
        let Some(pod) = document.pointer_mut("/spec/template/spec") else { continue };
        let sidecar = &mut pod["initContainers"][0];
        sidecar["image"] = trial.node.image.as_str().into();
        let allowed = format!("--allow-destination=http://hookkeeper-sandbox.{NAMESPACE}.svc:8480");
        sidecar["args"].as_array_mut().unwrap().push(allowed.into());
        let receiver = &mut pod["containers"][0];
        receiver["image"] = trial.node.image.as_str().into();
        receiver["args"] = json!(["sandbox", "--listen=0.0.0.0:8000"]);
    }
    documents.iter().map(|document| format!("{document}\n---\n")).collect()
}

pub fn goes_on_where_it_was_in_a_new_pod(trial: &Trial) {
    trial.restricted_namespace(TEAM);
    trial.node.offer_volume("sidecar");
    let kubectl = |arguments: &[&str]| trial.node.kubectl(&[&["--namespace", TEAM], arguments].concat());
    kubectl(&["create", "secret", "generic", "gupy-api", "--from-literal=token=sandbox-management-token"]);
    let secret = "--from-literal=secret=sandbox-client-secret";
    kubectl(&["create", "secret", "generic", "integration-client", secret]);
    let creates = trial.count("creates");
    kubectl(&["apply", "-f", &trial.file("sidecar.yaml", &example(trial))]);
    kubectl(&["rollout", "status", "deployment/receiver", "--timeout=180s"]);
    trial.until("created", |trial| trial.count("creates") > creates);
    // More than the two subscriptions of the operator get in the meantime.
    trial.until_rotated(5, "with a sidecar");

    kubectl(&["delete", "pod", "--selector=app.kubernetes.io/name=receiver"]);
    kubectl(&["rollout", "status", "deployment/receiver", "--timeout=180s"]);
    trial.until_rotated(5, "after the sidecar's pod was replaced");
    assert_eq!(trial.count("creates"), creates + 1, "{:#}", trial.ledger());
    trial.node.kubectl(&["delete", "namespace", TEAM, "--wait=false"]);
}
