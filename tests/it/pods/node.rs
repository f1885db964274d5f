//! A cluster with real pods: a node of this run's own, or the cluster of whoever runs the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::super::cluster::program;
use super::super::tools::{ended, installed};
use super::super::{Ended, in_repository};

/// A kubeconfig of a cluster that has the image already, instead of a node of this run's own.
const KUBECONFIG: &str = "HOOKKEEPER_TEST_PODS_KUBECONFIG";
/// The image as an archive that `deploy/image/build` made, or with `KUBECONFIG` its name there.
const IMAGE: &str = "HOOKKEEPER_TEST_IMAGE";

/// The name that `tests/run` gives the image, and that nothing could fetch from anywhere.
const NAME: &str = "localhost/hookkeeper:test";

/// A cluster with real pods. A node of our own ends with it.
pub struct Node {
    kind: Kind,
    /// `NAME:TAG` of the image under test.
    pub image: String,
}

enum Kind {
    /// In namespaces of its own; everything goes through `tests/tools/node/node`.
    Own {
        folder: tempfile::TempDir,
    },
    Theirs {
        kubeconfig: PathBuf,
    },
}

impl Node {
    pub fn start() -> Self {
        let image = std::env::var(IMAGE).ok();
        if let Some(kubeconfig) = std::env::var_os(KUBECONFIG) {
            let image = image.unwrap_or_else(|| NAME.to_owned());
            return Self { kind: Kind::Theirs { kubeconfig: kubeconfig.into() }, image };
        }
        let archive = image.unwrap_or_else(|| panic!("{IMAGE} names no image; 'bash tests/run' makes one"));
        let folder = tempfile::Builder::new().prefix("hookkeeper-node-").tempdir().unwrap();
        // Made before it starts: a start that fails half way is ended too.
        let node = Self { kind: Kind::Own { folder }, image: NAME.to_owned() };
        node.script(&["up"]);
        node.script(&["image", &archive]);
        node
    }

    /// A command that sees the cluster.
    pub fn command(&self, program: &Path) -> Command {
        match &self.kind {
            Kind::Own { folder } => {
                let mut command = script(folder.path());
                command.arg("in").arg(program);
                command
            }
            Kind::Theirs { kubeconfig } => {
                let mut command = Command::new(program);
                command.env("KUBECONFIG", kubeconfig);
                command
            }
        }
    }

    pub fn try_kubectl(&self, arguments: &[&str]) -> Ended {
        ended(self.command(&program("kubectl")).args(arguments))
    }

    /// kubectl; returns what it prints if it succeeds.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let ended = self.try_kubectl(arguments);
        assert_eq!(ended.code, Some(0), "kubectl {arguments:?}: {}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// Helm 4; returns what it prints if it succeeds.
    pub fn helm(&self, arguments: &[&str]) -> String {
        let ended = ended(self.command(&installed("helm").join("helm4")).args(arguments));
        assert_eq!(
            ended.code,
            Some(0),
            "helm {arguments:?}: {}{}\n{}",
            ended.stdout,
            ended.stderr,
            self.story()
        );
        ended.stdout
    }

    /// Ends a pod's process at once, without a word to it.
    pub fn kill(&self, namespace: &str, pod: &str) {
        if let Kind::Theirs { .. } = self.kind {
            // As near to that as a stranger's cluster lets us come.
            self.kubectl(&["delete", "pod", pod, "--namespace", namespace, "--force", "--grace-period=0"]);
            return;
        }
        let process = processes()
            .find(|process| {
                let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
                let name = format!("HOSTNAME={pod}");
                environment.split(|byte| *byte == 0).any(|variable| variable == name.as_bytes())
            })
            .unwrap();
        kill_process(Pid::from_raw(process).unwrap(), Signal::KILL).unwrap();
    }

    /// Has one more volume, for the next claim that asks for one.
    pub fn offer_volume(&self, name: &str) {
        let Kind::Own { folder } = &self.kind else { return };
        let data = folder.path().join(format!("volume-{name}"));
        fs::create_dir(&data).unwrap();
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "local": {"path": data},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}
                ]}},
            },
        });
        let file = folder.path().join("volume.json");
        fs::write(&file, manifest.to_string()).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    }

    /// What there is to know when something is not well.
    pub fn story(&self) -> String {
        let objects = self.try_kubectl(&["get", "pods,events,whs,whr", "-A", "-o", "wide"]);
        let logs =
            ["logs", "-n=hookkeeper-system", "--selector=app.kubernetes.io/name=hookkeeper", "--tail=60"];
        let logs = self.try_kubectl(&[&logs[..], &["--prefix"]].concat());
        format!("{}{}\n{}{}", objects.stdout, objects.stderr, logs.stdout, logs.stderr)
    }

    fn script(&self, arguments: &[&str]) {
        if let Kind::Own { folder } = &self.kind {
            let ended = ended(script(folder.path()).args(arguments));
            assert_eq!(ended.code, Some(0), "node {arguments:?}: {}{}", ended.stdout, ended.stderr);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.script(&["down"]);
    }
}

/// The numbers of the processes that run here.
fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
}

fn script(folder: &Path) -> Command {
    let mut command = Command::new("bash");
    command.arg(in_repository("tests/tools/node/node")).arg(folder);
    command
}
