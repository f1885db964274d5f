//! The real programs that tests run, each installed by a script of `tests/tools`.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::{Ended, in_repository};

/// The folder of one of them: what its variable names, such as `HOOKKEEPER_TEST_KEYCLOAK`, else where
/// the script has put it.
pub fn installed(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os(format!("HOOKKEEPER_TEST_{}", name.to_uppercase())) {
        return folder.into();
    }
    let file = in_repository("tests/tools").join(name);
    let script = if file.is_dir() { file.join("install") } else { file };
    let output = Command::new("bash").arg(script).arg("--installed").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().into()
}

/// Runs a command to its end.
pub fn ended(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    Ended {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}
