//! The chart's values: all documented, wrong ones refused by their names.

use std::fs;

use serde_json::{Value, json};

use super::super::in_repository;
use super::documents;
use super::helm::BOTH;

/// Values of which each is refused, and what must be named.
fn wrong_values() -> Vec<(Value, &'static [&'static str])> {
    vec![
        (
            json!({
                "replica": 3,
                "replicas": "2",
                "workers": 0,
                "threads": 256,
                "leaseDuration": "45",
                "deletionGrace": "2 days",
                "secretPollInterval": 60,
                "shutdownTimeout": "1h1h1h1h1h",
                "listenAddress": "::",
                "podLabels": {"team": 1},
                "commonAnnotations": {"team": true},
                "dnsPolicy": "Cluster",
                "dnsConfig": {"option": []},
                "revisionHistoryLimit": -1,
                "livenessProbe": {"httpGet": {}},
                "openshift": "yes",
                "extraVolumes": [{"emptyDir": {}}],
                "extraVolumeMounts": [{"name": "a"}],
                "ca": {"file": "ca.crt", "key": "a/b"},
                "proxy": {"url": "http://user:password@proxy:3128"},
                "podDisruptionBudget": {"maxUnavailable": "one"},
                "crds": {"enabled": "yes"},
                "log": {"format": "text"},
                "image": {"digest": "sha256:abc", "tag": 1.0, "pullPolicy": "always"},
                "scope": {"namespaces": ["Payments", "a"]},
                "metrics": {"serviceMonitor": {"enable": true}, "port": 70000},
                "sandbox": {
                    "service": {"clusterIp": "10.0.0.1"}, "tokenLife": "", "actions": ["application completed"],
                },
                "egress": {"allow": [
                    "https://auth.internal", "auth.internal", "http://auth.internal/path", "10.0.0.0/8:port",
                ]},
            }),
            &[
                "'replica'",
                "'/replicas'",
                "'/workers'",
                "'/threads'",
                "'/leaseDuration'",
                "'/deletionGrace'",
                "'/secretPollInterval'",
                "'/shutdownTimeout'",
                "'/listenAddress'",
                "'/podLabels/team'",
                "'/commonAnnotations/team'",
                "'/dnsPolicy'",
                "'/dnsConfig'",
                "'/revisionHistoryLimit'",
                "'/livenessProbe'",
                "'/openshift'",
                "'/extraVolumes/0'",
                "'/extraVolumeMounts/0'",
                "'/ca/file'",
                "'/ca/key'",
                "'/proxy/url'",
                "'/podDisruptionBudget/maxUnavailable'",
                "'/crds/enabled'",
                "'/log/format'",
                "'/image/digest'",
                "'/image/tag'",
                "'/image/pullPolicy'",
                "'/scope/namespaces/0'",
                "'/metrics/serviceMonitor'",
                "'/metrics/port'",
                "'/sandbox/service'",
                "'/sandbox/tokenLife'",
                "'/sandbox/actions/0'",
                "'/egress/allow/0'",
                "'/egress/allow/2'",
                "'/egress/allow/3'",
            ],
        ),
        (
            json!({"replicas": -1, "scope": {"namespaces": ["a", "a"]}, "egress": {"allow": "auth.internal"}}),
            &["'/replicas'", "'/scope/namespaces'", "'/egress/allow'"],
        ),
        (
            json!({"gate": {
                "enable": true, "namespaces": ["Team"], "secretNames": ["A"], "store": "Redis", "replicas": -1,
                "publicUrl": "hooks.example.com", "trustedProxies": ["10.0.0.1"], "allowPaths": ["hooks"],
                "persistence": {"size": "big", "accessMode": "ReadWriteMany"},
                "database": {"host": "postgres://db", "port": 0, "user": "a"}, "dataKey": {"key": "a/b"},
                "service": {"type": "ExternalName"}, "ingress": {"hosts": []}, "httpRoute": {"parentRefs": [{}]},
                "expect": {"port": 1}, "resources": [], "livenessProbe": {"httpGet": {}},
            }}),
            &[
                "'enable'",
                "'/gate/namespaces/0'",
                "'/gate/secretNames/0'",
                "'/gate/store'",
                "'/gate/replicas'",
                "'/gate/publicUrl'",
                "'/gate/trustedProxies/0'",
                "'/gate/allowPaths/0'",
                "'/gate/persistence/size'",
                "'/gate/persistence/accessMode'",
                "'/gate/database/host'",
                "'/gate/database/port'",
                "'/gate/database'",
                "'/gate/dataKey/key'",
                "'/gate/service/type'",
                "'/gate/ingress'",
                "'/gate/httpRoute/parentRefs/0'",
                "'/gate/expect'",
                "'/gate/resources'",
                "'/gate/livenessProbe'",
            ],
        ),
        // What contradicts itself.
        (json!({"gate": {"enabled": true}}), &["gate.namespaces: name the namespaces"]),
        (
            json!({"gate": {"enabled": true, "namespaces": ["a"]}, "scope": {"namespaces": ["b"]}}),
            &[r#"gate.namespaces: "a" is not in scope.namespaces"#],
        ),
        (
            gate(json!({"allowPaths": ["b=/hooks"]})),
            &[r#"the namespace of "b=/hooks" is not in gate.namespaces"#],
        ),
        (gate(json!({"database": {"host": "db"}})), &["gate.database.host is set, but gate.store is SQLite"]),
        (gate(json!({"store": "PostgreSQL"})), &["gate.database.host is empty"]),
        (
            gate(json!({"store": "PostgreSQL", "database": {"host": "db"}})),
            &["gate.database.credentials.secret names no Secret"],
        ),
        (
            gate(json!({"store": "PostgreSQL", "database": {
                "host": "db", "tls": "Disable", "credentials": {"secret": "db"}, "ca": {"secret": "ca"},
            }})),
            &["with gate.database.tls: Disable there is none"],
        ),
        (gate(json!({"dataKey": {"previousKey": "old"}})), &["gate.dataKey.secret is empty"]),
        (gate(json!({"ingress": {"enabled": true}})), &["needs gate.ingress.host"]),
        (gate(json!({"httpRoute": {"enabled": true}})), &["needs gate.httpRoute.parentRefs"]),
        (
            gate(json!({"service": {"externalTrafficPolicy": "Local"}})),
            &["gate.service.externalTrafficPolicy is for a Service of type LoadBalancer"],
        ),
        (
            json!({"sandbox": {"enabled": true}, "scope": {"namespaces": ["payments"]}}),
            &[r#"scope.namespaces must list "hookkeeper-system" too"#],
        ),
        (json!({"publishing": {"namespaces": ["a"]}}), &["publishing.enabled is false"]),
        (
            json!({"publishing": {"enabled": true, "namespaces": ["a"]}, "scope": {"namespaces": ["b"]}}),
            &[r#"publishing.namespaces: "a" is not in scope.namespaces"#],
        ),
        (json!({"dnsPolicy": "None"}), &["dnsPolicy: None needs dnsConfig.nameservers"]),
        (
            json!({"ca": {"configMap": "a", "secret": "b"}}),
            &["only one of ca.file, ca.configMap and ca.secret"],
        ),
        (json!({"proxy": {"credentialsSecret": {"name": "a"}}}), &["but proxy.url is empty"]),
        (
            json!({"metrics": {"serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true}}}),
            &["counted twice"],
        ),
        (
            json!({"metrics": {"serviceMonitor": {"enabled": true}, "service": {"enabled": false}}}),
            &["needs metrics.service.enabled"],
        ),
    ]
}

/// A gate with these settings.
fn gate(settings: Value) -> Value {
    super::gate::values(&settings)
}

#[test]
fn wrong_values_are_refused_and_named() {
    for helm in BOTH {
        for (values, names) in wrong_values() {
            let refused = helm.template(&values).expect_err(&format!("{helm:?} takes {values}"));
            for name in names {
                assert!(refused.contains(name), "{helm:?}, {name}: {refused}");
            }
            // Nothing but what is wrong: the second destination is right.
            assert!(!refused.contains("'/egress/allow/1'"), "{refused}");
        }
    }
}

#[test]
fn a_parent_chart_may_add_what_helm_gives_to_every_chart() {
    for helm in BOTH {
        helm.template(&json!({"enabled": true, "global": {"anything": {"at": "all"}}})).unwrap();
    }
}

/// Only what has a default has a line in the table of README.md, and one that the schema does not know
/// would be refused.
#[test]
fn the_schema_knows_the_values_and_no_others() {
    let file = in_repository("charts/hookkeeper/values.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let values = &documents(&in_repository("charts/hookkeeper/values.yaml"))[0];
    let mut differences = Vec::new();
    compare("", &schema, values, &mut differences);
    assert_eq!(differences, ["/enabled", "/global"]);
}

fn compare(path: &str, schema: &Value, values: &Value, differences: &mut Vec<String>) {
    let (Some(known), Some(values)) = (schema["properties"].as_object(), values.as_object()) else {
        return;
    };
    if schema["additionalProperties"] != false {
        differences.push(format!("{path} takes anything"));
    }
    for name in known.keys().filter(|name| !values.contains_key(*name)) {
        differences.push(format!("{path}/{name}"));
    }
    for (name, value) in values {
        match known.get(name) {
            Some(schema) => compare(&format!("{path}/{name}"), schema, value, differences),
            None => differences.push(format!("{path}/{name} has no schema")),
        }
    }
}
