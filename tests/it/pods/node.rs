//! A cluster with real pods: a node of this run's own, or the cluster of whoever runs the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

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
    Own { folder: tempfile::TempDir },
    Theirs { kubeconfig: PathBuf },
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
        ended(self.command(&installed("kubernetes").join("kubectl")).args(arguments))
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
        assert_eq!(ended.code, Some(0), "helm {arguments:?}: {}{}\n{}", ended.stdout, ended.stderr, self.story());
        ended.stdout
    }

    /// Of every pod that is not well, what there is to know.
    pub fn story(&self) -> String {
        let everywhere = ["get", "pods,events,whs", "-A", "-o", "wide"];
        let ended = self.try_kubectl(&everywhere);
        format!("{}{}", ended.stdout, ended.stderr)
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

fn script(folder: &Path) -> Command {
    let mut command = Command::new("bash");
    command.arg(in_repository("tests/tools/node/node")).arg(folder);
    command
}
