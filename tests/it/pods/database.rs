//! Gates with one PostgreSQL between them, each in pods of its own: what was acknowledged outlives the database's
//! pod, and gates that find no database wait for it.

use serde_json::json;

use super::gate::Gate;
use super::trial::{NAMESPACE, Trial};
use crate::tools::installed;

const DATABASES: &str = "databases";
const HOST: &str = "postgres.databases.svc";
const WORKLOAD: &str = "deployment/hookkeeper-gate";

/// The chart's values for it; what the gate had on volumes was handed on before.
const VALUES: &str = "
gate:
  store: PostgreSQL
  persistence: {allowScaleDown: true}
  database:
    host: postgres.databases.svc
    name: postgres
    credentials: {secret: hookkeeper-database}
    ca: {secret: hookkeeper-database}
";

/// As whoever runs a database would have it: a volume, TLS, a password. What is mounted belongs to root.
const SERVER: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: postgres}
spec:
  selector: {app: postgres}
  ports: [{name: postgres, port: 5432}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: postgres}
spec:
  serviceName: postgres
  selector: {matchLabels: {app: postgres}}
  template:
    metadata: {labels: {app: postgres}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 20
      securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: postgres
          image: localhost/postgres:test
          imagePullPolicy: Never
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
          command:
            - sh
            - -c
            - |
              set -e
              if [ ! -s /data/space/PG_VERSION ]; then
                initdb --pgdata=/data/space --username=keeper --pwfile=/secret/password --encoding=UTF8 --locale=C \
                  --auth=scram-sha-256
                echo 'hostssl all all all scram-sha-256' >>/data/space/pg_hba.conf
              fi
              exec postgres -D /data/space -c 'listen_addresses=*' -c unix_socket_directories=/tmp -c ssl=on \
                -c ssl_cert_file=/secret/tls.crt -c ssl_key_file=/secret/tls.key -c shared_buffers=32MB
          readinessProbe: {tcpSocket: {port: 5432}, periodSeconds: 1}
          volumeMounts:
            - {name: data, mountPath: /data}
            - {name: secret, mountPath: /secret, readOnly: true}
            - {name: temporary, mountPath: /tmp}
      volumes:
        - {name: secret, secret: {secretName: postgres, defaultMode: 0440}}
        - {name: temporary, emptyDir: {}}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 256Mi}}}
"#;

pub fn what_was_acknowledged_outlives_the_pod_of_the_database(trial: &Trial, gate: &Gate<'_>) {
    let Some(database) = Database::start(trial) else {
        println!("LEFT OUT: a database in a pod, because its image cannot be brought into this cluster");
        return;
    };
    gate.helm(&["--values", &trial.file("database.yaml", VALUES)]);
    let rolled_out = || {
        trial.kubectl(&["rollout", "status", WORKLOAD, "--timeout=180s"]);
    };
    rolled_out();
    gate.begins_a_new_account();
    gate.serves_the_team();
    gate.until_delivered("with a database");

    gate.unnoticed("while gates with a database are replaced", || {
        trial.kubectl(&["rollout", "restart", WORKLOAD]);
        rolled_out();
    });
    gate.unnoticed("after a gate with a database was evicted", || {
        let pods = database.gates();
        trial.evict(&pods[0]);
        trial.is_not_evicted(&pods[1]);
        rolled_out();
    });

    // While it is away platforms are answered 503 by gates that stay ready, and repeat.
    let before = database.gates();
    trial.node.kill(DATABASES, "postgres-0");
    gate.until_delivered("after the database was killed");
    trial.node.kubectl(&["-n", DATABASES, "delete", "pod", "postgres-0"]);
    database.is_ready();
    gate.until_delivered("after the database's pod was deleted");
    assert_eq!(database.gates(), before, "{}", trial.node.story());

    // One that is started meanwhile waits: it is alive, and says for what it waits.
    database.scale(0);
    trial.kubectl(&["delete", "pod", &before[0]]);
    let waits = || {
        let others = database.gates().into_iter().filter(|pod| !before.contains(pod));
        others.into_iter().any(|pod| {
            let log = trial.node.try_kubectl(&["-n", NAMESPACE, "logs", &pod]).stdout;
            log.contains("does not answer")
        })
    };
    trial.until("a gate that waits for the database", |_| waits());
    database.scale(1);
    database.is_ready();
    rolled_out();
    gate.until_delivered("after the database was away");
    let restarts = trial.kubectl(&["get", "pods", "-l", database.selector(), "-o", RESTARTS]);
    assert!(restarts.split(' ').all(|count| count == "0"), "{restarts}\n{}", trial.node.story());
}

const RESTARTS: &str = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";

struct Database<'trial> {
    trial: &'trial Trial,
}

impl<'trial> Database<'trial> {
    fn start(trial: &'trial Trial) -> Option<Self> {
        if !trial.node.is_own() {
            return None;
        }
        trial.node.load(&installed("postgres_image").join("postgres.tar"));
        trial.restricted_namespace(DATABASES);
        trial.node.offer_volume("postgres");
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let password = "a-password-of-the-database";
        let secret = |namespace: &str, name: &str, values: serde_json::Value| {
            let secret = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"namespace": namespace, "name": name},
                "stringData": values,
            });
            trial.node.kubectl(&["apply", "-f", &trial.file("secret.json", &secret.to_string())]);
        };
        let values = json!({"password": password, "tls.crt": certificate, "tls.key": key});
        secret(DATABASES, "postgres", values);
        let values = json!({"username": "keeper", "password": password, "ca.crt": certificate});
        secret(NAMESPACE, "hookkeeper-database", values);
        trial.node.kubectl(&["-n", DATABASES, "apply", "-f", &trial.file("server.yaml", SERVER)]);
        let database = Self { trial };
        database.is_ready();
        Some(database)
    }

    fn is_ready(&self) {
        let wait = ["-n", DATABASES, "rollout", "status", "statefulset/postgres", "--timeout=180s"];
        self.trial.node.kubectl(&wait);
    }

    fn scale(&self, replicas: u32) {
        let replicas = format!("--replicas={replicas}");
        self.trial.node.kubectl(&["-n", DATABASES, "scale", "statefulset/postgres", &replicas]);
        let gone = ["-n", DATABASES, "wait", "pod/postgres-0", "--for=delete", "--timeout=60s"];
        if replicas.ends_with('0') {
            self.trial.node.kubectl(&gone);
        }
    }

    fn selector(&self) -> &'static str {
        "app.kubernetes.io/component=gate"
    }

    /// The names of the pods of gates that do not go.
    fn gates(&self) -> Vec<String> {
        let pods = self.trial.kubectl(&["get", "pods", "-l", self.selector(), "-o", "json"]);
        let pods: serde_json::Value = serde_json::from_str(&pods).unwrap();
        let stays = |pod: &&serde_json::Value| pod["metadata"]["deletionTimestamp"].is_null();
        let mut names: Vec<String> = pods["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(stays)
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}
