//! A real API server with its etcd, for the tests that need one. `tests/tools/kubernetes` builds the
//! programs.
//!
//! Most tests share one cluster and keep to namespaces of their own. A test that stops, freezes or
//! restarts the API server starts a cluster for itself.

mod etcd;
mod harness;
mod schema;
mod server;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::PublicKeyData as _;
use rustix::process::Signal;

use super::tools::{ended, installed};
use super::{Ended, in_repository};
use server::Server;

/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(180);
/// Ports that the system gives to nobody who asks for any, so that an API server finds its port
/// free when it starts again.
const PORTS: std::ops::Range<u16> = 10_000..20_000;
/// A port can be taken between the look and the start.
const ATTEMPTS: usize = 3;
const ADMIN_TOKEN: &str = "admin-token-of-a-test";

/// A control plane: an API server and its etcd, and a controller manager if a test asks for it. Its
/// processes and files end with it, or with the tests.
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    flags: Vec<String>,
    // In this order they are ended.
    controller_manager: Option<Server>,
    api_server: Mutex<Option<Server>>,
    #[expect(dead_code, reason = "it runs as long as the cluster")]
    etcd: Server,
}

impl Cluster {
    /// The cluster that tests share, with our definitions installed. It is never stopped.
    pub fn shared() -> &'static Self {
        // A start that failed once fails the other tests at once.
        static SHARED: LazyLock<Cluster> = LazyLock::new(|| {
            let cluster = Cluster::start(&[]);
            cluster.install_definitions();
            cluster
        });
        &SHARED
    }

    /// Starts a cluster for one test, with these flags of the API server beside our own.
    pub fn start(flags: &[&str]) -> Self {
        // It is removed by etcd's keeper: what is static is never dropped.
        let folder = tempfile::Builder::new().prefix("hookkeeper-cluster-").tempdir().unwrap().keep();
        let etcd = etcd::start(&folder);
        let mut cluster = Self {
            port: 0,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            controller_manager: None,
            api_server: Mutex::default(),
            etcd,
            folder,
        };
        cluster.write_credentials();
        cluster.start_on_a_free_port();
        cluster
    }

    /// Starts the controllers that matter here: garbage collection, deletion of namespaces, default
    /// service accounts.
    pub fn with_controller_manager(mut self) -> Self {
        let kubeconfig = self.kubeconfig();
        let kubeconfig = kubeconfig.display();
        let pki = self.path("pki");
        let pki = pki.display();
        let arguments = [
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--secure-port=0".to_owned(),
            "--leader-elect=false".to_owned(),
            format!("--service-account-private-key-file={pki}/sa.key"),
            format!("--root-ca-file={pki}/apiserver.crt"),
            "--controllers=garbagecollector,namespace,serviceaccount".to_owned(),
        ];
        let log = self.path("kube-controller-manager.log");
        let mut server = Server::start(&program("kube-controller-manager"), &arguments, &log, None);
        let default_account = ["get", "serviceaccount", "default"];
        server.wait_until("at work", || self.kubectl(&default_account).code == Some(0)).unwrap();
        self.controller_manager = Some(server);
        self
    }

    /// Installs the definitions as they are committed. The server must not warn about any.
    pub fn install_definitions(&self) {
        self.install_definitions_from(&in_repository("crds"));
    }

    /// Installs other definitions of the kinds.
    pub fn install_definitions_from(&self, folder: &Path) {
        let applied = self.kubectl(&["apply", "--server-side", "-f", folder.to_str().unwrap()]);
        assert_eq!((applied.code, applied.stderr.as_str()), (Some(0), ""), "{}", applied.stdout);
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        let folder = folder.to_str().unwrap();
        self.succeed(&["wait", "--for=condition=Established", &timeout, "-f", folder]);
        // They are served a moment before discovery lists them, which `kubectl explain` goes by.
        let end = Instant::now() + PATIENCE;
        while self.succeed(&["api-resources", "--api-group=hookkeeper.dev", "-o", "name"]).lines().count() < 3
        {
            assert!(Instant::now() < end, "discovery does not list the definitions");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A new namespace that nobody else uses.
    pub fn namespace(&self, prefix: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.succeed(&["create", "namespace", &name]);
        name
    }

    /// A new namespace in which no pod runs that may harm a node, and kubectl warns of what would make one.
    pub fn restricted_namespace(&self, prefix: &str) -> String {
        let name = self.namespace(prefix);
        let restricted =
            ["enforce", "warn"].map(|mode| format!("pod-security.kubernetes.io/{mode}=restricted"));
        self.succeed(&["label", "namespace", &name, &restricted[0], &restricted[1]]);
        name
    }

    /// Runs the real kubectl as the administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Ended {
        self.kubectl_as(&self.kubeconfig(), arguments)
    }

    /// Runs kubectl as somebody else.
    pub fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Ended {
        ended(
            Command::new(program("kubectl"))
                .arg("--kubeconfig")
                .arg(kubeconfig)
                .args(arguments)
                // No settings and no caches of whoever runs the tests.
                .env_clear()
                .env("HOME", &self.folder),
        )
    }

    /// Runs kubectl as the administrator; returns what it prints if it succeeds.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let ended = self.kubectl(arguments);
        assert_eq!(ended.code, Some(0), "kubectl {arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// A kubeconfig with a real token of a service account.
    pub fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self.succeed(&["create", "token", name, "--namespace", namespace, "--duration=1h"]);
        let file = self.path(&format!("kubeconfig-{namespace}-{name}"));
        self.write_kubeconfig(&file, namespace, token.trim());
        file
    }

    /// Stops the API server as for an upgrade.
    pub fn stop(&self) {
        self.api_server.lock().unwrap().take().unwrap().stop();
    }

    /// Starts it again, with the same data and address.
    pub fn restart(&self) {
        drop(self.api_server.lock().unwrap().take());
        self.start_api_server().unwrap();
    }

    /// The API server takes connections and does not answer, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.api_server.lock().unwrap().as_ref().unwrap().signal(Signal::STOP);
    }

    /// The API server goes on where it was.
    pub fn thaw(&self) {
        self.api_server.lock().unwrap().as_ref().unwrap().signal(Signal::CONT);
    }

    /// Makes etcd forget all but the present state of every object.
    pub fn compact(&self) {
        etcd::compact(&self.folder);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write_credentials(&self) {
        let pki = self.path("pki");
        fs::create_dir(&pki).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(pki.join("sa.key"), pem("PRIVATE KEY", &key.serialize_der())).unwrap();
        fs::write(pki.join("sa.pub"), pem("PUBLIC KEY", &key.subject_public_key_info())).unwrap();
        let admin = format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n");
        fs::write(pki.join("tokens.csv"), admin).unwrap();
    }

    fn start_on_a_free_port(&mut self) {
        for attempt in 1.. {
            self.port = free_port();
            self.write_kubeconfig(&self.kubeconfig(), "default", ADMIN_TOKEN);
            match self.start_api_server() {
                Ok(()) => return,
                Err(problem) if attempt < ATTEMPTS && problem.contains("address already in use") => {}
                Err(problem) => panic!("kube-apiserver is {problem}"),
            }
        }
    }

    fn start_api_server(&self) -> Result<(), String> {
        let pki = self.path("pki");
        let pki = pki.display();
        let mut arguments = vec![
            format!("--etcd-servers={}", etcd::endpoint(&self.folder)),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--cert-dir={pki}"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={pki}/sa.pub"),
            format!("--service-account-signing-key-file={pki}/sa.key"),
            format!("--token-auth-file={pki}/tokens.csv"),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--allow-privileged".to_owned(),
        ];
        arguments.extend(self.flags.iter().cloned());
        let log = self.path("kube-apiserver.log");
        let mut server = Server::start(&program("kube-apiserver"), &arguments, &log, None);
        let listens = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        let is_ready = || listens() && self.kubectl(&["get", "--raw", "/readyz"]).code == Some(0);
        server.wait_until("ready", is_ready)?;
        *self.api_server.lock().unwrap() = Some(server);
        Ok(())
    }

    fn write_kubeconfig(&self, file: &Path, namespace: &str, token: &str) {
        let text = format!(
            "apiVersion: v1
kind: Config
clusters:
  - name: test
    cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: {}}}
users:
  - name: test
    user: {{token: {token}}}
contexts:
  - name: test
    context: {{cluster: test, user: test, namespace: {namespace}}}
current-context: test
",
            self.port,
            self.path("pki/apiserver.crt").display(),
        );
        fs::write(file, text).unwrap();
    }
}

pub fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

/// From `KUBEBUILDER_ASSETS` if it is there, else from the folder that `HOOKKEEPER_TEST_KUBERNETES`
/// names, else from where the script has put it.
pub fn program(name: &str) -> PathBuf {
    static INSTALLED: LazyLock<PathBuf> = LazyLock::new(|| installed("kubernetes"));
    std::env::var_os("KUBEBUILDER_ASSETS")
        .map(|assets| Path::new(&assets).join(name))
        .filter(|assets| assets.exists())
        .unwrap_or_else(|| INSTALLED.join(name))
}

/// A port that nobody listens at; two runs begin to look at different places.
fn free_port() -> u16 {
    static STEP: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    let begin = std::process::id().wrapping_mul(7919);
    loop {
        let step = STEP.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + u16::try_from(begin.wrapping_add(step) % count).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
