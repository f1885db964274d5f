//! The real binary as a process, and what it shows: all of it is looked through for secrets.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::canaries::{CANARY, Canaries};

/// Generous: only a test that fails waits this long.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// What the admin server answers to.
const ADMIN_PATHS: [&str; 4] = ["/metrics", "/readyz", "/livez", "/"];

/// A value that none of the program's arguments asks for.
const UNASKED: &str = "HOOKKEEPER_SECRET_UNASKED_VALUE";

/// The real binary, with no settings from whoever runs the tests.
pub fn hookkeeper() -> Program {
    Program {
        wrapper: Vec::new(),
        arguments: Vec::new(),
        environment: Vec::new(),
        unset: Vec::new(),
        unread: None,
        secrets_in: Vec::new(),
    }
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Ended {
    hookkeeper().args(arguments).run()
}

/// A process to be.
pub struct Program {
    wrapper: Vec<OsString>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    unset: Vec<&'static str>,
    unread: Option<Stream>,
    secrets_in: Vec<PathBuf>,
}

impl Program {
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Gives an option another value than it has been given.
    pub fn replace(&mut self, option: &str, value: &str) -> &mut Self {
        let at = self.arguments.iter().position(|argument| argument == option).unwrap();
        self.arguments[at + 1] = value.into();
        self
    }

    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A variable that it does not inherit.
    pub fn env_remove(&mut self, name: &'static str) -> &mut Self {
        self.unset.push(name);
        self
    }

    /// A command that the binary and its arguments are given to. It must become the binary, not start
    /// it: `exec`.
    pub fn through(&mut self, wrapper: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.wrapper = wrapper.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// A file that grows too long is an error for it, and not its end, as a full disk is.
    pub fn without_file_size_signal(&mut self) -> &mut Self {
        self.through(["sh", "-c", r#"trap "" XFSZ; exec "$@""#, "sh"])
    }

    /// Permissions hold for it, also where the tests run as root.
    pub fn bound_by_permissions(&mut self) -> &mut Self {
        if !rustix::process::geteuid().is_root() {
            return self;
        }
        self.through(["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"])
    }

    /// Nobody reads what it writes there: the reader has gone away.
    pub fn unread(&mut self, stream: Stream) -> &mut Self {
        self.unread = Some(stream);
        self
    }

    /// A folder of manifests whose Secrets it comes to know in another way than by its arguments.
    pub fn knows_secrets_in(&mut self, folder: &Path) -> &mut Self {
        self.secrets_in.push(folder.to_owned());
        self
    }

    /// Starts it and waits for its end.
    pub fn run(&mut self) -> Ended {
        self.spawn().wait()
    }

    /// Starts it.
    pub fn spawn(&mut self) -> Process {
        let binary = OsString::from(env!("CARGO_BIN_EXE_hookkeeper"));
        let mut words = self.wrapper.iter().chain([&binary]).chain(&self.arguments);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).stdin(Stdio::null());
        if self
            .arguments
            .first()
            .is_some_and(|first| first == "sidecar" || first == "controller" || first == "gate")
            && self.argument("--log-level").is_none()
        {
            command.args(["--log-level", "trace"]);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOOKKEEPER_") {
                command.env_remove(name);
            }
        }
        command.env("RUST_BACKTRACE", "1").env(UNASKED, format!("{CANARY}unasked"));
        for name in &self.unset {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let written = Written::default();
        let mut readers = Vec::new();
        let mut pipe = |stream: Stream| {
            let (reader, writer) = std::io::pipe().unwrap();
            if self.unread != Some(stream) {
                readers.push(written.read(stream, reader));
            }
            writer
        };
        command.stdout(pipe(Stream::Output)).stderr(pipe(Stream::Error));
        let child = command.spawn().unwrap();
        let mut canaries = Canaries::default();
        for (name, value) in &self.environment {
            if name.to_string_lossy().starts_with("HOOKKEEPER_") {
                canaries.add(&value.to_string_lossy());
            }
        }
        let folder = |name| self.argument(name).map(PathBuf::from);
        let mut process = Process {
            child,
            written,
            readers,
            canaries,
            manifests: folder("--manifests").into_iter().chain(self.secrets_in.iter().cloned()).collect(),
            secrets: folder("--secrets-dir"),
            published: folder("--publish-dir"),
            state: folder("--state"),
            looked: 0,
            ended: None,
        };
        process.learn();
        process
    }

    /// The value of an option, written as two words or as one.
    fn argument(&self, name: &str) -> Option<&OsStr> {
        let mut words = self.arguments.iter();
        words
            .find_map(|word| match word.to_str()?.strip_prefix(name)? {
                "" => Some(None),
                rest => Some(Some(OsStr::new(rest.strip_prefix('=')?))),
            })?
            .or_else(|| words.next().map(OsString::as_os_str))
    }
}

/// How a process ended, and what it wrote.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A running process. It is ended with the test, also with one that fails, and however it ends: a
/// secret in what it showed fails the test.
pub struct Process {
    child: Child,
    written: Written,
    readers: Vec<JoinHandle<()>>,
    canaries: Canaries,
    manifests: Vec<PathBuf>,
    secrets: Option<PathBuf>,
    published: Option<PathBuf>,
    state: Option<PathBuf>,
    looked: usize,
    ended: Option<ExitStatus>,
}

impl Process {
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it wrote so far, the errors last.
    pub fn log(&self) -> String {
        self.written.all()
    }

    /// What it writes, for who looks at it while somebody else holds the process.
    pub fn written(&self) -> Written {
        self.written.clone()
    }

    /// Waits until it has written this; a process that ends before fails the test.
    pub fn until_says(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.log().contains(text) {
            assert!(self.is_running() || self.log().contains(text), "it has ended: {}", self.log());
            assert!(begun.elapsed() < PATIENCE, "it says no {text:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// A path as the process sees it, which may have a file system of its own.
    pub fn path(&self, path: &Path) -> PathBuf {
        let id = self.child.id();
        let own = PathBuf::from(format!("/proc/{id}/root{}", path.display()));
        if own.exists() { own } else { path.to_owned() }
    }

    /// From now on no file that it writes may be longer than this: a full disk that needs no mount.
    /// On top of the error there is a signal, which it must have been told to ignore: see
    /// [`Program::without_file_size_signal`].
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(self.id()), Resource::Fsize, limit).unwrap();
    }

    /// Where its admin server listens, once it does.
    pub fn admin(&self) -> Option<SocketAddr> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("admin server listens"))?;
        line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
    }

    /// One answer of its admin server, head and body.
    pub fn get(&self, path: &str) -> Option<String> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    /// The answer to a PUT of a text.
    pub fn put(&self, path: &str, body: &str) -> Option<String> {
        let length = body.len();
        self.ask(&format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    fn ask(&self, request: &str) -> Option<String> {
        let mut stream = TcpStream::connect_timeout(&self.admin()?, Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let begun = Instant::now();
        while self.is_running() {
            assert!(begun.elapsed() < PATIENCE, "it goes on: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.ended = Some(self.child.wait().unwrap());
        self.finish();
        Ended {
            code: self.ended.and_then(|status| status.code()),
            stdout: self.written.text(Stream::Output),
            stderr: self.written.text(Stream::Error),
        }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.look();
        self.child.kill().unwrap();
        self.wait();
    }

    /// SIGTERM; returns the exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.look();
        self.signal(Signal::TERM);
        self.wait().code
    }

    /// How many documents but its output have been looked through.
    pub fn looked(&self) -> usize {
        self.looked
    }

    /// Learns the secrets it was given; a test may change them meanwhile.
    fn learn(&mut self) {
        for folder in &self.manifests {
            self.canaries.add_manifests(folder);
        }
        if let Some(folder) = &self.secrets {
            self.canaries.add_files(folder);
        }
        if let Some(folder) = &self.published {
            self.canaries.add_published(&self.path(folder));
        }
    }

    /// Looks through what it shows while it lives.
    pub fn look(&mut self) {
        self.learn();
        let mut shown = Vec::new();
        for path in ADMIN_PATHS {
            if let Some(answer) = self.get(path) {
                shown.push((path.to_owned(), answer));
            }
        }
        shown.extend(self.state_files());
        self.looked += shown.len();
        self.judge(&shown);
    }

    /// The state file and whatever stands beside it under a name like its own.
    fn state_files(&self) -> Vec<(String, String)> {
        let Some((folder, name)) =
            self.state.as_ref().and_then(|path| Some((path.parent()?, path.file_name()?)))
        else {
            return Vec::new();
        };
        let name = name.to_string_lossy();
        fs::read_dir(self.path(folder))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file() && path.to_string_lossy().contains(&*name))
            .filter_map(|path| Some((path.display().to_string(), fs::read_to_string(path).ok()?)))
            .collect()
    }

    #[expect(clippy::print_stderr, reason = "the test fails, and this says why")]
    fn show(&self) {
        eprintln!("{}", self.log());
    }

    fn finish(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        self.learn();
        let mut shown = self.state_files();
        shown.push(("standard output".to_owned(), self.written.text(Stream::Output)));
        shown.push(("standard error".to_owned(), self.written.text(Stream::Error)));
        self.judge(&shown);
    }

    fn judge(&self, shown: &[(String, String)]) {
        for (what, text) in shown {
            let found = self.canaries.found_in(text);
            // A test that fails already says more.
            assert!(found.is_none() || std::thread::panicking(), "a secret in {what}: {found:?}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            if std::thread::panicking() {
                self.show();
            } else {
                self.look();
            }
            drop(self.child.kill());
            self.ended = self.child.wait().ok();
            self.finish();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Output,
    Error,
}

/// What a process wrote so far.
#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<[Vec<u8>; 2]>>);

impl Written {
    /// All of it, the errors last.
    pub fn all(&self) -> String {
        format!("{}{}", self.text(Stream::Output), self.text(Stream::Error))
    }

    fn read(&self, stream: Stream, mut reader: std::io::PipeReader) -> JoinHandle<()> {
        let written = self.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                written.0.lock().unwrap()[stream as usize].extend_from_slice(&buffer[..read]);
            }
        })
    }

    fn text(&self, stream: Stream) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()[stream as usize]).into_owned()
    }
}
