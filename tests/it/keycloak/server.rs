//! A Keycloak of this run's own: its process and its admin API.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::tools::installed;
use super::show_if_failing;

/// A JVM that starts on a busy machine; only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(300);
/// Ports that the system gives to nobody who asks for any, so that Keycloak finds its port free
/// when it starts again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const ADMIN: &str = "admin";
const REALM: &str = "hr";

/// Ends Keycloak when standard input ends, which it also does when the test is killed.
const KEEPER: &str = r#""$@" </dev/null & cat >/dev/null; kill $!; wait $!"#;

/// A running or stopped Keycloak with a database of its own; it ends when this is dropped.
pub(super) struct Keycloak {
    /// Links to the installation, and beside them what Keycloak writes.
    home: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
    http: reqwest::Client,
}

impl Keycloak {
    pub(super) async fn start() -> Self {
        let installed = installed("keycloak");
        let home = tempfile::tempdir().unwrap();
        for part in ["conf", "lib", "providers", "themes"] {
            std::os::unix::fs::symlink(installed.join(part), home.path().join(part)).unwrap();
        }
        let mut keycloak = Self { home, port: free_port(), process: None, http: reqwest::Client::new() };
        keycloak.go_on().await;
        keycloak
    }

    /// Starts it, with what its database holds, and waits until it answers.
    pub(super) async fn go_on(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        self.process = Some(child);
        let end = Instant::now() + PATIENCE;
        while self.get("/realms/master").await.is_none() {
            assert!(Instant::now() < end, "Keycloak does not answer");
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "Keycloak has ended");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops it as an administrator does.
    pub(super) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            process.wait().unwrap();
        }
    }

    fn command(&self) -> Command {
        let java = std::env::var_os("JAVA_HOME")
            .map_or_else(|| PathBuf::from("java"), |home| Path::new(&home).join("bin/java"));
        let home = self.home.path();
        let mut command = Command::new("sh");
        command
            .args(["-c", KEEPER, "sh"])
            // What the tests beside it measure comes first on a machine with few cores.
            .args(["nice", "-n", "5"])
            .arg(java)
            // A quick start and little memory; it has little to do.
            .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-Djava.util.logging.manager=org.jboss.logmanager.LogManager")
            .arg(format!("-Dkc.home.dir={}", home.display()))
            .arg(format!("-Djboss.server.config.dir={}", home.join("conf").display()))
            .arg("-cp")
            .arg(home.join("lib/quarkus-run.jar"))
            .arg("io.quarkus.bootstrap.runner.QuarkusEntryPoint")
            .args(["start", "--optimized", "--cache=local", "--http-enabled=true", "--hostname-strict=false"])
            .arg("--http-host=127.0.0.1")
            .arg(format!("--http-port={}", self.port))
            .envs([("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN), ("KC_BOOTSTRAP_ADMIN_PASSWORD", ADMIN)])
            // An interrupt from the terminal ends the test, and by that Keycloak.
            .process_group(0);
        command
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The token endpoint; introspection lies below it.
    pub(super) fn token_url(&self) -> String {
        format!("{}/realms/{REALM}/protocol/openid-connect/token", self.url())
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// Creates the realm with these clients. It keeps a record of who logged in.
    pub(super) async fn create_realm(&self, clients: &[Value]) {
        let realm = json!({
            "realm": REALM, "enabled": true, "sslRequired": "none", "eventsEnabled": true, "clients": clients,
        });
        let admin = self.admin_token().await;
        let request = self.http.post(format!("{}/admin/realms", self.url()));
        send(request.bearer_auth(admin), "application/json", realm.to_string()).await;
    }

    /// Changes some members of a client.
    pub(super) async fn change_client(&self, id: &str, change: Value) {
        let found = self.administer(&format!("clients?clientId={id}")).await;
        let own_id = found[0]["id"].as_str().unwrap();
        let admin = self.admin_token().await;
        let request = self.http.put(format!("{}/admin/realms/{REALM}/clients/{own_id}", self.url()));
        send(request.bearer_auth(admin), "application/json", change.to_string()).await;
    }

    /// How many tokens a client was issued.
    pub(super) async fn mints(&self, client: &str) -> usize {
        let events = self.administer(&format!("events?type=CLIENT_LOGIN&client={client}&max=100000")).await;
        events.as_array().unwrap().len()
    }

    async fn administer(&self, what: &str) -> Value {
        let admin = self.admin_token().await;
        let request = self.http.get(format!("{}/admin/realms/{REALM}/{what}", self.url()));
        let answer = request.bearer_auth(admin).send().await.unwrap().error_for_status().unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Lives for a minute only, so each request gets one of its own.
    async fn admin_token(&self) -> String {
        let request = self.http.post(format!("{}/realms/master/protocol/openid-connect/token", self.url()));
        let form = format!("grant_type=password&client_id=admin-cli&username={ADMIN}&password={ADMIN}");
        let answer = send(request, "application/x-www-form-urlencoded", form).await;
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> Option<()> {
        let request = self.http.get(format!("{}{path}", self.url())).timeout(Duration::from_secs(10));
        request.send().await.ok()?.error_for_status().ok().map(drop)
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        self.stop();
        show_if_failing(&self.log());
    }
}

async fn send(request: reqwest::RequestBuilder, content_type: &str, body: String) -> Value {
    let answer = request.header("content-type", content_type).body(body).send().await.unwrap();
    let answer = answer.error_for_status().unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
}

/// A port that nobody listens at; two runs begin to look at different places.
fn free_port() -> u16 {
    let count = u32::from(PORTS.end - PORTS.start);
    let begin = std::process::id().wrapping_mul(7919);
    (0..count)
        .map(|step| PORTS.start + u16::try_from(begin.wrapping_add(step) % count).unwrap())
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}
