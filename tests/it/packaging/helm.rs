//! Both Helms that are supported, without settings of whoever runs the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use super::super::cluster::Cluster;
use super::super::tools::{ended, installed};
use super::super::{Ended, in_repository};
use super::{documents_in, files_in};

/// The release's name in tests, from which the names of its objects follow.
pub const RELEASE: &str = "hookkeeper";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helm {
    Three,
    Four,
}

pub const BOTH: [Helm; 2] = [Helm::Three, Helm::Four];

/// A command of Helm, and the folder that it may write to.
pub struct HelmCommand {
    command: Command,
    home: tempfile::TempDir,
}

/// Where the chart is.
pub fn chart() -> String {
    in_repository("charts/hookkeeper").to_str().unwrap().to_owned()
}

/// Copies the chart, for a test that changes something in it.
pub fn copy_of_the_chart(folder: &Path) {
    let chart = in_repository("charts/hookkeeper");
    for file in files_in(&chart) {
        let copy = folder.join(file.strip_prefix(&chart).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&file, copy).unwrap();
    }
}

impl Helm {
    /// A command to be, such as `template`.
    pub fn command(self, arguments: &[&str]) -> HelmCommand {
        static INSTALLED: LazyLock<PathBuf> = LazyLock::new(|| installed("helm"));
        let home = tempfile::tempdir().unwrap();
        let name = match self {
            Self::Three => "helm3",
            Self::Four => "helm4",
        };
        let mut command = Command::new(INSTALLED.join(name));
        command.args(arguments).env_clear().env("HOME", home.path());
        HelmCommand { command, home }
    }

    /// What the chart gives in the namespace `hookkeeper-system`, or what is said against the values.
    pub fn template(self, values: &Value) -> Result<Vec<Value>, String> {
        self.template_with("hookkeeper-system", &[], values)
    }

    /// The same in another namespace, and with these options of Helm.
    pub fn template_with(
        self,
        namespace: &str,
        options: &[&str],
        values: &Value,
    ) -> Result<Vec<Value>, String> {
        let chart = chart();
        let arguments = [&["template", RELEASE, &chart, "--namespace", namespace], options].concat();
        let ended = self.command(&arguments).values(values).run();
        match ended.code {
            Some(0) => Ok(documents_in(&ended.stdout).unwrap()),
            _ => Err(ended.stderr),
        }
    }
}

impl HelmCommand {
    pub fn values(mut self, values: &Value) -> Self {
        let file = self.home.path().join("values.json");
        fs::write(&file, values.to_string()).unwrap();
        self.command.arg("--values").arg(file);
        self
    }

    pub fn on(mut self, cluster: &Cluster) -> Self {
        self.command.env("KUBECONFIG", cluster.kubeconfig());
        self
    }

    pub fn run(mut self) -> Ended {
        ended(&mut self.command)
    }

    /// Runs it to its end, which must be a good one.
    pub fn succeed(self) -> Ended {
        let words = format!("{:?}", self.command);
        let ended = self.run();
        assert_eq!(ended.code, Some(0), "{words}: {}", ended.stderr);
        ended
    }

    /// Starts it, for a test that looks while it runs.
    pub fn spawn(mut self) -> Running {
        let (stdout, stderr) = (self.home.path().join("stdout"), self.home.path().join("stderr"));
        self.command.stdin(Stdio::null());
        self.command.stdout(fs::File::create(&stdout).unwrap());
        self.command.stderr(fs::File::create(&stderr).unwrap());
        Running { child: self.command.spawn().unwrap(), home: self.home }
    }
}

/// A Helm that runs; it ends with the test.
pub struct Running {
    child: Child,
    home: tempfile::TempDir,
}

impl Running {
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn wait(mut self) -> Ended {
        let code = self.child.wait().unwrap().code();
        let text = |name| fs::read_to_string(self.home.path().join(name)).unwrap();
        Ended { code, stdout: text("stdout"), stderr: text("stderr") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Those of one kind.
pub fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

/// The one of this kind and name.
pub fn named<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = of_kind(documents, kind);
    found.into_iter().find(|document| document["metadata"]["name"] == name).unwrap()
}

/// The arguments of a Deployment's only container.
pub fn arguments(deployment: &Value) -> Vec<String> {
    let containers = &deployment["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().unwrap().len(), 1);
    let arguments = containers[0]["args"].as_array().unwrap();
    arguments.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}
