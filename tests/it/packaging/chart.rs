//! What the chart gives for which values, with both Helms.

use std::fs;
use std::sync::LazyLock;

use hookkeeper::sandbox::{TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN};
use serde_json::{Value, json};

use super::super::process::Stream;
use super::super::{hookkeeper, in_repository, run};
use super::documents;
use super::helm::{BOTH, Helm, RELEASE, arguments, chart, named, of_kind};

/// Values that change what is rendered, each on its own.
fn switches() -> Vec<Value> {
    let digest = format!("sha256:{}", "a".repeat(64));
    vec![
        json!({}),
        json!({"crds": {"enabled": false}}),
        json!({"crds": {"keep": false}}),
        json!({"scope": {"namespaces": ["hookkeeper-system", "payments"], "selector": "team in (a, b)"}}),
        json!({"publishing": {"enabled": true}}),
        json!({"publishing": {"enabled": true, "namespaces": ["payments"]}}),
        json!({"publishing": {"enabled": true}, "scope": {"namespaces": ["payments"]}}),
        json!({"rbac": {"create": false}, "serviceAccount": {"create": false}}),
        json!({"rbac": {"aggregateRoles": false}}),
        json!({"serviceAccount": {"name": "keeper", "annotations": {"a": "b"}}}),
        json!({"image": {"repository": "registry:5000/keeper", "tag": "v1", "digest": digest}}),
        json!({"nameOverride": "keeper", "commonLabels": {"team": "a"}, "podLabels": {"b": "c"}}),
        json!({"fullnameOverride": "keeper", "podAnnotations": {"d": "e"}}),
        json!({"egress": {"allow": ["http://auth.internal:8080", "[fd00::/8]:443"]}, "observe": true}),
        json!({"requireAllowedHosts": true, "metrics": {"perObject": false, "service": {"enabled": false}}}),
        json!({"metrics": {
            "serviceMonitor": {"enabled": true, "interval": "30s", "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": true, "alertLabels": {"team": "a"}},
            "dashboard": {"enabled": true, "annotations": {"folder": "a"}},
        }}),
        json!({"metrics": {"podMonitor": {"enabled": true, "scrapeTimeout": "5s"}}}),
        json!({"networkPolicy": {"enabled": false}, "sandbox": {"enabled": true}}),
        json!({"networkPolicy": {"from": []}}),
        json!({"networkPolicy": {"enabled": true, "from": [{"podSelector": {}}], "egress": [{}]}}),
        json!({"podDisruptionBudget": {"maxUnavailable": "50%"}, "replicas": 5, "affinity": {"nodeAffinity": {}}}),
        json!({"admissionPolicy": {"enabled": true}, "fullnameOverride": "keeper"}),
        json!({"podDisruptionBudget": {"enabled": false}, "topologySpreadConstraints": [], "replicas": 0}),
        json!({"tolerations": [{"operator": "Exists"}], "priorityClassName": "high", "nodeSelector": {"a": "b"}}),
        json!({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}], "imagePullSecrets": [{"name": "a"}]}),
        json!({"extraArgs": ["--lease-namespace=a"], "extraEnv": [{"name": "RUST_BACKTRACE", "value": "1"}]}),
        json!({"sandbox": {"enabled": true, "tokenLife": "90s", "actions": [], "service": {"clusterIP": "fd00::1"}}}),
        json!({"commonAnnotations": {"team": "a"}, "metrics": {
            "serviceMonitor": {"enabled": true}, "prometheusRule": {"enabled": true},
            "dashboard": {"enabled": true},
        }, "networkPolicy": {"enabled": true}, "sandbox": {"enabled": true}, "admissionPolicy": {"enabled": true}}),
        json!({"dnsPolicy": "None", "dnsConfig": {
            "nameservers": ["10.0.0.10"], "searches": ["team.svc"], "options": [{"name": "ndots", "value": "1"}],
        }}),
        json!({"revisionHistoryLimit": 2, "runtimeClassName": "gvisor", "schedulerName": "other"}),
        json!({"extraEnvFrom": [{"configMapRef": {"name": "a"}}], "deploymentAnnotations": {"d": "e"}}),
        json!({"livenessProbe": {"failureThreshold": 6}, "readinessProbe": {"periodSeconds": 2}}),
        json!({"openshift": true, "sandbox": {"enabled": true}}),
        json!({"extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-one"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Namespace }}-two'}",
        ]}),
    ]
}

/// What both of them give.
pub(super) fn template(values: &Value) -> Vec<Value> {
    let [three, four] = BOTH.map(|helm| {
        let mut documents = helm.template(values).unwrap();
        documents.sort_by_key(Value::to_string);
        documents
    });
    assert_eq!(three, four, "{values}");
    four
}

/// What each of the switches gives.
fn switched() -> &'static [(Value, Vec<Value>)] {
    static RENDERED: LazyLock<Vec<(Value, Vec<Value>)>> = LazyLock::new(|| {
        let render = |values: Value| {
            let documents = template(&values);
            (values, documents)
        };
        switches().into_iter().map(render).collect()
    });
    &RENDERED
}

#[test]
fn both_helms_find_nothing_to_criticise() {
    let full = json!({
        "sandbox": {"enabled": true}, "networkPolicy": {"enabled": true}, "publishing": {"enabled": true},
        "metrics": {
            "serviceMonitor": {"enabled": true}, "prometheusRule": {"enabled": true},
            "dashboard": {"enabled": true},
        },
    });
    for helm in BOTH {
        for values in [json!({}), full.clone()] {
            helm.command(&["lint", "--strict", &chart()]).values(&values).succeed();
        }
    }
}

#[test]
fn whatever_the_values_objects_are_labelled_and_pods_restricted() {
    for (values, documents) in switched() {
        for document in documents {
            let metadata = &document["metadata"];
            let what = format!("{} {} with {values}", document["kind"], metadata["name"]);
            if values.get("extraObjects").is_none() || document["kind"] != "ConfigMap" {
                assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "hookkeeper", "{what}");
            }
            if let Some(common) = values.get("commonLabels") {
                assert_eq!(metadata["labels"]["team"], common["team"], "{what}");
            }
            if let Some(common) = values.get("commonAnnotations") {
                assert_eq!(metadata["annotations"]["team"], common["team"], "{what}");
            }
            if document["kind"] == "Deployment" {
                let user = if values["openshift"] == true { Value::Null } else { json!(65532) };
                assert_restricted(&document["spec"]["template"], &user, &what);
            }
        }
    }
}

fn assert_restricted(template: &Value, user: &Value, what: &str) {
    let pod = &template["spec"];
    let of_pod = &pod["securityContext"];
    assert_eq!((&of_pod["runAsNonRoot"], &of_pod["runAsUser"]), (&json!(true), user), "{what}");
    assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault", "{what}");
    let container = &pod["containers"][0];
    let expected = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    });
    assert_eq!(container["securityContext"], expected, "{what}");
    assert!(container["resources"]["limits"]["memory"].is_string(), "{what}");
    for forbidden in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
        assert!(pod.get(forbidden).is_none(), "{what}");
    }
}

#[test]
fn the_binary_takes_the_arguments_that_follow_from_the_values() {
    for (_, documents) in switched() {
        let controller = of_kind(documents, "Deployment")
            .into_iter()
            .find(|deployment| {
                deployment["metadata"]["labels"]["app.kubernetes.io/component"] == "controller"
            })
            .unwrap();
        let mut words: Vec<String> = arguments(controller);
        for word in &mut words {
            if word.starts_with("--admin-listen=") {
                assert_eq!(word, "--admin-listen=0.0.0.0:8080");
                *word = "--admin-listen=127.0.0.1:0".to_owned();
            }
        }
        takes(&words);
    }
}

/// It finds no cluster, which is no fault of its command line.
pub(super) fn takes(words: &[String]) {
    let ended = hookkeeper().args(words).env("KUBECONFIG", "/nonexistent").run();
    assert_eq!(ended.code, Some(1), "{words:?}: {}", ended.stderr);
    let found = ended.stderr.contains("/nonexistent");
    assert!(found, "{words:?}: {}", ended.stderr);
}

#[test]
fn values_become_arguments() {
    let given = |values: Value| arguments(named(&template(&values), "Deployment", "hookkeeper"));
    let plain = [
        "controller",
        "--lease-name=hookkeeper",
        "--lease-duration=45s",
        "--deletion-grace=10m",
        "--secret-poll-interval=1m",
        "--shutdown-timeout=20s",
        "--workers=16",
        "--threads=2",
        "--admin-listen=0.0.0.0:8080",
        "--log-format=json",
        "--log-level=info",
    ];
    assert_eq!(given(json!({})), plain);
    let changed = given(json!({
        "scope": {"namespaces": ["a", "b"], "selector": "team=a"}, "leaseDuration": "15s",
        "deletionGrace": "1h", "secretPollInterval": "5s", "shutdownTimeout": "1m30s", "workers": 4,
        "threads": 1, "listenAddress": "[::]", "metrics": {"port": 9000, "perObject": false},
        "log": {"format": "human", "level": "debug,kube=warn", "allowLevelChanges": true}, "requireAllowedHosts": true,
        "observe": true, "egress": {"allow": ["auth.internal", "10.0.0.0/8:443"]}, "extraArgs": ["--x"],
    }));
    let expected = [
        "controller",
        "--namespace=a",
        "--namespace=b",
        "--selector=team=a",
        "--lease-name=hookkeeper",
        "--lease-duration=15s",
        "--deletion-grace=1h",
        "--secret-poll-interval=5s",
        "--shutdown-timeout=1m30s",
        "--workers=4",
        "--threads=1",
        "--admin-listen=[::]:9000",
        "--log-format=human",
        "--log-level=debug,kube=warn",
        "--allow-log-level-changes",
        "--no-object-metrics",
        "--require-allowed-hosts",
        "--observe",
        "--allow-destination=auth.internal",
        "--allow-destination=10.0.0.0/8:443",
        "--x",
    ];
    assert_eq!(changed, expected);
}

#[test]
fn a_pod_has_longer_to_end_than_its_steps() {
    for (timeout, seconds) in [("20s", 30), ("1m30s", 100), ("08m", 490), ("1h1ms", 3611), ("500ms", 11)] {
        let documents = template(&json!({ "shutdownTimeout": timeout }));
        let pod = &named(&documents, "Deployment", "hookkeeper")["spec"]["template"]["spec"];
        assert_eq!(pod["terminationGracePeriodSeconds"], seconds, "{timeout}");
    }
}

#[test]
fn only_who_is_named_reaches_the_pods() {
    let ingress = |values: Value| {
        let documents = template(&values);
        let policy = of_kind(&documents, "NetworkPolicy").first().copied()?;
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
        let selected = &policy["spec"]["podSelector"]["matchLabels"];
        let labels = &named(&documents, "Deployment", "hookkeeper")["spec"]["template"]["metadata"]["labels"];
        for (name, value) in selected.as_object().unwrap() {
            assert_eq!(&labels[name], value);
        }
        Some(policy["spec"]["ingress"].clone())
    };
    let prometheus = json!([{
        "ports": [{"port": "metrics", "protocol": "TCP"}],
        "from": [{
            "namespaceSelector": {},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
        }],
    }]);
    assert_eq!(ingress(json!({})), Some(prometheus));
    // An empty list of sources would mean everybody; an empty list of rules means nobody.
    assert_eq!(ingress(json!({"networkPolicy": {"from": []}})), Some(json!([])));
    let network = json!([{"ipBlock": {"cidr": "10.0.0.0/24"}}]);
    assert_eq!(
        ingress(json!({"networkPolicy": {"from": network}})),
        Some(json!([{"ports": [{"port": "metrics", "protocol": "TCP"}], "from": network}]))
    );
    assert_eq!(ingress(json!({"networkPolicy": {"enabled": false}})), None);
}

#[test]
fn the_image_is_named_by_tag_or_digest() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let version = env!("CARGO_PKG_VERSION");
    for (values, expected) in [
        (json!({}), format!("ghcr.io/hookkeeper/hookkeeper:{version}")),
        (json!({"tag": "v2"}), "ghcr.io/hookkeeper/hookkeeper:v2".to_owned()),
        (json!({"digest": digest}), format!("ghcr.io/hookkeeper/hookkeeper@{digest}")),
        (json!({"repository": "r:5000/k", "tag": "v2", "digest": digest}), format!("r:5000/k:v2@{digest}")),
    ] {
        let documents = template(&json!({"image": values, "sandbox": {"enabled": true}}));
        for deployment in of_kind(&documents, "Deployment") {
            assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], expected);
        }
    }
}

#[test]
fn selectors_never_change_and_tell_the_sandbox_from_the_operator() {
    let documents =
        template(&json!({"sandbox": {"enabled": true}, "commonLabels": {"a": "b"}, "podLabels": {"c": "d"}}));
    for deployment in of_kind(&documents, "Deployment") {
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        let component = &deployment["metadata"]["labels"]["app.kubernetes.io/component"];
        let expected = json!({
            "app.kubernetes.io/name": "hookkeeper",
            "app.kubernetes.io/instance": "hookkeeper",
            "app.kubernetes.io/component": component,
        });
        assert_eq!(*selector, expected);
        let labels = deployment["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
        assert!(selector.as_object().unwrap().iter().all(|(name, value)| labels.get(name) == Some(value)));
        // A new version of the chart must not replace the sandbox's pod, which remembers its webhooks.
        assert!(labels.keys().all(|name| !name.contains("version") && !name.contains("chart")), "{labels:?}");
    }
}

#[test]
fn the_sandbox_that_is_rendered_runs_and_its_objects_are_valid() {
    let documents = template(&json!({"sandbox": {"enabled": true, "actions": ["job.published"]}}));
    let url = "http://hookkeeper-sandbox.hookkeeper-system.svc:8480";
    let allowed = arguments(named(&documents, "Deployment", "hookkeeper"));
    assert!(allowed.contains(&format!("--allow-destination={url}")), "{allowed:?}");
    let secret = &named(&documents, "Secret", "hookkeeper-sandbox")["stringData"];
    let trial = json!({"management-token": TRIAL_MANAGEMENT_TOKEN, "client-secret": TRIAL_CLIENT_SECRET});
    assert_eq!(*secret, trial);

    let sandbox = arguments(named(&documents, "Deployment", "hookkeeper-sandbox"));
    let words = sandbox.iter().map(|word| word.replace("0.0.0.0:8480", "127.0.0.1:0"));
    let mut sandbox = hookkeeper().args(words).unread(Stream::Error).spawn();
    sandbox.until_says("provider API");
    assert_eq!(sandbox.stop(), Some(0));

    let folder = tempfile::tempdir().unwrap();
    let created = documents.iter().filter(|document| {
        let hook = &document["metadata"]["annotations"]["helm.sh/hook"];
        *hook == "post-install,post-upgrade" || document["kind"] == "Secret"
    });
    let mut kinds: Vec<&str> = Vec::new();
    for (number, document) in created.enumerate() {
        kinds.push(document["kind"].as_str().unwrap());
        assert!(!document.to_string().contains("8480") || document.to_string().contains(url));
        fs::write(folder.path().join(format!("{number}.json")), document.to_string()).unwrap();
    }
    kinds.sort_unstable();
    assert_eq!(kinds, ["Secret", "TokenSource", "WebhookProvider", "WebhookSubscription"]);
    let checked = run(&["check", folder.path().to_str().unwrap()]);
    assert_eq!(checked.code, Some(0), "{}", checked.stdout);
    assert!(checked.stdout.contains(", 0 problems, 0 warnings"), "{}", checked.stdout);
}

#[test]
fn extra_objects_may_be_yaml_or_text() {
    let (values, documents) = switched().last().unwrap();
    assert!(values.get("extraObjects").is_some());
    named(documents, "ConfigMap", "hookkeeper-one");
    named(documents, "ConfigMap", "hookkeeper-system-two");
}

#[test]
fn definitions_are_kept_unless_told_otherwise() {
    let policies = |values: Value| -> Vec<Value> {
        let documents = Helm::Four.template(&values).unwrap();
        let definitions = of_kind(&documents, "CustomResourceDefinition");
        definitions
            .iter()
            .map(|document| document["metadata"]["annotations"]["helm.sh/resource-policy"].clone())
            .collect()
    };
    assert_eq!(policies(json!({})), vec![json!("keep"); 4]);
    assert_eq!(policies(json!({"crds": {"keep": false}})), vec![Value::Null; 4]);
    assert!(policies(json!({"crds": {"enabled": false}})).is_empty());
}

#[test]
fn the_admission_policy_is_that_of_the_folder_with_the_releases_labels() {
    let mut given = template(&json!({"admissionPolicy": {"enabled": true}}));
    given.retain(|document| document["kind"].as_str().unwrap().starts_with("ValidatingAdmissionPolicy"));
    for document in &mut given {
        let labels = document["metadata"].as_object_mut().unwrap().remove("labels").unwrap();
        assert_eq!(labels["app.kubernetes.io/instance"], RELEASE);
    }
    let file = in_repository("deploy/admission-policy/policy.yaml");
    let given =
        json!(given).to_string().replace("hookkeeper-secrets.hookkeeper-system", "hookkeeper-secrets");
    assert_eq!(serde_json::from_str::<Vec<Value>>(&given).unwrap(), documents(&file));
}
