//! A server of the control plane as a process that never outlives the tests.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// Kills the server when standard input ends: that happens however the tests end, and not with the
/// thread that has started it. Then removes the folder, if it is given one.
const KEEPER: &str = r#"
exec 3<&0 2>/dev/null
remove=$1 log=$2
shift 2
"$@" </dev/null >>"$log" 2>&1 3<&- &
server=$!
{ cat <&3; kill -KILL "$server"; } >/dev/null 2>&1 &
watch=$!
echo "$server"
wait "$server"
status=$?
kill "$watch"
[ -z "$remove" ] || rm -rf "$remove"
exit "$status"
"#;

/// How much of a log is shown.
const TAIL: u64 = 6000;

/// A running server.
pub(super) struct Server {
    keeper: Child,
    pid: Pid,
    log: PathBuf,
}

impl Server {
    /// Starts a program in the folder of its log. The log is appended to `log`; at its end, `remove` is removed.
    pub(super) fn start(program: &Path, arguments: &[String], log: &Path, remove: Option<&Path>) -> Self {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(remove.unwrap_or(Path::new("")))
            .arg(log)
            .arg(program)
            .args(arguments)
            .current_dir(log.parent().unwrap())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            // An interrupt from the terminal ends the tests, and by that the server.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        Self { keeper, pid, log: log.to_owned() }
    }

    /// Waits until something holds.
    pub(super) fn wait_until(&mut self, what: &str, holds: impl Fn() -> bool) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            if let Some(status) = self.keeper.try_wait().unwrap() {
                return Err(format!("not {what}: it has ended with {status}\n{}", self.log_tail()));
            }
            if Instant::now() > end {
                return Err(format!("not {what}\n{}", self.log_tail()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Stops it as an administrator does, and waits for its end.
    pub(super) fn stop(mut self) {
        self.signal(Signal::TERM);
        self.keeper.wait().unwrap();
    }

    /// It is stopped by `Signal::STOP` until `Signal::CONT`.
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    fn log_tail(&self) -> String {
        let mut text = Vec::new();
        let mut file = File::open(&self.log).unwrap();
        let length = file.metadata().unwrap().len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).unwrap();
        file.read_to_end(&mut text).unwrap();
        format!("{}:\n{}", self.log.display(), String::from_utf8_lossy(&text))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
