//! What the values put into the pods: resolver, volumes, certificates, a proxy, and no user where the
//! platform gives one.

use std::fs;

use serde_json::{Value, json};

use super::super::cluster::{Cluster, pem};
use super::super::in_repository;
use super::chart::{takes, template};
use super::documents_in;
use super::helm::{BOTH, RELEASE, arguments, chart, named, of_kind};

/// The pod of the operator with these values.
fn pod(values: &Value) -> Value {
    named(&template(values), "Deployment", "hookkeeper")["spec"]["template"]["spec"].clone()
}

#[test]
fn the_resolver_is_set_for_every_pod_and_for_none_by_default() {
    let config = json!({"options": [{"name": "ndots", "value": "1"}]});
    let values = json!({"dnsPolicy": "Default", "dnsConfig": config, "sandbox": {"enabled": true}});
    for deployment in of_kind(&template(&values), "Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!((&pod["dnsPolicy"], &pod["dnsConfig"]), (&json!("Default"), &config));
    }
    let plain = pod(&json!({}));
    assert_eq!((plain.get("dnsPolicy"), plain.get("dnsConfig")), (None, None));
}

#[test]
fn old_replica_sets_are_kept_as_many_as_asked_for() {
    for (values, expected) in [(json!({}), 10), (json!({"revisionHistoryLimit": 0}), 0)] {
        let documents = template(&values);
        assert_eq!(named(&documents, "Deployment", "hookkeeper")["spec"]["revisionHistoryLimit"], expected);
    }
}

#[test]
fn annotations_for_all_objects_give_way_to_an_objects_own_and_leave_pods_alone() {
    let values = json!({
        "commonAnnotations": {"helm.sh/resource-policy": "none", "owner": "us"},
        "serviceAccount": {"annotations": {"owner": "them"}}, "deploymentAnnotations": {"reload": "yes"},
    });
    let documents = template(&values);
    let account = named(&documents, "ServiceAccount", "hookkeeper");
    assert_eq!(account["metadata"]["annotations"]["owner"], "them");
    for definition in of_kind(&documents, "CustomResourceDefinition") {
        let annotations = &definition["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/resource-policy"], "keep");
        assert_eq!(annotations["owner"], "us");
    }
    let deployment = named(&documents, "Deployment", "hookkeeper");
    assert_eq!(deployment["metadata"]["annotations"]["reload"], "yes");
    // Else a change of them would replace all pods.
    assert_eq!(deployment["spec"]["template"]["metadata"]["annotations"].get("owner"), None);
}

/// Every user and group that a security context of these objects pins.
fn pinned(documents: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let workloads = ["Deployment", "StatefulSet"].map(|kind| of_kind(documents, kind)).concat();
    for deployment in workloads {
        let pod = &deployment["spec"]["template"]["spec"];
        let containers = pod["containers"].as_array().unwrap().iter();
        for context in containers.chain([pod]).map(|place| &place["securityContext"]) {
            for field in ["runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"] {
                if context.get(field).is_some() {
                    found.push(format!("{}: {field}", deployment["metadata"]["name"]));
                }
            }
        }
    }
    found
}

#[test]
fn on_openshift_no_user_and_no_group_is_pinned() {
    let own = json!({"fsGroup": 1, "supplementalGroups": [1]});
    let values = |openshift: Value| {
        json!({
            "openshift": openshift, "podSecurityContext": own, "securityContext": {"runAsUser": 1},
            "sandbox": {"enabled": true},
        })
    };
    let openshift = &["--api-versions", "security.openshift.io/v1"][..];
    for helm in BOTH {
        let pinned = |asked: Value, options: &[&str]| {
            pinned(&helm.template_with("a", options, &values(asked)).unwrap()).len()
        };
        assert_eq!(pinned(json!(true), &[]), 0, "{helm:?}");
        assert_eq!(pinned(json!("auto"), openshift), 0, "{helm:?}");
        // Runs in both pods: the pod's user and three groups, and the container's user.
        assert_eq!(pinned(json!("auto"), &[]), 10, "{helm:?}");
        assert_eq!(pinned(json!(false), openshift), 10, "{helm:?}");
    }
}

#[test]
fn without_a_user_pod_security_restricted_takes_the_pods_as_well() {
    let cluster = Cluster::shared();
    let values = json!({
        "openshift": true, "sandbox": {"enabled": true, "actions": []}, "crds": {"enabled": false},
    });
    for helm in BOTH {
        let namespace = cluster.restricted_namespace("openshift");
        let install = ["install", RELEASE, &chart(), "--namespace", &namespace];
        let installed = helm.command(&install).on(cluster).values(&values).succeed();
        assert!(!installed.stderr.to_lowercase().contains("warning"), "{}", installed.stderr);
        helm.command(&["uninstall", RELEASE, "--namespace", &namespace]).on(cluster).succeed();
    }
}

#[test]
fn kustomize_leaves_the_user_out_with_a_component_on_every_overlay() {
    let cluster = Cluster::shared();
    let deploy = in_repository("deploy");
    let built = |folder: &str| documents_in(&cluster.succeed(&["kustomize", folder])).unwrap();
    let base = built(deploy.join("base").to_str().unwrap());
    assert_eq!(pinned(&base).len(), 2);
    let openshift = built(deploy.join("overlays/openshift").to_str().unwrap());
    assert_eq!(pinned(&openshift), [""; 0]);
    // Nothing else is different, and what Pod Security `restricted` asks for stays.
    let mut expected = base;
    let deployment = expected.iter_mut().find(|document| document["kind"] == "Deployment").unwrap();
    let context = deployment["spec"]["template"]["spec"]["securityContext"].as_object_mut().unwrap();
    context.remove("runAsUser");
    context.remove("runAsGroup");
    assert_eq!(context["runAsNonRoot"], true);
    assert_eq!(openshift, expected);
    for overlay in ["ha", "namespaced", "gate"] {
        let folder = tempfile::tempdir().unwrap();
        // kustomize takes relative paths only.
        let up = "../".repeat(folder.path().components().count() - 1);
        let below = |name: &str| format!("{up}{}", deploy.join(name).strip_prefix("/").unwrap().display());
        let overlay_folder = below(&format!("overlays/{overlay}"));
        let both = json!({"resources": [overlay_folder], "components": [below("components/openshift")]});
        fs::write(folder.path().join("kustomization.yaml"), both.to_string()).unwrap();
        let built = built(folder.path().to_str().unwrap());
        assert_eq!((of_kind(&built, "Deployment").len(), pinned(&built)), (1, vec![]), "{overlay}");
    }
}

#[test]
fn further_volumes_are_mounted() {
    let volumes = json!([{"name": "certificates", "secret": {"secretName": "ca"}}]);
    let mounts = json!([{"name": "certificates", "mountPath": "/certificates", "readOnly": true}]);
    let pod = pod(&json!({"extraVolumes": volumes, "extraVolumeMounts": mounts}));
    assert_eq!((&pod["volumes"], &pod["containers"][0]["volumeMounts"]), (&volumes, &mounts));
}

/// Values about certificates and a proxy; what the pod mounts for them, and the arguments.
fn outbound() -> Vec<(Value, Vec<Value>, Vec<&'static str>)> {
    let items = |key: &str| json!([{"key": key, "path": key}]);
    vec![
        (
            json!({"ca": {"configMap": "trust", "key": "bundle.pem"}}),
            vec![
                json!({"name": "hookkeeper-ca", "configMap": {"name": "trust", "items": items("bundle.pem")}}),
            ],
            vec!["--ca-file=/etc/hookkeeper/ca/bundle.pem"],
        ),
        (
            json!({"ca": {"secret": "trust"}}),
            vec![
                json!({"name": "hookkeeper-ca", "secret": {"secretName": "trust", "items": items("ca.crt")}}),
            ],
            vec!["--ca-file=/etc/hookkeeper/ca/ca.crt"],
        ),
        (json!({"ca": {"file": "/certificates/ca.crt"}}), vec![], vec!["--ca-file=/certificates/ca.crt"]),
        (
            json!({"proxy": {"url": "http://proxy.internal:3128"}}),
            vec![],
            vec!["--proxy=http://proxy.internal:3128"],
        ),
        (
            json!({"proxy": {"url": "http://proxy:3128", "credentialsSecret": {"name": "a", "key": "b"}}}),
            vec![json!({"name": "hookkeeper-proxy", "secret": {"secretName": "a", "items": items("b")}})],
            vec!["--proxy=http://proxy:3128", "--proxy-credentials-file=/etc/hookkeeper/proxy/b"],
        ),
    ]
}

#[test]
fn certificates_and_a_proxy_are_mounted_and_named() {
    for (values, volumes, expected) in outbound() {
        let pod = pod(&values);
        let mounted = pod["volumes"].as_array().cloned().unwrap_or_default();
        assert_eq!(mounted, volumes, "{values}");
        let mounts = pod["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
        for (mount, volume) in mounts.iter().zip(&volumes) {
            let path = mount["mountPath"].as_str().unwrap();
            assert!(expected.iter().any(|word| word.contains(&format!("={path}/"))), "{mount}");
            assert_eq!((&mount["name"], &mount["readOnly"]), (&volume["name"], &json!(true)));
            // A single file would never change while the pod runs.
            assert_eq!(mount.get("subPath"), None);
        }
        assert_eq!(mounts.len(), volumes.len());
        let documents = template(&values);
        let words = arguments(named(&documents, "Deployment", "hookkeeper"));
        for word in expected {
            assert!(words.contains(&word.to_owned()), "{word}: {words:?}");
        }
    }
}

#[test]
fn the_binary_takes_the_certificates_and_the_proxy_that_are_mounted() {
    let root = tempfile::tempdir().unwrap();
    for (values, ..) in outbound() {
        let documents = template(&values);
        let words = arguments(named(&documents, "Deployment", "hookkeeper")).into_iter().map(|word| {
            let Some((name, path)) = word.split_once("=/") else {
                return word.replace("0.0.0.0:8080", "127.0.0.1:0");
            };
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let text = if name == "--ca-file" {
                let signed = rcgen::generate_simple_self_signed(["ca.internal".to_owned()]).unwrap();
                pem("CERTIFICATE", signed.cert.der())
            } else {
                "user:password".to_owned()
            };
            fs::write(&file, text).unwrap();
            format!("{name}={}", file.display())
        });
        takes(&words.collect::<Vec<_>>());
    }
}
