//! The gate as it is measured.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::deliveries::{SECRET, SIGNATURE};
use crate::peers;
use crate::process::{Process, free_address};
use crate::subject::{Place, Running, Subject};

const HOOKKEEPER: &str = env!("CARGO_BIN_EXE_hookkeeper");

/// What of the gate is compared with others.
pub fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "gate-stored",
            title: "hookkeeper, stored",
            less: "verifies, stores with fsync before the answer, knows repetitions for 24 h, hands on with retries",
            hands_on: true,
            start: |place| start(place, "", false),
        },
        Subject {
            name: "gate-sealed",
            title: "hookkeeper, stored and sealed",
            less: "the same, and what is stored is encrypted (--data-key-file)",
            hands_on: true,
            start: |place| start(place, "", true),
        },
        Subject {
            name: "gate-postgresql",
            title: "hookkeeper, stored in PostgreSQL",
            less: "as the first, in a database on the same machine that other gates may share",
            hands_on: true,
            start: |place| in_database(place, 1),
        },
        Subject {
            name: "gate-postgresql-two",
            title: "hookkeeper, two gates, one PostgreSQL",
            less: "the same with two gates that share the database, half of the connections to each",
            hands_on: true,
            start: |place| in_database(place, 2),
        },
        Subject {
            name: "gate-away",
            title: "hookkeeper, stored, application away",
            less: "as the first, while nothing can be handed on: every delivery stays",
            hands_on: false,
            start: |place| {
                let place = Place { folder: place.folder.clone(), application: free_address() };
                start(&place, "", false)
            },
        },
        Subject {
            name: "gate-direct",
            title: "hookkeeper, mode Direct",
            less: "verifies and passes on; keeps nothing: what the application refuses is the platform's to repeat",
            hands_on: true,
            start: |place| start(place, "mode: Direct", false),
        },
        Subject {
            name: "gate-verified",
            title: "hookkeeper, verified and not kept",
            less: "handOn takes nothing: shows what of the cost is not the store's and not handing on",
            hands_on: false,
            start: |place| start(place, "handOn: {path: /event, values: [none]}", false),
        },
    ]
}

fn start(place: &Place, more: &str, sealed: bool) -> Result<Running, String> {
    let gate = Gate::prepare(place, &["bench"], more, sealed);
    Ok(Running { addresses: vec![gate.listen], processes: vec![gate.start()?] })
}

/// So many gates that share a database.
fn in_database(place: &Place, count: usize) -> Result<Running, String> {
    let database = free_address();
    let server = peers::postgresql(place, database.port())?;
    let mut gate = Gate::prepare(place, &["bench"], "", false);
    gate.database = Some(database);
    let mut gates = vec![gate];
    if count > 1 {
        // The first one gives the receivers their uids, and the others take them over.
        drop(gates[0].start()?);
    }
    while gates.len() < count {
        gates.push(gates[0].beside(gates.len()));
    }
    let addresses = gates.iter().map(|gate| gate.listen).collect();
    let mut processes = gates.iter().map(Gate::start).collect::<Result<Vec<_>, _>>()?;
    processes.push(server);
    Ok(Running { addresses, processes })
}

/// A gate with its files; it may be started again and again.
pub struct Gate {
    folder: PathBuf,
    /// Its public listener.
    pub listen: SocketAddr,
    admin: SocketAddr,
    application: SocketAddr,
    sealed: bool,
    /// Where its store is, if that is no folder.
    database: Option<SocketAddr>,
    /// Its file of statuses, where the store is a database.
    state: PathBuf,
}

impl Gate {
    /// Writes a receiver `deliveries` in each of these namespaces, with more lines of its spec.
    pub fn prepare(place: &Place, namespaces: &[&str], more: &str, sealed: bool) -> Self {
        let folder = place.folder.clone();
        for name in ["manifests", "secrets/platform", "store"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("secrets/platform/secret"), SECRET).unwrap();
        // One that is made of equal bytes is refused as no key.
        let key: Vec<u8> = (0..32_u8).map(|byte| byte.wrapping_mul(37) ^ 0xa5).collect();
        fs::write(folder.join("data-key"), key).unwrap();
        for namespace in namespaces {
            let kept = if more.contains("Direct") {
                ""
            } else {
                "\n  duplicates: {key: [/id], window: 24h, action: Drop}\
                 \n  maxPending: {deliveries: 10000000, bytes: 1099511627776}"
            };
            let receiver = format!(
                "\
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {{name: deliveries, namespace: {namespace}}}
spec:
  verification:
    hmac: {{header: {SIGNATURE}, secretKeyRefs: [{{name: platform, key: secret}}]}}{kept}
  forward: {{url: \"http://{}/\", maxConcurrent: 64}}
  limits: {{requestsPerSecond: 100000}}
  {more}
",
                place.application
            );
            fs::write(folder.join(format!("manifests/{namespace}.yaml")), receiver).unwrap();
        }
        let (listen, admin) = (free_address(), free_address());
        let (application, state) = (place.application, folder.join("state.json"));
        Self { folder, listen, admin, application, sealed, database: None, state }
    }

    /// Another gate with the same manifests and the same database. This one must have been started once.
    fn beside(&self, number: usize) -> Self {
        let state = self.folder.join(format!("state-{number}.json"));
        fs::copy(&self.state, &state).unwrap();
        Self {
            folder: self.folder.clone(),
            listen: free_address(),
            admin: free_address(),
            application: self.application,
            sealed: self.sealed,
            database: self.database,
            state,
        }
    }

    /// Starts it; returns when it says that it is ready.
    pub fn start(&self) -> Result<Process, String> {
        let mut command = Command::new(HOOKKEEPER);
        command.env_clear().arg("gate");
        command.arg("--manifests").arg(self.folder.join("manifests"));
        command.arg("--secrets-dir").arg(self.folder.join("secrets"));
        match self.database {
            None => command.arg("--data").arg(self.folder.join("store")),
            Some(database) => command
                .args(["--database", &format!("postgres://bench@{database}/postgres")])
                .args(["--database-tls", "disable", "--state"])
                .arg(&self.state),
        };
        command.arg("--listen").arg(self.listen.to_string());
        command.arg("--admin-listen").arg(self.admin.to_string());
        command.arg("--allow-destination").arg(format!("http://{}", self.application));
        command.args(["--drain", "0s"]);
        if self.sealed {
            command.arg("--data-key-file").arg(self.folder.join("data-key"));
        }
        let mut process = Process::start("hookkeeper", &mut command, &self.folder)?;
        process.answers(self.admin, "/readyz")?;
        Ok(process)
    }

    /// The size of the store's files, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        let entries = fs::read_dir(self.folder.join("store")).unwrap().filter_map(Result::ok);
        entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    }
}
