//! A gate as a process of its own, with a folder of manifests and a folder of data.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::application::{Application, Handed};
use super::wire::{self, Answered};
use crate::process::{Ended, PATIENCE, Process, Program, hookkeeper};

/// Everything that a gate needs around it.
pub struct Stage {
    folder: TempDir,
    pub application: Application,
}

impl Stage {
    pub async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("gate").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for name in ["manifests", "data", "secrets"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder, application: Application::start().await }
    }

    /// A stage with these manifests; `APPLICATION` in them is the application's URL.
    pub async fn with(manifests: &str) -> Self {
        let stage = Self::new().await;
        stage.declare("receivers.yaml", manifests);
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of manifests.
    pub fn declare(&self, name: &str, manifests: &str) {
        let text = manifests.replace("APPLICATION", &self.application.url(""));
        fs::write(self.path("manifests").join(name), text).unwrap();
    }

    /// Writes one key of a Secret.
    pub fn secret(&self, name: &str, key: &str, value: &str) {
        let folder = self.path("secrets").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(key), value).unwrap();
    }

    /// The command line.
    pub fn program(&self) -> Program {
        let mut program = self.program_without_store();
        program.arg("--data").arg(self.path("data"));
        program
    }

    /// The command line without what says where the store is.
    pub fn program_without_store(&self) -> Program {
        let mut program = hookkeeper();
        program
            .arg("gate")
            .arg("--manifests")
            .arg(self.path("manifests"))
            .arg("--secrets-dir")
            .arg(self.path("secrets"))
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--drain", "0s"])
            .args(["--allow-destination", &format!("http://{}", self.application.address)]);
        program
    }

    /// Starts the gate and waits until it takes deliveries in.
    pub fn gate(&self) -> Gate {
        self.start(&mut self.program())
    }

    /// The same with another command line.
    pub fn start(&self, program: &mut Program) -> Gate {
        Gate::of(program.spawn())
    }

    /// Waits until the application took so many deliveries.
    pub async fn until_took(&self, gate: &Gate, count: usize) -> Vec<Handed> {
        gate.until("the application took them", || self.application.took().len() >= count).await;
        self.application.took()
    }
}

/// The address of the line that says this.
fn listener(log: &str, says: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains(says))?;
    line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
}

/// A running gate.
pub struct Gate {
    pub address: SocketAddr,
    pub process: Process,
}

impl Gate {
    /// Waits until a process takes deliveries in.
    pub fn of(mut process: Process) -> Self {
        process.until_says("the gate takes deliveries in");
        let address = listener(&process.log(), "the gate takes deliveries in").unwrap();
        Self { address, process }
    }

    /// Sends a POST and reads the answer.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answered {
        self.raw(&wire::post(path, headers, body)).expect("the connection was closed without an answer")
    }

    /// The application says that it waits for something: `NAMESPACE/NAME/ID`.
    pub fn expect(&self, place: &str, key: &str) -> Answered {
        let bearer = format!("Bearer {key}");
        self.put_expectation(&format!("/expect/{place}"), &[("Authorization", &bearer)])
    }

    /// A PUT to the listener for expectations.
    pub fn put_expectation(&self, path: &str, headers: &[(&str, &str)]) -> Answered {
        let headers = [&[("Connection", "close"), ("Content-Length", "0")], headers].concat();
        let address = listener(&self.process.log(), "expectations are taken in").unwrap();
        wire::raw(address, &wire::request("PUT", path, &headers, b"")).unwrap()
    }

    /// Sends bytes.
    pub fn raw(&self, bytes: &[u8]) -> Option<Answered> {
        wire::raw(self.address, bytes)
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "not seen: {what}\n{}", self.process.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The value of a series of its metrics; 0 when it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        let metrics = self.process.get("/metrics").unwrap();
        let (name, labels) =
            series.strip_suffix('}').and_then(|series| series.split_once('{')).unwrap_or((series, ""));
        let value = metrics.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            let rest = if labels.is_empty() { rest } else { rest.strip_prefix('{')?.strip_prefix(labels)? };
            // Other labels may follow, such as which store it is in.
            rest.starts_with([' ', '{', ',', '}']).then(|| rest.rsplit(' ').next())?
        });
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Memory of the process in bytes, as the kernel counts it (proc_pid_status(5)).
    pub fn memory(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process.id().as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// What a receiver has refused so far, by reason.
    pub fn refused(&self, receiver: &str) -> BTreeMap<String, u64> {
        let metrics = self.process.get("/metrics").unwrap();
        let series = format!("hookkeeper_gate_refused_total{{receiver=\"{receiver}\",reason=\"");
        let counts = metrics.lines().filter_map(|line| line.strip_prefix(&series)?.split_once("\"} "));
        counts.map(|(reason, count)| (reason.to_owned(), count.parse().unwrap())).collect()
    }

    /// Waits until a receiver has refused exactly this.
    pub async fn until_refused(&self, receiver: &str, expected: &[(&str, u64)]) {
        let expected: BTreeMap<String, u64> =
            expected.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
        let what = format!("{receiver} refuses {expected:?}");
        self.until(&what, || self.refused(receiver) == expected).await;
    }

    /// How many deliveries a receiver has taken in.
    pub fn accepted(&self, receiver: &str) -> f64 {
        self.metric(&format!("hookkeeper_gate_accepted_total{{receiver=\"{receiver}\"}}"))
    }

    /// Runs `hookkeeper deliveries` against it.
    pub fn deliveries(&self, arguments: &[&str]) -> Ended {
        let url = format!("http://{}", self.process.admin().unwrap());
        hookkeeper().arg("deliveries").args(arguments).args(["--url", &url]).run()
    }

    pub fn stop(self) {
        assert_eq!(self.process.stop(), Some(0));
    }
}
