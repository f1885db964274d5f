//! The gate in the chart: its two workloads, what leads to it, and what it refuses to do.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::in_repository;
use super::super::readme::blocks;
use super::chart::{takes, template};
use super::helm::{BOTH, Helm, RELEASE, arguments, chart, named, of_kind};

const NAME: &str = "hookkeeper-gate";
/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The values of a gate, with these settings of `gate` besides the least that it takes.
pub(super) fn values(settings: &Value) -> Value {
    let mut gate = json!({"enabled": true, "namespaces": ["team-a"]});
    for (name, value) in settings.as_object().unwrap() {
        gate[name] = value.clone();
    }
    json!({ "gate": gate })
}

/// A gate that shares a database.
pub(super) fn postgres() -> Value {
    json!({"store": "PostgreSQL", "database": {"host": "db.internal", "credentials": {"secret": "db"}}})
}

fn rendered(settings: &Value) -> Vec<Value> {
    template(&values(settings))
}

fn of_the_gate(document: &Value) -> bool {
    document["metadata"]["labels"]["app.kubernetes.io/component"] == "gate"
}

#[test]
fn without_being_asked_for_nothing_of_it_is_there() {
    assert!(!template(&json!({})).iter().any(of_the_gate));
    let kinds: BTreeSet<_> = rendered(&json!({}))
        .iter()
        .filter(|document| of_the_gate(document))
        .map(|document| document["kind"].to_string())
        .collect();
    let expected = [
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
        "StatefulSet",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    assert_eq!(kinds, expected.iter().map(|kind| format!("{kind:?}")).collect());
}

#[test]
fn with_sqlite_each_pod_has_a_volume_of_its_own_that_outlives_it() {
    let documents = rendered(
        &json!({"persistence": {"size": "5Gi", "storageClassName": "fast", "accessMode": "ReadWriteOncePod"}}),
    );
    let spec = &named(&documents, "StatefulSet", NAME)["spec"];
    assert_eq!(spec["replicas"], 2);
    let claim = &spec["volumeClaimTemplates"][0];
    assert_eq!(
        claim["spec"],
        json!({
            "accessModes": ["ReadWriteOncePod"], "storageClassName": "fast", "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": "5Gi"}},
        })
    );
    let retained = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
    assert_eq!(spec["persistentVolumeClaimRetentionPolicy"], retained);
    let pod = &spec["template"]["spec"];
    let mount = json!({"name": claim["metadata"]["name"], "mountPath": "/var/lib/hookkeeper"});
    assert_eq!(pod["containers"][0]["volumeMounts"], json!([mount]));
    assert_eq!(pod.get("volumes"), None);
    // The volume is made writable for this group.
    assert_eq!(pod["securityContext"]["fsGroup"], 65532);
    let words = arguments(named(&documents, "StatefulSet", NAME));
    assert!(words.contains(&"--data=/var/lib/hookkeeper".to_owned()), "{words:?}");

    let documents = rendered(&json!({"persistence": {"mayVanish": true}}));
    let spec = &named(&documents, "StatefulSet", NAME)["spec"];
    assert_eq!(spec.get("volumeClaimTemplates"), None);
    assert_eq!(spec["template"]["spec"]["volumes"][0]["emptyDir"], json!({"sizeLimit": "10Gi"}));
    assert!(arguments(named(&documents, "StatefulSet", NAME)).contains(&"--data-may-vanish".to_owned()));
}

#[test]
fn with_postgresql_it_is_a_deployment_that_an_autoscaler_may_scale() {
    let documents = rendered(&postgres());
    assert!(of_kind(&documents, "StatefulSet").is_empty());
    let spec = &named(&documents, "Deployment", NAME)["spec"];
    assert_eq!(
        (&spec["replicas"], &spec["strategy"]["rollingUpdate"]["maxUnavailable"]),
        (&json!(2), &json!(0))
    );
    let words = arguments(named(&documents, "Deployment", NAME));
    let about_the_store: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| word.starts_with("--data")).collect();
    assert_eq!(
        about_the_store,
        [
            "--database=db.internal:5432/hookkeeper",
            "--database-user-file=/etc/hookkeeper/database/username",
            "--database-password-file=/etc/hookkeeper/database/password",
            "--database-tls=verify-full",
            "--database-connections=8",
        ]
    );
    let pod = &spec["template"]["spec"];
    let mounted = |pod: &Value, name: &str| {
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap().clone();
        mounts.into_iter().find(|mount| mount["name"] == name).map(|mount| mount["mountPath"].clone())
    };
    assert_eq!(mounted(pod, "database"), Some(json!("/etc/hookkeeper/database")));
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "db");
    let mut several = postgres();
    several["database"]["host"] = json!("one,two");
    several["database"]["ca"] = json!({"configMap": "db-ca", "key": "bundle.pem"});
    let documents = rendered(&several);
    let words = arguments(named(&documents, "Deployment", NAME));
    for word in [
        "--database=one:5432,two:5432/hookkeeper",
        "--database-ca-file=/etc/hookkeeper/database-ca/bundle.pem",
    ] {
        assert!(words.contains(&word.to_owned()), "{words:?}");
    }
    let pod = &named(&documents, "Deployment", NAME)["spec"]["template"]["spec"];
    assert_eq!(mounted(pod, "database-ca"), Some(json!("/etc/hookkeeper/database-ca")));
    let mut scaled = postgres();
    scaled["replicas"] = Value::Null;
    let documents = rendered(&scaled);
    assert_eq!(named(&documents, "Deployment", NAME)["spec"].get("replicas"), None);
}

#[test]
fn pods_are_restricted_and_know_who_they_are() {
    for settings in [
        json!({}),
        postgres(),
        json!({"dataKey": {"secret": "key", "previousKey": "old"}, "tls": {"secret": "tls"}}),
    ] {
        let documents = rendered(&settings);
        let workload = documents
            .iter()
            .find(|document| of_the_gate(document) && document["spec"]["template"].is_object())
            .unwrap();
        let pod = &workload["spec"]["template"]["spec"];
        let of_pod = &pod["securityContext"];
        assert_eq!((&of_pod["runAsNonRoot"], &of_pod["runAsUser"]), (&json!(true), &json!(65532)));
        assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0];
        assert_eq!(
            container["securityContext"],
            json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
        );
        let names: Vec<_> = container["env"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| {
                (
                    variable["name"].as_str().unwrap(),
                    variable["valueFrom"]["fieldRef"]["fieldPath"].as_str().unwrap(),
                )
            })
            .collect();
        let expected = [
            ("HOSTNAME", "metadata.name"),
            ("POD_NAMESPACE", "metadata.namespace"),
            ("POD_UID", "metadata.uid"),
        ];
        assert_eq!(names, expected);
        assert_eq!(pod["terminationGracePeriodSeconds"], 60);
        assert_eq!(pod["serviceAccountName"], NAME);
        // Nobody who sends deliveries can fill the port that is asked.
        for (probe, path) in
            [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "metrics"}), "{probe}");
        }
    }
}

#[test]
fn values_become_arguments() {
    let given = |settings: &Value| arguments(named(&rendered(settings), "StatefulSet", NAME));
    let plain = [
        "gate",
        "--namespace=team-a",
        "--lease-namespace=hookkeeper-system",
        "--data=/var/lib/hookkeeper",
        "--listen=0.0.0.0:8090",
        "--admin-listen=0.0.0.0:8080",
        "--log-format=json",
        "--log-level=info",
    ];
    assert_eq!(given(&json!({})), plain);
    let changed = given(&json!({
        "namespaces": ["a", "b"], "dataKey": {"secret": "keys", "key": "new", "previousKey": "old"},
        "allowClearBodies": true, "publicUrl": "https://hooks.example.com", "trustedProxies": ["10.0.0.0/8", "fd00::/8"],
        "allowPaths": ["a=/hooks", "b=/"], "tls": {"secret": "tls"}, "expect": {"enabled": true},
        "egress": {"allow": ["http://app.internal:8080"]}, "extraArgs": ["--drain=5s"],
    }));
    let expected = [
        "gate",
        "--namespace=a",
        "--namespace=b",
        "--lease-namespace=hookkeeper-system",
        "--data=/var/lib/hookkeeper",
        "--listen=0.0.0.0:8090",
        "--expect-listen=0.0.0.0:8091",
        "--admin-listen=0.0.0.0:8080",
        "--data-key-file=/etc/hookkeeper/data-key/new",
        "--data-key-file=/etc/hookkeeper/data-key/old",
        "--allow-clear-bodies",
        "--public-url=https://hooks.example.com",
        "--trusted-proxy=10.0.0.0/8",
        "--trusted-proxy=fd00::/8",
        "--allow-path=a=/hooks",
        "--allow-path=b=/",
        "--tls-cert=/etc/hookkeeper/tls/tls.crt",
        "--tls-key=/etc/hookkeeper/tls/tls.key",
        "--log-format=json",
        "--log-level=info",
        "--allow-destination=http://app.internal:8080",
        "--drain=5s",
    ];
    assert_eq!(changed, expected);
}

#[test]
fn the_binary_takes_the_arguments_that_follow_from_the_values() {
    let full = json!({
        "namespaces": ["a", "b"], "dataKey": {"secret": "keys", "key": "new", "previousKey": "old"},
        "allowClearBodies": true, "publicUrl": "https://hooks.example.com", "trustedProxies": ["10.0.0.0/8"],
        "allowPaths": ["a=/hooks", "b=/"], "tls": {"secret": "tls"}, "expect": {"enabled": true},
        "egress": {"allow": ["http://app.internal:8080"]}, "persistence": {"mayVanish": true},
    });
    for settings in [json!({}), full, postgres()] {
        let mut values = values(&settings);
        values["scope"] = json!({"selector": "team in (a, b)"});
        let documents = template(&values);
        let workload = documents
            .iter()
            .find(|document| of_the_gate(document) && document["spec"]["template"].is_object())
            .unwrap();
        let mut words = arguments(workload);
        // In a pod it has the pod's name.
        words.push("--name=gate-0".to_owned());
        takes(&words);
    }
}

#[test]
fn services_lead_to_the_ports_and_select_the_pods() {
    let documents = rendered(&json!({"expect": {"enabled": true}}));
    let template = &named(&documents, "StatefulSet", NAME)["spec"]["template"];
    let ports = template["spec"]["containers"][0]["ports"].as_array().unwrap();
    for (service, port) in
        [(NAME, "deliveries"), ("hookkeeper-gate-expect", "expect"), ("hookkeeper-gate-metrics", "metrics")]
    {
        let spec = &named(&documents, "Service", service)["spec"];
        assert_eq!(spec["ports"][0]["targetPort"], port);
        assert_eq!(spec["ports"].as_array().unwrap().len(), 1, "{service} shows one port and no other");
        assert!(ports.iter().any(|known| known["name"] == port), "{port}");
        for (label, value) in spec["selector"].as_object().unwrap() {
            assert_eq!(&template["metadata"]["labels"][label], value, "{service}");
        }
    }
    let operator = &named(&documents, "Deployment", "hookkeeper")["spec"]["template"]["metadata"]["labels"];
    assert_ne!(
        operator["app.kubernetes.io/component"],
        template["metadata"]["labels"]["app.kubernetes.io/component"]
    );
}

#[test]
fn an_ingress_and_a_route_lead_to_the_public_port_and_leave_the_path_alone() {
    let documents = rendered(&json!({
        "service": {"port": 8080},
        "ingress": {"enabled": true, "className": "nginx", "host": "hooks.example.com", "tlsSecret": "hooks"},
        "httpRoute": {"enabled": true, "parentRefs": [{"name": "public", "namespace": "gateways"}], "hostnames": ["hooks.example.com"]},
    }));
    let ingress = &named(&documents, "Ingress", NAME)["spec"];
    assert_eq!(ingress["tls"], json!([{"hosts": ["hooks.example.com"], "secretName": "hooks"}]));
    let backend = json!({"service": {"name": NAME, "port": {"name": "deliveries"}}});
    let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
    assert_eq!(ingress["rules"], json!([{"host": "hooks.example.com", "http": {"paths": [path]}}]));
    let route = &named(&documents, "HTTPRoute", NAME)["spec"];
    assert_eq!(route["rules"][0]["backendRefs"], json!([{"name": NAME, "port": 8080}]));
    assert_eq!(route["rules"][0].get("filters"), None);
    assert_eq!(route["parentRefs"], json!([{"name": "public", "namespace": "gateways"}]));
}

#[test]
fn each_port_is_reached_by_those_whom_it_is_for() {
    let ingress = |values: &Value| {
        let documents = template(values);
        named(&documents, "NetworkPolicy", NAME)["spec"]["ingress"].clone()
    };
    let from = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]);
    let asked = values(&json!({"networkPolicy": {"from": from}, "expect": {"enabled": true}}));
    let rules = ingress(&asked);
    let of_port = |port: &str| {
        let rule = rules.as_array().unwrap().iter().find(|rule| rule["ports"][0]["port"] == port);
        rule.unwrap_or_else(|| panic!("{port}: {rules}"))["from"].clone()
    };
    assert_eq!(of_port("deliveries"), from);
    assert_eq!(of_port("metrics")[0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"], "prometheus");
    assert_eq!(of_port("expect")[0]["namespaceSelector"]["matchExpressions"][0]["values"], json!(["team-a"]));
    // By default everybody reaches the public port, and nobody is let in by a rule without `from`.
    let plain = ingress(&values(&json!({})));
    assert_eq!(plain[0]["from"].as_array().unwrap().len(), 3, "{plain}");
    let mut nobody = values(&json!({"networkPolicy": {"from": []}}));
    nobody["networkPolicy"] = json!({"from": []});
    assert_eq!(ingress(&nobody), json!([]));
}

#[test]
fn both_parts_are_scraped() {
    for (monitor, kind) in [("serviceMonitor", "ServiceMonitor"), ("podMonitor", "PodMonitor")] {
        let mut values = values(&json!({}));
        values["metrics"] = json!({ monitor: {"enabled": true} });
        let documents = template(&values);
        for (name, component) in [("hookkeeper", "controller"), (NAME, "gate")] {
            let selected = &named(&documents, kind, name)["spec"]["selector"]["matchLabels"];
            assert_eq!(selected["app.kubernetes.io/component"], component, "{kind}");
        }
    }
}

#[test]
fn on_openshift_no_user_and_no_group_is_pinned() {
    let mut values = values(&json!({}));
    values["openshift"] = json!(true);
    let documents = template(&values);
    let context = &named(&documents, "StatefulSet", NAME)["spec"]["template"]["spec"]["securityContext"];
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(context.get(field), None, "{context}");
    }
}

/// A release with its gate on a real API server: nothing is warned about, and pods that would leave a volume
/// unread are not taken away unless somebody has looked.
#[test]
fn fewer_volumes_are_refused_until_somebody_has_looked() {
    let cluster = Cluster::shared();
    for helm in BOTH {
        let namespace = cluster.restricted_namespace("gate");
        let team = cluster.namespace("team");
        let values = |settings: &Value| {
            let mut values = values(settings);
            values["gate"]["namespaces"] = json!([team]);
            values["crds"] = json!({"enabled": false});
            values["rbac"] = json!({"aggregateRoles": false});
            values
        };
        let run = |command: &str, settings: &Value| {
            let words = [command, RELEASE, &chart(), "--namespace", &namespace];
            helm.command(&words).on(cluster).values(&values(settings)).run()
        };
        let succeeds = |command: &str, settings: &Value| {
            let ended = run(command, settings);
            assert_eq!(ended.code, Some(0), "{helm:?} {settings}: {}", ended.stderr);
            assert!(!ended.stderr.to_lowercase().contains("warning"), "{helm:?}: {}", ended.stderr);
        };
        succeeds("install", &json!({"replicas": 3}));
        succeeds("upgrade", &json!({"replicas": 3, "publicUrl": "https://hooks.example.com"}));
        for fewer in [
            json!({"replicas": 2}),
            json!({"enabled": false}),
            postgres(),
            json!({"replicas": 3, "persistence": {"mayVanish": true}}),
        ] {
            let refused = run("upgrade", &fewer);
            let look = format!("kubectl -n {namespace} exec {NAME}-2 -- /hookkeeper deliveries list");
            assert!(
                refused.code != Some(0) && refused.stderr.contains(&look),
                "{helm:?} {fewer}: {}",
                refused.stderr
            );
        }
        succeeds("upgrade", &json!({"replicas": 2, "persistence": {"allowScaleDown": true}}));
        succeeds("upgrade", &json!({"replicas": 4}));
        let mut moved = postgres();
        moved["persistence"] = json!({"allowScaleDown": true});
        succeeds("upgrade", &moved);
        helm.command(&["uninstall", RELEASE, "--namespace", &namespace]).on(cluster).succeed();
    }
}

#[test]
fn the_notes_say_what_to_type_into_the_platform() {
    let cluster = Cluster::shared();
    let notes = |helm: Helm, settings: &Value| {
        let install = ["install", RELEASE, &chart(), "--namespace", "there", "--dry-run=client"];
        let mut values = values(settings);
        values["crds"] = json!({"enabled": false});
        let ended = helm.command(&install).on(cluster).values(&values).succeed();
        ended.stdout.split_once("NOTES:\n").unwrap().1.to_owned()
    };
    for helm in BOTH {
        let plain = notes(helm, &json!({}));
        for expected in [
            "kubectl -n there rollout status statefulset/hookkeeper-gate",
            "kubectl get whr -n team-a",
            "WARNING: without gate.publicUrl",
            "the port 80 of the\nService hookkeeper-gate",
            "need publishing.enabled",
        ] {
            assert!(plain.contains(expected), "{helm:?}, {expected}: {plain}");
        }
        let mut settings = postgres();
        settings["publicUrl"] = json!("https://hooks.example.com/");
        settings["ingress"] = json!({"enabled": true, "host": "hooks.example.com"});
        let other = notes(helm, &settings);
        for expected in ["deployment/hookkeeper-gate", "https://hooks.example.com/NAMESPACE/NAME"] {
            assert!(other.contains(expected), "{helm:?}, {expected}: {other}");
        }
        assert!(!other.contains("gate.publicUrl") && !other.contains("leads there from outside"), "{other}");
    }
}

/// The objects of a gate's rights as the chart has them, for a release in one namespace that serves another.
fn rights_of(namespace: &str, serves: &str) -> Vec<Value> {
    let mut values = values(&json!({}));
    values["gate"]["namespaces"] = json!([serves]);
    let kinds = [
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    let mut documents = Helm::Four.template_with(namespace, &[], &values).unwrap();
    documents.retain(|document| of_the_gate(document) && kinds.contains(&document["kind"].as_str().unwrap()));
    documents
}

/// Gates and the leader have their Leases in one namespace, and RBAC cannot tell names apart that nobody knows
/// before. The API server knows the pod that a token was given to.
#[test]
fn a_gate_writes_its_own_lease_and_no_other() {
    let cluster = Cluster::shared();
    let (namespace, team) = (cluster.namespace("lease"), cluster.namespace("team"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("object.json");
    let file = file.to_str().unwrap();
    let write = |object: &Value| fs::write(file, object.to_string()).unwrap();
    write(&json!({"apiVersion": "v1", "kind": "List", "items": rights_of(&namespace, &team)}));
    let applied = cluster.kubectl(&["apply", "-f", file]);
    assert_eq!((applied.code, applied.stderr.as_str()), (Some(0), ""));
    let lease = |name: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
            "spec": {"holderIdentity": name},
        })
    };
    for name in ["hookkeeper", "hookkeeper-gate-1"] {
        write(&lease(name));
        cluster.succeed(&["create", "-n", &namespace, "-f", file]);
    }
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hookkeeper-gate-0"},
        "spec": {"serviceAccountName": NAME, "containers": [{"name": "gate", "image": "none"}]},
    });
    write(&pod);
    cluster.succeed(&["create", "-n", &namespace, "-f", file]);
    let token = |bound: &[&str]| {
        let token = ["create", "token", NAME, "-n", &namespace, "--duration=1h"];
        format!("--token={}", cluster.succeed(&[&token[..], bound].concat()).trim())
    };
    let own = token(&["--bound-object-kind=Pod", "--bound-object-name=hookkeeper-gate-0"]);
    let of_no_pod = token(&[]);
    let run = |token: &str, words: &[&str]| cluster.kubectl(&[words, &["-n", &namespace, token]].concat());
    let said = "a gate writes no Lease but the one that is named after its pod";
    // The server enforces a policy some moments after it has stored it.
    let end = Instant::now() + PATIENCE;
    loop {
        write(&lease("made-up"));
        if run(&own, &["create", "--dry-run=server", "-f", file]).stderr.contains(said) {
            break;
        }
        assert!(Instant::now() < end, "the policy is not enforced");
        std::thread::sleep(Duration::from_millis(100));
    }
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", file];
    for name in ["hookkeeper", "hookkeeper-gate-1"] {
        let mut changed = lease(name);
        changed["spec"]["holderIdentity"] = json!("somebody-else");
        write(&changed);
        for words in [&apply[..], &["delete", "lease", name, "--wait=false"]] {
            let refused = run(&own, words);
            assert!(
                refused.code != Some(0) && refused.stderr.contains(said),
                "{words:?}: {}",
                refused.stderr
            );
        }
        let holder = ["get", "lease", name, "-n", &namespace, "-o", "jsonpath={.spec.holderIdentity}"];
        assert_eq!(cluster.succeed(&holder), name);
    }
    write(&lease("hookkeeper-gate-0"));
    let refused = run(&of_no_pod, &["create", "-f", file]);
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    for words in [&apply[..], &apply, &["delete", "lease", "hookkeeper-gate-0", "--wait=false"]] {
        let done = run(&own, words);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{words:?}");
    }
    // What it may do is in its own namespace, and others are not concerned.
    let elsewhere = cluster.kubectl(&["create", "-f", file, "-n", &team, &own]);
    assert!(elsewhere.stderr.contains("cannot create resource"), "{}", elsewhere.stderr);
    cluster.succeed(&["delete", "lease", "hookkeeper", "-n", &namespace]);
}

/// The page that says how to run it: its values are values, and its links lead somewhere.
#[test]
fn the_page_about_it_is_true_to_the_chart() {
    let page = fs::read_to_string(in_repository("deploy/gate.md")).unwrap();
    let blocks = blocks(&page, "yaml");
    assert!(blocks.len() >= 2, "{blocks:?}");
    for (line, block) in blocks {
        let given: Value = serde_saphyr::from_str(&block).unwrap();
        let mut values = values(&given["gate"]);
        for (name, value) in given.as_object().unwrap().iter().filter(|(name, _)| *name != "gate") {
            values[name] = value.clone();
        }
        for helm in BOTH {
            helm.template(&values).unwrap_or_else(|refused| panic!("gate.md:{line} {helm:?}: {refused}"));
        }
    }
    let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let mut count = 0;
    for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
        let path = link.split('#').next().unwrap();
        assert!(in_repository("deploy").join(path).exists(), "{link}");
        count += 1;
    }
    assert!(count > 8, "{count}");
    // What a volume is called in it.
    let documents = rendered(&json!({}));
    let claim =
        &named(&documents, "StatefulSet", NAME)["spec"]["volumeClaimTemplates"][0]["metadata"]["name"];
    assert!(page.contains(&format!("{}-{NAME}-0", claim.as_str().unwrap())));
}
